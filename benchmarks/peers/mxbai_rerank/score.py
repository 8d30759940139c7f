"""mxbai-rerank's own classes with their defaults: batches of 32 as they come."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mxbai_rerank import MxbaiRerankV1, MxbaiRerankV2  # type: ignore[import-not-found]

PACKAGES = ("mxbai-rerank", "torch", "transformers")
BOUND = 1e-7


def load(model: Path, settings: dict[str, Any]) -> Callable[[str, list[str]], list[float]]:
    """Load the class of its second generation for a language model, of its first for a classifier."""
    kind = MxbaiRerankV2 if settings["template"] else MxbaiRerankV1
    reranker = kind(str(model), device=settings["device"], torch_dtype=settings["dtype"])

    def score(query: str, documents: list[str]) -> list[float]:
        results = reranker.rank(query, documents, top_k=len(documents), sort=False, return_documents=False)
        scores = [result.score for result in sorted(results, key=lambda result: result.index)]
        return scores if settings["template"] else [_logit(number) for number in scores]

    return score


def _logit(probability: float) -> float:
    """Undo the sigmoid that the first generation applies, as far as that can be done."""
    bounded = min(max(probability, BOUND), 1 - BOUND)
    return math.log(bounded / (1 - bounded))
