"""Files of queries, planned as shards that can be read each for itself: JSONL by bytes, Parquet by rows."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from resift.bulk.rows import Names, Row, read_row
from resift.errors import InvalidInput, MissingDependency
from resift.wire.strict_json import NotJson, read_json

_LONGEST_BYTES = 256 * 2**20  # a line that is longer is no row but a file of another kind
_CHUNK_BYTES = 2**20
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_MARK = b"\xef\xbb\xbf"  # the byte order mark that some editors write
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows that are ranked together and written as one file."""

    number: int
    begin: int
    """Where it begins in the input: a byte of JSONL, a row of Parquet."""

    end: int
    rows: int
    first: int
    """The line or row that it begins with, for messages."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An input cut into shards, and what tells it from any other."""

    shards: tuple[Shard, ...]
    bytes: int
    sha256: str

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(shard.rows for shard in self.shards)


class Source(Protocol):
    """A file of queries. It can be pickled, and read by any process that sees the file."""

    @property
    def names(self) -> Names:
        """What the members of its rows are called."""

    def plan(self, shard_size: int) -> Plan:
        """Cut it into shards of so many rows."""

    def reader(self) -> "Reader":
        """Open it."""


class Reader(Protocol):
    """A file that is open; shards that follow one another are read fastest."""

    def rows(self, shard: Shard) -> Iterator[Row]:
        """Yield the rows of a shard."""

    def close(self) -> None:
        """Close the file."""


def source_of(path: str, names: Names) -> Source:
    """Return the source that a file is, by its first bytes."""
    with _reading(path), Path(path).open("rb") as file:
        begin = file.read(4)
    if begin.startswith(_GZIP):
        raise InvalidInput(f"{path} is gzipped, and so cannot be read from the middle; unpack it first")
    return ParquetSource(path, names) if begin == _PARQUET else JsonlSource(path, names)


@dataclass(frozen=True, slots=True)
class JsonlSource:
    """A JSON object on each line."""

    path: str
    names: Names = field(default_factory=Names)

    def plan(self, shard_size: int) -> Plan:
        """Cut it at ends of lines."""
        digest, shards = hashlib.sha256(), list[Shard]()
        begin = end = rows = line = first = 0
        with _reading(self.path), Path(self.path).open("rb") as file:
            while raw := file.readline(_LONGEST_BYTES + 1):
                line += 1
                if len(raw) > _LONGEST_BYTES:
                    raise InvalidInput(f"{self.path}:{line} is longer than {_LONGEST_BYTES >> 20} MiB; is this JSONL?")
                digest.update(raw)
                end += len(raw)
                if not raw.strip():
                    continue
                first = first if rows else line
                rows += 1
                if rows == shard_size:
                    shards.append(Shard(len(shards), begin, end, rows, first))
                    begin, rows = end, 0
        if rows:
            shards.append(Shard(len(shards), begin, end, rows, first))
        return Plan(tuple(shards), end, digest.hexdigest())

    def reader(self) -> "JsonlReader":
        """Open the file."""
        return JsonlReader(self)


class JsonlReader:
    """Reads byte ranges of JSONL."""

    def __init__(self, source: JsonlSource) -> None:
        self._source = source
        with _reading(source.path):
            self._file = Path(source.path).open("rb")  # noqa: SIM115 - `close` closes it

    def rows(self, shard: Shard) -> Iterator[Row]:
        """Yield the rows between two bytes."""
        with _reading(self._source.path):
            self._file.seek(shard.begin)
            line, place, rows = shard.first - 1, shard.begin, 0
            while rows < shard.rows and (raw := self._file.readline()):
                place += len(raw)
                if raw.strip():
                    rows += 1
                    line += 1
                    yield self._row(raw, f"{self._source.path}:{line}", is_first=place == len(raw))
                elif rows:
                    line += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _row(self, raw: bytes, place: str, *, is_first: bool) -> Row:
        try:
            value = read_json(raw.removeprefix(_MARK) if is_first else raw)
        except NotJson as error:
            return Row(place, None, fault=f"{place} is no JSON: {error}; each line must be one object")
        return read_row(place, value, self._source.names)


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """A Parquet file with a row for each query."""

    path: str
    names: Names = field(default_factory=Names)

    def plan(self, shard_size: int) -> Plan:
        """Cut it by rows."""
        with _parquet(self.path) as file:
            total, columns = file.metadata.num_rows, file.schema_arrow.names
        for name in (self.names.query, self.names.documents):
            if name not in columns:
                raise InvalidInput(
                    f"{self.path} has no column {name!r}, only {', '.join(columns)}; say what it is called"
                )
        shards = tuple(
            Shard(number, begin, end := min(begin + shard_size, total), end - begin, begin)
            for number, begin in enumerate(range(0, total, shard_size))
        )
        digest, size = hashlib.sha256(), 0
        with _reading(self.path), Path(self.path).open("rb") as raw:
            while chunk := raw.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        return Plan(shards, size, digest.hexdigest())

    def reader(self) -> "ParquetReader":
        """Open the file."""
        return ParquetReader(self)


class ParquetReader:
    """Reads rows of Parquet; a shard that follows the last one goes on where that ended."""

    def __init__(self, source: ParquetSource) -> None:
        self._source = source
        self._at = 0
        self._values = self._from(0)

    def rows(self, shard: Shard) -> Iterator[Row]:
        """Yield some rows."""
        if shard.begin != self._at:
            self._values.close()
            self._at, self._values = shard.begin, self._from(shard.begin)
        for value in islice(self._values, shard.rows):
            place = f"{self._source.path}[{self._at}]"
            self._at += 1
            yield read_row(place, value, self._source.names)

    def close(self) -> None:
        """Close the file."""
        self._values.close()

    def _from(self, begin: int) -> Any:
        names = self._source.names
        with _parquet(self._source.path) as file:
            columns = [name for name in (names.id, names.query, names.documents) if name in file.schema_arrow.names]
            group = 0
            while group < file.num_row_groups and begin >= file.metadata.row_group(group).num_rows:
                begin -= file.metadata.row_group(group).num_rows
                group += 1
            groups = range(group, file.num_row_groups)
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=groups, columns=columns):
                skipped = min(begin, batch.num_rows)
                begin -= skipped
                yield from batch.slice(skipped).to_pylist()


@contextmanager
def _parquet(path: str) -> Iterator[Any]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise MissingDependency(f'{path} is Parquet, which pyarrow reads; run: pip install "resift[eval]"') from None
    try:
        with _reading(path), parquet.ParquetFile(path) as file:
            yield file
    except pa.ArrowException as error:
        raise InvalidInput(f"{path} is no Parquet that can be read ({type(error).__name__}); write it anew") from None


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {path!r}; check the path") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None
