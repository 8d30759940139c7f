"""What is answered: the shape that each real client demands, in the order and with the digits that all may rely on."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from resift.server.dispatch import DASHSCOPE_PATHS, FLAT_PATHS, PATHS, RANKING_PATHS, RERANKING_PATHS
from resift.server.page import page
from resift.testing import FakeRanker
from serving import DOCUMENTS, QUERY, scripted, served, serving

Json = dict[str, Any]

ASKED: Json = {"query": QUERY, "documents": DOCUMENTS}
ORDER = [1, 2, 0]  # of DOCUMENTS, by words shared with QUERY
USAGE = {"prompt_tokens": 13, "completion_tokens": 0, "total_tokens": 13}
PASSAGES: Json = {"query": {"text": QUERY}, "passages": [{"text": text} for text in DOCUMENTS]}
NATIVE: Json = {"model": "scripted", "input": {"query": QUERY, "documents": DOCUMENTS}}
BEDROCK: Json = {
    "queries": [{"type": "TEXT", "textQuery": {"text": QUERY}}],
    "sources": [
        {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}}}
        for text in DOCUMENTS[:2]
    ]
    + [{"type": "INLINE", "inlineDocumentSource": {"type": "JSON", "jsonDocument": {"text": DOCUMENTS[2]}}}],
}
PINECONE = {"X-Pinecone-Api-Version": "2026-07", "Api-Key": "k"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with serving(scripted()) as server, server.client() as client:
        yield client


def _reply(client: httpx2.Client, path: str, body: Json, **headers: str) -> Any:
    response = client.post(path, json=body, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def _indices(results: list[Json]) -> list[int]:
    return [result["index"] for result in results]


# shapes


@pytest.mark.parametrize("listwise", [True, False])
def test_a_listwise_model_says_so(listwise: bool) -> None:  # noqa: FBT001
    """Whoever would split a list is told, in any dialect, that scores of its parts do not fit together."""
    with serving(scripted(says={"listwise": listwise})) as server, server.client() as client:
        found = [client.post("/rerank", json=body) for body in (ASKED, {"query": QUERY, "texts": DOCUMENTS})]

    assert [reply.headers.get("x-resift-listwise") for reply in found] == ["true" if listwise else None] * 2


@pytest.mark.parametrize("path", [*FLAT_PATHS, *RERANKING_PATHS])
def test_s1_flat_paths_answer_the_flat_shape(client: httpx2.Client, path: str) -> None:
    """Every path that a client of the flat shape may call answers it, reranking paths included."""
    reply = _reply(client, path, {**ASKED, "top_n": 2})

    assert reply.keys() == {"object", "id", "model", "results", "usage", "meta"}
    assert _indices(reply["results"]) == ORDER[:2]
    assert reply["usage"] == USAGE
    assert reply["meta"] == {
        "api_version": {"version": "2" if "/v2/" in path else "1"},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": 13, "output_tokens": 0},
        "scores": "normalized",
    }


@pytest.mark.parametrize("path", [*FLAT_PATHS, *RERANKING_PATHS])
def test_s1_texts_ask_for_a_bare_list(client: httpx2.Client, path: str) -> None:
    """`texts` is the dialect of text-embeddings-inference anywhere; what a list has no room for is in headers."""
    response = client.post(path, json={"query": QUERY, "texts": DOCUMENTS})

    assert [result.keys() for result in response.json()] == [{"index", "score"}] * 3
    assert _indices(response.json()) == ORDER
    assert response.headers["x-compute-tokens"] == "13"


@pytest.mark.parametrize("path", [path.replace("{model:path}", "org/scripted") for path in RANKING_PATHS])
def test_s1_ranking_paths_answer_rankings(client: httpx2.Client, path: str) -> None:
    """NVIDIA's paths answer a list of rankings with logits."""
    reply = _reply(client, path, PASSAGES)

    assert _indices(reply["rankings"]) == ORDER
    assert reply["rankings"][0].keys() == {"index", "logit"}


def test_s1_mixedbread_is_told_by_its_input(client: httpx2.Client) -> None:
    """`input` on a reranking path is answered as Mixedbread answers, and gives back what was given."""
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1]}, DOCUMENTS[2]]

    reply = _reply(client, "/v1/reranking", {"query": QUERY, "input": documents, "return_input": True, "top_k": 2})

    assert (reply["object"], reply["top_k"], reply["return_input"], reply["usage"]) == ("list", 2, True, USAGE)
    assert [(each["index"], each["input"]) for each in reply["data"]] == [(1, documents[1]), (2, documents[2])]
    assert all(each.keys() == {"index", "score", "input"} for each in reply["data"])


