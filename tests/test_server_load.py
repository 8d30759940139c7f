"""A server under load: full, crowded, left by its clients, and as good as new afterwards."""

import asyncio
import gc
import json
import random
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from living import Reply, Wire, port_of, request, serve_here, until
from resift.errors import InvalidInput, ScoringFailed
from resift.server.admission import Admission
from resift.server.lanes import Lanes, body_bytes
from resift.server.leaving import unless_gone
from resift.server.reasons import Busy, Gone, Leaving, Loading
from resift.server.served import Served, open_served
from resift.server.settings import ServerSettings
from resift.testing import FakeRanker
from serving import Serving, failing, scripted, served

CALLERS, DOCUMENTS = 64, 200
WORDS = [f"word{at}" for at in range(500)]


def _body(documents: int, words: int) -> bytes:
    draw = random.Random(documents)  # noqa: S311 - texts, not keys
    texts = [" ".join(draw.choices(WORDS, k=words)) for _ in range(documents)]
    return json.dumps({"query": "word1 word2 word3", "documents": texts}).encode()


SMALL = _body(3, 10)


def _model(model: str | Path, **options: Any) -> Served:
    return open_served("model", lambda normalize: resift.open(model, normalize=normalize, **options))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny model with random weights."""
    return tiny.build("bert-cross", tmp_path_factory.mktemp("load"))


@pytest.fixture(params=["lexical", "bert-cross"])
def crowded(request: pytest.FixtureRequest, directory: Path) -> Iterator[Serving]:
    """Serve a real ranker: the built-in scorer, and a model behind an engine."""
    model = _model("lexical" if request.param == "lexical" else directory)
    with serve_here(model, max_requests=CALLERS * 2) as server:
        yield server
    for ranker in model.rankers.values():
        ranker.close()


def _ask(server: Serving, body: bytes) -> tuple[Reply, float]:
    started = time.monotonic()
    with Wire(port_of(server)) as wire:
        return wire.ask("/v1/rerank", body), time.monotonic() - started


class _Crowd:
    """Many requests, sent at once."""

    def __init__(self, server: Serving, body: bytes, callers: int = CALLERS) -> None:
        self.replies: list[tuple[Reply, float]] = []
        self._threads = [threading.Thread(target=self._ask, args=(server, body)) for _ in range(callers)]
        for thread in self._threads:
            thread.start()

    def _ask(self, server: Serving, body: bytes) -> None:
        self.replies.append(_ask(server, body))

    def all_replies(self) -> list[tuple[Reply, float]]:
        """Wait for every reply."""
        for thread in self._threads:
            thread.join(100)
        assert len(self.replies) == len(self._threads)
        return self.replies


def _scores(reply: Reply) -> dict[int, float]:
    return {hit["index"]: hit["relevance_score"] for hit in json.loads(reply[2])["results"]}


def _in_house(server: Serving, count: int) -> Callable[[], bool]:
    return lambda: server.house.admission.requests == count


# S32


def test_s32_a_full_house_refuses_with_a_time_to_come_back() -> None:
    """Beyond `max_requests` a request gets 429, Retry-After and a detail at once; the next one is answered again."""
    gate = threading.Event()
    with serve_here(scripted(gate=gate), max_requests=3) as server:
        crowd = _Crowd(server, SMALL, 3)
        until(_in_house(server, 3))
        status, headers, body = _ask(server, SMALL)[0]
        gate.set()

        assert status == 429
        assert int(headers["retry-after"]) >= 1
        assert "try again later" in json.loads(body)["detail"]
        assert [reply[0] for reply, _ in crowd.all_replies()] == [200] * 3
        assert _ask(server, SMALL)[0][0] == 200


def test_s32_a_full_queue_refuses_with_a_time_to_come_back(directory: Path) -> None:
    """What the engine does not take any more is 429 with Retry-After, too, and what it took is answered."""
    model = _model(directory, max_queue_tokens=1)
    replies: list[Reply] = []

    def refused() -> bool:
        replies.extend(reply for reply, _ in _Crowd(server, _body(DOCUMENTS, 20), 12).all_replies())
        return any(status == 429 for status, _, _ in replies)

    try:
        with serve_here(model) as server:
            until(refused)
    finally:
        for ranker in model.rankers.values():
            ranker.close()

    assert {status for status, _, _ in replies} == {200, 429}
    assert all(int(headers["retry-after"]) >= 1 for status, headers, _ in replies if status == 429)


def test_s32_before_the_models_and_at_the_end_nobody_is_let_in() -> None:
    """Without models, and once the end has begun, entering is refused with 503 and a time to come back."""
    ready = threading.Event()
    admission = Admission(ServerSettings(), ready)

    with pytest.raises(Loading) as loading, admission.enter():
        pass
    ready.set()
    with admission.enter():
        admission.drain()
    with pytest.raises(Leaving) as leaving, admission.enter():
        pass

    assert [error.value.status for error in (loading, leaving)] == [503, 503]
    assert all(int(error.value.headers["retry-after"]) >= 1 for error in (loading, leaving))
    assert leaving.value.headers["connection"] == "close"


def test_s32_the_time_to_come_back_follows_how_long_requests_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is refused by a slow server is told to wait longer, within reason."""
    ready = threading.Event()
    ready.set()
    admission = Admission(ServerSettings(max_requests=1), ready)
    clock = [0.0]
    monkeypatch.setattr("resift.server.admission.time.perf_counter", lambda: clock[0])

    def wait_after(seconds: float, times: int) -> int:
        for _ in range(times):
            with admission.enter():
                clock[0] += seconds
        with admission.enter(), pytest.raises(Busy) as busy, admission.enter():
            pass
        return int(busy.value.headers["retry-after"])

    assert wait_after(0.01, 10) == 1
    assert 5 < wait_after(10, 30) <= 10
    assert wait_after(1000, 100) == 30


