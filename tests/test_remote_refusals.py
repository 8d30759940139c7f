"""From a reply without success to the error that it means, without anything that was sent."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import EndpointError, EndpointRefused, EndpointUnavailable
from resift.remote.dialects import DIALECTS
from resift.remote.masking import masked
from resift.remote.refusals import blames_input, is_route_missing, read_refusal

URL = "http://h/v1/rerank"
KEY = "sk-xyzzy-plugh-0123456789"
TEXTS = ["what do pandas eat?", "Pandas eat bamboo all day long.", "größer als\ngroß", "bear"]


def _error(status: int, body: Any = b"", headers: dict[str, str] | None = None, **known: Any) -> EndpointError:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_refusal(status, headers or {}, sent, **({"url": URL, "secrets": [KEY], "texts": TEXTS} | known))


# C20, D10


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no good", "type": "x", "param": None, "code": 400}}, "no good"),
        ({"error": "Unauthorized"}, "Unauthorized"),
        ({"error": "no good", "error_type": "Validation"}, "no good"),
        ({"message": "no good"}, "no good"),
        ({"detail": "no good"}, "no good"),
        ({"detail": [{"type": "missing", "loc": ["body", "model"], "msg": "no good"}]}, "body.model: no good"),
        (b"no good\n", "no good"),
        (b"<html><head><title>502 Bad Gateway</title></head><body>x</body></html>", "502 Bad Gateway"),
        (b"<html><body>x</body></html>", "a web page"),
        (b'{"error": "torn', '{"error": "torn'),
        (b"\xff\xfe", "??"),
    ],
)
def test_c20_d10_the_message_of_any_error_is_shown(body: Any, message: str) -> None:
    """Whatever an error's body looks like, the caller sees status, address and the server's own words."""
    error = _error(400, body)

    assert str(error).startswith(f"{URL} answered 400: {message}".replace("??", "\ufffd\ufffd"))
    assert error.status == 400


@pytest.mark.parametrize("body", [b"", b"  ", {}, [], {"code": 7}, b"null"])
def test_c20_an_error_without_words_is_an_error(body: Any) -> None:
    """An empty body still gives a typed error with its status."""
    assert str(_error(400, body)).startswith(f"{URL} answered 400")


def test_c20_an_error_is_short() -> None:
    """Three megabytes of echo are read quickly and shown by their beginning."""
    begun = time.monotonic()
    error = _error(422, {"detail": [{"msg": "x " * 1_500_000, "input": "y" * 1_500_000}]})

    assert len(str(error)) < 400
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("headers", "body", "request_id"),
    [
        ({"X-Request-ID": "r-1"}, {}, "r-1"),
        ({"request-id": "r-1"}, {}, "r-1"),
        ({}, {"request_id": "r-1", "message": "x"}, "r-1"),
        ({"x-request-id": "r-1"}, {"request_id": "r-2"}, "r-1"),
        ({"x-request-id": "r" * 1000}, {}, "r" * 128),
        ({"x-request-id": ""}, {}, None),
        ({"x-request-id": "\x1b[0m"}, {}, None),
        ({}, {"request_id": 7}, None),
        ({}, b"", None),
    ],
)
def test_c20_the_request_id_is_kept(headers: dict[str, str], body: Any, request_id: str | None) -> None:
    """What the endpoint calls the request is at hand for its operator."""
    assert _error(400, body, headers).request_id == request_id


@pytest.mark.parametrize(
    ("echo", "shown"),
    [
        (f"bad key {KEY}", "bad key ***"),
        (f"bad header 'Bearer {KEY[:12]}...'", "bad header 'Bearer ***...'"),
        (f"bad key ...{KEY[-8:]}", "bad key ...***"),
        (f"no '{TEXTS[1]}'", "no '[...]'"),
        ("no: Pandas eat bamboo al...", "no: [...]..."),
        ('no \\"what do pandas eat?\\"', 'no "[...]"'),
        ("no gr\\u00f6\\u00dfer als\\ngro\\u00df", "no [...]"),
        ("no größer   als  groß", "no [...]"),
        ("no bear, but bears", "no [...], but bears"),
    ],
)
def test_c20_what_was_sent_is_not_repeated(echo: str, shown: str) -> None:
    """An echo of key, query or document is masked, whole or in part, quoted or escaped."""
    assert str(_error(400, {"error": {"message": echo}})) == f"{URL} answered 400: {shown}"


def test_c20_a_request_id_repeats_nothing_either() -> None:
    """What the endpoint calls the request is masked as its message is."""
    assert _error(400, headers={"x-request-id": f"r-{KEY}"}).request_id == "r-***"


def test_c20_what_was_not_sent_is_repeated() -> None:
    """Masking leaves a server's own words alone."""
    assert masked("the model `x` does not exist", secrets=[KEY], texts=TEXTS) == "the model `x` does not exist"


