"""A cascade: a cheap ranker chooses, a strong one ranks what was chosen."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resift
from resift.compose.cascade import cascade
from resift.errors import InvalidInput, ScoringFailed
from resift.testing import FakeRanker
from resift.testing.ways import WAYS, ranking_of, scores_of
from resift.types import Described, Usage

way = pytest.mark.parametrize("way", WAYS)

DOCUMENTS: list[Any] = ["a", {"letter": "b"}, "c", "d", "e", "f"]
TEXTS = ["a", "letter: b", "c", "d", "e", "f"]


def by(order: str) -> Any:
    """Score texts by how soon their last letter stands in `order`."""
    return lambda query, text, instruction: float(len(order) - order.index(text[-1]))


def level(query: str, text: str, instruction: str | None) -> float:
    return 1.0


@way
def test_the_best_of_the_cheap_one_are_ranked_by_the_strong_one(way: str) -> None:
    """A ranking holds what the cheap ranker kept, in the strong one's order, with its scores and name."""
    cheap, strong = FakeRanker("cheap", by("fbdace")), FakeRanker("strong", by("abcdef"))

    ranking = ranking_of(cascade(cheap, strong, keep=3), way, "q", DOCUMENTS)

    assert [(hit.index, hit.score) for hit in ranking] == [(1, 5.0), (3, 3.0), (5, 1.0)]
    assert all(hit.document is DOCUMENTS[hit.index] for hit in ranking)
    assert ranking.model == "strong"
    assert cheap.asked == [
        {"verb": "rank", "query": "q", "documents": DOCUMENTS, "top_n": 3, "threshold": None, "instruction": None}
    ]
    assert strong.texts_asked == [[DOCUMENTS[1], "d", "f"]]


@way
def test_the_cut_is_about_the_strong_ones_scores(way: str) -> None:
    """`threshold` and `top_n` cut what the strong ranker says, not what the cheap one says."""
    cheap, strong = FakeRanker("cheap", by("fbdace")), FakeRanker("strong", by("abcdef"))
    both = cascade(cheap, strong, keep=3)

    assert [hit.index for hit in ranking_of(both, way, "q", DOCUMENTS, threshold=3.0)] == [1, 3]
    assert [hit.index for hit in ranking_of(both, way, "q", DOCUMENTS, top_n=1)] == [1]
    assert len(ranking_of(both, way, "q", DOCUMENTS, threshold=99.0)) == 0
    assert {call["top_n"] for call in cheap.asked} == {3}
    assert {call["threshold"] for call in cheap.asked} == {None}


def test_ties_keep_the_callers_order() -> None:
    """Where the strong ranker sees no difference, documents stand as the caller passed them, not as the cheap one."""
    ranking = cascade(FakeRanker("cheap", by("fedcba")), FakeRanker("strong", level), keep=4).rank("q", DOCUMENTS)

    assert [hit.index for hit in ranking] == [2, 3, 4, 5]


@way
@pytest.mark.parametrize("keep", [6, 7, 50])
def test_where_there_is_nothing_to_choose_the_cheap_one_is_not_asked(way: str, keep: int) -> None:
    """No more documents than are kept: the strong ranker ranks them alone, exactly as without a cascade."""
    cheap, strong = FakeRanker("cheap"), FakeRanker("strong", counts=None, drops=frozenset("c"))

    ranking = ranking_of(cascade(cheap, strong, keep=keep), way, "q", DOCUMENTS, top_n=4, threshold=0.25)

    assert cheap.asked == []
    assert ranking == strong.rank("q", DOCUMENTS, top_n=4, threshold=0.25)
    assert (ranking.missing, ranking.usage) == ((2,), None)


def test_no_documents_have_an_empty_ranking() -> None:
    """Nothing to choose from, nothing to rank."""
    with cascade(resift.load(), resift.load()) as both:
        assert len(both.rank("q", [])) == 0


@way
def test_scores_are_the_strong_ones(way: str) -> None:
    """`score` wants a score for every document, so the strong ranker reads them all and the cheap one none."""
    cheap, strong = FakeRanker("cheap"), FakeRanker("strong")

    scores = scores_of(cascade(cheap, strong, keep=2), way, "q", DOCUMENTS, instruction="i")

    assert scores == strong.score("q", DOCUMENTS, instruction="i")
    assert cheap.asked == []


@pytest.mark.parametrize(
    ("says", "given_to_cheap"),
    [({}, None), ({"takes_instruction": False}, None), ({"takes_instruction": True}, "find food")],
)
def test_an_instruction_is_the_strong_ones(says: dict[str, Any], given_to_cheap: str | None) -> None:
    """The strong ranker gets the instruction; the cheap one only if it says that it takes one."""
    cheap, strong = FakeRanker("cheap", says=says), FakeRanker("strong")

    cascade(cheap, strong, keep=2).rank("q", DOCUMENTS, instruction="find food")

    assert cheap.asked[0]["instruction"] == given_to_cheap
    assert strong.asked[0]["instruction"] == "find food"


def test_what_it_cost_is_the_sum() -> None:
    """Usage is what both read; None, rather than too little, where one of them does not say."""
    counting, silent = FakeRanker("counting"), FakeRanker("silent", counts=None)

    assert cascade(counting, counting, keep=2).rank("q", DOCUMENTS).usage == Usage(6 + 2)
    assert cascade(counting, silent, keep=2).rank("q", DOCUMENTS).usage is None
    assert cascade(silent, counting, keep=2).rank("q", DOCUMENTS).usage is None


