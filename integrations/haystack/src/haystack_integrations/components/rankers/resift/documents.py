"""Haystack's documents: which of them are ranked, as what text, and how they come back."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from haystack import Document

from resift import InvalidInput
from resift.adapting import Placement


def read_documents(documents: Iterable[Document], *, deduplicate: bool) -> list[Document]:
    """Return the documents to rank, one of each id if need be; or say what is no document."""
    if isinstance(documents, str) or not isinstance(documents, Iterable):
        raise InvalidInput(f"documents must be a list of Documents, not {type(documents).__name__}")
    listed = list(documents)
    for at, document in enumerate(listed):
        if not isinstance(document, Document):
            raise InvalidInput(f"documents[{at}] must be a Document, not {type(document).__name__}")
    return _best_of_each(listed) if deduplicate else listed


def _best_of_each(documents: Iterable[Document]) -> list[Document]:
    """Return the highest scoring document of each id, in the place of the first one with that id."""
    best: dict[str, Document] = {}
    for document in documents:
        known = best.get(document.id)
        if known is None or _score(document) > _score(known):
            best[document.id] = document
    return list(best.values())


def _score(document: Document) -> float:
    return -float("inf") if document.score is None else document.score


def text_of(document: Document, fields: Iterable[str], separator: str) -> str:
    """Return the meta fields and the content of a document; where it has no content, the fields alone."""
    values = [document.meta.get(field) for field in fields]
    told = [str(value) for value in values if value is not None]  # 0 and False are values
    return separator.join([*told, document.content or ""])


def placed(documents: Sequence[Document], placement: Placement, *, keep: bool | str) -> list[Document]:
    """
    Return copies of the documents in their new order, with their new scores; those that were given stay as they are.

    `keep` says whether the score that a document came with is kept in its meta, or in which field.
    """
    kept = "retrieval_score" if keep is True else keep
    ranked = []
    for place in placement.places:
        document = documents[place.index]
        meta = dict(document.meta)
        if kept and document.score is not None:
            meta.setdefault(kept, float(document.score))  # of the first stage, where there are several
        if placement.error is not None:
            meta["rerank_error"] = type(placement.error).__name__
        ranked.append(replace(document, score=place.score, meta=meta))
    return ranked
