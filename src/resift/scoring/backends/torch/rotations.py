"""
Positions as rotations: a head's numbers in pairs, each turned by an angle, as a product of complex numbers.

Files hold the two of a pair half a head's width apart. Questions and keys compare alike in any order, so their weights
are laid out with pairs side by side, and nothing has to be taken apart and put together again for every token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from resift.scoring.backends.torch.parts import Weights


def base_of(asked: Mapping[str, Any], otherwise: Any) -> float | None:
    """Return the base of the rotations that a configuration asks for, where they are the plain ones."""
    plain = asked.get("rope_type", asked.get("type", "default")) == "default" and "partial_rotary_factor" not in asked
    base = asked.get("rope_theta", otherwise)
    return float(base) if plain and base else None


def rates_of(base: float, width: int, device: torch.device) -> torch.Tensor:
    """Return by how much each pair of a head's width turns from one position to the next."""
    return 1.0 / base ** (torch.arange(0, width, 2, device=device).float() / width)


def pair_up(weights: Weights, name: str, width: int) -> None:
    """Lay out a product, or a normalisation, so that what comes of it has the pairs of a head's width side by side."""
    for whole in (f"{name}.weight", f"{name}.bias"):
        if whole in weights:
            weight = weights[whole]
            halves = weight.view(-1, 2, width // 2, *weight.shape[1:])
            weights[whole] = halves.transpose(1, 2).reshape(weight.shape)


@dataclass(frozen=True, slots=True)
class Turn:
    """The rotation of each row by its position, in full precision."""

    waves: torch.Tensor  # (rows, 1, pairs), complex

    @classmethod
    def at(cls, positions: torch.Tensor, rates: torch.Tensor, dtype: torch.dtype) -> "Turn":
        """Return the rotation of each position, as the authors round it to the model's number format."""
        angles = positions[:, None].float() * rates
        cosines, sines = (wave.to(dtype).float() for wave in (angles.cos(), angles.sin()))
        return cls(torch.complex(cosines, sines)[:, None])

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Return states, (rows, heads, width), turned; those given may be overwritten."""
        turned = states.float()
        torch.view_as_complex(turned.view(*turned.shape[:-1], -1, 2)).mul_(self.waves)
        return turned.to(states.dtype)

    def of(self, rows: torch.Tensor) -> "Turn":
        """Return the rotation of some rows."""
        return Turn(self.waves[rows])
