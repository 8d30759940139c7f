"""An evaluation: fair to all, the same each time, and told as it is."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging import collection, means, noisy, numbers, perfect, quick
from noticing import logged
from resift.errors import InvalidInput, ScoringFailed
from resift.evaluation import Collection, Listing, Run, evaluate
from resift.evaluation.record import FIRST_STAGE, ORACLE
from resift.testing import FakeRanker

# what is measured


def test_everybody_stands_beside_the_first_stage_and_the_oracle() -> None:
    """The first stage and an oracle are rows of their own, and a perfect ranker does what the oracle does."""
    evaluation = quick(collection(), {"perfect": perfect(), "noisy": noisy(1, 3.0)})

    found = means(evaluation.overall)
    assert list(found) == [FIRST_STAGE, "perfect", "noisy", ORACLE]
    assert found["perfect"] == found[ORACLE] == 1
    assert found[FIRST_STAGE] < 1
    assert str(evaluation).startswith("small")
    assert repr(evaluation) == "Evaluation(perfect, noisy on small)"


def test_nothing_but_the_judged_queries_counts() -> None:
    """Queries without a relevant document, and documents of the corpus that nobody listed, change nothing."""
    small = collection()
    larger = replace(
        small,
        queries={**small.queries, "unjudged": "x", "none": "y"},
        documents={**small.documents, "extra": "z"},
        judgements={**small.judgements, "none": {"extra": 0}},
    )

    assert numbers(quick(small, {"a": noisy(1)})) == numbers(quick(larger, {"a": noisy(1)}))


def test_only_the_best_of_the_first_stage_are_put_in_order() -> None:
    """`depth` is how many documents a ranker gets, and all that the oracle may use."""
    small, ranker = collection(), perfect()

    evaluation = quick(small, {"perfect": ranker}, depth=3)

    assert {len(documents) for documents in ranker.texts_asked} == {3}
    assert means(evaluation.overall)["perfect"] == means(evaluation.overall)[ORACLE] < 1
    assert evaluation.collections["small"].pairs == 18


def test_a_ranker_gets_the_texts_in_the_order_of_the_first_stage() -> None:
    """Queries and documents reach the ranker as the collection has them, best first."""
    small, ranker = collection(queries=1), FakeRanker()

    quick(small, {"fake": ranker})

    assert small.first_stage is not None
    assert [call["query"] for call in ranker.asked] == ["what is q0"]
    assert ranker.texts_asked == [[small.documents[one] for one in small.first_stage.of("q0").documents]]


def test_runs_of_others_are_measured_too() -> None:
    """A run is a contestant like any other; where it has no list, it scores 0, and that is told."""
    small = collection()
    assert small.first_stage is not None
    half = Run("theirs", {query: small.first_stage.of(query) for query in small.judged[:3]})

    evaluation = quick(small, {"same": small.first_stage, "half": half})

    row = evaluation.collections["small"].rows["half"]
    assert means(evaluation.overall)["same"] == means(evaluation.overall)[FIRST_STAGE]
    assert row.values["nDCG@10"][3:] == (0, 0, 0)
    assert row.unlisted == 3
    assert evaluation.warnings == ("'half' on 'small': no list for 3 queries; each scores 0",)
    assert evaluation.contestants["half"].kind == "Run"


def test_collections_count_the_same_however_large() -> None:
    """The mean over all collections is the mean of their means."""
    small, large = collection(2, name="a"), collection(20, name="b", seed=1)

    evaluation = quick([small, large], {"noisy": noisy(1)})

    parts = [means(results.standing)["noisy"] for results in evaluation.collections.values()]
    assert means(evaluation.overall)["noisy"] == pytest.approx(sum(parts) / 2, abs=1e-9)
    assert "all collections" in str(evaluation)


def test_a_document_without_a_score_was_not_found() -> None:
    """What a ranker drops is out of its list, and that is told."""
    small = collection(queries=1)
    best, other = (str(small.documents[name]) for name in ("q0-d0", "q0-d1"))

    evaluation = quick(small, {"drops": perfect(drops=frozenset({best}), cuts=frozenset({other}))})

    row = evaluation.collections["small"].rows["drops"]
    assert (row.left_out, row.truncated) == (1, 1)
    assert row.values["Recall@100"][0] < 1
    assert evaluation.warnings == ("'drops' on 'small': no place for 1 document; each counts as not found",)


def test_ties_are_told_where_they_matter() -> None:
    """A ranker that cannot tell documents apart is worth what chance makes of it, and a warning says so."""
    with logged() as log:
        evaluation = quick(collection(queries=30), {"blind": FakeRanker("blind", lambda *_: 0.5)})

    row = evaluation.collections["small"].rows["blind"]
    assert row.ties.worst < means(evaluation.overall)["blind"] < row.ties.best
    assert row.ties.tied == 1
    assert len(log) == len(evaluation.warnings) == 1
    assert "scores tie so often" in log[0]


def test_a_single_tie_of_the_irrelevant_is_not_worth_a_word() -> None:
    """Where ties change nothing, nothing is said."""
    evaluation = quick(collection(), {"coarse": perfect()})

    assert evaluation.collections["small"].rows["coarse"].ties.tied > 0
    assert evaluation.warnings == ()


def test_a_query_without_candidates_is_told_once() -> None:
    """Where the first stage found nothing nobody is asked, and the first stage is to blame."""
    small, ranker = collection(), perfect()
    assert small.first_stage is not None
    lists = {**small.first_stage.lists, "q3": Listing((), (), ())}

    evaluation = quick(replace(small, first_stage=Run("r", lists)), {"perfect": ranker})

    assert len(ranker.asked) == 5
    assert evaluation.collections["small"].rows["perfect"].values["nDCG@10"][3] == 0
    assert evaluation.warnings == ("no candidates for 1 query of 'small'; all score 0 there",)


def test_relevant_documents_that_nobody_can_find_are_told() -> None:
    """A relevant document without a text lowers what anybody can reach."""
    small = collection()
    judgements = {**small.judgements, "q0": {**small.judgements["q0"], "lost": 2}}

    evaluation = quick(replace(small, judgements=judgements), {"perfect": perfect()})

    assert evaluation.collections["small"].rows[ORACLE].values["nDCG@10"][0] < 1
    assert evaluation.warnings == ("no text for 1 relevant document of 'small'; nobody can find them",)


# metamorphoses


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_the_order_of_documents_and_queries_changes_nothing(data: st.DataObject) -> None:
    """Permuting queries, documents, judgements and unordered candidates changes no number."""
    small = collection(queries=4, candidates=6)
    assert small.first_stage is not None
    pool = Run("pool", {query: Listing.unordered(found.documents) for query, found in small.first_stage.lists.items()})
    shuffled = Collection(
        "small",
        dict(data.draw(st.permutations(list(small.queries.items())))),
        dict(data.draw(st.permutations(list(small.documents.items())))),
        {
            query: dict(data.draw(st.permutations(list(grades.items()))))
            for query, grades in data.draw(st.permutations(list(small.judgements.items())))
        },
        pool=Run(
            "pool",
            {
                query: Listing.unordered(data.draw(st.permutations(found.documents)))
                for query, found in pool.lists.items()
            },
        ),
    )

    plain = quick(replace(small, first_stage=None, pool=pool), {"a": noisy(1), "coarse": perfect()})

    assert numbers(quick(shuffled, {"a": noisy(1), "coarse": perfect()})) == numbers(plain)


@settings(deadline=None, max_examples=15)
@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True), queries=st.integers(1, 8))
def test_a_perfect_ranker_is_on_top(seeds: list[int], queries: int) -> None:
    """Whoever else takes part, nobody is rated above a ranker that makes no mistake."""
    others = {f"noisy {seed}": noisy(seed) for seed in seeds}

    overall = quick(collection(queries), {**others, "perfect": perfect()}).overall

    best = [rating.row for rating in overall.ratings if rating.rank == 1]
    assert "perfect" in best
    assert all(overall.wins["perfect"][other] >= 0.5 for other in overall.wins["perfect"])


def test_a_copy_ties_its_original() -> None:
    """A contestant that takes part twice has one rating, one rank, and no difference with p = 1."""
    overall = quick(collection(), {"a": noisy(1), "b": noisy(2), "copy": noisy(1)}).overall

    rated = {rating.row: rating for rating in overall.ratings}
    assert rated["copy"].rating.mean == pytest.approx(rated["a"].rating.mean, abs=1e-6)
    assert rated["copy"].rank == rated["a"].rank
    assert (overall.wins["a"]["copy"], overall.ahead["a"]["copy"]) == (0.5, 0.5)
    (compared,) = (one for one in overall.comparisons if {one.first, one.second} == {"a", "copy"})
    assert (compared.difference.mean, compared.p, compared.p_holm) == (0, 1, 1)


def test_who_else_takes_part_changes_no_measure() -> None:
    """Adding a contestant or a collection leaves the measures, intervals and wins of others as they were."""
    one, two = collection(name="one"), collection(name="two", seed=1)

    alone = quick(one, {"a": noisy(1)}).collections["one"].standing
    among = quick([two, one], {"b": noisy(2), "a": noisy(1)}).collections["one"].standing

    assert among.measures["a"] == alone.measures["a"]
    assert among.wins["a"][FIRST_STAGE] == alone.wins["a"][FIRST_STAGE]


def test_the_same_seed_gives_the_samenumbers() -> None:
    """Chance begins where it is told to begin, and moves intervals only."""
    small, players = collection(), {"a": noisy(1), "b": noisy(2)}

    first, again, other = (quick(small, players, seed=seed) for seed in (4, 4, 5))

    assert numbers(first) == numbers(again)
    assert means(first.overall) == means(other.overall)
    assert first.overall != other.overall


def test_better_is_told_from_lucky() -> None:
    """A clear lead is significant and a small one is not, after paying for all comparisons made."""
    overall = quick(
        collection(queries=60), {"good": noisy(1, 0.5), "poor": noisy(2, 4.0), "bad": noisy(3, 4.0)}
    ).overall

    found = {frozenset((one.first, one.second)): one for one in overall.comparisons}
    clear, unclear = found[frozenset(("good", "poor"))], found[frozenset(("poor", "bad"))]
    assert len(found) == 6
    assert clear.p <= clear.p_holm < 0.01
    assert clear.difference.low < clear.difference.mean < clear.difference.high < 0
    assert unclear.p_holm > 0.05
    assert unclear.difference.low < 0 < unclear.difference.high


def test_intervals_are_of_95_percent_and_of_independent_collections() -> None:
    """An interval is about four standard errors wide, and narrower by the root of two over two collections."""
    one, two = collection(80, name="one"), collection(80, name="two")

    evaluation = quick([one, two], {"a": noisy(1, 3.0)})

    values = np.array(evaluation.collections["one"].rows["a"].values["nDCG@10"])
    alone = evaluation.collections["one"].standing.measures["a"]["nDCG@10"]
    both = evaluation.overall.measures["a"]["nDCG@10"]
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(80), rel=0.12)
    assert both.high - both.low == pytest.approx((alone.high - alone.low) / np.sqrt(2), rel=0.12)


def test_winning_more_games_is_worth_more() -> None:
    """Who wins every game is rated higher the more games there are, over collections too."""
    one, two = collection(8, name="one"), collection(24, name="two")

    evaluation = quick([one, two], {"perfect": perfect()})

    rated = [
        next(rating.rating.mean for rating in standing.ratings if rating.row == "perfect")
        for standing in (*(results.standing for results in evaluation.collections.values()), evaluation.overall)
    ]
    assert evaluation.overall.wins["perfect"][FIRST_STAGE] == 1
    assert rated[0] < rated[1] < rated[2]


def test_a_baseline_is_what_all_are_compared_with() -> None:
    """With a baseline there are fewer comparisons, and each says how far the other is ahead of it."""
    overall = quick(collection(), {"a": noisy(1), "b": noisy(2)}, baseline="a").overall

    found = means(overall)
    assert [(one.first, one.second) for one in overall.comparisons] == [(FIRST_STAGE, "a"), ("b", "a")]
    assert overall.comparisons[1].difference.mean == pytest.approx(found["b"] - found["a"], abs=1e-8)


# first stages


def test_bm25_finds_what_a_collection_does_not_bring() -> None:
    """Without a run, BM25 searches the corpus."""
    small = replace(collection(), first_stage=None)

    evaluation = quick(small, {"perfect": perfect()}, first_stage="bm25", depth=5)

    assert evaluation.collections["small"].first_stage == "bm25"
    assert means(evaluation.overall)["perfect"] > 0


def test_a_ranker_may_be_the_first_stage() -> None:
    """A ranker reads the whole corpus for each query, and the best of it are put in order."""
    small, finder = collection(queries=3), FakeRanker("finder", lambda query, text, _: float(text.split()[0] in query))

    evaluation = quick(small, {"perfect": perfect()}, first_stage=finder, depth=12)

    assert {len(documents) for documents in finder.texts_asked} == {36}
    assert evaluation.collections["small"].first_stage == "finder"
    assert evaluation.protocol.first_stage == "finder"
    assert means(evaluation.overall)["perfect"] == 1


def test_a_first_stage_that_ranks_needs_texts() -> None:
    """Where there is no corpus, there is nothing to find."""
    with pytest.raises(InvalidInput, match="'small' has no documents to find"):
        quick(replace(collection(), documents={}), {}, first_stage=perfect())


def test_a_run_may_be_the_first_stage() -> None:
    """A run of the caller's goes before that of the collection."""
    small = collection()
    turned = {query: Listing.in_order(found.documents[::-1]) for query, found in small.first_stage.lists.items()}  # type: ignore[union-attr]

    evaluation = quick(small, {}, first_stage=Run("turned", turned))

    assert evaluation.evidence["small"].runs[FIRST_STAGE].lists == turned


