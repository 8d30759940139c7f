"""Rankers in other projects' evaluators."""

from typing import Any

import numpy as np
import pytest
from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
)

import resift
from resift.evaluation import MTEBReranker, PairPredictor
from resift.evaluation.elsewhere.pairs import score_pairs
from resift.testing import FakeRanker

PANDAS = ["The giant panda eats bamboo.", "Paris is in France.", "Pandas sleep."]
PAIRS = [("panda", PANDAS[0]), ("paris", PANDAS[1]), ("panda", PANDAS[1]), ("paris", PANDAS[0]), ("panda", PANDAS[0])]


def batches(texts: list[str], size: int = 2) -> list[dict[str, list[str]]]:
    """Return texts as mteb hands them over: batches of dictionaries."""
    return [{"text": texts[at : at + size]} for at in range(0, len(texts), size)]


def test_pairs_are_scored_in_their_order() -> None:
    """Pairs in any order get the scores that `score` gives them, each in its place."""
    ranker = resift.load()
    found = score_pairs(ranker, PAIRS)
    for query in ("panda", "paris"):
        places = [at for at, pair in enumerate(PAIRS) if pair[0] == query]
        assert found[places].tolist() == ranker.score(query, [PAIRS[at][1] for at in places])


def test_a_query_is_asked_once() -> None:
    """All pairs of one query are one request."""
    ranker = FakeRanker()
    score_pairs(ranker, PAIRS)
    assert [len(texts) for texts in ranker.texts_asked] == [3, 2]


def test_no_pairs() -> None:
    """No pairs have no scores."""
    assert score_pairs(FakeRanker(), []).tolist() == []


@pytest.mark.parametrize("pairs", [["panda", "bamboo"], [("panda",)], [("panda", None)], [("a", "b", "c")]])
def test_what_is_no_pair_is_refused(pairs: Any) -> None:
    """A pair that is none is named by its place, and its texts are not repeated."""
    with pytest.raises(resift.InvalidInput, match="pair 0 must be a query and a document") as caught:
        score_pairs(FakeRanker(), pairs)
    assert "panda" not in str(caught.value)


def test_every_pair_needs_a_score() -> None:
    """A ranker that leaves a document out is an error, not a score of nothing."""
    with pytest.raises(resift.ScoringFailed, match="2 of 3 pairs"):
        score_pairs(FakeRanker(drops=frozenset({PANDAS[1]})), PAIRS[:3])


def test_an_instruction_goes_along() -> None:
    """What an evaluator passes as a prompt is the instruction."""
    ranker = FakeRanker()
    PairPredictor(ranker).predict(PAIRS[:1], prompt="Find animals.")
    assert ranker.asked[0]["instruction"] == "Find animals."


@pytest.mark.parametrize("how", [{"convert_to_tensor": True}, {"convert_to_numpy": False}, {"prompt_name": "query"}])
def test_what_cannot_be_done_is_said(how: dict[str, Any]) -> None:
    """Options of a cross-encoder that mean nothing here are refused instead of ignored."""
    with pytest.raises(resift.InvalidInput):
        PairPredictor(FakeRanker()).predict(PAIRS, **how)


def test_reranking_evaluator() -> None:
    """The reranking evaluator of sentence-transformers finds a ranker perfect that knows the answers."""
    samples: list[Any] = [
        {"query": f"query {at}", "positive": [f"yes {at}"], "negative": [f"no {at} {other}" for other in range(5)]}
        for at in range(4)
    ]
    perfect = PairPredictor(FakeRanker(scorer=lambda query, text, instruction: float(text.startswith("yes"))))
    blind = PairPredictor(FakeRanker(scorer=lambda query, text, instruction: float(text.startswith("no"))))
    evaluator: Any = CrossEncoderRerankingEvaluator(samples=samples, name="pandas", show_progress_bar=False)
    assert evaluator(perfect)["pandas_ndcg@10"] == pytest.approx(1.0)
    assert evaluator(blind)["pandas_ndcg@10"] < 0.5


def test_other_evaluators() -> None:
    """The evaluators of single pairs measure it too."""
    pairs = [["panda", text] for text in PANDAS]
    ranker: Any = PairPredictor(resift.load())
    correlation = CrossEncoderCorrelationEvaluator(pairs, [0.6, 0.0, 1.0], name="pandas")(ranker)
    assert correlation["pandas_spearman"] == pytest.approx(1.0)
    classes = CrossEncoderClassificationEvaluator(pairs, [1, 0, 1], name="pandas", show_progress_bar=False)(ranker)
    assert classes["pandas_average_precision"] == pytest.approx(1.0)


def test_mteb_hands_over_batches() -> None:
    """Queries and documents in batches become one score per row, whatever else mteb says about its task."""
    rows = PAIRS * 3
    rows = rows[3:] + rows[:3]
    found = MTEBReranker(resift.load()).predict(
        batches([query for query, _ in rows]),
        batches([text for _, text in rows]),
        task_metadata=None,
        hf_split="test",
        hf_subset="default",
        prompt_type=None,
    )
    assert isinstance(found, np.ndarray)
    assert found.tolist() == score_pairs(resift.load(), rows).tolist()


def test_mteb_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without mteb, the error says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "mteb", None)
    with pytest.raises(resift.MissingDependency, match="pip install mteb"):
        _ = MTEBReranker(FakeRanker()).mteb_model_meta
