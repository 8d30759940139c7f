"""Rankers that are opened later: checked settings now, a model or a connection when somebody asks."""

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Self

from resift.errors import ScoringFailed
from resift.forking import renew_in_child
from resift.local import LocalRanker
from resift.remote.endpoint import Endpoint
from resift.remote.ranker import RemoteRanker
from resift.settings import Settings
from resift.types import Ranker


@dataclass(frozen=True, slots=True)
class Opener:
    """Settings that have been checked, and what makes a ranker of them."""

    settings: Settings | Endpoint

    @property
    def model(self) -> str:
        """What the ranker's model will be called."""
        return self.settings.model if isinstance(self.settings, Settings) else self.settings.name

    def normalized(self, normalize: bool) -> "Opener":  # noqa: FBT001 - the setting's own name says what it is
        """Return the opener of a ranker that differs only in what its scores mean; it shares the model."""
        return Opener(replace(self.settings, normalize=normalize))

    def __call__(self) -> LocalRanker | RemoteRanker:
        """Open the ranker."""
        return LocalRanker(self.settings) if isinstance(self.settings, Settings) else RemoteRanker(self.settings)


class Opening:
    """
    One ranker, opened when it is first asked for; whoever asks meanwhile waits for the same one.

    What could not be opened is tried again the next time. Copies and pickles hold the settings, and open a ranker of
    their own.
    """

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self._future: Future[Ranker] | None = None
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Begin anew in a forked child: the thread that was opening the ranker did not come along."""
        self._lock = threading.Lock()
        if self._future is not None and not self._future.done():
            self._future = None

    def __reduce__(self) -> tuple[type[Self], tuple[Opener]]:
        return type(self), (self.opener,)

    @property
    def model(self) -> str:
        """What the ranker's model is called, open or not."""
        return self.opener.model

    def get(self) -> Ranker:
        """Return the ranker."""
        future, mine = self._claim()
        if mine:
            self._open(future)
        return future.result()

    async def aget(self) -> Ranker:
        """Do what `get` does without blocking the event loop, however long the model takes to load."""
        future, mine = self._claim()
        if mine:
            threading.Thread(target=self._open, args=(future,), name="resift-opening", daemon=True).start()
        if future.done():
            return future.result()
        return await asyncio.shield(asyncio.wrap_future(future))

    def holds(self, ranker: Ranker) -> bool:
        """Whether this is still the ranker that others get."""
        future = self._future
        return future is not None and future.done() and future.exception() is None and future.result() is ranker

    def take(self) -> Ranker | None:
        """Return the ranker if it is open, and forget it: whoever asks next opens another."""
        with self._lock:
            future, self._future = self._future, None
        return future.result() if future is not None and future.done() else None

    def _claim(self) -> tuple[Future[Ranker], bool]:
        """Return the future that will hold the ranker, and whether to open it is up to the caller."""
        with self._lock:
            mine = self._future is None
            if self._future is None:
                self._future = Future()
            return self._future, mine

    def _open(self, future: Future[Ranker]) -> None:
        try:
            ranker = self.opener()
        except BaseException as error:
            with self._lock:
                if self._future is future:
                    self._future = None
            if isinstance(error, Exception):
                future.set_exception(error)
                return
            future.set_exception(ScoringFailed("the model's loading was interrupted; call again to load it"))
            raise
        future.set_result(ranker)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A caller's own ranker, which is always open and never closed here. Copies share it."""

    ranker: Ranker

    @property
    def model(self) -> str:
        """The name of its model."""
        return self.ranker.model

    def get(self) -> Ranker:
        """Return the ranker."""
        return self.ranker

    async def aget(self) -> Ranker:
        """Return the ranker."""
        return self.ranker

    def holds(self, ranker: Ranker) -> bool:
        """Return True: it is never closed here."""
        return True

    def take(self) -> None:
        """Return None: it is not ours to close."""

    def __deepcopy__(self, memo: object) -> "Given":
        return self
