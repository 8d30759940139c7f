"""What the means of many columns might have been, had other queries of the same kind been asked."""

import numpy as np

from resift.evaluation.ties import Floats

_CHUNK = 4_000_000  # numbers that are held at once: 32 MB


def resampled_means(columns: Floats, *, rounds: int, chance: np.random.Generator) -> Floats:
    """Return the means of columns of (queries, columns) over queries drawn anew, with replacement, in each round."""
    queries = len(columns)
    step = max(1, _CHUNK // queries)
    means = [_counts(min(step, rounds - done), queries, chance) @ columns / queries for done in range(0, rounds, step)]
    return np.concatenate(means)


def flipped_means(columns: Floats, *, rounds: int, chance: np.random.Generator) -> Floats:
    """Return the means of columns of (queries, columns) where in each round every query changes its sign by chance."""
    queries = len(columns)
    step = max(1, _CHUNK // queries)
    means = [_signs(min(step, rounds - done), queries, chance) @ columns / queries for done in range(0, rounds, step)]
    return np.concatenate(means)


def _counts(rounds: int, queries: int, chance: np.random.Generator) -> Floats:
    """Return how often each query is drawn in each round."""
    drawn = chance.integers(0, queries, (rounds, queries)) + queries * np.arange(rounds)[:, None]
    counts: Floats = np.bincount(drawn.ravel(), minlength=rounds * queries).reshape(rounds, queries).astype(np.float64)
    return counts


def _signs(rounds: int, queries: int, chance: np.random.Generator) -> Floats:
    bits = np.unpackbits(np.frombuffer(chance.bytes((rounds * queries + 7) // 8), dtype=np.uint8))
    signs: Floats = bits[: rounds * queries].reshape(rounds, queries).astype(np.float64) * 2 - 1
    return signs
