"""From a model's files, and its row in the catalogue where it has one, to the family that reads it."""

from collections.abc import Callable
from typing import Any

from resift.checkpoint import Checkpoint
from resift.scoring.catalog.rows import (
    ChainRow,
    EmbeddingRow,
    HeadRow,
    LateRow,
    ListwiseRow,
    PairRow,
    PromptRow,
    TemplateRow,
)
from resift.scoring.recognition.chains import recognise_chain
from resift.scoring.recognition.choosing import choose_row
from resift.scoring.recognition.embeddings import recognise_embedding
from resift.scoring.recognition.heads import recognise_head
from resift.scoring.recognition.late import recognise_late
from resift.scoring.recognition.listwise import recognise_listwise
from resift.scoring.recognition.pairs import recognise_pair
from resift.scoring.recognition.prompts import recognise_prompted
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.templates import recognise_templated
from resift.settings import Settings

__all__ = ["Recognised", "recognise"]

_BY_ROW: dict[type, Callable[[Checkpoint, Any, Settings], Recognised]] = {
    PairRow: recognise_pair,
    PromptRow: recognise_prompted,
    HeadRow: recognise_head,
    ChainRow: recognise_chain,
    TemplateRow: recognise_templated,
    EmbeddingRow: recognise_embedding,
    LateRow: recognise_late,
    ListwiseRow: recognise_listwise,
}


def recognise(checkpoint: Checkpoint, settings: Settings) -> Recognised:
    """Decide how a model is read, or say what was found instead and what to do."""
    row = choose_row(checkpoint, settings.like)
    return _BY_ROW[type(row)](checkpoint, row, settings)
