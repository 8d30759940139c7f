"""How long rankers take, how much memory, and where that was."""

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import resift
import tiny
from judging import collection, noisy, numbers, perfect, quick
from resift.errors import ScoringFailed
from resift.evaluation import Collection, Evaluation, Listing, Run, evaluate, memory
from resift.evaluation import environment as machine
from resift.evaluation.memory import forget_peak, peak_bytes
from resift.testing import FakeRanker

# time


def test_latencies_are_of_queries_asked_one_by_one() -> None:
    """Each query is timed by itself, warm-up aside, and percentiles are times that were really taken."""
    ranker = perfect(delay_s=0.02)

    latency = quick(collection(), {"slow": ranker}, warm_up=2).collections["small"].rows["slow"].latency

    assert latency is not None
    assert len(ranker.asked) == 8
    assert (latency.queries, latency.concurrency, ranker.most_at_once) == (6, 1, 1)
    assert 0.02 <= latency.p50_s <= latency.p90_s <= latency.p99_s
    assert latency.wall_s >= 6 * 0.02
    assert latency.pairs_per_s == pytest.approx(72 / latency.wall_s)
    assert latency.tokens_per_s == pytest.approx(72 / latency.wall_s)  # the fake counts each text as one token


def test_several_may_ask_at_one_time() -> None:
    """`concurrency` is how many questions are under way, never more, and the answers are the same."""
    small, ranker = collection(queries=12), perfect(delay_s=0.05)

    evaluation = quick(small, {"perfect": ranker}, concurrency=4)

    latency = evaluation.collections["small"].rows["perfect"].latency
    assert latency is not None
    assert (latency.concurrency, latency.queries) == (4, 12)
    assert ranker.most_at_once == 4
    assert numbers(evaluation) == numbers(quick(small, {"perfect": perfect()}))


def test_what_is_not_timed_is_asked_together() -> None:
    """Without timing, a ranker gets all queries at once, with the same numbers and no latency."""
    small = collection()

    together = quick(small, {"a": noisy(1)}, timed=False)

    assert together.warnings == ()
    assert together.collections["small"].rows["a"].latency is None
    assert numbers(together) == numbers(quick(small, {"a": noisy(1)}))


def test_tokens_are_left_out_where_they_are_not_told() -> None:
    """A ranker that does not count tokens has no tokens per second."""
    row = quick(collection(), {"a": perfect(counts=None)}).collections["small"].rows["a"]

    assert row.latency is not None
    assert row.latency.tokens_per_s is None


def test_the_record_says_where_it_was_made() -> None:
    """Machine, versions, settings and what the contestants say of themselves are in the record."""
    with resift.load() as ranker:
        evaluation = quick(collection(), {"lexical": ranker})

    assert {"system", "python", "cores", "resift", "numpy"} <= evaluation.environment.keys()
    assert evaluation.protocol.measures[0] == "nDCG@10"
    assert evaluation.contestants["lexical"].kind == "LocalRanker"
    assert json.loads(evaluation.contestants["lexical"].identity or "")["model"] == "lexical"


def test_the_peak_of_memory_is_that_of_the_session() -> None:
    """What a ranker holds while it answers is seen, where the system tells; what was freed before is not."""
    if forget_peak().process_bytes is None:
        pytest.skip("this system does not tell the peak of a process's memory")
    large = np.ones(50_000_000)  # 400 MB
    del large
    forget_peak()
    before = peak_bytes()

    def score(query: str, text: str, instruction: str | None) -> float:
        return float(np.ones(12_500_000)[0])  # 100 MB

    row = quick(collection(1), {"large": FakeRanker(scorer=score)}).collections["small"].rows["large"]

    assert before is not None
    assert row.latency is not None
    assert row.latency.peak_bytes is not None
    assert 80e6 < row.latency.peak_bytes - before < 300e6


def test_a_system_that_tells_little_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without /proc, without git and without most packages, the record just says less."""
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "_FORGET", tmp_path / "none" / "none")
    monkeypatch.setattr(machine, "Path", lambda *parts: Path(tmp_path, *(str(part).strip("/") for part in parts)))
    monkeypatch.setattr(machine, "version", _no_version)
    machine.environment.cache_clear()
    try:
        found = machine.environment()
        row = quick(collection(1), {"a": perfect()}).collections["small"].rows["a"]
    finally:
        machine.environment.cache_clear()

    assert {"system", "python"} <= found.keys()
    assert not {"memory", "gpus", "commit", "numpy"} & found.keys()
    assert row.latency is not None
    assert row.latency.peak_bytes is None
    assert peak_bytes() is None


def _no_version(package: str) -> str:
    raise PackageNotFoundError(package)


@pytest.mark.parametrize("failure", [OSError("no"), subprocess.TimeoutExpired("git", 10)])
def test_a_git_that_fails_is_no_obstacle(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the commit cannot be known, it is left out."""

    def fail(*command: Any, **options: Any) -> None:
        raise failure

    monkeypatch.setattr(subprocess, "run", fail)
    machine.environment.cache_clear()
    try:
        assert "commit" not in machine.environment()
    finally:
        machine.environment.cache_clear()


