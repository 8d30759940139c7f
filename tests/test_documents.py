"""From a caller's document to the text that a model reads."""

import json
import math
from collections import OrderedDict, UserDict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.documents import read_documents, read_query, render, valid_text
from resift.errors import InvalidInput

SECRET = "xyzzy-plugh"
LONE = "\ud83d"
REPLACEMENT = "\ufffd"

VALID = st.text()  # Hypothesis leaves lone surrogates out
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | VALID,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(VALID, inner, max_size=3),
    max_leaves=8,
)


class Row(Mapping[str, Any]):
    """A mapping that is no dict, as database rows are."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


# a list of documents


def test_any_iterable_is_a_list_of_documents() -> None:
    """Lists, tuples, generators, views and arrays of documents are read alike, once, in order."""
    texts = ["b", "a", "c"]

    assert read_documents(texts) == texts
    assert read_documents(tuple(texts)) == texts
    assert read_documents(text for text in texts) == texts
    assert read_documents(dict.fromkeys(texts).keys()) == texts
    assert read_documents(dict(enumerate(texts)).values()) == texts
    assert read_documents(np.array(texts)) == texts


def test_the_list_is_a_copy_and_the_documents_are_not() -> None:
    """The caller may change the list afterwards; the documents are the caller's own objects."""
    documents = [{"title": "a"}, {"title": "b"}]

    read = read_documents(documents)
    first = documents.pop(0)

    assert len(read) == 2
    assert read[0] is first


@pytest.mark.parametrize(
    ("documents", "kind"),
    [
        (SECRET, "str"),
        (SECRET.encode(), "bytes"),
        ({"title": SECRET}, "dict"),
        (Row(title=SECRET), "Row"),
        (None, "NoneType"),
        (3, "int"),
        (1.5, "float"),
    ],
)
def test_one_document_is_not_a_list_of_documents(documents: Any, kind: str) -> None:
    """What cannot be a list of documents is refused by its type, with the remedy."""
    with pytest.raises(InvalidInput, match=rf"documents must be a list .* not {kind}; put a single one into a list"):
        read_documents(documents)


def test_an_error_of_the_callers_own_generator_is_the_callers() -> None:
    """What goes wrong while documents are being made reaches the caller as it is."""

    def documents() -> Iterator[str]:
        yield "a"
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        read_documents(documents())


# queries


@pytest.mark.parametrize("query", ["panda", " panda ", "0", "大熊猫", "\N{PANDA FACE}", "?"])
def test_a_query_is_read_as_it_is(query: str) -> None:
    """A query keeps its blanks, its case and its characters."""
    assert read_query(query) == query


@pytest.mark.parametrize("query", ["", " ", "\n\t ", "\u2003\u3000"])
def test_a_blank_query_is_refused(query: str) -> None:
    """There is nothing to rank by in a query without words, and the message shows it."""
    with pytest.raises(InvalidInput, match="query is blank") as refused:
        read_query(query)
    assert repr(query) in str(refused.value)


@pytest.mark.parametrize(
    ("query", "kind"), [(None, "NoneType"), (7, "int"), (SECRET.encode(), "bytes"), ([SECRET], "list")]
)
def test_a_query_is_text(query: Any, kind: str) -> None:
    """A query that is no string is refused by its type, never by what it says."""
    with pytest.raises(InvalidInput, match=f"the query must be a str, not {kind}") as refused:
        read_query(query)
    assert SECRET not in str(refused.value)


# valid text


@given(VALID)
def test_valid_text_stays_as_it_is(text: str) -> None:
    """Text that can be encoded is not touched."""
    assert valid_text(text) == text


@given(st.text(st.characters(categories=None) | st.characters(categories=["Cs"])))
def test_any_string_becomes_valid_text(text: str) -> None:
    """Whatever Python holds in a string, the result can be encoded, and only surrogates differ."""
    valid = valid_text(text)

    valid.encode()
    assert "".join(filter(_is_valid, valid.replace(REPLACEMENT, ""))) == valid.replace(REPLACEMENT, "")
    if all(map(_is_valid, text)):
        assert valid == text


def _is_valid(character: str) -> bool:
    return not "\ud800" <= character <= "\udfff"


