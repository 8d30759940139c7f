"""Many requests at once: lazily, in order, in batches across queries, with a progress bar for people."""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from resift import LocalRanker, Ranking
from resift.errors import InvalidInput, ScoringFailed
from resift.scoring.backends import Outputs
from resift.scoring.backends.torch.running import TorchBackend
from resift.scoring.planning import Batch
from resift.types import Request

Requests = Any
Many = Callable[..., Generator[Ranking]]
SHORT = 64  # tokens in a batch: small, so that little work makes many batches
FEW = 40  # requests that fit what is read ahead at that size, with room to spare


def _rank_many(ranker: LocalRanker, requests: Requests, **options: Any) -> Generator[Ranking]:
    yield from ranker.rank_many(requests, **options)


def _arank_many(ranker: LocalRanker, requests: Requests, **options: Any) -> Generator[Ranking]:
    """Walk through the asynchronous rankings in a loop of their own, step by step."""

    async def step(rankings: AsyncIterator[Ranking]) -> Ranking | None:
        return await anext(rankings, None)

    with asyncio.Runner() as runner:
        rankings = ranker.arank_many(requests, **options)
        try:
            while (ranking := runner.run(step(rankings))) is not None:
                yield ranking
        finally:
            runner.run(_closed(rankings))


async def _closed(rankings: Any) -> None:
    await rankings.aclose()


@pytest.fixture(params=[_rank_many, _arank_many], ids=["rank_many", "arank_many"])
def many(request: pytest.FixtureRequest) -> Many:
    """Return one of the two ways to rank many requests."""
    way: Many = request.param
    return way


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("bert-cross", tmp_path_factory.mktemp("many") / "model")


@pytest.fixture(scope="module", params=["lexical", "cross-encoder"])
def ranker(request: pytest.FixtureRequest, model: Path) -> Iterator[LocalRanker]:
    with resift.load("lexical" if request.param == "lexical" else model, max_batch_tokens=SHORT) as ranker:
        yield ranker


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """Return every batch that is run from here on; each takes a moment, as a real one would."""
    seen: list[Batch] = []
    run = TorchBackend.run

    def slow(backend: TorchBackend, batch: Batch) -> Outputs:
        seen.append(batch)
        time.sleep(0.01)
        return run(backend, batch)

    monkeypatch.setattr(TorchBackend, "run", slow)
    return seen


def _request(number: int, *, documents: int = 1) -> tuple[str, list[str]]:
    return f"panda {number}", [f"panda {number} eats {at} bamboo" for at in range(documents)]


def _endless(asked: list[int], *, documents: int = 1) -> Iterator[tuple[str, list[str]]]:
    """Make requests without end, and note each that was asked for; give up where too many were."""
    for number in count():
        assert number < 5_000, "the requests are being read without end"
        asked.append(number)
        yield _request(number, documents=documents)


def _first(rankings: Generator[Ranking], number: int) -> list[Ranking]:
    """Take some rankings and leave the rest."""
    with closing(rankings):
        return list(islice(rankings, number))


# results


def test_rankings_are_those_of_one_by_one(ranker: LocalRanker, many: Many) -> None:
    """Every request gets the ranking that it would have got alone, in the order of the requests."""
    requests = [_request(number, documents=number % 5) for number in range(FEW)]

    rankings = list(many(ranker, requests, top_n=3, threshold=0.1))

    assert len(rankings) == FEW
    for (query, documents), ranking in zip(requests, rankings, strict=True):
        alone = ranker.rank(query, documents, top_n=3, threshold=0.1)
        assert {hit.index: hit.score for hit in ranking} == pytest.approx(
            {hit.index: hit.score for hit in alone}, abs=1e-5
        )
        assert all(hit.document is documents[hit.index] for hit in ranking)
        assert (ranking.model, ranking.usage) == (alone.model, alone.usage)


def test_no_requests_have_no_rankings(ranker: LocalRanker, many: Many) -> None:
    """Nothing asked, nothing answered."""
    assert list(many(ranker, [])) == []
    assert list(many(ranker, iter(()))) == []


def test_requests_without_documents_have_empty_rankings(ranker: LocalRanker, many: Many) -> None:
    """A request without documents has its empty ranking in its place."""
    rankings = list(many(ranker, [("panda", []), ("panda", ["panda"]), ("panda", iter(()))]))

    assert [len(ranking) for ranking in rankings] == [0, 1, 0]


