"""The score of late interaction: the best match of each of a query's vectors in a document, added up."""

from collections.abc import Sequence

import numpy as np

from resift.scoring.backends import Outputs
from resift.scoring.families import Scores


def maxsim(query: Outputs, documents: Sequence[Outputs]) -> Scores:
    """
    Return the score of each document; 0 where either side has no vector.

    One product per document is faster than one over all of them side by side, which would have to be copied together
    first; and a document's score is the same to the last bit in whatever list it stands.
    """
    return np.array([_best(query, document) for document in documents], dtype=np.float64)


def _best(query: Outputs, document: Outputs) -> float:
    if not len(query) or not len(document):
        return 0.0
    return float((query @ document.T).max(axis=1).sum(dtype=np.float64))
