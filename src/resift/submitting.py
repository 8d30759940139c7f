"""What rankers have in common that hand a call in, wait for its future, and look ahead over many calls."""

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from resift.documents import read_documents, render, require_fields
from resift.errors import Overloaded
from resift.many import how_many, naming, numbered, read_many
from resift.progress import progress_bar
from resift.types import Cut, Document, Ranking, Request

Answer = TypeVar("Answer")
CallT = TypeVar("CallT", bound="Call[Any]")

_EVERYTHING = Cut()
Loop = asyncio.AbstractEventLoop


class Call(Generic[Answer]):
    """One call on its way from the caller's texts to the caller's scores."""

    def __init__(self, query: str, documents: list[Document], cut: Cut, *, loop: Loop | None = None) -> None:
        self.started = time.perf_counter()
        self.query, self.documents, self.cut = query, documents, cut
        self.loop = loop
        """The event loop that waits for the answer, if it is one that waits."""

        self.ahead = False
        """Whether it was handed in before its turn came, behind others."""

        self.places: list[int] = []
        """For each document, the place of its text among the distinct ones."""

        self.future: Future[Answer] = Future()

    def texts(self, fields: Sequence[str] | None) -> list[str]:
        """Write the documents as texts, each as often as it comes: of a list, its copies are part."""
        require_fields(self.documents, fields)
        self.places = list(range(len(self.documents)))
        return [render(document, at, fields) for at, document in enumerate(self.documents)]

    def distinct_texts(self, fields: Sequence[str] | None) -> list[str]:
        """Write the documents as texts, each once: a text that comes twice is scored once, so that copies tie."""
        texts = self.texts(fields)
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        self.places = [places[text] for text in texts]
        return list(places)


