"""ONNX Runtime's sessions: which device, how many threads, and what its errors mean."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import onnxruntime  # type: ignore[import-untyped]

from resift.errors import InvalidInput, ModelNotFound, ModelUnsupported

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_FULL = ("Failed to allocate memory", "bad_alloc", "bad allocation", "out of memory", "ALLOC_FAILED")
_ERRORS_ONLY = 3  # a severity of the log

Provider = str | tuple[str, dict[str, Any]]


class Declared(Protocol):
    """An input or output of a graph."""

    name: str
    type: str
    shape: Sequence[int | str | None]


class Session(Protocol):
    """A graph that can be run; what is used of `onnxruntime.InferenceSession`."""

    def get_inputs(self) -> list[Declared]:
        """Return what it takes."""

    def get_outputs(self) -> list[Declared]:
        """Return what it gives."""

    def get_providers(self) -> list[str]:
        """Return what it runs on."""

    def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
        """Return the outputs of these names."""


def providers_of(device: str) -> list[Provider]:
    """Return what runs a graph on the device called `device`; "auto" is the first GPU, or the CPU."""
    offered = onnxruntime.get_available_providers()
    kind, _, number = device.partition(":")
    if device == "cpu" or (device == "auto" and _CUDA not in offered):
        return [_CPU]
    if (kind != "cuda" and device != "auto") or (number and not number.isdecimal()):
        raise InvalidInput(f"device {device!r} is not known to the onnx backend; choose 'cpu', 'cuda' or 'cuda:0'")
    if _CUDA not in offered:
        raise InvalidInput(
            f"device {device!r} cannot be used here: this onnxruntime offers {', '.join(offered)}; "
            "install onnxruntime-gpu in its place, or say device='cpu'"
        )
    return [(_CUDA, {"device_id": int(number or 0)}), _CPU]


def open_session(path: Path, device: str) -> Session:
    """Load a graph onto the device called `device`."""
    providers = providers_of(device)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads()
    options.log_severity_level = _ERRORS_ONLY
    options.enable_mem_pattern = False  # it remembers every shape of batch, and no two are alike
    # between batches threads sleep; within one they may spin, where waking would cost more than waiting
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session: Session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    if len(providers) > 1 and not is_on_gpu(session) and device != "auto":
        raise InvalidInput(
            f"device {device!r} does not answer: onnxruntime was built for it, but found no GPU, or no CUDA libraries; "
            "install them, or say device='cpu'"
        )
    return session


def is_on_gpu(session: Session) -> bool:
    """Whether a graph is on a GPU; what ONNX Runtime cannot put there it leaves to the CPU."""
    return _CUDA in session.get_providers()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that something did not fit."""
    return isinstance(error, MemoryError) or any(message in str(error) for message in _FULL)


def explained(path: Path, error: Exception) -> ModelNotFound | ModelUnsupported:
    """Turn an error of ONNX Runtime about a graph into one that says what to do."""
    reason = str(error).partition("\n")[0]
    if type(error).__name__ in ("InvalidProtobuf", "NoSuchFile"):
        return ModelNotFound(f"{path} cannot be read as an ONNX graph ({reason}); download the model again")
    return ModelUnsupported(
        f"onnxruntime {onnxruntime.__version__} cannot run {path} ({reason}); "
        "install a newer onnxruntime, or choose another dtype"
    )


def _threads() -> int:
    """Return how many threads a session may use: as many as torch would take."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if said.isdecimal() and int(said):
        return int(said)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
