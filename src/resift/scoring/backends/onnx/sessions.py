"""ONNX Runtime's sessions: which device, and what its errors mean."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from resift.errors import InvalidInput, ModelNotFound, ModelUnsupported
from resift.scoring.backends.graphs.contract import Declared, Feed
from resift.scoring.backends.graphs.threads import threads

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_FULL = ("Failed to allocate memory", "bad_alloc", "bad allocation", "out of memory", "ALLOC_FAILED")
_ERRORS_ONLY = 3  # a severity of the log
_KINDS: dict[str, type[np.generic]] = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}

Provider = str | tuple[str, dict[str, Any]]


class OnnxSession:
    """A graph that ONNX Runtime has loaded."""

    def __init__(self, session: Any, rounds_in: str) -> None:
        self._session, self.rounds_in = session, rounds_in
        self.inputs = [_declared(each) for each in session.get_inputs()]
        self.outputs = [_declared(each) for each in session.get_outputs()]
        # what ONNX Runtime cannot put on a GPU it leaves to the CPU
        gpu = session.get_provider_options().get(_CUDA)
        self.device = "cpu" if gpu is None else f"cuda:{gpu.get('device_id', 0)}"

    def run(self, output: str, feed: Feed) -> NDArray[Any]:
        """Return the output of that name."""
        (found,) = self._session.run([output], feed)
        return np.asarray(found)


class OnnxRuntime:
    """Runs graphs with ONNX Runtime."""

    name = "onnx"

    def open(self, path: Path, device: str, dtype: str) -> OnnxSession:
        """Load a graph onto the device called `device`; it runs in the number format that it was written in."""
        providers = providers_of(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = _ERRORS_ONLY
        options.enable_mem_pattern = False  # it remembers every shape of batch, and no two are alike
        # between batches threads sleep; within one they may spin, where waking would cost more than waiting
        options.add_session_config_entry("session.force_spinning_stop", "1")
        opened = onnxruntime.InferenceSession(str(path), options, providers=providers)
        session = OnnxSession(opened, "float32" if dtype == "int8" else dtype)
        if len(providers) > 1 and session.device == "cpu" and device != "auto":
            raise InvalidInput(
                f"device {device!r} does not answer: onnxruntime was built for it, but found no GPU, or no CUDA "
                "libraries; install them, or say device='cpu'"
            )
        return session

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether an error means that something did not fit."""
        return isinstance(error, MemoryError) or any(message in str(error) for message in _FULL)

    def explained(self, path: Path, error: Exception) -> ModelNotFound | ModelUnsupported:
        """Turn an error of ONNX Runtime about a graph into one that says what to do."""
        reason = str(error).partition("\n")[0]
        if type(error).__name__ in ("InvalidProtobuf", "NoSuchFile"):
            return ModelNotFound(f"{path} cannot be read as an ONNX graph ({reason}); download the model again")
        return ModelUnsupported(
            f"onnxruntime {onnxruntime.__version__} cannot run {path} ({reason}); "
            "install a newer onnxruntime, or choose another dtype"
        )


def require(device: str, dtype: str) -> None:
    """Refuse a device that is not there, and a number format that is not computed on it."""
    if providers_of(device) == [_CPU] and dtype == "bfloat16":
        raise InvalidInput(
            "dtype='bfloat16' is not computed by ONNX Runtime on a CPU; say backend='openvino', which runs the float32 "
            "graph in bfloat16, or choose another dtype"
        )


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


def _declared(found: Any) -> Declared:
    return Declared(found.name, _KINDS.get(found.type), tuple(found.shape))
