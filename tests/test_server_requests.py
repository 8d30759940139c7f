"""What a request may say, and what it means: members, values, bodies, and the texts that the ranker gets."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import resift
import tiny
from resift.errors import InvalidInput
from resift.server.dispatch import PATHS
from resift.server.served import open_served
from resift.testing import FakeRanker
from serving import DOCUMENTS, QUERY, scripted, served, serving

Json = dict[str, Any]

ASKED: Json = {"query": QUERY, "documents": DOCUMENTS}
TEI: Json = {"query": QUERY, "texts": DOCUMENTS}


@pytest.fixture(scope="module")
def ranker() -> FakeRanker:
    return scripted(model="org/scripted", says={"max_length": 512})


@pytest.fixture(scope="module")
def client(ranker: FakeRanker) -> Iterator[httpx2.Client]:
    with serving(served(ranker), max_documents=100) as server, server.client() as client:
        yield client


def _refused(response: httpx2.Response, param: str | None, *, status: int = 400) -> str:
    """Return the message of a reply that refuses one member of the request."""
    body = response.json()
    assert response.status_code == status
    assert body["error"]["param"] == param
    assert body["error"]["message"] == body["message"] == body["detail"]
    return str(body["message"])


def _heard(ranker: FakeRanker, client: httpx2.Client, body: Json, path: str = "/v1/rerank") -> list[Any]:
    """Return what the ranker is given to read for a request."""
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return ranker.texts_asked[-1]


# members


@pytest.mark.parametrize("member", ["model", "top_n", "top_k", "max_tokens_per_doc", "return_documents", "rank_fields"])
def test_s3_null_is_absent(client: httpx2.Client, member: str) -> None:
    """A member that is null means what no member means."""
    response = client.post("/v1/rerank", json={**ASKED, "top_n": None, member: None})

    assert response.status_code == 200
    assert [result["index"] for result in response.json()["results"]] == [1, 2, 0]
    assert "document" not in response.json()["results"][0]


@pytest.mark.parametrize(
    "member", ["instruction", "instruct", "scores", "use_activation", "truncate", "texts", "input"]
)
def test_s3_null_is_absent_whatever_the_dialect(client: httpx2.Client, member: str) -> None:
    """The members of other dialects choose nothing when they are null."""
    assert client.post("/v1/rerank", json={**ASKED, member: None}).json()["results"][0]["index"] == 1


def test_s4_unknown_members_are_ignored(client: httpx2.Client) -> None:
    """What the server does not know changes nothing, whatever it holds."""
    extra = {"overlap_tokens": 80, "priority": 0, "user": "u", "provider": {}, "x": [None, {"y": 1}], "": 0}

    assert client.post("/v1/rerank", json={**ASKED, **extra}).status_code == 200
    assert client.post("/rerank", json={**TEI, **extra, "truncation_direction": "Right"}).status_code == 200


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u3000", "\u00a0"])
def test_s8_a_blank_query_is_refused(client: httpx2.Client, blank: str) -> None:
    """A query without words is refused in Cohere's words, and named."""
    said = _refused(client.post("/v1/rerank", json={**ASKED, "query": blank}), "query")

    assert "query must not be empty or be only whitespace" in said


@pytest.mark.parametrize("query", [None, 7, 0.5, True, ["a"], {"text": "a"}])
def test_s9_a_query_is_a_string(client: httpx2.Client, query: object) -> None:
    """A query of another kind is refused by name and kind."""
    assert "query must be a string, not " in _refused(
        client.post("/v1/rerank", json={**ASKED, "query": query}), "query"
    )


