"""An evaluation as lines of text."""

from resift.evaluation.record import FIRST_STAGE, Comparison, Record, Standing

_HEADS = ("", "", "95 %", "difference", "p (Holm)", "rating", "95 %", "p50")


def table(record: Record) -> str:
    """Return each collection, and all together where there are several, best row first."""
    parts = [(name, results.standing) for name, results in record.collections.items()]
    if len(parts) > 1:
        parts.append(("all collections", record.overall))
    return "\n\n".join(_part(record, name, standing) for name, standing in parts)


def _part(record: Record, name: str, standing: Standing) -> str:
    measure = record.protocol.measures[0]
    order = sorted(standing.measures, key=lambda row: -standing.measures[row][measure].mean)
    lines = [(name, measure, *_HEADS[2:]), *(_line(record, row, name=name, standing=standing) for row in order)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(_cells(line, widths)).rstrip() for line in lines)


def _cells(line: tuple[str, ...], widths: list[int]) -> list[str]:
    return [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]


def _line(record: Record, row: str, *, name: str, standing: Standing) -> tuple[str, ...]:
    found = standing.measures[row][record.protocol.measures[0]]
    rating = next((rating for rating in standing.ratings if rating.row == row), None)
    rated = (
        ("", "") if rating is None else (f"{rating.rating.mean:.0f}", _between(rating.rating.low, rating.rating.high))
    )
    compared = _against(standing, row, record.protocol.baseline or FIRST_STAGE)
    lead = ("", "") if compared is None else (f"{compared.difference.mean:+.4f}", f"{compared.p_holm:.4f}")
    latency = record.collections[name].rows[row].latency if name in record.collections else None
    p50 = "" if latency is None else f"{latency.p50_s * 1000:.1f} ms"
    return row, f"{found.mean:.4f}", f"{found.low:.4f}-{found.high:.4f}", *lead, *rated, p50


def _between(low: float, high: float) -> str:
    return "" if low == high else f"{low:.0f}-{high:.0f}"


def _against(standing: Standing, row: str, baseline: str) -> Comparison | None:
    pairs = (pair for pair in standing.comparisons if (pair.first, pair.second) == (row, baseline))
    return next(pairs, None)
