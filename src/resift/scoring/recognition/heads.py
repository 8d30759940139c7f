"""Language models with a head of their own: the architecture that computes the same, and the layers of the head."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Backbone, Divide, Embed, Pooling, Projection
from resift.scoring.catalog.rows import HeadKind, HeadRow
from resift.scoring.families import LogitScale
from resift.scoring.families.prompted import PromptedLM
from resift.scoring.families.windows import windows_for
from resift.scoring.recognition.prompts import around
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.saved import encoder_of, max_length_of, positions_of
from resift.settings import Settings

_POOLINGS: dict[str, Pooling] = {"avg": "mean", "cls": "cls", "last": "lasttoken"}
_OF_ANOTHER = (
    "architectures",
    "auto_map",
    "model_type",
    "pooling",
    "temperature",
    "id2label",
    "label2id",
    "num_labels",
)
_SHAPE = (
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "rms_norm_eps",
    "vocab_size",
)


def recognise_head(checkpoint: Checkpoint, row: HeadRow, settings: Settings) -> Recognised:
    """Decide how a language model is read that answers by a head of its own."""
    try:
        readout = _HEADS[row.kind](checkpoint)
    except KeyError as error:
        raise ModelUnsupported(
            f"{checkpoint.name} does not say {error} in its config.json, so it is none of the kind {row.kind}; "
            "leave `like` out, or name the model that it was made from"
        ) from error
    encoder, asked = encoder_of(checkpoint), row.asked
    before, after = around(checkpoint, encoder, asked)
    family = PromptedLM(
        encoder,
        asked.prompt,
        max_length=max_length_of(checkpoint, settings, asked.max_length),
        positions=positions_of(checkpoint),
        scale=LogitScale(sigmoid_by_default=asked.sigmoid, shift=asked.shift, spread=asked.spread),
        before=before,
        after=np.array([*after, *row.ends_with], dtype=np.int32),
        longest_document=row.longest_document,
        shares_prefix=row.shares_prefix,
        windows=windows_for(settings.long_documents),
    )
    return Recognised(family, readout, "bfloat16")


def _bidirectional_llama(checkpoint: Checkpoint) -> Embed:
    """Take Llama whose tokens look both ways, one linear layer behind the mean of all."""
    config = checkpoint.config
    pooling = _POOLINGS.get(str(config.get("pooling", "avg")))
    if pooling is None:
        raise ModelUnsupported(
            f"{checkpoint.name} pools by {config['pooling']!r}; known here are {', '.join(_POOLINGS)}; "
            "choose another model"
        )
    own = {name: value for name, value in config.items() if name not in _OF_ANOTHER and not name.startswith("_")}
    layers = (Projection("score"), Divide(float(config.get("temperature") or 1.0)))
    return Embed((pooling,), normalize=False, layers=layers, backbone=Backbone("llama", own | {"is_causal": False}))


def _qwen2_vl(checkpoint: Checkpoint) -> Embed:
    """Take the language model inside Qwen2-VL, two linear layers behind its last token. Pictures are not looked at."""
    config: Mapping[str, Any] = checkpoint.config.get("text_config") or checkpoint.config
    backbone = Backbone(
        "qwen2",
        # a token of text has the same position in time, height and width, so its rotation is the plain one
        {"rms_norm_eps": 1e-5} | _shape_of(config) | _rotation(config, default=1_000_000.0),
        renamed={r"^model\.language_model\.": "model."},
    )
    layers = (Projection("score.0", activation="ReLU"), Projection("score.2"))
    return Embed(("lasttoken",), normalize=False, layers=layers, backbone=backbone)


def _minicpm(checkpoint: Checkpoint) -> Embed:
    """Take MiniCPM, whose scales Granite knows, and the head behind its last layer."""
    config = checkpoint.config
    if config.get("head_type", "simple") != "simple" or config.get("rope_scaling"):
        raise ModelUnsupported(
            f"{checkpoint.name} has heads of the type {config.get('head_type')!r} and positions scaled by "
            f"{config.get('rope_scaling')!r}; known here are 'simple' and None. Choose another model"
        )
    layers, heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
    backbone = Backbone(
        "granite",
        _shape_of(config)
        | _rotation(config, default=10_000.0)
        | {
            "embedding_multiplier": config.get("scale_emb", 1),
            "residual_multiplier": config.get("scale_depth", 1) / math.sqrt(layers),
            "attention_multiplier": (config["hidden_size"] // heads) ** -0.5,
        },
    )
    # one head for each layer from the first that may answer to the last, or one for all
    at = f".{layers - int(config.get('start_layer', 8))}" if config.get("head_multi", True) else ""
    return Embed(("lasttoken",), normalize=False, layers=(Projection(f"lm_head{at}.linear_head"),), backbone=backbone)


def _shape_of(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in _SHAPE if name in config}


def _rotation(config: Mapping[str, Any], *, default: float) -> dict[str, Any]:
    saved = config.get("rope_parameters") or {}
    theta = config.get("rope_theta") or saved.get("rope_theta") or default
    return {"rope_theta": theta, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}


_HEADS: dict[HeadKind, Callable[[Checkpoint], Embed]] = {
    "bidirectional llama": _bidirectional_llama,
    "qwen2-vl": _qwen2_vl,
    "minicpm": _minicpm,
}