# S33


def test_s33_a_crowd_is_answered(crowded: Serving) -> None:
    """64 callers with 200 documents each are all answered, within their time, and a small request among them soon."""
    body = _body(DOCUMENTS, 10)
    alone = _scores(_ask(crowded, body)[0])
    crowd = _Crowd(crowded, body)
    until(lambda: crowded.house.admission.requests)
    (status, _, _), small_s = _ask(crowded, SMALL)
    replies = crowd.all_replies()

    assert status == 200
    assert [reply[0] for reply, _ in replies] == [200] * CALLERS
    assert all(_scores(reply) == pytest.approx(alone, abs=1e-4) for reply, _ in replies[::8])
    assert small_s < max(seconds for _, seconds in replies)
    assert crowded.house.admission.requests == 0


def test_s33_some_are_refused_only_past_the_limit() -> None:
    """With fewer places than callers the others get 429 with Retry-After at once, and nobody gets anything else."""
    gate, places = threading.Event(), 40
    with serve_here(scripted(gate=gate), max_requests=places) as server:
        crowd = _Crowd(server, _body(DOCUMENTS, 10))
        until(lambda: len(crowd.replies) == CALLERS - places)
        gate.set()
        replies = [reply for reply, _ in crowd.all_replies()]

    assert [status for status, _, _ in replies] == [429] * (CALLERS - places) + [200] * places
    assert all("retry-after" in headers for status, headers, _ in replies if status == 429)


def test_s33_a_crowd_leaves_no_memory_behind() -> None:
    """The same crowd again and again needs no more memory than it did the first times."""
    with serve_here(served(resift.load("lexical"))) as server:
        body = _body(DOCUMENTS, 50)
        for _ in range(2):
            _Crowd(server, body, 32).all_replies()
        gc.collect()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(4):
            _Crowd(server, body, 32).all_replies()
        gc.collect()

        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before * 1.25 + 30_000  # KiB
        assert (server.house.admission.requests, server.house.admission.bytes) == (0, 0)


def test_s33_small_requests_pass_large_ones() -> None:
    """The work of small requests has threads of its own, so it ends while large work still waits."""
    done: list[int] = []

    async def work(size: int, seconds: float) -> None:
        body_bytes.set(size)
        await asyncio.to_thread(time.sleep, seconds)
        done.append(size)

    async def all_of_it() -> None:
        asyncio.get_running_loop().set_default_executor(Lanes())
        large = [asyncio.create_task(work(10**6, 0.2)) for _ in range(20)]
        await asyncio.sleep(0.05)
        await work(100, 0.01)
        await asyncio.gather(*large)

    asyncio.run(all_of_it())

    assert done.index(100) < 20 / 2
    assert len(done) == 21


