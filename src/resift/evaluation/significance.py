"""Whether a difference could be chance: Fisher's randomisation of paired queries, and Holm's care for many pairs."""

import numpy as np

from resift.evaluation.ties import Floats

_ROUNDING = 1e-12  # sums of the same numbers in another order differ by less


def p_values(observed: Floats, flipped: Floats) -> Floats:
    """
    Return the chance of differences at least as large as these if neither of two rankers were better.

    `flipped` are the differences of (rounds, pairs) that chance made. What was observed counts as one of them, so that
    no p is 0.
    """
    as_large = np.abs(flipped) >= np.abs(observed) - _ROUNDING
    chances: Floats = (1 + np.count_nonzero(as_large, axis=0)) / (1 + len(flipped))
    return chances


def holm(p: Floats) -> Floats:
    """Return p-values that hold for all of them at once, by Holm's step-down method."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
