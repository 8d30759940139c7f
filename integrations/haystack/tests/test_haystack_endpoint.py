"""A ranker whose model is behind an endpoint: the same order, keys where they belong, bad replies refused."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from haystack import Document
from haystack.utils import Secret

import resift
from haystack_integrations.components.rankers.resift import ResiftRanker
from living import until
from resift.server.served import open_served
from scripted_server import Act, ScriptedServer, drop, error, html, reply, rerank, stall
from serving import scripted, serving

Ask = Callable[..., list[Document]]

QUERY = "what does a panda eat?"
CONTENTS = (
    "Paris is in France.",
    "A panda will eat bamboo all day.",
    "",
    "大熊猫吃竹子。",
    "The stock of the company fell.",
    "A red panda is no bear.",
)
DOCUMENTS = [
    Document(content=content, meta={"title": f"number {place}"}, score=place / 8)
    for place, content in enumerate(CONTENTS)
]
KEY = "k-0123456789-xyzzy"


def results(*scores: tuple[Any, Any]) -> Act:
    return reply({"results": [{"index": index, "relevance_score": score} for index, score in scores]})


# here and there


@pytest.mark.parametrize("scale_score", [None, True, False])
def test_a_model_here_and_behind_an_endpoint_rank_alike(
    cross_encoder: Path,
    ask: Ask,
    scale_score: bool | None,  # noqa: FBT001
) -> None:
    """The same documents come back in the same order with the same scores, wherever the model runs."""
    settings: dict[str, Any] = {
        "top_k": 4,
        "scale_score": scale_score,
        "meta_fields_to_embed": ["title"],
        "keep_retrieval_score": True,
        "document_prefix": "passage: ",
    }
    here = ResiftRanker(cross_encoder, **settings)

    ranked = ask(here, query=QUERY, documents=DOCUMENTS)

    with serving(open_served("tiny", lambda normalize: resift.load(cross_encoder, normalize=normalize))) as server:
        there = ResiftRanker("tiny", api_base_url=server.url, options={"dialect": "resift"}, **settings)
        served = ask(there, query=QUERY, documents=DOCUMENTS)
        there.close()
    here.close()
    assert len(ranked) == 4
    assert [document.id for document in served] == [document.id for document in ranked]
    assert [document.meta for document in served] == [document.meta for document in ranked]
    assert [document.score for document in served] == pytest.approx([document.score for document in ranked], abs=1e-5)


# keys


@pytest.mark.parametrize(
    ("settings", "environment", "sent"),
    [
        ({}, {}, None),
        ({}, {"RESIFT_API_KEY": "usual"}, "Bearer usual"),
        ({"api_key": None}, {"RESIFT_API_KEY": "usual"}, None),
        ({"api_key": Secret.from_token(KEY)}, {"RESIFT_API_KEY": "usual"}, f"Bearer {KEY}"),
        ({"api_key": Secret.from_env_var(["MINE", "YOURS"])}, {"YOURS": "yours"}, "Bearer yours"),
        ({"api_key": Secret.from_env_var("MINE", strict=False)}, {"RESIFT_API_KEY": "usual"}, None),
        ({"options": {"headers": {"authorization": Secret.from_env_var("MINE")}}}, {"MINE": "Token x"}, "Token x"),
        (
            {"options": {"headers": {"authorization": Secret.from_token("Token x")}}},
            {"RESIFT_API_KEY": "usual"},
            "Token x",
        ),
    ],
)
def test_the_key_is_the_one_that_was_named(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], environment: dict[str, str], sent: str | None
) -> None:
    """A secret is resolved when the ranker opens; None sends no key, whatever the environment has."""
    with ScriptedServer() as server:
        ranker = ResiftRanker("m", api_base_url=server.url, **settings)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        ask(ranker, query=QUERY, documents=DOCUMENTS)
        ranker.close()

    assert [request.headers.get("authorization") for request in server.requests] == [sent]


def test_a_client_with_a_key_of_its_own_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's key, which nobody named, does not replace that of the caller's client."""
    import httpx

    monkeypatch.setenv("RESIFT_API_KEY", "usual")
    with ScriptedServer() as server, httpx.Client(headers={"authorization": "Token mine"}) as client:
        ranker = ResiftRanker("m", api_base_url=server.url, options={"http_client": client})
        ranker.run(query=QUERY, documents=DOCUMENTS)
        ranker.close()

    assert [request.headers["authorization"] for request in server.requests] == ["Token mine"]


