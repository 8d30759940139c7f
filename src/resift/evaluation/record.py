"""The record of an evaluation: plain values, as they are kept in results.json."""

from dataclasses import dataclass, field

from resift.evaluation.environment import Environment
from resift.evaluation.latency import Latency

FIRST_STAGE, ORACLE = "first stage", "oracle"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and the interval that holds it in 95 of 100 sets of queries of the same kind."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the first of two is ahead of the second, by the first measure, and whether that could be chance."""

    first: str
    second: str
    difference: Estimate
    p: float
    p_holm: float
    """The same, when it is one of all comparisons made."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A rating on Elo's scale, where the first stage has 1500, and a place among all, 1 for the best."""

    row: str
    rating: Estimate
    rank: int
    best_rank: int
    worst_rank: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How all stand to each other, on one collection or over all."""

    measures: dict[str, dict[str, Estimate]]
    """By row and measure."""

    comparisons: tuple[Comparison, ...]
    ratings: tuple[Rating, ...]
    """Best first; the oracle takes no part."""

    wins: dict[str, dict[str, float]]
    """The share of the queries that the first wins against the second; a draw is half a win."""

    ahead: dict[str, dict[str, float]]
    """How likely it is, over sets of queries of the same kind, that the first is rated above the second."""


@dataclass(frozen=True, slots=True)
class Ties:
    """What equal scores leave open: the first measure where ties are broken at best and at worst."""

    best: float
    worst: float
    tied: float
    """The share of the first ten places whose document could be another one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant, the first stage or the oracle, on one collection."""

    values: dict[str, tuple[float, ...]]
    """Each measure of each query, in the order of the collection's `queries`."""

    ties: Ties
    unlisted: int = 0
    """How many queries it has no list for although there are candidates; it scores 0 there."""

    answered: int = 0
    """How many queries a ranker answered."""

    left_out: int = 0
    """How many documents it has no place for, as a cascade has for what it does not keep; they count as not found."""

    truncated: int = 0
    """How many documents it read only in part."""

    latency: Latency | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """All rows on one collection."""

    documents: int
    judgements: int
    queries: tuple[str, ...]
    """Those that have a relevant document."""

    first_stage: str
    """What made the lists."""

    pairs: int
    """How many documents there are to put in order, over all queries."""

    rows: dict[str, Row]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Contestant:
    """Who it is that takes part."""

    kind: str
    """The class of the ranker, or "Run"."""

    model: str
    identity: str | None = None
    """All that its scores depend on, as it says itself."""

    max_length: int | None = None
    runs_on: str | None = None
    """What runs its model, and where, as it was decided in the end."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How it was measured."""

    measures: tuple[str, ...]
    first_stage: str
    depth: int
    relevant_from: int
    baseline: str | None
    draw_within: float
    resamples: int
    flips: int
    seed: int
    timed: bool
    concurrency: int
    warm_up: int


@dataclass(frozen=True, slots=True)
class Record:
    """All of it."""

    created: str
    """When, in UTC."""

    environment: Environment
    protocol: Protocol
    contestants: dict[str, Contestant]
    collections: dict[str, Results]
    overall: Standing
    """Over all collections, each of which counts as much as any other."""

    warnings: tuple[str, ...] = field(default=())
