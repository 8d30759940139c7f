"""The engine: many callers, shared batches, and to everybody the rows that are theirs."""

import asyncio
import gc
import math
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from resift.errors import Overloaded
from resift.scoring.backends import OutOfMemory, Outputs
from resift.scoring.engine import Engine
from resift.scoring.planning import NO_IDS, Batch, Ids, Tokens

PATIENCE_S = 10.0  # for what happens at once unless something is broken
POISON, NAN, INF = -1, -2, -3  # ids that a fake model does not digest

# the fake device, which other files of tests share


def ids(*values: int) -> Ids:
    return np.array(values, dtype=np.int32)


def tokens(*values: int) -> Tokens:
    return Tokens(ids(*values))


def answer(sequence: Tokens, prefix: Ids = NO_IDS) -> Outputs:
    """Return the one row that a fake model makes of a sequence; no other sequence of these tests has the same."""
    whole = np.concatenate([prefix, sequence.ids]).astype(np.int64)
    places = np.arange(1, len(whole) + 1)
    return np.array([whole @ places % 65_521, whole.sum() % 65_521, len(whole)], dtype=np.float32)


def answers(sequences: Sequence[Tokens], prefix: Ids = NO_IDS) -> Outputs:
    return np.stack([answer(sequence, prefix) for sequence in sequences])


class FakeBackend:
    """
    Answers each sequence by its own ids, remembers its batches, and fails on demand.

    It waits inside `run` while `gate` is shut; `entered` counts the runs that have begun. `fault`, as it was when the
    run began, may raise, or return what is to be taken for the outputs. More than `capacity` tokens do not fit.
    """

    def __init__(self, limit: int = 64, *, padded: bool = False, capacity: float = math.inf) -> None:
        self.max_batch_tokens = limit
        self.padded = padded
        self.capacity = capacity
        self.fault: Callable[[Batch], object] = lambda _: None
        self.batches: list[Batch] = []
        self.ran_by: set[int] = set()
        self.closed_by: list[int] = []
        self.renew()

    def renew(self) -> None:
        """Take new locks, as a forked child must, with the gate open."""
        self.closed = threading.Event()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def run(self, batch: Batch) -> Outputs:
        fault = self.fault
        self.batches.append(batch)
        self.ran_by.add(threading.get_ident())
        self.entered.release()
        if not self.gate.wait(PATIENCE_S):
            raise TimeoutError("nobody opened the gate")
        instead = fault(batch)
        if instead is not None:
            return cast("Outputs", instead)
        if self.cost(batch) > self.capacity:
            raise OutOfMemory
        if poisoned := sum(POISON in sequence.ids for sequence in batch.sequences):
            raise ValueError(f"{poisoned} poisoned\nof {len(batch.sequences)}")
        return np.stack([self._row(batch, position) for position in range(len(batch.sequences))])

    def close(self) -> None:
        self.closed_by.append(threading.get_ident())
        self.closed.set()

    def cost(self, batch: Batch) -> int:
        if not self.padded:
            return batch.tokens
        return len(batch.sequences) * max(
            len(sequence) + len(batch.prefix(position)) for position, sequence in enumerate(batch.sequences)
        )

    def seen(self) -> Counter[tuple[int, ...]]:
        """Count how often each sequence was run."""
        return Counter(tuple(sequence.ids.tolist()) for batch in self.batches for sequence in batch.sequences)

    def wait_until_busy(self) -> None:
        assert self.entered.acquire(timeout=PATIENCE_S), "no batch was run"

    @staticmethod
    def _row(batch: Batch, position: int) -> Outputs:
        row = answer(batch.sequences[position], batch.prefix(position))
        row[1] = {NAN: math.nan, INF: -math.inf}.get(int(batch.sequences[position].ids[0]), row[1])
        return row


