"""From the bytes of a reply to scores that can be trusted, or to an error that says why not."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resift.errors import EndpointMisbehaved
from resift.remote.dialects import DIALECTS
from resift.remote.replies import Reply, read_reply
from resift.types import Cut

ROWS = sorted(DIALECTS)
PAIRS = [(2, 0.9), (0, 0.5), (1, 0.1)]
SCORES = {2: 0.9, 0: 0.5, 1: 0.1}

MEMBERS = [
    *("results", "data", "rankings", "output", "scores", "index", "score", "relevance_score", "logit"),
    *("usage", "total_tokens", "meta", "tokens", "input_tokens", "error", "message", "request_id", "x"),
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([-1, 0, 1, 2, 0.5, 10**400, 1.0, "0", "0.5"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=24,
)


def _read(
    tree: Any, *, dialect: str = "openai", count: int = 3, headers: dict[str, str] | None = None, **known: Any
) -> Reply:
    body = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return read_reply(body, headers or {}, dialect=DIALECTS[dialect], count=count, **known)


def _refused(tree: Any, **kwargs: Any) -> EndpointMisbehaved:
    with pytest.raises(EndpointMisbehaved) as caught:
        _read(tree, **kwargs)
    return caught.value


def _rows(*, index: str = "index", score: str = "relevance_score", **more: Any) -> list[dict[str, Any]]:
    return [{index: place, score: number, **more} for place, number in PAIRS]


# where the scores stand


@pytest.mark.parametrize("dialect", ROWS)
@pytest.mark.parametrize(
    "tree",
    [
        {"results": _rows()},
        {"data": _rows()},
        _rows(),
        {"rankings": _rows(score="logit")},
        {"output": {"results": _rows()}},
        {"scores": [0.5, 0.1, 0.9]},
    ],
    ids=["results", "data", "bare list", "rankings", "output.results", "scores"],
)
def test_c9_d1_scores_are_found_wherever_they_stand(dialect: str, tree: Any) -> None:
    """All lists of results mean the same, in whatever dialect the question was asked."""
    assert _read(tree, dialect=dialect).scores == SCORES


@pytest.mark.parametrize(
    ("dialect", "tree"),
    [
        ("openai", {"id": "1", "model": "m", "results": _rows(document={"text": "a"}), "usage": {"total_tokens": 9}}),
        ("cohere", {"id": "1", "results": _rows(), "meta": {"tokens": {"input_tokens": 9}, "billed_units": {}}}),
        ("voyage", {"object": "list", "data": _rows(), "model": "m", "usage": {"total_tokens": 9}}),
        ("mixedbread", {"usage": {"prompt_tokens": 1, "total_tokens": 9}, "data": _rows(score="score"), "top_k": 3}),
        ("tei", _rows(score="score", text="a")),
        ("nvidia", {"rankings": _rows(score="logit"), "usage": {"prompt_tokens": 9, "total_tokens": 9}}),
        ("pinecone", {"model": "m", "data": _rows(score="score"), "usage": {"rerank_units": 1}}),
        ("dashscope", {"output": {"results": _rows()}, "usage": {"total_tokens": 9}, "request_id": "r"}),
        ("deepinfra", {"scores": [0.5, 0.1, 0.9], "input_tokens": 9, "request_id": None}),
        ("resift", {"results": _rows(), "data": _rows(), "meta": {"scores": "own"}, "usage": {"total_tokens": 9}}),
    ],
)
def test_d1_each_dialect_is_read_as_its_vendor_writes_it(dialect: str, tree: Any) -> None:
    """A whole reply of every vendor gives scores by index, and tokens where it tells them."""
    reply = _read(tree, dialect=dialect)

    assert reply.scores == SCORES
    assert reply.tokens == (None if dialect in ("tei", "pinecone") else 9)


@pytest.mark.parametrize("name", ["relevance_score", "score", "logit", "relevanceScore"])
def test_c10_d2_a_score_may_have_any_of_its_names(name: str) -> None:
    """The field has four words for a score, and all are understood."""
    assert _read({"results": _rows(score=name)}).scores == SCORES


def test_c10_whole_numbers_are_scores() -> None:
    """A score may come as 1 or 0."""
    reply = _read({"results": [{"index": 0, "score": 1}, {"index": 1, "score": 0}]}, count=2)

    assert reply.scores == {0: 1.0, 1: 0.0}
    assert all(isinstance(score, float) for score in reply.scores.values())


@pytest.mark.parametrize("score", ["0.5", "", "high", True, False, [0.5], {"value": 0.5}])
def test_c10_only_numbers_are_scores(score: Any) -> None:
    """A number in quotes, or true, is refused and not read as the number that it may mean."""
    assert "score for the index 0" in str(_refused({"results": [{"index": 0, "relevance_score": score}]}))


@pytest.mark.parametrize("score", [b"NaN", b"Infinity", b"-Infinity", b"null", b"1e400", b"-1e400", b"1" + b"0" * 400])
def test_c11_a_score_that_is_no_number_is_refused(score: bytes) -> None:
    """What would sort anywhere is an error, never a silent last place."""
    _refused(b'{"results": [{"index": 0, "relevance_score": ' + score + b"}]}")
    _refused(b'{"scores": [0.5, 0.1, ' + score + b"]}")


def test_c11_a_missing_score_is_named() -> None:
    """A result without a score is an error that says which."""
    assert "no score for the index 1" in str(_refused({"results": [{"index": 1, "text": "a"}]}))


def test_c11_a_null_score_is_not_replaced_by_another() -> None:
    """A score that is null is none, even beside a number with another name."""
    assert "null as the score" in str(_refused({"results": [{"index": 0, "relevance_score": None, "score": 0.5}]}))


@pytest.mark.parametrize(
    ("index", "named"),
    [
        (-1, "the number -1"),
        (3, "the number 3"),
        (10**300, "a very large number"),
        (1.0, "the number 1.0"),
        (0.5, "the number 0.5"),
        (True, "true or false"),
        (False, "true or false"),
        ("1", "a string"),
        (None, "null"),
        ([1], "a list"),
        ({}, "an object"),
    ],
)
def test_c12_an_index_that_points_nowhere_is_named(index: Any, named: str) -> None:
    """Only whole numbers below the number of documents are positions, and true is not 1."""
    message = str(_refused({"results": [{"index": 0, "score": 0.5}, {"index": index, "score": 0.1}]}))

    assert f"{named} as the index of result 1" in message


def test_c12_a_missing_index_is_named() -> None:
    """A result that does not say whose score it is, is an error."""
    assert "no index in result 0" in str(_refused({"results": [{"score": 0.5}]}))


def test_c12_two_scores_for_one_document_are_refused() -> None:
    """Nobody knows which of two results is meant, even if they are equal."""
    message = str(_refused({"results": [{"index": 1, "score": 0.5}, {"index": 1, "score": 0.5}]}))

    assert "two results with the index 1" in message


@pytest.mark.parametrize("tree", [{"results": [0.9, 0.5, 0.1]}, [2, 0, 1], {"data": [0.9, 0.5, 0.1]}])
def test_c12_bare_numbers_are_no_scores(tree: Any) -> None:
    """A list of numbers may be the order of the documents, so it is believed where it is called `scores` only."""
    assert "and not an object" in str(_refused(tree))


@pytest.mark.parametrize("scores", [[0.5, 0.1], [0.5, 0.1, 0.9, 0.2], []])
def test_c12_scores_without_indices_must_be_complete(scores: list[float]) -> None:
    """Where the place in the list says whose a score is, none may be missing."""
    assert f"holds {len(scores)} scores for 3 documents" in str(_refused({"scores": scores}, dialect="deepinfra"))


def test_c13_d17_documents_that_were_left_out_are_absent() -> None:
    """A server that drops a document leaves a gap, which is no error here and no invented score."""
    assert _read({"results": [{"index": 2, "score": 0.5}]}).scores == {2: 0.5}
    assert _read({"results": []}).scores == {}


def test_c14_d3_more_results_than_wanted_are_cut_here() -> None:
    """A server that ignores `top_n` gives all scores, and the caller gets as many as were asked for."""
    reply = _read({"results": _rows()})

    assert Cut(top_n=1).apply([reply.scores[place] for place in range(3)]) == [2]


def test_c15_d7_results_may_come_in_any_order() -> None:
    """Order is made here: best first, ties as in the caller's list."""
    rows = [{"index": place, "score": score} for place, score in [(3, 0.5), (0, 0.1), (2, 0.9), (1, 0.5)]]
    reply = _read(rows, count=4)

    assert Cut().apply([reply.scores[place] for place in range(4)]) == [2, 1, 3, 0]


