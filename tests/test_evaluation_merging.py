"""Several evaluations as one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from judging import collection, noisy, numbers, perfect, quick
from noticing import logged
from resift.errors import InvalidInput
from resift.evaluation import Evaluation, Run, merge, read_run, read_trec
from resift.evaluation.record import FIRST_STAGE


def test_contestants_that_were_measured_apart_stand_side_by_side() -> None:
    """Two evaluations of the same lists give, together, the numbers of one evaluation of all contestants."""
    small = collection()
    apart = {"one": quick(small, {"a": noisy(1)}), "two": quick(small, {"b": noisy(2), "c": perfect()})}

    merged = merge(apart)

    together = quick(small, {"a": noisy(1), "b": noisy(2), "c": perfect()})
    assert numbers(merged) == numbers(together)
    assert merged.contestants == together.contestants
    assert merged.evidence == together.evidence
    assert merged.warnings == together.warnings == ()


def test_what_was_timed_stays_timed(tmp_path: Path) -> None:
    """Latencies, counts and sizes are those of the evaluation in which they were measured."""
    small, cut = collection(), frozenset({str(collection().documents["q0-d1"])})
    one = quick(small, {"a": noisy(1, cuts=cut)}, directory=tmp_path)

    merged = merge({"one": Evaluation.load(tmp_path), "two": quick(small, {"b": perfect()})})

    found, before = merged.collections["small"], one.collections["small"]
    assert found.rows["a"] == before.rows["a"]
    assert found.rows["a"].latency is not None
    assert (found.documents, found.pairs, found.first_stage) == (before.documents, before.pairs, before.first_stage)
    assert merged.created >= one.created


def test_one_evaluation_alone_stays_as_it_is() -> None:
    """Merging one evaluation changes no number; another baseline leaves measures as they were."""
    alone = quick(collection(), {"a": noisy(1), "b": noisy(2)})

    assert numbers(merge({"one": alone})) == numbers(alone)
    compared = merge({"one": alone}, baseline="b").overall.comparisons
    assert [(one.first, one.second) for one in compared] == [(FIRST_STAGE, "b"), ("a", "b")]


def test_contestants_of_one_name_are_told_apart() -> None:
    """The same contestant twice is one; another one of its name is called after its evaluation."""
    small = collection()
    first, second = quick(small, {"a": noisy(1)}), quick(small, {"a": noisy(2)})

    assert list(merge({"one": first, "copy": first}).contestants) == ["a"]
    assert list(merge({"one": first, "two": second}).contestants) == ["a", "a (two)"]


def test_the_same_contestants_may_be_measured_collection_by_collection() -> None:
    """Evaluations of the same contestants on different collections make one of all collections."""
    one, two = collection(name="one"), collection(name="two", seed=1)
    players = {"a": noisy(1), "b": noisy(2)}

    merged = merge({"x": quick(one, players), "y": quick(two, players)})

    assert numbers(merged) == numbers(quick([one, two], players))


def test_only_what_all_have_counts() -> None:
    """A collection that one of them lacks is left out, and that is told."""
    one, two = collection(name="one"), collection(name="two", seed=1)
    with logged() as log:
        merged = merge({"x": quick([one, two], {"a": noisy(1)}), "y": quick(one, {"b": noisy(2)})})

    assert list(merged.collections) == ["one"]
    assert list(merged.contestants) == ["a", "b"]
    assert log == ["not all evaluations have 'two'; left out"]


def test_latencies_of_two_machines_are_not_for_comparison() -> None:
    """Where machines differ, the record names both, and a warning says what that means."""
    here = quick(collection(), {"a": noisy(1)})
    there = replace(quick(collection(), {"b": noisy(2)}), environment={**here.environment, "processor": "abacus"})

    merged = merge({"here": here, "there": there})

    assert merged.environment["processor"].endswith("abacus")
    assert merged.warnings == (
        "latencies were measured on different machines; do not compare those of one with the other's",
    )


def _other_first_stage(evaluation: Evaluation) -> Evaluation:
    evidence = evaluation.evidence["small"]
    turned = {query: found.top(3) for query, found in evidence.runs[FIRST_STAGE].lists.items()}
    runs = {**evidence.runs, FIRST_STAGE: Run(FIRST_STAGE, turned)}
    return replace(evaluation, evidence={"small": replace(evidence, runs=runs)})


def _other_judgements(evaluation: Evaluation) -> Evaluation:
    evidence = evaluation.evidence["small"]
    return replace(
        evaluation,
        evidence={"small": replace(evidence, judgements={**evidence.judgements, "q3": {"q3-d0": 1}})},
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (dict, "there is nothing to compare"),
        (lambda: {"y": quick(collection(name="other"), {"b": perfect()})}, "x has small; y has other"),
        (
            lambda: {"y": quick(collection(queries=4), {"b": perfect()})},
            "not of the same queries of 'small': 6 and 4, 4",
        ),
        (lambda: {"y": _other_judgements(quick(collection(), {"b": perfect()}))}, "same judgements .* query 'q3'"),
        (lambda: {"y": _other_first_stage(quick(collection(), {"b": perfect()}))}, "put different lists of 'small'"),
        (lambda: {"y": quick(collection(), {"b": perfect()}, relevant_from=2)}, "differ in the grade"),
        (lambda: {"y": quick(collection(), {"B": perfect(), "A": perfect()})}, "need names that differ"),
    ],
)
def test_what_does_not_fit_is_not_put_together(make: Any, message: str) -> None:
    """Other queries, other judgements, other lists: each is said plainly, and no number is made of it."""
    others: Mapping[str, Evaluation] = make()
    evaluations = {"x": quick(collection(), {"a": noisy(1)}), **others} if others else {}

    with pytest.raises(InvalidInput, match=message):
        merge(evaluations)


def test_a_baseline_that_nobody_is_is_refused() -> None:
    """The baseline of a merged evaluation is one of its rows."""
    with pytest.raises(InvalidInput, match="baseline='c' is none of the rows"):
        merge({"x": quick(collection(), {"a": noisy(1)})}, baseline="c")


def test_runs_of_any_origin_can_be_merged(tmp_path: Path) -> None:
    """Runs on the disk, measured with the same judgements, stand beside an evaluation's contestants."""
    one = quick(collection(), {"a": noisy(1)}, directory=tmp_path)
    place = tmp_path / "runs" / "small"
    theirs = quick(
        read_trec(place / "first-stage.trec", place / "qrels.txt", name="small"), {"b": read_run(place / "a.trec")}
    )

    merged = merge({"one": one, "theirs": theirs})

    assert merged.overall.wins["a"]["b"] == 0.5
    assert merged.evidence["small"].texts == one.evidence["small"].texts
