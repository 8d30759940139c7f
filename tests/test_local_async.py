"""Asynchronous calls: the event loop stays free, what is cancelled is not run, and loops come and go."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resift
import tiny
from resift import LocalRanker
from resift.errors import ScoringFailed
from resift.scoring.backends import Outputs
from resift.scoring.backends.torch.running import TorchBackend
from resift.scoring.families.pair import PairCrossEncoder
from resift.scoring.planning import Batch

QUERY = "what does a panda eat?"
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear", "pandas, pandas"]
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("bert-cross", tmp_path_factory.mktemp("async") / "model")


@pytest.fixture(scope="module", params=["lexical", "cross-encoder"])
def name(request: pytest.FixtureRequest, model: Path) -> str | Path:
    return "lexical" if request.param == "lexical" else model


@dataclass
class Gate:
    """A door that work comes to and waits at."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    passed: list[int] = field(default_factory=list)
    """How much came through, each time."""

    def wait(self, amount: int) -> None:
        self.reached.set()
        self.opened.wait(PATIENCE_S)
        self.passed.append(amount)

    async def is_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, PATIENCE_S)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Return a gate in front of every batch."""
    gate, run = Gate(), TorchBackend.run

    def gated(backend: TorchBackend, batch: Batch) -> Outputs:
        gate.wait(len(batch.sequences))
        return run(backend, batch)

    monkeypatch.setattr(TorchBackend, "run", gated)
    yield gate
    gate.opened.set()


@pytest.fixture
def tokenising(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Return a gate in front of every call's tokenising."""
    gate, prepare = Gate(), PairCrossEncoder.prepare

    def gated(family: PairCrossEncoder, query: str, documents: Any, instruction: str | None) -> Any:
        gate.wait(len(documents))
        return prepare(family, query, documents, instruction)

    monkeypatch.setattr(PairCrossEncoder, "prepare", gated)
    yield gate
    gate.opened.set()


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# the event loop


async def _longest_gap(work: Coroutine[Any, Any, Any]) -> float:
    """Return for how long another task of this loop had to wait at most while the work was done."""
    gaps = [0.0]

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            gaps.append(time.perf_counter() - before)

    ticker = asyncio.create_task(tick())
    await work
    await _cancelled(ticker)
    assert len(gaps) > 10
    return max(gaps)


