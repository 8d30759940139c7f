"""Lay a batch out flat: one row of tokens, no padding, and the bounds of each sequence beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from resift.scoring.planning import Batch, Ids, Tokens

Bounds = tuple[int, int]
_FIRST: Ids = np.zeros(1, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Segments:
    """
    Where each sequence lies in a flat row of tokens, and what its tokens may look at.

    That is their own segment, and in front of it the one that it continues, if it continues one.
    """

    bounds: tuple[Bounds, ...]
    keys: tuple[tuple[Bounds, ...], ...]
    device: torch.device

    def narrowed(self, owners: Sequence[int]) -> "Segments":
        """Return segments of one row each, which look at what the segments that own them look at."""
        return Segments(
            tuple((at, at + 1) for at in range(len(owners))), tuple(self.keys[at] for at in owners), self.device
        )

    @cached_property
    def starts(self) -> torch.Tensor:
        """Cumulative lengths, as kernels for packed sequences want them."""
        return self._cumulative([end - start for start, end in self.bounds])

    @cached_property
    def key_starts(self) -> torch.Tensor:
        """Cumulative numbers of keys: what several segments continue is counted for each of them."""
        return self._cumulative(self._key_lengths)

    @cached_property
    def key_rows(self) -> torch.Tensor | None:
        """The rows that are the keys of all segments in order, or None where they are simply all rows."""
        pieces = [piece for pieces in self.keys for piece in pieces]
        if all(end == start for (_, end), (start, _) in pairwise(pieces)):
            return None
        return _move(np.concatenate([np.arange(*piece) for piece in pieces]), self.device)

    @cached_property
    def longest(self) -> int:
        """The length of the longest segment."""
        return max(end - start for start, end in self.bounds)

    @cached_property
    def longest_keys(self) -> int:
        """The largest number of keys that a segment looks at."""
        return max(self._key_lengths)

    @property
    def _key_lengths(self) -> list[int]:
        return [sum(end - start for start, end in pieces) for pieces in self.keys]

    def _cumulative(self, lengths: list[int]) -> torch.Tensor:
        return _move(np.cumsum([0, *lengths]), self.device, torch.int32)


@dataclass(frozen=True, eq=False)
class Packed:
    """A batch as tensors: everything a model needs, flat."""

    ids: torch.Tensor  # (tokens,)
    positions: torch.Tensor  # (tokens,)
    types: torch.Tensor  # (tokens,)
    segments: Segments
    firsts: torch.Tensor  # (sequences,) where each sequence of the batch begins
    lasts: torch.Tensor  # (sequences,) where it ends
    owners: tuple[int, ...]  # the segment of each sequence
    sequences: Sequence[Tokens]

    @cached_property
    def places(self) -> torch.Tensor:
        """The rows that the sequences name to be read, in their order; the first of one that names none."""
        starts = [self.segments.bounds[owner][0] for owner in self.owners]
        named = [start + _read(sequence) for start, sequence in zip(starts, self.sequences, strict=True)]
        return _move(np.concatenate(named), self.segments.device)


@dataclass(frozen=True, slots=True)
class Positions:
    """How a model counts: from 0, or, as RoBERTa does, from behind the padding id and past padding tokens."""

    padding_id: int | None = None

    def count(self, ids: Ids, offset: int) -> NDArray[np.int64]:
        """Return the position of each token of a sequence that begins at `offset`."""
        if self.padding_id is None:
            return np.arange(offset, offset + len(ids), dtype=np.int64)
        real = (ids != self.padding_id).astype(np.int64)
        return np.asarray(np.cumsum(real) * real + self.padding_id)


def pack(batch: Batch, positions: Positions, device: torch.device) -> Packed:
    """Lay out the prefixes and sequences of a batch one after the other."""
    layout = _Layout(positions)
    placed: dict[int, int] = {}
    owners = []
    for at, sequence in enumerate(batch.sequences):
        prefix_at = batch.prefix_of[at] if batch.prefix_of else None
        if prefix_at is not None and prefix_at not in placed:
            placed[prefix_at] = layout.place(Tokens(batch.prefixes[prefix_at]))
        parent = None if prefix_at is None else placed[prefix_at]
        owners.append(layout.place(sequence, parent, offset=len(batch.prefix(at))))
    bounds = layout.bounds
    return Packed(
        ids=_move(np.concatenate(layout.ids), device),
        positions=_move(np.concatenate(layout.positions), device),
        types=_move(np.concatenate(layout.types), device),
        segments=Segments(tuple(bounds), tuple(layout.keys), device),
        firsts=_move(np.array([bounds[at][0] for at in owners]), device),
        lasts=_move(np.array([bounds[at][1] - 1 for at in owners]), device),
        owners=tuple(owners),
        sequences=batch.sequences,
    )


class _Layout:
    """The flat row while it is being filled."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self.ids: list[Ids] = []
        self.positions: list[NDArray[np.int64]] = []
        self.types: list[Ids] = []
        self.bounds: list[Bounds] = []
        self.keys: list[tuple[Bounds, ...]] = []

    def place(self, sequence: Tokens, parent: int | None = None, *, offset: int = 0) -> int:
        ids, types = sequence.ids, sequence.types
        start = self.bounds[-1][1] if self.bounds else 0
        seen = start + len(ids) - sequence.unseen
        self.ids.append(ids)
        self.types.append(np.zeros_like(ids) if types is None else types)
        self.positions.append(self._positions.count(ids, offset))
        self.bounds.append((start, seen))
        self.keys.append((self.bounds[-1],) if parent is None else (self.bounds[parent], self.bounds[-1]))
        segment = len(self.bounds) - 1
        if sequence.unseen:  # a segment of their own, which looks at what the others look at
            self.bounds.append((seen, start + len(ids)))
            self.keys.append(self.keys[-1])
        return segment


def _read(sequence: Tokens) -> Ids:
    return _FIRST if sequence.read is None else sequence.read


def _move(column: NDArray[np.integer], device: torch.device, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    tensor = torch.from_numpy(column).to(dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