def test_s9_a_query_is_needed(client: httpx2.Client) -> None:
    """A request without a query is refused, in every dialect with the dialect's own place for it."""
    _refused(client.post("/v1/rerank", json={"documents": DOCUMENTS}), "query")
    _refused(client.post("/v1/ranking", json={"passages": [{"text": "a"}]}), "query.text")
    _refused(client.post("/v1/ranking", json={"query": "a", "passages": [{"text": "a"}]}), "query")
    _refused(client.post(PATHS[-1], json={"input": {"documents": ["a"]}}), "input.query")
    _refused(client.post("/rerank", json={"queries": [], "sources": [{}]}), "queries")


@pytest.mark.parametrize("documents", ["a text", 7, {"text": "a"}, True])
def test_s10_documents_are_a_list(client: httpx2.Client, documents: object) -> None:
    """What is no list of documents is refused; a single text is not taken for its letters."""
    said = _refused(client.post("/v1/rerank", json={**ASKED, "documents": documents}), "documents")

    assert "documents must be a list of documents, not " in said


@pytest.mark.parametrize("body", [{"query": QUERY}, {"query": QUERY, "documents": None}])
def test_s10_documents_are_needed(client: httpx2.Client, body: Json) -> None:
    """A request without documents is told that they are missing; null is as good as nothing."""
    assert "documents is missing" in _refused(client.post("/v1/rerank", json=body), "documents")


def test_s10_an_empty_list_is_refused(ranker: FakeRanker, client: httpx2.Client) -> None:
    """No documents are refused in Cohere's words, and as `empty` in those of text-embeddings-inference."""
    before = len(ranker.asked)

    said = _refused(client.post("/v1/rerank", json={**ASKED, "documents": []}), "documents")
    in_tei = client.post("/rerank", json={"query": QUERY, "texts": []})

    assert "list of documents must not be empty" in said
    assert (in_tei.status_code, in_tei.json()["error_type"]) == (400, "empty")
    assert len(ranker.asked) == before


@pytest.mark.parametrize("document", [7, None, ["nested"], {}, True, 0.5])
def test_s11_a_document_is_a_text_or_an_object(client: httpx2.Client, document: object) -> None:
    """A document of another kind, and an empty object, is refused with its place in the list."""
    said = _refused(client.post("/v1/rerank", json={**ASKED, "documents": ["a", document, "b"]}), "documents")

    assert "documents[1]" in said


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/rerank", {"query": "q", "texts": ["a", {"text": "b"}]}, "texts[1]"),
        ("/v1/ranking", {"query": {"text": "q"}, "passages": [{"text": "a"}, {"image": "b"}]}, "passages[1].text"),
        ("/v1/reranking", {"query": "q", "input": ["a", ["b"]]}, "input[1]"),
        (PATHS[-1], {"input": {"query": "q", "documents": ["a", 1]}}, "input.documents[1]"),
        ("/rerank", {"queries": [{"textQuery": {"text": "q"}}], "sources": [{"type": "INLINE"}]}, "sources[0]"),
    ],
)
def test_s11_a_wrong_document_is_named_in_every_dialect(
    client: httpx2.Client, path: str, body: Json, place: str
) -> None:
    """The refusal names the document as the dialect would."""
    response = client.post(path, json=body)

    assert response.status_code == 400
    assert place in response.text


def test_s11_an_object_with_only_a_text_is_that_text(ranker: FakeRanker, client: httpx2.Client) -> None:
    """{"text": ...} is read as the same text without the object around it."""
    assert _heard(ranker, client, {**ASKED, "documents": [{"text": "a panda"}]}) == ["a panda"]


def test_s11_other_objects_reach_the_ranker_whole(ranker: FakeRanker, client: httpx2.Client) -> None:
    """An object with more than a text, or without one, is rendered by the ranker as it would be without a server."""
    documents = [{"title": "Bears", "text": "a panda"}, {"body": "bamboo"}, {"text": None}]

    assert _heard(ranker, client, {**ASKED, "documents": documents}) == documents


