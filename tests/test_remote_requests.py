"""What is sent: the body of each dialect, and how a call becomes several requests."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.documents import read_query, render
from resift.errors import InvalidInput
from resift.remote.dialects import DIALECTS, Dialect, choose
from resift.remote.requests import Ask, is_listwise, split
from resift.types import Cut

TEXTS = ["Paris is in France.", "Pandas eat bamboo."]
ROWS = sorted(DIALECTS)


def _bodies(dialect: Dialect, ask: Ask, *, max_documents: int | None = None) -> list[Any]:
    return [json.loads(part.body) for part in split(dialect, ask, max_documents=max_documents)]


def _body(name: str, **asked: Any) -> Any:
    (body,) = _bodies(DIALECTS[name], Ask(**({"model": "m", "query": "pandas", "texts": TEXTS} | asked)))
    return body


def _values(tree: Any) -> list[Any]:
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []
    return [tree, *(value for item in inner for value in _values(item))]


# the body of each dialect


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("openai", {"model": "m", "query": "pandas", "documents": TEXTS, "top_n": 2}),
        ("cohere", {"model": "m", "query": "pandas", "documents": TEXTS, "top_n": 2}),
        ("voyage", {"model": "m", "query": "pandas", "documents": TEXTS, "top_k": 2, "truncation": True}),
        ("mixedbread", {"model": "m", "query": "pandas", "input": TEXTS, "top_k": 2}),
        ("tei", {"query": "pandas", "texts": TEXTS, "truncate": True}),
        (
            "nvidia",
            {
                "model": "m",
                "query": {"text": "pandas"},
                "passages": [{"text": text} for text in TEXTS],
                "truncate": "END",
            },
        ),
        (
            "pinecone",
            {
                "model": "m",
                "query": "pandas",
                "documents": [{"text": text} for text in TEXTS],
                "top_n": 2,
                "return_documents": False,
                "parameters": {"truncate": "END"},
            },
        ),
        (
            "dashscope",
            {"model": "m", "input": {"query": "pandas", "documents": TEXTS}, "parameters": {"top_n": 2}},
        ),
        ("deepinfra", {"queries": ["pandas", "pandas"], "documents": TEXTS}),
        ("resift", {"model": "m", "query": "pandas", "documents": TEXTS, "top_n": 2, "scores": "own"}),
    ],
)
def test_d3_d4_each_dialect_has_its_own_words(name: str, body: dict[str, Any]) -> None:
    """Query, documents and their number stand where the dialect wants them; nothing else is sent."""
    assert _body(name) == body


def test_every_dialect_has_its_body_tested() -> None:
    """No row of the table is without a body above."""
    marks = test_d3_d4_each_dialect_has_its_own_words.pytestmark

    assert sorted(name for name, _ in marks[0].args[1]) == ROWS


@pytest.mark.parametrize("name", ROWS)
def test_c2_what_is_not_said_is_not_sent(name: str) -> None:
    """An option that nobody set is left out: real servers answer null with 400."""
    body = _body(name, model=None, instruction=None, normalize=None)

    assert None not in _values(body)
    assert "model" not in body


@pytest.mark.parametrize("name", ROWS)
def test_d5_documents_are_never_asked_for(name: str) -> None:
    """No request asks the endpoint to send the documents back."""
    asked = {"return_documents", "return_input", "return_text"}

    assert not any(value is True for key, value in _body(name).items() if key in asked)


@pytest.mark.parametrize(
    ("name", "normalize", "member"),
    [
        ("tei", None, {}),
        ("tei", True, {"raw_scores": False}),
        ("tei", False, {"raw_scores": True}),
        ("resift", None, {"scores": "own"}),
        ("resift", True, {"scores": "normalized"}),
        ("resift", False, {"scores": "raw"}),
        ("openai", False, {}),
    ],
)
def test_d8_the_wanted_scores_are_asked_for_where_one_can(name: str, normalize: bool | None, member: Any) -> None:  # noqa: FBT001
    """`normalize` is a member of the request in dialects that have one for it."""
    body = _body(name, normalize=normalize)

    assert {key: value for key, value in body.items() if key in ("raw_scores", "scores")} == member


@pytest.mark.parametrize(
    ("name", "place"), [("openai", "instruction"), ("resift", "instruction"), ("deepinfra", "instruction")]
)
def test_an_instruction_goes_where_the_dialect_has_a_place(name: str, place: str) -> None:
    """What the model is told to look for travels with the query."""
    assert _body(name, instruction="Find animals.")[place] == "Find animals."


def test_dashscope_calls_an_instruction_otherwise() -> None:
    """Both of DashScope's routes say `instruct`."""
    flat = choose("auto", "https://dashscope.aliyuncs.com/compatible-api/v1")
    (body,) = _bodies(flat, Ask("m", "pandas", TEXTS, instruction="Find animals."))

    assert body["instruct"] == "Find animals."
    assert _body("dashscope", instruction="Find animals.")["parameters"]["instruct"] == "Find animals."


