"""Vectors of documents kept by content: the same text is read once, within a bound of memory."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from resift.forking import Lock

Vectors = NDArray[np.float32]  # (vectors, width)
_DEFAULT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The vectors of a text, one or several, and whether the text had to be cut for them."""

    vectors: Vectors
    truncated: bool
    windows: tuple[int, ...] = ()
    """How many vectors each of several windows has, where a vector is of a token."""


class VectorCache:
    """Keeps the most recently used vectors up to a number of bytes. Safe under threads."""

    def __init__(self, max_bytes: int = _DEFAULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[bytes, Embedded] = OrderedDict()
        self._lock = Lock()

    @staticmethod
    def key(text: str) -> bytes:
        """Return what stands for a text; the text itself is not kept."""
        return blake2b(text.encode(), digest_size=20).digest()

    def get(self, key: bytes) -> Embedded | None:
        """Return what is known of a text, and remember that it was asked for."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: bytes, embedded: Embedded) -> None:
        """Keep the vectors of a text, and forget those that were not asked for the longest."""
        with self._lock:
            replaced = self._kept.pop(key, None)
            self._bytes += embedded.vectors.nbytes - (replaced.vectors.nbytes if replaced else 0)
            self._kept[key] = embedded
            while self._bytes > self._max_bytes:
                _, forgotten = self._kept.popitem(last=False)
                self._bytes -= forgotten.vectors.nbytes


class Recall:
    """The documents of one call, some of which a cache knows; the others are to be read, each once."""

    def __init__(self, cache: VectorCache, documents: Sequence[str]) -> None:
        self._cache = cache
        self._keys = [VectorCache.key(document) for document in documents]
        self._known = {key: found for key in self._keys if (found := cache.get(key)) is not None}
        self._new = {key: text for key, text in zip(self._keys, documents, strict=True) if key not in self._known}

    @property
    def new(self) -> list[str]:
        """The texts that are not known yet."""
        return list(self._new.values())

    def cut(self, new: Iterable[bool]) -> list[bool]:
        """Return which documents were cut, from which of the new ones are."""
        cut = {key: found.truncated for key, found in self._known.items()} | dict(zip(self._new, new, strict=True))
        return [cut[key] for key in self._keys]

    def learn(self, new: Iterable[Embedded]) -> list[Embedded]:
        """Keep what was made of the new texts, and return what is known of every document now."""
        for key, embedded in zip(self._new, new, strict=True):
            self._known[key] = embedded
            self._cache.put(key, embedded)
        return [self._known[key] for key in self._keys]