def test_an_instruction_is_for_all(tmp_path: Path, many: Many) -> None:
    """An instruction goes with every request."""
    requests = [("panda", ["bamboo", "a bear"])] * 3
    with resift.load(tiny.build("bert-embedding", tmp_path)) as ranker:
        told = list(many(ranker, requests, instruction="find the food: "))
        expected = ranker.score("panda", ["bamboo", "a bear"], instruction="find the food: ")

    for ranking in told:
        assert {hit.index: hit.score for hit in ranking} == pytest.approx(dict(enumerate(expected)), abs=1e-5)


# laziness


def test_requests_are_read_as_they_are_needed(ranker: LocalRanker, many: Many) -> None:
    """Requests without end are no problem: they are read some way ahead of the rankings, and no further."""
    asked: list[int] = []

    rankings = _first(many(ranker, _endless(asked)), 60)

    assert len(rankings) == 60
    assert 60 <= len(asked) <= 60 + FEW


def test_nothing_is_read_before_the_first_ranking_is_wanted(ranker: LocalRanker) -> None:
    """Asking for rankings without looking at them reads no request."""
    asked: list[int] = []
    rankings = ranker.rank_many(_endless(asked))
    ranker.arank_many(_endless(asked))

    assert asked == []
    next(rankings)
    assert asked


def test_requests_without_documents_are_not_read_without_end(ranker: LocalRanker, many: Many) -> None:
    """Requests that cost nothing are answered as they come, too."""
    asked: list[int] = []

    rankings = _first(many(ranker, _endless(asked, documents=0)), 3)

    assert [len(ranking) for ranking in rankings] == [0, 0, 0]
    assert len(asked) < 1_000


# batches


def test_requests_share_batches(model: Path, many: Many, batches: list[Batch]) -> None:
    """Short requests run together: there are far fewer batches than requests."""
    with resift.load(model, max_batch_tokens=512) as ranker:
        rankings = list(many(ranker, [_request(number) for number in range(FEW * 2)]))

    assert len(rankings) == FEW * 2
    assert sum(len(batch.sequences) for batch in batches) == FEW * 2
    assert len(batches) <= FEW