@contextmanager
def running(*backends: FakeBackend, max_queue_tokens: int | None = None) -> Iterator[Engine]:
    """Yield an engine, and see to it that it ends, whatever the test has done to it."""
    engine = Engine(backends, max_queue_tokens=max_queue_tokens)
    try:
        yield engine
    finally:
        for backend in backends:
            backend.gate.set()
        closer = threading.Thread(target=engine.close, daemon=True)
        closer.start()
        closer.join(PATIENCE_S)
        assert not closer.is_alive(), "the engine does not close"


@contextmanager
def held(engine: Engine, *backends: FakeBackend) -> Iterator[None]:
    """Keep all devices of the engine busy, so that what is submitted meanwhile waits for the next breath."""
    entered = threading.Semaphore(0)
    for backend in backends:
        backend.entered = entered
        backend.gate.clear()
    blockers = []
    for _ in backends:  # each of them wakes a device that is free
        blockers.append(engine.submit([tokens(0)]))
        assert entered.acquire(timeout=PATIENCE_S), "a device does not begin"
    for backend in backends:
        backend.batches.clear()
    try:
        yield
    finally:
        for backend in backends:
            backend.gate.set()
    for blocker in blockers:
        result(blocker)


def result(future: "Future[Outputs]") -> Outputs:
    return future.result(PATIENCE_S)


# every row at its own position

VALUES = st.lists(st.integers(0, 1000), min_size=1, max_size=12)
SEQUENCES = st.lists(VALUES.map(lambda values: tokens(*values)), min_size=1, max_size=12)
PREFIXES = st.one_of(st.just(NO_IDS), st.lists(st.integers(0, 1000), max_size=9).map(lambda values: ids(*values)))
JOBS = st.lists(st.tuples(SEQUENCES, PREFIXES), min_size=1, max_size=6)
LIMITS = st.integers(1, 80)
Job = tuple[list[Tokens], Ids]


@settings(max_examples=100, deadline=None)
@given(jobs=JOBS, limit=LIMITS, padded=st.booleans())
def test_rows_come_back_at_their_own_positions(*, jobs: list[Job], limit: int, padded: bool) -> None:
    """A row depends on its own sequence and prefix alone, whatever else ran, and stands where its sequence stood."""
    backend = FakeBackend(limit, padded=padded)
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit(sequences, prefix) for sequences, prefix in jobs]

        for future, (sequences, prefix) in zip(futures, jobs, strict=True):
            assert_array_equal(result(future), answers(sequences, prefix))


@settings(max_examples=100, deadline=None)
@given(sequences=SEQUENCES, prefix=PREFIXES, limit=LIMITS, padded=st.booleans(), data=st.data())
def test_neither_split_nor_order_changes_a_row(
    *, sequences: list[Tokens], prefix: Ids, limit: int, padded: bool, data: st.DataObject
) -> None:
    """The same sequences get the same rows in one job, and shuffled and split into several."""
    order = data.draw(st.permutations(range(len(sequences))))
    owners = [data.draw(st.integers(0, 3)) for _ in sequences]
    parts = [[at for at in order if owners[at] == owner] for owner in set(owners)]
    backend = FakeBackend(limit, padded=padded)
    with running(backend) as engine:
        whole = result(engine.submit(sequences, prefix))
        with held(engine, backend):
            futures = [engine.submit([sequences[at] for at in part], prefix) for part in parts]

        for future, part in zip(futures, parts, strict=True):
            assert_array_equal(result(future), whole[part])


@settings(max_examples=50, deadline=None)
@given(jobs=JOBS, limit=LIMITS, padded=st.booleans())
def test_each_sequence_runs_once_and_within_the_limit(*, jobs: list[Job], limit: int, padded: bool) -> None:
    """Nothing is computed twice, and no batch of several sequences exceeds what the planner promises."""
    backend = FakeBackend(limit, padded=padded)
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit(sequences, prefix) for sequences, prefix in jobs]
        for future in futures:
            result(future)

    assert backend.seen() == Counter(tuple(one.ids.tolist()) for sequences, _ in jobs for one in sequences)
    several = [batch for batch in backend.batches if len(batch.sequences) > 1]
    if padded:
        assert all(backend.cost(batch) <= limit for batch in several)
    else:
        assert all(sum(map(len, batch.sequences)) <= limit for batch in several)


