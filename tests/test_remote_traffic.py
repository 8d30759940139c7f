"""A client in traffic: it leaves an endpoint alone that asks for rest, and does not mind connections that end."""

import asyncio
import copy
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import httpx2
import pytest

import resift
from resift.errors import EndpointRefused, EndpointUnavailable
from resift.remote import exchange
from resift.remote.limiter import Limiter
from resift.remote.refusals import read_refusal
from resift.remote.retrying import LONGEST_PAUSE_S, Outcome
from resift.remote.transport import open_transport
from scripted_server import Act, Request, ScriptedServer, after, drop, error, reply, rerank, reset

QUERY = "what do pandas eat?"
DOCUMENTS = ["1 Paris", "3 bamboo"]
SCORES = [1.0, 3.0]


# C23, C31: an endpoint that asks to be left alone is left alone by everybody


def _rate_limited(most: int, window_s: float) -> Callable[[Request], Act]:
    """Answer so many requests in each span of time, and tell the others when the next one begins."""
    begun = [0.0, 0.0]

    def answer(request: Request) -> Act:
        if request.at - begun[0] > window_s:
            begun[:] = [request.at, 0]
        begun[1] += 1
        left_ms = (begun[0] + window_s - request.at) * 1000 + 5
        return rerank() if begun[1] <= most else error("slow", status=429, headers={"retry-after-ms": f"{left_ms:.0f}"})

    return answer


def test_c23_c31_a_rate_limit_is_kept_to_and_not_run_into() -> None:
    """Many calls to an endpoint that takes a few at a time are all answered, and few requests are in vain."""
    calls = 40
    # a window much shorter than this is missed by a busy machine, and a call then hears of the next one
    with ScriptedServer(_rate_limited(5, 0.5)) as server, resift.connect(server.url, max_retries=20) as ranker:
        assert len(list(ranker.rank_many([(QUERY, DOCUMENTS)] * calls))) == calls
        assert len(server.requests) < 3 * calls
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(lambda _: ranker.score(QUERY, DOCUMENTS), range(calls))) == [SCORES] * calls
        assert len(server.requests) < 6 * calls


