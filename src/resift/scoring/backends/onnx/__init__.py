"""The onnx backend: graphs that were exported before, run by ONNX Runtime. Everything behind this door needs it."""

import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from resift.checkpoint import Checkpoint
from resift.errors import MissingDependency
from resift.scoring.backends import PlacedBackend, Readout
from resift.scoring.backends.graphs.opening import open_backend
from resift.scoring.planning import Batch


def check_onnx(model: str, devices: Sequence[str], dtype: str = "float32") -> None:
    """Make sure that ONNX Runtime is there and can do what is asked, before anything is downloaded for it."""
    for device in devices:
        _sessions(model).require(device, dtype)


def offers_gpu(model: str) -> bool:
    """Whether ONNX Runtime would run on a GPU where no device is named."""
    return len(_sessions(model).providers_of("auto")) > 1


def open_onnx(checkpoint: Checkpoint, readout: Readout, sample: Batch, **how: Any) -> PlacedBackend:
    """
    Load a graph onto one device; `how` is what `graphs.opening.open_backend` takes.

    `sample` is what it is tried on, to see whether padding changes what it says.
    """
    return open_backend(checkpoint, readout, sample, runtime=_sessions(checkpoint.name).OnnxRuntime(), **how)


def _sessions(model: str) -> ModuleType:
    # Official builds report to their makers by default, from a thread that keeps forked children from ending, too. It
    # can only be told not to before it is imported; who has said otherwise is not overruled.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        from resift.scoring.backends.onnx import sessions
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{model} needs {error.name}, which is not installed: pip install "resift[onnx]"'
        ) from error
    return sessions
