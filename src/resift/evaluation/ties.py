"""What stands in each place of many lists, where ties are broken by chance: at best, at worst, and on average."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from resift.evaluation.runs import Listing

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """
    The places of all lists, end to end. Each belongs to a group of tied places; alone, it is a group of one.

    `gain` and `relevant` are what a place holds on average over all orders of its group.
    """

    lists: int
    row: Ints
    """The list, from 0."""

    place: Ints
    """The place in it, from 1."""

    gain: Floats
    relevant: Floats
    first: Ints
    """The first place of the group."""

    size: Ints
    """How many places the group has."""

    hits: Floats
    """How many of its documents are relevant."""

    before: Floats
    """How many relevant documents stand ahead of the group."""

    @property
    def columns(self) -> list[str]:
        """The names of what there is one of for each place."""
        return [column.name for column in fields(self) if column.name != "lists"]

    def total(self, values: Floats) -> Floats:
        """Add up values by list."""
        return sums(self.row, values, self.lists)


@dataclass(frozen=True, slots=True, eq=False)
class Graded:
    """The documents of all lists, end to end and best first, as the judges see them."""

    lists: int
    row: Ints
    group: Ints
    """The group of tied documents, counted over all lists."""

    gain: Floats
    relevant: Floats

    def on_average(self) -> Slots:
        """Return what the places hold when each order of a tie is as likely as any other."""
        size = np.bincount(self.group)
        hits = sums(self.group, self.relevant, len(size))
        gain = sums(self.group, self.gain, len(size)) / size
        starts = np.searchsorted(self.row, np.arange(self.lists))
        ahead = np.concatenate(([0.0], np.cumsum(self.relevant)))  # relevant documents before each, over all lists
        opens = np.searchsorted(self.group, np.arange(len(size)))  # where each group begins
        return Slots(
            lists=self.lists,
            row=self.row,
            place=np.arange(len(self.row)) - starts[self.row] + 1,
            gain=gain[self.group],
            relevant=(hits / size)[self.group],
            first=(opens[self.group] - starts[self.row] + 1),
            size=size[self.group],
            hits=hits[self.group],
            before=(ahead[opens][self.group] - ahead[starts][self.row]),
        )

    def at_best(self) -> Slots:
        """Return what the places hold when the best document of a tie always comes first."""
        return self._broken(-self.gain)

    def at_worst(self) -> Slots:
        """Return what the places hold when the worst document of a tie always comes first."""
        return self._broken(self.gain)

    def ideal(self) -> "Graded":
        """Return the same documents in the best order."""
        order = np.lexsort((-self.gain, self.row))
        return Graded(self.lists, self.row, np.arange(len(order)), self.gain[order], self.relevant[order])

    def _broken(self, key: Floats) -> Slots:
        order = np.lexsort((key, self.group))
        alone = np.arange(len(order))
        return Graded(self.lists, self.row, alone, self.gain[order], self.relevant[order]).on_average()


def grade(listings: Sequence[Listing], grades: Sequence[Mapping[str, int]], *, relevant_from: int = 1) -> Graded:
    """Look up what judges said of listed documents; those without a word of theirs count as irrelevant."""
    sizes = [len(listing) for listing in listings]
    found = _flat(
        said.get(document, 0) for listing, said in zip(listings, grades, strict=True) for document in listing.documents
    )
    row = np.repeat(np.arange(len(listings)), sizes)
    rank = _flat(rank for listing in listings for rank in listing.ranks)
    begins = np.ones(len(row), dtype=bool)
    begins[1:] = (row[1:] != row[:-1]) | (rank[1:] != rank[:-1])
    return Graded(
        lists=len(listings),
        row=row,
        group=np.cumsum(begins) - 1,
        gain=np.maximum(found, 0).astype(np.float64),
        relevant=(found >= relevant_from).astype(np.float64),
    )


def sums(group: Ints, values: Floats, groups: int) -> Floats:
    """Add up values by group."""
    found: Floats = np.bincount(group, weights=values, minlength=groups).astype(np.float64)
    return found


def _flat(numbers: Iterable[int]) -> Ints:
    return np.fromiter(numbers, dtype=np.int64)
