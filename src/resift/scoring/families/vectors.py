"""Document vectors kept by content: the same text is embedded once, within a bound of memory."""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from resift.forking import Lock

Vector = NDArray[np.float32]
_DEFAULT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The vector of a text, and whether the text had to be cut for it."""

    vector: Vector
    truncated: bool


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
        """Keep a vector, and forget those that were not asked for the longest."""
        with self._lock:
            replaced = self._kept.pop(key, None)
            self._bytes += embedded.vector.nbytes - (replaced.vector.nbytes if replaced else 0)
            self._kept[key] = embedded
            while self._bytes > self._max_bytes:
                _, forgotten = self._kept.popitem(last=False)
                self._bytes -= forgotten.vector.nbytes
