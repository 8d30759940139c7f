"""resift, from the environment that the benchmark itself runs in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import resift

PACKAGES = ("resift", "numpy", "tokenizers")
USUAL = 512  # what a model reads that says nothing else; a longer one is asked for


def load(model: Path, settings: dict[str, Any]) -> Callable[[str, list[str]], list[float]]:
    """Load as its users do."""
    longest = settings["max_length"]
    ranker = resift.load(
        model,
        backend=settings["backend"],
        dtype=settings["dtype"],
        device=settings["device"],
        like=settings.get("like"),
        max_length=longest if longest > USUAL else None,
        normalize=False,
    )
    return ranker.score
