"""Many requests at once: begun some way ahead, handed out in order, given up when nobody wants the rest."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Generic, Protocol, TypeAlias, TypeVar

from resift.compose.asking import Company, Work, run, run_async
from resift.errors import Overloaded
from resift.many import naming, numbered
from resift.types import Document, Ranking, Request

AHEAD = 8
"""How many requests are under way at once: as many as a remote ranker has in the air unless told otherwise."""

Turn: TypeAlias = Callable[[], Work[Ranking]]
"""Begins the work on one request; it may be begun again."""


def turns(requests: Iterable[Request], work: Callable[[str, list[Document]], Work[Ranking]]) -> Iterator[Turn]:
    """Yield each request's turn, lazily. A request that cannot be read is the last, and its error has its turn."""
    source = numbered(requests)
    while True:
        try:
            found = next(source, None)
        except Exception as error:  # noqa: BLE001 - raised when the rankings before it have been handed out
            yield partial(_fail, error)
            return
        if found is None:
            return
        at, query, documents = found
        yield partial(_name, at, partial(work, query, documents))


def _name(at: int, turn: Turn) -> Work[Ranking]:
    """Work on one of many requests."""
    with naming(at):
        return (yield from turn())


def _fail(error: Exception) -> Work[Ranking]:
    raise error
    yield  # what makes this work


class _Pending(Protocol):
    def done(self) -> bool: ...


PendingT = TypeVar("PendingT", bound=_Pending)


class _Window(Generic[PendingT]):
    """What was begun and not yet handed out, in the order of the requests."""

    def __init__(self) -> None:
        self.begun: deque[tuple[Turn, PendingT]] = deque()
        self._room = AHEAD

    @property
    def is_due(self) -> bool:
        """Whether the first is handed out before anything else is begun."""
        return bool(self.begun) and (self.begun[0][1].done() or len(self.begun) >= self._room)

    @property
    def pending(self) -> list[PendingT]:
        """All that is begun."""
        return [pending for _, pending in self.begun]

    def shrink(self) -> None:
        """Begin less from now on: it was more than can be taken."""
        self._room = max(1, self._room // 2)


def rank_turns(turns: Iterator[Turn]) -> Generator[Ranking]:
    """Rank in a few threads, which end with the iteration."""
    window: _Window[Future[Ranking]] = _Window()
    company = Company(threading.Event())
    pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="resift-ahead")
    try:
        for turn in turns:
            window.begun.append((turn, pool.submit(_run, turn, company)))
            while window.is_due:
                yield _finish(window)
        while window.begun:
            yield _finish(window)
    finally:
        company.left.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _run(turn: Turn, company: Company) -> Ranking:
    return run(turn(), company)


def _finish(window: _Window[Future[Ranking]]) -> Ranking:
    turn, future = window.begun.popleft()
    try:
        return future.result()
    except Overloaded:
        window.shrink()
    wait(window.pending)
    return run(turn())


async def rank_turns_async(turns: Iterator[Turn]) -> AsyncGenerator[Ranking, None]:
    """Rank in a few tasks, which end with the iteration; turns are read in another thread."""
    window: _Window[asyncio.Task[Ranking]] = _Window()
    company = Company(threading.Event())
    try:
        while (turn := await asyncio.to_thread(next, turns, None)) is not None:
            window.begun.append((turn, asyncio.create_task(run_async(turn(), company))))
            while window.is_due:
                yield await _finish_async(window)
        while window.begun:
            yield await _finish_async(window)
    finally:
        for task in window.pending:
            task.cancel()
        await asyncio.gather(*window.pending, return_exceptions=True)


async def _finish_async(window: _Window["asyncio.Task[Ranking]"]) -> Ranking:
    turn, task = window.begun.popleft()
    try:
        return await task
    except Overloaded:
        window.shrink()
    if window.begun:
        await asyncio.wait(window.pending)
    return await run_async(turn())
