"""What recognition finds out."""

from dataclasses import dataclass
from typing import Literal

from resift.scoring.backends import Readout
from resift.scoring.families import Family


@dataclass(frozen=True, slots=True)
class Recognised:
    """A model whose way to be read is known."""

    family: Family
    readout: Readout
    half: Literal["float16", "bfloat16"]
    """The half-precision format that its activations fit."""