def test_s1_dashscope_is_told_by_its_path(client: httpx2.Client) -> None:
    """DashScope's own path nests what it asks and what it answers."""
    asked = {**NATIVE, "parameters": {"top_n": 2, "return_documents": True}}

    reply = _reply(client, DASHSCOPE_PATHS[0], asked)

    assert _indices(reply["output"]["results"]) == ORDER[:2]
    assert reply["output"]["results"][0]["document"] == {"text": DOCUMENTS[1]}
    assert reply["usage"]["total_tokens"] == 13
    assert reply["request_id"]


def test_s1_bedrock_is_told_by_its_members(client: httpx2.Client) -> None:
    """`queries` with `sources` are read as Bedrock means them, texts and JSON alike."""
    knobs = {
        "bedrockRerankingConfiguration": {
            "numberOfResults": 2,
            "modelConfiguration": {"modelArn": "arn:aws:bedrock:us-west-2::foundation-model/scripted"},
        }
    }

    reply = _reply(client, "/rerank", {**BEDROCK, "rerankingConfiguration": {"type": "X", **knobs}})

    assert _indices(reply["results"]) == ORDER[:2]
    assert reply["results"][0].keys() == {"index", "relevanceScore"}


def test_s1_pinecone_is_told_by_its_header(client: httpx2.Client) -> None:
    """Pinecone's header asks for Pinecone's shape, with documents unless they are declined."""
    documents = [{"id": str(at), "text": text} for at, text in enumerate(DOCUMENTS)]

    reply = _reply(client, "/rerank", {**ASKED, "documents": documents, "rank_fields": ["text"]}, **PINECONE)
    bare = _reply(client, "/rerank", {**ASKED, "return_documents": False}, **PINECONE)

    assert reply.keys() == {"model", "data", "usage"}
    assert reply["usage"] == {"rerank_units": 1}
    assert [each["document"] for each in reply["data"]] == [documents[at] for at in ORDER]
    assert "document" not in bare["data"][0]


@pytest.mark.parametrize(
    "sign", [{"truncation": True}, {"top_k": None}, {"top_k": 3}, {"truncation": True, "top_n": 3}]
)
def test_s1_voyage_is_told_by_its_members(client: httpx2.Client, sign: Json) -> None:
    """`truncation`, or `top_k` without `top_n`, asks for Voyage's shape even as null."""
    reply = _reply(client, "/v1/rerank", {**ASKED, **sign, "return_documents": True})

    assert reply.keys() == {"object", "data", "model", "usage"}
    assert reply["object"] == "list"
    assert [each["document"] for each in reply["data"]] == [DOCUMENTS[at] for at in ORDER]


def test_s1_infinity_is_told_by_raw_scores(client: httpx2.Client) -> None:
    """`raw_scores` beside documents asks for Infinity's shape, where documents are strings."""
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1]}, {"a": "panda"}]

    reply = _reply(client, "/rerank", {**ASKED, "documents": documents, "raw_scores": False, "return_documents": True})

    assert (reply["object"], reply["model"]) == ("rerank", "scripted")
    assert {each["index"]: each["document"] for each in reply["results"]} == {
        0: DOCUMENTS[0],
        1: DOCUMENTS[1],
        2: "a: panda",
    }
    assert abs(reply["created"] - time.time()) < 60


def test_s1_a_discriminating_member_that_is_null_chooses_no_dialect(client: httpx2.Client) -> None:
    """Null `texts`, `input`, `queries` and `sources` are absent."""
    nothing = dict.fromkeys(["texts", "input", "queries", "sources"])

    assert "results" in _reply(client, "/v1/reranking", {**ASKED, **nothing})


# clients: each as it was seen to ask, and what it fails without


def _numbers(*names: str) -> Callable[[Any], bool]:
    return lambda reply: all(type(reply["usage"][name]) is int for name in names)


def _is_results(reply: Any) -> bool:
    return _indices(reply["results"]) == ORDER and "relevance_score" in reply["results"][0]


def _is_list(reply: Any) -> bool:
    return isinstance(reply, list) and len(reply) == 3 and _indices(reply) == ORDER