def test_rows_are_single_precision() -> None:
    """The future holds a (sequences, width) array of float32."""
    with running(FakeBackend()) as engine:
        rows = result(engine.submit([tokens(1, 2), tokens(3)]))

    assert rows.shape == (2, 3)
    assert rows.dtype == np.float32


# sharing


def test_callers_share_batches() -> None:
    """What several callers wait for runs together."""
    backend = FakeBackend(limit=64)
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit([tokens(caller, 1), tokens(caller, 2)]) for caller in range(16)]
        for future in futures:
            result(future)

    assert [len(batch.sequences) for batch in backend.batches] == [32]


def test_a_shared_prefix_is_run_once_a_batch() -> None:
    """All sequences of a job continue one prefix, and a job without one continues none."""
    backend = FakeBackend(limit=64)
    with running(backend) as engine:
        with held(engine, backend):
            with_prefix = engine.submit([tokens(1), tokens(2), tokens(3)], ids(7, 8, 9))
            without = engine.submit([tokens(4)])
        assert_array_equal(result(with_prefix), answers([tokens(1), tokens(2), tokens(3)], ids(7, 8, 9)))
        assert_array_equal(result(without), answers([tokens(4)]))

    assert [(len(batch.sequences), len(batch.prefixes)) for batch in backend.batches] == [(4, 1)]


def test_two_devices_answer_two_jobs_at_once() -> None:
    """A device that is free takes what a busy one has not begun."""
    one, other = FakeBackend(), FakeBackend()
    with running(one, other) as engine, held(engine, one, other):
        pass

    assert len(one.ran_by) == len(other.ran_by) == 1
    assert one.ran_by != other.ran_by


def test_two_devices_share_a_giant_job() -> None:
    """A job that is large enough runs on every device that is free, also on one that has waited for work."""
    backends = FakeBackend(limit=8), FakeBackend(limit=8)
    giant = [tokens(number, 1, 2, 3) for number in range(200)]
    with running(*backends) as engine:
        for _ in range(3):
            with held(engine, *backends):
                pass
            for backend in backends:
                backend.entered = threading.Semaphore(0)
                backend.gate.clear()
            future = engine.submit(giant)
            for backend in backends:
                backend.wait_until_busy()
            for backend in backends:
                backend.gate.set()
            assert_array_equal(result(future), answers(giant))


# fairness


@pytest.mark.parametrize("giants", [1, 2, 3, 9])
def test_a_small_job_waits_one_breath(giants: int) -> None:
    """A small job waits for the breath that is under way and one of its own; many giants take turns, four a breath."""
    backend = FakeBackend(limit=8)
    with running(backend) as engine:
        breath = engine.breath_tokens // backend.max_batch_tokens
        waited = _batches_waited(engine, backend, [[tokens(*[giant] * 4)] * 100 for giant in range(giants)])

    assert waited <= (breath - 1) + breath * math.ceil((giants + 1) / 4)


@pytest.mark.parametrize("padded", [False, True])
def test_a_long_prefix_does_not_lengthen_the_breath(*, padded: bool) -> None:
    """A small job waits for a few batches also where a giant one's short sequences continue a long prefix."""
    backend = FakeBackend(limit=64, padded=padded)
    with running(backend) as engine:
        breath = engine.breath_tokens // backend.max_batch_tokens
        waited = _batches_waited(engine, backend, [[tokens(1, 2, 3, 4)] * 300], ids(*range(60)))

    assert waited <= 4 * breath