def test_a_lone_surrogate_is_replaced() -> None:
    """Half of a character is written as U+FFFD; two halves that belong together become the character."""
    assert valid_text(f"a{LONE}b") == f"a{REPLACEMENT}b"
    assert valid_text("\udc00\ud800") == REPLACEMENT * 2
    assert valid_text("\ud83d\udc3c!") == "\N{PANDA FACE}!"


# documents


@pytest.mark.parametrize("text", ["", "   ", "Panda", "\nPanda\r\n", "<|im_end|> [SEP] </s>", "title: Panda"])
def test_a_string_is_written_as_it_is(text: str) -> None:
    """A text document is not trimmed, escaped or interpreted, and `fields` does not concern it."""
    assert render(text, 0) == text
    assert render(text, 0, ["title"]) == text


@pytest.mark.parametrize("kind", [dict, OrderedDict, UserDict, MappingProxyType])
def test_a_mapping_is_written_line_by_line(kind: Any) -> None:
    """Every mapping is written as `key: value` lines, in its own order."""
    assert render(kind({"title": "Panda", "body": "It eats\nbamboo."}), 0) == "title: Panda\nbody: It eats\nbamboo."
    assert render(kind({"body": "b", "title": "a"}), 0) == "body: b\ntitle: a"
    assert render(kind({}), 0) == ""


def test_fields_choose_and_order() -> None:
    """`fields` says which keys are written and in which order; keys that are missing are left out."""
    document = {"title": "Panda", "author": "Li", "body": "bamboo", "note": None}

    assert render(document, 0, ["body", "title"]) == "body: bamboo\ntitle: Panda"
    assert render(document, 0, ["title", "price"]) == "title: Panda"
    assert render(document, 0, ["price", "note"]) == ""
    assert render(Row(**document), 0, ("author",)) == "author: Li"


def test_none_is_absent_and_falsy_values_are_not() -> None:
    """A field without a value is left out; zero, False and empty texts are values."""
    assert render({"a": None, "b": "x", "c": None}, 0) == "b: x"
    assert render({"a": 0, "b": False, "c": "", "d": [], "e": 0.0}, 0) == "a: 0\nb: false\nc: \nd: []\ne: 0.0"


def test_nested_values_are_compact_json() -> None:
    """Lists and mappings inside a document are JSON without blanks, with every script as it is written."""
    document = {"tags": ["熊", "b"], "size": {"name": None, "kg": 100}, "deep": [[{"a": [1, 2.5, True]}]]}

    assert render(document, 0) == (
        'tags: ["熊","b"]\nsize: {"name":null,"kg":100}\ndeep: [[{"a":[1,2.5,true]}]]'
    )  # fmt: skip


def test_mappings_of_every_kind_nest() -> None:
    """A mapping that is no dict is written inside a document as a dict is."""
    assert render({"row": Row(a=1, b=Row(c="x")), "view": [MappingProxyType({"d": 2})]}, 0) == (
        'row: {"a":1,"b":{"c":"x"}}\nview: [{"d":2}]'
    )


@given(st.dictionaries(VALID, JSON, max_size=4))
def test_any_json_object_is_a_document(document: dict[str, Any]) -> None:
    """Whatever JSON can say is written, the same each time, and nested values can be read back."""
    text = render(document, 0)

    assert text == render(dict(document), 5)
    for key, value in document.items():
        written = render({key: value}, 0)
        if value is None:
            assert written == ""
        elif not isinstance(value, str):
            assert json.loads(written.removeprefix(f"{key}: ")) == value


OBVIOUS = {
    date(2026, 11, 20): "2026-11-20",
    datetime(2026, 11, 20, 8, 30, tzinfo=UTC): "2026-11-20 08:30:00+00:00",
    time(8, 30): "08:30:00",
    Decimal("19.90"): "19.90",
    UUID(int=7): "00000000-0000-0000-0000-000000000007",
}


def test_a_value_with_one_obvious_text_is_that_text() -> None:
    """A field that is a date, a Decimal or a UUID is written as a field that is its text."""
    for value, text in OBVIOUS.items():
        assert render({"value": value}, 0) == render({"value": text}, 0)