@pytest.mark.parametrize("document", ["a", {"text": "a"}, None, "wrong text", 7, {"text": "a", "multi_modal": None}])
def test_c16_d6_returned_documents_are_not_looked_at(document: Any) -> None:
    """Whatever a server says about the documents, the caller has them already."""
    assert _read({"results": _rows(document=document)}) == _read({"results": _rows()})


def test_c17_d13_what_is_unknown_is_ignored() -> None:
    """More members, fewer members and another model's name change nothing."""
    full = {"id": 7, "model": "other", "object": "list", "new": [1], "results": _rows(spans=[], extra=None)}

    assert _read(full).scores == _read({"results": _rows()}).scores == SCORES


@pytest.mark.parametrize(
    ("tree", "headers", "tokens"),
    [
        ({"usage": {"total_tokens": 9, "prompt_tokens": 7}}, {}, 9),
        ({"usage": {"prompt_tokens": 7}}, {}, 7),
        ({"meta": {"tokens": {"input_tokens": 9.0, "output_tokens": 0}}}, {}, 9),
        ({"tokens": {"input_tokens": 9, "output_tokens": 1}}, {}, 9),
        ({}, {"X-Compute-Tokens": "9"}, 9),
        ({"usage": {"total_tokens": 0}}, {}, 0),
        ({}, {}, None),
        ({"usage": None, "meta": None, "tokens": None}, {}, None),
        ({"meta": {"billed_units": {"search_units": 1}}}, {}, None),
        ({"usage": {"total_tokens": -1}}, {}, None),
        ({"usage": {"total_tokens": True}}, {}, None),
        ({"usage": {"total_tokens": "9"}}, {}, None),
        ({"usage": {"total_tokens": 1.5}}, {}, None),
        ({"usage": {"total_tokens": 10**400}}, {}, None),
        ({"usage": 9, "tokens": []}, {}, None),
        ({}, {"x-compute-tokens": "many"}, None),
        ({}, {"x-compute-tokens": "\u0669"}, None),
    ],
)
def test_c18_d9_usage_is_read_where_it_makes_sense(tree: Any, headers: dict[str, str], tokens: int | None) -> None:
    """Tokens are found under any of their names; what is no count is no error and no count."""
    assert _read({"results": _rows()} | tree, headers=headers) == Reply(SCORES, tokens)


