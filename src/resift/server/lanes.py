"""Threads for what would hold up the event loop, in two lanes: small requests never wait behind large ones."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_LARGE = 16 * 2**10
"""From so many bytes on, a request's body is large: it takes about a millisecond or more to be made ready."""

_SMALL_AT_ONCE = 4

body_bytes: ContextVar[int] = ContextVar("body_bytes", default=0)
"""How large the request is that the current task answers."""


class Lanes(ThreadPoolExecutor):
    """
    The executor behind `asyncio.to_thread`, which looks at whose work it is given.

    The work of large requests is done in the order in which it comes, in as many threads as there are processors: more
    would only make each slower. That of small ones has threads of its own.
    """

    def __init__(self) -> None:
        super().__init__(_SMALL_AT_ONCE, thread_name_prefix="resift-small")
        self._large = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="resift-large")

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Give work to the lane of the request that the current task answers."""
        if body_bytes.get() >= _LARGE:
            return self._large.submit(fn, *args, **kwargs)
        return super().submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as above it
        """Take no more work."""
        self._large.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)
