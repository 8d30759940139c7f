"""A ranker behind an endpoint is used as one that runs here: same results, same errors, sync and async."""

import asyncio
import copy
import gc
import logging
import pickle
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import httpx2
import pytest

import resift
from resift.errors import EndpointMisbehaved, EndpointRefused, EndpointUnavailable, InvalidInput, ResiftError
from resift.remote import portal
from resift.types import Described, Document, Ranker, Ranking
from scripted_server import Act, Request, ScriptedServer, after, drop, error, html, reply, rerank, stall

QUERY = "what do pandas eat?"
DOCUMENTS = ["1 Paris", "3 bamboo", "2 bears", "3 bamboo shoots"]
KEY = "sk-1234567890abcdef"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("resift.remote.exchange.random", lambda: 0.0)


def _summary(ranking: Ranking) -> list[tuple[int, float]]:
    return [(hit.index, hit.score) for hit in ranking]


# one call


def test_documents_are_ranked_by_the_endpoint(server: ScriptedServer) -> None:
    """The endpoint's scores order the documents, ties keep the caller's order, and the documents are the caller's."""
    with resift.connect(server.url, model="m") as ranker:
        ranking = ranker.rank(QUERY, DOCUMENTS)

    assert _summary(ranking) == [(1, 3.0), (3, 3.0), (2, 2.0), (0, 1.0)]
    assert all(hit.document is DOCUMENTS[hit.index] for hit in ranking)
    assert ranking.model == ranker.model == "m"
    assert ranking.missing == ()
    assert ranking.elapsed_s > 0
    assert server.requests[0].json == {"model": "m", "query": QUERY, "documents": DOCUMENTS, "top_n": 4}


def test_scores_stand_in_input_order(server: ScriptedServer) -> None:
    """`score` gives one number per document, in the caller's order."""
    with resift.connect(server.url) as ranker:
        assert ranker.score(QUERY, DOCUMENTS) == [1.0, 3.0, 2.0, 3.0]
        assert ranker.model == server.url.removeprefix("http://")


def test_the_cut_is_made_here(server: ScriptedServer) -> None:
    """`threshold` comes first and includes its value, `top_n` comes second, and the endpoint is asked for all."""
    with resift.connect(server.url) as ranker:
        assert _summary(ranker.rank(QUERY, DOCUMENTS, threshold=2.0)) == [(1, 3.0), (3, 3.0), (2, 2.0)]
        assert _summary(ranker.rank(QUERY, DOCUMENTS, threshold=2.0, top_n=1)) == [(1, 3.0)]
        assert len(ranker.rank(QUERY, DOCUMENTS, top_n=99)) == 4
    assert {request.json["top_n"] for request in server.requests} == {4}


def test_copies_are_sent_once_and_tie(server: ScriptedServer) -> None:
    """A text that comes twice travels once, and both documents get its score."""
    with resift.connect(server.url) as ranker:
        assert ranker.score(QUERY, ["2 x", "1 y", "2 x"]) == [2.0, 1.0, 2.0]
    assert server.requests[0].json["documents"] == ["2 x", "1 y"]


def test_mappings_are_sent_as_the_text_that_local_models_read(server: ScriptedServer) -> None:
    """A mapping becomes `key: value` lines, of the chosen fields only."""
    documents: list[Document] = [{"title": "Pandas", "body": "bamboo", "id": 7}]
    with resift.connect(server.url, fields=["body", "title"]) as ranker:
        assert ranker.rank(QUERY, documents)[0].document is documents[0]
    assert server.requests[0].json["documents"] == ["body: bamboo\ntitle: Pandas"]


def test_an_instruction_travels_along(server: ScriptedServer) -> None:
    """The instruction of the call wins over that of the ranker."""
    with resift.connect(server.url, instruction="find food") as ranker:
        ranker.score(QUERY, DOCUMENTS)
        ranker.score(QUERY, DOCUMENTS, instruction="find animals")
    assert [request.json["instruction"] for request in server.requests] == ["find food", "find animals"]


def test_c5_no_documents_need_no_request(server: ScriptedServer) -> None:
    """An empty list is answered without asking anybody, sync and async."""
    with resift.connect(server.url) as ranker:
        assert list(ranker.rank(QUERY, [])) == []
        assert ranker.score(QUERY, []) == []
        assert list(asyncio.run(ranker.arank(QUERY, []))) == []
        assert [len(ranking) for ranking in ranker.rank_many([(QUERY, [])])] == [0]
    assert server.requests == []
    assert server.opened == 0


