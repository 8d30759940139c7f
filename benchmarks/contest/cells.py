"""A record's rows as cells of a table: the same words on a terminal and on a page."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

Row = Mapping[str, Any]
MISSING = "–"  # noqa: RUF001 - a dash, as tables have it


def _pairs(row: Row) -> str:
    return f"{row['pairs a second']['median']:.{_digits(row)}f}"


def _spread(row: Row) -> str:
    speed, digits = row["pairs a second"], _digits(row)
    return f"{speed['least']:.{digits}f} to {speed['most']:.{digits}f}"


def _digits(row: Row) -> int:
    return 0 if row["pairs a second"]["median"] >= 20 else 1


def _ratio(row: Row) -> str:
    return f"{row['ratio']:.2f}"


def _alike(row: Row) -> str:
    return f"{row['ratio in its format']['ratio']:.2f}"


def _agreement(row: Row) -> str:
    scores = row["scores"]
    return f"{scores['largest difference']:.0e} / {scores['rank correlation']:.4f}"


def _share(row: Row) -> str:
    return f"{row['share of the ceiling']:.0%}"


def _ready(row: Row) -> str:
    return f"{row['loading']['ready_s']:.1f}"


def _first(row: Row) -> str:
    return f"{row['first call s']:.2f}"


def _peak(row: Row) -> str:
    more = row["gpu peak bytes"]
    return f"{row['peak bytes'] / 1e6:.0f}" + (f" + {more / 1e6:.0f}" if more else "")


def _short(row: Row) -> str:
    return f"{row['short request s']['median'] * 1e3:.1f} / {row['short request s']['p99'] * 1e3:.1f}"


def _crowd(row: Row, name: str) -> str:
    told = row["callers"][name]
    return f"{told['documents a second']:.0f}/s, {told['median'] * 1e3:.0f} / {told['p99'] * 1e3:.0f}"


COLUMNS: dict[str, Callable[[Row], str]] = {
    "pairs/s": _pairs,
    "least to most": _spread,
    "ratio": _ratio,
    "in its format": _alike,
    "difference / rank correlation": _agreement,
    "of the ceiling": _share,
    "ready s": _ready,
    "first call s": _first,
    "peak MB": _peak,
    "5 short, ms": _short,
    "8 in turns, ms": partial(_crowd, name="in turns"),
    "8 together, ms": partial(_crowd, name="together"),
}
_NAMES = tuple(COLUMNS)
WHOLE = _NAMES[:6], _NAMES[6:]
"""The columns of the two tables that tell everything: how fast at length, and what it is like to live with."""

SHORT = (("pairs/s", "ratio", "difference / rank correlation", "ready s", "peak MB", "5 short, ms"),)


def cells(row: Row, columns: Sequence[str]) -> list[str]:
    """Return a row's name and its cells; what was not measured is a dash."""
    return [row["name"], *(_cell(row, COLUMNS[column]) for column in columns)]


def _cell(row: Row, write: Callable[[Row], str]) -> str:
    try:
        return write(row)
    except (KeyError, TypeError):  # not measured, or there was nothing to compare with
        return MISSING


def markdown(record: Mapping[str, Any], tables: Sequence[Sequence[str]]) -> str:
    """Return a record as tables in Markdown, one for each list of columns, with who is missing and why below them."""
    rows = played(record)
    parts = [_table(rows, columns) for columns in tables] + [caption(record)]
    if missing := [row for row in record["rows"] if row not in rows]:
        parts.append("Not in the table: " + " ".join(f"{row['name']} ({_reason(row)})." for row in missing))
    return "\n\n".join(parts)


def played(record: Mapping[str, Any]) -> list[Row]:
    """Return the rows that have figures."""
    return [row for row in record["rows"] if "pairs a second" in row]


def _table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    lines = ["| " + " | ".join(line) + " |" for line in (["", *columns], *(cells(row, columns) for row in rows))]
    return "\n".join([lines[0], "|---|" + "---:|" * len(columns), *lines[1:]])


def caption(record: Mapping[str, Any]) -> str:
    """Return where, of what and on what commit it was measured."""
    tops = ", ".join(
        f"{top / 1e9:.0f} GFLOP/s in {dtype}" for dtype, top in record["ceilings, operations a second"].items()
    )
    mean = record["tokens a round"] / record["pairs a round"]
    return (
        f"{record['model']}, random weights; {record['threads']} threads of {record['machine']}; "
        f"{record['pairs a round']} pairs of {mean:.0f} tokens on average, "
        f"{record['rounds']} rounds; words: {record['vocabulary']}; matrix products reach {tops}; "
        f"ratio to {record['ratio to']}; commit {record['commit']}."
    )


def _reason(row: Row) -> str:
    return " ".join(str(row.get("why not", "it played no round")).split())[:160].rstrip(".")
