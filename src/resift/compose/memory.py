"""Scores remembered in memory: the most recently used ones, for as long as the process lives."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from resift.forking import Lock

Entry: TypeAlias = tuple[float, ...]
"""How many of the documents were cut, then the score of each; NaN for one that has no place in the ranking."""


class Store(Protocol):
    """Where entries are kept by their digests. Any number of threads may use one at once; none of them ever fails."""

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the entries that are known."""

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Remember entries."""

    def close(self) -> None:
        """Forget, or let go; nothing is known afterwards."""


class Memory:
    """Keeps `size` scores; those that were not used for longest make room for others."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._scores = 0
        self._closed = False

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the entries that are known."""
        found = {}
        with self._lock:
            for key in keys:
                entry = self._entries.get(key)
                if entry is not None:
                    self._entries.move_to_end(key)
                    found[key] = entry
        return found

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Remember entries."""
        with self._lock:
            if self._closed:
                return
            for key, entry in entries.items():
                if weight(entry) <= self._size:
                    self._take_out(key)
                    self._entries[key] = entry
                    self._scores += weight(entry)
            while self._entries and self._scores > self._size:
                self._take_out(next(iter(self._entries)))

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._closed = True
            self._entries.clear()
            self._scores = 0

    def _take_out(self, key: bytes) -> None:
        self._scores -= weight(self._entries.pop(key, ()))


def weight(entry: Entry) -> int:
    """Count the scores in an entry."""
    return max(0, len(entry) - 1)