def test_a_giant_request_waits_its_turn(model: Path, many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that alone is more than may wait is ranked as it would be alone, after those before it."""
    begun, run = threading.Event(), TorchBackend.run
    small, giant = ("panda", ["panda"]), ("panda", [f"panda {number}" for number in range(250)])

    def slow_at_first(backend: TorchBackend, batch: Batch) -> Outputs:
        time.sleep(0.0 if begun.is_set() else 0.5)
        begun.set()
        return run(backend, batch)

    def requests() -> Iterator[tuple[str, list[str]]]:
        yield small
        time.sleep(0.1)  # the model is at work on the first now, so that the second waits
        yield small
        yield giant

    with resift.load(model, max_batch_tokens=2) as ranker:
        monkeypatch.setattr(TorchBackend, "run", slow_at_first)
        rankings = list(many(ranker, requests()))

        assert [len(ranking) for ranking in rankings] == [1, 1, 250]
        assert len(ranker.rank(*giant)) == 250


# stopping early


def test_stopping_early_cancels_what_waits(model: Path, many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops after the first ranking pays for little more: what was read ahead is never run."""
    ran: list[int] = []
    ahead, goes_on, run = threading.Event(), threading.Event(), TorchBackend.run

    def gated(backend: TorchBackend, batch: Batch) -> Outputs:
        ran.append(len(batch.sequences))
        (ahead if len(ran) == 1 else goes_on).wait(10)
        return run(backend, batch)

    def reading() -> Iterator[Request]:
        for request in _endless(asked):
            if len(asked) > 4:
                ahead.set()
            yield request

    monkeypatch.setattr(TorchBackend, "run", gated)
    asked: list[int] = []
    with resift.load(model, max_batch_tokens=16) as ranker:
        _first(many(ranker, reading()), 1)
        goes_on.set()

    assert len(asked) > 4
    assert len(ran) <= 2


async def test_leaving_an_async_loop_early_cancels_what_waits(model: Path, batches: list[Batch]) -> None:
    """`aclosing` ends the work of an `async for` that was left."""
    asked: list[int] = []
    async with (
        resift.load(model, max_batch_tokens=16) as ranker,
        aclosing(ranker.arank_many(_endless(asked))) as rankings,  # type: ignore[type-var]
    ):
        async for ranking in rankings:
            assert len(ranking) == 1
            break

    assert sum(len(batch.sequences) for batch in batches) < len(asked)


# errors in their turn


class Unread(Exception):
    """What a caller's own source of requests may raise."""


def _breaking(at: int) -> Iterator[tuple[str, list[str]]]:
    for number in range(at):
        yield _request(number)
    raise Unread


def _with(number: int, request: Any) -> list[Any]:
    requests: list[Any] = [_request(at) for at in range(6)]
    requests[number] = request
    return requests


WRONG: dict[str, tuple[Callable[[], Requests], type[Exception], str | None]] = {
    "no pair": (lambda: _with(3, ("panda",)), InvalidInput, r"requests\[3\] must be a pair"),
    "nothing": (lambda: _with(3, None), InvalidInput, r"requests\[3\] must be a pair"),
    "blank query": (lambda: _with(3, (" ", ["panda"])), InvalidInput, "query is blank"),
    "one document": (lambda: _with(3, ("panda", "panda")), InvalidInput, "documents must be a list"),
    "no document": (lambda: _with(3, ("panda", ["a", None])), InvalidInput, r"documents\[1\]"),
    "broken source": (lambda: _breaking(3), Unread, None),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_error_comes_in_its_turn(ranker: LocalRanker, many: Many, kind: str) -> None:
    """A request that is wrong spoils none before it: their rankings come first, then its error."""
    make, error, message = WRONG[kind]
    with closing(many(ranker, make())) as rankings:
        for number in range(3):
            assert next(rankings)[0].document == _request(number)[1][0]
        with pytest.raises(error, match=message):
            next(rankings)


def test_a_failure_of_the_model_comes_in_its_turn(model: Path, many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that the model fails on spoils none before it."""
    run = TorchBackend.run

    def failing(backend: TorchBackend, batch: Batch) -> Outputs:
        if any(len(sequence) > 40 for sequence in batch.sequences):
            raise RuntimeError("too long for me")
        return run(backend, batch)

    monkeypatch.setattr(TorchBackend, "run", failing)
    with (
        resift.load(model, max_batch_tokens=SHORT) as ranker,
        closing(many(ranker, _with(3, ("panda", ["panda " * 60])))) as rankings,
    ):
        assert [len(next(rankings)) for _ in range(3)] == [1, 1, 1]
        with pytest.raises(ScoringFailed, match="too long for me"):
            next(rankings)
        assert len(ranker.rank("panda", ["panda"])) == 1


@pytest.mark.parametrize("options", [{"top_n": 0}, {"threshold": "x"}])
def test_a_wrong_option_is_refused_at_once(ranker: LocalRanker, options: dict[str, Any]) -> None:
    """What is wrong for all requests is said when asking, before any is read."""
    asked: list[int] = []

    with pytest.raises(InvalidInput):
        ranker.rank_many(_endless(asked), **options)
    with pytest.raises(InvalidInput):
        ranker.arank_many(_endless(asked), **options)
    assert asked == []


# progress


PROGRAM = """
import asyncio, resift
requests = [("panda", ["panda", "bear"])] * 3
ranker = resift.load()
assert len(list(ranker.rank_many(requests, progress={progress}))) == 3
assert len(list(ranker.rank_many(iter(requests), progress={progress}))) == 3
async def more():
    assert len([ranking async for ranking in ranker.arank_many(requests, progress={progress})]) == 3
asyncio.run(more())
"""


def _outputs(*, progress: bool, terminal: bool) -> tuple[str, str]:
    """Run the program in a Python of its own; return its stdout and stderr, a pseudo-terminal or a pipe."""
    command = [sys.executable, "-c", PROGRAM.format(progress=progress)]
    if not terminal:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout, done.stderr
    mine, its = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=its, text=True, env=environment) as process:
        os.close(its)
        said = b"".join(_read_all(mine))
        os.close(mine)
        assert process.stdout is not None
        printed = process.stdout.read()
    assert process.returncode == 0, said
    return printed, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())


def _read_all(terminal: int) -> Iterator[bytes]:
    try:
        while chunk := os.read(terminal, 4096):
            yield chunk
    except OSError:  # this is how Linux says that nobody holds the other end any more
        return


def test_people_see_a_bar() -> None:
    """At a terminal `progress=True` shows how many rankings are done, on stderr, and nothing on stdout."""
    printed, shown = _outputs(progress=True, terminal=True)

    assert printed == ""
    assert "ranking" in shown
    assert shown.count("3/3") >= 2
    assert "3/?" in shown  # of requests from a generator nobody knows the number


@pytest.mark.parametrize(("progress", "terminal"), [(True, False), (False, False), (False, True)])
def test_nobody_else_does(progress: bool, terminal: bool) -> None:  # noqa: FBT001 - two switches, as they are told
    """Without a terminal, or without being asked, nothing is shown at all."""
    assert _outputs(progress=progress, terminal=terminal) == ("", "")
