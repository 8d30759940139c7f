"""BM25 over a whole corpus: the first stage for a collection that brings none."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from resift.documents import render
from resift.evaluation.collection import Collection
from resift.evaluation.runs import Listing, Run
from resift.scoring.families.lexical import asked_for, stem, words
from resift.types import Document

SATURATION = 0.9  # k1
LENGTH = 0.4  # b; both are usual for a first stage


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """For each word the documents that have it, and what it is worth to each."""

    ids: Sequence[str]
    postings: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]

    def search(self, query: str, depth: int) -> Listing:
        """Return the best documents that share a word with the query; what ties at the end comes along."""
        scores = np.zeros(len(self.ids))
        for word, repeated in Counter(map(stem, asked_for(list(words(query))))).items():
            if word in self.postings:
                holders, worth = self.postings[word]
                scores[holders] += repeated * worth
        found = np.flatnonzero(scores)
        if len(found) > depth:
            least = np.partition(scores[found], len(found) - depth)[len(found) - depth]
            found = found[scores[found] >= least]
        return Listing.by_score([self.ids[at] for at in found.tolist()], scores[found].tolist())


def index(documents: Mapping[str, Document]) -> Index:
    """Count the words of all documents."""
    holders: dict[str, array[int]] = {}
    counts: dict[str, array[int]] = {}
    lengths = np.zeros(len(documents))
    stemmed = cache(stem)  # a corpus has the same words over and over
    for at, document in enumerate(documents.values()):
        found = Counter(map(stemmed, words(render(document, at))))
        lengths[at] = found.total()
        for word, count in found.items():
            holders.setdefault(word, array("q")).append(at)
            counts.setdefault(word, array("q")).append(count)
    slowdown = SATURATION * (1 - LENGTH + LENGTH * lengths / max(1.0, float(lengths.mean() if len(lengths) else 0)))
    postings = {}
    for word, places in holders.items():
        where, often = np.frombuffer(places, dtype=np.int64), np.frombuffer(counts[word], dtype=np.int64)
        postings[word] = where, _rarity(len(where), len(documents)) * often / (often + slowdown[where])
    return Index(list(documents), postings)


def retrieve(collection: Collection, *, depth: int) -> Run:
    """Return the best documents of each judged query."""
    built = index(collection.documents)
    return Run("bm25", {query: built.search(collection.queries[query], depth) for query in collection.judged})


def _rarity(holders: int, documents: int) -> float:
    return math.log(1 + (documents - holders + 0.5) / (holders + 0.5))
