"""Whether a graph says what the model's weights say."""

from dataclasses import dataclass

import numpy as np

from resift.errors import ModelUnsupported
from resift.exporting.samples import QUERY, documents
from resift.scoring.backends import Backend
from resift.scoring.engine import Engine
from resift.scoring.families import Family, Scores

_RAW = False  # what `normalize` says of scores before any sigmoid
_EXACT = 1e-4  # of the largest score, or of 1: what another order of sums may change in full precision


@dataclass(frozen=True, slots=True)
class Proof:
    """How near the scores of a graph are to those of the weights, on a sample."""

    documents: int
    largest_difference: float
    rank_correlation: float

    def require_exact(self, model: str, scale: float) -> None:
        """Refuse a graph of full precision that says something else."""
        if not self.largest_difference <= _EXACT * max(1.0, scale):
            raise ModelUnsupported(
                f"the graph of {model} differs from its weights by {self.largest_difference:.1e}, so nothing was "
                "written; load the model with backend='torch'"
            )


def sample_scores(family: Family, backend: Backend) -> Scores:
    """Return what a model says of the sample, before any sigmoid; its backend is closed afterwards."""
    prepared = family.prepare(QUERY, documents(), None)
    engine = Engine([backend])
    try:
        outputs = engine.submit(prepared.sequences, prepared.prefix).result()
        return prepared.finish(outputs, _RAW)
    finally:
        engine.close()


def compare(exact: Scores, found: Scores) -> Proof:
    """Say how near some scores are to others."""
    return Proof(len(exact), float(np.abs(exact - found).max()), _correlation(exact, found))


def _correlation(some: Scores, others: Scores) -> float:
    """Return Spearman's rank correlation."""
    some_ranks, other_ranks = (np.argsort(np.argsort(scores)) for scores in (some, others))
    return float(np.corrcoef(some_ranks, other_ranks)[0, 1])
