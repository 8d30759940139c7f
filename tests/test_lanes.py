"""Lanes: a batch that is dealt out reads as it does whole, and nobody else's threads notice."""

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
from resift.scoring.backends.torch.lanes import Lanes
from resift.scoring.planning import Batch, Tokens
from test_engine import PATIENCE_S

LIKE = {"qwen2": "mixedbread-ai/mxbai-rerank-base-v2", "qwen3": "Qwen/Qwen3-Reranker-0.6B"}
KINDS = ("bert-cross", "xlmr-cross", "qwen2", "qwen3", "deberta-cross", "modernbert-cross", "bert-embedding")
EVEN = Batch([Tokens(np.full(20, number, dtype=np.int32)) for number in range(8)])


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


@pytest.fixture
def two_threads() -> Iterator[None]:
    with _threads(2):
        yield


class _Watched:
    """Reads batches, and remembers who read what."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, Batch]] = []
        self.lanes = Lanes(self.read)

    def read(self, batch: Batch) -> Outputs:
        self.seen.append((threading.get_ident(), torch.get_num_threads(), batch))
        time.sleep(0.01)  # or one lane might do the work of two
        return _read(batch)


# what is read


@given(batch=_batches(), lanes=st.integers(1, 5))
def test_a_batch_that_is_dealt_out_reads_as_one(batch: Batch, lanes: int) -> None:
    """Whatever the lengths, prefixes and places, each row is what it is in the whole batch, and where it is there."""
    dealing = Lanes(_read)
    with _threads(lanes):
        assert_array_equal(dealing.run(batch), _read(batch))
    dealing.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_may_be_run_by_several_threads_at_once(kind: str, tmp_path: Path) -> None:
    """What a model remembers of a pass, if anything, no other pass that is under way gets to see."""
    directory = tiny.build(kind, tmp_path)
    calls = [(f"{tiny.QUERY} {number}", tiny.DOCUMENTS[number::3]) for number in range(3)] * 8
    with resift.load(directory, like=LIKE.get(kind), device="cpu", normalize=False) as ranker:
        expected = [ranker.score(*call) for call in calls]
    with _threads(4), resift.load(directory, like=LIKE.get(kind), device="cpu", normalize=False) as ranker:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda call: ranker.score(*call), calls))
        assert any(thread.name.startswith("resift-lane") for thread in threading.enumerate())

    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# who reads it


@pytest.mark.parametrize(("threads", "lanes", "each"), [(2, 2, 1), (3, 3, 1), (8, 8, 1), (16, 8, 2), (20, 8, 2)])
def test_lanes_share_the_processors(threads: int, lanes: int, each: int) -> None:
    """There are as many lanes as threads, up to eight, and together they use no more threads than there were."""
    watched = _Watched()
    with _threads(threads):
        watched.lanes.run(EVEN)
    watched.lanes.close()

    assert len({who for who, _, _ in watched.seen}) == lanes
    assert {number for _, number, _ in watched.seen} == {each}
    assert sorted(len(batch.sequences) for _, _, batch in watched.seen)[-1] == -(-len(EVEN.sequences) // lanes)


def test_nobody_elses_threads_change(two_threads: None) -> None:
    """Who calls has as many threads for torch as before, and so has whoever begins later."""
    watched = _Watched()
    watched.lanes.run(EVEN)
    with ThreadPoolExecutor(1) as later:
        assert (torch.get_num_threads(), later.submit(torch.get_num_threads).result()) == (2, 2)
    watched.lanes.close()


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
    """A batch that cannot be dealt out evenly, or only by computing much twice, is run by its thread with all others."""
    watched = _Watched()
    watched.lanes.run(batch)

    assert watched.seen == [(threading.get_ident(), 2, batch)]


def test_one_thread_makes_no_lanes() -> None:
    """Where torch may use one thread only, no other is started."""
    watched = _Watched()
    with _threads(1):
        watched.lanes.run(EVEN)

    assert watched.seen == [(threading.get_ident(), 1, EVEN)]


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

    lanes = Lanes(read)
    with pytest.raises(ValueError, match="poisoned"):
        lanes.run(EVEN)
    assert len(finished) == 1
    lanes.close()


def test_an_error_keeps_no_memory(two_threads: None) -> None:
    """What a failed pass held is free as soon as its error is forgotten, without the help of the garbage collector."""
    held = []

    def read(_: Batch) -> Outputs:
        states = np.zeros(1)
        held.append(weakref.ref(states))
        raise MemoryError

    lanes = Lanes(read)
    gc.disable()
    try:
        try:
            lanes.run(EVEN)
        except MemoryError:
            pass
        assert len(held) == 2
        assert [states() for states in held] == [None, None]
    finally:
        gc.enable()
        lanes.close()


def test_no_thread_waits_where_others_cannot_start(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives too few threads, those that there are end, and the error is the system's."""
    started, start = [], threading.Thread.start

    def start_one(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(RuntimeError, match="can't start"):
        Lanes(_read).run(EVEN)
    started[0].join(PATIENCE_S)

    assert not started[0].is_alive()
    assert torch.get_num_threads() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_lanes_of_its_own(two_threads: None) -> None:
    """The parent's threads are not there in a child, which starts its own."""
    lanes = Lanes(_read)
    lanes.run(EVEN)
    if not (child := os.fork()):
        signal.alarm(int(PATIENCE_S))
        os._exit(0 if np.array_equal(lanes.run(EVEN), _read(EVEN)) else 1)

    assert os.waitpid(child, 0)[1] == 0
    lanes.close()
