"""The values that everybody knows: a document, a ranked document, a ranking, and what a ranker is."""

import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, overload, runtime_checkable

from resift.amounts import whole
from resift.errors import InvalidInput

Document: TypeAlias = str | Mapping[str, Any]
Request: TypeAlias = tuple[str, Iterable[Document]]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One document in its place: its position in the caller's list, its score, and the caller's own object."""

    index: int
    score: float
    document: Document = field(repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call cost: the tokens that the model read."""

    tokens: int


@dataclass(frozen=True, slots=True)
class Workload:
    """What a model's devices have done since it was loaded, and what waits for them."""

    waiting_tokens: int = 0
    batches: int = 0
    tokens: int = 0
    room: int = 0
    """How many tokens those batches had room for; `tokens / room` is how full they were."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of a ranking the caller wants: scores from `threshold` up, then the best `top_n`."""

    top_n: int | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.top_n is not None:
            whole("top_n", self.top_n, advice="leave it out to keep every document")
        if self.threshold is not None:
            _require_number(self.threshold)

    def apply(self, scores: Sequence[float]) -> list[int]:
        """Return the positions to keep, best first, ties in input order."""
        order = sorted(range(len(scores)), key=lambda position: -scores[position])
        if self.threshold is not None:
            order = [position for position in order if scores[position] >= self.threshold]
        return order[: self.top_n]


def _require_number(threshold: object) -> None:
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or math.isnan(threshold):
        raise InvalidInput(f"threshold must be a number, not {threshold!r}; leave it out to keep every score")


@dataclass(frozen=True, slots=True, eq=False)
class Ranking(Sequence[Ranked]):
    """Documents in order of relevance, best first; ties keep the caller's order."""

    hits: tuple[Ranked, ...] = field(repr=False)
    model: str
    truncated: int = 0
    usage: Usage | None = None
    elapsed_s: float = 0.0
    missing: tuple[int, ...] = ()

    @overload
    def __getitem__(self, place: int) -> Ranked: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Ranked, ...]: ...
    def __getitem__(self, place: int | slice) -> Ranked | tuple[Ranked, ...]:
        return self.hits[place]

    def __len__(self) -> int:
        return len(self.hits)

    def __eq__(self, other: object) -> bool:
        """Two rankings are equal when the same model put the same documents in the same places."""
        if not isinstance(other, Ranking):
            return NotImplemented
        return (self.model, self.hits) == (other.model, other.hits)

    __hash__ = None  # type: ignore[assignment]  # documents may be mappings, which have no hash


@runtime_checkable
class Ranker(Protocol):
    """Whatever puts documents in order of relevance: a model here, an endpoint there, or a wrapper around either."""

    @property
    def model(self) -> str:
        """The name of the model that scores."""

    def score(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Return one score per document, in input order."""

    async def ascore(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Do what `score` does without blocking the event loop."""

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

    def rank_many(
        self,
        requests: Iterable[Request],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> Iterator[Ranking]:
        """Rank many requests with batches across them; yield their rankings lazily, in order."""

    def arank_many(
        self,
        requests: Iterable[Request],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> AsyncIterator[Ranking]:
        """Do what `rank_many` does without blocking the event loop."""

    def close(self) -> None:
        """Give back what the ranker holds; work already accepted is answered first."""

    async def aclose(self) -> None:
        """Do what `close` does without blocking the event loop."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Described(Protocol):
    """What a ranker may say of itself beside ranking; a cache and a server ask, and take care where it is silent."""

    @property
    def identity(self) -> str:
        """All that the scores depend on besides the texts, as one line: model, revision, settings; never a key."""

    @property
    def listwise(self) -> bool:
        """Whether a document's score depends on the other documents of the call."""

    @property
    def takes_instruction(self) -> bool:
        """Whether an instruction means something to the model."""

    @property
    def max_length(self) -> int | None:
        """How many tokens the model reads of a query with one document, where that is known."""
