"""rerankers' cross-encoder with its defaults: batches of 16 as they come."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rerankers import Reranker  # type: ignore[import-not-found]

PACKAGES = ("rerankers", "torch", "transformers")


def load(model: Path, settings: dict[str, Any]) -> Callable[[str, list[str]], list[float]]:
    """Load in the number format that is asked for."""
    ranker = Reranker(
        str(model), model_type="cross-encoder", device=settings["device"], dtype=settings["dtype"], verbose=0
    )
    if ranker is None:
        raise RuntimeError("rerankers could not load the model, and says why only in words on its output")

    def score(query: str, documents: list[str]) -> list[float]:
        ranked = ranker.rank(query, documents, doc_ids=list(range(len(documents))))
        by_place = {result.document.doc_id: result.score for result in ranked.results}
        return [by_place[place] for place in range(len(documents))]

    return score
