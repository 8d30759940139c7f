"""Pairs in any order to one score each: what evaluators ask of a cross-encoder."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resift.errors import InvalidInput, ScoringFailed
from resift.types import Ranker

Pair = Sequence[str]
Scores = NDArray[np.float64]


def score_pairs(
    ranker: Ranker, pairs: Sequence[Pair], *, instruction: str | None = None, progress: bool = False
) -> Scores:
    """
    Return the score of each pair of a query and a document, in their order.

    The pairs of one query become one request, so that the query is read once and a listwise model sees its list.
    """
    by_query: dict[str, list[int]] = {}
    for at, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise InvalidInput(f"pair {at} must be a query and a document, both texts")
        by_query.setdefault(pair[0], []).append(at)
    requests = ((query, [pairs[at][1] for at in places]) for query, places in by_query.items())
    rankings = ranker.rank_many(requests, instruction=instruction, progress=progress)
    scores = np.full(len(pairs), np.nan)
    for ranking, places in zip(rankings, by_query.values(), strict=True):
        for hit in ranking:
            scores[places[hit.index]] = hit.score
    unscored = int(np.isnan(scores).sum())
    if unscored:
        raise ScoringFailed(
            f"{ranker.model} left {unscored} of {len(pairs)} pairs without a score, and an evaluator needs one for each"
        )
    return scores