def test_s33_replies_are_not_held_back() -> None:
    """A reply's body follows its head at once, not when the client has confirmed the head, a 25th of a second later."""
    took_s = []
    with serve_here(scripted()) as server, Wire(port_of(server)) as wire:
        for _ in range(100):
            started = time.monotonic()
            assert wire.ask("/v1/rerank", SMALL)[0] == 200
            took_s.append(time.monotonic() - started)

    assert sorted(took_s)[len(took_s) // 2] < 1 / 30


def test_s33_a_request_asks_a_ranker_nothing_that_is_dear() -> None:
    """What a ranker would have to work out about itself, such as its identity, is not asked for on every request."""

    class Dear(FakeRanker):
        @property
        def identity(self) -> str:
            asked.append("identity")
            return "dear"

        @identity.setter
        def identity(self, value: str) -> None:
            pass

    asked: list[str] = []
    with serve_here(Dear()) as server:
        assert _ask(server, SMALL)[0][0] == 200
        assert _ask(server, json.dumps({**json.loads(SMALL), "instruction": "read"}).encode())[0][0] == 200

    assert not asked


def test_s33_what_a_ranking_does_not_need_is_dropped_before_it() -> None:
    """JSON may be many times larger as objects than as bytes; of members that nobody reads nothing is kept."""
    body = b'{"query": "q", "documents": ["d"], "x": [' + b"[]," * 50_000 + b"[]]}"
    kept: list[int] = []

    def empty_lists() -> int:
        return sum(each == [] for each in gc.get_objects() if type(each) is list)

    def score(query: str, text: str, instruction: str | None) -> float:
        kept.append(empty_lists() - before)
        return 0.5

    before = empty_lists()

    with serve_here(scripted(score)) as server:
        assert _ask(server, body)[0][0] == 200

    assert kept[0] < 25_000


# S34


def test_s34_a_client_that_leaves_takes_its_work_along() -> None:
    """When the connection ends before the answer is there, the ranking is cancelled and the place is free."""
    ranker = scripted(delay_s=60)
    with serve_here(ranker) as server:
        with Wire(port_of(server)) as wire:
            wire.send(request("/v1/rerank", SMALL))
            until(lambda: ranker.at_once)
        until(lambda: ranker.cancelled)

        until(_in_house(server, 0))
        assert b'resift_refusals_total{reason="gone"} 1.0' in server.house.metrics.render()


def test_s34_a_hundred_that_leave_leave_nothing(directory: Path) -> None:
    """After a hundred clients that left in the middle nothing waits, and the next request is as fast as the first."""
    model = _model(directory)
    ranker: Any = model.rankers["own"]
    body = _body(DOCUMENTS, 30)
    draw = random.Random(0)  # noqa: S311 - moments, not keys
    try:
        with serve_here(model) as server:
            _ask(server, SMALL)
            alone = min(_ask(server, SMALL)[1] for _ in range(5))
            for _ in range(100):
                with Wire(port_of(server)) as wire:
                    wire.send(request("/v1/rerank", body))
                    time.sleep(draw.uniform(0, 0.03))
            until(lambda: server.house.admission.requests == 0 and not server.house.admission.bytes)
            (status, _, _), first_s = _ask(server, SMALL)
            until(lambda: not ranker.workload.waiting_tokens)
            after = min(_ask(server, SMALL)[1] for _ in range(5))
    finally:
        for each in model.rankers.values():
            each.close()

    assert status == 200
    assert first_s < 20
    assert after < alone * 5 + 0.5


def test_s34_a_client_that_leaves_while_sending_is_forgotten() -> None:
    """A connection that ends inside the body frees its bytes, and reaches no ranker."""
    ranker = scripted()
    with serve_here(ranker) as server:
        for _ in range(20):
            with Wire(port_of(server)) as wire:
                wire.send(request("/v1/rerank", SMALL)[:-5])
        until(lambda: server.house.admission.bytes == 0)
        assert _ask(server, SMALL)[0][0] == 200

    assert len(ranker.asked) == 1


def test_s34_who_stops_listening_but_stays_is_answered() -> None:
    """A request is not dropped while its client is there, however long it takes."""
    with serve_here(scripted(delay_s=1.5)) as server:
        assert _ask(server, SMALL)[0][0] == 200


async def _never() -> dict[str, Any]:
    await asyncio.sleep(3600)
    return {"type": "http.disconnect"}


async def test_s34_work_that_fails_says_so() -> None:
    """What the work raises is raised, and what it returns is returned, while the client is there."""

    async def fail() -> None:
        raise InvalidInput("broken")

    async def answer() -> int:
        return 7

    with pytest.raises(InvalidInput, match="broken"):
        await unless_gone(_never, fail())
    assert await unless_gone(_never, answer()) == 7


async def test_s34_work_that_cancels_itself_has_failed() -> None:
    """A ranking that something else has cancelled is a failure to be told, not the end of the connection."""

    async def cancel() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ScoringFailed, match="cancelled"):
        await unless_gone(_never, cancel())
    with serve_here(failing(asyncio.CancelledError())) as server:
        assert (await asyncio.to_thread(_ask, server, SMALL))[0][0] == 500


async def test_s34_cancelled_work_may_clean_up() -> None:
    """Work that is dropped has ended before the request has."""
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(True)

    async def leave() -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    with pytest.raises(Gone):
        await unless_gone(leave, work())
    assert cleaned
