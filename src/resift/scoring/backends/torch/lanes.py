"""
Several parts of a batch at once on a CPU, each on a lane with a thread or few of its own.

Most steps between two products are so small that to share each among all processors costs more than it gains, and what
one processor wrote the other has to fetch. So processors share sequences, and a step only where there are too few.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Barrier

import numpy as np
import torch

from resift.forking import Lock, renew_in_child
from resift.scoring.backends import Outputs
from resift.scoring.planning import Batch, Item, batch_cost, share_out

_MOST_LANES = 8  # more would wait for Python's lock
_LEAST_BUSY = 0.7  # of all lanes' time, how much must be work; or the batch had better run as one

_STARTING = Lock()


def lanes_here() -> int:
    """Return how many lanes the threads that torch may use make up."""
    return min(_MOST_LANES, torch.get_num_threads())


class Lanes:
    """Deals a batch out. Used by one thread, which runs the batch itself where it cannot be dealt out evenly."""

    def __init__(self, run: Callable[[Batch], Outputs]) -> None:
        self._run = run
        self._pool: ThreadPoolExecutor | None = None
        renew_in_child(self)

    def renew(self) -> None:
        """Begin anew in a forked child, where the lanes' threads are not."""
        self._pool = None

    def run(self, batch: Batch) -> Outputs:
        """Read each sequence of the batch."""
        hands = _dealt(batch, lanes_here())
        if len(hands) == 1:
            return self._run(batch)
        if self._pool is None:
            self._pool = _start(lanes_here())
        outputs = _finished([self._pool.submit(self._run, batch.only(hand)) for hand in hands])
        rows = [position for hand in hands for position in hand for _ in range(batch.sequences[position].rows)]
        return np.concatenate(outputs)[np.argsort(rows, kind="stable")]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)


def _finished(parts: list[Future[Outputs]]) -> list[Outputs]:
    """Wait for all parts, also where one failed; nobody then remembers its error, and the memory that hangs on it."""
    wait(parts)
    outputs = []
    try:
        while parts:
            outputs.append(parts.pop(0).result())
    finally:
        parts.clear()
    return outputs


def _dealt(batch: Batch, lanes: int) -> list[list[int]]:
    """Return which sequences each lane gets; one hand with all of them where lanes would stand idle for long."""
    everything = [list(range(len(batch.sequences)))]
    if lanes == 1 or len(batch.sequences) < lanes:
        return everything
    items = [
        Item(len(sequence), *((batch.prefix_of[at] or 0, len(batch.prefix(at))) if batch.prefix_of else ()))
        for at, sequence in enumerate(batch.sequences)
    ]
    hands = share_out(items, lanes)
    slowest = max(batch_cost([items[at] for at in hand]) for hand in hands)
    return hands if batch_cost(items) >= _LEAST_BUSY * lanes * slowest else everything


def _start(lanes: int) -> ThreadPoolExecutor:
    """
    Start all threads now, each with its share of the processors.

    What a thread says of that to torch holds for itself, but it is also what later threads begin with, until this
    thread, last, says again what it has.
    """
    with _STARTING:
        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(lanes, "resift-lane", initializer=_use, initargs=(threads // lanes,))
        everybody = Barrier(lanes)  # or the first thread would do the work of those that have not started
        try:
            wait([pool.submit(everybody.wait) for _ in range(lanes)])
        except BaseException:  # there are no more threads to be had
            everybody.abort()
            pool.shutdown(wait=False)
            raise
        finally:
            torch.set_num_threads(threads)
    return pool


def _use(threads: int) -> None:
    torch.get_num_threads()  # the first question makes a thread take over the common number, later than it is told here
    torch.set_num_threads(threads)
