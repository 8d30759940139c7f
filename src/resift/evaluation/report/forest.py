"""The figure of ratings: each with the interval in which it may be."""

from collections.abc import Mapping

from resift.evaluation.record import Rating
from resift.evaluation.report.markup import Markup, element
from resift.evaluation.report.palette import Look, mark
from resift.evaluation.report.scales import Linear, padded
from resift.evaluation.report.scopes import Scope
from resift.evaluation.report.wording import short

_WIDTH, _TOP, _BOTTOM = 560.0, 30.0, 34.0
_LEAST, _MOST, _WANTED = 30.0, 52.0, 316.0  # of one line, and of all together
_NAMES, _NUMBERS = 204.0, 134.0


def forest(scope: Scope, looks: Mapping[str, Look]) -> Markup:
    """Draw the ratings, best first, on Elo's scale, on which the first stage has 1500."""
    ratings = scope.standing.ratings
    line = min(max(_WANTED / len(ratings), _LEAST), _MOST)
    height = _TOP + line * len(ratings) + _BOTTOM
    low, high = padded([end for one in ratings for end in (one.rating.low, one.rating.high)], least=20.0)
    across = Linear(low, high, _NAMES, _WIDTH - _NUMBERS)
    told = "; ".join(f"{one.row} {one.rating.mean:.0f} ({_between(one)})" for one in ratings)
    return element(
        "svg",
        element("title", f"Ratings on {scope.name}, on Elo's scale, with 95 % intervals"),
        element("desc", f"{told}."),
        _grid(across, height),
        *(_drawn(across, one, looks[one.row], y=_TOP + line * (at + 0.5)) for at, one in enumerate(ratings)),
        viewBox=f"0 0 {_WIDTH:.0f} {height:.0f}",
        role="img",
        class_="chart forest",
    )


def _grid(across: Linear, height: float) -> Markup:
    bottom = height - _BOTTOM
    drawn = []
    for value in across.ticks(4):
        x = across(value)
        drawn.append(element("line", x1=x, x2=x, y1=_TOP, y2=bottom, class_="reference" if value == 1500 else "grid"))
        drawn.append(element("text", f"{value:.0f}", x=x, y=bottom + 18, class_="tick middle"))
    heads = ((_WIDTH - _NUMBERS + 16, "rating", "caption"), (_WIDTH - 4, "rank (95 %)", "caption end"))
    drawn.extend(element("text", text, x=x, y=14, class_=kind) for x, text, kind in heads)
    return element("g", *drawn)


def _drawn(across: Linear, one: Rating, look: Look, *, y: float) -> Markup:
    low, high, at = (across(value) for value in (one.rating.low, one.rating.high, one.rating.mean))
    ranks = f"{one.rank}" if one.best_rank == one.worst_rank else f"{one.rank} ({one.best_rank}–{one.worst_rank})"  # noqa: RUF001
    return element(
        "g",
        element("title", f"{one.row}: {one.rating.mean:.0f}, 95 % {_between(one)}, rank {ranks}"),
        element("text", short(one.row), x=_NAMES - 14, y=y + 4, class_="label end"),
        element("line", x1=low, x2=high, y1=y, y2=y, class_=f"whisker wide {look.name}"),
        mark(look, at, y, size=6.5),
        element("text", f"{one.rating.mean:.0f}", x=_WIDTH - _NUMBERS + 16, y=y + 4, class_="figure"),
        element("text", ranks, x=_WIDTH - 4, y=y + 4, class_="figure end"),
    )


def _between(one: Rating) -> str:
    return f"{one.rating.low:.0f} to {one.rating.high:.0f}"
