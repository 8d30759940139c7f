"""The contract between families and devices: what is to be read from a model, and what runs batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from resift.scoring.planning import Batch

Outputs = NDArray[np.float32]  # (rows, width): one row for each sequence, or as many as its `Tokens.read` has places
Pooling = Literal["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@dataclass(frozen=True, slots=True)
class Classify:
    """Read the one logit of the model's own sequence-classification head."""

    backbone: "Backbone | None" = None
    """What computes the model, where its files do not name it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Read the logit of one token after the last position, minus that of another where there is one."""

    positive: int
    negative: int | None = None


@dataclass(frozen=True, slots=True)
class Projection:
    """A product with a weight of the model's files, and with the bias beside it, where there is one."""

    name: str
    """What the weight is called, without `.weight`."""

    folder: str = ""
    """The module whose files hold it; the model's own, unless said."""

    activation: str = "Identity"
    """What is done with the product, by its name in torch.nn."""

    residual: bool = False
    """Whether what was projected is added to the result, by a weight `residual` where the widths differ."""


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """A layer normalisation with the weight and the bias of a module's files."""

    folder: str
    name: str = "norm"


@dataclass(frozen=True, slots=True)
class Normalize:
    """Every vector brought to length 1."""


@dataclass(frozen=True, slots=True)
class Divide:
    """Every number divided by another."""

    by: float


Layer = Projection | LayerNorm | Normalize | Divide


@dataclass(frozen=True, slots=True)
class Backbone:
    """An architecture of transformers that computes what a model of its authors' own architecture does."""

    model_type: str
    config: Mapping[str, Any] = field(hash=False)
    """What its configuration says."""

    renamed: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What the names of weights are in the model's files, as regular expressions, and what they are here."""


@dataclass(frozen=True, slots=True)
class Embed:
    """
    Read one vector: hidden states pooled in each of the named ways, side by side, and taken through layers.

    It is normalised to length 1 or not. A score is a vector of width 1.
    """

    pooling: tuple[Pooling, ...]
    normalize: bool
    width: int | None = None
    """How much of the vector counts; None is all of it."""

    layers: tuple[Layer, ...] = ()
    """What comes after pooling, always in full precision."""

    backbone: Backbone | None = None
    """What computes the hidden states, where the model's files do not name it."""


@dataclass(frozen=True, slots=True)
class EmbedEach:
    """Read one vector at each place that a sequence names, taken through layers."""

    layers: tuple[Layer, ...]
    """What comes after the hidden states, always in full precision."""

    backbone: Backbone | None = None
    """What computes the hidden states, where the model's files do not name it."""


Readout = Classify | Answer | Embed | EmbedEach


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


@dataclass(frozen=True, slots=True)
class RunsOn:
    """Where and how a model runs, decided: nothing in it is "auto"."""

    backend: str
    """"torch", "onnx" or "openvino"."""

    device: str
    """"cpu", "cuda:0" or the like."""

    dtype: str
    """The number format of the model's body: "float32", "bfloat16" or the like."""


class PlacedBackend(Backend, Protocol):
    """A backend that says where it runs."""

    runs_on: RunsOn


class OutOfMemory(Exception):
    """A batch did not fit the device; a smaller one may."""
