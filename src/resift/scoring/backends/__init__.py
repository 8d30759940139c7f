"""The contract between families and devices: what is to be read from a model, and what runs batches."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from resift.scoring.planning import Batch

Outputs = NDArray[np.float32]  # (rows, width): one row for each sequence, or as many as its `Tokens.read` has places
Pooling = Literal["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@dataclass(frozen=True, slots=True)
class Classify:
    """Read the one logit of the model's own sequence-classification head."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Read the logit of one token after the last position, minus that of another where there is one."""

    positive: int
    negative: int | None = None


@dataclass(frozen=True, slots=True)
class Embed:
    """Read one vector: hidden states pooled in each of the named ways, side by side, normalised to length 1 or not."""

    pooling: tuple[Pooling, ...]
    normalize: bool
    width: int | None = None
    """How much of the vector counts; None is all of it."""


Readout = Classify | Answer | Embed


class Backend(Protocol):
    """A model on one device. One thread owns it and hands it batches."""

    padded: bool
    """Whether a batch costs its longest sequence times their number."""

    max_batch_tokens: int
    """How many tokens one batch should hold at most."""

    def run(self, batch: Batch) -> Outputs:
        """Return the rows of each sequence of `batch`; raise `OutOfMemory` when it does not fit the device."""

    def close(self) -> None:
        """Free the device's memory."""


class OutOfMemory(Exception):
    """A batch did not fit the device; a smaller one may."""
