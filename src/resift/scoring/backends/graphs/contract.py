"""What a runtime is to the graphs' backend: it opens a file, runs it, and its errors can be told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resift.errors import ResiftError

Feed = Mapping[str, NDArray[Any]]
Lengths = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Declared:
    """An input or output of a graph."""

    name: str
    kind: type[np.generic] | None
    """Its number format; None for one that no text is made of."""

    shape: tuple[int | str | None, ...]
    """A number where the graph insists on it, else whatever the size is called."""


class Session(Protocol):
    """A graph that was loaded onto a device."""

    device: str
    """Where it runs: "cpu" or "cuda:0"."""

    inputs: Sequence[Declared]
    outputs: Sequence[Declared]

    rounds_in: str
    """The number format in which it rounds, token by token; what it rounds by a whole batch does not count."""

    def run(self, output: str, feed: Feed) -> NDArray[Any]:
        """Return the output of that name."""


class Runtime(Protocol):
    """What runs graphs."""

    name: str
    """What `backend` calls it."""

    def open(self, path: Path, device: str, dtype: str) -> Session:
        """Load a graph onto the device called `device`, to be run in a number format."""

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether an error means that something did not fit."""

    def explained(self, path: Path, error: Exception) -> ResiftError:
        """Turn an error about a graph into one that says what to do."""
