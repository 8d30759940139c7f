"""Which backend runs a model: as the caller said, else by what is installed and what files there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from resift.checkpoint import Form
from resift.scoring.backends.onnx import check_onnx
from resift.scoring.backends.torch import check_torch
from resift.settings import Settings


@dataclass(frozen=True, slots=True)
class Choice:
    """What may run a model, and which of its files that takes."""

    settings: Settings
    devices: Sequence[str]
    forms: tuple[Form, ...]
    """In what forms it may run, the best first: weights by torch, a graph by ONNX Runtime."""

    @property
    def graph(self) -> str:
        """The number format of the graph that is read, if one is."""
        return "float32" if self.settings.dtype == "auto" else self.settings.dtype

    def require(self, form: Form) -> None:
        """Make sure that what runs a form is installed, and has the devices."""
        check = check_torch if form == "weights" else check_onnx
        check(self.settings.model, self.devices)


def choose(settings: Settings, devices: Sequence[str]) -> Choice:
    """
    Decide what may run a model, and make sure of the first choice before anything is downloaded for it.

    Left to itself this is torch for weights, and ONNX Runtime for a model that has none, for int8, and where there is
    no torch.
    """
    forms: tuple[Form, ...] = ("weights", "graph")
    if settings.backend == "torch":
        forms = ("weights",)
    elif settings.backend == "onnx" or settings.dtype == "int8":
        forms = ("graph",)
    elif not _is_installed("torch") and _is_installed("onnxruntime"):
        forms = ("graph", "weights")
    choice = Choice(settings, devices, forms)
    choice.require(forms[0])
    return choice


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # blocked, or half imported
        return False
