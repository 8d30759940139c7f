"""From what a caller calls a document to the text that a model reads: the one place where that is decided."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from resift.errors import InvalidInput
from resift.types import Document

_ONE_WAY_TO_WRITE = date | time | Decimal | UUID  # no JSON, but nobody would write it in two ways


def read_documents(documents: Iterable[Document]) -> list[Document]:
    """Return the caller's documents as a list, or say why they are none."""
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
        raise InvalidInput(
            f"documents must be a list of documents, not {_kind(documents)}; put a single one into a list"
        )
    return list(documents)


def read_query(query: str) -> str:
    """Return the query as valid text, or say why it is none."""
    if not isinstance(query, str):
        raise InvalidInput(f"the query must be a str, not {_kind(query)}")
    if not query.strip():
        raise InvalidInput(f"the query is blank: {query!r}; pass the words to rank by")
    return valid_text(query)


def read_instruction(instruction: str | None) -> str | None:
    """Return an instruction as valid text, or say why it is none."""
    if not isinstance(instruction, str | None):
        raise InvalidInput(f"instruction must be a str, not {_kind(instruction)}; leave it out for none")
    return None if instruction is None else valid_text(instruction)


def render(document: Document, position: int, fields: Sequence[str] | None = None) -> str:
    """
    Write one document as text: a string as it is, a mapping as `key: value` lines in its own order.

    Nested values become compact JSON and absent (`None`) ones are left out. `fields` names the keys to write, in that
    order; keys that a mapping lacks are left out.
    """
    if isinstance(document, str):
        return valid_text(document)
    if not isinstance(document, Mapping):
        raise InvalidInput(f"documents[{position}] must be a str or a mapping, not {_kind(document)}")
    keys = document if fields is None else [key for key in fields if key in document]
    lines = [f"{key}: {_value(document[key], position)}" for key in keys if document[key] is not None]
    return valid_text("\n".join(lines))


def require_fields(documents: Sequence[Document], fields: Sequence[str] | None) -> None:
    """Refuse fields that none of the mappings has: they are misspelt, or belong to other documents."""
    mappings = [document for document in documents if isinstance(document, Mapping)]
    if fields is not None and mappings and not any(field in mapping for mapping in mappings for field in fields):
        raise InvalidInput(f"none of the documents has any of the fields {list(fields)!r}; check how they are spelt")


def valid_text(text: str) -> str:
    """Return `text` with every lone surrogate, which no tokenizer can read, replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _value(value: Any, position: int) -> str:
    if isinstance(value, str | _ONE_WAY_TO_WRITE):
        return str(value)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
    except TypeError as error:
        raise InvalidInput(f"documents[{position}] is not a JSON object: {error}") from None
    except (ValueError, RecursionError):
        raise InvalidInput(f"documents[{position}] holds itself, or is nested too deeply for JSON") from None


def _plain(value: object) -> Any:
    """Return the JSON form of values that are not JSON but have one obvious way to be written."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, _ONE_WAY_TO_WRITE):
        return str(value)
    if hasattr(value, "tolist"):  # a numpy scalar or array
        return value.tolist()
    raise TypeError(f"it holds a value of type {_kind(value)}")


def _kind(value: object) -> str:
    return type(value).__name__
