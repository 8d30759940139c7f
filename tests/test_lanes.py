"""Lanes: a batch that is dealt out reads as it does whole, and nobody else's threads notice."""

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import resift
import tiny
from resift.scoring.backends import Outputs
from resift.scoring.backends.torch import lanes
from resift.scoring.backends.torch.lanes import Lanes
from resift.scoring.planning import Batch, Tokens
from test_engine import PATIENCE_S

LIKE = {
    "qwen2": "mixedbread-ai/mxbai-rerank-base-v2",
    "qwen3": "Qwen/Qwen3-Reranker-0.6B",
    "gemma": "BAAI/bge-reranker-v2-gemma",
}
KINDS = ("bert-cross", "xlmr-cross", "deberta-cross", "modernbert-cross", "bert-embedding", *LIKE)
_dealt, _use = vars(lanes)["_dealt"], vars(lanes)["_use"]
EVEN = Batch([Tokens(np.full(20, number, dtype=np.int32)) for number in range(40)])


@st.composite
def _batches(draw: st.DrawFn) -> Batch:
    """Sequences of any lengths, some of which continue a prefix, and some of which are read at several places."""
    prefixes = [np.arange(length, dtype=np.int32) for length in draw(st.lists(st.integers(1, 30), max_size=3))]
    sequences, prefix_of = [], []
    for length in draw(st.lists(st.integers(1, 40), min_size=1, max_size=20)):
        places = draw(st.none() | st.lists(st.integers(0, length - 1), min_size=1, max_size=3))
        read = None if places is None else np.array(places, dtype=np.int32)
        sequences.append(Tokens(draw(st.integers(0, 1000)) + np.arange(length, dtype=np.int32), read=read))
        prefix_of.append(draw(st.none() | st.integers(0, len(prefixes) - 1)) if prefixes else None)
    return Batch(sequences, prefixes, prefix_of if prefixes else ())


def _read(batch: Batch) -> Outputs:
    """Return, for each place that is read, what tells it apart: its sequence, its prefix, and where it is."""
    rows = [
        (tokens.ids.sum(), batch.prefix(at).sum(), place)
        for at, tokens in enumerate(batch.sequences)
        for place in ([0] if tokens.read is None else tokens.read)
    ]
    return np.array(rows, dtype=np.float32)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let torch use so many threads, here and in threads that have yet to ask."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _many_processors() -> Iterator[None]:
    """Let this machine look like one with more processors than any test wants."""
    with pytest.MonkeyPatch.context() as here:
        here.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
        yield


@pytest.fixture
def two_threads() -> Iterator[None]:
    with _threads(2):
        yield


class _Watched:
    """Reads batches, and remembers who read what."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, Batch]] = []
        self._lanes = Lanes()

    def run(self, batch: Batch) -> None:
        assert_array_equal(self._lanes.run(self._read, batch), _read(batch))

    def close(self) -> None:
        self._lanes.close()

    def _read(self, batch: Batch) -> Outputs:
        self.seen.append((threading.get_ident(), torch.get_num_threads(), batch))
        time.sleep(0.01)  # or one lane might do the work of two
        return _read(batch)


# what is read


@given(batch=_batches(), number=st.integers(1, 5))
def test_a_batch_that_is_dealt_out_reads_as_one(batch: Batch, number: int) -> None:
    """Whatever the lengths, prefixes and places, each row is what it is in the whole batch, and where it is there."""
    dealing = Lanes()
    with _threads(number):
        assert_array_equal(dealing.run(_read, batch), _read(batch))
    dealing.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_may_be_run_by_several_threads_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model remembers of a pass, if anything, no other pass that is under way gets to see."""
    hands: list[list[list[int]]] = []

    def deal(batch: Batch, number: int) -> list[list[int]]:
        hands.append(_dealt(batch, number))
        return hands[-1]

    monkeypatch.setattr(lanes, "_dealt", deal)
    directory = tiny.build(kind, tmp_path)
    calls = [(f"{tiny.QUERY} {number}", tiny.DOCUMENTS[number::3]) for number in range(3)] * 8
    with resift.load(directory, like=LIKE.get(kind), device="cpu", normalize=False) as ranker:
        expected = [ranker.score(*call) for call in calls]
    with (
        _threads(4),
        resift.load(directory, like=LIKE.get(kind), device="cpu", normalize=False) as ranker,
        ThreadPoolExecutor(8) as pool,
    ):
        found = list(pool.map(lambda call: ranker.score(*call), calls))
    assert max(map(len, hands)) == 4

    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# who reads it


