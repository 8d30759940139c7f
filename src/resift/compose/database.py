"""Scores remembered in a SQLite file, which any number of processes may share and which outlives them."""

import logging
import os
import sqlite3
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from resift.compose.memory import Entry, weight
from resift.errors import InvalidInput

logger = logging.getLogger("resift")

T = TypeVar("T")

WAIT_S = 2.0  # for another process that is writing
REST_S = 10.0  # after a failure, so that a file in trouble does not slow every call down
FORK_WAIT_S = 5.0
TOUCH_NS = 60 * 10**9  # an entry that was used within the last minute need not be written again to say so

_APPLICATION = 0x72736674  # "rsft", in the header of every file of ours
_VERSION = 1
_SCHEMA = (
    """
    CREATE TABLE entries (
        key BLOB PRIMARY KEY, entry BLOB NOT NULL, weight INTEGER NOT NULL, used INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX entries_by_use ON entries (used, weight)",
    "CREATE TABLE total (weight INTEGER NOT NULL)",
    "INSERT INTO total VALUES (0)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)
_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
)


class Database:
    """
    Keeps `size` scores in a file; those that were not used for longest make room for others.

    A file that cannot be such a file is refused at once. What goes wrong later, a full disk or a lock that is never
    released, is said once in the log: nothing is known then, and nothing remembered, until it goes well again.
    """

    def __init__(self, path: str, size: int) -> None:
        self._path, self._size = path, size
        self._lock = threading.Lock()
        self._paused = False
        self._connection: sqlite3.Connection | None = None
        self._rests_until = 0.0
        self._warned = self._closed = False
        _DATABASES[id(self)] = self
        with self._lock:
            try:
                self._connection = _open(path)
            except sqlite3.Error as error:
                if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in _PASSING:
                    raise InvalidInput(_refusal(path, error)) from None
                self._rest(error)

    def __del__(self) -> None:
        self._disconnect()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the entries that are known."""
        now = time.time_ns()
        nothing: dict[bytes, tuple[Entry, int]] = {}
        found = self._do(partial(_read, keys), otherwise=nothing)
        aged = [key for key, (_, used) in found.items() if used + TOUCH_NS <= now]
        if aged:
            self._do(partial(_touch, aged, now), otherwise=None)
        return {key: entry for key, (entry, _) in found.items()}

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Remember entries."""
        fitting = {key: entry for key, entry in entries.items() if weight(entry) <= self._size}
        if fitting:
            self._do(partial(_write, fitting, self._size), otherwise=None)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def pause(self) -> None:
        """Let go of the file for a fork, which no connection survives."""
        self._paused = self._lock.acquire(timeout=FORK_WAIT_S)
        if self._paused:
            self._disconnect()

    def go_on(self) -> None:
        """Go on after a fork."""
        if self._paused:
            self._paused = False
            self._lock.release()

    def renew(self) -> None:
        """Begin anew in a forked child. Where the connection came along after all, it must not even be closed."""
        if not self._paused:
            self._closed = True
            _UNTOUCHABLE.append(self._connection)
            self._connection = None
        self._paused = False
        self._lock = threading.Lock()

    def _do(self, thing: Callable[[sqlite3.Connection], T], *, otherwise: T) -> T:
        with self._lock:
            if self._closed or time.monotonic() < self._rests_until:
                return otherwise
            try:
                if self._connection is None:
                    self._connection = _open(self._path)
                return thing(self._connection)
            except (sqlite3.Error, InvalidInput) as error:
                self._rest(error)
                return otherwise

    def _rest(self, error: Exception) -> None:
        self._disconnect()
        self._rests_until = time.monotonic() + REST_S
        if not self._warned:
            self._warned = True
            logger.warning("the cache %r cannot be used now (%s); ranking goes on without it", self._path, error)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


_DATABASES: "weakref.WeakValueDictionary[int, Database]" = weakref.WeakValueDictionary()
_UNTOUCHABLE: list[sqlite3.Connection | None] = []


def _each(thing: Callable[[Database], None]) -> None:
    for reference in _DATABASES.valuerefs():
        database = reference()
        if database is not None:
            thing(database)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=partial(_each, Database.pause),
        after_in_parent=partial(_each, Database.go_on),
        after_in_child=partial(_each, Database.renew),
    )


def _open(path: str) -> sqlite3.Connection:
    if not Path(path).parent.is_dir():
        raise InvalidInput(f"there is no folder for the cache {path!r}; make it first")
    connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        is_new = _is_new(connection)
        if not is_new:
            _require_ours(connection, path)
        connection.execute("PRAGMA synchronous = NORMAL")
        _set_wal(connection)
        if is_new:
            _create(connection)
            _require_ours(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_new(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not tables and _marks(connection) == (0, 0)


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application, version


def _require_ours(connection: sqlite3.Connection, path: str) -> None:
    application, version = _marks(connection)
    if application != _APPLICATION:
        raise InvalidInput(f"{path!r} is a SQLite file of something else; choose another path")
    if version != _VERSION:
        raise InvalidInput(f"the cache {path!r} is of another version of resift; delete it or choose another path")
    connection.execute("SELECT key, entry, weight, used FROM entries LIMIT 1").fetchall()
    if len(connection.execute("SELECT weight FROM total").fetchall()) != 1:
        raise InvalidInput(f"the cache {path!r} is damaged; delete it or choose another path")


def _set_wal(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work side by side. SQLite itself does not wait here for others who do the same."""
    patience = time.monotonic() + WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            time.sleep(0.01)
        else:
            return


def _create(connection: sqlite3.Connection) -> None:
    with _transaction(connection, "IMMEDIATE"):
        if _is_new(connection):  # nobody else was faster
            for statement in _SCHEMA:
                connection.execute(statement)


def _refusal(path: str, error: sqlite3.Error) -> str:
    if isinstance(error, sqlite3.OperationalError):
        return f"the cache {path!r} cannot be used: {error}; choose a file in a folder, both of them writable"
    return f"the cache {path!r} is damaged, or no SQLite file ({error}); choose another path, or delete a broken cache"


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _read(keys: Sequence[bytes], connection: sqlite3.Connection) -> dict[bytes, tuple[Entry, int]]:
    """Return the entries that are there, and when each was used last."""
    found = {}
    with _transaction(connection, "DEFERRED"):
        for key in keys:
            row = connection.execute("SELECT entry, used FROM entries WHERE key = ?", (key,)).fetchone()
            entry = None if row is None else _unpack(*row)
            if entry is not None:
                found[key] = entry
    return found


def _unpack(packed: object, used: object) -> tuple[Entry, int] | None:
    """Read a row, if it is one that was written here."""
    if not isinstance(packed, bytes) or len(packed) % 8 or not isinstance(used, int):
        return None
    return struct.unpack(f"<{len(packed) // 8}d", packed), used


def _touch(keys: Sequence[bytes], now: int, connection: sqlite3.Connection) -> None:
    with _transaction(connection, "IMMEDIATE"):
        connection.executemany("UPDATE entries SET used = ? WHERE key = ?", [(now, key) for key in keys])


def _write(entries: Mapping[bytes, Entry], size: int, connection: sqlite3.Connection) -> None:
    now = time.time_ns()
    with _transaction(connection, "IMMEDIATE"):
        added = 0
        for key, entry in entries.items():
            row = key, struct.pack(f"<{len(entry)}d", *entry), weight(entry), now
            done = connection.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", row)
            added += weight(entry) * done.rowcount
        connection.execute("UPDATE total SET weight = weight + ?", (added,))
        (total,) = connection.execute("SELECT weight FROM total").fetchone()
        if total > size:
            _make_room(total - size, connection)


def _make_room(excess: int, connection: sqlite3.Connection) -> None:
    oldest, freed = [], 0
    with closing(connection.execute("SELECT key, weight FROM entries ORDER BY used")) as rows:
        for key, scores in rows:
            if freed >= excess:
                break
            oldest.append((key,))
            freed += scores
    connection.executemany("DELETE FROM entries WHERE key = ?", oldest)
    connection.execute("UPDATE total SET weight = weight - ?", (freed,))
