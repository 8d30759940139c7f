"""Matrix products on a CPU: weights laid out once for oneDNN where that is faster than what `F.linear` calls."""

import time
from functools import cache

import torch
from torch import nn
from torch.nn.functional import gelu

_TOKENS, _WIDTH = 256, 768  # enough of a usual model to tell
_ROUNDS = 11
_LEAST_STEP = 8  # rows
_TIE = 1.1  # within this the prepacked layer is taken, because it also saves the pass that applies GELU


class PlainLinear(nn.Module):
    """A linear layer, with a GELU behind it or not."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, *, gelu: bool = False) -> None:
        super().__init__()
        self._weight, self._bias, self._gelu = weight, bias, gelu

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        states = nn.functional.linear(states, self._weight, self._bias)
        return gelu(states) if self._gelu else states


class PrepackedLinear(nn.Module):
    """The same, its weight in the order that oneDNN reads and the GELU applied on the way."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, *, gelu: bool = False) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias
        self._after = ("gelu", "none") if gelu else ("none", "")

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        after, how = self._after
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, self._weight, self._bias, after, [], how)
        return product


def in_steps(states: torch.Tensor) -> torch.Tensor:
    """
    Add rows of zeros up to a round number, on a CPU; `states` may be of any shape.

    For every number of rows that it meets, oneDNN makes and keeps code of its own, half a megabyte for each product.
    """
    rows = len(states)
    step = max(_LEAST_STEP, 2 ** (rows.bit_length() - 6))  # at most seven more, or a 32nd
    more = -rows % step if states.device.type == "cpu" else 0
    return nn.functional.pad(states, (0, 0) * (states.dim() - 1) + (0, more)) if more else states


def linear(weight: torch.Tensor, bias: torch.Tensor | None, *, gelu: bool = False) -> nn.Module:
    """Return the faster of the two for this machine."""
    prepacked = weight.device.type == "cpu" and prepacking_pays(weight.dtype)
    return (PrepackedLinear if prepacked else PlainLinear)(weight.detach(), bias, gelu=gelu)


def prepack_linears(model: nn.Module, *, frugal: bool = False) -> None:
    """
    Swap every plain linear layer on the CPU for a prepacked one, if that is faster on this machine.

    Unless `frugal`, a layer keeps its plain weight as well, for models that look at it.
    """
    for name, layer in list(model.named_modules()):
        on_cpu = type(layer) is nn.Linear and layer.weight.device.type == "cpu"
        if not on_cpu or name.startswith("pooler.") or not prepacking_pays(layer.weight.dtype):
            continue  # the pooler is read by the head
        prepacked = PrepackedLinear(layer.weight.detach(), None if layer.bias is None else layer.bias.detach())
        if not frugal:
            prepacked.weight = layer.weight
        model.set_submodule(name, prepacked)


@cache
def prepacking_pays(dtype: torch.dtype) -> bool:
    """
    Measure whether prepacked products are right and faster here.

    The operators are private to torch and the answer depends on the processor, so neither is assumed.
    """
    numbers = torch.Generator().manual_seed(0)
    weight, bias, states = (
        torch.randn(shape, generator=numbers).to(dtype) for shape in ((_WIDTH, _WIDTH), (_WIDTH,), (_TOKENS, _WIDTH))
    )
    with torch.inference_mode():
        try:
            plain, prepacked = PlainLinear(weight, bias), PrepackedLinear(weight, bias)
            right = torch.allclose(prepacked(states), plain(states), rtol=2e-2, atol=2e-1)
        except (AttributeError, RuntimeError):  # no such operator, or not for this type
            return False
        if not right:
            return False
        # in turns, so that whatever else the machine does hits both alike
        rounds = [(_seconds(prepacked, states), _seconds(plain, states)) for _ in range(_ROUNDS)]
    return min(one for one, _ in rounds) < _TIE * min(other for _, other in rounds)


def _seconds(layer: nn.Module, states: torch.Tensor) -> float:
    start = time.perf_counter()
    layer(states)
    return time.perf_counter() - start
