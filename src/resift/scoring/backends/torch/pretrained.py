"""Build the models of transformers from checkpoints, quietly, and with every weight that their classes need."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from resift.checkpoint import Checkpoint
from resift.errors import MissingDependency, ModelNotFound, ModelUnsupported
from resift.forking import Lock
from resift.scoring.backends import Answer, Backbone, Classify, Embed, EmbedEach, Readout

# transformers changes process-wide defaults while it builds a model, so one is built at a time
_BUILDING = Lock()

_PART = re.compile(r"(?:.*?\.)?\d+\.")  # of a weight's name, down to the number of its layer
_TABLES = ("inv_freq", "masked_bias", "attn.bias", "attention.bias", "position_ids")  # computed anew, not trained

_AUTO_CLASSES = {
    Classify: "AutoModelForSequenceClassification",
    Answer: "AutoModelForCausalLM",
    Embed: "AutoModel",
    EmbedEach: "AutoModel",
}


def brings_code(checkpoint: Checkpoint, *, trust_remote_code: bool) -> bool:
    """Whether a model is computed by trusted code of its repository, in whose place no pass of ours may stand."""
    return trust_remote_code and bool(checkpoint.config.get("auto_map"))


def build(checkpoint: Checkpoint, readout: Readout, *, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    """Load the weights into the class that transformers has for the purpose, and miss none of them."""
    checkpoint.weights()  # says what is missing or damaged, before transformers says less
    if checkpoint.config.get("position_embedding_type") == "alibi" and not trust_remote_code:
        raise ModelUnsupported(
            f"{checkpoint.name} tells positions apart by ALiBi, which transformers has no code for; run its ONNX "
            "graph, backend='onnx', if it has one"
        )
    try:
        import transformers
    except ImportError as error:
        raise MissingDependency('this model needs transformers: pip install "resift[local]"') from error
    auto = getattr(transformers, _AUTO_CLASSES[type(readout)])
    with _BUILDING, _quiet(transformers):
        try:
            model, report = auto.from_pretrained(
                str(checkpoint.path),
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                **_stand_in(transformers, getattr(readout, "backbone", None)),
            )
        except (ValueError, KeyError, ImportError, AttributeError) as error:
            raise ModelUnsupported(_unsupported(checkpoint, error)) from error
        except (OSError, RuntimeError) as error:
            raise ModelNotFound(
                f"{checkpoint.name}: its weights cannot be read; download it again ({error})"
            ) from error
    unread = ("pooler.",) if isinstance(readout, Embed | EmbedEach) else ()
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(unread))
    if missing:
        raise ModelUnsupported(
            f"{checkpoint.name} has no weights for {', '.join(missing[:3])}: its head was never trained, so its scores "
            "would be random; use a reranker, or the model as an embedding model"
        )
    if unknown := _unknown_to(model, report["unexpected_keys"]):
        raise ModelUnsupported(
            f"{checkpoint.name} has weights inside its layers that transformers does not compute with, "
            f"{', '.join(unknown[:3])}: its scores would not be its authors'; choose another model"
        )
    if not getattr(model.config, "is_causal", True):
        _look_both_ways(model)
    return model.eval().requires_grad_(False)


def _unknown_to(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Return the weights without a place that belong to layers which the model has: those layers then do less."""
    outer = f"{model.base_model_prefix}."  # which files have and a bare backbone has not, or the other way round
    known = {part[0].removeprefix(outer) for name, _ in model.named_parameters() if (part := _PART.match(name))}
    parts = {name: _PART.match(name) for name in unexpected if not name.endswith(_TABLES)}
    return sorted(name for name, part in parts.items() if part is not None and part[0].removeprefix(outer) in known)


def _look_both_ways(model: Any) -> None:
    """Tell each layer what the configuration says, which transformers itself reads only where it makes masks."""
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False


def _stand_in(transformers: Any, backbone: Backbone | None) -> dict[str, Any]:
    """Return what makes transformers build another architecture than a model's files name."""
    if backbone is None:
        return {}
    config = transformers.AutoConfig.for_model(backbone.model_type, **backbone.config)
    return {"config": config, "key_mapping": dict(backbone.renamed)}


def _unsupported(checkpoint: Checkpoint, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            f"{checkpoint.name} brings its own code; read it, and if you trust it, pass trust_remote_code=True "
            "to load it"
        )
    kind, reason = checkpoint.config.get("model_type"), str(error).partition("\n")[0]
    return f"{checkpoint.name}: transformers cannot load this {kind!r} model as a reranker ({reason})"


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep progress bars and load reports off the caller's terminal: what matters in them is said as an error."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
