"""What goes wrong around the engine: a bad job fails alone; every future, thread and process comes to its end."""

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from resift.errors import Overloaded, ResiftError, ScoringFailed
from resift.scoring.backends import OutOfMemory, Outputs
from resift.scoring.engine import Engine
from resift.scoring.planning import Tokens
from test_engine import (
    INF,
    JOBS,
    LIMITS,
    NAN,
    PATIENCE_S,
    POISON,
    FakeBackend,
    Job,
    answers,
    held,
    ids,
    result,
    running,
    tokens,
)

GIANT = [tokens(number, 1, 2, 3) for number in range(200)]


def _faults(*errors: BaseException) -> Callable[[object], None]:
    """Return what ends the next runs with `errors`, one each, and none after that."""
    waiting = deque(errors)

    def fail(_: object) -> None:
        if waiting:
            raise waiting.popleft()

    return fail


def _assert_serves(engine: Engine) -> None:
    good = [tokens(4, 5), tokens(6)]
    assert_array_equal(result(engine.submit(good)), answers(good))


def _failure(future: "Future[Outputs]") -> ScoringFailed:
    error = future.exception(PATIENCE_S)
    assert isinstance(error, ScoringFailed)
    return error


# a failed batch fails only its jobs


def test_a_poisoned_job_fails_alone() -> None:
    """Of the jobs of a failed batch only those at fault fail; each was run again alone, once."""
    backend = FakeBackend()
    jobs = [[tokens(1)], [tokens(2), tokens(3, POISON)], [tokens(4)], [tokens(POISON)] * 2, [tokens(5)]]
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit(job) for job in jobs]

        for at in (0, 2, 4):
            assert_array_equal(result(futures[at]), answers(jobs[at]))
        for at, poisoned in ((1, 1), (3, 2)):
            assert isinstance(_failure(futures[at]).__cause__, ValueError)
            assert str(_failure(futures[at])).endswith(f"ValueError: {poisoned} poisoned")
        assert sorted(len(batch.sequences) for batch in backend.batches) == [1, 1, 1, 2, 2, 7]
        _assert_serves(engine)
    assert len(backend.ran_by) == 1, "the thread did not live on"


ANYTHING = [
    ValueError,
    MemoryError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    StopIteration,
    asyncio.CancelledError,
]


@pytest.mark.parametrize("kind", ANYTHING)
def test_whatever_is_raised_fails_the_job(kind: type[BaseException]) -> None:
    """A job that fails alone, too, fails with what was raised at last as the cause; the thread lives on."""
    backend = FakeBackend()
    first, second = kind("first"), kind("second")
    backend.fault = _faults(first, second)
    with running(backend) as engine:
        failure = _failure(engine.submit([tokens(1), tokens(2)]))

        assert failure.__cause__ is second
        assert kind.__name__ in str(failure)
        assert len(backend.batches) == 2
        _assert_serves(engine)
    assert len(backend.ran_by) == 1


@pytest.mark.parametrize("kind", ANYTHING)
def test_what_passes_is_forgiven(kind: type[BaseException]) -> None:
    """Jobs of a failed batch that work alone are answered."""
    backend = FakeBackend()
    jobs = [[tokens(1), tokens(2, 3)], [tokens(4)]]
    with running(backend) as engine:
        with held(engine, backend):
            backend.fault = _faults(kind())
            futures = [engine.submit(job) for job in jobs]

        for future, job in zip(futures, jobs, strict=True):
            assert_array_equal(result(future), answers(job))


def test_a_failed_job_goes_no_further() -> None:
    """What a job has left to run when it fails is not run."""
    backend = FakeBackend(limit=8)
    with running(backend) as engine:
        _failure(engine.submit([tokens(1, 2, 3, 4, POISON), *GIANT]))
        _assert_serves(engine)

        assert len(backend.batches) == 3


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_row_that_is_no_number_fails_its_job_alone(bad: int) -> None:
    """NaN and infinity are an error of the job that they belong to, which says how many, and nothing of any text."""
    backend = FakeBackend()
    jobs = [[tokens(1), tokens(2)], [tokens(3), tokens(bad, 31337), tokens(4)], [tokens(5)]]
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit(job) for job in jobs]

        for at in (0, 2):
            assert_array_equal(result(futures[at]), answers(jobs[at]))
        assert "not a finite number for 1 of 3 texts" in str(_failure(futures[1]))
        assert "31337" not in str(_failure(futures[1]))
        assert len(backend.batches) == 1, "running it again would not have helped"
        _assert_serves(engine)


