"""BM25 over one list of candidates: word counts in, scores out; nothing to load, the same everywhere."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SATURATION = 1.2  # k1: how soon repeating a word stops counting
LENGTH = 0.75  # b: how much a document's length counts against it


@dataclass(frozen=True, slots=True, eq=False)
class WordScores:
    """The score of each document, and the score that none can exceed."""

    scores: NDArray[np.float64]
    ceiling: float


def bm25(query: Sequence[str], documents: Sequence[Sequence[str]]) -> WordScores:
    """
    Score each document's words against the query's; a word counts by how few of the candidates have it.

    A word that the query repeats counts once more each time, and the ceiling is what a document would score that
    consists of nothing but the query's words, for ever.
    """
    counts = [Counter(words) for words in documents]
    lengths = np.array([len(words) for words in documents], dtype=np.float64)
    slowdown = SATURATION * (1 - LENGTH + LENGTH * lengths / max(1.0, float(lengths.mean())))
    scores, ceiling = np.zeros(len(documents)), 0.0
    for word, repeated in Counter(query).items():
        found = np.array([count[word] for count in counts], dtype=np.float64)
        weight = repeated * (SATURATION + 1) * _rarity(int(np.count_nonzero(found)), len(documents))
        scores += weight * found / (found + slowdown)
        ceiling += weight
    return WordScores(scores, ceiling)


def _rarity(holders: int, documents: int) -> float:
    """
    Return what a word weighs that so many of the documents hold.

    Candidates were found by the query's own words, so even a word that all of them hold counts for one.
    """
    return 1 + math.log(1 + (documents - holders + 0.5) / (holders + 0.5))
