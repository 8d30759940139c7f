"""The openvino backend: the same graphs, run by OpenVINO on a CPU. Everything behind this door needs it."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from resift.checkpoint import Checkpoint
from resift.errors import MissingDependency
from resift.scoring.backends import PlacedBackend, Readout
from resift.scoring.backends.graphs.opening import open_backend
from resift.scoring.planning import Batch


def check_openvino(model: str, devices: Sequence[str], dtype: str) -> None:
    """Make sure that OpenVINO is there and can do what is asked, before anything is downloaded for it."""
    for device in devices:
        _sessions(model).check(device, dtype)


def open_openvino(checkpoint: Checkpoint, readout: Readout, sample: Batch, **how: Any) -> PlacedBackend:
    """
    Load a graph; `how` is what `graphs.opening.open_backend` takes.

    `sample` is what it is tried on, to see whether padding changes what it says.
    """
    return open_backend(checkpoint, readout, sample, runtime=_sessions(checkpoint.name).OpenVino(), **how)


def _sessions(model: str) -> ModuleType:
    try:
        from resift.scoring.backends.openvino import sessions
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{model} needs {error.name}, which is not installed: pip install "resift[openvino]"'
        ) from error
    return sessions