def test_s11_rank_fields_choose_what_is_read(ranker: FakeRanker, client: httpx2.Client) -> None:
    """The named fields are read, in their order; nothing but `text` among them is a plain text again."""
    documents = [{"id": 7, "title": "Bears", "text": "a panda"}, {"text": "bamboo"}, "plain"]

    by_two = _heard(ranker, client, {**ASKED, "documents": documents, "rank_fields": ["text", "title"]})
    by_one = _heard(ranker, client, {**ASKED, "documents": documents, "rank_fields": ["text"]})

    assert by_two == ["text: a panda\ntitle: Bears", "bamboo", "plain"]
    assert by_one == ["a panda", "bamboo", "plain"]


def test_s11_rank_fields_that_no_document_has_are_refused(client: httpx2.Client) -> None:
    """Fields that are misspelt are named as a member, and not repeated."""
    body = {**ASKED, "documents": [{"text": "a"}], "rank_fields": ["xyzzyplugh"]}

    assert "xyzzyplugh" not in _refused(client.post("/v1/rerank", json=body), "rank_fields")
    for wrong in ([], "text", [1]):
        _refused(client.post("/v1/rerank", json={**body, "rank_fields": wrong}), "rank_fields")


def test_s11_pinecone_reads_the_text_alone(ranker: FakeRanker, client: httpx2.Client) -> None:
    """Documents of Pinecone's client have ids beside their texts, and only the texts are read."""
    documents = [{"id": "1", "text": "a panda"}, {"id": "2", "body": "bamboo"}]
    headers = {"X-Pinecone-Api-Version": "2026-07"}

    assert client.post("/rerank", json={**ASKED, "documents": documents}, headers=headers).status_code == 200
    assert ranker.texts_asked[-1] == ["a panda", {"id": "2", "body": "bamboo"}]


def test_s12_an_empty_document_is_scored(client: httpx2.Client) -> None:
    """A text without words has a score and keeps its place in the list."""
    results = client.post("/v1/rerank", json={**ASKED, "documents": ["", "a panda", "  "]}).json()["results"]

    assert [result["index"] for result in results] == [1, 0, 2]


def test_s13_copies_come_back_one_by_one(client: httpx2.Client) -> None:
    """Each of several equal documents is in the results once, in the caller's order."""
    results = client.post("/v1/rerank", json={**ASKED, "documents": ["a panda"] * 5}).json()["results"]

    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [101, 1001])
def test_s14_too_many_documents_are_refused(ranker: FakeRanker, client: httpx2.Client, count: int) -> None:
    """More documents than allowed are refused with both numbers, and nothing is scored."""
    before = len(ranker.asked)

    said = _refused(client.post("/v1/rerank", json={**ASKED, "documents": ["a"] * count}), "documents", status=422)

    assert str(count) in said
    assert "100" in said
    assert len(ranker.asked) == before


@pytest.mark.parametrize("knob", [{"truncation": False}, {"truncate": False}, {"truncate": "NONE"}])
def test_s15_documents_that_are_too_long_can_be_refused(knob: Json) -> None:
    """They are cut with a warning by default; a request may have them refused, with how many and how long."""
    with (
        serving(scripted(cuts=frozenset(DOCUMENTS[:2]), says={"max_length": 128})) as server,
        server.client() as client,
    ):
        cut = client.post("/v1/rerank", json=ASKED)
        said = _refused(client.post("/v1/rerank", json={**ASKED, **knob}), None)

    assert cut.status_code == 200
    assert "2 of 3 documents" in cut.json()["meta"]["warnings"][0]
    assert "2 of 3 documents" in said
    assert "128 tokens" in said


def test_s15_every_dialect_can_have_long_documents_refused() -> None:
    """The dialects' own words for it are understood."""
    parameters = {"parameters": {"truncate": "NONE"}}
    with serving(scripted(cuts=frozenset([*DOCUMENTS, "a"]))) as server, server.client() as client:
        tei = client.post("/rerank", json={**TEI, "truncate": False})
        nvidia = client.post(
            "/v1/ranking", json={"query": {"text": "q"}, "passages": [{"text": "a"}], "truncate": "NONE"}
        )
        pinecone = client.post("/rerank", json={**ASKED, **parameters}, headers={"X-Pinecone-Api-Version": "1"})
        harmless = client.post("/rerank", json={**ASKED, **parameters})

    assert [each.status_code for each in (tei, nvidia, pinecone, harmless)] == [400, 400, 400, 200]


