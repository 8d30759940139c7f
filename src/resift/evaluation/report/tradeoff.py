"""The figure of quality against latency: who is worth the wait."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resift.evaluation.latency import Latency
from resift.evaluation.record import FIRST_STAGE, ORACLE, Estimate
from resift.evaluation.report.labels import Anchor, Box, Label, place, settle
from resift.evaluation.report.markup import Markup, element, together
from resift.evaluation.report.palette import Look, mark
from resift.evaluation.report.scales import Linear, Logarithmic, padded
from resift.evaluation.report.scopes import Scope
from resift.evaluation.report.wording import duration, share, short, tick

_WIDTH, _HEIGHT = 560.0, 380.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 24.0, 22.0, 46.0
_FRAME = Box(_LEFT, 0, _WIDTH, _HEIGHT - _BOTTOM)


@dataclass(frozen=True, slots=True)
class _Point:
    row: str
    quality: Estimate
    latency: Latency


@dataclass(frozen=True, slots=True)
class _Plane:
    """The figure's own coordinates."""

    across: Logarithmic
    up: Linear

    def place(self, point: _Point) -> tuple[float, float]:
        return self.across(point.latency.p50_s), self.up(point.quality.mean)


def tradeoff(scope: Scope, looks: Mapping[str, Look]) -> Markup:
    """Draw each row that was timed, with its intervals, and the line of those that no other one beats on both axes."""
    points = [_Point(row, scope.quality(row), latency) for row, latency in scope.latencies.items()]
    if not points:
        return element("p", "Nothing was timed here, so there is no figure of quality against latency.", class_="none")
    first = scope.quality(FIRST_STAGE)
    plane = _plane(points, first)
    front = pareto([(point.latency.p50_s, point.quality.mean, point.row) for point in points], least=first.mean)
    title = f"{scope.measure} against the median latency of a query on {scope.name}"
    references, note = _references(plane, scope, points)
    told = "; ".join(f"{point.row} {share(point.quality.mean)} at {duration(point.latency.p50_s)}" for point in points)
    return element(
        "svg",
        element("title", title),
        element("desc", f"{told}. On the front: {', '.join(front) or 'none'}."),
        _grid(plane, scope),
        _front(plane, [point for point in points if point.row in front], first.mean),
        references,
        *(_drawn(plane, point, looks[point.row], leads=point.row in front) for point in points),
        *_labels(plane, points, note),
        viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}",
        role="img",
        class_="chart tradeoff",
    )


def pareto(points: Sequence[tuple[float, float, str]], *, least: float) -> list[str]:
    """Return the names on the front of (latency, quality, name), fastest first: each is better than all faster ones."""
    front, best = [], least
    for _, quality, name in sorted(points, key=lambda point: (point[0], -point[1])):
        if quality > best:
            front.append(name)
            best = quality
    return front


def _plane(points: Sequence[_Point], first: Estimate) -> _Plane:
    low, high = padded([first.mean, *(value for point in points for value in (point.quality.low, point.quality.high))])
    fastest = min(point.latency.p50_s for point in points)
    slowest = max(point.latency.p90_s for point in points)
    return _Plane(
        Logarithmic(max(fastest, 1e-7) / 1.8, max(slowest, 1e-7) * 2.4, _LEFT, _WIDTH - _RIGHT),
        Linear(low, high, _HEIGHT - _BOTTOM, _TOP),
    )