def test_c20_a_key_behind_much_text_is_not_repeated() -> None:
    """Where a message is cut, no half of a key is left over."""
    for before in range(270, 310):
        message = str(_error(400, {"message": "x" * before + " " + KEY}))
        assert KEY[:6] not in message


def test_c20_masking_does_not_take_long() -> None:
    """A thousand long documents are compared in a moment."""
    texts = [f"{place} " + "lorem ipsum dolor sit amet " * 400 for place in range(1000)]
    begun = time.monotonic()

    assert "lorem ipsum" not in str(_error(400, {"message": "cannot read " + texts[500][:900]}, texts=texts))
    assert time.monotonic() - begun < 10


@given(st.text(alphabet="ab \\n", max_size=40), st.lists(st.text(alphabet="ab \\n", max_size=40), max_size=3))
def test_c20_no_run_of_a_text_is_left(words: str, texts: list[str]) -> None:
    """Whatever a message says, no dozen characters in a row are those of a text."""
    left = masked(words, secrets=[], texts=texts)
    spoken = [" ".join(text.split()) for text in texts]

    for piece in left.split("[...]"):
        assert not any(piece[at : at + 12] in text for at in range(len(piece) - 11) for text in spoken)


# C21, C22: who is to blame


@pytest.mark.parametrize("status", [401, 403])
def test_c21_a_refused_key_says_so(status: int) -> None:
    """A key that is not accepted is named as the thing to check, and is not shown."""
    error = _error(status, {"error": f"bad key {KEY}"})

    assert isinstance(error, EndpointRefused)
    assert "RESIFT_API_KEY" in str(error)


@pytest.mark.parametrize("status", [404, 405])
def test_c21_d12_a_missing_route_lists_what_was_tried(status: int) -> None:
    """Nobody has to guess which addresses were asked."""
    error = _error(status, tried=["http://h/v1/rerank", "http://h/rerank"])

    assert isinstance(error, EndpointRefused)
    assert "tried http://h/v1/rerank, http://h/rerank" in str(error)


@pytest.mark.parametrize("status", [400, 402, 409, 410, 413, 415, 418, 422, 424, 498, 499, 501, 505, 302, 307])
def test_c22_a_request_that_is_wrong_stays_wrong(status: int) -> None:
    """Statuses that blame the request, and redirects, are refusals."""
    assert type(_error(status, {"message": "no"})) is EndpointRefused


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 507, 520, 524, 529])
def test_c22_an_endpoint_in_trouble_is_unavailable(status: int) -> None:
    """Statuses that blame the server or its load are no refusals."""
    assert type(_error(status, {"message": "no"})) is EndpointUnavailable


HOPELESS = [
    {"error": {"code": 500, "message": "input is too large to process. increase the physical batch size"}},
    {"error": {"code": 500, "message": "[json.exception.parse_error.101] parse error at line 1, column 1"}},
    {"error": {"code": 500, "message": "[json.exception.type_error.302] type must be array, but is string"}},
    b"1 validation error for RerankRequest\nquery\n  Field required",
    b"Internal Server Error: field required",
    {"detail": "'utf-8' codec can't encode character '\\ud800': surrogates not allowed"},
    {"error": {"message": "top_n must be a positive integer"}},
    {"error": {"message": "prompt exceeds the available context size"}},
    {"message": "Invalid input type"},
]
HOPEFUL = [
    b"",
    b"Internal Server Error",
    {"error": {"message": "CUDA out of memory"}},
    {"error": {"message": "CUDA error: invalid argument"}},
    {"error": "worker died"},
    {"message": "too many requests in flight"},
    b"<html><title>500 Internal Server Error</title></html>",
]


