"""FlashRank with its defaults: all documents of a query in one batch."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flashrank import Ranker, RerankRequest  # type: ignore[import-not-found]
from flashrank.Ranker import model_file_map  # type: ignore[import-not-found]

PACKAGES = ("FlashRank", "onnxruntime", "tokenizers")
GRAPHS = {"float32": "model.onnx", "int8": "model_quantized.onnx"}
BOUND = 1e-7


def load(model: Path, settings: dict[str, Any]) -> Callable[[str, list[str]], list[float]]:
    """Lay the model out as FlashRank unpacks its own, and load it."""
    kept = tempfile.TemporaryDirectory()  # it goes when the process ends
    folder = Path(kept.name)
    (folder / "ours").symlink_to(model.resolve())
    model_file_map["ours"] = f"onnx/{GRAPHS[settings['dtype']]}"
    ranker = Ranker("ours", cache_dir=str(folder), max_length=settings["max_length"], log_level="WARNING")

    def score(query: str, documents: list[str]) -> list[float]:
        passages = [{"id": place, "text": text} for place, text in enumerate(documents)]
        by_place = {row["id"]: float(row["score"]) for row in ranker.rerank(RerankRequest(query, passages))}
        return [_logit(by_place[place]) for place in range(len(documents))]

    return score


def _logit(probability: float) -> float:
    """Undo the sigmoid that it applies, as far as that can be done."""
    bounded = min(max(probability, BOUND), 1 - BOUND)
    return math.log(bounded / (1 - bounded))
