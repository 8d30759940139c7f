"""GTE's own architecture (gte-multilingual-reranker-base): its first configuration in the words of transformers'."""

from collections.abc import Mapping
from typing import Any

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Backbone

_ARCHITECTURE = "NewForSequenceClassification"
_COPY = "alibaba-nlp-community/gte-multilingual-reranker-base"
_WANTED = {
    "hidden_act": "gelu",
    "layer_norm_type": "layer_norm",
    "logn_attention_scale": False,
    "pack_qkv": True,
    "position_embedding_type": "rope",
}
_SHAPE = (
    "bos_token_id",
    "eos_token_id",
    "hidden_act",
    "hidden_size",
    "id2label",
    "intermediate_size",
    "label2id",
    "layer_norm_eps",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "pad_token_id",
    "type_vocab_size",
    "vocab_size",
)


def gte_backbone(checkpoint: Checkpoint) -> Backbone | None:
    """Return what computes a model that its authors wrote as code of their own; None for any other model."""
    config = checkpoint.config
    if config.get("model_type") != "new" or config.get("architectures") != [_ARCHITECTURE]:
        return None
    for name, wanted in _WANTED.items():
        if config.get(name, wanted) != wanted:
            raise _unsupported(checkpoint, f"{name}={config[name]!r}")
    own = {name: config[name] for name in _SHAPE if name in config}
    return Backbone("gte", own | {"rope_parameters": _rotation(checkpoint, config)})


def _rotation(checkpoint: Checkpoint, config: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return how positions are told apart.

    Scaled by `ntk`, a larger base is joined by a factor on all frequencies, which is what transformers calls linear.
    """
    base = float(config.get("rope_theta", 10000.0))
    scaling = config.get("rope_scaling")
    if scaling is None:
        return {"rope_type": "default", "rope_theta": base}
    factor = scaling.get("factor")
    if set(scaling) - {"type", "factor"} or scaling.get("type") != "ntk" or not _is_more_than_one(factor):
        raise _unsupported(checkpoint, f"rope_scaling={dict(scaling)!r}")
    width = int(config["hidden_size"]) // int(config["num_attention_heads"])
    return {"rope_type": "linear", "rope_theta": base * factor, "factor": float(factor) ** (2 / width)}


def _is_more_than_one(factor: object) -> bool:
    return isinstance(factor, int | float) and factor > 1


def _unsupported(checkpoint: Checkpoint, said: str) -> ModelUnsupported:
    return ModelUnsupported(
        f"{checkpoint.name} says {said}, which is not known here without the code of its authors; load {_COPY}, whose "
        "files are in the words of transformers"
    )
