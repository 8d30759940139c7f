"""The contract of a model family: how its authors turn text into ids, and the model's output into a score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from resift.scoring.backends import Outputs
from resift.scoring.planning import NO_IDS, Batch, Ids, Tokens
from resift.tokenizing import shared_prefix

Scores = NDArray[np.float64]  # (documents,)

_WORTH_SHARING = 8  # tokens; joining a shorter prefix to every document costs more than computing it again


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One call made ready for the device: what it has to read, and how its output becomes scores."""

    sequences: Sequence[Tokens]
    finish: Callable[[Outputs, bool | None], Scores]
    """Turn the output per sequence, and the caller's `normalize`, into scores in the order of the documents."""

    prefix: Ids = field(default_factory=lambda: NO_IDS)
    """What every sequence continues."""

    cut: Sequence[bool] = ()
    """Which documents were cut; empty where none was."""

    tokens: int = 0
    """How many tokens the caller's texts became, prompts included."""

    def batch(self) -> Batch:
        """Return all sequences as one batch."""
        if not len(self.prefix):
            return Batch(self.sequences)
        return Batch(self.sequences, (self.prefix,), (0,) * len(self.sequences))


def split_prefix(sequences: Sequence[Ids]) -> tuple[Ids, list[Tokens]]:
    """Return what all sequences begin with, if it is long enough to be computed once, and what is left of each."""
    prefix = shared_prefix(sequences)
    if len(prefix) < _WORTH_SHARING:
        prefix = NO_IDS
    return prefix, [Tokens(ids[len(prefix) :]) for ids in sequences]


class Family(Protocol):
    """How one kind of model is read. Any number of threads may prepare at once."""

    instructable: bool
    """Whether an instruction means something to it."""

    bounded: bool
    """Whether `normalize=True` means something to it."""

    listwise: bool
    """Whether a document's score depends on the other documents of the call."""

    @property
    def max_length(self) -> int | None:
        """How many tokens it reads of a query with one document; None where there is no limit."""

    def prepare(self, query: str, documents: Sequence[str], instruction: str | None) -> Prepared:
        """Make one call ready; `instruction` is None where the caller gave none."""


@dataclass(frozen=True, slots=True)
class LogitScale:
    """What becomes of a logit: `None` is the authors' choice, True is in [0, 1], False is the logit itself."""

    sigmoid_by_default: bool
    shift: float = 0.0
    """What the authors subtract before the sigmoid."""

    spread: float = 1.0
    """What they divide by after that."""

    def apply(self, logits: NDArray[np.float32], normalize: bool | None) -> Scores:
        """Return the scores; in double precision, so that confident ones stay apart."""
        exact = logits.astype(np.float64)
        if normalize is False or (normalize is None and not self.sigmoid_by_default):
            return exact
        return sigmoid((exact - self.shift) / self.spread)


def sigmoid(numbers: Scores) -> Scores:
    """Return the logistic function of each number, without overflow at either end."""
    small = np.exp(-np.abs(numbers))
    return np.where(numbers >= 0, 1.0, small) / (1.0 + small)