def test_c13_documents_that_the_endpoint_left_out_are_named() -> None:
    """A ranking names missing documents and ranks the others; `score` says which have none."""
    some = reply({"results": [{"index": 2, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.75}]})
    with ScriptedServer([some]) as server, resift.connect(server.url) as ranker:
        ranking = ranker.rank(QUERY, DOCUMENTS)
        with pytest.raises(EndpointMisbehaved, match=r"left out documents 1, 3"):
            ranker.score(QUERY, DOCUMENTS)
    assert _summary(ranking) == [(0, 0.75), (2, 0.5)]
    assert ranking.missing == (1, 3)


def test_usage_is_added_up_where_every_reply_has_it() -> None:
    """Tokens of several requests are one sum; where one reply lacks them, nothing is claimed."""

    def answer(request: Request) -> Act:
        count = len(request.json["documents"])
        results = [{"index": at, "relevance_score": 0.5} for at in range(count)]
        return reply({"results": results, "usage": {"total_tokens": 5}} if count == 2 else {"results": results})

    with ScriptedServer(answer) as server, resift.connect(server.url, max_documents_per_request=2) as ranker:
        assert ranker.rank(QUERY, DOCUMENTS).usage == resift.Usage(10)
        assert ranker.rank(QUERY, DOCUMENTS[:3]).usage is None


def test_normalised_scores_are_what_was_asked_for(server: ScriptedServer) -> None:
    """Logits become probabilities once, where they are said to be logits."""
    with resift.connect(server.url, normalize=True, scores="logits") as ranker:
        assert ranker.score(QUERY, ["0 x"]) == [0.5]
        assert all(0 < score < 1 for score in ranker.score(QUERY, DOCUMENTS))


# several requests for one call


def test_c29_a_long_list_is_split_and_put_together_again(server: ScriptedServer) -> None:
    """Parts keep their places, whatever order their answers come in."""
    documents = [f"{(at * 7) % 10} document {at}" for at in range(10)]
    with resift.connect(server.url, max_documents_per_request=3) as ranker:
        scores = ranker.score(QUERY, documents)

    assert scores == [float((at * 7) % 10) for at in range(10)]
    assert sorted(len(request.json["documents"]) for request in server.requests) == [2, 2, 3, 3]


def test_c29_the_first_part_that_fails_ends_the_others() -> None:
    """One refused part is the error of the call, and nobody goes on waiting for the rest."""

    def answer(request: Request) -> Act:
        return after(0.1, error("no such thing")) if "4 x" in request.json["documents"] else stall

    with ScriptedServer(answer) as server, resift.connect(server.url, max_documents_per_request=1) as ranker:
        with pytest.raises(EndpointRefused, match="no such thing"):
            ranker.score(QUERY, [f"{at} x" for at in range(5)])
        assert server.wait_for(lambda it: it.left == 4 and it.busy == 0)


# how many at one time


def test_c31_no_more_requests_are_under_way_than_allowed() -> None:
    """Threads, parts and look-ahead together keep to `max_concurrency`, and do use it."""
    with ScriptedServer([after(0.03, rerank())]) as server:
        with resift.connect(server.url, max_concurrency=3, max_documents_per_request=2) as ranker:
            with ThreadPoolExecutor(4) as pool:
                futures = [pool.submit(ranker.score, QUERY, DOCUMENTS) for _ in range(8)]
                assert all(future.result(timeout=20) == [1.0, 3.0, 2.0, 3.0] for future in futures)
            assert len(list(ranker.rank_many([(QUERY, DOCUMENTS)] * 5))) == 5
        assert server.most_busy == 3


@pytest.mark.usefixtures("impatient")
def test_c31_a_busy_endpoint_is_asked_less_at_one_time() -> None:
    """After 429 fewer requests are under way, and each call is answered all the same."""
    refused = threading.Semaphore(4)

    def answer(_: Request) -> Act:
        return after(0.05, error("slow down", status=429)) if refused.acquire(blocking=False) else after(0.02, rerank())

    with ScriptedServer(answer) as server, resift.connect(server.url, max_concurrency=4) as ranker:
        line = ranker._line  # noqa: SLF001 - what the endpoint is allowed is nobody's business but ours
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(ranker.score, QUERY, DOCUMENTS) for _ in range(4)]
            assert all(future.result(timeout=20) for future in futures)
        assert server.requests[3].at < server.requests[4].at
        assert line.limiter.bound < 4
        for _ in range(30):
            ranker.score(QUERY, DOCUMENTS)
        assert line.limiter.bound == 4