# what is no reply


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"<!doctype html><title>Login</title>", "is a web page"),
        (b'{"results": [{"index": 0, "relev', "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"OK", "is no JSON"),
        (b'{"results": [], "results": []}', "is no JSON"),
        (b"[" * 1000, "is no JSON"),
        (b"null", "no list of results"),
        (b"{}", "no list of results"),
        (b'"results"', "no list of results"),
        (b'{"results": {"0": 0.5}}', "no list of results"),
        (b'{"results": null}', "no list of results"),
        (b'{"error": {"message": "busy"}}', "an error in place of results"),
        (b'{"code": "Throttling", "message": "busy"}', "an error in place of results"),
        (b'{"results": ["a"]}', "a string as result 0"),
        (b'{"results": [null]}', "null as result 0"),
        (b'{"results": [[0, 0.5]]}', "a list as result 0"),
    ],
)
def test_c19_what_is_no_reply_is_refused(body: bytes, why: str) -> None:
    """A success that brings a page, a torn body or something else is an error that says what came."""
    error = _refused(body, headers={"X-Request-Id": "r-1"})

    assert why in str(error)
    assert (error.status, error.request_id) == (200, "r-1")


def test_c19_the_words_of_an_error_are_repeated_without_what_was_sent() -> None:
    """An error with the status of a success is told in the endpoint's words, less the texts and the key."""
    tree = {"error": {"message": "quota of sk-xyzzy-123 is used up by 'Pandas eat bamboo.'"}}
    error = _refused(tree, secrets=["sk-xyzzy-123"], texts=["pandas", "Pandas eat bamboo."])

    assert "quota of *** is used up by" in str(error)
    assert "bamboo" not in str(error)
    assert "quota" not in str(_refused(tree))  # nothing is repeated that could not be compared


