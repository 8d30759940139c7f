"""What travels between a client and a server: strict JSON, places in it, and the bodies of errors."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resift.wire.faults import LONGEST, error_body, error_message
from resift.wire.shapes import FLAT, KNOWN, Shape, dig, plant
from resift.wire.strict_json import NotJson, read_json, write_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


# strict JSON


@given(JSON)
def test_what_is_written_is_read(value: Any) -> None:
    """A value that was written comes back as it was."""
    assert read_json(write_json(value)) == value


def test_what_is_written_is_compact_and_readable() -> None:
    """Text travels as UTF-8, without blanks between the values."""
    assert write_json({"query": "größe", "n": [1, 2.5]}) == '{"query":"größe","n":[1,2.5]}'.encode()


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xff\xfe{\x00}\x00")
@example("[1]".encode("utf-16"))
@example(b"\xef\xbb\xbf{}")
@example(b'"\x00"')
def test_any_bytes_are_json_or_are_not(body: bytes) -> None:
    """Bytes are read, or refused with one kind of error."""
    try:
        value = read_json(body)
    except NotJson:
        return
    assert json.loads(body) == value


@pytest.mark.parametrize("body", [b"NaN", b'{"score": NaN}', b"[Infinity]", b"[-Infinity]"])
def test_numbers_that_json_does_not_know_are_refused(body: bytes) -> None:
    """NaN and the infinities are no JSON, whatever Python says."""
    with pytest.raises(NotJson, match="no JSON number"):
        read_json(body)


def test_a_key_that_comes_twice_is_refused() -> None:
    """Two values under one key mean that the sender and the reader may each see another one."""
    with pytest.raises(NotJson, match="twice"):
        read_json(b'{"results": [], "meta": {"a": 1, "a": 2}}')


@pytest.mark.parametrize("body", [b"[" * 65 + b"]" * 65, b"[" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_depth_is_bounded(body: bytes) -> None:
    """What is nested deeper than anybody needs is refused, not followed."""
    with pytest.raises(NotJson, match=r"deep|Expecting"):
        read_json(body)


def test_ordinary_depth_is_read() -> None:
    """Sixty lists in each other are no attack."""
    assert read_json(b"[" * 60 + b"]" * 60)


def test_a_number_with_too_many_digits_is_refused() -> None:
    """A number of a million digits costs nothing."""
    with pytest.raises(NotJson, match="too many digits"):
        read_json(b"[" + b"9" * 1_000_000 + b"]")


@pytest.mark.parametrize("body", [b"[1,]", b"{'a': 1}", b"{} {}", b"\xef\xbb\xbf{}", b"[\xff]", "[1]".encode("utf-16")])
def test_what_only_looks_like_json_is_refused(body: bytes) -> None:
    """Python's literals, a mark of byte order and other encodings are no JSON."""
    with pytest.raises(NotJson):
        read_json(body)


def test_an_error_of_reading_quotes_nothing() -> None:
    """Why a text is no JSON is said without the text."""
    with pytest.raises(NotJson) as error:
        read_json(b'{"query": "xyzzy" "plugh"}')

    assert "xyzzy" not in str(error.value)
    assert "plugh" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_write_is_an_error(value: Any) -> None:
    """A number that is none, or half a character, is never sent."""
    with pytest.raises(ValueError, match=r"JSON|surrogates"):
        write_json([value])


# places


def test_dig_finds_what_stands_at_a_place() -> None:
    """A place is a dotted path, with numbers for positions in lists; the empty one is the whole."""
    tree = {"queries": [{"textQuery": {"text": "panda"}}], "n": 0, "no": None}

    assert dig(tree, "queries.0.textQuery.text") == "panda"
    assert dig(tree, "") is tree
    assert dig(tree, "n") == 0
    assert dig([1, 2], "1") == 2


@pytest.mark.parametrize("place", ["no", "no.more", "absent", "queries.7", "queries.first", "queries.0.text.x", "n.n"])
def test_dig_finds_nothing_where_nothing_is(place: str) -> None:
    """A null counts as nothing, and a path that leads nowhere is no error."""
    tree = {"queries": [{"text": "panda"}], "n": 0, "no": None}

    assert dig(tree, place, "default") == "default"


