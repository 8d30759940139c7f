"""What tests look at beside answers: errors, lines of the log, the event loop's breath, the loading of models."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from resift.scoring import loading

_TICK_S = 0.005


@dataclass
class Raised:
    """What a block raised."""

    error: BaseException = field(default_factory=lambda: AssertionError("nothing was raised yet"))


@contextmanager
def raises(*kinds: type[BaseException], by: str = "this") -> Iterator[Raised]:
    """Demand an error of these kinds from a block; another is let through. `by` says what is being tried."""
    raised = Raised()
    try:
        yield raised
    except kinds as error:
        raised.error = error
    else:
        raise AssertionError(f"{by} must raise {' or '.join(kind.__name__ for kind in kinds)}, and raised nothing")


@contextmanager
def logged(level: int = logging.DEBUG) -> Iterator[list[str]]:
    """Give the list that all loggers' lines come to stand in, with their tracebacks, from `level` up."""
    handler = _Keeping(level)
    root = logging.getLogger()
    before = root.level, logging.getLogger("resift").level
    root.addHandler(handler)
    root.setLevel(min(level, root.level))
    logging.getLogger("resift").setLevel(level)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        logging.getLogger("resift").setLevel(before[1])


class _Keeping(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def longest_gap(work: Awaitable[Any]) -> float:
    """Await something, and return for how many seconds at most the event loop let nobody else go on meanwhile."""
    longest_s, last = 0.0, time.perf_counter()

    async def tick() -> None:
        nonlocal longest_s, last
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.perf_counter()
            longest_s, last = max(longest_s, now - last), now

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(_TICK_S * 2)
    try:
        await work
        await asyncio.sleep(_TICK_S * 2)
    finally:
        ticking.cancel()
    return longest_s


@contextmanager
def loads(*, delay_s: float = 0.0) -> Iterator[list[str]]:
    """Give the list in which each model that resift loads is named; each takes `delay_s` longer to load."""
    names: list[str] = []
    load, lock = loading.load_model, threading.Lock()

    def load_slowly(settings: Any) -> loading.LoadedModel:
        with lock:
            names.append(settings.model)
        time.sleep(delay_s)
        return load(settings)

    with patch.object(loading, "load_model", load_slowly):
        yield names
