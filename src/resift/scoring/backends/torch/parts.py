"""What layers are made of: products and normalisations, from weights by their names."""

import re
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn import functional

from resift.scoring.backends.torch.linears import linear

Weights = dict[str, torch.Tensor]  # who lays a weight out anew takes it out, so that no layer is held twice
Step = Callable[[torch.Tensor], torch.Tensor]

_OF_A_LAYER = re.compile(r"\blayers?\.\d+\.")


def product(weights: Weights, *names: str, biased: bool = True, gelu: bool = False) -> nn.Module:
    """Return the linear layer of that name, or of several side by side."""
    weight = torch.cat([weights.pop(f"{name}.weight") for name in names])
    bias = torch.cat([weights.pop(f"{name}.bias") for name in names]) if biased else None
    return linear(weight, bias, gelu=gelu)


def layer_norm(weights: Weights, name: str, epsilon: float, *, biased: bool = True) -> Step:
    """Return the layer normalisation of that name."""
    weight, bias = weights.pop(f"{name}.weight"), weights.pop(f"{name}.bias") if biased else None
    return lambda states: functional.layer_norm(states, weight.shape, weight, bias, epsilon)


def has_more_layers(left: Iterable[str]) -> bool:
    """Whether weights that were left over, by their names, are of layers, which would then do less than they should."""
    return any(_OF_A_LAYER.search(name) for name in left)