@pytest.mark.parametrize(
    "nonsense",
    [np.zeros((0, 3)), np.zeros((1, 3)), np.zeros(2), "rows"],
    ids=["no row", "one row for two", "no column", "no array"],
)
def test_outputs_of_a_wrong_shape_fail_their_job(nonsense: object) -> None:
    """A model that returns anything but one row for each sequence fails the call, and the thread lives on."""
    backend = FakeBackend()
    with running(backend) as engine:
        backend.fault = lambda _: nonsense
        _failure(engine.submit([tokens(1), tokens(2)]))
        backend.fault = _faults()
        _assert_serves(engine)


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_callback_that_raises_harms_nobody(kind: type[BaseException]) -> None:
    """Whatever a future's callback does, the next job is answered."""
    backend = FakeBackend()
    with running(backend) as engine:
        with held(engine, backend):
            future = engine.submit([tokens(1)])
            future.add_done_callback(lambda _: _faults(kind())(None))
        result(future)
        _assert_serves(engine)


def test_a_thread_that_cannot_start_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine has no thread left the caller hears of it, and the next call is answered."""
    with running(FakeBackend()) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", lambda _: _faults(RuntimeError("can't start new thread"))(None))
            with pytest.raises((RuntimeError, ResiftError)):
                engine.submit([tokens(1)])
        _assert_serves(engine)


def test_a_job_of_nothing_is_answered() -> None:
    """No sequences get no rows, and nobody waits for them."""
    with running(FakeBackend()) as engine:
        assert len(result(engine.submit([]))) == 0


def test_an_answered_job_is_let_go() -> None:
    """An idle engine keeps nothing of what it has answered."""
    backend = FakeBackend()
    kept, gone = ids(1, 2), threading.Event()
    weakref.finalize(kept, gone.set)
    with running(backend) as engine:
        result(engine.submit([Tokens(kept)]))
        backend.batches.clear()
        del kept

        assert gone.wait(PATIENCE_S)


# out of memory


@pytest.mark.parametrize("padded", [False, True])
def test_out_of_memory_halves_the_limit_for_good(*, padded: bool) -> None:
    """A batch that does not fit runs in parts, and from the next breath on batches are half as large."""
    backend = FakeBackend(limit=64, padded=padded, capacity=40)
    job = [tokens(*[number] * 4) for number in range(16)]
    with running(backend) as engine:
        breath = engine.breath_tokens
        assert_array_equal(result(engine.submit(job)), answers(job))
        assert [backend.cost(batch) for batch in backend.batches] == [64, 32, 32]

        assert engine.breath_tokens == breath // 2
        assert_array_equal(result(engine.submit(job)), answers(job))
        assert [backend.cost(batch) for batch in backend.batches[3:]] == [32, 32]


@pytest.mark.parametrize("capacity", [40, 20, 10])
def test_the_limit_falls_no_further_than_it_must(capacity: int) -> None:
    """Several batches of a breath that do not fit halve the limit until its batches fit, not once for each of them."""
    backend = FakeBackend(limit=64, capacity=capacity)
    job = [tokens(*[number] * 4) for number in range(64)]
    with running(backend) as engine:
        result(engine.submit(job))
        backend.batches.clear()
        assert_array_equal(result(engine.submit(job)), answers(job))

    assert capacity / 2 <= max(batch.tokens for batch in backend.batches) <= capacity


@settings(max_examples=100, deadline=None)
@given(jobs=JOBS, limit=LIMITS, capacity=LIMITS, padded=st.booleans())
def test_only_what_does_not_fit_alone_fails(*, jobs: list[Job], limit: int, capacity: int, padded: bool) -> None:
    """Out of memory is an error only for a job with a sequence that does not fit by itself; all others are answered."""
    backend = FakeBackend(limit, padded=padded, capacity=capacity)
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit(sequences, prefix) for sequences, prefix in jobs]

        for future, (sequences, prefix) in zip(futures, jobs, strict=True):
            if max(map(len, sequences)) + len(prefix) > capacity:
                assert isinstance(_failure(future).__cause__, OutOfMemory)
            else:
                assert_array_equal(result(future), answers(sequences, prefix))


def test_a_sequence_too_large_leaves_the_limit_alone() -> None:
    """A text that fits no batch says nothing about batches: the limit stays for those who come after."""
    backend = FakeBackend(limit=64, capacity=64)
    with running(backend) as engine:
        breath = engine.breath_tokens
        failure = _failure(engine.submit([tokens(*range(31_000, 31_100))]))

        assert "100 tokens" in str(failure)
        assert "310" not in str(failure)
        assert engine.breath_tokens == breath
        _assert_serves(engine)


# cancelling


def test_a_cancelled_job_is_skipped() -> None:
    """What is cancelled while it waits never runs, and its neighbours do."""
    backend = FakeBackend()
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit([tokens(job)]) for job in range(3)]
            assert futures[1].cancel()

        for job in (0, 2):
            assert_array_equal(result(futures[job]), answers([tokens(job)]))
    assert set(backend.seen()) == {(0,), (2,)}


def test_a_giant_job_can_be_cancelled_on_the_way() -> None:
    """After a cancellation only the batch that is running runs to its end."""
    backend = FakeBackend(limit=8)
    with running(backend) as engine:
        backend.gate.clear()
        giant = engine.submit(GIANT)
        backend.wait_until_busy()
        assert giant.cancel()
        backend.gate.set()
        _assert_serves(engine)

        assert len(backend.batches) == 2


def test_a_cancelled_job_leaves_its_batch_intact() -> None:
    """A job that is cancelled while its batch runs takes nothing from those it shares the batch with."""
    backend = FakeBackend()
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit([tokens(job, 1), tokens(job)]) for job in range(3)]
            backend.fault = lambda _: None if futures[1].cancel() else "nothing was cancelled"

        for job in (0, 2):
            assert_array_equal(result(futures[job]), answers([tokens(job, 1), tokens(job)]))
        assert futures[1].cancelled()


async def test_a_task_that_stops_waiting_cancels_its_job() -> None:
    """A job that a task of an event loop has waited for in vain is taken out of the queue."""
    backend = FakeBackend()
    with running(backend) as engine:
        with held(engine, backend):
            future = engine.submit([tokens(7)])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(future), 0.01)
            assert future.cancelled()
        _assert_serves(engine)

    assert (7,) not in backend.seen()


def test_who_waits_for_many_futures_hears_of_cancelled_ones() -> None:
    """`concurrent.futures.wait` ends for jobs cancelled while they wait or run as for those that are answered."""
    backend = FakeBackend()
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit([tokens(job)]) for job in range(3)]
            backend.fault = lambda _: None if futures[0].cancel() else "nothing was cancelled"
            futures[1].cancel()

        assert concurrent.futures.wait(futures, timeout=PATIENCE_S).done == set(futures)
        assert_array_equal(result(futures[2]), answers([tokens(2)]))


# closing


def test_what_was_accepted_is_answered() -> None:
    """Jobs accepted before `close` are answered after it, also giant ones; later ones are refused."""
    backend = FakeBackend(limit=8)
    with running(backend) as engine:
        with held(engine, backend):
            giant, small = engine.submit(GIANT), engine.submit([tokens(1)])
            engine.close(wait=False)
            with pytest.raises(ScoringFailed, match="closed"):
                engine.submit([tokens(2)])
            assert not backend.closed_by

        assert_array_equal(result(giant), answers(GIANT))
        assert_array_equal(result(small), answers([tokens(1)]))
    assert backend.closed_by == list(backend.ran_by)


def test_closing_is_for_everybody_and_happens_once() -> None:
    """Any number of threads may close a busy engine at once; for each of them all is answered and freed afterwards."""
    backends = FakeBackend(), FakeBackend()
    start = threading.Barrier(9)
    answered: list[bool] = []

    def close() -> None:
        start.wait(PATIENCE_S)
        engine.close()
        answered.append(future.done() and all(len(backend.closed_by) == 1 for backend in backends))

    with running(*backends) as engine:
        closers = [threading.Thread(target=close, daemon=True) for _ in range(8)]
        with held(engine, *backends):
            future = engine.submit([tokens(1)])
            for closer in closers:
                closer.start()
            start.wait(PATIENCE_S)
        for closer in closers:
            closer.join(PATIENCE_S)
        engine.close()

    assert answered == [True] * 8
    assert [backend.closed_by for backend in backends] == [list(backend.ran_by) for backend in backends]


def test_an_unused_engine_frees_its_devices() -> None:
    """A model that was never asked anything is closed like any other, once."""
    backends = FakeBackend(), FakeBackend()
    engine = Engine(backends)
    for _ in range(3):
        engine.close()

    assert [len(backend.closed_by) for backend in backends] == [1, 1]
    with pytest.raises(ScoringFailed, match="closed"):
        engine.submit([tokens(1)])


def test_cancelled_jobs_do_not_hold_up_closing() -> None:
    """An engine whose last jobs were all cancelled closes."""
    backend = FakeBackend()
    with running(backend) as engine:
        with held(engine, backend):
            for _ in range(3):
                engine.submit([tokens(1)]).cancel()
            engine.close(wait=False)

        assert backend.closed.wait(PATIENCE_S)


def test_a_race_with_close_has_no_losers() -> None:
    """While threads submit and another closes, every job is refused at once or answered."""
    backend = FakeBackend(limit=8)
    accepted: list[Future[Outputs]] = []

    def submit() -> None:
        while True:
            try:
                accepted.append(engine.submit([tokens(1)]))
            except Overloaded:
                continue
            except ScoringFailed:
                return

    with running(backend) as engine:
        threads = [threading.Thread(target=submit, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        backend.wait_until_busy()
        engine.close()
        for thread in threads:
            thread.join(PATIENCE_S)

    assert accepted
    assert all(np.array_equal(result(future), answers([tokens(1)])) for future in accepted)


def test_a_callback_may_close() -> None:
    """`close` called by the very thread that runs the device returns, and the device is freed."""
    backend = FakeBackend()
    returned = threading.Event()

    def close(_: object) -> None:
        engine.close()
        returned.set()

    with running(backend) as engine:
        with held(engine, backend):
            engine.submit([tokens(1)]).add_done_callback(close)

        assert returned.wait(PATIENCE_S)
        assert backend.closed.wait(PATIENCE_S)
    assert backend.closed_by == list(backend.ran_by)


def test_callbacks_of_two_devices_may_close() -> None:
    """Two devices' threads that close their engine at the same time do not wait for each other."""
    backends = FakeBackend(), FakeBackend()
    meet, returned = threading.Barrier(2), threading.Semaphore(0)

    def close(_: object) -> None:
        meet.wait(PATIENCE_S)
        engine.close()
        returned.release()

    with running(*backends) as engine:
        backends[1].entered = backends[0].entered
        for backend in backends:
            backend.gate.clear()
        for job in range(2):
            engine.submit([tokens(job)]).add_done_callback(close)
            backends[0].wait_until_busy()
        for backend in backends:
            backend.gate.set()

        assert all(returned.acquire(timeout=PATIENCE_S) for _ in backends)
    assert all(len(backend.closed_by) == 1 for backend in backends)


