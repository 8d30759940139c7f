"""
Measuring rankers: how well they put documents in order, how fast, and how sure that is.

`evaluate` measures rankers on collections and gives an `Evaluation`; docs/evaluation.md shows how.
"""

from resift.evaluation.collection import Collection
from resift.evaluation.collections.beir import read_beir
from resift.evaluation.collections.mteb import read_mteb
from resift.evaluation.collections.positives import read_jsonl
from resift.evaluation.collections.reading import read_collection
from resift.evaluation.collections.trec import read_trec
from resift.evaluation.elsewhere.cross_encoder import PairPredictor
from resift.evaluation.elsewhere.mteb import MTEBReranker
from resift.evaluation.evaluating import evaluate
from resift.evaluation.evaluation import Evaluation
from resift.evaluation.merging import merge
from resift.evaluation.report.page import write_report
from resift.evaluation.runs import Listing, Run, read_run, write_run

__all__ = [
    "Collection",
    "Evaluation",
    "Listing",
    "MTEBReranker",
    "PairPredictor",
    "Run",
    "evaluate",
    "merge",
    "read_beir",
    "read_collection",
    "read_jsonl",
    "read_mteb",
    "read_run",
    "read_trec",
    "write_report",
    "write_run",
]
