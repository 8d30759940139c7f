"""Pair cross-encoders: what their row and their files decide."""

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Classify
from resift.scoring.catalog.rows import PairRow
from resift.scoring.families import LogitScale
from resift.scoring.families.pair import PairCrossEncoder
from resift.scoring.families.windows import windows_for
from resift.scoring.recognition.gte import gte_backbone
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.saved import (
    default_prompt_of,
    encoder_of,
    half_of,
    is_typed,
    max_length_of,
    require_chain,
    require_cuts_at_end,
    require_one_label,
    says_sigmoid,
)
from resift.settings import Settings


def recognise_pair(checkpoint: Checkpoint, row: PairRow, settings: Settings) -> Recognised:
    """Decide how a pair cross-encoder is read."""
    require_one_label(checkpoint)
    require_chain(checkpoint, known=())
    require_cuts_at_end(checkpoint)
    encoder = encoder_of(checkpoint)
    if not len(encoder.pair_frame().before[1]):
        raise ModelUnsupported(
            f"{checkpoint.name} puts nothing between query and document, so it must be asked with a prompt; name the "
            "model that it was made from, like='Qwen/Qwen3-Reranker-0.6B', or declare a resift.Prompt"
        )
    sigmoid = says_sigmoid(checkpoint) if row.sigmoid is None else row.sigmoid
    family = PairCrossEncoder(
        encoder,
        max_length=max_length_of(checkpoint, settings, row.max_length),
        truncation=row.truncation,
        scale=LogitScale(sigmoid_by_default=sigmoid),
        typed=is_typed(checkpoint),
        query_prompt=default_prompt_of(checkpoint) if checkpoint.file("modules.json") else "",
        windows=windows_for(settings.long_documents, row.windows),
    )
    return Recognised(family, Classify(gte_backbone(checkpoint)), half_of(checkpoint))
