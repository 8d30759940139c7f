"""
The engine: merges the jobs of all callers into batches, runs them, answers each future.

One thread per device owns that device's model. It takes a bounded breath of what waits, oldest first, plans across all
of it, runs, answers. What a breath leaves of a large job goes to the back of the queue.
"""

import atexit
import contextlib
import logging
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from resift.errors import Overloaded, ScoringFailed
from resift.forking import renew_in_child
from resift.scoring.backends import Backend, OutOfMemory, Outputs
from resift.scoring.jobs import Job, Part, by_job, places
from resift.scoring.planning import NO_IDS, Batch, Ids, Item, Tokens, batch_cost, plan_batches
from resift.types import Workload

logger = logging.getLogger("resift")

_BATCHES_A_BREATH = 4
_BATCHES_WAITING = 512  # per device; beyond these, new work is refused
_EXIT_PATIENCE_S = 5.0


class Engine:
    """Runs the jobs of any number of threads on one or more devices."""

    def __init__(self, backends: Sequence[Backend], *, max_queue_tokens: int | None = None) -> None:
        self._workers = [_Worker(backend) for backend in backends]
        self._most_waiting = max_queue_tokens
        self._queue: deque[Job] = deque()
        self._closing = False
        self.renew()
        renew_in_child(self)
        _ENGINES.add(self)

    def renew(self) -> None:
        """Begin anew, with no jobs and no threads, as a forked child must."""
        self._changed = threading.Condition()
        self._queue.clear()
        self._waiting = 0  # tokens
        self._threads: dict[_Worker, threading.Thread] = {}

    @property
    def breath_tokens(self) -> int:
        """How many tokens all devices together take on at once."""
        return sum(worker.limit for worker in self._workers) * _BATCHES_A_BREATH

    @property
    def workload(self) -> Workload:
        """What all devices together have done, and what waits for them."""
        done = [worker.done for worker in self._workers]
        return Workload(
            waiting_tokens=self._waiting,
            batches=sum(each.batches for each in done),
            tokens=sum(each.tokens for each in done),
            room=sum(each.room for each in done),
        )

    def submit(self, sequences: Sequence[Tokens], prefix: Ids = NO_IDS) -> "Future[Outputs]":
        """
        Accept sequences that all continue `prefix`; the future holds the rows of each, in their order.

        Raises `Overloaded` when too much waits already, and `ScoringFailed` when the engine is closed.
        """
        job = Job(sequences, prefix)
        with self._changed:
            if self._closing:
                raise ScoringFailed("this ranker is closed; load the model again to go on")
            self._require_room(job)
            self._start()
            if sequences:
                self._queue.append(job)
                self._waiting += job.tokens
                self._changed.notify_all()  # a large job is worth the while of every device
        if not sequences:
            job.end(outputs=np.empty((0, 0), dtype=np.float32))
        return job.future

    def close(self, *, wait: bool = True) -> None:
        """Answer what was accepted, then free the devices. Calling it again changes nothing."""
        with self._changed:
            unused = [] if self._closing else [worker for worker in self._workers if worker not in self._threads]
            self._closing = True
            self._changed.notify_all()
            threads = list(self._threads.values())
        for worker in unused:  # each other device is freed by the thread that owns it
            worker.backend.close()
        if wait and threading.current_thread() not in threads:  # a worker that waits for workers waits for ever
            for thread in threads:
                thread.join()

    def forget(self) -> bool:
        """Close soon, without ever waiting for a lock; False where nobody could be told yet."""
        self._closing = True
        if not self._changed.acquire(blocking=False):
            return False
        self._changed.notify_all()
        self._changed.release()
        return True

    def abandon(self) -> None:
        """Drop what waits and stop, because the interpreter does; it takes no new threads any more."""
        with self._changed:
            self._closing = True
            while self._queue:
                self._queue.popleft().future.cancel()
            self._changed.notify_all()
        for thread in self._threads.values():
            thread.join(_EXIT_PATIENCE_S)

    def _require_room(self, job: Job) -> None:
        """Refuse a job that would wait behind too much; an idle engine takes any job."""
        most = self._most_waiting or sum(worker.limit for worker in self._workers) * _BATCHES_WAITING
        if self._waiting and self._waiting + job.tokens > most:
            self._queue = deque(waiting for waiting in self._queue if not waiting.over)
            self._waiting = sum(waiting.tokens for waiting in self._queue)
        if self._waiting and self._waiting + job.tokens > most:
            raise Overloaded(
                f"{self._waiting} tokens wait already, and {job.tokens} more would exceed {most}; "
                "try again later, or add a device"
            )

    def _start(self) -> None:
        for worker in self._workers:
            if worker not in self._threads:
                thread = threading.Thread(target=self._serve, args=(worker,), name="resift-engine", daemon=True)
                thread.start()
                self._threads[worker] = thread

    def _serve(self, worker: "_Worker") -> None:
        while True:
            breath = self._take_breath(worker)
            if not breath:
                break
            worker.run(breath)
            del breath  # or it would be kept alive while the thread waits for the next
        worker.backend.close()

    def _take_breath(self, worker: "_Worker") -> list[Part]:
        """Wait for work, and take a part of it: a fair share of a few batches from each job, oldest first."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._queue or self._closing)
                breath = self._claim(worker)
                if breath or (self._closing and not self._queue):
                    return breath

    def _claim(self, worker: "_Worker") -> list[Part]:
        fair = -(-self._waiting // len(self._workers))
        budget = min(worker.limit * _BATCHES_A_BREATH, max(worker.limit, fair))
        share = max(worker.limit, budget // max(1, len(self._queue)))
        parts: list[Part] = []
        for _ in range(len(self._queue)):
            job = self._queue.popleft()
            self._waiting -= job.tokens
            if job.over:
                continue
            claimed, spent = job.claim(min(share, budget), worker.share_of_prefix)
            parts.extend(Part(job, position) for position in claimed)
            self._waiting += job.tokens
            budget -= spent
            if job.unclaimed:
                self._queue.append(job)
            if budget <= 0:
                break
        return parts


class _Worker:
    """Runs breaths on one device, and outlives whatever goes wrong there."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.limit = backend.max_batch_tokens
        self.done = Workload()

    def share_of_prefix(self, shared: int, length: int) -> int:
        """Return how many tokens of a shared prefix one of the sequences that fill a batch with it pays for."""
        return shared if self.backend.padded else shared * length // max(length, self.limit)

    def run(self, breath: list[Part]) -> None:
        """Plan across all jobs of a breath, run batch after batch, and leave no job without an end."""
        try:
            self._run(breath)
        except BaseException as error:
            logger.exception("a callback of a finished call failed")
            for job in by_job(breath):
                with contextlib.suppress(BaseException):
                    _fail(job, error)

    def _run(self, parts: list[Part]) -> None:
        limit = self.limit
        for positions in plan_batches(_items(parts), limit, padded=self.backend.padded):
            batch = [parts[at] for at in positions]
            if self.limit < limit:  # it was planned for more than fits
                self._run(batch)
            else:
                self._run_batch(batch)

    def _run_batch(self, parts: list[Part], *, alone: bool = False) -> None:
        parts = [part for part in parts if not part.job.over]
        if not parts:
            return
        failure: BaseException | None = None
        try:
            counts = [part.tokens.rows for part in parts]
            outputs = _checked(self.backend.run(_batch(parts)), sum(counts))
            self._count(parts)
            for job, of_job in by_job(parts).items():
                job.answer([parts[at].position for at in of_job], outputs[places(counts, of_job)])
        except BaseException as error:  # noqa: BLE001 - whatever happened, the futures end and the thread lives
            failure = _without_frames(error)
        # outside the handler, where the memory of the failed pass is free again
        if isinstance(failure, OutOfMemory):
            self._run_smaller(parts, failure)
        elif failure is not None:
            self._run_apart(parts, failure, alone=alone)

    def _count(self, parts: list[Part]) -> None:
        """Keep account of a batch; one new value each time, so that readers need no lock."""
        items, done = _items(parts), self.done
        self.done = Workload(
            batches=done.batches + 1,
            tokens=done.tokens + batch_cost(items),
            room=done.room + max(self.limit, batch_cost(items, padded=self.backend.padded)),
        )

    def _run_smaller(self, parts: list[Part], error: OutOfMemory) -> None:
        """Halve the limit for good, and plan the batch anew; only a sequence that does not fit alone fails."""
        if len(parts) == 1:
            failure = ScoringFailed(
                f"a text of {len(parts[0].tokens)} tokens does not fit the device's memory even alone; "
                "load the model with a smaller max_length, in half precision, or on a larger device"
            )
            failure.__cause__ = error
            parts[0].job.end(failure)
            return
        cost = batch_cost(_items(parts), padded=self.backend.padded)
        self.limit = max(1, min(self.limit, cost) // 2)
        self._run(parts)

    def _run_apart(self, parts: list[Part], error: BaseException, *, alone: bool) -> None:
        """Try each job of a failed batch alone, once; what fails alone fails for good, and alone."""
        for job, rows in by_job(parts).items():
            if alone:
                _fail(job, error)
            else:
                self._run_batch([parts[row] for row in rows], alone=True)


def _without_frames(error: BaseException) -> BaseException:
    """Return an error that keeps nothing alive: its frames hold the tensors of the pass that failed."""
    logger.debug("a batch failed", exc_info=error)
    chain: list[BaseException | None] = [error]
    while chain:
        link = chain.pop()
        if link is not None and link.__traceback__ is not None:
            link.__traceback__ = None
            chain += [link.__cause__, link.__context__]
    return error


def _fail(job: Job, error: BaseException) -> None:
    failure = ScoringFailed(f"the model failed on this call: {type(error).__name__}: {error}".partition("\n")[0])
    failure.__cause__ = error
    job.end(failure)


def _checked(outputs: Outputs, rows: int) -> Outputs:
    if np.ndim(outputs) != 2 or len(outputs) != rows:
        raise ScoringFailed(f"the backend returned {np.shape(outputs)} where {rows} rows are due. This is a bug.")
    return outputs


def _items(parts: list[Part]) -> list[Item]:
    groups = {job: group for group, job in enumerate(by_job(parts))}
    return [Item(len(part.tokens), groups[part.job], len(part.job.prefix)) for part in parts]


def _batch(parts: list[Part]) -> Batch:
    with_prefix = [job for job in by_job(parts) if len(job.prefix)]
    places = {job: place for place, job in enumerate(with_prefix)}
    return Batch(
        sequences=[part.tokens for part in parts],
        prefixes=[job.prefix for job in with_prefix],
        prefix_of=[places.get(part.job) for part in parts] if with_prefix else (),
    )


_ENGINES: "weakref.WeakSet[Engine]" = weakref.WeakSet()


@atexit.register
def _abandon_all() -> None:
    """End the threads while the interpreter still stands, because a thread inside torch would not survive its end."""
    for engine in list(_ENGINES):
        engine.abandon()
