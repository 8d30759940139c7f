"""Embedding models: what their row and their files decide."""

from typing import cast

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Embed, Pooling
from resift.scoring.catalog.rows import EmbeddingRow
from resift.scoring.families.embedding import EmbeddingModel
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.saved import (
    encoder_of,
    half_of,
    is_typed,
    kind_of,
    max_length_of,
    modules_of,
    prompts_of,
    require_chain,
    saved_json,
    unknown_chain,
)
from resift.settings import Settings

_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def recognise_embedding(checkpoint: Checkpoint, row: EmbeddingRow, settings: Settings) -> Recognised:
    """Decide how an embedding model is read."""
    modules = modules_of(checkpoint)
    require_chain(checkpoint, known=("Pooling", "Normalize"))
    if modules and modules[1:2] != ["Pooling"]:
        raise unknown_chain(checkpoint)
    saved = saved_json(checkpoint, "config_sentence_transformers.json")
    similarity = saved.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        raise ModelUnsupported(f"{checkpoint.name} compares vectors by {similarity!r}; known here are cosine and dot")
    cosine = similarity == "cosine" or "Normalize" in modules
    family = EmbeddingModel(
        encoder_of(checkpoint),
        max_length=max_length_of(checkpoint, settings, row.max_length),
        cosine=cosine,
        typed=is_typed(checkpoint),
        query_instruction=row.query_instruction,
        document_instruction=prompts_of(checkpoint).get("document", ""),
    )
    width = saved.get("truncate_dim")
    if width and not cosine:
        raise ModelUnsupported(
            f"{checkpoint.name} shortens its vectors but compares them by dot product: not known here"
        )
    return Recognised(family, Embed(_poolings(checkpoint), normalize=cosine, width=width), half_of(checkpoint))


def _poolings(checkpoint: Checkpoint) -> tuple[Pooling, ...]:
    """Read how the hidden states become one vector; [CLS], for a checkpoint that is no chain of modules."""
    modules = checkpoint.json("modules.json") or ()
    folder = next((module["path"] for module in modules if kind_of(module) == "Pooling"), None)
    if folder is None:
        return ("cls",)
    saved = checkpoint.json(folder, "config.json")
    if saved is None:
        raise checkpoint.damaged(f"{folder}/config.json", "it is missing")
    if saved.get("include_prompt") is False and any(prompts_of(checkpoint).values()):
        raise ModelUnsupported(f"{checkpoint.name} leaves its prompt out of the pooling, which is not known here")
    modes = saved.get("pooling_mode") or [mode for key, mode in _POOLINGS.items() if saved.get(key)] or ["mean"]
    return tuple(_known_pooling(checkpoint, mode) for mode in ([modes] if isinstance(modes, str) else modes))


def _known_pooling(checkpoint: Checkpoint, mode: str) -> Pooling:
    if mode not in _POOLINGS.values():
        raise ModelUnsupported(f"{checkpoint.name} pools by {mode!r}; known here are {', '.join(_POOLINGS.values())}")
    return cast("Pooling", mode)