def test_s7_tokens_are_those_of_the_model(tmp_path: Path) -> None:
    """A real model's usage is what it read, and the same as without a server."""
    model = tiny.build("bert-cross", tmp_path / "model")
    room = open_served("mine", lambda normalize: resift.open(model, normalize=normalize, device="cpu"))
    with serving(room) as server, server.client() as client, resift.load(model, device="cpu") as ranker:
        usage = client.post("/v1/rerank", json=ASKED).json()["usage"]
        here = ranker.rank(QUERY, DOCUMENTS).usage
    for each in room.rankers.values():
        each.close()

    assert here is not None
    assert usage["prompt_tokens"] == usage["total_tokens"] == here.tokens
    assert here.tokens > len(DOCUMENTS) * 5


def test_s15_a_real_model_reads_what_it_can(tmp_path: Path) -> None:
    """Pairs longer than the window are cut, and scores are those of the ranker, digit by digit."""
    model = tiny.build("bert-cross", tmp_path / "model")
    documents: list[resift.Document] = [
        *tiny.DOCUMENTS,
        {"title": "Bears", "text": "A panda is one."},
        {"text": tiny.DOCUMENTS[3]},
    ]
    here: list[resift.Document] = [*documents[:-1], tiny.DOCUMENTS[3]]
    room = open_served("tiny", lambda normalize: resift.load(model, normalize=normalize))
    with serving(room, max_body_bytes=10**8) as server, server.client() as client:
        reply = client.post("/v1/rerank", json={"query": tiny.QUERY, "documents": documents}).json()
        raw = client.post("/v1/rerank", json={"query": tiny.QUERY, "documents": documents, "scores": "raw"}).json()
        refused = client.post("/v1/rerank", json={"query": tiny.QUERY, "documents": documents, "truncation": False})
        local = [room.ranker(kind)[0].rank(tiny.QUERY, here) for kind in ("normalized", "raw")]
    for each in room.rankers.values():
        each.close()

    assert [(hit["index"], hit["relevance_score"]) for hit in reply["results"]] == _pairs(local[0])
    assert [(hit["index"], hit["relevance_score"]) for hit in raw["results"]] == _pairs(local[1])
    assert reply["usage"]["total_tokens"] == local[0].usage.tokens  # type: ignore[union-attr]
    assert local[0].truncated > 0
    assert str(local[0].truncated) in reply["meta"]["warnings"][0]
    assert refused.status_code == 400


def _pairs(ranking: resift.Ranking) -> list[tuple[int, float]]:
    return [(hit.index, hit.score) for hit in ranking]


def test_s16_a_limit_on_tokens_is_never_an_error(client: httpx2.Client) -> None:
    """A limit above the window changes nothing; one below it is not applied, and the reply says so."""
    above = client.post("/v2/rerank", json={**ASKED, "max_tokens_per_doc": 4096}).json()
    below = client.post("/v2/rerank", json={**ASKED, "max_tokens_per_doc": 64}).json()
    wrong = client.post("/v2/rerank", json={**ASKED, "max_tokens_per_doc": "64"})

    assert "warnings" not in above["meta"]
    assert "512" in below["meta"]["warnings"][0]
    _refused(wrong, "max_tokens_per_doc")


