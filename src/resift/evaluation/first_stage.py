"""What is to be reranked: the lists that a collection brings, or those that a first stage makes of its corpus."""

import hashlib
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from resift.documents import render
from resift.errors import InvalidInput
from resift.evaluation.asking import Question
from resift.evaluation.bm25 import retrieve
from resift.evaluation.collection import Collection
from resift.evaluation.runs import Run
from resift.types import Ranker

Source: TypeAlias = Literal["given", "pool", "bm25"]
FirstStage: TypeAlias = Source | Run | Ranker


def read_first_stage(given: FirstStage) -> FirstStage:
    """Return what was asked for, or say why it is nothing that finds documents."""
    is_ranker = isinstance(given, Ranker) and not isinstance(given, type)
    if not (isinstance(given, Run) or is_ranker or (isinstance(given, str) and given in get_args(Source))):
        raise InvalidInput(f"first_stage must be 'given', 'pool', 'bm25', a run or a ranker, not {given!r}")
    return given


def lists_of(collection: Collection, source: Source | Run, *, depth: int) -> Run:
    """Return the best documents of each judged query."""
    run = retrieve(collection, depth=depth) if source == "bm25" else _brought(collection, source)
    kept = {query: run.of(query).top(depth) for query in collection.judged}
    if not any(map(len, kept.values())):
        raise InvalidInput(
            f"the first stage {run.name!r} has no documents for any judged query of {collection.name!r}; do their ids "
            "match?"
        )
    return Run(run.name, kept)


def questions_of(collection: Collection, run: Run) -> list[Question]:
    """Return the questions that put these documents in order, less those where there are none."""
    questions = []
    for query, listing in run.lists.items():
        unknown = [document for document in listing.documents if document not in collection.documents]
        if unknown:
            raise InvalidInput(
                f"{collection.name!r} has no text of {len(unknown)} of the documents to rank for the query {query!r}, "
                f"{unknown[0]!r} for one; a ranker needs them all"
            )
        documents = [collection.documents[document] for document in listing.documents]
        questions.append(Question(query, collection.queries[query], listing.documents, documents))
    return [question for question in questions if question.ids]


def questions_to_all(collection: Collection) -> list[Question]:
    """Return the questions that put the whole corpus in order."""
    ids, documents = tuple(collection.documents), list(collection.documents.values())
    if not ids:
        raise InvalidInput(f"{collection.name!r} has no documents to find; a first stage that ranks needs their texts")
    return [Question(query, collection.queries[query], ids, documents) for query in collection.judged]


def digest(questions: Sequence[Question]) -> str:
    """Return a mark that differs where a query, a document or their order does."""
    marks: dict[str, bytes] = {}
    whole = hashlib.sha256()
    for question in questions:
        whole.update(repr((question.query, question.text)).encode(errors="replace"))
        for document, what in zip(question.ids, question.documents, strict=True):
            if document not in marks:
                marks[document] = hashlib.sha256(f"{document}\0{render(what, 0)}".encode(errors="replace")).digest()
            whole.update(marks[document])
    return whole.hexdigest()[:32]


def _brought(collection: Collection, source: Source | Run) -> Run:
    if isinstance(source, Run):
        return source
    brought = collection.pool if source == "pool" else collection.first_stage or collection.pool
    if brought is None:
        lacks = "pool of candidates" if source == "pool" else "run of a first stage and no pool of candidates"
        raise InvalidInput(f"the collection {collection.name!r} has no {lacks}; let first_stage='bm25' find some")
    return brought