# bad contestants


@pytest.mark.parametrize(
    ("ranker", "message"),
    [
        (FakeRanker(scorer=lambda *_: float("nan")), "scored document 0 of the query 'q0' nan"),
        (FakeRanker(scorer=lambda *_: float("inf")), "scored document 0 of the query 'q0' inf"),
        (FakeRanker(renumber=lambda index: index + 1), "named a document twice, or one that is not among the 12 of"),
        (
            FakeRanker(renumber=lambda index: 0),
            "named a document twice, or one that is not among the 12 of the query 'q0'",
        ),
    ],
)
@pytest.mark.parametrize("timed", [True, False])
def test_an_answer_that_is_none_is_an_error(ranker: FakeRanker, message: str, *, timed: bool) -> None:
    """Scores that are no numbers and lists that are not of these documents never become a measure."""
    with pytest.raises(ScoringFailed, match=message):
        quick(collection(), {"bad": ranker}, timed=timed)


def test_rankings_that_do_not_come_are_an_error() -> None:
    """A ranker that ranks fewer queries than it was given is found out."""
    ranker = FakeRanker()
    vars(ranker)["rank_many"] = lambda requests: iter([ranker.rank(*next(requests))])

    with pytest.raises(ScoringFailed, match="'fake' ranked 1 of 6 queries"):
        quick(collection(), {"lazy": ranker}, timed=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"collections": []}, "collections must be one or more"),
        ({"collections": ["scifact"]}, "collections must be one or more"),
        ({"collections": [collection(), collection()]}, "collections 'small' and 'small' need names that differ"),
        ({"contestants": [perfect()]}, "contestants must be rankers by name"),
        ({"contestants": {"": perfect()}}, "a contestant needs a name"),
        ({"contestants": {"a": FakeRanker}}, "'a' must be a ranker or a run, not type"),
        ({"contestants": {"a": "lexical"}}, "'a' must be a ranker or a run, not str"),
        ({"contestants": {"oracle": perfect()}}, "'oracle' and 'oracle' need names that differ"),
        ({"contestants": {"A": perfect(), "a": perfect()}}, "'A' and 'a' need names that differ"),
        ({"first_stage": "bm42"}, "first_stage must be 'given', 'pool', 'bm25', a run or a ranker, not 'bm42'"),
        ({"first_stage": "pool"}, "has no pool of candidates; let first_stage='bm25' find some"),
        ({"first_stage": Run("r", {})}, "first stage 'r' has no documents for any judged query"),
        ({"depth": 0}, "depth must be a whole number"),
        ({"measures": ["recall@5"]}, "did you mean 'Recall@5'"),
        ({"relevant_from": 0}, "relevant_from must be a whole number"),
        ({"baseline": "smal"}, "baseline='smal' is none of the rows"),
        ({"concurrency": 0}, "concurrency must be a whole number"),
        ({"warm_up": -1}, "warm_up must be a whole number"),
        ({"seed": 0.5}, "seed must be a whole number"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: dict[str, Any], message: str) -> None:
    """An argument is checked before any ranker is asked."""
    ranker = perfect()

    with pytest.raises(InvalidInput, match=message):
        evaluate(**{"collections": collection(), "contestants": {"mine": ranker}, **arguments})
    assert ranker.asked == []


def test_a_collection_without_lists_says_how_to_get_some() -> None:
    """Where there is nothing to put in order, BM25 is named."""
    with pytest.raises(InvalidInput, match=r"no run of a first stage and no pool .* let first_stage='bm25' find some"):
        quick(replace(collection(), first_stage=None), {})


def test_documents_without_text_cannot_be_ranked() -> None:
    """A ranker needs all texts, a run none."""
    small = replace(collection(), documents={})
    assert small.first_stage is not None

    assert quick(small, {"run": small.first_stage}).overall.measures
    with pytest.raises(InvalidInput, match="has no text of 12 of the documents to rank for the query 'q0'"):
        quick(small, {"a": perfect()})