class SubmittingRanker(ABC, Generic[CallT]):
    """
    A ranker whose work is done elsewhere: a call is prepared and handed in, and a future holds the answer.

    Sync and async callers wait for the same future, so there is one way through for both.
    """

    @property
    @abstractmethod
    def model(self) -> str:
        """The name of the model that scores."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the ranker holds."""

    @abstractmethod
    def _new_call(self, query: str, documents: list[Document], cut: Cut, *, loop: Loop | None = None) -> CallT:
        """Begin a call."""

    @abstractmethod
    def _prepare(self, call: CallT, instruction: str | None) -> None:
        """Make ready what is handed in, in whatever thread this is; also says what is wrong with the call."""

    @abstractmethod
    def _submit(self, call: CallT) -> None:
        """Hand in what was prepared; `call.future` is then one that will end."""

    @abstractmethod
    def _is_far_ahead(self, waiting: Sequence[CallT]) -> bool:
        """Whether enough is handed in ahead of the call that is waited for."""

    @abstractmethod
    def _scores(self, call: CallT) -> list[float]:
        """Return the scores of an answered call, in the order of its documents."""

    @abstractmethod
    def _ranking(self, call: CallT) -> Ranking:
        """Return the ranking of an answered call."""

    def score(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Return one score per document, in input order."""
        call = self._new_call(query, read_documents(documents), _EVERYTHING)
        self._prepare(call, instruction)
        self._answer(call)
        return self._scores(call)

    async def ascore(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Do what `score` does without blocking the event loop."""
        call = self._new_call(query, read_documents(documents), _EVERYTHING, loop=asyncio.get_running_loop())
        await asyncio.to_thread(self._prepare, call, instruction)
        await self._aanswer(call)
        return self._scores(call)

    def rank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        """Return the documents in order of relevance: scores from `threshold` up, then the best `top_n`."""
        call = self._new_call(query, read_documents(documents), Cut(top_n, threshold))
        self._prepare(call, instruction)
        self._answer(call)
        return self._ranking(call)

    async def arank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        """Do what `rank` does without blocking the event loop."""
        loop = asyncio.get_running_loop()
        call = self._new_call(query, read_documents(documents), Cut(top_n, threshold), loop=loop)
        await asyncio.to_thread(self._prepare, call, instruction)
        await self._aanswer(call)
        return self._ranking(call)

    def rank_many(
        self,
        requests: Iterable[Request],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> Iterator[Ranking]:
        """
        Rank many requests together; yield their rankings lazily, in order.

        Requests are read some way ahead of the rankings, so that whatever scores them is never idle. `progress` shows
        a bar.
        """
        calls = self._look_ahead(read_many(requests), Cut(top_n, threshold), instruction)
        return self._rank_many(calls, how_many(requests), progress=progress)

    def _rank_many(self, calls: Generator[CallT], total: int | None, *, progress: bool) -> Iterator[Ranking]:
        with closing(calls), progress_bar(total, shown=progress) as advance:
            for call in calls:
                try:
                    call.future.result()
                finally:
                    call.future.cancel()
                yield self._ranking(call)
                advance()

    def arank_many(
        self,
        requests: Iterable[Request],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> AsyncIterator[Ranking]:
        """Do what `rank_many` does without blocking the event loop; requests are read in another thread."""
        return self._arank_many(
            read_many(requests), Cut(top_n, threshold), instruction, total=how_many(requests), progress=progress
        )

    async def _arank_many(
        self, requests: Iterable[Request], cut: Cut, instruction: str | None, *, total: int | None, progress: bool
    ) -> AsyncIterator[Ranking]:
        calls = self._look_ahead(requests, cut, instruction, loop=asyncio.get_running_loop())
        del requests  # a source that nobody reads any more ends, even where this frame is kept by a traceback
        reading = _Reading(calls)
        try:
            with progress_bar(total, shown=progress) as advance:
                while (call := await asyncio.to_thread(reading.next)) is not None:
                    await asyncio.wrap_future(call.future)
                    yield self._ranking(call)
                    advance()
        finally:
            reading.close()

    async def aclose(self) -> None:
        """Do what `close` does without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _answer(self, call: CallT) -> None:
        try:
            self._submit(call)
            call.future.result()
        finally:  # whoever stops waiting, by Ctrl-C for one, stops the work
            call.future.cancel()

    async def _aanswer(self, call: CallT) -> None:
        self._submit(call)
        await asyncio.wrap_future(call.future)

    def _look_ahead(
        self, requests: Iterable[Request], cut: Cut, instruction: str | None, *, loop: Loop | None = None
    ) -> Generator[CallT]:
        """Submit requests ahead of time; yield each when it is its turn to be waited for."""
        waiting: deque[CallT] = deque()
        try:
            for call in self._prepared(requests, cut, instruction, loop=loop):
                yield from self._submit_in_turn(call, waiting)
                while waiting and (waiting[0].future.done() or self._is_far_ahead(waiting)):
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for call in waiting:
                call.future.cancel()

    def _prepared(
        self, requests: Iterable[Request], cut: Cut, instruction: str | None, *, loop: Loop | None
    ) -> Iterator[CallT]:
        """Yield each request made ready. One that cannot be is the last, and brings its error to its turn."""
        source = numbered(requests)
        while True:
            call = self._new_call("", [], cut, loop=loop)
            call.ahead = True
            try:
                found = next(source, None)
                if found is None:
                    return
                at, call.query, call.documents = found
                with naming(at):
                    self._prepare(call, instruction)
            except Exception as error:  # noqa: BLE001 - raised when the rankings before it have been handed out
                call.future.set_exception(error)
                yield call
                return
            yield call

    def _submit_in_turn(self, call: CallT, waiting: deque[CallT]) -> Iterator[CallT]:
        """Submit a call; where there is no room beside those that wait, yield these first."""
        while True:
            try:
                if not call.future.done():
                    self._submit(call)
            except Overloaded:
                if not waiting:
                    raise
                yield waiting.popleft()
            else:
                waiting.append(call)
                return


class _Reading(Generic[CallT]):
    """A source of calls that several threads advance and close, one after the other."""

    def __init__(self, calls: Generator[CallT]) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._closed = False
        self._last: CallT | None = None

    def next(self) -> CallT | None:
        """Return the next call, None behind the last."""
        with self._lock:
            call = next(self._calls, None)
            self._last = call
        if self._closed:
            self.close()
        return call

    def close(self) -> None:
        """Cancel what nobody will wait for any more; a source that is being read is closed when it has answered."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._calls.close()
                if self._last is not None:
                    self._last.future.cancel()
            finally:
                self._lock.release()
