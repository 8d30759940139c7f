"""Files that are there whole or not at all, and faults that name the file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resift.errors import InvalidInput


def write_whole(path: Path, content: bytes) -> None:
    """Write a file and its folders; whoever looks meanwhile, or after a crash, sees the old one or the new one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with using(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Delete a file, if it is there."""
    with using(path):
        path.unlink(missing_ok=True)


@contextmanager
def using(path: Path) -> Iterator[None]:
    """Say which file it was that could not be used."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{path} cannot be used: {error.strerror or error}") from None
