"""Where the names of points go, so that each can be read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Anchor = Literal["start", "middle", "end"]

_LETTER, _HIGH = 7.0, 14.0  # of one letter, about
_AWAY = 12.0  # from the middle of a point


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a figure that something covers."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: "Box") -> float:
        """Return the area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(wide, 0.0) * max(high, 0.0)


@dataclass(frozen=True, slots=True)
class Label:
    """A name with the place of its line of writing."""

    text: str
    x: float
    y: float
    anchor: Anchor

    @property
    def box(self) -> Box:
        """What it covers."""
        wide = _LETTER * len(self.text)
        left = self.x - {"start": 0.0, "middle": wide / 2, "end": wide}[self.anchor]
        return Box(left, self.y - _HIGH + 3, left + wide, self.y + 3)


def place(points: Iterable[tuple[float, float, str]], taken: Sequence[Box], frame: Box) -> list[Label]:
    """Return a label for each point of (x, y, name), where it covers least of what is there and of other labels."""
    known, placed = list(taken), []
    for x, y, text in points:
        label = settle(_tries(x, y, text), known, frame)
        known.append(label.box)
        placed.append(label)
    return placed


def settle(tries: Iterable[Label], taken: Sequence[Box], frame: Box) -> Label:
    """Return the label that covers least; of equals, the first."""
    return min(tries, key=lambda one: _harm(one, taken, frame))


def _tries(x: float, y: float, text: str) -> list[Label]:
    """Return the places around a point, the best ones first: of equals, the first is taken."""
    tries = [Label(text, x + _AWAY, y - 7, "start"), Label(text, x - _AWAY, y - 7, "end")]
    tries.extend((Label(text, x + _AWAY, y + 17, "start"), Label(text, x - _AWAY, y + 17, "end")))
    for step in range(1, 5):
        for side in (-1, 1):
            height = y + 4 + side * (16 + 14 * step)
            tries.append(Label(text, x, height, "middle"))
            tries.append(Label(text, x + _AWAY, height, "start"))
            tries.append(Label(text, x - _AWAY, height, "end"))
    return tries


def _harm(label: Label, taken: Sequence[Box], frame: Box) -> float:
    box = label.box
    area = (box.right - box.left) * (box.bottom - box.top)
    return sum(box.shared(other) for other in taken) + 10 * (area - box.shared(frame))
