"""FlagEmbedding's FlagReranker with its defaults: batches of 128, sorted by length, half precision on a GPU only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from FlagEmbedding import FlagReranker  # type: ignore[import-not-found]

PACKAGES = ("FlagEmbedding", "torch", "transformers")


def load(model: Path, settings: dict[str, Any]) -> Callable[[str, list[str]], list[float]]:
    """Load in the number format that is asked for."""
    half = settings["dtype"] == "float16"
    reranker = FlagReranker(str(model), use_fp16=half, devices=[settings["device"]], max_length=settings["max_length"])

    def score(query: str, documents: list[str]) -> list[float]:
        scores: list[float] = reranker.compute_score([(query, document) for document in documents])
        return scores

    return score
