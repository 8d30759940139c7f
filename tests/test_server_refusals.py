"""What is not answered: each error's status and body, in every dialect, and that none of them repeats a word."""

import asyncio
import json
import logging
import math
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from living import until
from resift.errors import (
    DeadlineExceeded,
    EndpointError,
    EndpointMisbehaved,
    EndpointRefused,
    EndpointUnavailable,
    InvalidInput,
    MissingDependency,
    ModelNotFound,
    ModelUnsupported,
    Overloaded,
    ScoringFailed,
)
from resift.server.refusing import refusal
from resift.testing import FakeRanker
from resift.types import Ranked, Ranking
from resift.wire.faults import error_message
from serving import DOCUMENTS, QUERY, failing, scripted, served, serving

Json = dict[str, Any]

SECRET = "xyzzyplugh"  # a word that nobody else writes, so that it can be searched for
ASKED: Json = {"query": f"{QUERY} {SECRET}", "documents": [f"{text} {SECRET}" for text in DOCUMENTS]}
TEI: Json = {"query": ASKED["query"], "texts": ASKED["documents"]}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with serving(scripted(), max_documents=100) as server, server.client() as client:
        yield client


def _is_superset(body: Any) -> bool:
    """Say whether every client finds the message where it looks for it."""
    words = body["message"]
    return (
        isinstance(words, str)
        and bool(words)
        and body["detail"] == words
        and body["error"].keys() == {"message", "type", "param", "code"}
        and body["error"]["message"] == words
    )


def _logged(caplog: pytest.LogCaptureFixture) -> str:
    """Return what the server logged; the test's own client, and the access log of its plain uvicorn, log the path."""
    ours = (record for record in caplog.records if record.name.partition(".")[0] not in ("httpx2", "httpcore2"))
    return "\n".join(record.getMessage() for record in ours if record.name != "uvicorn.access")


class Upset(Exception):
    """An error that nobody has heard of."""


ERRORS: list[tuple[Exception, int, str, int]] = [
    (InvalidInput(SECRET), 400, "invalid_request_error", 400),
    (Overloaded(SECRET), 429, "rate_limit_error", 429),
    (ScoringFailed(SECRET), 500, "server_error", 424),
    (ModelUnsupported(SECRET), 500, "server_error", 424),
    (ModelNotFound(SECRET), 500, "server_error", 424),
    (MissingDependency(SECRET), 500, "server_error", 424),
    (EndpointUnavailable(SECRET, status=503), 503, "server_error", 503),
    (EndpointUnavailable(SECRET), 503, "server_error", 503),
    (EndpointRefused(SECRET, status=400), 400, "invalid_request_error", 400),
    (EndpointRefused(SECRET, status=413), 400, "invalid_request_error", 400),
    (EndpointRefused(SECRET, status=422), 400, "invalid_request_error", 400),
    (EndpointRefused(SECRET, status=401), 502, "server_error", 424),
    (EndpointRefused(SECRET, status=404), 502, "server_error", 424),
    (EndpointMisbehaved(SECRET), 502, "server_error", 424),
    (EndpointError(SECRET), 502, "server_error", 424),
    (DeadlineExceeded(SECRET), 504, "timeout_error", 504),
    (TimeoutError(SECRET), 504, "timeout_error", 504),
    (Upset(SECRET), 500, "server_error", 424),
    (KeyError(SECRET), 500, "server_error", 424),
    (MemoryError(SECRET), 500, "server_error", 424),
]


