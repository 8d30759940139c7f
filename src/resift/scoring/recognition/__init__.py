"""From a model's files, and its row in the catalogue where it has one, to the family that reads it."""

from collections.abc import Callable
from typing import Any

from resift.checkpoint import Checkpoint
from resift.scoring.catalog.rows import EmbeddingRow, PairRow, PromptRow
from resift.scoring.recognition.choosing import choose_row
from resift.scoring.recognition.embeddings import recognise_embedding
from resift.scoring.recognition.pairs import recognise_pair
from resift.scoring.recognition.prompts import recognise_prompted
from resift.scoring.recognition.recognised import Recognised
from resift.settings import Settings

__all__ = ["Recognised", "recognise"]

_BY_ROW: dict[type, Callable[[Checkpoint, Any, Settings], Recognised]] = {
    PairRow: recognise_pair,
    PromptRow: recognise_prompted,
    EmbeddingRow: recognise_embedding,
}


def recognise(checkpoint: Checkpoint, settings: Settings) -> Recognised:
    """Decide how a model is read, or say what was found instead and what to do."""
    row = choose_row(checkpoint, settings.like)
    return _BY_ROW[type(row)](checkpoint, row, settings)
