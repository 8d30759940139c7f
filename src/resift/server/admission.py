"""Who may come in: so many requests, and so many bytes of them, at once; nobody before the models, or at the end."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from resift.server.reasons import Busy, Leaving, Loading
from resift.server.settings import ServerSettings

_LONGEST_WAIT_S = 30
_LOADING_WAIT_S = 2
_MEMORY = 0.1  # how much the latest request counts in the mean time that a request takes


class Admission:
    """Counts what is in the house, and refuses what would be too much; any thread may ask."""

    def __init__(self, settings: ServerSettings, ready: threading.Event) -> None:
        self._max_requests, self._max_bytes = settings.max_requests, settings.max_bytes_at_once
        self._ready = ready
        self._lock = threading.Lock()
        self._mean_s = 0.0
        self.requests = 0
        """How many scoring requests are being answered."""

        self.bytes = 0
        """How many bytes of bodies are kept, those still on their way included."""

        self.draining = False
        """Whether the server is about to end."""

    @property
    def retry_after_s(self) -> int:
        """After how many whole seconds somebody who was refused may try again: about as long as a request takes."""
        return min(_LONGEST_WAIT_S, max(1, math.ceil(self._mean_s)))

    def drain(self) -> None:
        """Let nobody in any more."""
        self.draining = True

    def require_open(self) -> None:
        """Refuse whoever comes before the models or after the end was called."""
        if self.draining:
            raise Leaving("this server is about to end; ask again, another may answer", retry_after_s=1)
        if not self._ready.is_set():
            raise Loading("the models are still being loaded; try again soon", retry_after_s=_LOADING_WAIT_S)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Take a place for one scoring request for as long as it lasts."""
        self.require_open()
        with self._lock:
            if self.requests >= self._max_requests:
                raise Busy(
                    f"{self.requests} requests are being answered already; try again later",
                    retry_after_s=self.retry_after_s,
                )
            self.requests += 1
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.requests -= 1
                self._mean_s += _MEMORY * (time.perf_counter() - started - self._mean_s)

    @contextmanager
    def carry(self) -> "Iterator[Load]":
        """Account for the bytes of one request's body for as long as they are kept."""
        load = Load(self)
        try:
            yield load
        finally:
            self._move(-load.bytes)

    def take(self, count: int, *, beside: int) -> None:
        """Account for more bytes of a body of which `beside` bytes are kept; a body alone in the house always fits."""
        with self._lock:
            others = self.bytes - beside
            if others and self.bytes + count > self._max_bytes:
                raise Busy(
                    f"{self.bytes} bytes of other requests are kept already; try again later",
                    retry_after_s=self.retry_after_s,
                )
            self.bytes += count

    def _move(self, count: int) -> None:
        with self._lock:
            self.bytes += count


class Load:
    """The bytes of one request's body."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.bytes = 0

    def add(self, count: int) -> None:
        """Keep so many bytes more, or raise `Busy`."""
        self._admission.take(count, beside=self.bytes)
        self.bytes += count
