"""
Several parts of a batch at once on a CPU, each on a lane with a thread or few of its own.

Most steps between two products are so small that to share each among all processors costs more than it gains, and what
one processor wrote the other has to fetch. So processors share sequences, and a step only where there are too few.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

import numpy as np
import torch

from resift.forking import Lock, renew_in_child
from resift.scoring.backends import Outputs
from resift.scoring.planning import Batch, Item, batch_cost, share_out

_USUAL_LANES, _MOST_LANES = 4, 8  # fewer would share too little, and more would wait for Python's lock
_LEAST_BUSY = 0.7  # of all lanes' time, how much must be work; or the batch had better run as one

# Held while torch's common number of threads is another than it should be.
_STARTING = Lock()

Read = Callable[[Batch], Outputs]
T = TypeVar("T")


def lanes_here() -> int:
    """Return how many lanes make the most of the threads that this thread may use; the more, the better."""
    threads = _threads_here()
    return max(range(min(_USUAL_LANES, threads), min(_MOST_LANES, threads) + 1), key=lambda n: (threads // n * n, n))


class Lanes:
    """Deals batches out. Used by one thread, which reads a batch itself where it cannot be dealt out evenly."""

    def __init__(self) -> None:
        self._lanes: list[_Lane] = []
        renew_in_child(self)

    def renew(self) -> None:
        """Begin anew in a forked child, where the lanes' threads are not."""
        self._lanes = []

    def run(self, read: Read, batch: Batch) -> Outputs:
        """Read each sequence of the batch."""
        number = lanes_here()
        hands = _dealt(batch, number)
        if len(hands) == 1 or not self._open(number):
            return read(batch)
        parts = [
            lane.do(partial(read, batch.only(hand)))
            for lane, hand in zip(self._lanes, hands, strict=False)  # fewer hands than lanes, if threads became fewer
        ]
        outputs = _finished(parts)
        rows = [position for hand in hands for position in hand for _ in range(batch.sequences[position].rows)]
        return np.concatenate(outputs)[np.argsort(rows, kind="stable")]

    def close(self) -> None:
        """End the threads."""
        for lane in self._lanes:
            lane.close()
        self._lanes = []

    def _open(self, number: int) -> bool:
        """Have at least so many lanes; False where the system gives no more threads."""
        if len(self._lanes) < number:
            self.close()
            try:
                self._lanes = _start(number)
            except RuntimeError:
                return False
        return True


class _Lane:
    """A thread that does one thing after the other. The end of the interpreter does not wait for it."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Callable[[], object], Future[object]] | None] = SimpleQueue()
        Thread(target=self._serve, name="resift-lane", daemon=True).start()

    def do(self, work: Callable[[], T]) -> "Future[T]":
        """Do something when all that came before is done."""
        done: Future[T] = Future()
        self._waiting.put((work, done))  # type: ignore[arg-type]  # of one type, each pair
        return done

    def close(self) -> None:
        """End when all is done."""
        self._waiting.put(None)

    def _serve(self) -> None:
        while (asked := self._waiting.get()) is not None:
            work, done = asked
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is for whoever asked
                done.set_exception(error)
            del asked, work, done  # or they would be kept alive while the thread waits


def _finished(parts: "list[Future[Outputs]]") -> list[Outputs]:
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
    groups = [-1 if at is None else at for at in batch.prefix_of] or [-1] * len(batch.sequences)
    items = [
        Item(len(sequence), groups[at], shared=len(batch.prefix(at))) for at, sequence in enumerate(batch.sequences)
    ]
    hands = share_out(items, lanes)
    slowest = max(batch_cost([items[at] for at in hand]) for hand in hands)
    return hands if batch_cost(items) >= _LEAST_BUSY * lanes * slowest else everything


def _threads_here() -> int:
    with _STARTING:  # a thread that asks for the first time keeps what it hears
        threads = torch.get_num_threads()
    if hasattr(os, "sched_getaffinity"):  # lanes stay on the processors of the thread that starts them
        threads = min(threads, len(os.sched_getaffinity(0)))
    return threads


def _start(number: int) -> list[_Lane]:
    """
    Start lanes, each with its share of the processors.

    What a thread tells torch of that holds for itself, but it is also what threads begin with that have yet to ask. So
    the common number is looked up before, and put back by a thread that is not needed any more.
    """
    each = _threads_here() // number
    lanes: list[_Lane] = []
    with _STARTING:
        aside = _Lane()
        common = aside.do(torch.get_num_threads).result()
        try:
            for _ in range(number):
                lanes.append(_Lane())
                lanes[-1].do(partial(_use, each)).result()
        except BaseException:
            for lane in lanes:
                lane.close()
            raise
        finally:
            aside.do(partial(torch.set_num_threads, common)).result()
            aside.close()
    return lanes


def _use(threads: int) -> None:
    torch.get_num_threads()  # the first question makes a thread take over the common number, later than it is told here
    torch.set_num_threads(threads)