@pytest.mark.parametrize("name", ["cohere", "voyage", "mixedbread", "tei", "nvidia", "pinecone"])
def test_an_instruction_without_a_place_is_refused(name: str) -> None:
    """An instruction that would be dropped silently is an error instead."""
    assert not DIALECTS[name].takes_instruction
    with pytest.raises(InvalidInput, match="no place for an instruction"):
        _body(name, instruction="Find animals.")


def test_d18_pinecone_is_not_told_to_cut_what_cohere_cuts() -> None:
    """Cohere's models on Pinecone refuse the switch that its other models need."""
    assert "parameters" not in _body("pinecone", model="cohere-rerank-3.5")
    assert "parameters" in _body("pinecone", model="bge-reranker-v2-m3")


# what is refused before anything is sent


@pytest.mark.parametrize("query", ["", "  ", "\n", None, 7, ["pandas"]])
def test_c6_d15_a_query_that_asks_nothing_is_refused(query: Any) -> None:
    """A blank query, or none at all, never reaches an endpoint."""
    with pytest.raises(InvalidInput, match="query"):
        read_query(query)


@pytest.mark.parametrize("document", [None, 7, ["a"], b"a"])
def test_c6_a_document_that_is_none_is_named(document: Any) -> None:
    """What is neither text nor mapping is refused by its position."""
    with pytest.raises(InvalidInput, match=r"documents\[3\]"):
        render(document, 3)


def test_c6_a_mapping_is_sent_as_the_text_that_models_read_here() -> None:
    """A mapping needs no `text`: all its values are written, as for a local model."""
    assert render({"title": "Pandas", "body": "eat bamboo"}, 0) == "title: Pandas\nbody: eat bamboo"


def test_c7_half_a_character_is_replaced() -> None:
    """A lone surrogate in a text becomes U+FFFD before it is sent."""
    text = render("half \ud83d", 0)

    assert _body("openai", texts=[text])["documents"] == ["half \ufffd"]


@pytest.mark.parametrize("asked", [{"texts": ["\ud800"]}, {"query": "\ud800"}, {"model": "\ud800"}])
def test_c7_half_a_character_never_fails_below(asked: dict[str, Any]) -> None:
    """If one comes this far all the same, the caller's own error says so."""
    with pytest.raises(InvalidInput, match="surrogate"):
        _body("openai", **asked)


@pytest.mark.parametrize("top_n", [0, -1, 1.5, True, "2"])
def test_c8_d20_a_top_n_that_counts_nothing_is_refused(top_n: Any) -> None:
    """Endpoints disagree about such numbers, so none is sent."""
    with pytest.raises(InvalidInput, match="top_n"):
        Cut(top_n)


def test_c8_a_top_n_above_the_number_of_documents_means_all() -> None:
    """Wanting more than there is, is no error."""
    assert Cut(10**9).apply([0.1, 0.9]) == [1, 0]


def test_d16_nothing_is_asked_about_no_documents() -> None:
    """An empty list needs no request."""
    assert split(DIALECTS["openai"], Ask("m", "pandas", [])) == []


# splitting


def test_c29_a_long_list_becomes_several_requests() -> None:
    """Each request is within the limit, they are about equally long, and their places follow each other."""
    parts = split(DIALECTS["tei"], Ask("m", "q", [str(place) for place in range(65)]))

    assert [len(part.places) for part in parts] == [21, 22, 22]
    assert [place for part in parts for place in part.places] == list(range(65))
    assert [text for part in parts for text in json.loads(part.body)["texts"]] == [str(place) for place in range(65)]


