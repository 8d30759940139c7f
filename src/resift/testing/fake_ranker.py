"""A ranker without a model: scores by a function, notes what it was asked, and fails or waits when it is told to."""

import asyncio
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, InitVar, dataclass, field
from types import TracebackType
from typing import Any, Self

from resift.documents import read_documents, read_instruction, read_query, render
from resift.errors import EndpointMisbehaved
from resift.many import naming, numbered, read_many
from resift.types import Cut, Document, Ranked, Ranking, Request, Usage

_PATIENCE_S, _GLANCE_S = 30.0, 0.01


def checksum(query: str, text: str, instruction: str | None) -> float:
    """Score a text by its checksum: the same everywhere, and of few values, so that there are ties."""
    return zlib.crc32(f"{query}|{text}|{instruction}".encode(errors="replace")) % 7 / 4


def one(text: str) -> int:
    """Count a text as one token, so that usage says how many documents were read."""
    return 1


@dataclass(eq=False)
class FakeRanker:
    """
    A ranker for tests. All that it does may be changed at any time, by threads and event loops too.

    >>> ranker = FakeRanker(scorer=lambda query, text, instruction: text.count("panda"))
    >>> [hit.index for hit in ranker.rank("panda", ["a bear", "a panda", "panda, panda"])]
    [2, 1, 0]
    >>> ranker.asked[0]["documents"]
    ['a bear', 'a panda', 'panda, panda']
    """

    model: str = "fake"
    scorer: Callable[[str, str, str | None], float] = checksum
    """Returns the score of a query, a document's text and an instruction. What it returns is passed on as it is."""

    _: KW_ONLY
    says: InitVar[Mapping[str, Any] | None] = None
    """What it says of itself, by the names that `resift.Described` has; each becomes an attribute."""

    drops: frozenset[str] = frozenset()
    """Texts that get no score: `missing` names them in a ranking."""

    cuts: frozenset[str] = frozenset()
    """Texts that count as truncated."""

    counts: Callable[[str], int] | None = one
    """Returns how many tokens a text has; with None it does not say how many it read."""

    renumber: Callable[[int], int] | None = None
    """Returns what stands in a ranking instead of a document's own index."""

    fails: list[Exception] = field(default_factory=list)
    """Errors to raise instead of answers: each once, in this order."""

    gate: threading.Event | None = None
    """Holds calls back until it is set, threads and coroutines alike; half a minute later they fail."""

    delay_s: float = 0.0
    """How long each call takes: its thread sleeps, or its coroutine."""

    asked: list[dict[str, Any]] = field(default_factory=list, init=False)
    """Each call that could mean something: its "verb", "rank" or "score", "query", "documents" and options."""

    at_once: int = field(default=0, init=False)
    """How many calls are under way."""

    most_at_once: int = field(default=0, init=False)
    """How many calls were ever under way together."""

    cancelled: int = field(default=0, init=False)
    """How many coroutines were cancelled."""

    closed: int = field(default=0, init=False)
    """How many times it was closed; that changes nothing else."""

    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self, says: Mapping[str, Any] | None) -> None:
        vars(self).update(says or {})

    def __repr__(self) -> str:
        return f"FakeRanker({self.model!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy does as this one does; nothing holds it back, and it has been asked nothing."""
        counts = dict.fromkeys(("at_once", "most_at_once", "cancelled", "closed"), 0)
        return {**vars(self), **counts, "asked": [], "fails": list(self.fails), "gate": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    @property
    def texts_asked(self) -> list[list[Document]]:
        """The documents of each call."""
        return [call["documents"] for call in self.asked]

    def score(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Return one score per document; an `EndpointMisbehaved` where one has none."""
        with self._call("score", query, documents, instruction=instruction) as call:
            self._wait()
            return call.scores()

    async def ascore(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Do what `score` does; waiting does not block the event loop."""
        with self._call("score", query, documents, instruction=instruction) as call:
            await self._await()
            return call.scores()

    def rank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        """Return the documents in the order of their scores."""
        options = {"top_n": top_n, "threshold": threshold, "instruction": instruction}
        with self._call("rank", query, documents, **options) as call:
            self._wait()
            return call.ranking()

    async def arank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        """Do what `rank` does; waiting does not block the event loop."""
        options = {"top_n": top_n, "threshold": threshold, "instruction": instruction}
        with self._call("rank", query, documents, **options) as call:
            await self._await()
            return call.ranking()

    def rank_many(
        self,
        requests: Iterable[Request],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> Iterator[Ranking]:
        """Rank one request after the other, each when its ranking is asked for."""
        options: dict[str, Any] = {"top_n": top_n, "threshold": threshold, "instruction": instruction}
        for at, query, documents in numbered(read_many(requests)):
            with naming(at):
                ranking = self.rank(query, documents, **options)
            yield ranking

    async def arank_many(
        self,
        requests: Iterable[Request],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> AsyncIterator[Ranking]:
        """Do what `rank_many` does; waiting does not block the event loop."""
        options: dict[str, Any] = {"top_n": top_n, "threshold": threshold, "instruction": instruction}
        for at, query, documents in numbered(read_many(requests)):
            with naming(at):
                ranking = await self.arank(query, documents, **options)
            yield ranking

    def close(self) -> None:
        """Count it."""
        self.closed += 1

    async def aclose(self) -> None:
        """Count it."""
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

    @contextmanager
    def _call(self, verb: str, query: str, documents: Iterable[Document], **options: Any) -> Iterator["_Call"]:
        """Check a call and note it; count it as long as it is under way."""
        read, told = read_query(query), read_instruction(options["instruction"])
        call = _Call(self, read, read_documents(documents), Cut(options.get("top_n"), options.get("threshold")), told)
        with self._lock:
            self.asked.append({"verb": verb, "query": query, "documents": call.documents, **options})
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            call.failure = self.fails.pop(0) if self.fails else None
        try:
            yield call
        except asyncio.CancelledError:
            with self._lock:
                self.cancelled += 1
            raise
        finally:
            with self._lock:
                self.at_once -= 1

    def _wait(self) -> None:
        """Wait for the gate, and take the time that a call takes."""
        if self.gate is not None and not self.gate.wait(_PATIENCE_S):
            raise _never_opened()
        if self.delay_s:
            time.sleep(self.delay_s)

    async def _await(self) -> None:
        """Do what `_wait` does as a coroutine."""
        patient_until = time.monotonic() + _PATIENCE_S
        while self.gate is not None and not self.gate.is_set():
            if time.monotonic() > patient_until:
                raise _never_opened()
            await asyncio.sleep(_GLANCE_S)  # threads and other event loops wait for the same gate
        await asyncio.sleep(self.delay_s)


@dataclass(eq=False)
class _Call:
    """A call that a fake answers."""

    ranker: FakeRanker
    query: str
    documents: list[Document]
    cut: Cut
    instruction: str | None
    failure: Exception | None = None
    started: float = field(default_factory=time.perf_counter)

    def scores(self) -> list[float]:
        """Return every document's score."""
        ranking = self.ranking()
        if ranking.missing:
            raise EndpointMisbehaved(f"no score for documents {list(ranking.missing)}")
        return [hit.score for hit in sorted(ranking, key=lambda hit: hit.index)]

    def ranking(self) -> Ranking:
        """Return the documents in the order of their scores."""
        if self.failure is not None:
            raise self.failure
        ranker = self.ranker
        texts = [render(document, at) for at, document in enumerate(self.documents)]
        kept = [at for at, text in enumerate(texts) if text not in ranker.drops]
        scores = [ranker.scorer(self.query, texts[at], self.instruction) for at in kept]
        return Ranking(
            tuple(self._hit(kept[place], scores[place]) for place in self.cut.apply(scores)),
            model=ranker.model,
            truncated=sum(texts[at] in ranker.cuts for at in kept),
            usage=Usage(sum(map(ranker.counts, texts))) if ranker.counts else None,
            elapsed_s=time.perf_counter() - self.started,
            missing=tuple(at for at, text in enumerate(texts) if text in ranker.drops),
        )

    def _hit(self, at: int, score: float) -> Ranked:
        named = at if self.ranker.renumber is None else self.ranker.renumber(at)
        return Ranked(named, score, self.documents[at])


def _never_opened() -> TimeoutError:
    return TimeoutError(f"a FakeRanker was held back for {_PATIENCE_S:g} s, and nobody set its gate")
