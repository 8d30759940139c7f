"""Queries and documents as their files write them: an id, a title perhaps, a text."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from resift.errors import InvalidInput
from resift.evaluation.collections.lines import read_columns, read_objects
from resift.types import Document

Rows = Iterable[tuple[str, dict[str, Any]]]

_IDS = ("_id", "id")


def read_queries(rows: Rows) -> dict[str, str]:
    """Return the text of each query."""
    queries: dict[str, str] = {}
    for place, row in rows:
        add(queries, entry_id(row, place), _text(row, "text", place), place=place)
    return queries


def read_documents(rows: Rows) -> dict[str, Document]:
    """Return each document as one text, title first, as it is usual."""
    documents: dict[str, Document] = {}
    for place, row in rows:
        title, text = _text(row, "title", place, may_lack=True), _text(row, "text", place)
        add(documents, entry_id(row, place), f"{title} {text}".strip(), place=place)
    return documents


def rows_of(path: Path) -> Rows:
    """Yield the rows of a file that holds a JSON object on each line, or an id, a tab and a text."""
    stem = path.name.removesuffix(".gz")
    if stem.endswith((".jsonl", ".json")):
        return read_objects(path)
    return ((place, {"_id": columns[0], "text": columns[1]}) for place, columns in read_columns(path, 2))


def entry_id(row: dict[str, Any], place: str, *names: str) -> str:
    """Return the id of a row; a number is read as its digits."""
    given = next((row[name] for name in names or _IDS if name in row), None)
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    if not isinstance(given, str):
        raise InvalidInput(f"{place} has no {' or '.join(names or _IDS)} that is a str")
    if not given or given != given.strip() or set(given) & set("\t\r\n"):
        raise InvalidInput(f"{place} has the id {given!r}; an id is not blank, and has no blanks around it or tabs")
    return given


def add(entries: dict[str, Any], entry: str, what: Any, *, place: str) -> None:
    """Note an entry whose id is new."""
    if entry in entries:
        raise InvalidInput(f"{place} has the id {entry!r} a second time")
    entries[entry] = what


def _text(row: dict[str, Any], name: str, place: str, *, may_lack: bool = False) -> str:
    given = row.get(name)
    if given is None and may_lack:
        return ""
    if not isinstance(given, str):
        raise InvalidInput(f"{place} must have {name!r}, a str; it has {type(given).__name__}")
    return given