def _are_texts(reply: Any) -> bool:
    return all(result["document"]["text"] == DOCUMENTS[result["index"]] for result in reply["results"])


FLAT = {"model": "scripted", **ASKED}
RETURNED = {**FLAT, "return_documents": True}
HUGGING = {"query": QUERY, "texts": DOCUMENTS, "raw_scores": False}

CLIENTS: dict[str, tuple[str, Json, Callable[[Any], bool]]] = {
    "cohere": ("/v2/rerank", FLAT, _is_results),
    "cohere under /v1": ("/v1/v2/rerank", FLAT, _is_results),
    "cohere 5 with nulls": ("/v2/rerank", {**FLAT, "top_n": 3, "max_tokens_per_doc": None}, _is_results),
    "cohere v1": ("/v1/rerank", {**RETURNED, "rank_fields": ["text"], "max_chunks_per_doc": 10}, _are_texts),
    "voyage": ("/v1/rerank", {**FLAT, "top_k": None, "truncation": True}, _numbers("total_tokens")),
    "voyage in JavaScript": ("/v1/rerank", FLAT, lambda reply: _indices(reply["data"]) == ORDER),
    "mixedbread": (
        "/v1/reranking",
        {"query": QUERY, "input": DOCUMENTS},
        lambda reply: _indices(reply["data"]) == ORDER,
    ),
    "mixedbread 2": (
        "/v1/reranking",
        {"query": QUERY, "input": DOCUMENTS},
        lambda reply: (reply["object"], reply["top_k"], reply["return_input"]) == ("list", 3, False),
    ),
    "together": ("/v1/rerank", FLAT, _is_results),
    "together under /v1": ("/v1/v1/rerank", FLAT, _is_results),
    "ai-sdk for together": (
        "/v1/rerank",
        {**FLAT, "top_n": 3},
        _numbers("prompt_tokens", "completion_tokens", "total_tokens"),
    ),
    "openrouter": ("/api/v1/rerank", FLAT, _are_texts),
    "openai's post": ("/v1/rerank", FLAT, _is_results),
    "litellm for cohere": ("/v2/rerank", {**RETURNED, "top_n": 3}, _are_texts),
    "litellm for jina": ("/v1/rerank", {**RETURNED, "top_n": 3}, _are_texts),
    "litellm for vllm": ("/rerank", {**RETURNED, "top_n": 3}, _are_texts),
    "litellm for hugging face": ("/rerank", {**HUGGING, "truncate": False, "top_n": 3}, _is_list),
    "litellm for dashscope": ("/reranks", RETURNED, _are_texts),
    "litellm for fireworks": ("/inference/v1/rerank", RETURNED, _are_texts),
    "litellm for nvidia": (
        "/v1/retrieval/scripted/reranking",
        {**PASSAGES, "top_k": 3},
        lambda reply: _indices(reply["rankings"]) == ORDER,
    ),
    "langchain for infinity": (
        "/rerank",
        {**FLAT, "return_documents": False, "raw_scores": False},
        lambda reply: reply["object"] == "rerank" and _numbers("prompt_tokens")(reply) and _is_results(reply),
    ),
    "langchain for nvidia": ("/v1/ranking", PASSAGES, lambda reply: "logit" in reply["rankings"][0]),
    "llama-index for tei": ("/rerank", {"query": QUERY, "texts": DOCUMENTS}, _is_list),
    "llama-index for siliconflow": (
        "/v1/rerank",
        {**FLAT, "overlap_tokens": 80, "max_chunks_per_doc": 1024},
        _is_results,
    ),
    "haystack for cohere": ("/v2/rerank", {**FLAT, "max_tokens_per_doc": 4096}, _is_results),
    "haystack for jina": ("/v1/rerank", FLAT, lambda reply: bool({"results", "model", "usage"} <= reply.keys())),
    "haystack for tei": ("/rerank", {**HUGGING, "truncate": True, "truncation_direction": "Left"}, _is_list),
    "rerankers": ("/v1/rerank", {**RETURNED, "top_n": 3}, _is_results),
    "dify": ("/v1/rerank", {**FLAT, "top_n": None}, _is_results),
    "dashscope": (DASHSCOPE_PATHS[0], NATIVE, lambda reply: _indices(reply["output"]["results"]) == ORDER),
    "dashscope compatible": ("/compatible-api/v1/reranks", {**FLAT, "instruct": "find"}, _is_results),
    "boto3": ("/rerank", BEDROCK, lambda reply: "relevanceScore" in reply["results"][0]),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_s2_every_client_finds_what_it_demands(client: httpx2.Client, name: str) -> None:
    """The request that a client sends is answered with what the client cannot do without."""
    path, body, is_fine = CLIENTS[name]

    assert is_fine(_reply(client, path, body))


def test_s2_there_is_no_second_list_where_nobody_asks(client: httpx2.Client) -> None:
    """Voyage's list stands beside the usual one only where its client could have sent the request."""
    plain, returned = _reply(client, "/v1/rerank", FLAT), _reply(client, "/v1/rerank", RETURNED)

    assert [each["document"] for each in returned["data"]] == [DOCUMENTS[at] for at in ORDER]
    assert "document" not in plain["data"][0]
    for path, body in (("/v2/rerank", FLAT), ("/rerank", FLAT), ("/v1/rerank", {**FLAT, "top_n": 3})):
        assert "data" not in _reply(client, path, body)


# results


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/v1/rerank", ASKED, "document"),
        ("/v1/rerank", {**ASKED, "return_documents": False}, "document"),
        ("/api/v1/rerank", {**ASKED, "return_documents": False}, "document"),
        ("/v1/rerank", {**ASKED, "truncation": True}, "document"),
        ("/rerank", {**ASKED, "raw_scores": False}, "document"),
        ("/rerank", {"query": QUERY, "texts": DOCUMENTS, "return_text": False}, "text"),
        ("/v1/reranking", {"query": QUERY, "input": DOCUMENTS}, "input"),
    ],
)
def test_s5_documents_come_back_only_when_asked_for(client: httpx2.Client, path: str, body: Json, word: str) -> None:
    """Where they are not asked for there is no member for them, not even a null."""
    reply = _reply(client, path, body)
    results = reply if isinstance(reply, list) else reply.get("results") or reply["data"]

    assert all(word not in result for result in results)


