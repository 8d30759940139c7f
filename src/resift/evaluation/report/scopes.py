"""What one set of figures is about: a collection, or all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resift.evaluation.latency import Latency
from resift.evaluation.record import FIRST_STAGE, Comparison, Estimate, Rating, Record, Standing

EVERYTHING = "all collections"


@dataclass(frozen=True, slots=True)
class Scope:
    """One collection, or all."""

    name: str
    queries: int
    measures: tuple[str, ...]
    standing: Standing
    latencies: Mapping[str, Latency]
    """Of the rows that were timed."""

    baseline: str

    @property
    def measure(self) -> str:
        """The measure that decides."""
        return self.measures[0]

    @property
    def order(self) -> list[str]:
        """The rows, best first."""
        return sorted(self.standing.measures, key=lambda row: -self.quality(row).mean)

    def quality(self, row: str) -> Estimate:
        """Return what a row is worth by the measure that decides."""
        return self.standing.measures[row][self.measure]

    def rating(self, row: str) -> Rating | None:
        """Return the rating of a row; the oracle has none."""
        return next((rating for rating in self.standing.ratings if rating.row == row), None)

    def against_baseline(self, row: str) -> Comparison | None:
        """Return how far a row is ahead of the baseline."""
        pairs = ((one.first, one.second) for one in self.standing.comparisons)
        return next(
            (one for one, pair in zip(self.standing.comparisons, pairs, strict=True) if pair == (row, self.baseline)),
            None,
        )


def scopes_of(record: Record) -> list[Scope]:
    """Return all collections together, where there are several, and then each."""
    baseline = record.protocol.baseline or FIRST_STAGE
    each = [
        Scope(
            name,
            len(results.queries),
            record.protocol.measures,
            results.standing,
            {row: facts.latency for row, facts in results.rows.items() if facts.latency is not None},
            baseline,
        )
        for name, results in record.collections.items()
    ]
    if len(each) == 1:
        return each
    queries = sum(scope.queries for scope in each)
    timed = {row: _together([scope.latencies.get(row) for scope in each]) for row in record.contestants}
    latencies = {row: latency for row, latency in timed.items() if latency is not None}
    return [Scope(EVERYTHING, queries, record.protocol.measures, record.overall, latencies, baseline), *each]


def _together(latencies: Sequence[Latency | None]) -> Latency | None:
    """Return the mean over collections, each of which counts the same; None where one of them was not timed."""
    known = [latency for latency in latencies if latency is not None]
    if len(known) < len(latencies):
        return None
    wall = sum(one.wall_s for one in known)
    tokens = [one.tokens_per_s * one.wall_s for one in known if one.tokens_per_s is not None]
    return Latency(
        queries=sum(one.queries for one in known),
        concurrency=known[0].concurrency,
        **{part: sum(getattr(one, part) for one in known) / len(known) for part in _MEANS},
        wall_s=wall,
        pairs_per_s=sum(one.pairs_per_s * one.wall_s for one in known) / wall,
        tokens_per_s=sum(tokens) / wall if len(tokens) == len(known) else None,
        peak_bytes=_most([one.peak_bytes for one in known]),
        peak_gpu_bytes=_most([one.peak_gpu_bytes for one in known]),
    )


_MEANS = ("mean_s", "p50_s", "p90_s", "p99_s")


def _most(peaks: Sequence[int | None]) -> int | None:
    return max((peak for peak in peaks if peak is not None), default=None)