def _batches_waited(engine: Engine, backend: FakeBackend, giants: list[list[Tokens]], prefix: Ids = NO_IDS) -> int:
    """Submit a small job while the first giant runs and the others wait; count the batches until it is answered."""
    backend.gate.clear()
    futures = [engine.submit(giants[0], prefix)]
    backend.wait_until_busy()
    futures += [engine.submit(giant, prefix) for giant in giants[1:]]
    small, begun, done = engine.submit([tokens(5, 6, 7, 8)]), len(backend.batches), []
    small.add_done_callback(lambda _: done.append(len(backend.batches)))  # in the thread that runs the batches
    backend.gate.set()
    assert_array_equal(result(small), answers([tokens(5, 6, 7, 8)]))
    for future, giant in zip(futures, giants, strict=True):
        assert_array_equal(result(future), answers(giant, prefix))
    return done[0] - begun


def test_giant_jobs_advance_side_by_side() -> None:
    """When the first of three equal giants is done, the others are almost done, too."""
    backend = FakeBackend(limit=8)
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit([tokens(giant, 1, 1, 1)] * 100) for giant in range(3)]
        for future in futures:
            result(future)

    order = [int(sequence.ids[0]) for batch in backend.batches for sequence in batch.sequences]
    first_done = min(len(order) - order[::-1].index(giant) for giant in range(3))
    assert min(Counter(order[:first_done]).values()) >= 80


# overload


def _fill(engine: Engine, length: int) -> "list[Future[Outputs]]":
    """Submit jobs of `length` tokens until one is refused."""
    futures: list[Future[Outputs]] = []
    for number in range(10_000):
        try:
            futures.append(engine.submit([tokens(*[number] * length)]))
        except Overloaded:
            return futures
    raise AssertionError("nothing is ever refused")


def test_overload_is_refused() -> None:
    """What would wait behind too much is refused at once, and what was accepted before is answered."""
    backend = FakeBackend(limit=4)
    with running(backend) as engine:
        with held(engine, backend):
            accepted = _fill(engine, 64)
            with pytest.raises(Overloaded, match=rf"{64 * len(accepted)} tokens wait already, and 64 more"):
                engine.submit([tokens(*[-9] * 64)])
            assert not any(future.done() for future in accepted)

        for number, future in enumerate(accepted):
            assert_array_equal(result(future), answers([tokens(*[number] * 64)]))
        assert (-9,) * 64 not in backend.seen()


def test_overload_is_counted_in_tokens() -> None:
    """As many tokens wait, whether in few large jobs or in many small ones; with two devices, twice as many."""
    waiting = []
    for devices, length in ((1, 8), (1, 64), (2, 64)):
        backends = [FakeBackend(limit=4) for _ in range(devices)]
        with running(*backends) as engine, held(engine, *backends):
            waiting.append(length * len(_fill(engine, length)))

    assert waiting[1:] == [waiting[0], 2 * waiting[0]]