def test_s5_openrouter_gets_documents_unasked(client: httpx2.Client) -> None:
    """On OpenRouter's path, whose clients fail without them, documents come back by default."""
    assert _are_texts(_reply(client, "/api/v1/rerank", ASKED))


def test_s5_objects_come_back_as_they_came(client: httpx2.Client) -> None:
    """An object keeps its fields, and has a text for the clients that read one."""
    documents = [{"title": "Bears", "text": "a panda"}, {"body": "bamboo"}, {"text": None, "n": 1}]

    results = _reply(client, "/v1/rerank", {**RETURNED, "documents": documents})["results"]

    assert {each["index"]: each["document"] for each in results} == {
        0: documents[0],
        1: {"body": "bamboo", "text": "body: bamboo"},
        2: documents[2],
    }


def test_s6_results_are_sorted_and_cut_whatever_the_ranker_does() -> None:
    """Best first, ties in the caller's order, no more than asked for: even from a ranker that keeps none of it."""
    scores = {"a": 0.5, "b": 0.9, "c": 0.5, "d": -0.0, "e": 0.0}

    class Careless(FakeRanker):
        async def arank(self, *arguments: Any, **options: Any) -> Any:
            ranking = await super().arank(*arguments, **{**options, "top_n": None})
            return type(ranking)(tuple(sorted(ranking, key=lambda hit: -hit.index)), model=ranking.model)

    with serving(Careless(scorer=lambda _query, text, _told: scores[text])) as server, server.client() as client:
        full = _reply(client, "/v1/rerank", {**ASKED, "documents": list(scores)})["results"]
        part = _reply(client, "/v1/rerank", {**ASKED, "documents": list(scores), "top_n": 2})["results"]

    assert _indices(full) == [1, 0, 2, 3, 4]
    assert part == full[:2]


@pytest.mark.parametrize("score", [0.1 + 0.2, 1e-300, -5e-324, 1.7976931348623157e308, 1 / 3, 2**53 + 0.0])
def test_s6_scores_have_every_digit(score: float) -> None:
    """A client reads the very number that the ranker gave."""
    with serving(scripted(lambda *_: score)) as server, server.client() as client:
        assert _reply(client, "/v1/rerank", ASKED)["results"][0]["relevance_score"] == score


def test_s7_usage_counts_tokens() -> None:
    """Three whole numbers from 0 up are there whatever the ranker knows."""
    with serving(scripted(), scripted(model="silent", counts=None)) as server, server.client() as client:
        known = _reply(client, "/v1/rerank", ASKED)["usage"]
        unknown = _reply(client, "/v1/rerank", {**ASKED, "model": "silent"})["usage"]

    assert known == USAGE
    assert unknown == dict.fromkeys(USAGE, 0)


