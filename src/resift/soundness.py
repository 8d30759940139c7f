"""Whether a ranking can be trusted, whoever made it: a ranker may be a stranger's."""

import math

from resift.errors import ScoringFailed
from resift.types import Ranking


def sound_scores(ranking: Ranking, count: int, *, of: str = "") -> dict[int, float]:
    """
    Return the scores of a ranking of `count` documents by document, best first, as Python's numbers.

    A ranking that names a document twice or one that there is not, or a score that is no number, is a `ScoringFailed`;
    `of` says there whose documents they are.
    """
    scores = {hit.index: float(hit.score) for hit in ranking}
    named = [*(hit.index for hit in ranking), *ranking.missing]
    if len(set(named)) < len(named) or not set(named) <= set(range(count)):
        raise ScoringFailed(f"{ranking.model!r} named a document twice, or one that is not among the {count}{of}")
    for index, score in scores.items():
        if not math.isfinite(score):
            raise ScoringFailed(f"{ranking.model!r} scored document {index}{of} {score}; a score is a finite number")
    return scores
