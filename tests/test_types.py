"""The values that everybody knows: what a ranking is, and which part of one a caller may ask for."""

import copy
import dataclasses
import itertools
import math
import pickle
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resift
from resift.errors import InvalidInput
from resift.types import Cut, Ranked, Ranker, Ranking, Usage

SECRET = "xyzzy-plugh"
DOCUMENTS: list[Any] = ["bamboo", {"title": SECRET}, SECRET]
SCORES = st.lists(st.floats(allow_nan=False), max_size=20)


def _ranking(**fields: Any) -> Ranking:
    order = [(2, 0.75), (0, 0.5), (1, -0.25)]
    hits = tuple(Ranked(index, score, DOCUMENTS[index]) for index, score in order)
    return Ranking(**{"hits": hits, "model": "lexical"} | fields)


# a ranking


def test_a_ranking_is_a_sequence_of_hits() -> None:
    """A ranking has a length, an order, and hits that can be indexed, sliced, searched and reversed."""
    ranking = _ranking()

    assert isinstance(ranking, Sequence)
    assert len(ranking) == 3
    assert [hit.index for hit in ranking] == [2, 0, 1]
    assert ranking[0].score == 0.75
    assert ranking[-1] is ranking[2]
    assert ranking[:2] == (ranking[0], ranking[1])
    assert ranking[::-1] == tuple(reversed(ranking))
    assert ranking.index(ranking[1]) == 1
    assert ranking[1] in ranking
    assert dict((hit.index, hit.score) for hit in ranking) == {2: 0.75, 0: 0.5, 1: -0.25}  # noqa: C402 - hits, as users write it
    with pytest.raises(IndexError):
        ranking[3]


def test_an_empty_ranking_is_false() -> None:
    """`if ranking` asks whether anything is left."""
    assert not Ranking((), model="lexical")
    assert _ranking()


def test_a_hit_gives_back_the_callers_own_object() -> None:
    """`hit.document` is the very object that was passed, not a copy."""
    for hit in _ranking():
        assert hit.document is DOCUMENTS[hit.index]


@pytest.mark.parametrize("name", ["hits", "model", "truncated", "usage", "elapsed_s", "missing", "anything"])
def test_a_ranking_does_not_change(name: str) -> None:
    """Nothing can be set on a ranking, put into it or taken out of it."""
    ranking: Any = _ranking()

    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
        setattr(ranking, name, ())
    with pytest.raises(TypeError):
        ranking[0] = ranking[1]
    with pytest.raises(TypeError):
        del ranking[0]
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
        ranking[0].score = 1.0


def test_rankings_are_equal_when_they_say_the_same() -> None:
    """Two rankings are equal when the same model put the same documents in the same places, however long it took."""
    ranking = _ranking(elapsed_s=1.0)

    assert ranking == _ranking(elapsed_s=2.0, usage=Usage(7))
    assert ranking != _ranking(model="another")
    assert ranking != _ranking(hits=ranking.hits[:2])
    assert ranking != _ranking(hits=(dataclasses.replace(ranking[0], score=0.5), *ranking.hits[1:]))
    assert ranking != list(ranking)


