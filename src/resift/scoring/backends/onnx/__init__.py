"""The onnx backend: graphs that were exported before, run by ONNX Runtime. Everything behind this door needs it."""

import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from resift.checkpoint import Checkpoint
from resift.errors import MissingDependency
from resift.scoring.backends import Backend, Readout
from resift.scoring.planning import Batch


def check_onnx(model: str, devices: Sequence[str]) -> None:
    """Make sure that ONNX Runtime and the devices are there, before anything is downloaded for them."""
    for device in devices:
        _opening(model).providers_of(device)


def open_onnx(checkpoint: Checkpoint, readout: Readout, sample: Batch, **how: Any) -> Backend:
    """
    Load a graph onto one device; `how` is what `opening.open_backend` takes.

    `sample` is what it is tried on, to see whether padding changes what it says.
    """
    backend: Backend = _opening(checkpoint.name).open_backend(checkpoint, readout, sample, **how)
    return backend


def _opening(model: str) -> ModuleType:
    # Official builds report to their makers by default, from a thread that keeps forked children from ending, too. It
    # can only be told not to before it is imported; who has said otherwise is not overruled.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        from resift.scoring.backends.onnx import opening
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{model} needs {error.name}, which is not installed: pip install "resift[onnx]"'
        ) from error
    return opening