def test_a_callback_may_close_while_another_device_works_on_its_job() -> None:
    """A job that fails on one device may close the engine although another device has rows of that job to deliver."""
    failing, working = FakeBackend(limit=8), FakeBackend(limit=8)
    failing.fault = _faults(RuntimeError("first"), RuntimeError("second"))
    returned = threading.Event()

    def close(_: object) -> None:
        working.gate.set()
        engine.close()
        returned.set()

    with running(failing, working) as engine:
        for backend in (failing, working):
            backend.gate.clear()
        future = engine.submit(GIANT)
        for backend in (failing, working):
            backend.wait_until_busy()
        future.add_done_callback(close)
        failing.gate.set()

        assert returned.wait(PATIENCE_S)
        assert "RuntimeError: second" in str(_failure(future))


# the end of the process, and processes that it begets


def _run_scene(scene: str) -> None:
    """Play a scene in a Python of its own, which must end soon, in peace and quiet."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, scene], capture_output=True, text=True, timeout=40, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_at_the_end_what_waits_is_dropped_and_what_runs_is_awaited() -> None:
    """An interpreter that ends cancels all that waits, and lets the device finish what it is in the middle of."""
    backend = FakeBackend()
    with running(backend) as engine:
        ender = threading.Thread(target=engine.abandon, daemon=True)
        with held(engine, backend):
            waiting = [engine.submit([tokens(job)]) for job in range(3)]
            ender.start()
            for future in waiting:
                with pytest.raises(concurrent.futures.CancelledError):
                    result(future)
            ender.join(0.1)
            assert ender.is_alive(), "nobody waits for the device"
        ender.join(PATIENCE_S)

        assert backend.closed_by == list(backend.ran_by)
        with pytest.raises(ScoringFailed, match="closed"):
            engine.submit([tokens(1)])


def test_at_the_end_no_thread_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that ends takes no new threads, so an engine that was never used ends without one."""
    engine = Engine([FakeBackend()])
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread was started"))
    engine.abandon()

    with pytest.raises(ScoringFailed, match="closed"):
        engine.submit([tokens(1)])


