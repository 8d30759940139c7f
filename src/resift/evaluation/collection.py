"""A test collection: queries, documents, what judges said of them, and the lists that are to be reranked."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from resift.amounts import whole
from resift.errors import InvalidInput
from resift.evaluation.runs import Run
from resift.types import Document

logger = logging.getLogger("resift")

Judgements: TypeAlias = Mapping[str, Mapping[str, int]]
"""Grades by query and document; above 0 is relevant."""


@dataclass(frozen=True, eq=False)
class Collection:
    """
    Queries and documents by their ids, with judgements, and perhaps the lists to rerank.

    Only queries with a relevant document say anything about a ranker; `judged` names them. A judged document whose
    text is not here counts as one that was not found.
    """

    name: str
    queries: Mapping[str, str] = field(repr=False)
    documents: Mapping[str, Document] = field(repr=False)
    judgements: Judgements = field(repr=False)
    first_stage: Run | None = None
    """What some retriever found, best first."""

    pool: Run | None = None
    """Candidates in no order at all: those that judges saw, or positives mixed with negatives."""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InvalidInput(f"a collection needs a name, not {self.name!r}")
        if not self.judgements:
            raise InvalidInput(f"the collection {self.name!r} has no judgements; without them nothing can be measured")
        judged = self.judged
        if not judged:
            raise InvalidInput(_nothing_to_measure(self))
        for query in judged:
            if not self.queries[query].strip():
                raise InvalidInput(f"the query {query!r} of {self.name!r} is blank; give it words or take it out")
        self._warn_of_strangers()

    @cached_property
    def judged(self) -> list[str]:
        """The queries that have a relevant document, in the order of their ids."""
        return sorted(query for query in self.judgements if query in self.queries and _has_relevant(self, query))

    def sample(self, count: int) -> "Collection":
        """Return this collection with at most so many judged queries: always the same ones, in no way chosen."""
        whole("count", count, advice="it is how many queries are kept")
        kept = sorted(self.judged, key=lambda query: hashlib.sha256(query.encode()).digest())[:count]
        return replace(self, judgements={query: self.judgements[query] for query in kept})

    def _warn_of_strangers(self) -> None:
        lost = sum(query not in self.queries for query in self.judgements)
        if lost:
            logger.warning("%d judged queries of the collection %r have no text; they are left out", lost, self.name)


def _has_relevant(collection: Collection, query: str) -> bool:
    return any(grade > 0 for grade in collection.judgements[query].values())


def _nothing_to_measure(collection: Collection) -> str:
    known = any(query in collection.queries for query in collection.judgements)
    reason = "has a relevant document" if known else "is among the queries; the ids of the two files do not match"
    return f"no judged query of the collection {collection.name!r} {reason}"
