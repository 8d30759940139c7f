"""Haystack's documents: which of them are ranked, as what text, and how they come back."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from haystack import Document

from resift import InvalidInput
from resift.adapting import Placement


def read_documents(documents: Iterable[Document]) -> list[Document]:
    """Return the caller's documents as a list, or say why they are none."""
    if isinstance(documents, str) or not isinstance(documents, Iterable):
        raise InvalidInput(f"documents must be a list of Documents, not {type(documents).__name__}")
    listed = list(documents)
    for at, document in enumerate(listed):
        if not isinstance(document, Document):
            raise InvalidInput(f"documents[{at}] must be a Document, not {type(document).__name__}")
    return listed


def best_of_each(documents: Iterable[Document]) -> list[Document]:
    """Return the highest scoring document of each id, in the place of the first one with that id."""
    best: dict[str, Document] = {}
    for document in documents:
        known = best.get(document.id)
        if known is None or _score(document) > _score(known):
            best[document.id] = document
    return list(best.values())


def _score(document: Document) -> float:
    return -float("inf") if document.score is None else document.score


@dataclass(frozen=True, slots=True)
class Wording:
    """Which text stands for a document, and for the query."""

    meta_fields: Sequence[str]
    separator: str
    query_prefix: str
    query_suffix: str
    document_prefix: str
    document_suffix: str

    def __post_init__(self) -> None:
        for name in ("separator", "query_prefix", "query_suffix", "document_prefix", "document_suffix"):
            if not isinstance(given := getattr(self, name), str):
                told = "meta_data_separator" if name == "separator" else name
                raise InvalidInput(f'{told} must be a str, not {type(given).__name__}; "" is for none')

    def query(self, query: str) -> str:
        """Return the text that is asked; a blank query, or one that is no text, as it is, for the core to refuse."""
        if not isinstance(query, str) or not query.strip():
            return query
        return f"{self.query_prefix}{query}{self.query_suffix}"

    def document(self, document: Document) -> str:
        """Return the text that is ranked; where a document has no content, its meta fields alone."""
        text = self.separator.join([*self._embedded(document), document.content or ""])
        return f"{self.document_prefix}{text}{self.document_suffix}"

    def _embedded(self, document: Document) -> Iterator[str]:
        values = (document.meta.get(name) for name in self.meta_fields)
        return (str(value) for value in values if value is not None)  # 0 and False are values


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call, checked."""

    asked: str
    documents: list[Document]
    wording: Wording
    options: dict[str, Any]
    """What the core is told beside the texts."""

    retrieval_score: str | None
    """The meta field that keeps the score that a document came with, if one does."""

    @property
    def query(self) -> str:
        """The text that is asked."""
        return self.wording.query(self.asked)

    @property
    def texts(self) -> list[str]:
        """The texts that are ranked."""
        return [self.wording.document(document) for document in self.documents]

    def placed(self, placement: Placement) -> list[Document]:
        """Return copies of the documents in their new order, with their new scores; their own stay as they are."""
        failure = None if placement.error is None else type(placement.error).__name__
        return [self._ranked(self.documents[place.index], place.score, failure) for place in placement.places]

    def _ranked(self, document: Document, score: float | None, failure: str | None) -> Document:
        meta = dict(document.meta)
        if self.retrieval_score is not None and document.score is not None:
            meta.setdefault(self.retrieval_score, float(document.score))  # of the first stage, where there are several
        if failure is not None:
            meta["rerank_error"] = failure
        return replace(document, score=score, meta=meta)