def test_c29_the_number_asked_for_is_that_of_the_request() -> None:
    """Every part asks for all its own documents, so that no default of the server cuts them."""
    bodies = _bodies(DIALECTS["cohere"], Ask("m", "q", ["x"] * 2500))

    assert [body["top_n"] for body in bodies] == [len(body["documents"]) for body in bodies] == [833, 833, 834]


@pytest.mark.parametrize(("most", "sizes"), [(None, [10]), (10, [10]), (9, [5, 5]), (3, [2, 3, 2, 3]), (1, [1] * 10)])
def test_c29_the_caller_may_name_the_limit(most: int | None, sizes: list[int]) -> None:
    """`max_documents_per_request` holds where a dialect has no limit, and in place of the one that it has."""
    for name in ("openai", "tei"):
        bodies = _bodies(DIALECTS[name], Ask("m", "q", list("abcdefghij")), max_documents=most)
        assert [len(body.get("texts") or body["documents"]) for body in bodies] == sizes


@pytest.mark.parametrize("model", ["jina-reranker-v3", "jinaai/jina-reranker-v3", "Jina-Reranker-V3-mlx", "lexical"])
def test_c29_d19_a_list_that_is_judged_together_is_never_split(model: str) -> None:
    """Models that compare documents with each other get the whole list, or the caller is told."""
    assert is_listwise(model)
    assert len(split(DIALECTS["tei"], Ask(model, "q", ["x"] * 100))) == 1
    assert len(split(DIALECTS["openai"], Ask(model, "q", ["x"] * 100), max_documents=100)) == 1
    with pytest.raises(InvalidInput, match="rank fewer documents"):
        split(DIALECTS["openai"], Ask(model, "q", ["x"] * 101), max_documents=100)


@pytest.mark.parametrize("model", [None, "jina-reranker-v2-base-multilingual", "org/lexical-bert", "m"])
def test_c29_other_models_may_be_split(model: str | None) -> None:
    """A document's score is its own for all other models."""
    assert not is_listwise(model)


def test_c30_a_heavy_list_is_split_by_bytes() -> None:
    """TEI takes two megabytes: thirty long documents are more than one request."""
    texts = [letter * 150_000 for letter in "abcdefghijklmnopqrstuvwxyz"]
    parts = split(DIALECTS["tei"], Ask("m", "q", texts))

    assert max(len(part.body) for part in parts) <= 2_000_000
    assert len(parts) == 2
    assert [text for part in parts for text in json.loads(part.body)["texts"]] == texts


def test_c30_a_text_that_is_too_heavy_by_itself_travels_alone() -> None:
    """What no split can help is left to the endpoint to refuse; the others do not share its fate."""
    parts = split(DIALECTS["tei"], Ask("m", "q", ["a", "b" * 3_000_000, "c"]))

    assert [list(part.places) for part in parts] == [[0], [1], [2]]


@given(
    st.lists(st.text(max_size=30), min_size=1, max_size=30),
    st.integers(min_value=120, max_value=600),
    st.sampled_from(ROWS),
    st.none() | st.integers(1, 8),
)
def test_c29_c30_no_request_is_above_a_limit(texts: list[str], room: int, name: str, most: int | None) -> None:
    """In every dialect each text is sent once, in order, in requests that are few enough and light enough."""
    dialect = replace(DIALECTS[name], max_bytes=room)
    parts = split(dialect, Ask("m", "q", texts), max_documents=most)

    assert [place for part in parts for place in part.places] == list(range(len(texts)))
    assert all(len(part.places) <= (most or len(texts)) for part in parts)
    assert all(len(part.body) <= room or len(part.places) == 1 for part in parts)


def test_texts_are_not_shown() -> None:
    """Neither a question nor a request shows its texts when it is printed."""
    ask = Ask("m", "xyzzy", ["plugh"], instruction="frotz")

    assert not {"xyzzy", "plugh", "frotz"} & set(repr([ask, *split(DIALECTS["openai"], ask)]).replace("'", " ").split())
    assert "xyzzy" not in repr(split(DIALECTS["openai"], ask))
