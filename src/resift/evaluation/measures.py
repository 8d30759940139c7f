"""
How good lists are, one number for each: nDCG, MAP, MRR, Recall and precision, as trec_eval defines them.

Gains are the grades themselves, the ideal list is made of all judgements, and where scores tie the number is its
average over all orders of the tie.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from resift.errors import InvalidInput
from resift.evaluation.ties import Floats, Slots

MEASURES = ("nDCG@10", "nDCG@5", "MAP", "MRR@10", "Recall@10", "Recall@100", "P@10")
"""What is measured if nothing else is asked for; the first one decides who wins."""

_NAME = re.compile(r"(?P<kind>[A-Za-z]+)(?:@(?P<cutoff>[1-9][0-9]{0,5}))?")


@dataclass(frozen=True, slots=True)
class Measure:
    """A kind of measure, and how many places it looks at; None for all."""

    kind: str
    cutoff: int | None = None

    def __str__(self) -> str:
        return self.kind if self.cutoff is None else f"{self.kind}@{self.cutoff}"

    def of(self, found: Slots, ideal: Slots) -> Floats:
        """Return the measure of each list; `ideal` are the lists that nothing could improve."""
        return _KINDS[self.kind](_within(found, self.cutoff), ideal, self.cutoff)


def read_measure(name: str) -> Measure:
    """Return the measure of a name such as "nDCG@10" or "MAP"."""
    matched = _NAME.fullmatch(name) if isinstance(name, str) else None
    if matched is None or matched["kind"] not in _KINDS:
        raise InvalidInput(f"there is no measure {name!r}; {_meant(str(name))}")
    if matched["kind"] == "P" and matched["cutoff"] is None:
        raise InvalidInput("P needs a number of places, as in 'P@10'")
    return Measure(matched["kind"], int(matched["cutoff"]) if matched["cutoff"] else None)


def read_measures(names: Sequence[str]) -> tuple[Measure, ...]:
    """Return the measures of several names."""
    if isinstance(names, str) or not names:
        raise InvalidInput(f"measures must be a list of names such as 'nDCG@10', not {names!r}")
    measures = tuple(read_measure(name) for name in names)
    if len(set(measures)) < len(measures):
        raise InvalidInput(f"measures names one of {', '.join(map(str, names))} twice; take one out")
    return measures


def ndcg(found: Slots, ideal: Slots, cutoff: int | None) -> Floats:
    """Return the discounted gain of each list as a share of the most that it could be."""
    return _share(_dcg(found), _dcg(_within(ideal, cutoff)))


def average_precision(found: Slots, ideal: Slots, cutoff: int | None) -> Floats:
    """Return the mean, over the relevant documents, of the precision where each was found."""
    ahead_in_group = _share((found.place - found.first) * (found.hits - 1), (found.size - 1).astype(np.float64))
    precision = (found.before + ahead_in_group + 1) / found.place
    return _share(found.total(found.relevant * precision), ideal.total(ideal.relevant))


def reciprocal_rank(found: Slots, ideal: Slots, cutoff: int | None) -> Floats:
    """Return one over the place of the first relevant document, 0 where there is none."""
    opening = np.flatnonzero((found.before == 0) & (found.hits > 0) & (found.place == found.first))
    ranks = np.zeros(found.lists)
    for at in opening.tolist():
        group = int(found.first[at]), int(found.size[at]), int(found.hits[at])
        ranks[found.row[at]] = expected_reciprocal(*group, cutoff=cutoff)
    return ranks


def recall(found: Slots, ideal: Slots, cutoff: int | None) -> Floats:
    """Return the share of the relevant documents that were found."""
    return _share(found.total(found.relevant), ideal.total(ideal.relevant))


def precision(found: Slots, ideal: Slots, cutoff: int | None) -> Floats:
    """Return the share of the places that hold a relevant document; a place that is empty holds none."""
    assert cutoff is not None
    return found.total(found.relevant) / cutoff


@cache
def expected_reciprocal(first: int, size: int, hits: int, *, cutoff: int | None = None) -> float:
    """Return the mean of one over the place of the first of `hits` documents among `size` places from `first` on."""
    expected, none_yet = 0.0, 1.0  # the chance that no place so far held one
    last = size - hits if cutoff is None else min(size - hits, cutoff - first)
    for offset in range(last + 1):
        here = hits / (size - offset)
        expected += none_yet * here / (first + offset)
        none_yet *= 1 - here
    return expected


_KINDS: dict[str, Callable[[Slots, Slots, int | None], Floats]] = {
    "nDCG": ndcg,
    "MAP": average_precision,
    "MRR": reciprocal_rank,
    "Recall": recall,
    "P": precision,
}


def _meant(name: str) -> str:
    kind, at, cutoff = name.partition("@")
    known = {**{kind.casefold(): kind for kind in _KINDS}, "ap": "MAP", "rr": "MRR", "r": "Recall", "precision": "P"}
    found = known.get(kind.casefold())
    if found is None:
        return f"there are {', '.join(_KINDS)}, and each of the first places only, as in 'nDCG@10'"
    return f"did you mean {found + (at + cutoff if cutoff.isdecimal() and int(cutoff) else '')!r}?"


def _within(slots: Slots, cutoff: int | None) -> Slots:
    """Keep the first places of each list."""
    if cutoff is None:
        return slots
    kept = slots.place <= cutoff
    return replace(slots, **{name: getattr(slots, name)[kept] for name in slots.columns})


def _dcg(slots: Slots) -> Floats:
    return slots.total(slots.gain / np.log2(slots.place + 1.0))


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0)