# speed


def test_measuring_costs_little_beside_scoring() -> None:
    """Three runs of 300 queries with 100 documents each are measured, compared and rated in about a second."""
    chance = np.random.default_rng(0)
    grades = {f"q{query}": {f"d{at}": int(chance.integers(0, 2)) for at in range(120)} for query in range(300)}
    runs = {
        name: Run(
            name,
            {query: Listing.by_score([f"d{at}" for at in range(100)], chance.normal(size=100)) for query in grades},
        )
        for name in ("first", "a", "b", "c")
    }
    large = Collection("large", dict.fromkeys(grades, "text"), {}, grades, runs["first"])

    started = time.process_time()
    evaluate(large, {name: runs[name] for name in "abc"})

    assert time.process_time() - started < 5  # a fifth of a second in fact, on an idle machine


def test_rankers_are_asked_outside_of_event_loops_too() -> None:
    """An evaluation may be run in a thread beside an event loop."""

    async def go() -> Evaluation:
        return await asyncio.to_thread(quick, collection(), {"a": perfect()})

    assert asyncio.run(go()).contestants["a"].model == "perfect"


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Look for threads of an evaluation that outlive it."""
    yield
    assert [thread for thread in threading.enumerate() if thread.name.startswith("resift-evaluation")] == []


# rankers that are opened for their turn


def test_a_ranker_is_opened_for_its_turn_and_closed_after_it() -> None:
    """One contestant after the other is opened, asked about all collections, and closed."""
    events: list[str] = []

    def opener(name: str, seed: int) -> Callable[[], FakeRanker]:
        def opens() -> FakeRanker:
            events.append(f"open {name}")
            ranker = noisy(seed)
            vars(ranker)["close"] = lambda: events.append(f"close {name}")
            return ranker

        return opens

    two = [collection(name="one"), collection(name="two", seed=1)]
    evaluation = quick(two, {"a": opener("a", 1), "b": opener("b", 2)})

    assert events == ["open a", "close a", "open b", "close b"]
    assert numbers(evaluation) == numbers(quick(two, {"a": noisy(1), "b": noisy(2)}))
    assert evaluation.contestants["a"].model == "noisy 1"


def test_a_ranker_that_fails_is_closed_too() -> None:
    """What was opened for a turn is closed when the turn ends in an error; a caller's own ranker stays open."""
    closed: list[str] = []

    def broken(name: str) -> FakeRanker:
        ranker = FakeRanker(scorer=lambda *_: float("nan"))
        vars(ranker)["close"] = lambda: closed.append(name)
        return ranker

    for player in (lambda: broken("opened"), broken("mine")):
        with pytest.raises(ScoringFailed):
            quick(collection(), {"a": player})
    assert closed == ["opened"]


def test_where_a_model_runs_is_in_the_record(tmp_path: Path) -> None:
    """The backend, the device and the number format that were decided are told; nothing is "auto"."""
    model = tiny.build("bert-cross", tmp_path)
    with resift.load(model, device="cpu") as ranker:
        contestants = quick(collection(1), {"a": ranker, "b": resift.load()}).contestants

    assert contestants["a"].runs_on == "torch on cpu in float32"
    assert contestants["b"].runs_on is None


def test_without_a_gpu_nothing_is_said_of_its_memory() -> None:
    """Where no GPU is in use its memory is unknown, not 0."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, and others may use it")
    latency = quick(collection(1), {"a": perfect()}).collections["small"].rows["a"].latency

    assert latency is not None
    assert latency.peak_gpu_bytes is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_memory_of_gpus_is_measured() -> None:
    """The most that tensors took while queries were asked is in the record, and not what was taken before."""
    held = torch.zeros(1, device="cuda")
    torch.zeros(200_000_000, device="cuda", dtype=torch.uint8).sum()

    def score(query: str, text: str, instruction: str | None) -> float:
        return float(torch.zeros(50_000_000, device="cuda", dtype=torch.uint8).sum())

    latency = quick(collection(1), {"a": FakeRanker(scorer=score)}).collections["small"].rows["a"].latency

    assert latency is not None
    assert latency.peak_gpu_bytes is not None
    assert 50e6 <= latency.peak_gpu_bytes - held.nbytes < 150e6
