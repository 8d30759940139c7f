"""One row of the input: a query and its documents, or what is wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resift.documents import read_query
from resift.errors import InvalidInput
from resift.types import Document


@dataclass(frozen=True, slots=True)
class Names:
    """What the members of a row are called."""

    query: str = "query"
    documents: str = "documents"
    id: str = "id"


@dataclass(frozen=True, slots=True)
class Row:
    """A query with its documents."""

    place: str
    """Where it stands, for messages."""

    id: str | int | None
    query: str = ""
    documents: tuple[Document, ...] = ()
    fault: str | None = None
    """What is wrong with it; it is then not ranked."""


def read_row(place: str, value: Any, names: Names) -> Row:
    """Return the row that a JSON object means, with its fault if it has one."""
    if not isinstance(value, Mapping):
        return Row(place, None, fault=f"{place} is no JSON object; a row has a query and its documents")
    entry = value.get(names.id)
    if isinstance(entry, bool) or not isinstance(entry, str | int | None):
        return Row(place, None, fault=f"{place} has an id that is neither text nor a whole number; correct it")
    try:
        return Row(place, entry, _query(place, value, names), _documents(place, value, names))
    except InvalidInput as error:
        return Row(place, entry, fault=str(error))


def _query(place: str, value: Mapping[str, Any], names: Names) -> str:
    given = _member(place, value, names.query)
    if not isinstance(given, str) or not given.strip():
        raise InvalidInput(f"{place} has a query that is blank or no text; give it words, or take the row out")
    return read_query(given)


def _documents(place: str, value: Mapping[str, Any], names: Names) -> tuple[Document, ...]:
    given = _member(place, value, names.documents)
    if not isinstance(given, list):
        raise InvalidInput(f"{place} has documents that are no list; put them into one")
    for at, document in enumerate(given):
        if not isinstance(document, str | dict):
            raise InvalidInput(f"{place} has a document ({at}) that is neither text nor an object; correct it")
    return tuple(given)


def _member(place: str, value: Mapping[str, Any], name: str) -> Any:
    if name not in value:
        known = ", ".join(map(repr, sorted(value)[:8]))
        raise InvalidInput(
            f"{place} has no {name!r}, only {known or 'nothing'}; name them with --query-field and --documents-field"
        )
    return value[name]
