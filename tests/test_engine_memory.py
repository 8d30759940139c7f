"""Memory that does not suffice, and memory that is given back: what a device, an engine and a closed ranker hold."""

import asyncio
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import aclosing, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.testing import assert_array_equal
from tokenizers import Tokenizer

import resift
import tiny
from resift.errors import ScoringFailed
from resift.scoring.backends import Outputs
from resift.scoring.backends.torch.packing import Packed, Positions
from resift.scoring.backends.torch.running import TorchBackend
from resift.scoring.engine import Engine
from resift.scoring.families.embedding import EmbeddingModel
from resift.types import Request
from test_engine import PATIENCE_S, FakeBackend, answers, held, ids, result, running, tokens

QUERY = "what does a panda eat?"
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear", "pandas, pandas"]

LAYERS = 3
POISON = 666

# how torch says that something does not fit
FULL: dict[str, Callable[[], Exception]] = {
    "device": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "driver": lambda: RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cpu": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    "python": MemoryError,
}


class Memory:
    """A device's memory, counted in tokens: what lives is known by weak references alone."""

    def __init__(self, capacity: int, full: Callable[[], Exception] = FULL["device"]) -> None:
        self.capacity = capacity
        self._full = full
        self._taken: list[tuple[weakref.ref[torch.Tensor], int]] = []

    @property
    def live(self) -> int:
        self._taken = [(seen, size) for seen, size in self._taken if seen() is not None]
        return sum(size for _, size in self._taken)

    def take(self, values: torch.Tensor) -> torch.Tensor:
        if self.live + len(values) > self.capacity:
            raise self._full()
        taken = values.clone()
        self._taken.append((weakref.ref(taken), len(taken)))
        return taken


class Layers:
    """A body that needs two tensors of the size of the batch at a time, and gives back what it read."""

    padded = at_once = False
    vocabulary = 1000
    positions = Positions()

    def __init__(self, memory: Memory, *, alone: bool = False) -> None:
        self._memory = memory
        self.alone = alone
        self.passes: list[int] = []

    def __call__(self, packed: Packed, rows: torch.Tensor | None) -> torch.Tensor:
        self.passes.append(len(packed.ids))
        states = self._memory.take(packed.ids.double())
        for _ in range(LAYERS):
            states = self._memory.take(states)
        if POISON in packed.ids:
            raise ValueError("poisoned")
        return states


class Sums:
    """Reads of each sequence what a fake model answers."""

    def rows(self, packed: Packed) -> None:
        """Read all of them."""

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        return torch.stack([self._row(hidden[slice(*packed.segments.bounds[owner])]) for owner in packed.owners])

    def _row(self, states: torch.Tensor) -> torch.Tensor:
        places = torch.arange(1, len(states) + 1, dtype=states.dtype)
        return torch.tensor([states @ places % 65_521, states.sum() % 65_521, len(states)])


@contextmanager
def _serving(memory: Memory, *, limit: int = 64, alone: bool = False) -> Iterator[tuple[Engine, Layers]]:
    body = Layers(memory, alone=alone)
    engine = Engine([TorchBackend(body, Sums(), device=torch.device("cpu"), max_batch_tokens=limit)])
    try:
        yield engine, body
    finally:
        closer = threading.Thread(target=engine.close, daemon=True)
        closer.start()
        closer.join(PATIENCE_S)
        assert not closer.is_alive(), "the engine does not close"


def _failure(future: "Future[Outputs]") -> ScoringFailed:
    error = future.exception(PATIENCE_S)
    assert isinstance(error, ScoringFailed)
    return error


# what does not fit


@pytest.mark.parametrize("full", FULL)
@pytest.mark.parametrize("capacity", [2, 5, 31, 40, 64, 127])
def test_the_limit_ends_at_what_fits(capacity: int, full: str) -> None:
    """A pass that did not fit is gone before the next: the limit falls to what fits, and the job is answered."""
    memory = Memory(capacity, FULL[full])
    job = [tokens(number) for number in range(200)]
    with _serving(memory) as (engine, body):
        assert_array_equal(result(engine.submit(job)), answers(job))

        limit = engine.breath_tokens // 4
        assert 2 * limit <= capacity < 4 * limit
        assert len([size for size in body.passes if 2 * size > capacity]) <= 6
        assert_array_equal(result(engine.submit(job[:7])), answers(job[:7]))
    assert memory.live == 0