def test_s7_what_is_scored_is_counted() -> None:
    """The counters know each model's documents and tokens, and the documents that were cut."""
    with serving(scripted(cuts=frozenset(DOCUMENTS[:2]))) as server, server.client() as client:
        _reply(client, "/v1/rerank", ASKED)
        shown = client.get("/metrics").text

    assert 'resift_documents_total{model="scripted"} 3.0' in shown
    assert 'resift_tokens_total{model="scripted"} 13.0' in shown
    assert 'resift_truncated_documents_total{model="scripted"} 2.0' in shown


def test_s13_missing_scores_are_said_not_invented() -> None:
    """Documents that got no score are left out and named, or fail the call where the dialect has no word for it."""
    with serving(scripted(drops=frozenset([DOCUMENTS[1]]))) as server, server.client() as client:
        reply = _reply(client, "/v1/rerank", ASKED)
        tei = client.post("/rerank", json={"query": QUERY, "texts": DOCUMENTS})

    assert _indices(reply["results"]) == [2, 0]
    assert reply["meta"]["warnings"] == ["these documents got no score: 1"]
    assert tei.status_code == 424


# beside the rankings


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models/"])
def test_s31_models_are_listed_as_openai_does(path: str) -> None:
    """Clients that look for their model find it under the name that it is served by."""
    with serving(scripted(model="org/first"), served(scripted(), name="second")) as server, server.client() as client:
        listed = client.get(path).json()

    assert listed["object"] == "list"
    assert [(each["id"], each["object"]) for each in listed["data"]] == [("org/first", "model"), ("second", "model")]


def test_s41_replies_have_ids_of_their_own(client: httpx2.Client) -> None:
    """Each reply has an id that no other has; the caller's request id comes back beside it, on errors too."""
    headers = {"x-request-id": "mine-1"}
    replies = [client.post("/v1/rerank", json=ASKED, headers=headers) for _ in range(5)]
    wrong = [
        client.post("/v1/rerank", json={}, headers=headers),
        client.post("/nowhere", json={}, headers=headers),
        client.get("/v1/rerank", headers=headers),
    ]

    assert len({reply.json()["id"] for reply in replies}) == 5
    assert {each.headers["x-request-id"] for each in [*replies, *wrong]} == {"mine-1"}


def test_s41_a_request_without_an_id_is_given_one(client: httpx2.Client) -> None:
    """Every reply has a request id, and no two have the same."""
    assert len({client.post("/v1/rerank", json=ASKED).headers["x-request-id"] for _ in range(3)}) == 3


def test_every_path_is_reached(client: httpx2.Client) -> None:
    """No scoring path hides behind another one."""
    for path in PATHS:
        response = client.post(path.replace("{model:path}", "org/scripted"), json={})
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_the_page_for_people_needs_nothing_from_elsewhere(client: httpx2.Client) -> None:
    """Each route and each body of the document is on a page that loads nothing, so it opens without the internet."""
    document, shown = client.get("/openapi.json").json(), client.get("/docs")

    assert shown.headers["content-type"].startswith("text/html")
    assert re.findall(r"""(?:src|href)=["'](?!#|data:,|openapi\.json)[^"']*""", shown.text) == []
    for path in document["paths"]:
        assert f"<code>{path}</code>" in shown.text
    anchors = set(re.findall(r'<details id="([^"]+)"', shown.text))
    assert document["components"]["schemas"].keys() <= anchors
    assert set(re.findall(r'href="#([^"]+)"', shown.text)) <= anchors


def test_the_page_shows_words_as_words() -> None:
    """Nothing in a document is taken for HTML."""
    reply = {"description": "<b>`x<y`</b>", "content": {}}
    paths = {"/<i>": {"get": {"operationId": "a&b", "summary": "<script>", "responses": {"200": reply}}}}
    info = {"title": "t", "version": "1", "description": "<u>"}

    shown = page({"info": info, "paths": paths, "components": {"schemas": {}}})

    assert "&lt;b&gt;<code>x&lt;y</code>&lt;/b&gt;" in shown
    assert not {"<u>", "<i>", "<b>`"} & set(re.findall(r"<[^ >]*>`?", shown))
    assert shown.count("<script>") == 1