@pytest.mark.parametrize("top_n", [0, -1, 1.5, True, False, "2", [1], -(10**30)])
def test_s17_top_n_counts_from_one(client: httpx2.Client, top_n: object) -> None:
    """Anything but a whole number from 1 up is refused, whatever the dialect calls it."""
    _refused(client.post("/v1/rerank", json={**ASKED, "top_n": top_n}), "top_n")
    _refused(client.post("/v1/rerank", json={**ASKED, "top_k": top_n}), "top_k")
    _refused(
        client.post(PATHS[-1], json={"input": ASKED, "parameters": {"top_n": top_n}}),
        "parameters.top_n",
    )


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (2, 2), (3, 3), (4, 3), (2.0, 2), (10**9, 3), (10**300, 3)])
def test_s17_a_large_top_n_means_all(client: httpx2.Client, top_n: float, count: int) -> None:
    """As many results as asked for come back, and never more than documents."""
    assert len(client.post("/v1/rerank", json={**ASKED, "top_n": top_n}).json()["results"]) == count
    assert len(client.post("/v1/rerank", json={**ASKED, "top_k": top_n}).json()["data"]) == count


def test_s18_an_unknown_model_is_not_found(ranker: FakeRanker, client: httpx2.Client) -> None:
    """The names that there are stand in the refusal; the name that was asked for does not."""
    response = client.post("/v1/rerank", json={**ASKED, "model": "xyzzyplugh"})

    said = _refused(response, "model", status=404)
    assert response.json()["error"]["code"] == "model_not_found"
    assert "org/scripted" in said
    assert "xyzzyplugh" not in said


def test_s18_models_answer_to_their_names() -> None:
    """A name may be whole, its last part, or longer than the served one; without a name the first model answers."""
    first, second = scripted(model="org/first"), scripted(model="second")
    names = {
        "org/first": "org/first",
        "first": "org/first",
        "second": "second",
        "any/second": "second",
        "default/not-specified": "org/first",
        "": "org/first",
        None: "org/first",
    }
    with serving(first, second) as server, server.client() as client:
        found = {name: client.post("/v1/rerank", json={**ASKED, "model": name}).json()["model"] for name in names}
        other = client.post("/v1/rerank", json={**ASKED, "model": "other/first"})
        wrong = client.post("/v1/rerank", json={**ASKED, "model": 7})
        nvidia = {"query": {"text": QUERY}, "passages": [{"text": "a"}]}
        by_path = client.post("/v1/retrieval/any/second/reranking", json=nvidia)

    assert found == names
    assert other.status_code == 404
    _refused(wrong, "model")
    assert by_path.status_code == 200
    assert len(second.asked) == 3


def test_s18_any_model_can_be_accepted() -> None:
    """A server that is told so answers for names that it does not know."""
    with serving(scripted(), accept_any_model=True) as server, server.client() as client:
        assert client.post("/v1/rerank", json={**ASKED, "model": "gpt"}).json()["model"] == "scripted"


@pytest.mark.parametrize("member", ["instruction", "instruct"])
def test_an_instruction_reaches_the_ranker(ranker: FakeRanker, client: httpx2.Client, member: str) -> None:
    """Both words for it are understood, and nothing is made up where there is none."""
    client.post("/v1/rerank", json={**ASKED, member: "find bears"})
    told = ranker.asked[-1]["instruction"]
    client.post("/v1/rerank", json=ASKED)

    assert (told, ranker.asked[-1]["instruction"]) == ("find bears", None)
    _refused(client.post("/v1/rerank", json={**ASKED, member: 7}), member)


def test_an_instruction_for_a_model_that_takes_none_is_refused() -> None:
    """It is refused by name, not silently dropped; a ranker that refuses it itself is believed."""
    silent = scripted(model="silent", fails=[InvalidInput("takes no instruction: 'xyzzyplugh'")])
    with serving(scripted(says={"takes_instruction": False}), silent) as server, server.client() as client:
        _refused(client.post("/v1/rerank", json={**ASKED, "instruction": "xyzzyplugh"}), "instruction")
        said = _refused(client.post("/v1/rerank", json={**ASKED, "model": "silent", "instruction": "xyzzyplugh"}), None)

    assert "xyzzyplugh" not in said


