"""From a request's JSON to what it asks for: what is wrong is named by its place and kind, never repeated."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast, get_args

from resift.documents import render, valid_text
from resift.server.dispatch import Way
from resift.server.refusing import TooMany, Unclear
from resift.server.served import Scores
from resift.types import Document
from resift.wire.shapes import BEDROCK, NVIDIA, PINECONE, TEI, dig
from resift.wire.strict_json import NotJson, read_json

T = TypeVar("T")

_HALF_PAIR: Final = re.compile(rb"\\u[dD][89a-fA-F]")  # what may be half of a surrogate pair
_JSON_KINDS: Final = (
    (type(None), "null"),
    (bool, "a boolean"),
    (str, "a string"),
    (list, "a list"),
    (dict, "an object"),
)
_FIELDLESS: Final = (TEI, NVIDIA, BEDROCK)
_NO_CUTTING, _CUTTING = ("NONE",), ("START", "END")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one request asks for, whatever its dialect."""

    model: str | None
    query: str
    documents: list[Any]
    """As they came, for whoever wants them back."""

    texts: list[Document]
    """As the ranker gets them."""

    top_n: int | None
    returns_documents: bool
    instruction: str | None
    scores: Scores | None
    """The kind of scores that the request names."""

    raw: bool | None
    """Whether it wants scores before or after any sigmoid, in other dialects' words."""

    may_cut: bool
    """Whether documents that are too long may be cut, or are to be refused."""

    max_tokens_per_doc: int | None


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a request's body must be; halves of surrogate pairs become U+FFFD."""
    if not body:
        raise Unclear("the body is empty; send a JSON object", code="invalid_json")
    try:
        found = read_json(body)
    except NotJson as error:
        raise Unclear(f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(found, dict):
        raise Unclear(f"the body must be a JSON object, not {_kind(found)}", code="invalid_json")
    return cast(dict[str, Any], _mended(found)) if _HALF_PAIR.search(body) else found


def read(body: Mapping[str, Any], way: Way, *, max_documents: int) -> Asked:
    """Return what `body` asks for, or say which member of it cannot mean anything."""
    shape = way.shape
    if shape is BEDROCK and not (isinstance(body["queries"], list) and len(body["queries"]) == 1):
        raise Unclear("queries must be a list of one query", param="queries")
    query = _query(body, shape.query)
    documents = _documents(body, shape.documents, max_documents=max_documents)
    fields = None if shape in _FIELDLESS else _fields(body)
    top_n = _first(body, (shape.top_n, "top_n", "top_k"), _count)
    asked_back = _first(body, (shape.return_documents,), _boolean)
    return Asked(
        model=_first(body, (shape.model,), _string) or None,
        query=query,
        documents=documents,
        texts=_texts(documents, way, fields),
        top_n=None if top_n is None else min(top_n, len(documents)),
        returns_documents=way.returns_documents if asked_back is None else asked_back,
        instruction=_first(body, (shape.instruction, "instruction", "instruct"), _string),
        scores=_first(body, ("scores",), _scores),
        raw=_raw(body),
        may_cut=_may_cut(body, way),
        max_tokens_per_doc=_first(body, ("max_tokens_per_doc",), _limit),
    )


def _query(body: Mapping[str, Any], place: str) -> str:
    query = _string(_at(body, place), place)
    if not query.strip():
        raise Unclear("invalid request: query must not be empty or be only whitespace", param=place)
    return query


def _documents(body: Mapping[str, Any], place: str, *, max_documents: int) -> list[Any]:
    documents = _at(body, place)
    if documents is None:
        raise Unclear(f"{place} is missing; it holds the list of documents", param=place)
    if not isinstance(documents, list):
        raise Unclear(f"{place} must be a list of documents, not {_kind(documents)}", param=place)
    if not documents:
        raise Unclear("invalid request: list of documents must not be empty", param=place, code="empty")
    if len(documents) > max_documents:
        raise TooMany(
            f"{place} has {len(documents)} documents, and one request may have {max_documents}; send fewer at once",
            param=place,
            code="too_many_documents",
        )
    return documents


def _texts(documents: Sequence[Any], way: Way, fields: Sequence[str] | None) -> list[Document]:
    """Return what the ranker reads of each document."""
    if fields is not None:
        _require_fields(documents, fields)
    place = way.shape.documents
    reader = _READERS.get(way.shape.name)
    if reader is not None and fields is None:
        return [reader(document, f"{place}[{at}]") for at, document in enumerate(documents)]
    return [_text(document, f"{place}[{at}]", fields) for at, document in enumerate(documents)]


def _text(document: Any, name: str, fields: Sequence[str] | None = None) -> Document:
    """Return a text, or the object that the ranker will render; one that holds nothing but a text is that text."""
    if isinstance(document, str):
        return document
    if not isinstance(document, dict):
        raise Unclear(f"{name} must be a string or an object, not {_kind(document)}", param=_list_of(name))
    if not document:
        raise Unclear(f"{name} is an empty object; give it a text", param=_list_of(name))
    seen = document if fields is None else {key: document[key] for key in fields if key in document}
    if seen.keys() == {"text"} and isinstance(seen["text"], str):
        return seen["text"]
    return seen if fields is None else render(seen, 0)


def _text_first(document: Any, name: str) -> Document:
    """Read Pinecone's documents: what else they hold are names of theirs, unless a request says otherwise."""
    return _text(document, name, ["text"] if isinstance(document, dict) and "text" in document else None)


def _passage(passage: Any, name: str) -> Document:
    return _string(passage.get("text"), f"{name}.text") if isinstance(passage, dict) else _string(passage, name)


def _source(source: Any, name: str) -> Document:
    inline = dig(source, "inlineDocumentSource", {})
    found = dig(inline, "jsonDocument")
    if isinstance(found, dict):
        return _text(found, name)
    return _string(dig(inline, "textDocument.text"), f"{name}.inlineDocumentSource.textDocument.text")


def _require_fields(documents: Iterable[Any], fields: Sequence[str]) -> None:
    objects = [document for document in documents if isinstance(document, dict)]
    if objects and not any(field in document for document in objects for field in fields):
        raise Unclear(
            f"none of the documents has any of the {len(fields)} rank_fields; check how they are spelt",
            param="rank_fields",
        )


def _fields(body: Mapping[str, Any]) -> list[str] | None:
    fields = body.get("rank_fields")
    if fields is None:
        return None
    if not isinstance(fields, list) or not fields or not all(isinstance(field, str) for field in fields):
        raise Unclear("rank_fields must be a list of names; leave it out to read all fields", param="rank_fields")
    return list(dict.fromkeys(fields))


def _raw(body: Mapping[str, Any]) -> bool | None:
    raw = _first(body, ("raw_scores",), _boolean)
    activated = _first(body, ("use_activation",), _boolean)
    return not activated if raw is None and activated is not None else raw


def _may_cut(body: Mapping[str, Any], way: Way) -> bool:
    """Say whether long documents may be cut; `truncation` is Voyage's word, `truncate` that of three others."""
    told = _first(body, ("truncation",), _boolean)
    if told is None:
        told = _first(body, ("truncate",), _truncate)
    if told is None and way.shape is PINECONE:
        told = dig(body, "parameters.truncate") not in _NO_CUTTING
    return told is not False


def _truncate(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in _NO_CUTTING + _CUTTING:
        return value not in _NO_CUTTING
    raise Unclear(f"{name} must be true, false, NONE, START or END", param=name)


def _first(body: Mapping[str, Any], places: Iterable[str | None], check: Callable[[Any, str], T]) -> T | None:
    """Return the first of several members that is there; all of them are checked, and null is absent."""
    found: list[T] = []
    for place in dict.fromkeys(places):
        value = None if place is None else _at(body, place)
        if place is not None and value is not None:
            found.append(check(value, place))
    return found[0] if found else None


def _at(body: Mapping[str, Any], place: str) -> Any:
    """Return what stands at a place, None if nothing does; what leads there must be made for it."""
    *way, _ = place.split(".")
    for length, following in enumerate(place.split(".")[1:], 1):
        passed = ".".join(way[:length])
        inner = dig(body, passed)
        wanted = list if following.isdecimal() else dict
        if inner is not None and not isinstance(inner, wanted):
            what = "a list" if wanted is list else "an object"
            raise Unclear(f"{passed} must be {what}, not {_kind(inner)}", param=passed)
    return dig(body, place)


def _string(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    raise Unclear(f"{name} must be a string, not {_kind(value)}", param=_list_of(name))


_READERS: Final[Mapping[str, Callable[[Any, str], Document]]] = MappingProxyType(
    {TEI.name: _string, NVIDIA.name: _passage, PINECONE.name: _text_first, BEDROCK.name: _source}
)


def _list_of(name: str) -> str:
    """Return the list that one of many documents is in."""
    return name.partition("[")[0]


def _boolean(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    raise Unclear(f"{name} must be true or false, not {_kind(value)}", param=name)


def _count(value: Any, name: str) -> int:
    number = _whole(value)
    if number is None or number < 1:
        what = "this number" if _kind(value) == "a number" else _kind(value)
        raise Unclear(f"{name} must be a whole number from 1 up, not {what}; leave it out for all", param=name)
    return number


def _limit(value: Any, name: str) -> int:
    number = _whole(value)
    if number is None or number < 0:
        raise Unclear(f"{name} must be a whole number of tokens; leave it out for no limit", param=name)
    return number


def _scores(value: Any, name: str) -> Scores:
    if value in get_args(Scores):
        return cast(Scores, value)
    raise Unclear(f"{name} must be one of {', '.join(get_args(Scores))}", param=name)


def _whole(value: Any) -> int | None:
    """Return a number without a fraction; JSON knows only one kind of numbers, so 2.0 is 2."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)


def _kind(value: Any) -> str:
    return next((name for kind, name in _JSON_KINDS if isinstance(value, kind)), "a number")


def _mended(tree: Any) -> Any:
    if isinstance(tree, str):
        return valid_text(tree)
    if isinstance(tree, list):
        return [_mended(item) for item in tree]
    if isinstance(tree, dict):
        return {valid_text(key): _mended(value) for key, value in tree.items()}
    return tree
