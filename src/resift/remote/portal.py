"""
The one thread that does all HTTP of this process, with an event loop of its own.

Whoever calls, from a thread or from another event loop, gets a future, exactly as from the engine of a local model.
So connections belong to nobody's loop, deadlines are exact, and a call that is cancelled closes its socket.
"""

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, TypeVar

from resift.errors import EndpointUnavailable
from resift.forking import Lock, renew_in_child

Answer = TypeVar("Answer")
Work = Callable[[], Coroutine[Any, Any, Answer]]

_EXIT_PATIENCE_S = 5.0


class Closable(Protocol):
    """Something with sockets of the portal's loop."""

    async def aclose(self) -> None:
        """Close them."""


class Portal:
    """The way to the thread; the first call starts it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: _Loop | None = None
        self._thread: threading.Thread | None = None
        self._open: set[Closable] = set()
        self._left_behind: list[object] = []
        self._ended = False
        renew_in_child(self)

    def renew(self) -> None:
        """Begin anew in a forked child, where the thread did not come along."""
        # what the parent goes on using is neither closed here nor forgotten, because that would close it, too
        self._left_behind += [self._loop, *self._open]
        self._loop, self._thread, self._open = None, None, set()

    def submit(self, work: "Work[Answer]") -> "Future[Answer]":
        """Run what `work` begins. Cancelling the future cancels it."""
        with self._lock:
            return run_on(self._running(), work)

    def adopt(self, thing: Closable) -> None:
        """Remember to close `thing` when the interpreter ends, if nobody did before."""
        self._open.add(thing)

    def release(self, thing: Closable) -> None:
        """Leave it to the caller to close `thing`."""
        self._open.discard(thing)

    def dismiss(self, thing: Closable) -> None:
        """Close `thing` soon. This may be called by the garbage collector: it waits for nothing, and takes no lock."""
        loop = self._loop
        if loop is not None and thing in self._open:
            self._open.discard(thing)
            with contextlib.suppress(RuntimeError):  # the interpreter ends, and all was closed
                loop.call_soon_threadsafe(_keep_until_done, loop, thing.aclose)

    def is_here(self) -> bool:
        """Whether the caller is the thread itself, which must not wait for itself."""
        return threading.current_thread() is self._thread

    def end(self) -> None:
        """Cancel what runs and close what is open, because the interpreter ends."""
        with self._lock:
            self._ended = True
            loop, thread = self._loop, self._thread
            if loop is not None:
                loop.call_soon_threadsafe(loop.stop)
        if thread is not None:
            thread.join(_EXIT_PATIENCE_S)

    def _running(self) -> "_Loop":
        if self._ended:
            raise EndpointUnavailable("the interpreter is ending, and sends nothing any more")
        if self._loop is None or self._loop.is_closed():
            self._loop = _Loop()
            self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="resift-http", daemon=True)
            self._thread.start()
        return self._loop

    def _serve(self, loop: "_Loop") -> None:
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(self._settle())
            loop.close()

    async def _settle(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(thing.aclose() for thing in self._open), return_exceptions=True)


class _Loop(asyncio.SelectorEventLoop):
    """A loop that only the process that made it complains about."""

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()

    def __del__(self) -> None:
        if not self.is_closed() and self._process == os.getpid():
            super().__del__()


def run_on(loop: asyncio.AbstractEventLoop, work: "Work[Answer]") -> "Future[Answer]":
    """Run what `work` begins on another thread's loop. Cancelling the future cancels it."""
    future: Future[Answer] = Future()

    def begin() -> None:
        if not future.cancelled():
            task = _keep_until_done(loop, work)
            task.add_done_callback(partial(_hand_over, future))
            future.add_done_callback(lambda _: _cancel(loop, task))

    loop.call_soon_threadsafe(begin)
    return future


_RUNNING: set[asyncio.Task[Any]] = set()


def _keep_until_done(loop: asyncio.AbstractEventLoop, work: "Work[Answer]") -> "asyncio.Task[Answer]":
    """Start a task and hold on to it, because a loop does not."""
    task = loop.create_task(work())
    _RUNNING.add(task)
    task.add_done_callback(_RUNNING.discard)
    return task


def _cancel(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> None:
    if not task.done():
        with contextlib.suppress(RuntimeError):  # the loop has ended, and its tasks with it
            loop.call_soon_threadsafe(task.cancel)


def _hand_over(future: "Future[Answer]", task: "asyncio.Task[Answer]") -> None:
    error = None if task.cancelled() else task.exception()
    if task.cancelled():
        future.cancel()
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(task.result())
    else:
        future.set_exception(error)


PORTAL = Portal()
atexit.register(PORTAL.end)
