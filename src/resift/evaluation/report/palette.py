"""How each row looks: a colour and a shape of its own, the same in every figure, told apart without colours too."""

from collections.abc import Iterable
from dataclasses import dataclass

from resift.evaluation.record import FIRST_STAGE, ORACLE
from resift.evaluation.report.markup import Markup, element

COLOURS, SHAPES = 7, 6  # no two of 42 rows look the same: 7 and 6 have no common divisor


@dataclass(frozen=True, slots=True)
class Look:
    """The class that colours a row, and the number of its shape."""

    name: str
    shape: int


def looks_of(contestants: Iterable[str]) -> dict[str, Look]:
    """Return the look of each row."""
    looks = {name: Look(f"c{at % COLOURS}", at % SHAPES) for at, name in enumerate(contestants)}
    return {FIRST_STAGE: Look("first", 0), ORACLE: Look("oracle", 2), **looks}


def mark(look: Look, x: float, y: float, *, size: float = 5.5) -> Markup:
    """Draw the mark of a row in a figure."""
    corners = _CORNERS.get(look.shape)
    if corners is None:
        return element("circle", cx=x, cy=y, r=size, class_=f"mark {look.name}")
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return element("polygon", points=points, class_=f"mark {look.name}")


def swatch(look: Look) -> Markup:
    """Draw the mark of a row in a line of text."""
    return element(
        "svg", mark(look, 7, 7, size=5), class_="swatch", viewBox="0 0 14 14", aria_hidden="true", focusable="false"
    )


_CORNERS = {
    1: ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    2: ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    3: ((0, -1.15), (1.15, 0.85), (-1.15, 0.85)),
    4: ((0, 1.15), (1.15, -0.85), (-1.15, -0.85)),
    5: (
        *((-0.4, -1.15), (0.4, -1.15), (0.4, -0.4), (1.15, -0.4), (1.15, 0.4), (0.4, 0.4)),
        *((0.4, 1.15), (-0.4, 1.15), (-0.4, 0.4), (-1.15, 0.4), (-1.15, -0.4), (-0.4, -0.4)),
    ),
}
