"""fastembed's TextCrossEncoder with its defaults: batches of 64 as they come."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastembed.rerank.cross_encoder import TextCrossEncoder  # type: ignore[import-not-found]

PACKAGES = ("fastembed", "onnxruntime", "tokenizers")
LIKE = "Xenova/ms-marco-MiniLM-L-6-v2"  # a name that it knows, whose graph is called as ours


def load(model: Path, settings: dict[str, Any]) -> Callable[[str, list[str]], list[float]]:
    """Load the graph from its folder in place of a download."""
    encoder = TextCrossEncoder(LIKE, threads=settings["threads"], specific_model_path=str(model), cuda=False)
    return lambda query, documents: list(encoder.rerank(query, documents))