async def test_the_event_loop_stays_free(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While long work is tokenised and run, other tasks of the loop go on."""

    def slow(backend: TorchBackend, batch: Batch) -> Outputs:
        time.sleep(0.005)
        return np.zeros((len(batch.sequences), 1), dtype=np.float32)

    monkeypatch.setattr(TorchBackend, "run", slow)
    documents = [f"{number} " + "the giant panda eats bamboo " * 100 for number in range(2_000)]
    gaps: list[float] = []
    async with resift.load(model, max_batch_tokens=16384) as ranker:
        # A busy machine may stop the whole process for a while, but not three times in a row.
        while len(gaps) < 3 and min(gaps, default=1.0) >= 0.25:
            gaps.append(await _longest_gap(ranker.arank(QUERY, documents)))

    assert min(gaps) < 0.25


async def test_closing_leaves_the_event_loop_free(model: Path, running: Gate) -> None:
    """`aclose` waits for what was accepted without blocking the loop that it is awaited in."""
    ranker = resift.load(model)
    scores = asyncio.create_task(ranker.ascore(QUERY, DOCUMENTS))
    await running.is_reached()
    closing = asyncio.create_task(ranker.aclose())
    await asyncio.sleep(0.05)

    assert not closing.done()
    running.opened.set()
    assert len(await scores) == 4
    await closing
    with pytest.raises(ScoringFailed):
        await ranker.ascore(QUERY, DOCUMENTS)


# cancelling


async def test_a_cancelled_call_is_not_run(model: Path, running: Gate) -> None:
    """A call that is cancelled while it waits costs nothing, and takes nothing from the others."""
    async with resift.load(model, max_batch_tokens=64) as ranker:
        first = asyncio.create_task(ranker.arank(QUERY, DOCUMENTS[:1]))
        await running.is_reached()
        second = asyncio.create_task(ranker.arank(QUERY, [f"panda {number}" for number in range(50)]))
        await asyncio.sleep(0.2)
        await _cancelled(second)
        running.opened.set()

        assert len(await first) == 1

    assert sum(running.passed) == 1


async def test_a_call_cancelled_on_the_way_runs_no_further(model: Path, running: Gate) -> None:
    """A call that is cancelled while a part of it runs ends with that part, and the ranker goes on."""
    async with resift.load(model, max_batch_tokens=64) as ranker:
        task = asyncio.create_task(ranker.arank(QUERY, [f"panda {number} " * 20 for number in range(20)]))
        await running.is_reached()
        await _cancelled(task)
        running.opened.set()

        assert len(await ranker.ascore(QUERY, DOCUMENTS)) == 4

    assert sum(running.passed) == 1 + 4


async def test_a_call_cancelled_while_tokenising_is_not_run(model: Path, tokenising: Gate, running: Gate) -> None:
    """A call that is cancelled before its texts are read leaves no work behind for the model."""
    for gate in (tokenising, running):
        gate.opened.set()
    async with resift.load(model) as ranker:  # which tokenises a sample
        tokenising.reached.clear()
        tokenising.opened.clear()
        task = asyncio.create_task(ranker.arank(QUERY, DOCUMENTS))
        await tokenising.is_reached()
        await _cancelled(task)
        tokenising.opened.set()
        await asyncio.sleep(0.2)

    assert running.passed == []


async def test_a_timeout_ends_the_wait(model: Path, running: Gate) -> None:
    """`asyncio.timeout` ends a call on time, however busy the model is."""
    async with resift.load(model) as ranker:
        start = time.perf_counter()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ranker.ascore(QUERY, DOCUMENTS)

        assert time.perf_counter() - start < PATIENCE_S / 2
        running.opened.set()
        assert len(await ranker.ascore(QUERY, DOCUMENTS)) == 4


async def test_a_cancelled_stream_cancels_what_waits(model: Path, running: Gate) -> None:
    """Cancelling whoever walks through many rankings cancels the work that was read ahead."""
    requests = [(QUERY, [f"panda {number}"]) for number in range(30)]

    async def walk(ranker: LocalRanker) -> int:
        return len([ranking async for ranking in ranker.arank_many(requests)])

    async with resift.load(model, max_batch_tokens=16) as ranker:
        task = asyncio.create_task(walk(ranker))
        await running.is_reached()
        await asyncio.sleep(0.1)
        await _cancelled(task)
        running.opened.set()

    assert sum(running.passed) <= 2


@pytest.mark.parametrize("ready", [0, 3])
async def test_a_stream_is_cancelled_while_requests_are_read(name: str | Path, ready: int) -> None:
    """Cancelling is answered by CancelledError, also while the caller's source of requests keeps one waiting."""
    reading, goes_on = threading.Event(), threading.Event()

    def requests() -> Iterator[tuple[str, list[str]]]:
        for _ in range(ready):
            yield QUERY, DOCUMENTS
        reading.set()
        goes_on.wait(PATIENCE_S)
        yield QUERY, DOCUMENTS

    async def walk(ranker: LocalRanker) -> int:
        return len([ranking async for ranking in ranker.arank_many(requests())])

    async with resift.load(name) as ranker:
        task = asyncio.create_task(walk(ranker))
        try:
            assert await asyncio.to_thread(reading.wait, PATIENCE_S)
            await _cancelled(task)
        finally:
            goes_on.set()

        assert len(await ranker.ascore(QUERY, DOCUMENTS)) == 4


# many loops, many calls


def test_event_loops_come_and_go(name: str | Path) -> None:
    """One ranker serves one event loop after another, and a thread without any in between."""
    with resift.load(name) as ranker:
        expected = ranker.score(QUERY, DOCUMENTS)
        for _ in range(3):
            scores = asyncio.run(ranker.ascore(QUERY, DOCUMENTS))

            assert scores == pytest.approx(expected, abs=1e-5)
            assert ranker.score(QUERY, DOCUMENTS) == pytest.approx(expected, abs=1e-5)


def test_event_loops_at_once(name: str | Path) -> None:
    """One ranker serves event loops in several threads at the same time."""
    results: list[list[float]] = []

    def loop(ranker: LocalRanker) -> None:
        async def several() -> list[list[float]]:
            return await asyncio.gather(*(ranker.ascore(QUERY, DOCUMENTS) for _ in range(10)))

        results.extend(asyncio.run(several()))

    with resift.load(name) as ranker:
        expected = ranker.score(QUERY, DOCUMENTS)
        threads = [threading.Thread(target=loop, args=(ranker,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert len(results) == 40
    assert all(scores == pytest.approx(expected, abs=1e-5) for scores in results)


def test_a_loop_that_ends_leaves_the_ranker_usable(model: Path, running: Gate) -> None:
    """A loop that ends with calls unanswered does no harm to those who ask later."""

    async def leave() -> None:
        abandoned = asyncio.create_task(ranker.ascore(QUERY, DOCUMENTS))
        await running.is_reached()
        assert not abandoned.done()

    with resift.load(model) as ranker:
        asyncio.run(leave())
        running.opened.set()

        assert len(ranker.score(QUERY, DOCUMENTS)) == 4


async def test_two_hundred_calls_at_once_have_the_scores_of_one_by_one(name: str | Path) -> None:
    """A call's scores do not depend on the calls that it shares the model with, and none gets another's."""
    calls = [(f"panda {number}", [f"{text} {number}" for text in tiny.DOCUMENTS[2:6]]) for number in range(200)]
    async with resift.load(name) as ranker:
        together = await asyncio.gather(*(ranker.arank(query, documents) for query, documents in calls))
        for (query, documents), ranking in zip(calls, together, strict=True):
            scores = ranker.score(query, documents)

            assert {hit.index: hit.score for hit in ranking} == pytest.approx(dict(enumerate(scores)), abs=1e-5)
            assert all(hit.document is documents[hit.index] for hit in ranking)


USES: dict[str, Callable[[LocalRanker], Any]] = {
    "ascore": lambda ranker: ranker.ascore(QUERY, [None]),  # type: ignore[list-item]
    "arank": lambda ranker: ranker.arank(QUERY, [None]),  # type: ignore[list-item]
    "top_n": lambda ranker: ranker.arank(QUERY, DOCUMENTS, top_n=0),
}


@pytest.mark.parametrize("use", USES)
async def test_errors_wait_to_be_awaited(name: str | Path, use: str) -> None:
    """A wrong argument is told where the call is awaited, as Python's own coroutines do."""
    async with resift.load(name) as ranker:
        call = USES[use](ranker)
        with pytest.raises(resift.InvalidInput):
            await call