def _grid(plane: _Plane, scope: Scope) -> Markup:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    lines: list[Markup] = []
    for value in plane.up.ticks():
        y = plane.up(value)
        lines.append(element("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="grid"))
        lines.append(element("text", f"{value:g}", x=_LEFT - 8, y=y + 4, class_="tick end"))
    for value in plane.across.ticks():
        x = plane.across(value)
        lines.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, class_="axis"))
        lines.append(element("text", tick(value), x=x, y=bottom + 19, class_="tick middle"))
    lines.append(element("line", x1=_LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"))
    wait = "median latency of a query, the line reaches to p90 (logarithmic)"
    lines.append(element("text", wait, x=right, y=_HEIGHT - 8, class_="caption end"))
    lines.append(element("text", scope.measure, x=_LEFT - 44, y=12, class_="caption"))
    return element("g", *lines)


def _references(plane: _Plane, scope: Scope, points: Sequence[_Point]) -> tuple[Markup, Label]:
    """Draw what is reached without waiting, and say what could be reached at most."""
    y, right = plane.up(scope.quality(FIRST_STAGE).mean), _WIDTH - _RIGHT
    text, best = f"first stage {share(scope.quality(FIRST_STAGE).mean)}", scope.quality(ORACLE).mean
    sides: tuple[tuple[float, Anchor], ...] = ((_LEFT + 6, "start"), (right, "end"), ((_LEFT + right) / 2, "middle"))
    tries = [Label(text, x, y + below, anchor) for below in (15, -6) for x, anchor in sides]
    note = settle(tries, _covered(plane, points), _FRAME)
    drawn = [
        element("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="reference"),
        element("text", note.text, x=note.x, y=note.y, class_=f"note {note.anchor}"),
    ]
    if best <= plane.up.high:
        at = plane.up(best)
        drawn.append(element("line", x1=_LEFT, x2=right, y1=at, y2=at, class_="reference"))
        drawn.append(element("text", f"oracle {share(best)}", x=right, y=at - 6, class_="note end"))
    else:
        drawn.append(element("text", f"oracle {share(best)} ↑", x=right, y=_TOP - 8, class_="note end"))
    return element("g", *drawn), note


def _front(plane: _Plane, points: Sequence[_Point], least: float) -> Markup:
    """Draw the best that can be had for each wait, as steps."""
    steps = [f"M{_LEFT:.1f} {plane.up(least):.1f}"]
    for point in sorted(points, key=lambda point: point.latency.p50_s):
        x, y = plane.place(point)
        steps.append(f"H{x:.1f}V{y:.1f}")
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    line = "".join((*steps, f"H{right:.1f}"))
    area = f"{line}V{bottom:.1f}H{_LEFT:.1f}Z"
    return together(element("path", d=area, class_="within"), element("path", d=line, class_="front"))


def _drawn(plane: _Plane, point: _Point, look: Look, *, leads: bool) -> Markup:
    x, y = plane.place(point)
    low, high, slow = plane.up(point.quality.low), plane.up(point.quality.high), plane.across(point.latency.p90_s)
    return element(
        "g",
        element("title", _tooltip(point)),
        element("line", x1=x, x2=x, y1=low, y2=high, class_=f"whisker {look.name}"),
        element("line", x1=x, x2=max(slow, x), y1=y, y2=y, class_=f"whisker {look.name}"),
        mark(look, x, y, size=7.0 if leads else 5.5),
        class_="point" if leads else "point behind",
    )


def _tooltip(point: _Point) -> str:
    latency = point.latency
    return (
        f"{point.row}: {share(point.quality.mean)} ({share(point.quality.low)} to {share(point.quality.high)}), "
        f"p50 {duration(latency.p50_s)}, p90 {duration(latency.p90_s)}, p99 {duration(latency.p99_s)}"
    )


def _labels(plane: _Plane, points: Sequence[_Point], note: Label) -> list[Markup]:
    """Name the points, the best ones first."""
    ranked = sorted(points, key=lambda point: -point.quality.mean)
    named = [(*plane.place(point), short(point.row)) for point in ranked]
    placed = place(named, [note.box, *_covered(plane, points)], _FRAME)
    return [element("text", one.text, x=one.x, y=one.y, class_=f"label {one.anchor}") for one in placed]


def _covered(plane: _Plane, points: Sequence[_Point]) -> list[Box]:
    """Return what points and their whiskers cover."""
    boxes = []
    for point in points:
        x, y = plane.place(point)
        slow = plane.across(max(point.latency.p90_s, point.latency.p50_s))
        boxes.append(Box(x - 8, y - 8, x + 8, y + 8))
        boxes.append(Box(x - 2, plane.up(point.quality.high), x + 2, plane.up(point.quality.low)))
        boxes.append(Box(x, y - 2, slow, y + 2))
    return boxes
