"""From what was measured to figures: medians, spreads, ratios, agreement."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Scores = Sequence[Sequence[float]]
"""One list for each request."""


@dataclass
class Tally:
    """What was measured of one contestant, round by round."""

    ready: dict[str, Any] = field(default_factory=dict)
    """What it said when it was loaded: seconds, versions."""

    first_call_s: float = 0.0
    seconds: dict[int, float] = field(default_factory=dict)
    """How long all requests of a round took, by the number of the round."""

    latencies: list[float] = field(default_factory=list)
    """How long each short request took."""

    callers: dict[str, list[tuple[float, list[float]]]] = field(default_factory=dict)
    """Seconds of a round and of each call in it, of callers "in turns" and "together"."""

    scores: Scores = ()
    peak_bytes: int = 0
    gpu_peak_bytes: int | None = None
    why_not: str = ""
    """Why there are no figures, or no more than these."""


def spread(numbers: Sequence[float]) -> dict[str, float]:
    """Return the median, the least and the most."""
    return {"median": statistics.median(numbers), "least": min(numbers), "most": max(numbers)}


def ratio(ours: dict[int, float], baseline: dict[int, float]) -> float | None:
    """Return how many times as fast as the baseline: round by round, as neighbours in time had the same machine."""
    both = [baseline[number] / ours[number] for number in ours.keys() & baseline.keys()]
    return statistics.median(both) if both else None


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of calls, as times that were really taken."""
    p50, p99 = np.percentile(seconds, [50, 99], method="higher")
    return {"median": float(p50), "p99": float(p99), "calls": len(seconds)}


def crowd(rounds: Sequence[tuple[float, Sequence[float]]], documents: int) -> dict[str, float]:
    """Return what callers at once got: documents a second in the median round, and the latency of their calls."""
    calls = [second for _, latencies in rounds for second in latencies]
    return {"documents a second": documents / statistics.median(seconds for seconds, _ in rounds)} | latency(calls)


def agreement(scores: Scores, exact: Scores) -> dict[str, float]:
    """Return the largest difference between two sets of scores, and how alike the orders are that they give."""
    difference = max(
        float(np.max(np.abs(np.subtract(ours, theirs)))) for ours, theirs in zip(scores, exact, strict=True)
    )
    correlations = [rank_correlation(ours, theirs) for ours, theirs in zip(scores, exact, strict=True)]
    return {"largest difference": difference, "rank correlation": statistics.mean(correlations)}


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's correlation, ties sharing their places; 1 where one of the two has no order at all."""
    ranks = [_ranks(np.asarray(numbers, dtype=float)) for numbers in (one, other)]
    if any(np.ptp(places) == 0 for places in ranks):
        return 1.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (ends - (counts - 1) / 2)[inverse]
    return ranks
