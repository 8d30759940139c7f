"""Measures: those of trec_eval to six decimals, and where scores tie their mean over all orders."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resift.errors import InvalidInput
from resift.evaluation.measures import MEASURES, expected_reciprocal, read_measure, read_measures
from resift.evaluation.runs import Listing
from resift.evaluation.ties import grade

NAMES = [*MEASURES, "nDCG", "nDCG@3", "MAP@5", "MRR", "MRR@1", "Recall", "Recall@3", "P@1", "P@3"]
THEIRS = {"MAP": "AP", "MRR": "RR", "Recall": "R"}  # ours are named as means, theirs as values of one query

IDS = [f"d{number}" for number in range(14)]
GRADES = st.dictionaries(st.sampled_from(IDS), st.integers(0, 3), min_size=1)
ORDERS = st.lists(st.sampled_from(IDS), unique=True)
TOPICS = st.lists(st.tuples(GRADES, ORDERS), min_size=1, max_size=4)
TIED = st.dictionaries(st.sampled_from(IDS[:6]), st.sampled_from([1.0, 2.0, 3.0]), max_size=6)


def _values(name: str, listings: list[Listing], grades: list[Mapping[str, int]], **how: Any) -> list[float]:
    """Return what our measure says of each list."""
    ideal = grade([Listing.unordered(tuple(said)) for said in grades], grades, **how).ideal().on_average()
    found: list[float] = read_measure(name).of(grade(listings, grades, **how).on_average(), ideal).tolist()
    return found


def _value(name: str, listing: Listing, said: Mapping[str, int], **how: Any) -> float:
    return _values(name, [listing], [said], **how)[0]


def _theirs(name: str, grades: list[Mapping[str, int]], scores: list[dict[str, float]]) -> list[float]:
    kind, _, cutoff = name.partition("@")
    cutoff = "1000" if name == "Recall" else cutoff  # theirs needs one
    measure = getattr(ir_measures, THEIRS.get(kind, kind))
    measure = measure @ int(cutoff) if cutoff else measure
    qrels = {str(query): dict(said) for query, said in enumerate(grades)}
    run = {str(query): found for query, found in enumerate(scores)}
    values = {found.query_id: found.value for found in ir_measures.iter_calc([measure], qrels, run)}
    return [values.get(str(query), 0.0) for query in range(len(grades))]


# beside trec_eval


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=30)
@given(topics=TOPICS)
def test_lists_without_ties_are_measured_as_trec_eval_does(name: str, topics: list[Any]) -> None:
    """Every measure of every list is that of ir-measures."""
    grades = [said for said, _ in topics]
    scores = [{document: float(-at) for at, document in enumerate(order)} for _, order in topics]

    ours = _values(name, [Listing.in_order(order) for _, order in topics], grades)

    assert ours == pytest.approx(_theirs(name, grades, scores), abs=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_a_large_run_is_measured_as_trec_eval_does(name: str) -> None:
    """A run of hundreds of queries is measured as ir-measures measures it, some of them without an answer."""
    chance = np.random.default_rng(5)
    ids = [f"d{number}" for number in range(400)]
    grades: list[Mapping[str, int]] = [
        {ids[at]: int(chance.integers(0, 4)) for at in chance.choice(400, 30, replace=False)} for _ in range(200)
    ]
    scores = [
        {ids[at]: float(chance.normal()) for at in chance.choice(400, size, replace=False)}
        for size in chance.integers(0, 120, 200)
    ]

    ours = _values(name, [Listing.by_score(found, found.values()) for found in scores], grades)

    assert ours == pytest.approx(_theirs(name, grades, scores), abs=1e-6)


# by hand


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nDCG@2", (1 / math.log2(3)) / (2 + 1 / math.log2(3))),
        ("MAP", (1 / 2 + 2 / 4) / 2),
        ("MRR@10", 1 / 2),
        ("MRR@1", 0.0),
        ("Recall@3", 1 / 2),
        ("P@3", 1 / 3),
        ("P@10", 2 / 10),
    ],
)
def test_measures_are_what_they_say(name: str, expected: float) -> None:
    """Gains are grades, the ideal list is made of all judgements, and an empty place holds nothing."""
    listing = Listing.in_order(["x", "fair", "y", "good"])

    assert _value(name, listing, {"good": 2, "fair": 1, "y": 0}) == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_best_list_is_worth_1(name: str) -> None:
    """What nothing could improve is worth 1, where a list can hold enough for that."""
    best = _value(name, Listing.in_order(["a", "b", "c"]), {"a": 3, "b": 2, "c": 1})

    assert best == pytest.approx({"Recall@3": 1, "P@10": 0.3}.get(name, 1.0))


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_list_is_worth_0(name: str) -> None:
    """A query without an answer counts, as a failure."""
    assert _values(name, [Listing.in_order([]), Listing.in_order(["a"])], [{"a": 1}, {"b": 1}]) == [0, 0]


def test_a_negative_grade_is_worth_nothing() -> None:
    """Spam is as bad as what nobody judged, not worse."""
    assert _value("nDCG@10", Listing.in_order(["spam", "a"]), {"a": 1, "spam": -2}) == pytest.approx(1 / math.log2(3))


def test_relevance_may_begin_at_a_higher_grade() -> None:
    """`relevant_from` moves the line for measures that know no grades, and leaves gains as they are."""
    listing, said = Listing.in_order(["fair", "good"]), {"good": 2, "fair": 1}

    assert _value("MRR@10", listing, said, relevant_from=2) == 1 / 2
    assert _value("Recall@1", listing, said, relevant_from=2) == 0
    assert _value("nDCG@10", listing, said, relevant_from=2) == _value("nDCG@10", listing, said)


# ties


def _orders(listing: Listing) -> Iterator[Listing]:
    """Yield the list in each order that its ties leave open."""
    groups = [
        [document for document, _ in group]
        for _, group in itertools.groupby(
            zip(listing.documents, listing.ranks, strict=True), key=lambda placed: placed[1]
        )
    ]
    for orders in itertools.product(*map(itertools.permutations, groups)):
        yield Listing.in_order([document for order in orders for document in order])


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(scores=TIED, said=st.dictionaries(st.sampled_from(IDS[:8]), st.integers(0, 3), min_size=1))
def test_ties_count_as_the_mean_of_all_orders(name: str, scores: dict[str, float], said: dict[str, int]) -> None:
    """Where scores tie, a measure is its mean over all orders of the tie, and best and worst enclose them."""
    listing = Listing.by_score(scores, scores.values())
    found = [_value(name, order, said) for order in _orders(listing)]
    ideal = grade([Listing.unordered(tuple(said))], [said]).ideal().on_average()
    graded = grade([listing], [said])
    best, worst = (read_measure(name).of(slots, ideal).item() for slots in (graded.at_best(), graded.at_worst()))

    assert _value(name, listing, said) == pytest.approx(sum(found) / len(found))
    assert (best, worst) == pytest.approx((max(found), min(found)))


@given(size=st.integers(1, 40), hits=st.integers(1, 40), first=st.integers(1, 9), cutoff=st.integers(1, 60))
def test_the_first_of_a_tie_is_where_chance_puts_it(size: int, hits: int, first: int, cutoff: int) -> None:
    """The mean of one over the first relevant place is what counting all choices of places gives."""
    hits = min(hits, size)
    ways = math.comb(size, hits)
    counted = sum(
        math.comb(size - offset - 1, hits - 1) / ways / (first + offset)
        for offset in range(size - hits + 1)
        if first + offset <= cutoff
    )

    assert expected_reciprocal(first, size, hits, cutoff=cutoff) == pytest.approx(counted)


# names


@pytest.mark.parametrize("name", ["nDCG@10", "MAP", "MRR@100", "Recall@5", "P@1"])
def test_a_measure_is_known_by_its_name(name: str) -> None:
    """A name that is read is the name that is shown."""
    assert str(read_measure(name)) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ndcg@10", "did you mean 'nDCG@10'"),
        ("AP", "did you mean 'MAP'"),
        ("nDCG@0", "did you mean 'nDCG'"),
        ("nDCG@-1", "did you mean 'nDCG'"),
        ("accuracy", "there are nDCG, MAP"),
        ("P", "needs a number of places"),
        ("", "no measure ''"),
        (10, "no measure 10"),
    ],
)
def test_what_is_no_measure_is_refused(name: Any, message: str) -> None:
    """A name that means nothing is answered with the closest that does."""
    with pytest.raises(InvalidInput, match=message):
        read_measure(name)


@pytest.mark.parametrize("names", ["nDCG@10", [], ["MAP", "MAP"]])
def test_measures_are_a_list_without_doubles(names: Any) -> None:
    """A bare name, nothing at all, or a measure twice is refused."""
    with pytest.raises(InvalidInput, match="measures"):
        read_measures(names)
