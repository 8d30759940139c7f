"""Chains of modules behind a transformer: what the files of each say, and the cross-encoders that are nothing else."""

from collections.abc import Mapping
from typing import Any, cast

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Embed, Layer, LayerNorm, Normalize, Pooling, Projection
from resift.scoring.catalog.rows import ChainRow
from resift.scoring.families import Family, LogitScale
from resift.scoring.families.pair import PairCrossEncoder
from resift.scoring.families.windows import windows_for
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.saved import (
    activation_of,
    default_prompt_of,
    encoder_of,
    half_of,
    is_typed,
    kind_of,
    looks_back_only,
    max_length_of,
    modules_of,
    prompts_of,
    require_chain,
    require_cuts_at_end,
    says_sigmoid,
    unknown_chain,
)
from resift.scoring.recognition.templates import speaks_in_messages, templated_family
from resift.settings import Settings

VECTOR, SCORES = "sentence_embedding", "scores"  # what sentence-transformers calls what a chain ends in

_LAYERS = ("Dense", "LayerNorm", "Normalize", "Dropout")
_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def recognise_chain(checkpoint: Checkpoint, row: ChainRow, settings: Settings) -> Recognised:
    """Decide how a cross-encoder is read whose head is a chain of modules."""
    if modules_of(checkpoint)[:2] != ["Transformer", "Pooling"]:
        raise unknown_chain(checkpoint)
    readout = Embed(poolings_of(checkpoint), normalize=False, layers=layers_of(checkpoint, SCORES))
    if speaks_in_messages(checkpoint):
        # of a prefix that is computed once nothing is left to pool
        shares_prefix = readout.pooling == ("lasttoken",) and looks_back_only(checkpoint)
        family = templated_family(checkpoint, settings, shares_prefix=shares_prefix)
        return Recognised(family, readout, half_of(checkpoint))
    return Recognised(_pair_family(checkpoint, row, settings), readout, half_of(checkpoint))


def _pair_family(checkpoint: Checkpoint, row: ChainRow, settings: Settings) -> Family:
    require_cuts_at_end(checkpoint)
    encoder = encoder_of(checkpoint)
    if not len(encoder.pair_frame().before[1]):
        raise ModelUnsupported(
            f"{checkpoint.name} puts nothing between query and document, and was saved without a chat template that "
            "does; choose another model"
        )
    return PairCrossEncoder(
        encoder,
        max_length=max_length_of(checkpoint, settings, row.max_length),
        truncation="longest_first",
        scale=LogitScale(sigmoid_by_default=says_sigmoid(checkpoint)),
        typed=is_typed(checkpoint),
        query_prompt=default_prompt_of(checkpoint),
        windows=windows_for(settings.long_documents),
    )


def ends_in_scores(checkpoint: Checkpoint) -> bool:
    """Whether the last layer of a chain leaves scores, as a cross-encoder's does, and not a vector."""
    written = [_saved(checkpoint, module).get("module_output_name") for module in _behind_pooling(checkpoint)]
    return SCORES in written


def poolings_of(checkpoint: Checkpoint) -> tuple[Pooling, ...]:
    """Read how the hidden states become one vector; [CLS], for a checkpoint that is no chain of modules."""
    modules = checkpoint.json("modules.json") or ()
    module = next((module for module in modules if kind_of(module) == "Pooling"), None)
    if module is None:
        return ("cls",)
    saved = _saved(checkpoint, module)
    if saved.get("include_prompt") is False and any(prompts_of(checkpoint).values()):
        raise ModelUnsupported(f"{checkpoint.name} leaves its prompt out of the pooling, which is not known here")
    modes = saved.get("pooling_mode") or [mode for key, mode in _POOLINGS.items() if saved.get(key)] or ["mean"]
    return tuple(_known_pooling(checkpoint, mode) for mode in ([modes] if isinstance(modes, str) else modes))


def _known_pooling(checkpoint: Checkpoint, mode: str) -> Pooling:
    if mode not in _POOLINGS.values():
        raise ModelUnsupported(f"{checkpoint.name} pools by {mode!r}; known here are {', '.join(_POOLINGS.values())}")
    return cast("Pooling", mode)


def layers_of(checkpoint: Checkpoint, output: str) -> tuple[Layer, ...]:
    """Return what comes after pooling, in order, and make sure that each module reads what the one before it wrote."""
    require_chain(checkpoint, known=("Pooling", *_LAYERS))
    layers: list[Layer] = []
    written = VECTOR
    for module in _behind_pooling(checkpoint):
        saved = _saved(checkpoint, module)
        named = kind_of(module) in ("Dense", "Normalize")  # the others have one input, and write it again
        reads = str((named and saved.get("module_input_name")) or VECTOR)
        if reads != written:
            raise _wrong_order(checkpoint, f"{module['path']} reads {reads!r}, where {written!r} was written before it")
        written = str((named and saved.get("module_output_name")) or reads)
        layers.extend(_layer(checkpoint, module, saved))
    if written != output:
        raise _wrong_order(checkpoint, f"they end in {written!r}, not in {output!r}")
    if output == SCORES:
        _require_one_score(checkpoint)
    return tuple(layers)


def _wrong_order(checkpoint: Checkpoint, what: str) -> ModelUnsupported:
    return ModelUnsupported(
        f"the modules of {checkpoint.name} do not follow one another as known here: {what}; choose another model"
    )


def _layer(checkpoint: Checkpoint, module: Mapping[str, Any], saved: Mapping[str, Any]) -> list[Layer]:
    """Return what a module does; nothing, for one that only training knows."""
    kind, folder = kind_of(module), str(module["path"])
    if kind == "Dense":
        activation = activation_of(checkpoint, saved)
        return [Projection("linear", folder, activation=activation, residual=bool(saved.get("use_residual")))]
    if kind == "LayerNorm":
        return [LayerNorm(folder)]
    return [Normalize()] if kind == "Normalize" else []


def _require_one_score(checkpoint: Checkpoint) -> None:
    widths = [_saved(checkpoint, module).get("out_features") for module in _behind_pooling(checkpoint)]
    scores = [width for width in widths if width is not None][-1]
    if scores != 1:
        raise ModelUnsupported(
            f"{checkpoint.name} gives {scores} scores; a reranker gives one, the relevance of the document"
        )


def _behind_pooling(checkpoint: Checkpoint) -> list[Mapping[str, Any]]:
    checkpoint.module_folders()  # says what is wrong with a list that is none
    return list(checkpoint.json("modules.json") or ())[2:]


def _saved(checkpoint: Checkpoint, module: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a module's file says; modules that do nothing but normalise were saved without one."""
    saved = checkpoint.json(str(module["path"]), "config.json")
    if saved is None and kind_of(module) in ("Pooling", "Dense", "LayerNorm"):
        raise checkpoint.damaged(f"{module['path']}/config.json", "it is missing")
    return cast("Mapping[str, Any]", saved or {})
