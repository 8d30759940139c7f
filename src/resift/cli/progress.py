"""How far long work is: a bar for a person, a line now and then for a log, on stderr."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from resift.cli.amounts import counted
from resift.cli.terminal import console, redraws

if TYPE_CHECKING:
    from rich.progress import Progress

    from resift.bulk import Tally

_EVERY_S = 10.0


class Meter:
    """Shows the rate of a bulk job, and how long it will take."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._bar: Progress | None = None
        self._started = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self._kind == "auto" and redraws():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
            )
            self._bar = Progress(*columns, TimeRemainingColumn(elapsed_when_finished=True), console=console(err=True))
            self._bar.start()
            self._task = self._bar.add_task("opening the model", total=None, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, tally: "Tally", label: str) -> None:
        """Show how far the work is."""
        if not tally.done:
            self._started = time.monotonic()  # what loading took is no rate
        if self._bar is not None:
            done = tally.found + tally.done
            self._bar.update(self._task, description=label, total=tally.rows, completed=done, rate=self._rate(tally))
        elif self._kind != "none" and tally.done and time.monotonic() - self._told >= _EVERY_S:
            self._told = time.monotonic()
            left = (tally.rows - tally.found - tally.done) * self._elapsed() / tally.done
            click.echo(
                f"{tally.found + tally.done}/{tally.rows} rows, {self._rate(tally)}, {_clock(left)} left", err=True
            )

    def summary(self, tally: "Tally", folder: str) -> str:
        """Say what was done, in one line."""
        in_files = f"{counted(tally.rows, 'row')} in {counted(tally.shards, 'file')}"
        if not tally.done:
            return f"nothing was left to do: {folder} has all {in_files}"
        kept = f" ({tally.found} were there)" if tally.found else ""
        return f"{in_files}{kept}, {self._rate(tally)}, {_clock(self._elapsed())}"

    def _elapsed(self) -> float:
        return max(time.monotonic() - self._started, 1e-3)

    def _rate(self, tally: "Tally") -> str:
        rate = tally.documents / self._elapsed()
        return f"{rate:,.0f} documents/s" if rate >= 10 else f"{rate:.1f} documents/s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
