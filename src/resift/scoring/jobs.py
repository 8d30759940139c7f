"""What waits for a model: one caller's sequences, their rows of output so far, and the future that waits for all."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resift.errors import ResiftError, ScoringFailed
from resift.scoring.backends import Outputs
from resift.scoring.planning import Ids, Tokens


class Job:
    """One caller's sequences, their outputs so far, and the future that waits for all of them."""

    def __init__(self, sequences: Sequence[Tokens], prefix: Ids) -> None:
        self.sequences = sequences
        self.prefix = prefix
        self.future: Future[Outputs] = Future()
        self.tokens = sum(map(len, sequences))
        self.unclaimed = sorted(range(len(sequences)), key=lambda at: len(sequences[at]))
        self._unanswered = len(sequences)
        self._rows = [sequence.rows for sequence in sequences]
        self._outputs: Outputs | None = None
        self._ended = False
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        """Whether nobody waits for the rest: the job is answered, has failed or was cancelled."""
        if self.future.cancelled():
            self.end()
        return self._ended

    def claim(self, budget: int, cost_of: Callable[[int, int], int]) -> tuple[list[int], int]:
        """
        Take the longest sequences off the job until the budget is spent; at least one, however long.

        `cost_of` a prefix and a sequence is what the prefix adds to the sequence's own length.
        """
        claimed: list[int] = []
        spent = 0
        while self.unclaimed:
            length = len(self.sequences[self.unclaimed[-1]])
            cost = length + cost_of(len(self.prefix), length)
            if claimed and spent + cost > budget:
                break
            claimed.append(self.unclaimed.pop())
            spent += cost
            self.tokens -= length
        return claimed, spent

    def answer(self, positions: list[int], outputs: Outputs) -> None:
        """Take in the rows of some sequences; with the last of them the job ends."""
        if not np.isfinite(outputs).all():
            self.end(
                ScoringFailed(
                    f"the model's output is not a finite number for {_broken(outputs, self._rows, positions)} of "
                    f"{len(self.sequences)} texts; if it runs in half precision, load it with dtype='float32'"
                )
            )
            return
        with self._lock:
            if self._outputs is None:
                self._outputs = np.empty((sum(self._rows), outputs.shape[1]), dtype=np.float32)
            self._outputs[places(self._rows, positions)] = outputs
            self._unanswered -= len(positions)
            complete = self._outputs if not self._unanswered else None
        if complete is not None:
            self.end(outputs=complete)

    def end(self, error: ResiftError | None = None, *, outputs: Outputs | None = None) -> None:
        """End the job once, and tell whoever waits; outside the lock, because callbacks may do anything."""
        with self._lock:
            ended, self._ended = self._ended, True
        if ended or not self.future.set_running_or_notify_cancel():
            return
        if error is None:
            self.future.set_result(outputs)  # type: ignore[arg-type]  # None only for cancelled jobs
        else:
            self.future.set_exception(error)


class Part(NamedTuple):
    """One sequence of one job."""

    job: Job
    position: int

    @property
    def tokens(self) -> Tokens:
        """What the model reads."""
        return self.job.sequences[self.position]


def by_job(parts: Sequence[Part]) -> dict[Job, list[int]]:
    """Return, for each job of some parts, where among them its own are."""
    rows: dict[Job, list[int]] = {}
    for row, part in enumerate(parts):
        rows.setdefault(part.job, []).append(row)
    return rows


def places(rows: Sequence[int], chosen: Sequence[int]) -> NDArray[np.intp]:
    """Return where the rows of the chosen sequences are, among those of all, which have so many rows each."""
    if min(rows) == max(rows) == 1:  # as nearly always
        return np.asarray(chosen, dtype=np.intp)
    ends = np.cumsum(rows)
    return np.concatenate([np.arange(ends[at] - rows[at], ends[at], dtype=np.intp) for at in chosen])


def _broken(outputs: Outputs, rows: Sequence[int], chosen: Sequence[int]) -> int:
    """Return how many of the chosen sequences have a row with a number in it that is none."""
    owners = np.repeat(np.arange(len(chosen)), [rows[at] for at in chosen])
    return len(np.unique(owners[~np.isfinite(outputs).all(axis=1)]))