# scores


def _kinds(client: httpx2.Client, *requests: Json) -> list[tuple[str, float]]:
    replies = [client.post("/v1/rerank", json={**ASKED, **request}).json() for request in requests]
    return [(reply["meta"]["scores"], reply["results"][0]["relevance_score"]) for reply in replies]


def test_s39_the_kind_of_scores_can_be_chosen() -> None:
    """Scores are in [0, 1] unless a request asks otherwise, in our word or another's, and the reply says which."""
    room = served(scripted(lambda *_: 0.5), raw=scripted(lambda *_: -3.0), own=scripted(lambda *_: 7.0))
    with serving(room) as server, server.client() as client:
        kinds = _kinds(
            client,
            {},
            {"scores": "normalized"},
            {"scores": "raw"},
            {"scores": "own"},
            {"use_activation": False},
            {"use_activation": True},
            {"scores": "own", "use_activation": False},
        )
        infinity = [client.post("/rerank", json={**ASKED, "raw_scores": raw}).json() for raw in (True, False)]
        tei = [
            client.post("/rerank", json={**TEI, "raw_scores": raw}).json()[0]["score"] for raw in (True, False, None)
        ]

    normalized, raw, own = ("normalized", 0.5), ("raw", -3.0), ("own", 7.0)
    assert kinds == [normalized, normalized, raw, own, raw, normalized, own]
    assert [reply["results"][0]["relevance_score"] for reply in infinity] == [-3.0, 0.5]
    assert tei == [-3.0, 0.5, 0.5]


def test_s39_logits_are_logits() -> None:
    """NVIDIA's dialect calls its scores logits, and gets them where the model has any."""
    body = {"query": {"text": QUERY}, "passages": [{"text": "a"}]}
    both = served(scripted(lambda *_: 0.5), raw=scripted(lambda *_: -3.0))
    with serving(both) as server, server.client() as client:
        assert client.post("/v1/ranking", json=body).json()["rankings"] == [{"index": 0, "logit": -3.0}]
    with serving(scripted(lambda *_: 0.5)) as server, server.client() as client:
        assert client.post("/v1/ranking", json=body).json()["rankings"] == [{"index": 0, "logit": 0.5}]


def test_s39_scores_that_there_are_not_are_refused(client: httpx2.Client) -> None:
    """Nobody who asks for raw scores is given others under their name."""
    _refused(client.post("/v1/rerank", json={**ASKED, "scores": "raw"}), "scores")
    _refused(client.post("/v1/rerank", json={**ASKED, "raw_scores": True}), "raw_scores")
    _refused(client.post("/v1/rerank", json={**ASKED, "scores": "sigmoid"}), "scores")
    _refused(client.post("/v1/rerank", json={**ASKED, "use_activation": "no"}), "use_activation")


# bodies


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"[]", b"null", b"7", b'"text"', b'{"query":"q","documents":["a"],}', b"query=q", b"{}{}"]
)
def test_s19_what_is_no_object_is_refused(client: httpx2.Client, body: bytes) -> None:
    """Broken JSON and JSON that is no object are refused, and never a fault of the server."""
    response = client.post("/v1/rerank", content=body)

    _refused(response, None)
    assert response.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_s20_numbers_that_json_does_not_know_are_refused(client: httpx2.Client, literal: str) -> None:
    """They are refused wherever they stand, with an error that is JSON itself."""
    for body in (
        f'{{"query":"q","documents":["a"],"top_n":{literal}}}',
        f'{{"query":"q","documents":[{{"a":{literal}}}]}}',
    ):
        _refused(client.post("/v1/rerank", content=body), None)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig", "latin-1"])
def test_s21_bodies_are_utf_8(client: httpx2.Client, encoding: str) -> None:
    """Another encoding, or a byte order mark, is refused."""
    body = '{"query":"q","documents":["caf\u00e9"]}'.encode(encoding)

    _refused(client.post("/v1/rerank", content=body, headers={"content-type": "application/json"}), None)


