"""Decide which sequences run together: lengths and a token limit in, batches out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
NO_IDS: Ids = np.empty(0, dtype=np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """One sequence that a model reads: token ids, and token types where the model knows them."""

    ids: Ids
    types: Ids | None = None
    read: Ids | None = None
    """The places whose vectors are read, one row of output each; None is one row, from where the model itself reads."""

    unseen: int = 0
    """How many of its last tokens nobody looks at, not even they themselves; they look at the others."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> int:
        """How many rows of output it has."""
        return 1 if self.read is None else len(self.read)

    def behind(self, prefix: Ids) -> "Tokens":
        """Return the sequence with what it continues in front of it."""
        read = None if self.read is None else self.read + len(prefix)
        return Tokens(np.concatenate([prefix, self.ids]), self.types, read, self.unseen)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """
    Sequences that run in one forward pass.

    Where `prefix_of[i]` is not None, sequence i continues `prefixes[prefix_of[i]]`, which is computed once for all that
    continue it.
    """

    sequences: Sequence[Tokens]
    prefixes: Sequence[Ids] = ()
    prefix_of: Sequence[int | None] = field(default=())

    def prefix(self, position: int) -> Ids:
        """Return what the sequence at `position` continues."""
        at = self.prefix_of[position] if self.prefix_of else None
        return NO_IDS if at is None else self.prefixes[at]

    def apart(self) -> "list[Batch]":
        """Return one batch for each sequence, with what it continues in front of it."""
        return [Batch([sequence.behind(self.prefix(at))]) for at, sequence in enumerate(self.sequences)]

    def only(self, positions: Sequence[int]) -> "Batch":
        """Return a batch of the sequences at `positions`, in that order."""
        sequences = [self.sequences[at] for at in positions]
        if not self.prefix_of:
            return Batch(sequences)
        continued = [self.prefix_of[at] for at in positions]
        kept = sorted({at for at in continued if at is not None})
        places = [None if at is None else kept.index(at) for at in continued]
        return Batch(sequences, [self.prefixes[at] for at in kept], places)

    @property
    def tokens(self) -> int:
        """How many tokens the pass computes."""
        return sum(map(len, self.sequences)) + sum(map(len, self.prefixes))


@dataclass(frozen=True, slots=True)
class Item:
    """What is known of a sequence: its own length, and the group whose prefix of `shared` tokens it continues."""

    length: int
    group: int = 0
    shared: int = 0


def plan_batches(items: Sequence[Item], limit: int, *, padded: bool = False) -> list[list[int]]:
    """
    Partition the positions of `items` into batches of at most `limit` tokens, longest first.

    A packed batch costs the sum of its lengths, plus each group's prefix once; a padded one costs its longest whole
    sequence times their number. Sequences that share a prefix stay together: a group that is in a batch already may
    fill it up to the limit with tokens of its own, so that a long prefix is not computed for every few of them. A
    sequence longer than the limit runs alone: whether it fits is for the device to say.
    """
    order = sorted(range(len(items)), key=lambda at: (items[at].group if items[at].shared else -1, -items[at].length))
    batches: list[list[int]] = []
    cost = _Cost(padded=padded)
    for at in order:
        if not batches or not cost.admits(items[at], limit):
            batches.append([])
            cost = _Cost(padded=padded)
        batches[-1].append(at)
        cost.add(items[at])
    return batches


def share_out(items: Sequence[Item], ways: int) -> list[list[int]]:
    """Partition the positions of `items` into at most so many packed batches that cost about the same."""
    shares: list[list[int]] = [[] for _ in range(ways)]
    costs = [_Cost(padded=False) for _ in range(ways)]
    for at in sorted(range(len(items)), key=lambda at: -items[at].length):
        least = min(range(ways), key=lambda way: costs[way].with_packed(items[at]))
        shares[least].append(at)
        costs[least].add(items[at])
    return [share for share in shares if share]


def batch_cost(items: Sequence[Item], *, padded: bool = False) -> int:
    """Return how many tokens one batch of all items costs."""
    cost = _Cost(padded=padded)
    for item in items:
        cost.add(item)
    return cost.longest * cost.count if padded else cost.tokens


class _Cost:
    """The tokens that the batch being filled costs."""

    def __init__(self, *, padded: bool) -> None:
        self.padded = padded
        self.count = self.longest = self.tokens = self.own = 0
        self.groups: set[int] = set()

    def admits(self, item: Item, limit: int) -> bool:
        if self.padded:
            return max(self.longest, item.length + item.shared) * (self.count + 1) <= limit
        together = bool(item.shared) and item.group in self.groups
        return (self.own if together else self.tokens) + self._packed(item) <= limit

    def add(self, item: Item) -> None:
        self.tokens += self._packed(item)
        self.own += item.length
        self.longest = max(self.longest, item.length + item.shared)
        self.count += 1
        self.groups.add(item.group)

    def with_packed(self, item: Item) -> int:
        """Return how many tokens there would be with one more item."""
        return self.tokens + self._packed(item)

    def _packed(self, item: Item) -> int:
        return item.length + (0 if item.group in self.groups else item.shared)
