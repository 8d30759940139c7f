"""Documents that are longer than their room: read in windows that overlap, of which the best one counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.scoring.planning import Ids
from resift.settings import LongDocuments
from resift.tokenizing import shared_prefix

_OVERLAP = 8  # one part in so many of a window is read again by the next
_MOST_OVERLAP = 4  # and never more than one part in so many


@dataclass(frozen=True, slots=True)
class Windows:
    """How long documents are spread over windows."""

    overlap: int | None = None
    """How many tokens of a window the next one reads again, a quarter of it at most; None is an eighth of it."""

    longest_query: int | None = None
    """How many tokens of a query are read, its special tokens included, where the authors bound it beside windows."""

    def spread(self, ids: Ids, room: int) -> list[Ids]:
        """Return the windows of a text, at least one; of several each is full, and the last ends with the text."""
        if len(ids) <= room:
            return [ids]
        overlap = room // _OVERLAP if self.overlap is None else min(self.overlap, room // _MOST_OVERLAP)
        ends = range(room, len(ids), room - overlap)
        return [ids[end - room : end] for end in (*ends, len(ids))]

    def spread_behind(self, prompt: Ids, ids: Ids, room: int) -> list[Ids]:
        """Return the windows of a text that begins with a prompt, each with the prompt in front, half of it at most."""
        if len(ids) <= room:
            return [ids]
        # what the prompt's last word merges with is the document's
        head = shared_prefix([np.append(prompt[: room // 2], np.int32(-1)), ids])
        return [np.concatenate([head, window]) for window in self.spread(ids[len(head) :], room - len(head))]


def windows_for(asked: LongDocuments | None, own: Windows | None = None) -> Windows | None:
    """Return how long documents are spread: as the caller asked, else as the authors do; None cuts them."""
    if asked is None:
        return own
    return (own or Windows()) if asked == "window" else None


def best_of(numbers: NDArray[np.floating], counts: Sequence[int]) -> NDArray[np.floating]:
    """Return the best number of each document, from those of its windows, which stand together."""
    if len(numbers) == len(counts):  # one each, as nearly always
        return numbers
    best: NDArray[np.floating] = np.maximum.reduceat(numbers, np.cumsum([0, *counts[:-1]]))
    return best
