"""Tables that a click or a key sorts: what each row is worth, how fast it is, who beats whom."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from resift.evaluation.latency import Latency
from resift.evaluation.record import ORACLE
from resift.evaluation.report.markup import Markup, element, together
from resift.evaluation.report.palette import Look, swatch
from resift.evaluation.report.scopes import Scope
from resift.evaluation.report.wording import chance, count, duration, lead, share, short, size


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows, and the number that it is sorted by; without one it stays at the end."""

    shown: str
    value: float | None = None
    best: bool = False


NOTHING = Cell("–")  # noqa: RUF001 - a dash


def sortable(
    caption: str, heads: Sequence[tuple[str, str]], rows: Iterable[tuple[str, Look, Sequence[Cell]]]
) -> Markup:
    """Return a table; `heads` are the columns' titles with what each means."""
    titles = [element("th", element("button", "row", type="button"), scope="col", aria_sort="none")]
    titles.extend(
        element("th", element("button", head, type="button", title=meaning), scope="col", aria_sort="none", class_="n")
        for head, meaning in heads
    )
    body = [
        element("tr", element("th", swatch(look), short(name), scope="row", title=name), *map(_cell, cells))
        for name, look, cells in rows
    ]
    return _framed(caption, titles, body, kind="sortable")


def measures_table(scope: Scope, looks: Mapping[str, Look]) -> Markup:
    """Return every measure of every row, and what the first one proves."""
    measured = scope.standing.measures
    best = {
        measure: max((found[measure].mean for row, found in measured.items() if row != ORACLE), default=0.0)
        for measure in scope.measures
    }
    heads = [
        (scope.measure, "the mean over all queries; the measure that decides"),
        ("95 %", "the interval that holds the mean in 95 of 100 sets of queries of this kind"),
        (f"vs {short(scope.baseline, 18)}", f"how far it is ahead of {scope.baseline}"),
        ("p (Holm)", "how likely chance makes a difference as large, after paying for all comparisons"),
        *((measure, "the mean over all queries") for measure in scope.measures[1:]),
    ]
    rows = [(row, looks[row], _measure_cells(scope, row, best)) for row in scope.order]
    return sortable(f"Quality on {scope.name}, {count(scope.queries)} queries", heads, rows)


def _measure_cells(scope: Scope, row: str, best: Mapping[str, float]) -> list[Cell]:
    found, compared = scope.standing.measures[row], scope.against_baseline(row)
    first = found[scope.measure]
    cells = [
        Cell(share(first.mean, 4), first.mean, best=row != ORACLE and first.mean == best[scope.measure]),
        Cell(f"{share(first.low)} to {share(first.high)}", first.low),
    ]
    if compared is None:
        cells.extend((NOTHING, NOTHING))
    else:
        cells.append(Cell(lead(compared.difference.mean), compared.difference.mean))
        cells.append(Cell(chance(compared.p_holm), compared.p_holm))
    for measure in scope.measures[1:]:
        mean = found[measure].mean
        cells.append(Cell(share(mean, 4), mean, best=row != ORACLE and mean == best[measure]))
    return cells


def latency_table(scope: Scope, looks: Mapping[str, Look]) -> Markup:
    """Return how fast the rows are that were timed."""
    if not scope.latencies:
        return Markup()
    heads = [
        ("mean", "of the time that one query takes"),
        ("p50", "half of the queries take no longer"),
        ("p90", "nine of ten queries take no longer"),
        ("p99", "99 of 100 queries take no longer"),
        ("pairs/s", "documents that were scored in a second"),
        ("tokens/s", "tokens that were read in a second"),
        ("memory", "the most that the whole process held"),
        ("GPU memory", "the most that tensors took on GPUs"),
        ("at once", "how many queries were asked at one time"),
        ("queries", "how many were timed"),
    ]
    cells = {row: _latency_cells(scope.latencies[row]) for row in scope.order if row in scope.latencies}
    told = [at for at in range(len(heads)) if any(row[at] != NOTHING for row in cells.values())]
    rows = [(row, looks[row], [found[at] for at in told]) for row, found in cells.items()]
    return sortable(f"Latency of one query on {scope.name}", [heads[at] for at in told], rows)


def _latency_cells(latency: Latency) -> list[Cell]:
    times = (latency.mean_s, latency.p50_s, latency.p90_s, latency.p99_s)
    tokens, peaks = latency.tokens_per_s, (latency.peak_bytes, latency.peak_gpu_bytes)
    return [
        *(Cell(duration(time), time) for time in times),
        Cell(count(latency.pairs_per_s), latency.pairs_per_s),
        NOTHING if tokens is None else Cell(count(tokens), tokens),
        *(NOTHING if peak is None else Cell(size(peak), peak) for peak in peaks),
        Cell(count(latency.concurrency), latency.concurrency),
        Cell(count(latency.queries), latency.queries),
    ]


def wins_table(scope: Scope, looks: Mapping[str, Look]) -> Markup:
    """Return the share of the queries that each row wins against each other one; a draw is half a win."""
    rows = [rating.row for rating in scope.standing.ratings]
    titles = [element("th", "wins against", scope="col")]
    titles.extend(element("th", swatch(looks[row]), short(row), scope="col", class_="n", title=row) for row in rows)
    body = [
        element(
            "tr",
            element("th", swatch(looks[row]), short(row), scope="row", title=row),
            *(_win(scope, row, other) for other in rows),
        )
        for row in rows
    ]
    caption = f"Share of the queries of {scope.name} that the row wins against the column; a draw is half a win"
    return _framed(caption, titles, body, kind="wins")


def _framed(caption: str, titles: Sequence[Markup], body: Sequence[Markup], *, kind: str) -> Markup:
    """Return a table that scrolls where it is wider than the page."""
    head, rows = element("thead", element("tr", *titles)), element("tbody", *body)
    return element("div", element("table", element("caption", caption), head, rows, class_=kind), class_="scroll")


def _win(scope: Scope, row: str, other: str) -> Markup:
    if row == other:
        return element("td", class_="self")
    won, ahead = scope.standing.wins[row][other], scope.standing.ahead[row][other]
    kind = "win" if won >= 0.5 else "loss"
    strength = f"--s:{min(abs(won - 0.5) * 200, 100):.0f}%"
    told = (
        f"{row} wins {won:.1%} against {other}, and is rated above it in {ahead:.0%} of the resampled sets of queries"
    )
    return element("td", f"{won:.0%}", class_=f"n {kind}", style=strength, title=told)


def _cell(cell: Cell) -> Markup:
    shown = element("strong", cell.shown) if cell.best else together(cell.shown)
    value = None if cell.value is None else repr(float(cell.value))
    return element("td", shown, class_="n", data_value=value)
