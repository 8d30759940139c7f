"""What comes after hidden states: the layers of a head, in full precision, by the weights that a model's files hold."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Divide, Layer, LayerNorm, Normalize, Projection
from resift.scoring.backends.torch.weights import read_named

Step = Callable[[torch.Tensor], torch.Tensor]


class Head:
    """Layers one after the other. A weight that no file holds is an error, never a random number."""

    def __init__(self, layers: Sequence[Layer], checkpoint: Checkpoint, device: torch.device) -> None:
        self._steps = [_step(layer, checkpoint, device) for layer in layers]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Take vectors through all layers."""
        for step in self._steps:
            states = step(states)
        return states


def _step(layer: Layer, checkpoint: Checkpoint, device: torch.device) -> Step:
    if isinstance(layer, Normalize):
        return lambda states: functional.normalize(states, dim=-1)
    if isinstance(layer, Divide):
        return lambda states: states / layer.by
    names = [f"{layer.name}.{kind}" for kind in ("weight", "bias")]
    found = {
        name: weight.to(device=device, dtype=torch.float32)
        for name, weight in read_named(checkpoint.weights(layer.folder), [*names, "residual.weight"]).items()
    }
    weight, bias = (found.get(name) for name in names)
    if weight is None or (bias is None and isinstance(layer, LayerNorm)):
        lacking = names[0] if weight is None else names[1]
        raise ModelUnsupported(
            f"{checkpoint.name} holds no {lacking} in {checkpoint.path / layer.folder}, so its head was never trained "
            "or is not whole; download it again, or choose another model"
        )
    if isinstance(layer, LayerNorm):
        return lambda states: functional.layer_norm(states, weight.shape, weight, bias)
    return _projection(layer, weight, bias, residual=found.get("residual.weight"))


def _projection(
    layer: Projection, weight: torch.Tensor, bias: torch.Tensor | None, *, residual: torch.Tensor | None
) -> Step:
    activation: nn.Module = getattr(nn, layer.activation)()

    def project(states: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = activation(functional.linear(states, weight, bias))
        if not layer.residual:
            return projected
        return projected + (states if residual is None else functional.linear(states, residual))

    return project
