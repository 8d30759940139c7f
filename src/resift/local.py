"""The ranker whose model runs in this process."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future
from contextlib import closing
from types import TracebackType
from typing import Self

import numpy as np

from resift.documents import read_documents, read_query, render
from resift.errors import InvalidInput
from resift.progress import progress_bar
from resift.scoring.backends import Outputs
from resift.scoring.families import Prepared
from resift.scoring.loading import Hold
from resift.settings import Settings
from resift.types import Cut, Document, Ranked, Ranking, Request, Usage

_EVERYTHING = Cut()
_NOTHING: Outputs = np.empty((0, 0), dtype=np.float32)
_BREATHS_AHEAD = 2  # how far `rank_many` reads on while the model is busy


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
        self._begin(call, instruction)
        return call.scores(_result(call.future))

    async def ascore(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Do what `score` does without blocking the event loop."""
        call = _Call(query, read_documents(documents))
        await asyncio.to_thread(self._begin, call, instruction)
        return call.scores(await asyncio.wrap_future(call.future))

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
        self._begin(call, instruction)
        return self._ranking(call, _result(call.future))

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
        await asyncio.to_thread(self._begin, call, instruction)
        return self._ranking(call, await asyncio.wrap_future(call.future))

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
        calls = self._look_ahead(requests, Cut(top_n, threshold), instruction)
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
        calls = self._look_ahead(requests, Cut(top_n, threshold), instruction)
        return self._arank_many(calls, _count(requests), progress=progress)

    async def _arank_many(
        self, calls: "Generator[_Call]", total: int | None, *, progress: bool
    ) -> AsyncIterator[Ranking]:
        with closing(calls), progress_bar(total, shown=progress) as advance:
            while (call := await asyncio.to_thread(next, calls, None)) is not None:
                yield self._ranking(call, await asyncio.wrap_future(call.future))
                advance()

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

    def _begin(self, call: "_Call", instruction: str | None) -> None:
        """Turn the caller's texts into ids, here in the caller's thread, and hand them to the engine."""
        self._hold.require()
        if instruction is not None:
            self._require_instructable()
        query = read_query(call.query)
        texts = [render(document, at, self._settings.fields) for at, document in enumerate(call.documents)]
        if texts:
            chosen = self._settings.instruction if instruction is None else instruction
            call.begin(self._hold.family.prepare(query, texts, chosen), self._hold, self._settings.normalize)

    def _look_ahead(self, requests: Iterable[Request], cut: Cut, instruction: str | None) -> "Generator[_Call]":
        """Begin requests ahead of time; yield each when it is its turn to be waited for."""
        waiting: deque[_Call] = deque()
        try:
            for call in _calls(requests, cut):
                self._begin(call, instruction)
                waiting.append(call)
                while sum(begun.tokens for begun in waiting) > self._hold.breath_tokens * _BREATHS_AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for call in waiting:
                call.future.cancel()

    def _ranking(self, call: "_Call", outputs: Outputs) -> Ranking:
        scores = call.scores(outputs)
        return Ranking(
            tuple(Ranked(at, scores[at], call.documents[at]) for at in call.cut.apply(scores)),
            model=self.model,
            truncated=call.truncated,
            usage=Usage(call.tokens),
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
        self.tokens = self.truncated = 0
        self.future: Future[Outputs] = Future()
        self._finish: Callable[[Outputs], list[float]] = _no_scores
        if not documents:
            self.future.set_result(_NOTHING)

    def begin(self, prepared: Prepared, hold: Hold, normalize: bool | None) -> None:  # noqa: FBT001
        """Hand the prepared sequences to the engine, if the family left any to run."""
        self.tokens, self.truncated = prepared.tokens, prepared.truncated
        self._finish = lambda outputs: prepared.finish(outputs, normalize).tolist()
        if prepared.sequences:
            self.future = hold.submit(prepared.sequences, prepared.prefix)
        else:
            self.future.set_result(_NOTHING)

    def scores(self, outputs: Outputs) -> list[float]:
        """Return the score of each document."""
        return self._finish(outputs)


def _no_scores(outputs: Outputs) -> list[float]:
    return []


def _result(future: "Future[Outputs]") -> Outputs:
    """Wait for a future; whoever stops waiting, by Ctrl-C for one, cancels it."""
    try:
        return future.result()
    finally:
        future.cancel()


def _calls(requests: Iterable[Request], cut: Cut) -> Iterator[_Call]:
    for at, request in enumerate(requests):
        try:
            query, documents = request
        except (TypeError, ValueError):
            raise InvalidInput(f"requests[{at}] must be a pair of a query and its documents") from None
        yield _Call(query, read_documents(documents), cut)


def _count(requests: object) -> int | None:
    return len(requests) if isinstance(requests, Sized) else None