def test_the_interpreter_ends_while_the_engine_is_busy() -> None:
    """A program that ends does not wait for work that it queued and never asked about."""
    _run_scene("end_while_busy")


def test_the_interpreter_ends_with_engines_in_every_state() -> None:
    """A program ends in silence with engines unused, idle and closed."""
    _run_scene("end_in_every_state")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
def test_a_forked_child_gets_answers() -> None:
    """A child forked amid busy threads is answered by the same engines, knows no job of its parent, and harms none."""
    _run_scene("fork")


def end_while_busy() -> None:
    """Queue minutes of work, and leave."""
    backend = FakeBackend()
    backend.fault = lambda _: time.sleep(0.1)  # the work of one batch
    engine = Engine([backend])
    try:
        while True:
            engine.submit([tokens(*range(64))])
    except Overloaded:
        backend.wait_until_busy()


def end_in_every_state() -> None:
    """Leave engines behind."""
    engines = [Engine([FakeBackend(), FakeBackend()]) for _ in range(3)]
    _assert_serves(engines[1])
    _assert_serves(engines[2])
    engines[2].close()
    globals()["engines"] = engines  # they must live until the end


class _Slow(Tokens):
    """A sequence that takes its time to be counted, so that a fork mostly finds the engine in the middle of that."""

    def __len__(self) -> int:
        time.sleep(0.001)
        return super().__len__()