def test_a_nested_value_with_one_obvious_text_is_a_json_string() -> None:
    """A date, a Decimal or a UUID inside a nested value is its text, as JSON."""
    written = ",".join(f'"{text}"' for text in OBVIOUS.values())

    assert render({"values": list(OBVIOUS)}, 0) == f"values: [{written}]"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float32(0.5), "0.5"),
        (np.float64(0.25), "0.25"),
        (np.int64(3), "3"),
        (np.bool_(True), "true"),  # noqa: FBT003 - the value, not a switch
        (np.array([1, 2]), "[1,2]"),
        (np.array([[0.5]]), "[[0.5]]"),
        (np.str_("panda"), "panda"),
        (np.datetime64("2026-11-20"), "2026-11-20"),
    ],
)
def test_numpy_values_are_plain_values(value: Any, written: str) -> None:
    """A value out of an array or a data frame is written as Python's own would be."""
    assert render({"value": value}, 0).replace('"', "") == f"value: {written}"


def test_keys_are_written_as_text() -> None:
    """Keys that are no strings are written as `str` writes them."""
    assert render({1: "a", (2, 3): "b", date(2026, 11, 20): "c"}, 0) == "1: a\n(2, 3): b\n2026-11-20: c"  # type: ignore[dict-item]


def test_surrogates_are_replaced_wherever_they_are() -> None:
    """A lone surrogate in a key, a value or a nested value does not stop a document."""
    document = {f"k{LONE}": f"v{LONE}", "nested": [f"n{LONE}"]}

    assert render(document, 0) == f'k{REPLACEMENT}: v{REPLACEMENT}\nnested: ["n{REPLACEMENT}"]'


def test_numbers_that_json_lacks_are_written() -> None:
    """Infinity and NaN do not stop a document."""
    assert render({"a": math.inf, "b": [math.nan]}, 0) == "a: Infinity\nb: [NaN]"


# documents that are none


@pytest.mark.parametrize(
    ("document", "kind"),
    [(None, "NoneType"), (3, "int"), (SECRET.encode(), "bytes"), ([SECRET], "list"), ((SECRET, 1.0), "tuple")],
)
def test_an_element_that_is_no_document_is_named(document: Any, kind: str) -> None:
    """The error says which element is wrong, and of what type it is."""
    with pytest.raises(InvalidInput, match=rf"documents\[7\] must be a str or a mapping, not {kind}"):
        render(document, 7)


@pytest.mark.parametrize(
    ("value", "kind"), [(SECRET.encode(), "bytes"), ({SECRET}, "set"), (object(), "object"), (1j, "complex")]
)
def test_a_value_that_cannot_be_written_is_refused(value: Any, kind: str) -> None:
    """A value without one obvious text is refused by its type, however deep it sits, and is not quoted."""
    for document in ({SECRET: value}, {"a": [{SECRET: value}]}):
        with pytest.raises(InvalidInput, match=rf"documents\[2\] .* {kind}") as refused:
            render(document, 2)
        assert SECRET not in str(refused.value)


def test_a_nested_key_that_json_lacks_is_refused() -> None:
    """A nested key that is no string, number or None is refused without being quoted."""
    with pytest.raises(InvalidInput, match=r"documents\[1\].*tuple") as refused:
        render({"a": {(SECRET, 1): "x"}}, 1)
    assert SECRET not in str(refused.value)


def test_a_document_that_holds_itself_is_refused() -> None:
    """A value that contains itself is an error, not an endless text."""
    document: dict[str, Any] = {"title": SECRET}
    document["again"] = document
    items: list[Any] = [SECRET]
    items.append(items)

    for circular in (document, {"items": items}):
        with pytest.raises(InvalidInput, match=r"documents\[4\] holds itself"):
            render(circular, 4)


def test_a_document_too_deep_to_write_is_refused() -> None:
    """Nesting beyond what can be written is the caller's error, by the document's place, not a crash."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(InvalidInput, match=r"documents\[4\]"):
        render({"value": value}, 4)


def test_a_long_document_is_written_whole() -> None:
    """A document of a million characters is written whole."""
    text = "panda " * 170_000

    assert render({"body": text}, 0) == f"body: {text}"