@pytest.mark.parametrize(("error", "status", "kind", "in_tei"), ERRORS, ids=lambda value: type(value).__name__)
def test_s27_every_error_has_its_status_and_body(
    error: Exception, status: int, kind: str, in_tei: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The ranker's error is told in the body that every client reads, and in its own words on `texts` requests."""
    with caplog.at_level(logging.DEBUG), serving(failing(error)) as server, server.client() as client:
        flat = client.post("/v1/rerank", json=ASKED)
        tei = client.post("/rerank", json=TEI)

    assert (flat.status_code, flat.json()["error"]["type"]) == (status, kind)
    assert _is_superset(flat.json())
    assert tei.status_code == in_tei
    assert tei.json().keys() == {"error", "error_type"}
    assert all(("retry-after" in each.headers) == (status in (429, 503)) for each in (flat, tei))
    assert SECRET not in flat.text + tei.text + caplog.text
    if status in (500, 502, 503, 504):
        assert type(error).__name__ in caplog.text


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "overloaded"), (503, "unhealthy"), (500, "backend"), (400, "validation")]
)
def test_s27_tei_has_its_own_kinds(status: int, kind: str) -> None:
    """The kinds of errors on `texts` requests are those that text-embeddings-inference has."""
    error = next(error for error, found, *_ in ERRORS if found == status)

    assert json.loads(bytes(refusal(error).reply(tei=True).body))["error_type"] == kind


def test_s27_a_body_that_nobody_could_read_is_refused_as_its_sender_would_expect(client: httpx2.Client) -> None:
    """A broken body with `texts` in it is refused in that dialect."""
    assert client.post("/rerank", content=b'{"texts":["a"').json().keys() == {"error", "error_type"}
    assert _is_superset(client.post("/rerank", content=b'{"documents":["a"').json())


def test_s27_the_words_are_found_by_our_own_client(client: httpx2.Client) -> None:
    """Our client reads the message out of both kinds of bodies."""
    flat = client.post("/v1/rerank", json={**ASKED, "documents": []}).json()
    tei = client.post("/rerank", json={**TEI, "texts": []}).json()

    assert "list of documents must not be empty" in error_message(flat)
    assert "list of documents must not be empty" in error_message(tei)


def test_s32_overload_says_when_to_come_back() -> None:
    """A full ranker's error becomes 429 with at least a second to wait, and is counted under its reason."""
    with serving(failing(Overloaded("full"))) as server, server.client() as client:
        response = client.post("/v1/rerank", json=ASKED)
        shown = client.get("/metrics").text

    assert int(response.headers["retry-after"]) >= 1
    assert 'resift_refusals_total{reason="busy"} 1.0' in shown


def test_s32_a_full_house_refuses_in_the_words_of_the_dialect() -> None:
    """With no place left the next request is refused at once, whatever its dialect, and later ones are served."""

    async def storm(url: str) -> list[httpx2.Response]:
        async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            first = asyncio.ensure_future(client.post("/v1/rerank", json=ASKED))
            await asyncio.to_thread(until, lambda: ranker.at_once)
            refused = [await client.post("/v1/rerank", json=ASKED), await client.post("/rerank", json=TEI)]
            gate.set()
            return [*refused, await first, await client.post("/v1/rerank", json=ASKED)]

    gate = threading.Event()
    ranker = scripted(gate=gate)
    with serving(ranker, max_requests=1) as server:
        flat, tei, *fine = asyncio.run(storm(server.url))

    assert [each.status_code for each in (flat, tei, *fine)] == [429, 429, 200, 200]
    assert _is_superset(flat.json())
    assert tei.json()["error_type"] == "overloaded"
    assert all(int(each.headers["retry-after"]) >= 1 for each in (flat, tei))


def test_a_request_that_takes_too_long_is_given_up() -> None:
    """After `timeout_s` the client gets 504, and the work is cancelled."""
    ranker = scripted(delay_s=30)
    with serving(ranker, timeout_s=0.2) as server, server.client() as client:
        flat = client.post("/v1/rerank", json=ASKED)
        tei = client.post("/rerank", json=TEI)

    assert (flat.status_code, tei.status_code) == (504, 504)
    assert "0.2 s" in flat.json()["message"]
    assert (ranker.cancelled, ranker.at_once) == (2, 0)