@pytest.mark.parametrize("half", [r"\ud800", r"\udfff", r"a\uD83Db", r"\ude00\ud83d"])
def test_s22_half_a_surrogate_pair_is_replaced(ranker: FakeRanker, client: httpx2.Client, half: str) -> None:
    """It is read as U+FFFD in every text, keys included, and can be sent back."""
    body = f'{{"query":"{half}","documents":["{half}",{{"{half}":"{half}"}}],"return_documents":true,"model":null}}'

    response = client.post("/v1/rerank", content=body)

    assert response.status_code == 200
    assert "\ufffd" in ranker.asked[-1]["query"]
    assert "\ufffd" in response.json()["results"][0]["document"]["text"]


@pytest.mark.parametrize(
    "text",
    ["\x00", "a\x00b", "\U0001f43c", "\u05e9\u05dc\u05d5\u05dd \u202e!", "a" + "\u0301" * 500_000, "\ufeff", "\u2028"],
    ids=["nul", "nul inside", "emoji", "rtl", "1 MB of accents", "bom", "line separator"],
)
def test_s22_any_text_is_scored_as_it_is(ranker: FakeRanker, client: httpx2.Client, text: str) -> None:
    """Every character that JSON can carry reaches the ranker and comes back unchanged."""
    response = client.post("/v1/rerank", json={**ASKED, "documents": [text], "return_documents": True})

    assert response.status_code == 200
    assert ranker.texts_asked[-1] == [text]
    assert response.json()["results"][0]["document"] == {"text": text}


@pytest.mark.parametrize("kind", [None, "application/json", "text/plain", "application/x-www-form-urlencoded", "odd"])
def test_s23_bodies_are_read_as_json_whatever_they_are_called(client: httpx2.Client, kind: str | None) -> None:
    """A client that forgets to say what it sends is served."""
    headers = {} if kind is None else {"content-type": kind}

    assert client.post("/v1/rerank", content=json.dumps(ASKED), headers=headers).status_code == 200


def test_s23_what_cannot_be_json_is_refused(client: httpx2.Client) -> None:
    """Multipart, binary and compressed bodies are refused for what they are."""
    body = json.dumps(ASKED)

    for headers in ({"content-type": "multipart/form-data; boundary=x"}, {"content-type": "application/octet-stream"}):
        assert "application/json" in _refused(
            client.post("/v1/rerank", content=body, headers=headers), None, status=415
        )
    _refused(client.post("/v1/rerank", content=body, headers={"content-encoding": "gzip"}), None, status=415)


@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 5000 + "1" + "}" * 5000,
        "[" * 70 + "]" * 70,
        "9" * 100_000,
        '{"a":1,"a":2}',
    ],
    ids=["open", "deep list", "deep object", "a little too deep", "endless number", "key twice"],
)
def test_s25_hostile_json_is_refused(client: httpx2.Client, value: str) -> None:
    """Depth without end, numbers without end and keys that come twice are refused at once."""
    _refused(client.post("/v1/rerank", content=f'{{"query":"q","documents":["a"],"x":{value}}}'), None)


def test_s25_a_key_twice_is_refused_at_the_top(client: httpx2.Client) -> None:
    """Nobody has to guess which of two queries counts."""
    _refused(client.post("/v1/rerank", content='{"query":"q","query":"r","documents":["a"]}'), None)


def test_s25_a_large_body_is_read_beside_the_others(client: httpx2.Client) -> None:
    """A body of megabytes is scored; what it costs is bounded by its size."""
    documents = ["panda " * 5000] * 100

    results = client.post("/v1/rerank", json={**ASKED, "documents": documents, "return_documents": True}).json()[
        "results"
    ]

    assert len(results) == 100
    assert all(math.isfinite(result["relevance_score"]) for result in results)