def test_what_has_begun_does_not_wait() -> None:
    """A job that runs in several breaths makes room with each of them."""
    backend = FakeBackend(limit=4)
    with running(backend) as engine:
        with held(engine, backend):
            rush = _fill(engine, 4)
            most = 4 * len(rush)
            for future in rush:
                future.cancel()
        backend.gate.clear()
        backend.entered = threading.Semaphore(0)
        giant = engine.submit([tokens(1, 2, 3, 4)] * (most // 4))
        backend.wait_until_busy()

        assert 4 * len(_fill(engine, 4)) == engine.breath_tokens
        assert giant.cancel()


def test_an_idle_engine_takes_any_job() -> None:
    """Where nothing waits, nothing is refused, however large."""
    backend = FakeBackend(limit=4)
    with running(backend) as engine:
        giant = [tokens(*range(5000)), tokens(*range(5001))]
        assert_array_equal(result(engine.submit(giant)), answers(giant))
        with held(engine, backend):
            waiting = engine.submit(giant)
            with pytest.raises(Overloaded):
                engine.submit([tokens(1)])
        assert_array_equal(result(waiting), answers(giant))


def test_cancelled_jobs_make_room() -> None:
    """What its caller has given up does not count as waiting."""
    backend = FakeBackend(limit=4)
    with running(backend) as engine, held(engine, backend):
        accepted = _fill(engine, 64)
        assert accepted[0].cancel()
        assert accepted[-1].cancel()

        assert len(_fill(engine, 64)) == 2


def test_work_is_accepted_again_when_it_has_drained() -> None:
    """A refusal is for now: after the rush the engine takes as much as before."""
    backend = FakeBackend(limit=4)
    with running(backend) as engine:
        rushes = []
        for _ in range(2):
            with held(engine, backend):
                accepted = _fill(engine, 64)
            for future in accepted:
                result(future)
            rushes.append(len(accepted))

    assert rushes[0] == rushes[1] > 10


# threads


def test_many_threads_get_their_own_rows() -> None:
    """64 threads of 50 calls each share one engine of two devices, and each gets what it asked for."""
    start = threading.Barrier(64)

    def calls(thread: int) -> int:
        numbers = np.random.default_rng(thread)
        start.wait(PATIENCE_S)
        right = 0
        for _ in range(50):
            prefix = ids(*[thread] * int(numbers.integers(4)))
            sequences = [tokens(thread, *range(numbers.integers(10))) for _ in range(numbers.integers(1, 5))]
            right += np.array_equal(result(engine.submit(sequences, prefix)), answers(sequences, prefix))
        return right

    with running(FakeBackend(), FakeBackend()) as engine, ThreadPoolExecutor(64) as pool:
        assert list(pool.map(calls, range(64))) == [50] * 64


def test_an_engine_that_everyone_forgot_still_answers() -> None:
    """Who holds a future needs to hold nothing else."""
    backend = FakeBackend()
    backend.gate.clear()
    engine = Engine([backend])
    forgotten = weakref.ref(engine)
    future = engine.submit([tokens(1, 2)])
    del engine
    gc.collect()
    backend.gate.set()

    assert_array_equal(result(future), answers([tokens(1, 2)]))
    if (engine_again := forgotten()) is not None:
        engine_again.close()


# event loops


async def _gather(engine: Engine, loop: int) -> bool:
    """Await many jobs at once and say whether all rows were right."""
    jobs = [[tokens(loop, call), tokens(loop, call, 1)] for call in range(50)]
    rows = await asyncio.gather(*(asyncio.wrap_future(engine.submit(job)) for job in jobs))
    return all(np.array_equal(got, answers(job)) for got, job in zip(rows, jobs, strict=True))


def test_event_loops_take_turns() -> None:
    """One engine serves three event loops, one after another."""
    with running(FakeBackend()) as engine:
        assert all(asyncio.run(asyncio.wait_for(_gather(engine, loop), PATIENCE_S)) for loop in range(3))


def test_event_loops_run_side_by_side() -> None:
    """One engine serves two event loops in two threads while both wait."""
    backend = FakeBackend()
    both_wait = threading.Barrier(2, action=backend.gate.set)

    async def serve(loop: int) -> bool:
        waiting = asyncio.create_task(_gather(engine, loop))
        await asyncio.sleep(0)  # let the task submit
        await asyncio.to_thread(both_wait.wait, PATIENCE_S)
        return await asyncio.wait_for(waiting, PATIENCE_S)

    with running(backend) as engine, ThreadPoolExecutor(2) as pool:
        backend.gate.clear()
        assert list(pool.map(lambda loop: asyncio.run(serve(loop)), range(2))) == [True, True]


async def test_an_event_loop_is_not_blocked() -> None:
    """While a loop waits for its rows, other tasks of that loop go on."""
    backend = FakeBackend()
    with running(backend) as engine:
        backend.gate.clear()
        waiting = asyncio.wrap_future(engine.submit([tokens(1)]))
        await asyncio.to_thread(backend.wait_until_busy)
        assert not waiting.done()
        backend.gate.set()

        assert_array_equal(await asyncio.wait_for(waiting, PATIENCE_S), answers([tokens(1)]))
