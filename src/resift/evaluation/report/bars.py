"""Small figures of bars, one for each collection or for each measure."""

from collections.abc import Mapping, Sequence

from resift.evaluation.record import ORACLE, Estimate, Standing
from resift.evaluation.report.markup import Markup, element
from resift.evaluation.report.palette import Look
from resift.evaluation.report.scales import Linear
from resift.evaluation.report.scopes import EVERYTHING, Scope
from resift.evaluation.report.wording import share, short

_WIDTH, _LINE, _TOP, _BOTTOM = 330.0, 22.0, 20.0, 4.0
_NAMES, _NUMBERS = 126.0, 40.0


def bars(scopes: Sequence[Scope], looks: Mapping[str, Look]) -> Markup:
    """Draw the first measure on each collection; all measures, where there is one collection only."""
    if len(scopes) == 1:
        (scope,) = scopes
        panels = [_panel(measure, scope.standing, looks, measure=measure) for measure in scope.measures]
    else:
        each = (scope for scope in scopes if scope.name != EVERYTHING)
        panels = [_panel(scope.name, scope.standing, looks, measure=scope.measure) for scope in each]
    return element("div", *panels, class_="panels")


def _panel(name: str, standing: Standing, looks: Mapping[str, Look], *, measure: str) -> Markup:
    rows = [row for row in standing.measures if row != ORACLE]
    values = {row: standing.measures[row][measure] for row in standing.measures}
    height = _TOP + _LINE * len(rows) + _BOTTOM
    across = Linear(0, max([0.05, *(one.high for one in values.values())]), _NAMES, _WIDTH - _NUMBERS)
    told = "; ".join(f"{row} {share(one.mean)}" for row, one in values.items())
    drawing = element(
        "svg",
        element("title", f"{measure} of each row: {name}"),
        element("desc", f"{told}."),
        *(_bar(across, row, values[row], look=looks[row], y=_TOP + _LINE * at) for at, row in enumerate(rows)),
        _oracle(across, values[ORACLE].mean, height),
        viewBox=f"0 0 {_WIDTH:.0f} {height:.0f}",
        role="img",
        class_="chart",
    )
    return element("figure", element("figcaption", name), drawing, class_="panel")


def _bar(across: Linear, row: str, value: Estimate, *, look: Look, y: float) -> Markup:
    middle, zero, at = y + _LINE / 2, across(0), across(value.mean)
    low, high = across(value.low), across(value.high)
    return element(
        "g",
        element("title", f"{row}: {share(value.mean)}, 95 % {share(value.low)} to {share(value.high)}"),
        element("text", short(row, 18), x=_NAMES - 8, y=middle + 4, class_="label end"),
        element("rect", x=zero, y=middle - 6, width=max(at - zero, 0.5), height=12.0, rx=2, class_=f"bar {look.name}"),
        element("line", x1=low, x2=high, y1=middle, y2=middle, class_="spread"),
        element("text", share(value.mean), x=_WIDTH, y=middle + 4, class_="figure end"),
    )


def _oracle(across: Linear, value: float, height: float) -> Markup:
    x = across(value)
    return element(
        "g",
        element("title", f"the most that any order could reach: {share(value)}"),
        element("line", x1=x, x2=x, y1=_TOP - 3, y2=height - _BOTTOM, class_="reference"),
        element("text", f"oracle {share(value)}", x=min(x + 4, _WIDTH), y=_TOP - 8, class_="note end"),
    )