@pytest.mark.parametrize(
    ("threads", "lanes", "each"),
    [(2, 2, 1), (3, 3, 1), (8, 8, 1), (9, 8, 1), (10, 5, 2), (12, 6, 2), (15, 5, 3), (16, 8, 2), (20, 5, 4)],
)
def test_lanes_share_the_processors(threads: int, lanes: int, each: int) -> None:
    """There are up to eight lanes, as many as leave the fewest threads over, and they use no more than there were."""
    watched = _Watched()
    with _threads(threads):
        watched.run(EVEN)
    watched.close()

    assert len({who for who, _, _ in watched.seen}) == lanes
    assert {number for _, number, _ in watched.seen} == {each}
    assert max(len(batch.sequences) for _, _, batch in watched.seen) == -(-len(EVEN.sequences) // lanes)


def test_nobody_elses_threads_change(two_threads: None) -> None:
    """Who calls has as many threads for torch as before, and so has whoever begins later."""
    watched = _Watched()
    watched.run(EVEN)
    with ThreadPoolExecutor(1) as later:
        assert (torch.get_num_threads(), later.submit(torch.get_num_threads).result()) == (2, 2)
    watched.close()


def test_what_others_have_asked_for_since_holds(two_threads: None) -> None:
    """Lanes start late, and then leave the common number as somebody else has set it in the meantime."""
    with ThreadPoolExecutor(1) as somebody:
        somebody.submit(torch.set_num_threads, 3).result()
    watched = _Watched()
    watched.run(EVEN)
    watched.close()
    with ThreadPoolExecutor(1) as later:
        assert (torch.get_num_threads(), later.submit(torch.get_num_threads).result()) == (2, 3)


def test_lanes_that_start_at_once_hear_the_same_number(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that asks torch for the first time while others start does not take their number for its own."""
    starting, enough = threading.Event(), threading.Event()

    def use_slowly(number: int) -> None:
        _use(number)
        starting.set()
        enough.wait(PATIENCE_S)

    monkeypatch.setattr(lanes, "_use", use_slowly)
    one, other = _Watched(), _Watched()
    with ThreadPoolExecutor(2) as engines:
        first = engines.submit(one.run, EVEN)
        starting.wait(PATIENCE_S)
        second = engines.submit(other.run, EVEN)
        time.sleep(0.1)
        enough.set()
        first.result(PATIENCE_S)
        second.result(PATIENCE_S)
    one.close()
    other.close()

    assert len({who for who, _, _ in other.seen}) == 2


@pytest.mark.parametrize(
    "batch",
    [
        Batch([Tokens(np.arange(50, dtype=np.int32))]),
        Batch([Tokens(np.arange(length, dtype=np.int32)) for length in (50, 10, 9)]),
        Batch([Tokens(np.arange(5, dtype=np.int32))] * 4, [np.arange(60, dtype=np.int32)], [0] * 4),
    ],
    ids=["one sequence", "one long sequence", "a long prefix"],
)
def test_what_would_leave_lanes_idle_runs_whole(batch: Batch, two_threads: None) -> None:
    """A batch that cannot be dealt out evenly, or only by computing much twice, is run by all processors."""
    watched = _Watched()
    watched.run(batch)

    assert watched.seen == [(threading.get_ident(), 2, batch)]


def test_one_thread_makes_no_lanes() -> None:
    """Where torch may use one thread only, no other is started."""
    watched = _Watched()
    with _threads(1):
        watched.run(EVEN)

    assert watched.seen == [(threading.get_ident(), 1, EVEN)]


def test_a_prefix_is_paid_by_those_who_continue_it(two_threads: None) -> None:
    """A sequence without a prefix shares none, not even with a group that has the first one."""
    lengths = [60, *[10] * 6]
    batch = Batch(
        [Tokens(np.arange(length, dtype=np.int32)) for length in lengths],
        [np.arange(60, dtype=np.int32)],
        [None, *[0] * 6],
    )
    watched = _Watched()
    watched.run(batch)
    watched.close()

    assert sorted(part.tokens for _, _, part in watched.seen) == [60, 120]


# what goes wrong


def test_an_error_comes_when_all_lanes_have_finished(two_threads: None) -> None:
    """Whoever hears of a failure can rely on the other lanes not computing any more."""
    finished = []

    def read(batch: Batch) -> Outputs:
        if any(tokens.ids[0] == 0 for tokens in batch.sequences):
            raise ValueError("poisoned")
        time.sleep(0.1)
        finished.append(batch)
        return _read(batch)

    dealing = Lanes()
    with pytest.raises(ValueError, match="poisoned"):
        dealing.run(read, EVEN)
    assert len(finished) == 1
    dealing.close()


def test_an_error_keeps_no_memory(two_threads: None) -> None:
    """What a failed pass held is free as soon as its error is forgotten, without the help of the garbage collector."""
    held = []

    def read(_: Batch) -> Outputs:
        states = np.zeros(1)
        held.append(weakref.ref(states))
        raise MemoryError

    dealing = Lanes()
    gc.disable()
    try:
        with suppress(MemoryError):
            dealing.run(read, EVEN)
        assert len(held) == 2
        assert [states() for states in held] == [None, None]
    finally:
        gc.enable()
        dealing.close()


@pytest.mark.parametrize("most", [0, 1, 2])
def test_where_threads_cannot_start_a_batch_runs_whole(
    most: int, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system gives too few threads, those that there are end, and the caller's does the work."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def start_some(thread: threading.Thread) -> None:
        if len(started) == most:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    watched = _Watched()
    watched.run(EVEN)
    for thread in started:
        thread.join(PATIENCE_S)

    assert watched.seen == [(threading.get_ident(), 2, EVEN)]
    assert not any(thread.is_alive() for thread in started)


def test_a_lane_that_fails_to_start_holds_nobody_up(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller hears why, and others can start lanes of their own."""

    def fail(_: int) -> None:
        raise OSError("no")

    monkeypatch.setattr(lanes, "_use", fail)
    with pytest.raises(OSError, match="no"):
        Lanes().run(_read, EVEN)
    monkeypatch.setattr(lanes, "_use", _use)
    watched = _Watched()
    watched.run(EVEN)
    watched.close()

    assert len(watched.seen) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_lanes_of_its_own(two_threads: None) -> None:
    """The parent's threads are not there in a child, which starts its own."""
    dealing = Lanes()
    dealing.run(_read, EVEN)
    if not (child := os.fork()):
        signal.alarm(int(PATIENCE_S))
        os._exit(0 if np.array_equal(dealing.run(_read, EVEN), _read(EVEN)) else 1)

    assert os.waitpid(child, 0)[1] == 0
    dealing.close()