@pytest.mark.parametrize("place", ["index", "score"])
def test_c19_an_error_never_shows_a_text(place: str) -> None:
    """A server that puts a document where a number belongs does not get it into the message."""
    row = {"index": 0, "score": 0.5} | {place: "xyzzy"}

    assert "xyzzy" not in str(_refused({"results": [row]}))


def _outcome(body: bytes, **known: Any) -> Reply | EndpointMisbehaved:
    try:
        return _read(body, **known)
    except EndpointMisbehaved as error:
        return error


@given(st.binary(max_size=300), st.sampled_from(ROWS))
@example(b"", "openai")
def test_any_bytes_are_a_reply_or_misbehaviour(body: bytes, dialect: str) -> None:
    """No bytes make the reader fail in a way of its own."""
    found = _outcome(body, dialect=dialect)

    assert isinstance(found, Reply) or str(found).isprintable()


@given(JSON, st.sampled_from(ROWS), st.integers(1, 4), st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
def test_any_json_is_a_reply_or_misbehaviour(tree: Any, dialect: str, count: int, headers: dict[str, str]) -> None:
    """Any JSON gives valid scores, or the one error that says that it cannot be trusted."""
    found = _outcome(json.dumps(tree).encode(), dialect=dialect, count=count, headers=headers, texts=["xyzzy"])

    if isinstance(found, EndpointMisbehaved):
        assert str(found).isprintable()
    else:
        assert all(type(place) is int and 0 <= place < count for place in found.scores)
        assert all(type(score) is float and math.isfinite(score) for score in found.scores.values())
        assert found.tokens is None or (type(found.tokens) is int and found.tokens >= 0)


@given(
    st.lists(st.fixed_dictionaries({"index": st.integers(-1, 4), "score": st.floats(0, 1) | st.none()}), max_size=5),
    st.integers(1, 4),
)
def test_a_reply_is_trusted_wholly_or_not_at_all(rows: list[dict[str, Any]], count: int) -> None:
    """One result that cannot be trusted spoils them all, and without one all count."""
    places = [row["index"] for row in rows]
    sound = len(set(places)) == len(places) and all(0 <= place < count for place in places)
    found = _outcome(json.dumps({"results": rows}).encode(), count=count)

    assert isinstance(found, Reply) is (sound and all(row["score"] is not None for row in rows))


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8).flatmap(
        lambda scores: st.tuples(st.just(scores), st.permutations(range(len(scores))))
    ),
    st.sampled_from(["results", "data", "rankings"]),
)
def test_whatever_the_order_the_scores_are_those_that_were_sent(drawn: Any, name: str) -> None:
    """Scores arrive at their documents, digit for digit."""
    scores, order = drawn
    reply = _read({name: [{"index": place, "score": scores[place]} for place in order]}, count=len(scores))

    assert reply.scores == dict(enumerate(scores))
