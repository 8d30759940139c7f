"""Embedding models: what their row and their files decide."""

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Embed, Normalize
from resift.scoring.catalog.rows import EmbeddingRow
from resift.scoring.families.embedding import EmbeddingModel
from resift.scoring.families.windows import windows_for
from resift.scoring.recognition.chains import VECTOR, layers_of, poolings_of
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.saved import (
    encoder_of,
    half_of,
    is_typed,
    max_length_of,
    modules_of,
    prompts_of,
    require_cuts_at_end,
    saved_json,
    unknown_chain,
)
from resift.scoring.recognition.templates import speaks_in_messages
from resift.settings import Settings


def recognise_embedding(checkpoint: Checkpoint, row: EmbeddingRow, settings: Settings) -> Recognised:
    """Decide how an embedding model is read."""
    if modules_of(checkpoint)[:2] not in ([], ["Transformer", "Pooling"]):
        raise unknown_chain(checkpoint)
    if speaks_in_messages(checkpoint):
        raise ModelUnsupported(
            f"{checkpoint.name} is given its texts as messages of a chat, which is not known here; choose another model"
        )
    require_cuts_at_end(checkpoint)
    layers = layers_of(checkpoint, VECTOR)
    unit = layers[-1:] == (Normalize(),)
    saved = saved_json(checkpoint, "config_sentence_transformers.json")
    similarity = saved.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        raise ModelUnsupported(f"{checkpoint.name} compares vectors by {similarity!r}; known here are cosine and dot")
    cosine = similarity == "cosine" or unit
    family = EmbeddingModel(
        encoder_of(checkpoint),
        max_length=max_length_of(checkpoint, settings, row.max_length),
        cosine=cosine,
        typed=is_typed(checkpoint),
        query_instruction=row.query_instruction,
        document_instruction=prompts_of(checkpoint).get("document", ""),
        windows=windows_for(settings.long_documents),
    )
    width = saved.get("truncate_dim")
    if width and not cosine:
        raise ModelUnsupported(
            f"{checkpoint.name} shortens its vectors but compares them by dot product: not known here"
        )
    readout = Embed(poolings_of(checkpoint), normalize=cosine, width=width, layers=layers[:-1] if unit else layers)
    return Recognised(family, readout, half_of(checkpoint))