@pytest.mark.parametrize("body", HOPELESS)
def test_c25_d18_a_500_that_blames_the_input_is_a_refusal(body: Any) -> None:
    """Servers that answer a wrong request with 500 are understood by their words."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()

    assert blames_input(sent)
    assert type(_error(500, body)) is EndpointRefused
    assert type(_error(503, body)) is EndpointUnavailable


@pytest.mark.parametrize("body", HOPEFUL)
def test_c25_a_500_that_blames_nobody_is_trouble(body: Any) -> None:
    """Other internal errors are the server's."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()

    assert not blames_input(sent)
    assert type(_error(500, body)) is EndpointUnavailable


@pytest.mark.parametrize(
    ("status", "body", "missing"),
    [
        (404, b"", True),
        (404, {"detail": "Not Found"}, True),
        (404, b"<title>404 Not Found</title>", True),
        (404, b"Cannot POST /model/v1/rerank", True),
        (404, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}, True),
        (405, {"detail": "Method Not Allowed"}, True),
        (404, {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError"}}, False),
        (404, {"detail": "Model not found in the model list, uid: x"}, False),
        (400, {"detail": "Not Found"}, False),
        (503, b"", False),
    ],
)
def test_d12_d14_a_missing_model_is_no_missing_route(status: int, body: Any, missing: bool) -> None:  # noqa: FBT001
    """404 and 405 mean "not here", unless it is the model that is not there."""
    assert is_route_missing(status, body if isinstance(body, bytes) else json.dumps(body).encode()) is missing


# hints


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"Failed to deserialize the JSON body: missing field `texts` at line 1 column 60", "dialect='tei'"),
        ({"detail": [{"loc": ["body", "texts"], "msg": "Field required"}]}, "dialect='tei'"),
        ({"detail": [{"loc": ["body", "input"], "msg": "Field required"}]}, "dialect='mixedbread'"),
        ({"detail": [{"loc": ["body", "passages"], "msg": "Field required"}]}, "dialect='nvidia'"),
    ],
)
def test_an_endpoint_that_speaks_another_dialect_is_recognised(body: Any, hint: str) -> None:
    """An answer that misses another dialect's word says which dialect to try."""
    assert hint in str(_error(422, body, dialect=DIALECTS["openai"]))


def test_a_dialect_is_not_proposed_where_it_is_spoken() -> None:
    """Nobody is told to try what was just tried."""
    assert "dialect=" not in str(_error(422, b"missing field `texts`", dialect=DIALECTS["tei"]))


@pytest.mark.parametrize(
    ("status", "body"),
    [(413, b""), (422, {"error": "batch size 473 > maximum allowed batch size 32", "error_type": "Validation"})],
)
def test_d19_a_request_that_is_too_long_says_how_to_shorten_it(status: int, body: Any) -> None:
    """A limit that the table does not know can be named by the caller."""
    assert "max_documents_per_request" in str(_error(status, body))


def test_d18_a_text_that_is_too_long_is_not_taken_for_too_many() -> None:
    """llama.cpp's batch is of tokens: fewer documents would not help."""
    words = "input (2360 tokens) is too large to process. increase the physical batch size (current batch size: 512)"
    said = str(_error(500, {"error": {"code": 500, "message": words}}))

    assert "send shorter texts" in said
    assert "max_documents_per_request" not in said


@given(
    st.integers(300, 599),
    st.binary(max_size=200) | st.text(max_size=100).map(lambda words: json.dumps({"error": words}).encode()),
    st.dictionaries(st.sampled_from(["x-request-id", "location", "retry-after"]), st.text(max_size=30)),
)
def test_any_refusal_is_a_typed_error(status: int, body: bytes, headers: dict[str, str]) -> None:
    """No reply without success makes its reader fail, and every one can be printed."""
    error = _error(status, body, headers)

    assert isinstance(error, EndpointRefused | EndpointUnavailable)
    assert error.status == status
    assert len(str(error)) < 600
    assert str(error).encode()
