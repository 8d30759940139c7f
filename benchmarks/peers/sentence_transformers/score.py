"""sentence-transformers' CrossEncoder; what is not said is left to its defaults: batches of 32, sorted by length."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder
from torch.nn import Identity

PACKAGES = ("sentence-transformers", "torch", "transformers")


def load(model: Path, settings: dict[str, Any]) -> Callable[[str, list[str]], list[float]]:
    """Load in the number format that is asked for."""
    encoder = CrossEncoder(
        str(model),
        device=settings["device"],
        activation_fn=Identity(),
        model_kwargs={"dtype": settings.get("dtype", "float32")},
    )
    batch_size = settings.get("batch_size", 32)

    def score(query: str, documents: list[str]) -> list[float]:
        pairs = [(query, document) for document in documents]
        scores = encoder.predict(pairs, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True)
        numbers: list[float] = scores.tolist()
        return numbers

    return score
