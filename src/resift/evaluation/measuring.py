"""Runs beside judgements: what each is worth at each query, and what ties leave open."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from resift.evaluation.collection import Collection
from resift.evaluation.measures import Measure
from resift.evaluation.record import FIRST_STAGE, ORACLE, Ties
from resift.evaluation.runs import Listing, Run
from resift.evaluation.ties import Floats, Graded, Slots, grade

_FIRST_PAGE = 10  # the places that people look at


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """What one run is worth: (queries, measures)."""

    values: Floats
    ties: Ties


def measure(
    collection: Collection, runs: Mapping[str, Run], measures: tuple[Measure, ...], *, relevant_from: int = 1
) -> dict[str, Sheet]:
    """
    Measure runs on the judged queries of a collection.

    One more is added, the oracle: what the first of the runs would be worth in the best order of its documents.
    """
    said = [collection.judgements[query] for query in collection.judged]
    everything = [Listing.unordered(tuple(grades)) for grades in said]
    ideal = grade(everything, said, relevant_from=relevant_from).ideal().on_average()
    graded = {
        name: grade([run.of(query) for query in collection.judged], said, relevant_from=relevant_from)
        for name, run in runs.items()
    }
    graded[ORACLE] = graded[FIRST_STAGE].ideal()
    return {name: _sheet(one, ideal, measures) for name, one in graded.items()}


def _sheet(graded: Graded, ideal: Slots, measures: tuple[Measure, ...]) -> Sheet:
    average = graded.on_average()
    values = np.stack([measure.of(average, ideal) for measure in measures], axis=1)
    page = average.size[average.place <= _FIRST_PAGE]
    if not np.any(average.size > 1):
        mean = float(values[:, 0].mean())
        return Sheet(values, Ties(mean, mean, 0.0))
    best, worst = (float(measures[0].of(slots, ideal).mean()) for slots in (graded.at_best(), graded.at_worst()))
    return Sheet(values, Ties(best, worst, float((page > 1).mean())))
