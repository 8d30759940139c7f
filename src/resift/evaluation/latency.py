"""How long a ranker takes for a query, and how much it gets done, while so many ask at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resift.evaluation.memory import NO_PEAK, Peak


@dataclass(frozen=True, slots=True)
class Timing:
    """One query that was timed: when it was asked, how long it took, how much there was to read."""

    begins_s: float
    takes_s: float
    pairs: int
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Latency:
    """What queries took that were asked one after another by each of `concurrency` callers, in one session."""

    queries: int
    concurrency: int
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    wall_s: float
    """From the first question to the last answer."""

    pairs_per_s: float
    tokens_per_s: float | None
    """None where the ranker did not say what it read."""

    peak_bytes: int | None = None
    """The most memory that the whole process held meanwhile; None where the system does not tell."""

    peak_gpu_bytes: int | None = None
    """The most memory that torch held on GPUs meanwhile; None where no model of torch runs on one."""


def summarise(timings: Sequence[Timing], *, concurrency: int, peak: Peak = NO_PEAK) -> Latency:
    """Sum up one or more timings. A percentile is a time that one of the queries really took."""
    took = np.array([timing.takes_s for timing in timings])
    ends = max(timing.begins_s + timing.takes_s for timing in timings)
    wall = max(ends - min(timing.begins_s for timing in timings), 1e-9)
    tokens = [timing.tokens for timing in timings if timing.tokens is not None]
    p50, p90, p99 = np.percentile(took, (50, 90, 99), method="inverted_cdf").tolist()
    return Latency(
        queries=len(took),
        concurrency=concurrency,
        mean_s=float(took.mean()),
        p50_s=p50,
        p90_s=p90,
        p99_s=p99,
        wall_s=wall,
        pairs_per_s=sum(timing.pairs for timing in timings) / wall,
        tokens_per_s=sum(tokens) / wall if len(tokens) == len(took) else None,
        peak_bytes=peak.process_bytes,
        peak_gpu_bytes=peak.gpu_bytes,
    )