@pytest.mark.parametrize("status", [429, 503])
def test_c23_no_other_call_is_sent_while_the_endpoint_rests(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that comes later waits as long as the one that was told to."""
    told = threading.Event()
    monkeypatch.setattr(exchange.logger, "info", lambda *_: told.set())
    busy = error("later", status=status, headers={"retry-after-ms": "600"})
    with (
        ScriptedServer([busy, rerank()]) as server,
        resift.connect(server.url) as ranker,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(ranker.score, QUERY, DOCUMENTS)
        assert told.wait(10)
        second = pool.submit(ranker.score, QUERY, DOCUMENTS)
        assert first.result(20) == second.result(20) == SCORES
    assert all(request.at - server.requests[0].at >= 0.6 for request in server.requests[1:])


def test_c23_who_cannot_wait_that_long_asks_all_the_same() -> None:
    """A call whose time ends before the rest does gets the endpoint's own words instead of silence."""
    with ScriptedServer([error("tomorrow", status=429, headers={"retry-after": "9999"})]) as server:
        with resift.connect(server.url, timeout_s=5) as ranker:
            began = time.monotonic()
            for _ in range(2):
                with pytest.raises(EndpointUnavailable, match="tomorrow"):
                    ranker.score(QUERY, DOCUMENTS)
            assert time.monotonic() - began < 3
        assert len(server.requests) == 2


async def test_c31_a_rest_can_be_given_up_and_made_longer() -> None:
    """Whoever rests keeps nobody's turn, and may stop; who was told twice waits for the later time."""
    limiter = Limiter(1)
    limiter.rest(30)

    async def enter(deadline: float) -> float:
        async with limiter.slot(deadline=deadline):
            return time.monotonic()

    resting = asyncio.create_task(enter(time.monotonic() + 60))
    await asyncio.sleep(0.02)
    async with asyncio.timeout(5), limiter.slot(deadline=time.monotonic() + 10):
        assert not resting.done()
    resting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await resting

    limiter, began = Limiter(1), time.monotonic()
    limiter.rest(0.1)
    resting = asyncio.create_task(enter(began + 60))
    await asyncio.sleep(0.02)
    limiter.rest(0.2)
    limiter.rest(0.05)
    assert await resting - began >= 0.2


async def test_c31_who_tries_again_goes_first() -> None:
    """A request that was refused has waited before, so that newcomers do not use up its next chance."""
    order: list[str] = []
    limiter = Limiter(1)

    async def enter(name: str, *, again: bool = False) -> None:
        async with limiter.slot(again=again):
            order.append(name)

    async with asyncio.TaskGroup() as group, limiter.slot():
        for name in ("first", "second", "refused"):
            group.create_task(enter(name, again=name == "refused"))
        await asyncio.sleep(0.01)
        assert order == []
    assert order == ["refused", "first", "second"]


@pytest.mark.parametrize(
    ("outcome", "rest_s"),
    [
        (Outcome(429, 2.0), 2.0),
        (Outcome(503, 1e9), LONGEST_PAUSE_S),
        (Outcome(503), 0.0),
        (Outcome(500, 5.0), 0.0),
        (Outcome(400, 5.0), 0.0),
        (Outcome(None), 0.0),
    ],
)
def test_c23_only_an_endpoint_that_is_busy_is_left_alone(outcome: Outcome, rest_s: float) -> None:
    """What was wrong with one request is no reason for the others to wait, and nobody waits for ever."""
    assert outcome.rest_s == rest_s


# C26, C28: connections and retries


@pytest.mark.parametrize("library", [None, httpx2, httpx])
@pytest.mark.parametrize("act", [drop, reset])
def test_c26_a_kept_connection_that_has_ended_costs_no_retry(
    act: Act, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that found its connection closed goes at once over another, even where nothing is to be retried."""
    monkeypatch.setattr(exchange, "pause", lambda *_, **__: pytest.fail("nobody has to wait"))
    client = library.Client() if library else None
    with (
        ScriptedServer([rerank(), act, rerank()]) as server,
        resift.connect(server.url, max_retries=0, http_client=client) as ranker,
    ):
        assert ranker.score(QUERY, DOCUMENTS) == ranker.score(QUERY, DOCUMENTS) == SCORES
        assert server.opened == 2
    if client is not None:
        client.close()


@pytest.mark.parametrize("act", [drop, reset])
def test_c26_a_new_connection_that_ends_is_a_failure(act: Act) -> None:
    """Only a connection that was kept may have ended by itself; and it is replaced once."""
    with ScriptedServer([act]) as server, resift.connect(server.url, max_retries=0) as ranker:
        with pytest.raises(EndpointUnavailable, match="before it replied"):
            ranker.score(QUERY, DOCUMENTS)
        assert len(server.requests) == 1
    with ScriptedServer([rerank(), act]) as server, resift.connect(server.url, max_retries=0) as ranker:
        assert ranker.score(QUERY, DOCUMENTS) == SCORES
        with pytest.raises(EndpointUnavailable, match="before it replied"):
            ranker.score(QUERY, DOCUMENTS)
        assert len(server.requests) == 3


def test_c26_a_refused_connection_is_tried_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that is not there may be starting: the request is tried again as often as allowed."""
    monkeypatch.setattr(exchange, "random", lambda: 0.0)
    caplog.set_level("INFO", logger="resift")
    with resift.connect("http://127.0.0.1:1", max_retries=3) as ranker, pytest.raises(EndpointUnavailable):
        ranker.score(QUERY, DOCUMENTS)
    assert len([record for record in caplog.records if "trying again" in record.getMessage()]) == 3


def test_c28_a_retry_that_was_not_made_is_not_paid_for() -> None:
    """Calls that are cancelled while they wait to try again leave the others their retries."""

    async def cancel_many(ranker: resift.RemoteRanker, server: ScriptedServer) -> None:
        calls = [asyncio.create_task(ranker.ascore(QUERY, DOCUMENTS)) for _ in range(8)]
        assert await asyncio.to_thread(server.wait_for, lambda it: len(it.requests) == 8 and it.busy == 0)
        await asyncio.sleep(0.1)  # until all wait for their second try
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)

    with ScriptedServer([error("down", status=503)]) as server, resift.connect(server.url) as ranker:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exchange, "random", lambda: 0.999)
            for _ in range(3):
                server.requests.clear()
                asyncio.run(cancel_many(ranker, server))
        budget = ranker._line.budget  # noqa: SLF001 - the same
        deadline = time.monotonic() + 5
        while budget._tokens < 10 and time.monotonic() < deadline:  # noqa: SLF001 - the same
            time.sleep(0.01)
        assert all(budget.spend() for _ in range(10))


