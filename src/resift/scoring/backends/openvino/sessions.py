"""OpenVINO's compiled models: which number format, how many threads, and what its errors mean."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.checkpoint.graphs import data_of
from resift.errors import InvalidInput, ModelNotFound, ModelUnsupported
from resift.scoring.backends.graphs.contract import Declared, Feed
from resift.scoring.backends.graphs.threads import threads
from resift.scoring.backends.openvino.eight_bit import GROUP, join_chains
from resift.scoring.backends.openvino.importing import openvino

_FULL = ("bad_alloc", "bad allocation", "out of memory", "llocate")
_UNREADABLE = ("nable to read the model", "parse")
_KINDS: dict[str, type[np.generic]] = {
    "i64": np.int64,
    "i32": np.int32,
    "f32": np.float32,
    "f16": np.float16,
    "boolean": np.bool_,
}
_IMPORTED_BY = os.getpid()
# what it computes in: left to itself it rounds to bfloat16 wherever the processor can, unasked
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


@cache
def the_core() -> Any:
    """
    Return the one core of this process, which is never given up.

    Its plugin for CPUs gives the thread that first needs it a stack for signals, and takes the memory back wherever it
    ends. Were that elsewhere, the next Ctrl-C would end the process instead of a call.
    """
    return openvino.Core()


class OpenVinoSession:
    """A graph that OpenVINO has compiled for the CPU."""

    device = "cpu"

    def __init__(self, core: Any, compiled: Any, rounds_in: str) -> None:
        self._core, self._compiled = core, compiled  # in this order, the plugin outlives what it compiled
        self.rounds_in = rounds_in
        self._request = compiled.create_infer_request()
        self.inputs = [_declared(port) for port in compiled.inputs]
        self.outputs = [_declared(port) for port in compiled.outputs]

    def run(self, output: str, feed: Feed) -> NDArray[Any]:
        """Return the output of that name."""
        found = self._request.infer(feed, share_inputs=True)
        return np.asarray(found[self._compiled.output(output)])


class OpenVino:
    """Runs graphs with OpenVINO."""

    name = "openvino"

    def open(self, path: Path, device: str, dtype: str) -> OpenVinoSession:
        """Compile a graph for the CPU, to be computed in a number format."""
        core = the_core()
        require(core, device, dtype)
        with _data_beside(path) as file:
            graph = core.read_model(file)
            joined = dtype == "int8" and join_chains(graph)
            # what is not multiplied in 8 bits need not be finer than bfloat16
            computed = "bfloat16" if joined and computes_bfloat16(core) else dtype
            settings = {
                "INFERENCE_PRECISION_HINT": _PRECISIONS[computed],
                "INFERENCE_NUM_THREADS": threads(),
                "PERFORMANCE_HINT": "LATENCY",  # all threads on one batch, because one thread of ours hands them in
                "ENABLE_CPU_PINNING": False,  # or sessions side by side would fight for the first processors
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP if joined else 0,
            }
            compiled = core.compile_model(graph, "CPU", settings)
        return OpenVinoSession(core, compiled, "float32" if dtype == "int8" and not joined else dtype)

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether an error means that something did not fit."""
        return isinstance(error, MemoryError) or any(message in str(error) for message in _FULL)

    def explained(self, path: Path, error: Exception) -> ModelNotFound | ModelUnsupported:
        """Turn an error of OpenVINO about a graph into one that says what to do."""
        reason = _reason(error)
        if any(message in str(error) for message in _UNREADABLE):
            return ModelNotFound(f"{path} cannot be read as an ONNX graph ({reason}); download the model again")
        return ModelUnsupported(
            f"openvino {openvino.__version__} cannot run {path} ({reason}); say backend='onnx', or choose another dtype"
        )


def require(core: Any, device: str, dtype: str) -> None:
    """Refuse what this runtime, this processor or this process cannot do as it is asked."""
    if os.getpid() != _IMPORTED_BY:
        raise ModelUnsupported(
            "OpenVINO was in use before this process was forked, and a model of it may then wait for ever; start "
            "processes by spawn, or say backend='onnx'"
        )
    if device not in ("auto", "cpu"):
        raise InvalidInput(
            f"device {device!r} is not known to the openvino backend, which runs on the CPU; say device='cpu', or "
            "choose backend='torch' or 'onnx'"
        )
    if dtype not in _PRECISIONS:
        raise InvalidInput(
            f"dtype={dtype!r} gains nothing on a CPU; the openvino backend runs {', '.join(_PRECISIONS)}"
        )
    if dtype == "bfloat16" and not computes_bfloat16(core):
        raise InvalidInput(
            "dtype='bfloat16' is not computed by this processor, and OpenVINO would silently run float32; "
            "say dtype='float32'"
        )


def computes_bfloat16(core: Any) -> bool:
    """Whether this processor multiplies numbers of bfloat16."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def check(device: str, dtype: str) -> None:
    """Do what `require` does before anything is opened."""
    require(the_core(), device, dtype)


@contextmanager
def _data_beside(path: Path) -> Iterator[Path]:
    """
    Make sure that a graph's files of weights lie beside it, for as long as they are read.

    OpenVINO follows no link that leads out of a graph's folder, and the cache of the hub consists of such links.
    """
    data = [path.parent / name for name in data_of(path)]
    if all(file.resolve().is_relative_to(path.parent.resolve()) for file in data):
        yield path
        return
    kept = data[0].resolve().parent
    with TemporaryDirectory(dir=kept if os.access(kept, os.W_OK) else None) as folder:
        for file in (path, *data):
            beside = Path(folder) / file.relative_to(path.parent)
            beside.parent.mkdir(parents=True, exist_ok=True)
            try:
                beside.hardlink_to(file.resolve())
            except OSError:  # another file system, or one without such links
                shutil.copyfile(file, beside)
        yield Path(folder) / path.name


def _reason(error: Exception) -> str:
    """Return the last line of an error that has anything to say; those before it say where in OpenVINO."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _declared(port: Any) -> Declared:
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return Declared(port.any_name, _KINDS.get(port.get_element_type().get_type_name()), shape)