def test_a_ranking_has_no_hash() -> None:
    """A ranking cannot be a key, because documents may be mappings, which cannot."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(_ranking())


def test_documents_stay_out_of_representations() -> None:
    """What a ranking or a hit prints as holds its numbers and none of its documents."""
    ranking = _ranking(truncated=1, usage=Usage(12), elapsed_s=0.5, missing=(3,))

    assert repr(ranking) == (
        "Ranking(model='lexical', truncated=1, usage=Usage(tokens=12), elapsed_s=0.5, missing=(3,))"
    )  # fmt: skip
    assert repr(ranking[0]) == "Ranked(index=2, score=0.75)"
    assert SECRET not in f"{ranking} {ranking[:]} {list(ranking)}"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])  # noqa: S301 - it is what was just written
def test_a_ranking_can_be_copied_and_pickled(again: Any) -> None:
    """A ranking that went through a pickle or a copy is the same ranking, with all that it carries."""
    ranking = _ranking(truncated=1, usage=Usage(12), elapsed_s=0.5, missing=(3,))

    assert again(ranking) == ranking
    assert repr(again(ranking)) == repr(ranking)
    assert again(ranking[0]) == ranking[0]


def test_a_ranking_says_what_it_cost() -> None:
    """A ranking carries its model, what was cut, the tokens, the time, and what is missing; nothing by default."""
    bare = Ranking((), model="lexical")

    assert (bare.model, bare.truncated, bare.usage, bare.elapsed_s, bare.missing) == ("lexical", 0, None, 0.0, ())
    assert Usage(12).tokens == 12


# which part of a ranking


@given(SCORES)
def test_the_best_come_first(scores: list[float]) -> None:
    """Positions come in order of falling score, each once."""
    order = Cut().apply(scores)

    assert sorted(order) == list(range(len(scores)))
    assert [scores[at] for at in order] == sorted(scores, reverse=True)


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, 1]), max_size=12))
def test_ties_keep_the_callers_order(scores: list[float]) -> None:
    """Of two equal scores the one that was passed first comes first."""
    order = Cut().apply(scores)

    for before, after in itertools.pairwise(order):
        assert scores[before] > scores[after] or before < after


@given(SCORES, st.integers(1, 25), st.floats(allow_nan=False))
def test_the_threshold_comes_before_the_number(scores: list[float], top_n: int, threshold: float) -> None:
    """What is kept is the best `top_n` of the scores from `threshold` up."""
    kept = Cut(top_n, threshold).apply(scores)

    assert kept == [at for at in Cut().apply(scores) if scores[at] >= threshold][:top_n]


def test_the_threshold_is_inclusive() -> None:
    """A score that is exactly the threshold is kept."""
    assert Cut(threshold=0.5).apply([0.5, 0.25, 0.75]) == [2, 0]
    assert Cut(threshold=0.0).apply([-0.0, -1e-300, 0.0]) == [0, 2]


def test_infinite_thresholds_keep_all_or_nothing() -> None:
    """Any number is a threshold, infinite ones included."""
    assert Cut(threshold=-math.inf).apply([1.0, -1e300]) == [0, 1]
    assert Cut(threshold=math.inf).apply([1.0, 1e300]) == []


@pytest.mark.parametrize("top_n", [1, 2, 99, np.int64(2), np.uint8(1), 2**80])
def test_a_whole_number_is_a_number_of_documents(top_n: Any) -> None:
    """`top_n` is any whole number from 1 up, numpy's included, and may be larger than the list."""
    assert Cut(top_n=top_n).apply([0.0, 1.0, 2.0]) == [2, 1, 0][: int(top_n)]


@pytest.mark.parametrize("top_n", [0, -1, True, False, 1.5, 1.0, "3", np.float64(2), np.bool_(1), np.int64(0), [1]])
def test_anything_else_is_no_number_of_documents(top_n: Any) -> None:
    """A `top_n` that is no whole number from 1 up is refused; the message shows it and says what to do."""
    with pytest.raises(InvalidInput, match="top_n must be a whole number from 1 up") as refused:
        Cut(top_n=top_n)
    assert repr(top_n) in str(refused.value)
    assert "leave it out" in str(refused.value)


@pytest.mark.parametrize("threshold", [0, 0.0, -1.5, np.float32(0.5), np.float64(0.5), np.int8(0), Fraction(1, 2)])
def test_a_number_is_a_threshold(threshold: Any) -> None:
    """`threshold` is any real number, numpy's included; zero is one."""
    assert Cut(threshold=threshold).apply([-2.0, 0.5, 3.0]) == [2, 1]


@pytest.mark.parametrize(
    "threshold", [math.nan, np.float64("nan"), True, False, np.bool_(0), "x", "0.5", 1j, [0.5], Decimal("0.5")]
)
def test_anything_else_is_no_threshold(threshold: Any) -> None:
    """A `threshold` that is no real number is refused; the message shows it and says what to do."""
    with pytest.raises(InvalidInput, match="threshold must be a number") as refused:
        Cut(threshold=threshold)
    assert repr(threshold) in str(refused.value)
    assert "leave it out" in str(refused.value)


def test_invalid_input_is_a_value_error() -> None:
    """Code that knows nothing of resift catches a wrong argument as a ValueError."""
    with pytest.raises(ValueError, match="top_n"):
        Cut(top_n=0)


# rankers


class Constant:
    """Half a ranker: it can score and nothing else."""

    model = "constant"

    def score(self, query: str, documents: Any, *, instruction: str | None = None) -> list[float]:
        return [0.0 for _ in documents]


def test_a_ranker_is_known_by_what_it_can_do() -> None:
    """A local ranker is a `Ranker` without inheriting from it; something that can only score is not."""
    with resift.load() as ranker:
        assert isinstance(ranker, Ranker)
        assert Ranker not in type(ranker).__mro__
    assert not isinstance(Constant(), Ranker)