@given(JSON, st.text(alphabet="ab01.", max_size=8))
def test_dig_never_fails(tree: Any, place: str) -> None:
    """Any place may be looked for in any tree."""
    dig(tree, place)


def test_plant_makes_the_way() -> None:
    """Values are put where they belong, beside what is there."""
    tree: dict[str, Any] = {}

    plant(tree, "input.query", "panda")
    plant(tree, "input.documents", ["a"])
    plant(tree, "model", "m")

    assert tree == {"input": {"query": "panda", "documents": ["a"]}, "model": "m"}


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=3), min_size=1, max_size=4), st.integers())
def test_what_is_planted_is_found(steps: list[str], value: int) -> None:
    """`dig` finds what `plant` put there."""
    tree: dict[str, Any] = {}
    plant(tree, ".".join(steps), value)

    assert dig(tree, ".".join(steps)) == value


def test_shapes_are_known_by_their_names() -> None:
    """Each shape is found under its own name."""
    assert KNOWN["flat"] is FLAT
    assert all(name == shape.name and isinstance(shape, Shape) for name, shape in KNOWN.items())


# the bodies of errors


def test_everybody_finds_the_message_of_our_errors() -> None:
    """One body has the message where each vendor's client looks for it."""
    body = error_body("no such model", kind="not_found", param="model", code="model_not_found")

    assert body["error"] == {
        "message": "no such model",
        "type": "not_found",
        "param": "model",
        "code": "model_not_found",
    }
    assert body["message"] == body["detail"] == "no such model"
    assert error_message(body) == "no such model"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "bad", "type": "x", "code": 400}}, "bad"),
        ({"error": "Unauthorized"}, "Unauthorized"),
        ({"error": "batch size", "error_type": "Validation"}, "batch size"),
        ({"message": "invalid request"}, "invalid request"),
        ({"object": "error", "message": "bad", "code": 400}, "bad"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": {"error": "no such model"}}, "no such model"),
        (
            {"detail": [{"loc": ["body", "query"], "msg": "Field required", "input": "echo"}]},
            "body.query: Field required",
        ),
        ({"detail": [{"msg": "first"}, {"msg": "second"}]}, "first"),
        ({"code": "InvalidApiKey", "message": "no key", "request_id": "r"}, "no key"),
        ({"errors": [{"title": "bad"}]}, "bad"),
        ({"title": "Bad Request", "status": 400}, "Bad Request"),
        ("plain words", "plain words"),
        ([{"message": "in a list"}], "in a list"),
        (["1", "2", "2", "3", "4"], "1; 2"),
        ({"message": "  two\n lines  "}, "two lines"),
        ({"message": "", "detail": "here"}, "here"),
        ({"input": "what was sent"}, ""),
        ({}, ""),
        ([], ""),
        (None, ""),
        (7, ""),
    ],
)
def test_d10_the_message_is_found_in_every_body(body: Any, message: str) -> None:
    """Whatever a vendor calls the message, it is found; what the caller sent is not taken for one."""
    assert error_message(body) == message


def test_a_message_is_clipped() -> None:
    """A message of three megabytes is shown by its beginning."""
    assert len(error_message({"message": "x" * 3_000_000})) == LONGEST
    assert len(error_message("x" * 3000, longest=1000)) == 1000


def test_a_message_is_one_printable_line() -> None:
    """A server cannot write control characters into a terminal or half characters into a log."""
    message = error_message({"message": "red \x1b[31m\x00 half \ud800 \r\n done\u202e"})

    assert message.isprintable()
    assert message.encode()
    assert message.startswith("red ?[31m? half ? done")


@given(JSON)
def test_any_body_has_a_message_or_none(body: Any) -> None:
    """No body of an error is an error of its own."""
    message = error_message(body)

    assert len(message) <= LONGEST
    assert message.isprintable()
