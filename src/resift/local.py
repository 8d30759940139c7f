"""The ranker whose model runs in this process."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping, Sized
from concurrent.futures import Future
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Self

import numpy as np

from resift.documents import read_documents, read_instruction, read_query, render, require_fields
from resift.errors import InvalidInput, Overloaded
from resift.progress import progress_bar
from resift.scoring.backends import Outputs
from resift.scoring.families import Prepared
from resift.scoring.loading import Hold
from resift.settings import Settings
from resift.types import Cut, Document, Ranked, Ranking, Request, Usage

_EVERYTHING = Cut()
_NOTHING: Outputs = np.empty((0, 0), dtype=np.float32)
_BREATHS_AHEAD, _REQUESTS_AHEAD = 2, 256  # how far `rank_many` reads on while the model is busy


class LocalRanker:
    """
    Ranks with a model that runs here. Any number of threads and event loops may use one at once.

    Rankers with equal settings share one loaded model. A pickled ranker is its settings, loaded where it is unpickled.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hold = Hold(settings)
        try:
            if settings.instruction is not None:
                self._require_instructable()
            if settings.normalize and not self._hold.family.bounded:
                raise InvalidInput(
                    f"normalize=True means nothing for {self.model}: its scores have no bounds; leave it out"
                )
        except InvalidInput:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"LocalRanker({self.model!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[Settings]]:
        return type(self), (self._settings,)

    @property
    def model(self) -> str:
        """The name of the model that scores."""
        return self._settings.model

    def score(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Return one score per document, in input order."""
        call = _Call(query, read_documents(documents))
        self._prepare(call, instruction)
        return self._scores(call, _result(self._submit(call)))

    async def ascore(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Do what `score` does without blocking the event loop."""
        call = _Call(query, read_documents(documents))
        await asyncio.to_thread(self._prepare, call, instruction)
        return self._scores(call, await asyncio.wrap_future(self._submit(call)))

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
        call = _Call(query, read_documents(documents), Cut(top_n, threshold))
        self._prepare(call, instruction)
        return self._ranking(call, _result(self._submit(call)))

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
        call = _Call(query, read_documents(documents), Cut(top_n, threshold))
        await asyncio.to_thread(self._prepare, call, instruction)
        return self._ranking(call, await asyncio.wrap_future(self._submit(call)))

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
        Rank many requests with batches across them; yield their rankings lazily, in order.

        Requests are read some way ahead of the rankings, so that the model is never idle. `progress` shows a bar.
        """
        calls = self._look_ahead(_iterable(requests), Cut(top_n, threshold), instruction)
        return self._rank_many(calls, _count(requests), progress=progress)

    def _rank_many(self, calls: "Generator[_Call]", total: int | None, *, progress: bool) -> Iterator[Ranking]:
        with closing(calls), progress_bar(total, shown=progress) as advance:
            for call in calls:
                yield self._ranking(call, _result(call.future))
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
        calls = self._look_ahead(_iterable(requests), Cut(top_n, threshold), instruction)
        return self._arank_many(calls, _count(requests), progress=progress)

    async def _arank_many(
        self, calls: "Generator[_Call]", total: int | None, *, progress: bool
    ) -> AsyncIterator[Ranking]:
        reading = _Reading(calls)
        try:
            with progress_bar(total, shown=progress) as advance:
                while (call := await asyncio.to_thread(reading.next)) is not None:
                    yield self._ranking(call, await asyncio.wrap_future(call.future))
                    advance()
        finally:
            reading.close()

    def close(self) -> None:
        """Let go of the model; when no other ranker holds it, answer what was accepted and free its memory."""
        self._hold.release()

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

    def _prepare(self, call: "_Call", instruction: str | None) -> None:
        """Turn the caller's texts into ids, in whatever thread this is."""
        family = self._hold.family
        query, told = read_query(call.query), read_instruction(instruction)
        if told is not None:
            self._require_instructable()
        require_fields(call.documents, self._settings.fields)
        texts = [render(document, at, self._settings.fields) for at, document in enumerate(call.documents)]
        if texts:
            # a text that comes twice is read once, so that copies tie exactly
            places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
            chosen = self._settings.instruction if told is None else told
            call.prepared = family.prepare(query, list(places), chosen)
            call.places = [places[text] for text in texts]

    def _submit(self, call: "_Call") -> "Future[Outputs]":
        """Hand what was prepared to the engine, if there is anything to run."""
        prepared = call.prepared
        if prepared is not None and prepared.sequences:
            call.future = self._hold.submit(prepared.sequences, prepared.prefix)
        elif not call.future.done():
            call.future.set_result(_NOTHING)
        return call.future

    def _look_ahead(self, requests: Iterable[Request], cut: Cut, instruction: str | None) -> "Generator[_Call]":
        """Submit requests ahead of time; yield each when it is its turn to be waited for."""
        waiting: deque[_Call] = deque()
        try:
            for call in self._prepared(requests, cut, instruction):
                yield from self._submit_in_turn(call, waiting)
                while waiting and (waiting[0].future.done() or self._is_far_ahead(waiting)):
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for call in waiting:
                call.future.cancel()

    def _prepared(self, requests: Iterable[Request], cut: Cut, instruction: str | None) -> "Iterator[_Call]":
        """Yield each request made ready. One that cannot be is the last, and brings its error to its turn."""
        source = _requests(requests)
        while True:
            call = _Call("", [], cut)
            try:
                found = next(source, None)
                if found is None:
                    return
                at, call.query, call.documents = found
                with _naming(at):
                    self._prepare(call, instruction)
            except Exception as error:  # noqa: BLE001 - raised when the rankings before it have been handed out
                call.future.set_exception(error)
                yield call
                return
            yield call

    def _submit_in_turn(self, call: "_Call", waiting: "deque[_Call]") -> "Iterator[_Call]":
        """Submit a call; where there is no room beside those that wait, yield these first."""
        while True:
            try:
                self._submit(call)
            except Overloaded:
                if not waiting:
                    raise
                yield waiting.popleft()
            else:
                waiting.append(call)
                return

    def _is_far_ahead(self, waiting: "deque[_Call]") -> bool:
        tokens = sum(call.prepared.tokens for call in waiting if call.prepared)
        return tokens > self._hold.breath_tokens * _BREATHS_AHEAD or len(waiting) > _REQUESTS_AHEAD

    def _scores(self, call: "_Call", outputs: Outputs) -> list[float]:
        if call.prepared is None:
            return []
        distinct = call.prepared.finish(outputs, self._settings.normalize).tolist()
        return [distinct[place] for place in call.places]

    def _ranking(self, call: "_Call", outputs: Outputs) -> Ranking:
        scores = self._scores(call, outputs)
        was_cut = call.prepared.cut if call.prepared else ()
        return Ranking(
            tuple(Ranked(at, scores[at], call.documents[at]) for at in call.cut.apply(scores)),
            model=self.model,
            truncated=sum(was_cut[place] for place in call.places) if was_cut else 0,
            usage=Usage(call.prepared.tokens if call.prepared else 0),
            elapsed_s=time.perf_counter() - call.started,
        )

    def _require_instructable(self) -> None:
        if not self._hold.family.instructable:
            raise InvalidInput(
                f"{self.model} takes no instruction; leave it out, or choose a model that was trained with one"
            )


class _Call:
    """One call on its way from the caller's texts to the caller's scores."""

    def __init__(self, query: str, documents: list[Document], cut: Cut = _EVERYTHING) -> None:
        self.started = time.perf_counter()
        self.query, self.documents, self.cut = query, documents, cut
        self.prepared: Prepared | None = None
        """What the family made of the distinct texts; None while or where there are none."""

        self.places: list[int] = []
        """For each document, the place of its text among the distinct ones."""

        self.future: Future[Outputs] = Future()


class _Reading:
    """A source of calls that several threads advance and close, one after the other."""

    def __init__(self, calls: Generator[_Call]) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._closed = False
        self._last: _Call | None = None

    def next(self) -> _Call | None:
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


def _result(future: "Future[Outputs]") -> Outputs:
    """Wait for a future; whoever stops waiting, by Ctrl-C for one, cancels it."""
    try:
        return future.result()
    finally:
        future.cancel()


def _requests(requests: Iterable[Request]) -> Iterator[tuple[int, str, list[Document]]]:
    for at, request in enumerate(requests):
        try:
            query, documents = request
        except (TypeError, ValueError):
            raise InvalidInput(f"requests[{at}] must be a pair of a query and its documents") from None
        with _naming(at):
            read = read_documents(documents)
        yield at, query, read


def _iterable(requests: Iterable[Request]) -> Iterable[Request]:
    if isinstance(requests, str | bytes | Mapping) or not isinstance(requests, Iterable):
        raise InvalidInput(f"requests must be pairs of a query and its documents, not {type(requests).__name__}")
    return requests


@contextmanager
def _naming(at: int) -> Iterator[None]:
    """Say in which of many requests the fault lies."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"requests[{at}]: {error}") from None


def _count(requests: object) -> int | None:
    return len(requests) if isinstance(requests, Sized) else None