def test_a_server_without_models_says_so() -> None:
    """Before its models are loaded a request is refused with 503 and the advice to come back."""
    with serving() as server, server.client() as client:
        flat = client.post("/v1/rerank", json=ASKED)
        tei = client.post("/rerank", json=TEI)
        listed = client.get("/v1/models").json()

    assert (flat.status_code, tei.status_code, tei.json()["error_type"]) == (503, 503, "unhealthy")
    assert int(flat.headers["retry-after"]) >= 1
    assert listed["data"] == []


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_s38_a_score_that_is_no_number_fails_the_call(score: float) -> None:
    """One bad score is a typed error for its call, never a NaN in a reply; on `texts` requests it is 424."""
    with (
        serving(scripted(lambda _query, text, _told: score if "all day" in text else 0.5)) as server,
        server.client() as client,
    ):
        flat = client.post("/v1/rerank", json=ASKED)
        tei = client.post("/rerank", json=TEI)
        fine = client.post("/v1/rerank", json={**ASKED, "documents": ["a", "b"]})

    assert (flat.status_code, flat.json()["error"]["code"]) == (500, "scoring_failed")
    assert (tei.status_code, tei.json()["error_type"]) == (424, "backend")
    assert fine.status_code == 200


@pytest.mark.parametrize("indices", [(0, 0), (0, 7), (-1,)])
def test_s38_a_ranking_of_other_documents_fails_the_call(indices: tuple[int, ...]) -> None:
    """A ranker that names a document twice, or one that there is not, is not believed."""

    class Confused(FakeRanker):
        async def arank(self, *arguments: Any, **options: Any) -> Ranking:
            return Ranking(tuple(Ranked(at, 0.5, "") for at in indices), model="confused")

    with serving(Confused()) as server, server.client() as client:
        assert client.post("/v1/rerank", json=ASKED).status_code == 500


# words


BAD: list[tuple[str, Any]] = [
    ("/v1/rerank", {"query": [SECRET], "documents": [SECRET]}),
    ("/v1/rerank", {"query": SECRET, "documents": SECRET * 100_000}),
    ("/v1/rerank", {"query": SECRET, "documents": {SECRET: SECRET}}),
    ("/v1/rerank", {"query": SECRET, "documents": [[SECRET] * 50_000]}),
    ("/v1/rerank", {"query": SECRET, "documents": [SECRET] * 101}),
    ("/v1/rerank", {"query": SECRET, "documents": [SECRET], "model": SECRET}),
    ("/v1/rerank", {"query": SECRET, "documents": [SECRET], "model": {SECRET: 1}}),
    ("/v1/rerank", {"query": SECRET, "documents": [SECRET], "top_n": SECRET}),
    ("/v1/rerank", {"query": SECRET, "documents": [SECRET], "scores": SECRET}),
    ("/v1/rerank", {"query": SECRET, "documents": [SECRET], "truncate": SECRET}),
    ("/v1/rerank", {"query": SECRET, "documents": [{"text": SECRET}], "rank_fields": [SECRET + "2"]}),
    ("/v1/rerank", {"query": SECRET, "documents": [SECRET], "instruction": [SECRET]}),
    ("/v1/ranking", {"query": {SECRET: SECRET}, "passages": [{SECRET: SECRET}]}),
    ("/rerank", {"query": SECRET, "texts": [{SECRET: SECRET}]}),
    ("/rerank", {"queries": {SECRET: SECRET}, "sources": [SECRET]}),
    ("/v1/rerank", f'{{"{SECRET}": "{SECRET}'),
    ("/v1/rerank", f'{{"query": "{SECRET}", "query": "{SECRET}"}}'),
    ("/v1/rerank", f'["{SECRET}"]'),
    ("/v1/rerank", f"{SECRET}"),
    (f"/{SECRET}", {"query": SECRET}),
    (f"/v1/retrieval/{SECRET}/reranking", {"query": {"text": SECRET}, "passages": [{"text": SECRET}]}),
]