def test_what_was_cut_is_what_the_strong_one_cut() -> None:
    """`truncated` counts among the documents whose scores are in the ranking."""
    cheap = FakeRanker("cheap", by("abcdef"), cuts=frozenset(TEXTS))
    strong = FakeRanker("strong", cuts=frozenset("acf"))

    assert cascade(cheap, strong, keep=3).rank("q", DOCUMENTS).truncated == 2


@way
def test_what_either_dropped_is_missing(way: str) -> None:
    """`missing` names the caller's documents that either ranker could not score."""
    cheap, strong = FakeRanker("cheap", by("fedcba"), drops=frozenset("e")), FakeRanker("strong", drops=frozenset("c"))

    ranking = ranking_of(cascade(cheap, strong, keep=3), way, "q", DOCUMENTS)

    assert ranking.missing == (2, 4)
    assert sorted(hit.index for hit in ranking) == [3, 5]


def test_a_choice_that_is_too_long_is_cut() -> None:
    """A cheap ranker that keeps more than it was asked to does not make the strong one read more."""

    class Generous(FakeRanker):
        def rank(self, query: str, documents: Any, **options: Any) -> Any:
            return super().rank(query, documents)

    strong = FakeRanker("strong")

    assert len(cascade(Generous("cheap", by("fedcba")), strong, keep=2).rank("q", DOCUMENTS)) == 2
    assert strong.texts_asked == [["e", "f"]]


@way
@pytest.mark.parametrize("failing", ["cheap", "strong"])
def test_a_failure_is_the_callers(way: str, failing: str) -> None:
    """Whichever ranker fails, its error is what the caller gets."""
    rankers = {name: FakeRanker(name) for name in ("cheap", "strong")}
    rankers[failing].fails.append(ScoringFailed("no"))

    with pytest.raises(ScoringFailed, match="no"):
        ranking_of(cascade(rankers["cheap"], rankers["strong"], keep=2), way, "q", DOCUMENTS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["panda", "bear", "bamboo panda", {"t": "panda"}, ""]), max_size=8),
    st.integers(0, 3),
    st.none() | st.integers(1, 9),
    st.none() | st.floats(-1, 2),
)
def test_keeping_everything_changes_nothing(
    documents: list[Any], more: int, top_n: int | None, threshold: float | None
) -> None:
    """A cascade that keeps all documents is the strong ranker."""
    strong = FakeRanker("strong")
    both = cascade(FakeRanker("cheap"), strong, keep=len(documents) + more or 1)

    assert both.rank("q", documents, top_n=top_n, threshold=threshold) == strong.rank(
        "q", documents, top_n=top_n, threshold=threshold
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12), st.integers(1, 6))
def test_what_is_kept_is_the_best_of_the_cheap_one(documents: list[str], keep: int) -> None:
    """For any list: the strong ranker's order of the cheap one's best, ties as the caller passed them."""
    cheap, strong = FakeRanker("cheap"), FakeRanker("strong", lambda query, text, instruction: float(ord(text) % 3))
    best = sorted(hit.index for hit in cheap.rank("q", documents, top_n=keep))

    ranking = cascade(cheap, strong, keep=keep).rank("q", documents)

    assert [hit.index for hit in ranking] == sorted(best, key=lambda at: (-(ord(documents[at]) % 3), at))


@pytest.mark.parametrize("keep", [0, -1, True, False, 1.5, "3", None])
def test_what_is_kept_is_a_whole_number(keep: Any) -> None:
    """A `keep` that is no whole number from 1 up is refused; the message shows it."""
    with pytest.raises(InvalidInput, match="keep must be a whole number from 1 up") as refused:
        cascade(FakeRanker(), FakeRanker(), keep=keep)
    assert repr(keep) in str(refused.value)


def test_it_says_of_itself_what_is_true() -> None:
    """A cascade is listwise whatever it holds, and takes what its strong ranker takes."""
    strong = {"identity": "s", "listwise": False, "takes_instruction": True, "max_length": 512}
    cheap = {"identity": "c", "listwise": False, "takes_instruction": False, "max_length": None}

    both = cascade(FakeRanker("cheap", says=cheap), FakeRanker("strong", says=strong), keep=3)

    assert isinstance(both, Described)
    assert (both.model, both.identity) == ("strong", "cascade(c, s, keep=3)")
    assert (both.listwise, both.takes_instruction, both.max_length) == (True, True, 512)
    assert repr(both) == "cascade(FakeRanker('cheap'), FakeRanker('strong'), keep=3)"


def test_real_rankers_cascade() -> None:
    """Two real rankers: the list that the first one leaves is what the second one ranks."""
    documents = ["Paris is in France.", "The giant panda eats bamboo.", "A bear", "Pandas eat; pandas sleep."]
    with cascade(resift.load(), resift.load(normalize=True), keep=2) as both:
        ranking = both.rank("what do pandas eat?", documents)

        assert [hit.index for hit in ranking] == [3, 1]
        assert 0 < ranking[1].score < ranking[0].score <= 1
