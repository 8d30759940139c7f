"""Who reads what a command writes: a person at a terminal, or a program behind a pipe."""

import os
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 10_000  # no line of a table is broken or cut for a program


def is_plain() -> bool:
    """Whether the environment asks for no colour: NO_COLOR, whatever it holds, or a terminal that has none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def is_person(stream: IO[str] | None = None) -> bool:
    """Whether a person looks at a stream, stdout if none is named."""
    stream = sys.stdout if stream is None else stream
    return stream is not None and stream.isatty()


def redraws() -> bool:
    """Whether a bar on stderr may move: not in a log, nor in CI, nor where a terminal cannot."""
    return is_person(sys.stderr) and not is_in_ci() and os.environ.get("TERM") != "dumb"


def is_in_ci() -> bool:
    """Whether this runs where logs are kept and nobody watches."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def console(*, err: bool = False) -> "Console":
    """Return what draws tables: with colour for a person who wants some, with all columns for a program."""
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich itself would end the process as a failure

    stream = sys.stderr if err else sys.stdout
    person = is_person(stream)
    return Screen(
        file=stream,
        color_system=None if is_plain() else "auto",
        force_terminal=person,
        width=None if person else _WIDE,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=not person,
    )


def quieten_downloads() -> None:
    """Keep the bars of downloads out of logs."""
    if not redraws():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
