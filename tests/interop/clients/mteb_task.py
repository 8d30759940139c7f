"""Let mteb evaluate a ranker on a task that is made here, and print what it found; nothing is downloaded."""

import json
import sys
from typing import Any

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

import resift
from resift.evaluation import MTEBReranker, evaluate, read_jsonl


class Pandas(AbsTaskRetrieval):
    """A reranking task whose data are the collection of the command line."""

    metadata = TaskMetadata(
        name="Pandas",
        description="made for a test",
        reference=None,
        dataset={"path": "resift/pandas", "revision": "1"},
        type="Reranking",
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )

    def load_data(self, *_: Any, **__: Any) -> None:
        """Put the collection where mteb looks for it."""
        texts = collection.documents
        split = {
            "corpus": Dataset.from_list([{"id": name, "title": "", "text": text} for name, text in texts.items()]),
            "queries": Dataset.from_list([{"id": name, "text": text} for name, text in collection.queries.items()]),
            "relevant_docs": {name: dict(grades) for name, grades in collection.judgements.items()},
            "top_ranked": {name: list(pool.documents) for name, pool in collection.pool.lists.items()},
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


collection = read_jsonl(sys.argv[1])
ranker = resift.load()
result = mteb.evaluate(MTEBReranker(ranker), [Pandas()], cache=None, co2_tracker=False)
theirs = result.task_results[0].scores["test"][0]
ours = evaluate(collection, {"lexical": ranker}, first_stage="pool", measures=["nDCG@10", "MAP@10", "MRR@10"])
sys.stdout.write(
    json.dumps(
        {
            "model": result.model_name,
            "theirs": [theirs["ndcg_at_10"], theirs["map_at_10"], theirs["mrr_at_10"]],
            "ours": [ours.overall.measures["lexical"][name].mean for name in ("nDCG@10", "MAP@10", "MRR@10")],
        }
    )
)
