"""Documents and pairs from files and pipes: lines, JSON, JSONL, CSV and TSV, with faults that name the line."""

import csv
import io
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from resift.cli.terminal import is_person
from resift.errors import InvalidInput
from resift.types import Document
from resift.wire.strict_json import NotJson, read_json

FORMATS = ("auto", "lines", "json", "jsonl", "csv", "tsv")

_BY_SUFFIX = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "lines"}
_MARK = "\ufeff"  # the byte order mark that some editors write
_GZIP = b"\x1f\x8b"
_SEPARATORS = {"csv": ",", "tsv": "\t"}
_LONGEST = 128 * 2**20  # a field that is longer belongs to a file of another kind

Placed = tuple[str, Any]
"""Where a value stands, for messages, and the value."""


@contextmanager
def opened_text(path: str | None) -> Iterator[tuple[str, IO[str]]]:
    """Open a file, or stdin for "-" and for none, as the text it must be; give its name too."""
    if path in (None, "-"):
        if path is None and is_person(sys.stdin):
            raise InvalidInput("there is nothing to read; name a file, or pipe documents in")
        with _decoded(sys.stdin.buffer) as text:
            yield "stdin", text
        return
    assert path is not None
    try:
        with Path(path).open("rb") as file, _decoded(file) as text:
            yield path, text
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {path!r}; check the path") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path!r} is a folder; name a file in it") from None
    except PermissionError:
        raise InvalidInput(f"{path!r} may not be read; check who may read it") from None


def read_documents(path: str | None, kind: str) -> list[Document]:
    """Return all documents of a file; "auto" knows the format by the file's name, or by how its text begins."""
    with opened_text(path) as (name, file), _named(name):
        kind = _kind(name, kind)
        text = _without_mark(file.read())
    kind = _guess(text) if kind == "auto" else kind
    values = _from_json(name, text) if kind == "json" else _VALUES[kind](name, io.StringIO(text, newline=""))
    return [_document(place, value) for place, value in values]


def read_rows(path: str | None, kind: str) -> Generator[Placed]:
    """Yield the objects of a file one by one, as they come; "auto" is JSONL where the file's name says nothing."""
    with opened_text(path) as (name, file), _named(name):
        kind = _kind(name, kind)
        if kind == "auto":
            kind = "jsonl"
        if kind == "lines":
            raise InvalidInput("lines are documents only; add --query, or give pairs as jsonl, csv or tsv")
        values = _from_json(name, file.read()) if kind == "json" else _VALUES[kind](name, file)
        for place, value in values:
            if not isinstance(value, dict):
                raise InvalidInput(f"{place} is no JSON object; a pair is an object with its query and its document")
            yield place, value


def read_lines(path: str | None) -> Generator[Placed]:
    """Yield the lines of a file that are not blank, as they come."""
    with opened_text(path) as (name, file), _named(name):
        yield from _lines(name, file)


@contextmanager
def _decoded(stream: IO[bytes]) -> Iterator[IO[str]]:
    """Give a stream as text, and leave it open: it belongs to whoever opened it."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    try:
        yield text
    finally:
        if not stream.closed:
            text.detach()


def _kind(name: str, kind: str) -> str:
    return _BY_SUFFIX.get(Path(name).suffix.lower(), "auto") if kind == "auto" else kind


def _guess(text: str) -> str:
    """Return the format of a text without a telling name: JSON if it is a list, JSONL if a line is an object."""
    first = text.lstrip().partition("\n")[0].strip()
    if first.startswith("["):
        try:
            read_json(text.encode())
        except (NotJson, UnicodeEncodeError):
            return "lines"
        return "json"
    return "jsonl" if first.startswith("{") and first.endswith("}") else "lines"


def _lines(name: str, file: Iterable[str]) -> Iterator[Placed]:
    for number, raw in enumerate(file, start=1):
        line = (_without_mark(raw) if number == 1 else raw).rstrip("\r\n")
        if line.strip():
            yield f"{name}:{number}", line


def _from_jsonl(name: str, file: Iterable[str]) -> Iterator[Placed]:
    for place, line in _lines(name, file):
        try:
            yield place, read_json(line.encode())
        except NotJson as error:
            raise InvalidInput(
                f"{place} is no JSON: {error}; mend that line, or say --format if it is no JSONL"
            ) from None


def _from_json(name: str, text: str) -> Iterator[Placed]:
    try:
        value = read_json(_without_mark(text).encode())
    except NotJson as error:
        raise InvalidInput(f"{name} is no JSON: {error}; say --format if it is something else") from None
    if not isinstance(value, list):
        raise InvalidInput(f"{name} holds no JSON array; put what is to be ranked into one")
    for at, item in enumerate(value):
        yield f"{name}[{at}]", item


def _table(kind: str, name: str, file: Iterable[str]) -> Iterator[Placed]:
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(_from_mark_on(file), delimiter=_SEPARATORS[kind], strict=True)
    try:
        heads = next(reader, None)
        if heads is None:
            return
        if len(set(heads)) < len(heads) or not all(head.strip() for head in heads):
            raise InvalidInput(f"{name}:1 must name each column, and each only once; add such a line if there is none")
        for row in reader:
            place = f"{name}:{reader.line_num}"
            if not row:
                continue
            if len(row) != len(heads):
                raise InvalidInput(f"{place} has {len(row)} columns, and the first line names {len(heads)}; check it")
            yield place, dict(zip(heads, row, strict=True))
    except csv.Error as error:
        raise InvalidInput(
            f"{name}:{reader.line_num} is no {kind.upper()}: {error}; mend it, or say --format if it is something else"
        ) from None


def _from_mark_on(file: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(file):
        yield _without_mark(line) if number == 0 else line


def _from_csv(name: str, file: Iterable[str]) -> Iterator[Placed]:
    return _table("csv", name, file)


def _from_tsv(name: str, file: Iterable[str]) -> Iterator[Placed]:
    return _table("tsv", name, file)


_VALUES = {"lines": _lines, "jsonl": _from_jsonl, "csv": _from_csv, "tsv": _from_tsv}


def _document(place: str, value: Any) -> Document:
    if isinstance(value, str | dict):
        return value
    raise InvalidInput(f"{place} is no document but {type(value).__name__}; a document is a string or an object")


def _without_mark(text: str) -> str:
    return text.removeprefix(_MARK)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        if error.object.startswith(_GZIP):
            raise InvalidInput(f"{name} is gzipped; unpack it first, or pipe it in through `gunzip -c`") from None
        raise InvalidInput(f"{name} is not valid UTF-8; convert it, with iconv for one") from None
