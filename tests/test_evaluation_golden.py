"""Real collections: the figures of their first stage and of the best order, as others computed them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import ir_measures
import pytest

import resift
from resift.evaluation import Collection, evaluate, read_beir
from resift.evaluation.bm25 import retrieve
from resift.evaluation.record import FIRST_STAGE, ORACLE

DATA = Path(__file__).parents[2] / "shared" / "data"
NAMES = ["bfcl-tools", "cosqa", "cranfield", "medquad-liveqa", "npl", "product-match", "scifact", "stard-zh", "wikiqa"]

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data, which this checkout does not have")


@cache
def _collection(name: str) -> Collection:
    return read_beir(DATA / name)


def _stats(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / name / "stats.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", [*NAMES, pytest.param("xquad-multi", marks=pytest.mark.timeout(300))])
def test_the_first_stage_is_worth_what_it_is_known_to_be(name: str) -> None:
    """The run of each collection and its best order reproduce the published figures to four decimals."""
    collection = _collection(name) if name in NAMES else read_beir(DATA / name)
    known = _stats(name)

    measures = evaluate(collection, {}).overall.measures

    first = {measure: round(found.mean, 4) for measure, found in measures[FIRST_STAGE].items()}
    assert len(collection.judged) == known["bm25"]["queries"]
    assert first["nDCG@10"] == known["bm25"]["ndcg10"]
    assert first["MRR@10"] == known["bm25"]["mrr10"]
    assert first["Recall@100"] == known["bm25"]["recall100"]
    # The published MAP is that of the best thousand documents, of which the run has a hundred.
    assert 0 <= known["bm25"]["map"] - first["MAP"] < 0.025
    assert round(measures[ORACLE]["nDCG@10"].mean, 4) == known["oracle_top100_ndcg10"]


@pytest.mark.parametrize("name", ["cranfield", "medquad-liveqa", "scifact", "wikiqa"])
def test_all_measures_are_those_of_trec_eval(name: str) -> None:
    """On a real run each measure of each query is that of ir-measures."""
    collection = _collection(name)
    assert collection.first_stage is not None
    evaluation = evaluate(collection, {})
    results = evaluation.collections[name]
    theirs = {"MAP": ir_measures.AP, "MRR@10": ir_measures.RR @ 10, "Recall@10": ir_measures.R @ 10}
    theirs |= {"Recall@100": ir_measures.R @ 100, "P@10": ir_measures.P @ 10}
    theirs |= {"nDCG@10": ir_measures.nDCG @ 10, "nDCG@5": ir_measures.nDCG @ 5}
    qrels = {query: dict(collection.judgements[query]) for query in collection.judged}
    run = {
        query: {document: float(-at) for at, document in enumerate(collection.first_stage.of(query).documents)}
        for query in collection.judged
    }

    values: dict[str, dict[str, float]] = {str(measure): {} for measure in theirs.values()}
    for found in ir_measures.iter_calc(list(theirs.values()), qrels, run):
        values[str(found.measure)][found.query_id] = found.value

    assert set(theirs) == set(evaluation.protocol.measures)
    for ours, measure in theirs.items():
        expected = [values[str(measure)].get(query, 0.0) for query in results.queries]
        assert results.rows[FIRST_STAGE].values[ours] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["medquad-liveqa", "product-match", "wikiqa"])
def test_a_pool_in_no_order_is_worth_what_chance_makes_of_it(name: str) -> None:
    """Ties of all documents come to the mean of random orders, which others estimated by shuffling."""
    measures = evaluate(_collection(name), {}, first_stage="pool").overall.measures

    assert measures[FIRST_STAGE]["nDCG@10"].mean == pytest.approx(_stats(name)["pool_random_ndcg10"], abs=0.004)


@pytest.mark.parametrize(
    ("name", "margin"),
    [("cranfield", 0.0), ("medquad-liveqa", 0.0), ("stard-zh", 0.0), ("wikiqa", 0.0), ("npl", 0.025)],
)
def test_the_built_in_first_stage_is_as_good_as_others(name: str, margin: float) -> None:
    """BM25 over the corpus finds about as much as a library made for it, in Chinese too."""
    collection = _collection(name)
    known = _stats(name)["bm25"]

    measures = evaluate(collection, {}, first_stage="bm25").overall.measures[FIRST_STAGE]

    assert measures["nDCG@10"].mean > known["ndcg10"] - margin
    assert measures["Recall@100"].mean > known["recall100"] - margin
    assert max(map(len, retrieve(collection, depth=5).lists.values())) < 20


def test_a_real_ranker_is_measured() -> None:
    """The built-in scorer inside the pools of wikiqa is far above chance, and the ratings and p-values say so."""
    with resift.load() as ranker:
        evaluation = evaluate(_collection("wikiqa"), {"lexical": ranker}, first_stage="pool", timed=False)

    (compared,) = evaluation.overall.comparisons
    assert evaluation.overall.measures["lexical"]["nDCG@10"].mean > 0.68
    assert (compared.first, compared.second) == ("lexical", FIRST_STAGE)
    assert compared.difference.low > 0.1
    assert compared.p == compared.p_holm == pytest.approx(1 / 10_001)
    assert evaluation.overall.ratings[0].row == "lexical"
    assert evaluation.overall.ratings[0].rating.low > 1550