# many calls


def test_many_requests_are_ranked_in_order(server: ScriptedServer) -> None:
    """Rankings come in the order of the requests, although several are under way."""
    requests = [(QUERY, [f"{at} x", f"{at + 1} y"]) for at in range(20)]
    with resift.connect(server.url) as ranker:
        rankings = list(ranker.rank_many(requests, top_n=1))
        assert [ranking[0].score for ranking in rankings] == [at + 1.0 for at in range(20)]
        assert rankings == asyncio.run(_collect(ranker, requests))


async def _collect(ranker: resift.RemoteRanker, requests: Any, **options: Any) -> list[Ranking]:
    return [ranking async for ranking in ranker.arank_many(requests, top_n=1, **options)]


def test_many_requests_are_read_some_way_ahead(server: ScriptedServer) -> None:
    """What is read ahead of the rankings is about two rounds of requests, and no more."""
    read: list[int] = []

    def requests() -> Iterator[tuple[str, list[str]]]:
        for at in range(100):
            read.append(at)
            yield QUERY, [f"{at} x"]

    with resift.connect(server.url, max_concurrency=2) as ranker:
        rankings = ranker.rank_many(requests())
        assert read == []
        next(rankings)
        assert 1 <= len(read) <= 7
        assert len(list(rankings)) == 99


def test_one_of_many_that_fails_waits_for_its_turn(server: ScriptedServer) -> None:
    """Rankings before a bad request are handed out, then its error says which it was."""
    requests: list[Any] = [(QUERY, ["1 x"]), (QUERY, ["2 x"]), ("", ["3 x"]), (QUERY, ["4 x"])]
    with resift.connect(server.url) as ranker:
        rankings = ranker.rank_many(requests)
        assert [next(rankings)[0].score, next(rankings)[0].score] == [1.0, 2.0]
        with pytest.raises(InvalidInput, match=r"requests\[2\]"):
            next(rankings)


def test_many_requests_that_nobody_waits_for_are_given_up() -> None:
    """Leaving the loop ends the requests that were sent ahead."""
    with ScriptedServer([rerank(), stall]) as server, resift.connect(server.url, max_concurrency=1) as ranker:
        for _ in ranker.rank_many([(QUERY, DOCUMENTS)] * 5):
            break
        assert server.wait_for(lambda it: it.busy == 0)
        assert server.left <= 1


# C32: whoever stops waiting