def test_a_device_that_runs_one_by_one_frees_each_pass() -> None:
    """A model that takes each sequence alone does not lose what fits to the passes before."""
    memory = Memory(20)
    job = [tokens(*range(number % 9 + 1)) for number in range(40)]
    with _serving(memory, alone=True) as (engine, _):
        assert_array_equal(result(engine.submit(job)), answers(job))

        assert engine.breath_tokens // 4 == 64
    assert memory.live == 0


def test_a_failure_for_want_of_memory_holds_none() -> None:
    """The error of a text that does not fit keeps nothing of the pass that failed, however long a caller keeps it."""
    memory = Memory(40)
    with _serving(memory) as (engine, _):
        kept = _failure(engine.submit([tokens(*range(21))]))

        assert "21 tokens" in str(kept)
        assert memory.live == 0
        job = [tokens(*range(20))]
        assert_array_equal(result(engine.submit(job)), answers(job))


def test_a_failure_of_the_model_holds_no_memory() -> None:
    """The error of a call that the model fails on keeps nothing of the passes that failed."""
    memory = Memory(1000)
    with _serving(memory) as (engine, _):
        kept = _failure(engine.submit([tokens(1, POISON), tokens(2)]))

        assert "poisoned" in str(kept)
        assert memory.live == 0


def test_a_failed_pass_leaves_room_for_those_after_it() -> None:
    """What shared a batch with a bad job finds all the memory that the bad pass had."""
    memory = Memory(60)
    neighbours = [[tokens(*range(5, 20))], [tokens(*range(13))]]
    with _serving(memory, limit=30) as (engine, _):
        for _ in range(3):
            jobs = [engine.submit(job) for job in ([tokens(1, POISON)], *neighbours)]
            assert "poisoned" in str(_failure(jobs[0]))
            for future, job in zip(jobs[1:], neighbours, strict=True):
                assert_array_equal(result(future), answers(job))

        assert engine.breath_tokens // 4 == 30
    assert memory.live == 0


# what the model does not know


@pytest.mark.parametrize("prefix", [(), (3, 5, 1000)])
def test_unknown_tokens_fail_their_call_alone(prefix: tuple[int, ...]) -> None:
    """Ids that the model has no row for fail the call that brought them, with both numbers; the others are answered."""
    bad = [tokens(7)] if prefix else [tokens(3, 1000), tokens(4)]
    with _serving(Memory(1000)) as (engine, body):
        futures = [engine.submit([tokens(999)]), engine.submit(bad, ids(*prefix)), engine.submit([tokens(5, 6)])]

        message = str(_failure(futures[1]))
        assert "id 1000" in message
        assert "1000 tokens" in message
        assert_array_equal(result(futures[0]), answers([tokens(999)]))
        assert_array_equal(result(futures[2]), answers([tokens(5, 6)]))
        assert_array_equal(result(engine.submit([tokens(8)])), answers([tokens(8)]))
    assert sum(body.passes) == 4, "unknown ids reached the model"


@pytest.mark.parametrize("kind", ["bert-cross", "deberta-cross"])
def test_a_tokenizer_of_another_model_is_noticed(kind: str, tmp_path: Path) -> None:
    """A tokenizer that knows more than its model is named when it says so, and the ranker goes on."""
    directory = tiny.build(kind, tmp_path)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.add_tokens([f"stranger{number}" for number in range(200)])
    tokenizer.save(str(directory / "tokenizer.json"))
    with resift.load(directory) as ranker:
        expected = ranker.score(QUERY, DOCUMENTS)
        with pytest.raises(ScoringFailed, match="do not belong together"):
            ranker.score(QUERY, [*DOCUMENTS, "stranger199"])

        assert ranker.score(QUERY, DOCUMENTS) == pytest.approx(expected, abs=1e-5)


# several devices


@pytest.mark.parametrize("sequences", [32, 40, 100])
def test_one_job_below_a_breath_is_spread_over_two_devices(sequences: int) -> None:
    """A job of more than one batch keeps two devices busy, although one of them could take it in a breath."""
    backends = FakeBackend(limit=64), FakeBackend(limit=64)
    job = [tokens(number, 1, 2, 3) for number in range(sequences)]
    with running(*backends) as engine:
        backends[1].entered = backends[0].entered
        for backend in backends:
            backend.gate.clear()
        assert sum(map(len, job)) < engine.breath_tokens
        future = engine.submit(job)
        for backend in backends:
            backend.wait_until_busy()
        for backend in backends:
            backend.gate.set()

        assert_array_equal(result(future), answers(job))
    shares = [sum(batch.tokens for batch in backend.batches) for backend in backends]
    assert sum(shares) == 4 * sequences
    assert min(shares) >= 4 * sequences // 4


