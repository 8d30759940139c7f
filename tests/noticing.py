"""What tests of rankers wait for and read: lines of resift's log, and something to become so."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def logged() -> Iterator[list[str]]:
    """Give the list that the lines of resift's log, warnings and above, come to stand in."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("resift")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def until(condition: Callable[[], bool], patience_s: float = 10.0) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < ends, "it never became so"
        time.sleep(0.005)
