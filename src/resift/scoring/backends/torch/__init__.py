"""The torch backend: models from safetensors, run on packed tokens. Everything behind this door needs torch."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from resift.checkpoint import Checkpoint
from resift.errors import MissingDependency
from resift.scoring.backends import PlacedBackend, Readout
from resift.scoring.planning import Batch


def check_torch(model: str, devices: Sequence[str]) -> None:
    """Make sure that torch and the devices are there, before anything is downloaded for them."""
    for device in devices:
        _opening(model).pick_device(device)


def open_torch(checkpoint: Checkpoint, readout: Readout, sample: Batch, **how: Any) -> PlacedBackend:
    """
    Load a model onto one device; `how` is what `opening.open_backend` takes.

    `sample` is what a model of unknown make is tried on.
    """
    backend: PlacedBackend = _opening(checkpoint.name).open_backend(checkpoint, readout, sample, **how)
    return backend


def _opening(model: str) -> ModuleType:
    try:
        from resift.scoring.backends.torch import opening
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{model} needs {error.name}, which is not installed: pip install "resift[local]"'
        ) from error
    return opening
