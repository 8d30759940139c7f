"""What a command found, as a table for a person or as JSON, JSONL or CSV for a program."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resift.cli.terminal import console, is_person
from resift.documents import render
from resift.types import Document, Ranking
from resift.wire.strict_json import write_json

FORMATS = ("auto", "table", "json", "jsonl", "csv")

_BAR = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LONGEST_CELL = 4000  # what no terminal shows anyway
_LEAST_TEXT = 16
_OWN = ("rank", "index", "score")
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"  # Persian, Hindi and families of emoji are spelt with them


def resolve(kind: str) -> str:
    """Return what "auto" is here: a table for a person, JSONL for a program."""
    if kind != "auto":
        return kind
    return "table" if is_person() else "jsonl"


def write_line(value: Any) -> None:
    """Write a value as one line of JSON."""
    _write(_json(value) + b"\n")


def write_row(cells: Sequence[Any]) -> None:
    """Write one line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    _write(text.getvalue().encode("utf-8", "replace"))


def flush() -> None:
    """Hand on what was written."""
    sys.stdout.flush()


def write_ranking(kind: str, query: str, ranking: Ranking) -> None:
    """Write a ranking: a table is for reading, everything else holds the documents as they came."""
    if kind == "table":
        _write_table(ranking)
    elif kind == "json":
        write_line(
            {
                "query": query,
                "model": ranking.model,
                "results": _results(ranking),
                "truncated": ranking.truncated,
                "missing": list(ranking.missing),
                "tokens": None if ranking.usage is None else ranking.usage.tokens,
            }
        )
    elif kind == "jsonl":
        for result in _results(ranking):
            write_line(result)
    else:
        _write_csv(ranking)
    flush()


def bar(score: float, low: float, high: float) -> str:
    """Return a bar that is empty at `low` and full at `high`."""
    share = (score - low) / (high - low) if high > low else 1.0
    eighths = round(min(1.0, max(0.0, share)) * _BAR * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).strip().ljust(_BAR)


def _results(ranking: Ranking) -> list[dict[str, Any]]:
    return [
        {"rank": rank, "index": hit.index, "score": hit.score, "document": hit.document}
        for rank, hit in enumerate(ranking, start=1)
    ]


def _write_csv(ranking: Ranking) -> None:
    documents = [hit.document for hit in ranking]
    fields = _fields(documents)
    write_row([*_OWN, *(f"document.{name}" if name in _OWN else name for name in fields or ["document"])])
    for rank, hit in enumerate(ranking, start=1):
        write_row([rank, hit.index, hit.score, *_cells(hit.document, fields)])


def _fields(documents: Iterable[Document]) -> list[str]:
    """Return the names of the columns that documents bring; none where one of them is a text."""
    names: dict[str, None] = {}
    for document in documents:
        if not isinstance(document, Mapping):
            return []
        names.update(dict.fromkeys(document))
    return list(names)


def _cells(document: Document, fields: Sequence[str]) -> list[Any]:
    if not fields:
        return [document if isinstance(document, str) else _json(document).decode()]
    assert isinstance(document, Mapping)
    values = [document.get(name) for name in fields]
    return [_json(value).decode() if isinstance(value, dict | list | bool) else value for value in values]


def _write_table(ranking: Ranking) -> None:
    from rich.table import Table
    from rich.text import Text

    low, high = _scale([hit.score for hit in ranking])
    scores, indices = [f"{hit.score:.4f}" for hit in ranking], [str(hit.index) for hit in ranking]
    screen = console()
    widths = [len(str(len(ranking))), _width("score", scores), _BAR, _width("index", indices)]
    # said for each column, because a table that has to squeeze takes it from all of them
    fixed = sum(widths) + 2 * len(widths)
    rest = max(_LEAST_TEXT, screen.width - fixed) if is_person() else None
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", style="dim", width=widths[0])
    table.add_column("score", justify="right", width=widths[1])
    table.add_column("", width=widths[2])
    table.add_column("index", justify="right", style="dim", width=widths[3])
    table.add_column("document", no_wrap=True, overflow="ellipsis", width=rest)
    for rank, hit in enumerate(ranking, start=1):
        text = " ".join(render(hit.document, hit.index)[:_LONGEST_CELL].split())
        table.add_row(
            str(rank), scores[rank - 1], Text(bar(hit.score, low, high), "cyan"), str(hit.index), Text(_visible(text))
        )
    screen.width = max(screen.width, fixed + (rest or 0))  # where that is too wide, lines break and nothing is hidden
    screen.print(table)


def _width(head: str, cells: Sequence[str]) -> int:
    return max(map(len, (head, *cells)))


def _scale(scores: Sequence[float]) -> tuple[float, float]:
    """Return where a bar is empty and where it is full: [0, 1] if all scores are in it, else from 0 or below it."""
    if all(0 <= score <= 1 for score in scores):
        return 0.0, 1.0
    return min(0.0, *scores), max(scores)


def _visible(text: str) -> str:
    """Return a text without what would move a terminal's cursor, change its colours, or turn its words around."""
    return "".join(
        character if character.isprintable() or character in _JOINERS else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def _json(value: Any) -> bytes:
    try:
        return write_json(value)
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can write
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _write(line: bytes) -> None:
    sys.stdout.buffer.write(line)