def fork() -> None:
    """Fork while one engine is stuck in a batch with a job waiting, and another is used by four threads."""
    stuck, busy = FakeBackend(), FakeBackend()
    engines = [Engine([stuck]), Engine([busy])]
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            result(engines[1].submit([_Slow(ids(1, 2)), _Slow(ids(3))]))

    threads = [threading.Thread(target=keep_busy, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    with held(engines[0], stuck):
        waiting = engines[0].submit([tokens(9)])
        for _ in range(10):
            if not (child := os.fork()):
                _be_child(engines, [stuck, busy])
            assert os.waitpid(child, 0)[1] == 0, "the child had no answer"
        assert not waiting.done()
    assert_array_equal(result(waiting), answers([tokens(9)]))
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    for engine in engines:
        _assert_serves(engine)


def _be_child(engines: list[Engine], backends: list[FakeBackend]) -> None:
    """Use the parent's engines and leave without a word: 0 says that all was well."""
    signal.alarm(int(PATIENCE_S))
    code = 1
    try:
        for engine, backend in zip(engines, backends, strict=True):
            backend.renew()
            backend.batches = []
            _assert_serves(engine)
            engine.close()
            assert backend.seen().keys() == {(4, 5), (6,)}
            assert len(backend.closed_by) == 1
        code = 0
    except BaseException:  # noqa: BLE001 - a child must not go on as if it were its parent
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    {scene.__name__: scene for scene in (end_while_busy, end_in_every_state, fork)}[sys.argv[1]]()