async def _cancelled(ranker: resift.RemoteRanker, server: ScriptedServer) -> None:
    task = asyncio.create_task(ranker.arank(QUERY, DOCUMENTS))
    assert await asyncio.to_thread(server.wait_for, lambda it: it.busy == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_c32_cancelling_a_call_closes_its_socket() -> None:
    """The endpoint sees the connection end at once, no task is left, and the ranker goes on."""
    with ScriptedServer([stall, stall, rerank()]) as server, resift.connect(server.url, timeout_s=30) as ranker:
        for times in (1, 2):
            asyncio.run(_cancelled(ranker, server))
            assert server.wait_for(lambda it: it.left == it.closed == times, 5)  # noqa: B023 - it is called here
        assert ranker.score(QUERY, DOCUMENTS) == [1.0, 3.0, 2.0, 3.0]
        assert not ranker._line.under_way  # noqa: SLF001 - tasks are nowhere else to be seen
        assert not portal._RUNNING  # noqa: SLF001 - the same


def test_c32_a_call_that_waits_for_its_turn_can_be_cancelled() -> None:
    """A cancelled call that was never sent is never sent, and its turn is not lost."""

    async def cancel_the_second(ranker: resift.RemoteRanker) -> None:
        first = asyncio.create_task(ranker.ascore(QUERY, DOCUMENTS))
        second = asyncio.create_task(ranker.ascore(QUERY, DOCUMENTS))
        await asyncio.sleep(0.15)
        second.cancel()
        await asyncio.wait([first, second])
        assert second.cancelled()
        assert first.result() == await ranker.ascore(QUERY, DOCUMENTS)

    with ScriptedServer([after(0.4, rerank())]) as server, resift.connect(server.url, max_concurrency=1) as ranker:
        asyncio.run(cancel_the_second(ranker))
        assert len(server.requests) == 2


# C33: sync and async


SCRIPTS: dict[str, Sequence[Act]] = {
    "an answer": [rerank()],
    "refused": [error("no", status=400)],
    "a wrong key": [error("who?", status=401)],
    "no such route": [error("nothing here", status=404)],
    "busy": [error("later", status=503)],
    "a page": [html()],
    "silence": [drop],
    "a score that is none": [reply({"results": [{"index": 0, "relevance_score": None}]})],
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", SCRIPTS)
def test_c33_sync_and_async_say_the_same(name: str) -> None:
    """The same question has the same answer or the same error, however it is asked."""

    def told(ask: Callable[[], Any]) -> tuple[str, str]:
        try:
            return "answer", repr(ask())
        except ResiftError as error:
            return type(error).__name__, str(error)

    async def ask(ranker: resift.RemoteRanker) -> list[float]:
        return await ranker.ascore(QUERY, DOCUMENTS)

    with ScriptedServer(SCRIPTS[name]) as server, resift.connect(server.url) as ranker:
        sync = told(lambda: ranker.score(QUERY, DOCUMENTS))
        sent = [request.body for request in server.requests]
        assert told(lambda: asyncio.run(ask(ranker))) == sync
        assert [request.body for request in server.requests] == sent * 2


def test_event_loops_come_and_go(server: ScriptedServer) -> None:
    """One ranker serves one event loop after another and several at once, over the same connections."""

    async def twice(ranker: resift.RemoteRanker) -> list[list[float]]:
        return list(await asyncio.gather(*(ranker.ascore(QUERY, DOCUMENTS) for _ in range(2))))

    with resift.connect(server.url) as ranker, ThreadPoolExecutor(3) as pool:
        loops = [pool.submit(asyncio.run, twice(ranker)) for _ in range(6)]
        assert all(loop.result(timeout=20) == [[1.0, 3.0, 2.0, 3.0]] * 2 for loop in loops)
        assert asyncio.run(twice(ranker)) == [[1.0, 3.0, 2.0, 3.0]] * 2
        assert server.opened <= 8


async def test_the_event_loop_stays_free() -> None:
    """While an endpoint takes its time, other tasks of the loop run."""
    with ScriptedServer([after(0.3, rerank())]) as server:
        async with resift.connect(server.url) as ranker:
            call = asyncio.create_task(ranker.arank(QUERY, DOCUMENTS))
            ticks = 0
            while not call.done():
                ticks += 1
                await asyncio.sleep(0.01)
            assert ticks > 5
            assert _summary(await call)[0] == (1, 3.0)


# a caller's own client


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_sync_client_of_the_callers_is_used(library: Any, server: ScriptedServer) -> None:
    """Requests go over the caller's client, sync and async, and it stays open afterwards."""
    with library.Client(headers={"x-team": "search"}) as client:
        with resift.connect(server.url, http_client=client, api_key=KEY) as ranker:
            assert ranker.score(QUERY, DOCUMENTS) == [1.0, 3.0, 2.0, 3.0]
            assert asyncio.run(ranker.ascore(QUERY, DOCUMENTS)) == [1.0, 3.0, 2.0, 3.0]
        assert not client.is_closed
    assert [request.headers["x-team"] for request in server.requests] == ["search", "search"]
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_an_async_client_of_the_callers_is_used_on_its_loop(library: Any, server: ScriptedServer) -> None:
    """Requests go over the caller's client where it lives, one by one and many."""
    async with library.AsyncClient() as client:
        async with resift.connect(server.url, http_client=client) as ranker:
            assert await ranker.ascore(QUERY, DOCUMENTS) == [1.0, 3.0, 2.0, 3.0]
            assert [len(each) async for each in ranker.arank_many([(QUERY, DOCUMENTS)] * 3)] == [4, 4, 4]
            with pytest.raises(InvalidInput, match="async http_client"):
                ranker.rank(QUERY, DOCUMENTS)
        assert not client.is_closed


def test_a_client_that_answers_by_itself_will_do() -> None:
    """A client whose transport is a function needs no network; a hook may have read the reply before."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"results": [{"index": 0, "relevance_score": 0.25}]})

    hooks: dict[str, list[Callable[..., Any]]] = {"response": [lambda response: response.read()]}
    with (
        httpx2.Client(transport=httpx2.MockTransport(handle), event_hooks=hooks) as client,
        resift.connect("http://endpoint.invalid", http_client=client) as ranker,
    ):
        assert ranker.score(QUERY, ["x"]) == [0.25]


def test_the_clients_own_key_is_left_alone(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that a client or `headers` bring is not overruled by one that lies in the environment."""
    monkeypatch.setenv("RESIFT_API_KEY", "of-the-environment")
    with httpx2.Client(headers={"Authorization": "Bearer own"}) as client:
        resift.connect(server.url, http_client=client).score(QUERY, DOCUMENTS)
    with resift.connect(server.url, headers={"authorization": "Bearer other"}) as ranker:
        ranker.score(QUERY, DOCUMENTS)
    with resift.connect(server.url) as ranker:
        ranker.score(QUERY, DOCUMENTS)
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer own", "Bearer other", "Bearer of-the-environment"]


# keys


def test_c3_a_key_is_sent_and_never_shown(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    """The key reaches the endpoint, and no repr, dump or log line of any level."""
    caplog.set_level(logging.DEBUG)
    with resift.connect(server.url, api_key=KEY, headers={"X-Tenant": "tenant-secret"}) as ranker:
        ranker.score(QUERY, DOCUMENTS)
        line, endpoint = ranker._line, ranker._endpoint  # noqa: SLF001 - whatever may be dumped
        shown = [repr(thing) for thing in (ranker, vars(ranker), line, vars(line), endpoint, endpoint.key)]
        shown += [str(endpoint.key), f"{endpoint.key}", repr(copy.deepcopy(endpoint.key)), ranker.identity]
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[0].headers["x-tenant"] == "tenant-secret"
    for text in (*shown, caplog.text):
        assert KEY not in text
        assert "tenant-secret" not in text
    assert "bamboo" not in caplog.text


@pytest.mark.parametrize("key", [None, ""])
def test_c3_without_a_key_no_header_is_sent(
    key: str | None, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stands in for a key that is not there; an empty one is not looked for in the environment."""
    if key is None:
        monkeypatch.delenv("RESIFT_API_KEY", raising=False)
    else:
        monkeypatch.setenv("RESIFT_API_KEY", KEY)
    with resift.connect(server.url, api_key=key) as ranker:
        ranker.score(QUERY, DOCUMENTS)
    assert "authorization" not in server.requests[0].headers


# pickles and copies


def test_a_pickle_holds_no_key(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ranker travels without its key, and takes that of the environment where it arrives."""
    with resift.connect(server.url, model="m", api_key=KEY, timeout_s=7) as ranker:
        packed = pickle.dumps(ranker)
    assert KEY.encode() not in packed
    monkeypatch.delenv("RESIFT_API_KEY", raising=False)
    with pytest.raises(InvalidInput, match="RESIFT_API_KEY"):
        pickle.loads(packed)  # noqa: S301 - it was made above
    monkeypatch.setenv("RESIFT_API_KEY", "another")
    with pickle.loads(packed) as arrived:  # noqa: S301 - the same
        assert arrived.score(QUERY, DOCUMENTS) == [1.0, 3.0, 2.0, 3.0]
        assert arrived.identity == ranker.identity
    assert server.requests[0].headers["authorization"] == "Bearer another"


def test_what_cannot_travel_says_so(server: ScriptedServer) -> None:
    """A ranker with headers or a client of the caller's is not pickled, and neither is a key."""
    with httpx2.Client() as client:
        for options in ({"http_client": client}, {"headers": {"x-a": "b"}}):
            with pytest.raises(InvalidInput, match=next(iter(options))):
                pickle.dumps(resift.connect(server.url, **options))
    with pytest.raises(InvalidInput, match="RESIFT_API_KEY"):
        pickle.dumps(resift.connect(server.url, api_key=KEY)._endpoint.key)  # noqa: SLF001 - nobody else has it


# the end


def test_closing_answers_what_was_accepted_and_leaves_no_socket() -> None:
    """`close` waits for calls under way, may be called again, and takes no new ones."""
    with ScriptedServer([after(0.3, rerank())]) as server:
        ranker = resift.connect(server.url)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(ranker.score, QUERY, DOCUMENTS)
            assert server.wait_for(lambda it: it.busy == 1)
            ranker.close()
            assert call.result(timeout=5) == [1.0, 3.0, 2.0, 3.0]
        ranker.close()
        assert server.wait_for(lambda it: it.opened == it.closed == 1)
        for ask in (ranker.score, ranker.rank):
            with pytest.raises(EndpointUnavailable, match="closed"):
                ask(QUERY, DOCUMENTS)


async def test_closing_is_awaited() -> None:
    """`aclose` does what `close` does, and again changes nothing."""
    with ScriptedServer() as server:
        ranker = resift.connect(server.url)
        await ranker.ascore(QUERY, DOCUMENTS)
        await ranker.aclose()
        await ranker.aclose()
        assert server.wait_for(lambda it: it.opened == it.closed == 1)


def test_a_ranker_that_is_forgotten_leaves_no_socket(server: ScriptedServer) -> None:
    """Connections end with the last reference, without a warning."""
    ranker = resift.connect(server.url)
    ranker.score(QUERY, DOCUMENTS)
    del ranker
    gc.collect()
    assert server.wait_for(lambda it: it.opened == it.closed == 1)


def test_a_ranker_that_was_never_used_is_closed_without_ado(server: ScriptedServer) -> None:
    """No connection was opened, so none is closed."""
    resift.connect(server.url).close()
    assert server.opened == 0


def test_connections_are_kept(server: ScriptedServer) -> None:
    """One call after another goes over one connection."""
    with resift.connect(server.url) as ranker:
        for _ in range(5):
            ranker.score(QUERY, DOCUMENTS)
    assert server.opened == 1


def test_another_timeout_shares_everything_else(server: ScriptedServer) -> None:
    """`with_timeout` gives a ranker over the same connections; closing one closes both."""
    with resift.connect(server.url, model="m") as ranker:
        patient = ranker.with_timeout(300)
        assert patient.score(QUERY, DOCUMENTS) == ranker.score(QUERY, DOCUMENTS)
        assert patient.identity == ranker.identity
    assert server.opened == 1
    with pytest.raises(EndpointUnavailable, match="closed"):
        patient.score(QUERY, DOCUMENTS)


def test_a_remote_ranker_is_a_ranker_that_describes_itself() -> None:
    """It satisfies the protocols, and says what it knows of its model."""
    with resift.connect("http://127.0.0.1:9", model="jina-reranker-v3", dialect="tei") as ranker:
        assert isinstance(ranker, Ranker)
        assert isinstance(ranker, Described)
        assert (ranker.listwise, ranker.takes_instruction, ranker.max_length) == (True, False, None)
        assert "\n" not in ranker.identity
    others: list[dict[str, Any]] = [{"model": "b"}, {"dialect": "cohere"}, {"instruction": "x"}, {"fields": ["a"]}]
    identities = {resift.connect("http://127.0.0.1:9", **{"model": "a", **more}).identity for more in ({}, *others)}
    assert len(identities) == 5


def test_waiting_for_nobody_costs_nothing(server: ScriptedServer) -> None:
    """Connecting sends nothing and starts no request."""
    with resift.connect(server.url):
        time.sleep(0.05)
    assert server.opened == 0


def _awaited(call: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await call()

    return asyncio.run(run())


@pytest.mark.parametrize("asking", ["rank", "score"])
def test_arguments_are_checked_before_anything_is_sent(asking: str, server: ScriptedServer) -> None:
    """A blank query, a document that is none and an instruction that is none never reach the endpoint."""
    bad: list[tuple[Any, Any, dict[str, Any]]] = [
        ("  ", DOCUMENTS, {}),
        (None, DOCUMENTS, {}),
        (QUERY, "one text", {}),
        (QUERY, [1], {}),
        (QUERY, DOCUMENTS, {"instruction": 7}),
    ]
    with resift.connect(server.url) as ranker:
        for query, documents, options in bad:
            with pytest.raises(InvalidInput) as sync:
                getattr(ranker, asking)(query, documents, **options)
            with pytest.raises(InvalidInput) as asynchronous:
                _awaited(partial(getattr(ranker, "a" + asking), query, documents, **options))
            assert str(sync.value) == str(asynchronous.value)
    assert server.requests == []