def test_small_jobs_share_a_batch_beside_a_second_device() -> None:
    """A second device is no reason to take small jobs apart: what fits one batch runs as one."""
    backends = FakeBackend(limit=64), FakeBackend(limit=64)
    jobs = [[tokens(number)] for number in range(12)]
    with running(*backends) as engine:
        with held(engine, *backends):
            futures = [engine.submit(job) for job in jobs]
        for future, job in zip(futures, jobs, strict=True):
            assert_array_equal(result(future), answers(job))

    assert sum(len(backend.batches) for backend in backends) == 1


# what a closed ranker holds


def test_a_closed_ranker_holds_neither_tokenizer_nor_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed ranker may be kept for its name: the tokenizer and the vectors that it gathered are gone."""
    families: list[weakref.ref[Any]] = []
    begin = EmbeddingModel.__init__

    def seeing(family: EmbeddingModel, *arguments: Any, **options: Any) -> None:
        begin(family, *arguments, **options)
        families.extend(map(weakref.ref, (family, arguments[0])))

    monkeypatch.setattr(EmbeddingModel, "__init__", seeing)
    ranker = resift.load(tiny.build("bert-embedding", tmp_path))
    assert len(ranker.rank(QUERY, DOCUMENTS)) == 4
    assert all(seen() is not None for seen in families)
    ranker.close()

    assert [seen() for seen in families] == [None, None]
    assert ranker.model == str(tmp_path)


# requests that wait for rankings


@pytest.fixture(scope="module", params=["lexical"])
def name(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str | Path:
    if request.param == "lexical":
        return "lexical"
    return tiny.build("bert-cross", tmp_path_factory.mktemp("conversation"))


def _conversation(received: "queue.Queue[int]", turns: int) -> Iterator[Request]:
    """Ask for the next ranking only when the one before has been received."""
    for turn in range(turns):
        yield f"panda {turn}", DOCUMENTS
        assert received.get(timeout=2) == turn, "the next request is wanted before the ranking is handed out"


def test_a_source_may_wait_for_each_ranking(name: str | Path) -> None:
    """A finished ranking is handed out without waiting for another request, so a source may answer to rankings."""
    received: queue.Queue[int] = queue.Queue()
    with resift.load(name) as ranker, closing(ranker.rank_many(_conversation(received, 3))) as rankings:  # type: ignore[type-var]
        for turn in range(3):
            assert len(next(rankings)) == 4
            received.put(turn)
        assert next(rankings, None) is None


async def test_a_source_may_wait_for_each_ranking_of_an_event_loop(name: str | Path) -> None:
    """The same holds in an event loop."""
    received: queue.Queue[int] = queue.Queue()
    async with resift.load(name) as ranker:
        rankings = ranker.arank_many(_conversation(received, 3))
        for turn in range(3):
            assert len(await anext(rankings)) == 4
            received.put(turn)
        assert await anext(rankings, None) is None


async def test_a_source_that_kept_one_waiting_is_closed_later(name: str | Path) -> None:
    """Cancelling does not wait for a source that blocks; the source is closed as soon as it lets itself be."""
    reading, goes_on, closed = threading.Event(), threading.Event(), threading.Event()

    def requests() -> Iterator[Request]:
        try:
            reading.set()
            goes_on.wait(PATIENCE_S)
            yield QUERY, DOCUMENTS
            yield QUERY, DOCUMENTS
        finally:
            closed.set()

    async def walk(ranker: resift.LocalRanker) -> None:
        async with aclosing(ranker.arank_many(requests())) as rankings:  # type: ignore[type-var]
            async for _ in rankings:
                pass

    async with resift.load(name) as ranker:
        task = asyncio.create_task(walk(ranker))
        try:
            assert await asyncio.to_thread(reading.wait, PATIENCE_S)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=2)
            assert done, "cancelling waits for the source"
            assert task.cancelled()
            assert not closed.is_set()
        finally:
            goes_on.set()
        assert await asyncio.to_thread(closed.wait, 2), "the source was never closed"
