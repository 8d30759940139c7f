"""Models written as ONNX graphs, by torch, for runtimes that need no torch. Everything behind this door needs it."""

from pathlib import Path
from types import ModuleType
from typing import Any

from resift.checkpoint import Checkpoint
from resift.errors import MissingDependency, ModelUnsupported
from resift.scoring.backends import Readout


def check_exporting(model: str) -> None:
    """Make sure that all is there that writing takes, before anything is downloaded for it."""
    _import("writing", model)
    _import("quantizing", model)


def write_graph(checkpoint: Checkpoint, readout: Readout, path: Path, **how: Any) -> bool:
    """Write a model's graph; `how` is what `writing.write` takes. Return whether its last layer is cut."""
    cut: bool = _import("writing", checkpoint.name).write(checkpoint, readout, path, **how)
    return cut


def quantize_graph(graph: Path, path: Path, model: str) -> None:
    """Write the int8 version of a graph."""
    _import("quantizing", model).quantize(graph, path)


def no_graph_of(model: str) -> ModelUnsupported:
    """Return the error for a model of a kind that no graph is written of."""
    return ModelUnsupported(
        f"{model} cannot be exported: only cross-encoders can, and embedding models that end with pooling; "
        "load it with backend='torch'"
    )


def _import(name: str, model: str) -> ModuleType:
    try:
        if name == "quantizing":
            from resift.scoring.backends.exporting import quantizing

            return quantizing
        from resift.scoring.backends.exporting import writing
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'to export {model} takes {error.name}, which is not installed: pip install "resift[export]"'
        ) from error
    return writing
