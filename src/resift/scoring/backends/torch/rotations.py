"""
Positions as rotations: a head's numbers in pairs, each turned by an angle, as a product of complex numbers.

Files hold the two of a pair half a head's width apart. Questions and keys compare alike in any order, so their weights
are laid out with pairs side by side, and nothing has to be taken apart and put together again for every token.
"""

from dataclasses import dataclass

import torch

from resift.scoring.backends.torch.parts import Weights


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
    def by(cls, angles: torch.Tensor, dtype: torch.dtype) -> "Turn":
        """Return the rotations by angles, (rows, pairs), as the authors round them to the model's number format."""
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
