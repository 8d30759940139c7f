"""What the page shows of single queries, as JSON inside it, from which the page's script draws what is looked at."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from resift.evaluation.evaluation import Evaluation, Evidence
from resift.evaluation.record import FIRST_STAGE, ORACLE, Results
from resift.evaluation.report.markup import Markup
from resift.evaluation.report.palette import looks_of

MOST_QUERIES = 500  # of all collections: who looks at more has a program do it
DEEPEST, SHOWN = 100, 20  # places of a list that are known, and those whose texts are there
MOST_TEXT = 4_000_000  # characters of all texts

Json = dict[str, Any]


@dataclass(slots=True)
class _Allowance:
    """How much text may still be put into the page."""

    left: int = MOST_TEXT

    def take(self, text: str) -> str:
        """Return the text, or nothing where there is no room for it."""
        if len(text) > self.left:
            return ""
        self.left -= len(text)
        return text


@dataclass(slots=True)
class _Shelf:
    """The documents of one collection, each numbered when it is first needed."""

    evidence: Evidence
    allowance: _Allowance
    numbers: dict[str, int] = field(default_factory=dict)
    entries: list[list[str]] = field(default_factory=list)

    def number(self, document: str, *, told: bool) -> int:
        """Return the number of a document, and put its text on the shelf if it is to be told."""
        if document not in self.numbers:
            self.numbers[document] = len(self.entries)
            self.entries.append([document, ""])
        entry = self.entries[self.numbers[document]]
        if told and not entry[1]:
            entry[1] = self.allowance.take(self.evidence.texts.documents.get(document, ""))
        return self.numbers[document]


def embedded(evaluation: Evaluation, *, texts: bool) -> Markup:
    """Return the JSON of the queries that the page shows, written so that no text of it can end its element."""
    written = json.dumps(_queries(evaluation, texts=texts), ensure_ascii=False, separators=(",", ":"))
    return Markup(written.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _queries(evaluation: Evaluation, *, texts: bool) -> Json:
    rows = [FIRST_STAGE, *evaluation.contestants]
    looks = looks_of(evaluation.contestants)
    allowance = _Allowance(MOST_TEXT if texts else 0)
    share = max(1, MOST_QUERIES // len(evaluation.collections))
    return {
        "measure": evaluation.protocol.measures[0],
        "shown": SHOWN,
        "rows": [{"name": row, "look": looks[row].name, "shape": looks[row].shape} for row in rows],
        "collections": [
            _collection(name, results, evaluation.evidence[name], rows=rows, most=share, allowance=allowance)
            for name, results in evaluation.collections.items()
        ],
    }


def _collection(
    name: str, results: Results, evidence: Evidence, *, rows: Sequence[str], most: int, allowance: _Allowance
) -> Json:
    values = [next(iter(results.rows[row].values.values())) for row in (*rows, ORACLE)]
    shelf = _Shelf(evidence, allowance)
    return {
        "name": name,
        "total": len(results.queries),
        "queries": [
            _query(results.queries[at], shelf, rows=rows, values=[round(of_row[at], 4) for of_row in values])
            for at in _telling(values[:-1], most)
        ],
        "documents": shelf.entries,
    }


def _telling(values: Sequence[Sequence[float]], most: int) -> list[int]:
    """Return which queries to show, in their order: all, or those that tell most about who is better."""
    spread = [max(at) - min(at) for at in zip(*values, strict=True)]
    return sorted(sorted(range(len(spread)), key=lambda at: -spread[at])[:most])


def _query(query: str, shelf: _Shelf, *, rows: Sequence[str], values: Sequence[float]) -> Json:
    lists = [shelf.evidence.runs[row].of(query).documents[:DEEPEST] for row in rows]
    grades = shelf.evidence.judgements[query]
    looked_at = {document for documents in lists for document in documents[:SHOWN]}
    known = list(dict.fromkeys(document for documents in lists for document in documents))
    places = {document: at for at, document in enumerate(known)}
    relevant = {document for document, grade in grades.items() if grade > 0}
    return {
        "id": query,
        "text": shelf.allowance.take(shelf.evidence.texts.queries.get(query, "")),
        "values": list(values),
        "documents": [shelf.number(one, told=one in looked_at or one in relevant) for one in known],
        "lists": [_compact(places[document] for document in documents) for documents in lists],
        "grades": {places[document]: grade for document, grade in grades.items() if document in places},
        "lost": len(relevant - places.keys()),
    }


def _compact(places: Iterable[int]) -> list[int] | int:
    """Return a list, or only its length where it counts up from 0, as that of the first stage does."""
    listed = list(places)
    return len(listed) if listed == list(range(len(listed))) else listed
