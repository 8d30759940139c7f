"""JSON lines of a query, the documents that answer it, and some that do not."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resift.errors import InvalidInput
from resift.evaluation.collection import Collection
from resift.evaluation.collections.entries import Rows, add
from resift.evaluation.collections.lines import read_objects
from resift.evaluation.runs import Listing, Run
from resift.types import Document

_POSITIVES, _NEGATIVES = ("positives", "positive"), ("negatives", "negative")


def read_jsonl(path: str | os.PathLike[str], *, name: str | None = None) -> Collection:
    """
    Read lines of `{"query": ..., "positives": [...], "negatives": [...]}`, plain or gzipped.

    Documents are strings or objects. Those of one query become its pool, in no order. `positive` and `negative`, and a
    single document instead of a list, are understood too.

    Raises:
        InvalidInput: a file that is not what it should be; the message says where and why.
    """
    file = Path(path)
    return collect(read_objects(file), name or file.name.split(".")[0])


def collect(rows: Rows, name: str) -> Collection:
    """Make a collection of such lines, wherever they come from."""
    queries: dict[str, str] = {}
    documents: dict[str, Document] = {}
    judgements: dict[str, dict[str, int]] = {}
    for place, row in rows:
        query = _query(row, place)
        positives, negatives = _documents(row, _POSITIVES, place), _documents(row, _NEGATIVES, place)
        if positives.keys() & negatives.keys():
            raise InvalidInput(f"{place} has a document among both the positives and the negatives")
        if not positives:
            raise InvalidInput(f"{place} has no positives; a query without them says nothing about a ranker")
        asked = _digest("q", query)
        add(queries, asked, query, place=place)
        documents |= positives | negatives
        judgements[asked] = {**dict.fromkeys(positives, 1), **dict.fromkeys(negatives, 0)}
    pool = Run("pool", {query: Listing.unordered(sorted(grades)) for query, grades in judgements.items()})
    return Collection(name, queries, documents, judgements, pool=pool)


def _query(row: Mapping[str, Any], place: str) -> str:
    query = row.get("query")
    if not isinstance(query, str):
        raise InvalidInput(f"{place} must have 'query', a str; it has {type(query).__name__}")
    return query


def _documents(row: Mapping[str, Any], names: tuple[str, str], place: str) -> dict[str, Document]:
    given: Any = next((row[name] for name in names if name in row), [])
    several = given if isinstance(given, list) else [given]
    if not all(isinstance(document, str | dict) for document in several):
        raise InvalidInput(f"{place} must have in {names[0]!r} documents, each a str or an object")
    return {_digest("d", document): document for document in several}


def _digest(kind: str, what: object) -> str:
    """Return an id for something that has none: the same text is the same document, in any line and in any order."""
    written = json.dumps(what, ensure_ascii=True, sort_keys=True)
    return kind + hashlib.sha256(written.encode()).hexdigest()[:16]
