"""Rankers whose answers tests decide: they score by arithmetic, note what they were asked, and fail on demand."""

import asyncio
import logging
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from resift.documents import read_documents, render
from resift.errors import EndpointMisbehaved
from resift.types import Cut, Document, Ranked, Ranker, Ranking, Request, Usage


def checksum(query: str, text: str, instruction: str | None) -> float:
    """Score a document by nothing but its own text; few enough scores that there are ties."""
    return zlib.crc32(f"{query}|{text}|{instruction}".encode(errors="replace")) % 7 / 4


@dataclass(eq=False)
class FakeRanker:
    """
    Ranks by `scorer`; says of itself what is in `says`; drops the texts in `drops` and cuts those in `cuts`.

    `fails` is raised instead of an answer, as often as it has errors. `gate` holds calls back until it is set.
    """

    model: str = "fake"
    scorer: Callable[[str, str, str | None], float] = checksum
    says: dict[str, Any] = field(default_factory=dict)
    drops: frozenset[str] = frozenset()
    cuts: frozenset[str] = frozenset()
    counts: bool = True
    """Whether it says how many tokens it read: one for every document."""

    fails: list[Exception] = field(default_factory=list)
    gate: threading.Event | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    cancelled: int = 0
    closed: int = 0
    most_at_once: int = 0
    at_once: int = 0
    awaiting: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def __getattr__(self, name: str) -> Any:
        """Say what this ranker says of itself, if it says anything."""
        says = self.__dict__.get("says", {})
        if name in says:
            return says[name]
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"FakeRanker({self.model!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "lock": None, "asked": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=threading.Lock())

    @property
    def texts_asked(self) -> list[list[Any]]:
        """The documents of each call."""
        return [call["documents"] for call in self.asked]

    def score(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        with self._answering("score", query, documents, instruction=instruction) as listed:
            ranking = self._ranking(query, listed, Cut(), instruction)
            if ranking.missing:
                raise EndpointMisbehaved(f"no score for documents {list(ranking.missing)}")
            return [hit.score for hit in sorted(ranking, key=lambda hit: hit.index)]

    async def ascore(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        await self._awaiting()
        return self.score(query, documents, instruction=instruction)

    def rank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        options = {"top_n": top_n, "threshold": threshold, "instruction": instruction}
        with self._answering("rank", query, documents, **options) as listed:
            return self._ranking(query, listed, Cut(top_n, threshold), instruction)

    async def arank(self, query: str, documents: Iterable[Document], **options: Any) -> Ranking:
        await self._awaiting()
        return self.rank(query, documents, **options)

    def rank_many(self, requests: Iterable[Request], *, progress: bool = False, **options: Any) -> Iterator[Ranking]:
        return (self.rank(query, documents, **options) for query, documents in requests)

    async def arank_many(
        self, requests: Iterable[Request], *, progress: bool = False, **options: Any
    ) -> AsyncIterator[Ranking]:
        for query, documents in requests:
            yield await self.arank(query, documents, **options)

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.close()

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
        self.close()

    async def _awaiting(self) -> None:
        """Wait for the gate as a coroutine does, noting who is sent away."""
        self.awaiting += 1
        self.most_at_once = max(self.most_at_once, self.awaiting)
        try:
            while self.gate is not None and not self.gate.is_set():  # noqa: ASYNC110 - threads wait for it too
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.awaiting -= 1

    def _answering(self, verb: str, query: str, documents: Iterable[Document], **options: Any) -> "_Answering":
        return _Answering(self, {"verb": verb, "query": query, "documents": read_documents(documents), **options})

    def _ranking(self, query: str, documents: list[Document], cut: Cut, instruction: str | None) -> Ranking:
        texts = [render(document, at) for at, document in enumerate(documents)]
        kept = [at for at, text in enumerate(texts) if text not in self.drops]
        scores = [self.scorer(query, texts[at], instruction) for at in kept]
        return Ranking(
            tuple(Ranked(kept[place], scores[place], documents[kept[place]]) for place in cut.apply(scores)),
            model=self.model,
            truncated=sum(texts[at] in self.cuts for at in kept),
            usage=Usage(len(documents)) if self.counts else None,
            elapsed_s=0.001,
            missing=tuple(at for at, text in enumerate(texts) if text in self.drops),
        )


class _Answering:
    """One call that a fake is answering."""

    def __init__(self, ranker: FakeRanker, call: dict[str, Any]) -> None:
        self.ranker, self.call = ranker, call

    def __enter__(self) -> list[Any]:
        ranker = self.ranker
        with ranker.lock:
            ranker.asked.append(self.call)
            ranker.at_once += 1
            ranker.most_at_once = max(ranker.most_at_once, ranker.at_once)
            failure = ranker.fails.pop(0) if ranker.fails else None
        if ranker.gate is not None:
            ranker.gate.wait(10)
        if failure is not None:
            self.__exit__()
            raise failure
        listed: list[Any] = self.call["documents"]
        return listed

    def __exit__(self, *_: object) -> None:
        with self.ranker.lock:
            self.ranker.at_once -= 1


def ranking_of(ranker: Ranker, way: str, query: str, documents: Any, **options: Any) -> Ranking:
    """Ask for a ranking in one of the four ways there are."""
    if way == "rank":
        return ranker.rank(query, documents, **options)
    if way == "arank":
        ranking: Ranking = asyncio.run(_awaited(ranker.arank(query, documents, **options)))
        return ranking
    if way == "rank_many":
        (only,) = ranker.rank_many([(query, documents)], **options)
        return only
    return asyncio.run(_only(ranker.arank_many([(query, documents)], **options)))


def scores_of(ranker: Ranker, way: str, query: str, documents: Any, **options: Any) -> list[float]:
    """Ask for scores in the way that goes with that way to rank."""
    if way.startswith("a"):
        scores: list[float] = asyncio.run(_awaited(ranker.ascore(query, documents, **options)))
        return scores
    return ranker.score(query, documents, **options)


WAYS = ("rank", "arank", "rank_many", "arank_many")


async def _awaited(answer: Any) -> Any:
    return await answer


async def _only(rankings: AsyncIterator[Ranking]) -> Ranking:
    (only,) = [ranking async for ranking in rankings]
    return only


@contextmanager
def logged() -> Iterator[list[str]]:
    """Give the list that the lines of resift's log, warnings and above, come to stand in."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("resift")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def until(condition: Callable[[], bool], patience_s: float = 10.0) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < ends, "it never became so"
        time.sleep(0.005)
