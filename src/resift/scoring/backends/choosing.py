"""Which backend runs a model: as the caller said, else by what is installed and what files there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from resift.checkpoint import Checkpoint, Form
from resift.scoring.backends import PlacedBackend, Readout
from resift.scoring.backends.onnx import check_onnx, offers_gpu, open_onnx
from resift.scoring.backends.openvino import check_openvino, open_openvino
from resift.scoring.backends.torch import check_torch, open_torch
from resift.scoring.planning import Batch
from resift.settings import Settings

Runner = Literal["torch", "onnx", "openvino"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What may run a model, and which of its files that takes."""

    settings: Settings
    devices: Sequence[str]
    forms: tuple[Form, ...]
    """In what forms it may run, the best first: weights by torch, a graph by OpenVINO or ONNX Runtime."""

    def runner(self, form: Form) -> Runner:
        """Return what runs a form."""
        if form == "weights":
            return "torch"
        if self.settings.backend in ("onnx", "openvino"):
            return self.settings.backend
        return "openvino" if self._suits_openvino() else "onnx"

    @property
    def dtype(self) -> str:
        """The number format that a graph is run in."""
        return "float32" if self.settings.dtype == "auto" else self.settings.dtype

    @property
    def graph(self) -> str:
        """The number format of the graph's file, if one is read: OpenVINO rounds to bfloat16 by itself."""
        return "float32" if self.dtype == "bfloat16" and self.runner("graph") == "openvino" else self.dtype

    def require(self, form: Form) -> None:
        """Make sure that what runs a form is installed, and has the devices."""
        model, runner = self.settings.model, self.runner(form)
        if runner == "torch":
            check_torch(model, self.devices)
        elif runner == "onnx":
            check_onnx(model, self.devices, self.dtype)
        else:
            check_openvino(model, self.devices, self.dtype)

    def open(
        self, form: Form, checkpoint: Checkpoint, readout: Readout, *, sample: Batch, half: str
    ) -> list[PlacedBackend]:
        """Load the model onto each device; `half` is the half-precision format that its activations fit."""
        runner = self.runner(form)
        how: dict[str, Any] = {"max_batch_tokens": self.settings.max_batch_tokens}
        if runner == "torch":
            how |= {
                "dtype": self.settings.dtype,
                "half": half,
                "trust_remote_code": self.settings.trust_remote_code,
            }
        else:
            how |= {"dtype": self.dtype, "graph": self.graph}
        opened = {"torch": open_torch, "onnx": open_onnx, "openvino": open_openvino}[runner]
        return [opened(checkpoint, readout, sample, device=device, **how) for device in self.devices]

    def _suits_openvino(self) -> bool:
        """
        Whether OpenVINO is to run a graph for which no backend is named.

        On a CPU it was as fast as ONNX Runtime or faster wherever both were measured, with the same scores to 1e-5. It
        has no float16 there, and GPUs are ONNX Runtime's. So is int8: whether OpenVINO is fast there depends on the
        processor, some optimised graphs are ONNX Runtime's alone, and ONNX Runtime survives a fork.
        """
        if not _is_installed("openvino") or not set(self.devices) <= {"auto", "cpu"}:
            return False
        if not _is_installed("onnxruntime"):
            return True
        if self.dtype in ("float16", "int8"):
            return False
        return "auto" not in self.devices or not offers_gpu(self.settings.model)


def choose(settings: Settings, devices: Sequence[str]) -> Choice:
    """
    Decide what may run a model, and make sure of the first choice before anything is downloaded for it.

    Left to itself this is torch for weights, which packs them and is about as fast as a graph, and exact whatever else
    lies beside them. Graphs are for a model that has no weights, for int8, and for where there is no torch.
    """
    forms: tuple[Form, ...] = ("weights", "graph")
    if settings.backend == "torch":
        forms = ("weights",)
    elif settings.backend in ("onnx", "openvino") or settings.dtype == "int8":
        forms = ("graph",)
    elif not _is_installed("torch") and (_is_installed("onnxruntime") or _is_installed("openvino")):
        forms = ("graph", "weights")
    choice = Choice(settings, devices, forms)
    choice.require(forms[0])
    return choice


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # blocked, or half imported
        return False