def test_a_header_without_a_value_is_left_out(ask: Ask) -> None:
    """A header whose secret need not exist, and does not, is not sent; one in plain text is."""
    headers = {"x-tenant": Secret.from_env_var("A_TENANT_THAT_IS_NOT_SET", strict=False), "x-trace": "7"}
    with ScriptedServer() as server:
        ranker = ResiftRanker("m", api_base_url=server.url, options={"headers": headers})
        ask(ranker, query=QUERY, documents=DOCUMENTS)
        ranker.close()

    assert "x-tenant" not in server.requests[0].headers
    assert server.requests[0].headers["x-trace"] == "7"


def test_h4_after_closing_the_key_is_read_again(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was changed in the environment counts from the next time the ranker opens."""
    with ScriptedServer() as server:
        ranker = ResiftRanker("m", api_base_url=server.url, api_key=Secret.from_env_var("MINE"))
        for key in ("old", "new"):
            monkeypatch.setenv("MINE", key)
            ask(ranker, query=QUERY, documents=DOCUMENTS)
            ranker.close()

    assert [request.headers["authorization"] for request in server.requests] == ["Bearer old", "Bearer new"]


def test_nobody_repeats_the_key(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """An endpoint that echoes the key and the texts shows them in no error and no line of the log."""
    with ScriptedServer([error(f"bad key {KEY} for {QUERY} and {CONTENTS[1]}", status=401)]) as server:
        ranker = ResiftRanker("m", api_base_url=server.url, api_key=Secret.from_token(KEY))
        with caplog.at_level("DEBUG", "resift"), pytest.raises(resift.EndpointRefused) as raised:
            ask(ranker, query=QUERY, documents=DOCUMENTS)
        ranker.close()

    said = f"{raised.value} {caplog.text}"
    assert KEY not in said
    assert CONTENTS[1] not in said


# replies


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (html(500), resift.EndpointError),
        (html(), resift.EndpointMisbehaved),
        (error("no such model", status=404), resift.EndpointRefused),
        (error("busy", status=503), resift.EndpointUnavailable),
        (drop, resift.EndpointUnavailable),
        (reply({"detail": "no"}), resift.EndpointMisbehaved),
        (results((7, 0.5)), resift.EndpointMisbehaved),
        (results((-1, 0.5)), resift.EndpointMisbehaved),
        (results((0, 0.5), (0, 0.25)), resift.EndpointMisbehaved),
        (results((0, "high")), resift.EndpointMisbehaved),
        (stall, resift.DeadlineExceeded),
    ],
)
def test_h23_a_bad_reply_is_an_error_of_ours(ask: Ask, act: Act, expected: type[Exception]) -> None:
    """What is no answer raises a ResiftError, and with on_error="pass" the documents come back as they came."""
    options = {"timeout_s": 0.5 if act is stall else 30, "max_retries": 0}
    with ScriptedServer([act]) as server:
        strict, lenient = (
            ResiftRanker("m", api_base_url=server.url, options=options, on_error=on_error, top_k=2)
            for on_error in ("raise", "pass")
        )
        with pytest.raises(expected):
            ask(strict, query=QUERY, documents=DOCUMENTS)
        passed = ask(lenient, query=QUERY, documents=DOCUMENTS)
        strict.close()
        lenient.close()

    assert [document.id for document in passed] == [document.id for document in DOCUMENTS[:2]]
    assert all(document.score is None for document in passed)
    assert issubclass(expected, resift.EndpointError)
    assert all(document.meta["rerank_error"] for document in passed)


def test_h23_the_endpoints_order_is_not_trusted(ask: Ask) -> None:
    """Scores decide, whatever order they come in, and `top_k` holds where the endpoint ignores it."""
    with ScriptedServer([results((2, 0.1), (0, 0.9), (1, 0.5), (3, 0.2), (4, 0.3), (5, 0.4))]) as server:
        ranker = ResiftRanker("m", api_base_url=server.url)
        ranked = ask(ranker, query=QUERY, documents=DOCUMENTS, top_k=3)
        ranker.close()

    assert [document.score for document in ranked] == [0.9, 0.5, 0.4]
    assert [document.id for document in ranked] == [DOCUMENTS[place].id for place in (0, 1, 5)]


def test_h23_a_busy_endpoint_is_asked_again(ask: Ask) -> None:
    """An endpoint that has no time at first is tried again."""
    with ScriptedServer([error("busy", status=503, headers={"retry-after": "0"}), rerank()]) as server:
        ranker = ResiftRanker("m", api_base_url=server.url)
        assert len(ask(ranker, query=QUERY, documents=DOCUMENTS)) == len(DOCUMENTS)
        ranker.close()

    assert len(server.requests) == 2


def test_h23_an_http_client_of_the_callers_own_is_used() -> None:
    """A client given in the options sends what there is to send, and stays open."""
    import httpx

    with ScriptedServer() as server, httpx.Client(headers={"x-from": "mine"}) as client:
        ranker = ResiftRanker("m", api_base_url=server.url, options={"http_client": client})
        ranker.run(query=QUERY, documents=DOCUMENTS)
        ranker.close()
        assert not client.is_closed

    assert server.requests[0].headers["x-from"] == "mine"


def test_h9_no_document_is_sent_as_null(ask: Ask) -> None:
    """Documents without content are sent as texts, or not at all, and come back in their places."""
    documents = [Document(id="none", content=None), Document(id="panda", content="5 pandas")]
    with ScriptedServer() as server:
        ranker = ResiftRanker("m", api_base_url=server.url)
        ranked = ask(ranker, query=QUERY, documents=documents)
        ranker.close()

    assert [document.id for document in ranked] == ["panda", "none"]
    assert None not in server.requests[0].json["documents"]


def test_h22_more_documents_than_a_request_holds_are_ranked_whole(ask: Ask) -> None:
    """The core splits what is too much for one request, and no document is lost."""
    documents = [Document(content=f"{place} pandas") for place in range(1100)]
    with ScriptedServer() as server:
        ranker = ResiftRanker("m", api_base_url=server.url, options={"max_documents_per_request": 500})
        ranked = ask(ranker, query=QUERY, documents=documents)
        ranker.close()

    assert [document.content for document in ranked] == [f"{place} pandas" for place in reversed(range(1100))]
    assert len(server.requests) == 3


# concurrency


async def test_many_runs_wait_at_once() -> None:
    """Calls of `run_async` are not queued behind a pool of threads: all of them wait for the endpoint together."""
    gate, calls = threading.Event(), 60  # more than asyncio's own pool has threads on any machine
    ranker = scripted(gate=gate)
    with serving(ranker) as server:
        component = ResiftRanker("scripted", api_base_url=server.url, options={"max_concurrency": 100})
        runs = [component.run_async(query=f"{n}", documents=DOCUMENTS[:1]) for n in range(calls)]
        found = asyncio.gather(*runs)
        await asyncio.to_thread(until, lambda: ranker.at_once == calls)
        gate.set()
        assert len(await found) == calls
        await component.close_async()


async def test_h18_cancelling_a_run_ends_the_request() -> None:
    """The endpoint sees its client leave when a pipeline's run is cancelled."""
    with ScriptedServer([stall]) as server:
        ranker = ResiftRanker("m", api_base_url=server.url)
        running = asyncio.create_task(ranker.run_async(query=QUERY, documents=DOCUMENTS))
        assert await asyncio.to_thread(server.wait_for, lambda seen: seen.busy == 1)
        begun = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert time.monotonic() - begun < 5
        assert await asyncio.to_thread(server.wait_for, lambda seen: seen.left == 1)
        await ranker.close_async()


def test_threads_and_loops_share_one_ranker() -> None:
    """Threads, and event loops one after the other, may use one ranker, with the same answer each."""
    found: list[list[float | None]] = []

    def use(ranker: ResiftRanker) -> None:
        found.append([document.score for document in ranker.run(query=QUERY, documents=DOCUMENTS)["documents"]])

    with ScriptedServer() as server:
        ranker = ResiftRanker("m", api_base_url=server.url)
        threads = [threading.Thread(target=use, args=(ranker,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        for _ in range(2):
            output = asyncio.run(ranker.run_async(query=QUERY, documents=DOCUMENTS))
            found.append([document.score for document in output["documents"]])
        ranker.close()

    assert len(found) == 8
    assert all(scores == found[0] for scores in found)
