"""Lines of files, plain or gzipped, with faults that name the file and the line and repeat nothing of the text."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from resift.errors import InvalidInput
from resift.wire.strict_json import NotJson, read_json

LONGEST_BYTES = 64 * 2**20  # a line that is longer is no document but a file of another kind
_GZIP = b"\x1f\x8b"
_MARK = b"\xef\xbb\xbf"  # the byte order mark that some editors write

Line = tuple[str, str]
"""Where a line stands, for messages, and its text without its end."""


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines that are not blank."""
    name = str(path)
    with _faults_of(path), _open(path) as file:
        number = 0
        while raw := file.readline(LONGEST_BYTES + 1):
            number += 1
            place = f"{name}:{number}"
            if len(raw) > LONGEST_BYTES:
                raise InvalidInput(f"{place} is longer than {LONGEST_BYTES >> 20} MiB; is this a file of lines?")
            line = _decoded(raw.removeprefix(_MARK) if number == 1 else raw, place)
            if line.strip():
                yield place, line


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the JSON objects of a file that has one on each line, each with its place."""
    for place, line in read_lines(path):
        try:
            found = read_json(line.encode())
        except NotJson as error:
            raise InvalidInput(f"{place} is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise InvalidInput(f"{place} holds no JSON object, but {type(found).__name__}")
        yield place, found


def read_columns(path: Path, *counts: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the columns of a table, each row with its place; they are parted by tabs, or else by blanks."""
    for place, line in read_lines(path):
        columns = [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
        if len(columns) not in counts or not all(columns):
            wanted = " or ".join(map(str, counts))
            raise InvalidInput(f"{place} must have {wanted} columns, parted by tabs or blanks; it has {len(columns)}")
        yield place, columns


def find(folder: Path, *names: str) -> Path | None:
    """Return the first of these files that the folder has, plain or gzipped."""
    candidates = (folder / f"{name}{ending}" for name in names for ending in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def require(folder: Path, *names: str) -> Path:
    """Return the first of these files that the folder has, or say what it lacks."""
    found = find(folder, *names)
    if found is None:
        raise InvalidInput(f"{folder} has no {' and no '.join(names)}, plain or gzipped")
    return found


def _decoded(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidInput(f"{place} is not valid UTF-8; convert the file") from None


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
    return BufferedReader(gzip.open(path, "rb")) if is_gzip else path.open("rb")


@contextmanager
def _faults_of(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} is a broken gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None
