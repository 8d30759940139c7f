"""BM25 over a corpus: the formula, the depth, and words as the built-in scorer reads them."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.evaluation.bm25 import LENGTH, SATURATION, index

WORDS = st.sampled_from(["panda", "bear", "bamboo", "熊猫"])
TEXTS = st.lists(WORDS, max_size=6)


def _plain(query: Sequence[str], documents: Sequence[Sequence[str]], at: int) -> float:
    """Return the score of one document as textbooks write it."""
    mean = max(1.0, sum(map(len, documents)) / len(documents))
    slowdown = SATURATION * (1 - LENGTH + LENGTH * len(documents[at]) / mean)
    score = 0.0
    for word in query:
        holders = sum(word in document for document in documents)
        often = documents[at].count(word)
        score += math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5)) * often / (often + slowdown)
    return score


@given(query=TEXTS, documents=st.lists(TEXTS, min_size=1, max_size=6))
def test_scores_are_those_of_the_formula(query: list[str], documents: list[list[str]]) -> None:
    """Rare words weigh more, repetitions less and less, long documents less; a word asked twice counts twice."""
    found = index({f"d{at}": " ".join(words) for at, words in enumerate(documents)}).search(" ".join(query), 10)

    expected = {f"d{at}": _plain(query, documents, at) for at in range(len(documents))}
    assert dict(zip(found.documents, found.scores, strict=True)) == pytest.approx(
        {document: score for document, score in expected.items() if score}
    )


def test_asking_words_and_endings_do_not_decide() -> None:
    """What a query asks with finds nothing, and a word is found in another form."""
    built = index({"a": "what is the", "b": "Pandas eat."})

    assert built.search("what does the panda do?", 10).documents == ("b",)


def test_a_search_is_as_deep_as_it_is_told() -> None:
    """The best of those that share a word come back; where several tie for the last place, all of them."""
    built = index({**{f"d{at}": "panda" for at in range(5)}, "best": "panda panda", "none": "bear"})

    assert built.search("panda", 1).documents == ("best",)
    assert len(built.search("panda", 3)) == 6
    assert len(built.search("fish", 3)) == 0


def test_an_empty_corpus_has_nothing_to_find() -> None:
    """Searching nothing, or blank documents, finds nothing."""
    assert len(index({}).search("panda", 3)) == len(index({"a": ""}).search("panda", 3)) == 0