def test_c28_one_round_of_requests_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more requests are allowed at one time, as many may be refused and answered later."""
    monkeypatch.setattr(exchange, "random", lambda: 0.0)
    refused = threading.Semaphore(24)

    def answer(_: Request) -> Act:
        return after(0.3, error("down", status=503)) if refused.acquire(blocking=False) else rerank()

    with ScriptedServer(answer) as server, resift.connect(server.url, max_concurrency=24) as ranker:
        assert len(list(ranker.rank_many([(QUERY, DOCUMENTS)] * 24))) == 24


# the caller's event loop, and many texts


async def test_the_first_call_does_not_stop_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a client takes a while, because authorities are read; that happens in another thread."""
    opening: list[threading.Thread] = []
    real = open_transport

    def note(*arguments: Any) -> Any:
        opening.append(threading.current_thread())
        return real(*arguments)

    monkeypatch.setattr(exchange, "open_transport", note)
    with ScriptedServer() as server:
        async with resift.connect(server.url) as ranker:
            assert await ranker.ascore(QUERY, DOCUMENTS) == SCORES
    assert len(opening) == 1
    assert opening[0] is not threading.current_thread()


def test_c20_only_what_a_request_carried_is_looked_for_in_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of one part of a large call is read against that part's texts, and not against megabytes of others."""
    looked_for: list[int] = []
    real = read_refusal

    def note(*arguments: Any, texts: list[str], **options: Any) -> Any:
        looked_for.append(len(texts))
        return real(*arguments, texts=texts, **options)

    monkeypatch.setattr(exchange, "read_refusal", note)
    documents = [f"{at} some document that is long enough" for at in range(40)]
    refusal = error("bad: 39 some document that is long enough", status=400)

    def answer(request: Request) -> Act:
        return refusal if documents[39] in request.json["documents"] else after(1, rerank())

    with (
        ScriptedServer(answer) as server,
        resift.connect(server.url, max_documents_per_request=10) as ranker,
        pytest.raises(EndpointRefused) as caught,
    ):
        ranker.score(QUERY, documents)
    assert looked_for == [12]
    assert "long enough" not in str(caught.value)


def test_no_cookie_is_kept() -> None:
    """What a balancer sets to hold on to a browser does not tie this client to one of many servers."""

    def answer(request: Request) -> Act:
        results = [{"index": at, "relevance_score": 1.0} for at, _ in enumerate(request.json["documents"])]
        return reply({"results": results}, headers={"set-cookie": "server=1; Path=/"})

    with ScriptedServer(answer) as server, resift.connect(server.url) as ranker:
        assert ranker.score(QUERY, DOCUMENTS) == ranker.score(QUERY, DOCUMENTS)
        assert not any("cookie" in request.headers for request in server.requests)


# C27: what waits behind its own kind, and what is copied


def test_c27_looking_ahead_costs_no_time() -> None:
    """The time of a request of `rank_many` begins with its turn, however many wait before it."""
    slow = after(0.5, rerank())
    with (
        ScriptedServer(lambda _: slow) as server,
        resift.connect(server.url, max_concurrency=1, timeout_s=1.4, max_retries=0) as ranker,
    ):
        assert len(list(ranker.rank_many([(QUERY, DOCUMENTS)] * 5))) == 5


def test_c27_each_request_ahead_still_has_its_time() -> None:
    """A request that was handed in ahead ends when its own time is up."""
    with (
        ScriptedServer(lambda _: after(30, rerank())) as server,
        resift.connect(server.url, max_concurrency=1, timeout_s=0.3, max_retries=0) as ranker,
        pytest.raises(resift.DeadlineExceeded, match=r"1 request sent"),
    ):
        list(ranker.rank_many([(QUERY, DOCUMENTS)] * 3))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_shares_the_connections(duplicate: Callable[[Any], Any]) -> None:
    """A copy has the key and the connections of its original."""
    with ScriptedServer(lambda _: rerank()) as server, resift.connect(server.url, api_key="k-3") as ranker:
        copied = duplicate(ranker)
        assert copied.score(QUERY, DOCUMENTS) == ranker.score(QUERY, DOCUMENTS) == SCORES
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer k-3"}
        assert copied._line is ranker._line  # noqa: SLF001 - the connections themselves


def test_c29_scores_of_a_listwise_server_are_not_merged() -> None:
    """A server that says it weighs documents against each other is not believed in pieces."""
    with (
        ScriptedServer(lambda _: rerank(headers={"x-resift-listwise": "true"})) as server,
        resift.connect(server.url, max_documents_per_request=1) as ranker,
    ):
        assert ranker.score(QUERY, DOCUMENTS[:1]) == SCORES[:1]
        with pytest.raises(resift.InvalidInput, match=r"these 2 cannot be ranked in several requests; send fewer"):
            ranker.rank(QUERY, DOCUMENTS)
