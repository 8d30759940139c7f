"""From values to places on a page, and the round values that an axis shows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Linear:
    """A scale on which equal differences are equally long."""

    low: float
    high: float
    begins: float
    ends: float

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        return self.begins + (value - self.low) / (self.high - self.low) * (self.ends - self.begins)

    def ticks(self, about: int = 5) -> list[float]:
        """Return about so many round values."""
        rough = (self.high - self.low) / about
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in _STEPS if unit * factor >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(count * step, 12) for count in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Logarithmic:
    """A scale on which equal ratios are equally long."""

    low: float
    high: float
    begins: float
    ends: float

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begins + share * (self.ends - self.begins)

    def ticks(self) -> list[float]:
        """Return the ones, twos and fives of each power of ten; only the ones where these are many."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        factors = (1, 2, 5) if len(powers) <= 4 else (1,)
        values = (factor * 10.0**power for power in powers for factor in factors)
        return [value for value in values if self.low <= value * (1 + 1e-9) and value <= self.high * (1 + 1e-9)]


def padded(values: Iterable[float], *, by: float = 0.08, least: float = 0.02) -> tuple[float, float]:
    """Return a range that holds the values with some air around them."""
    known = list(values)
    low, high = min(known), max(known)
    air = max((high - low) * by, least)
    return low - air, high + air
