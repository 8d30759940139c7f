"""From what a call asks to the bodies that are sent: one per request, split where the endpoint has limits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from resift.errors import InvalidInput
from resift.remote.dialects import Dialect
from resift.wire.shapes import plant
from resift.wire.strict_json import write_json

_LISTWISE = ("jina-reranker-v3",)
_WIDEST = 6  # bytes that one character may take in JSON: those of \u0000
_DIGITS = 8  # of a number of documents


@dataclass(frozen=True, slots=True)
class Ask:
    """What one call asks of the endpoint."""

    model: str | None
    query: str = field(repr=False)
    texts: Sequence[str] = field(repr=False)
    instruction: str | None = field(default=None, repr=False)
    normalize: bool | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One request: its body, and which of the call's texts it carries."""

    body: bytes = field(repr=False)
    places: range


def is_listwise(model: str | None) -> bool:
    """Whether the model judges a document by the others of its list, so that a list must not be split."""
    name = (model or "").lower()
    return name.rpartition("/")[2] == "lexical" or any(known in name for known in _LISTWISE)


def split(dialect: Dialect, ask: Ask, *, max_documents: int | None = None) -> list[Part]:
    """
    Return the requests that ask for scores of all texts, each within the limits of the endpoint.

    `max_documents` is what the caller says the endpoint takes; the dialect's own limit holds if it is None. A text
    that is too large by itself travels alone. Lists for listwise models are never split.
    """
    if not ask.texts:
        return []
    if ask.instruction is not None and not dialect.takes_instruction:
        raise InvalidInput(
            f"the {dialect.name} dialect has no place for an instruction; leave it out, or put it into the query"
        )
    if is_listwise(ask.model):
        _require_room(ask, max_documents)
        ranges = [range(len(ask.texts))]
    else:
        ranges = list(_ranges(dialect, ask, max_documents or dialect.max_documents))
    return [Part(_body(dialect, ask, places), places) for places in ranges]


def _require_room(ask: Ask, max_documents: int | None) -> None:
    if max_documents is not None and len(ask.texts) > max_documents:
        raise InvalidInput(
            f"{ask.model!r} judges documents by each other, so {len(ask.texts)} of them cannot be split into requests "
            f"of max_documents_per_request={max_documents}; rank fewer documents"
        )


def _ranges(dialect: Dialect, ask: Ask, most: int | None) -> Iterator[range]:
    for places in _even(len(ask.texts), most):
        yield from _light(dialect, ask, places)


def _even(count: int, most: int | None) -> Iterator[range]:
    """Yield ranges of at most `most` places and of nearly equal length, which end at about the same time."""
    parts = 1 if most is None else -(-count // most)
    for part in range(parts):
        yield range(count * part // parts, count * (part + 1) // parts)


def _light(dialect: Dialect, ask: Ask, places: range) -> Iterator[range]:
    """Yield `places` in pieces whose bodies are light enough."""
    if dialect.max_bytes is None:
        yield places
        return
    room = dialect.max_bytes - len(_body(dialect, ask, places[:0])) - _DIGITS
    each = len(_json(_document(dialect, ""))) + 1  # with the comma
    if dialect.shape.query_per_document:
        each += len(_json(ask.query)) + 1
    if _WIDEST * sum(len(ask.texts[place]) for place in places) + each * len(places) <= room:
        yield places
        return
    begin, size = places.start, 0
    for place in places:
        weight = len(_json(ask.texts[place])) - 2 + each
        if size and size + weight > room:
            yield range(begin, place)
            begin, size = place, 0
        size += weight
    yield range(begin, places.stop)


def _body(dialect: Dialect, ask: Ask, places: range) -> bytes:
    shape, count = dialect.shape, len(places)
    body: dict[str, Any] = {}
    if shape.model is not None and ask.model is not None:
        plant(body, shape.model, ask.model)
    plant(body, shape.query, [ask.query] * count if shape.query_per_document else ask.query)
    plant(body, shape.documents, [_document(dialect, ask.texts[place]) for place in places])
    if shape.top_n is not None:
        plant(body, shape.top_n, count)
    if shape.instruction is not None and ask.instruction is not None:
        plant(body, shape.instruction, ask.instruction)
    for place, value in _members(dialect, ask):
        plant(body, place, value)
    return _json(body)


def _members(dialect: Dialect, ask: Ask) -> Iterator[tuple[str, Any]]:
    yield from dialect.members
    if dialect.cutting is not None and not (ask.model or "").startswith(dialect.cuts_unasked):
        yield dialect.cutting
    yield from (member for normalize, member in dialect.knob if normalize is ask.normalize)


def _document(dialect: Dialect, text: str) -> Any:
    return {dialect.shape.text: text} if dialect.shape.text else text


def _json(value: Any) -> bytes:
    try:
        return write_json(value)
    except UnicodeEncodeError:
        raise InvalidInput("a text holds half a surrogate pair, which no endpoint can be sent") from None