@pytest.mark.parametrize(("path", "body"), BAD, ids=range(len(BAD)))
def test_s26_a_refusal_never_repeats_the_input(
    client: httpx2.Client, path: str, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What a client sent, even megabytes of it, is neither in the error's body nor in the log; bodies stay small."""
    content = body if isinstance(body, str) else json.dumps(body)

    with caplog.at_level(logging.DEBUG):
        response = client.post(path, content=content, headers={"content-type": "application/json"})

    assert 400 <= response.status_code < 500
    assert len(response.content) < 4096
    assert SECRET not in response.text
    assert SECRET not in _logged(caplog)
    assert "Traceback" not in response.text


def test_s26_a_fault_shows_no_trace() -> None:
    """The reply to a fault of the server names neither files nor lines nor the error."""
    with serving(failing(Upset(SECRET))) as server, server.client() as client:
        said = client.post("/v1/rerank", json=ASKED).text

    assert not any(word in said for word in ("Upset", "serving", ".py", "line", SECRET))


def test_s26_the_log_says_where_a_model_failed(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever runs the server finds the types of the error and of its cause, and the module that raised them."""
    error = ScoringFailed(SECRET)
    error.__cause__ = Upset(SECRET)
    with serving(failing(error)) as server, server.client() as client:
        client.post("/v1/rerank", json=ASKED)

    said = "\n".join(record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR)
    assert "ScoringFailed (serving:" in said
    assert "because of Upset" in said
    assert SECRET not in caplog.text


# ways to ask


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v1/ranking", "/v1/rerank/"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_s40_a_wrong_method_is_told_the_right_one(client: httpx2.Client, path: str, method: str) -> None:
    """405 comes with `Allow`, and with a body that every client can read."""
    response = client.request(method, path)

    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert method == "HEAD" or _is_superset(response.json())


@pytest.mark.parametrize("path", ["/health", "/healthz", "/livez", "/ready", "/readyz", "/metrics", "/v1/models"])
def test_s40_questions_may_be_asked_by_head(client: httpx2.Client, path: str) -> None:
    """What can be read can be asked for without its body, with or without a slash at the end, and not be posted to."""
    assert [client.request(method, path).status_code for method in ("GET", "HEAD", "POST")] == [200, 200, 405]
    assert client.get(path + "/").status_code == 200
    assert client.head(path).content == b""


@pytest.mark.parametrize("path", ["/v1/rerank/", "//v1/rerank", "/v1//rerank//", "/rerank/", "/v2/rerank///"])
def test_s40_slashes_too_many_are_forgiven(client: httpx2.Client, path: str) -> None:
    """Addresses that were joined with a slash too many are answered, without a redirect."""
    assert client.post(path, json=ASKED).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/score", "/v3/rerank", "/rerank/more", "/%2e%2e/rerank", "/v1/models/x"]
)
def test_s40_an_unknown_path_is_not_found(client: httpx2.Client, path: str) -> None:
    """404 has the body that every client can read, whatever the method."""
    for method in ("GET", "POST"):
        response = client.request(method, path)
        assert response.status_code == 404
        assert _is_superset(response.json())


def test_s40_a_key_is_asked_for_however_the_path_is_written() -> None:
    """A slash more does not open what is closed, nor close what is open."""
    with serving(scripted(), api_keys=("k" * 20,)) as server, server.client() as client:
        closed = [client.post(path, json=ASKED) for path in ("/rerank", "/rerank/", "/v1//rerank", "/health/../rerank")]
        opened = [client.get(path) for path in ("/health", "/health/", "/health//", "/ready")]

    assert {each.status_code for each in closed} == {401}
    assert {each.status_code for each in opened} == {200}


def test_the_page_and_its_document_are_there(client: httpx2.Client) -> None:
    """The document describes the server, and the page shows it."""
    assert client.get("/openapi.json").json()["openapi"] == "3.1.0"
    assert "openapi.json" in client.get("/docs").text


def test_one_model_can_fail_while_another_answers() -> None:
    """A broken model's calls fail; those of its neighbour do not."""
    with (
        serving(failing(ScoringFailed("broken")), served(scripted(), name="fine")) as server,
        server.client() as client,
    ):
        answers = [
            client.post("/v1/rerank", json={**ASKED, "model": name}) for name in ("scripted", "fine", "scripted")
        ]

    assert [each.status_code for each in answers] == [500, 200, 500]


def test_s27_openrouter_reads_a_number() -> None:
    """On OpenRouter's path the error's `code` is the status, because its clients take nothing else."""
    with serving(failing(ScoringFailed("broken")), api_keys=("k",)) as server, server.client() as client:
        shut = client.post("/api/v1/rerank", json=ASKED)
        failed = client.post("/api/v1/rerank", json=ASKED, headers={"authorization": "Bearer k"})

    assert [each.json()["error"]["code"] for each in (shut, failed)] == [401, 500]
