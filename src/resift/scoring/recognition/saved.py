"""What a model's files say of it, whoever reads it in the end."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from resift.checkpoint import Checkpoint
from resift.errors import InvalidInput, ModelUnsupported
from resift.settings import Settings
from resift.tokenizing import TextEncoder

_NO_LIMIT = 2**31
_FLOAT16_IS_SAFE = {"bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra"}
_TWO_TYPES_UNLESS_SAID = {"bert", "electra", "albert", "mobilebert", "convbert"}
_IS_SIGMOID = {"Identity": False, "Sigmoid": True}
# of torch.nn, all of them made without arguments
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Mish", "Sigmoid", "LeakyReLU", "ELU", "SELU", "Softplus")


def modules_of(checkpoint: Checkpoint) -> list[str]:
    """Return what the modules of a sentence-transformers chain are, in order; nothing for a model that is no chain."""
    return [kind_of(module) for module in checkpoint.json("modules.json") or ()]


def kind_of(module: Mapping[str, Any]) -> str:
    """Return what a module of a sentence-transformers chain is, wherever its class lives in that version."""
    return str(module.get("type", "")).rpartition(".")[2]


def require_chain(checkpoint: Checkpoint, *, known: Sequence[str]) -> None:
    """Make sure that a chain begins with a transformer, and that nothing behind it would be left out."""
    modules = modules_of(checkpoint)
    if modules[:1] not in ([], ["Transformer"]) or set(modules[1:]) - set(known):
        raise unknown_chain(checkpoint)


def unknown_chain(checkpoint: Checkpoint) -> ModelUnsupported:
    """Return the error for a chain of modules that is not known."""
    return ModelUnsupported(
        f"{checkpoint.name} is a chain of modules that is not known here: {' -> '.join(modules_of(checkpoint))}; "
        "choose a model with a sequence-classification head, or an embedding model"
    )


def saved_json(checkpoint: Checkpoint, name: str) -> Mapping[str, Any]:
    """Return what a file that not every model has says."""
    return checkpoint.json(name) or {}


def prompts_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the prompts that a model was saved with, by their names."""
    saved = saved_json(checkpoint, "config_sentence_transformers.json")
    return cast("dict[str, str]", saved.get("prompts") or {})


def default_prompt_of(checkpoint: Checkpoint) -> str:
    """Return what sentence-transformers puts in front of a query when nothing is said."""
    saved = saved_json(checkpoint, "config_sentence_transformers.json")
    return prompts_of(checkpoint).get(str(saved.get("default_prompt_name")), "")


def special_tokens_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Return what a model's special tokens are written as, by the names of their parts."""
    saved = {**saved_json(checkpoint, "special_tokens_map.json"), **saved_json(checkpoint, "tokenizer_config.json")}
    texts = {name: _text_of(token) for name, token in saved.items() if name.endswith("_token")}
    return {name: text for name, text in texts.items() if text is not None}


def _text_of(token: object) -> str | None:
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) else None


def says_sigmoid(checkpoint: Checkpoint) -> bool:
    """Read the activation that a cross-encoder's authors saved; a sigmoid, where they saved none."""
    config = checkpoint.config
    chain = checkpoint.file("modules.json")  # without it, sentence-transformers does not read its own configuration
    named = (
        (chain and saved_json(checkpoint, "config_sentence_transformers.json").get("activation_fn"))
        or (config.get("sentence_transformers") or {}).get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
        or "Sigmoid"
    )
    sigmoid = _IS_SIGMOID.get(str(named).rpartition(".")[2])
    if sigmoid is None:
        raise ModelUnsupported(f"{checkpoint.name} applies {named!r} to its logit; known here are Identity and Sigmoid")
    return sigmoid


def activation_of(checkpoint: Checkpoint, saved: Mapping[str, Any]) -> str:
    """Return the name in torch.nn of what a Dense module applies, by what its file says."""
    name = str(saved.get("activation_function") or "torch.nn.modules.activation.Tanh")
    short = name.rpartition(".")[2]
    if not name.startswith("torch.nn.") or short not in _ACTIVATIONS:
        raise ModelUnsupported(
            f"a layer of {checkpoint.name} applies {name!r}; known here are {', '.join(_ACTIVATIONS)}, of torch.nn"
        )
    return short


def require_one_label(checkpoint: Checkpoint) -> None:
    """Make sure that a classifier has one label, as a reranker has."""
    named = checkpoint.config.get("id2label")
    labels = len(named) if named else checkpoint.config.get("num_labels", 2)  # two is what transformers assumes
    if labels != 1:
        raise ModelUnsupported(
            f"{checkpoint.name} is a classifier with {labels} labels; a reranker has one, the relevance of the document"
        )


def max_length_of(checkpoint: Checkpoint, settings: Settings, default: int) -> int:
    """Return how many tokens are read: what the caller said, else the default; never more than there are positions."""
    most = positions_of(checkpoint)
    if settings.max_length is None:
        return min(default, most)
    if settings.max_length > most:
        raise InvalidInput(f"max_length={settings.max_length} is more than {checkpoint.name} can read, {most} tokens")
    return settings.max_length


def require_cuts_at_end(checkpoint: Checkpoint) -> None:
    """Make sure that a text that is too long loses its end, as it does here."""
    if cuts_front(checkpoint):
        raise ModelUnsupported(
            f"{checkpoint.name} cuts the beginnings of long texts (truncation_side in tokenizer_config.json), which is "
            "not known here; choose another model"
        )


def cuts_front(checkpoint: Checkpoint) -> bool:
    """Whether a model was saved with a tokenizer that cuts the beginnings of long texts."""
    return saved_json(checkpoint, "tokenizer_config.json").get("truncation_side") == "left"


def refuse_windows(checkpoint: Checkpoint, settings: Settings) -> None:
    """Refuse to read long documents in windows, for a kind of model that cannot."""
    if settings.long_documents == "window":
        raise InvalidInput(
            f"{checkpoint.name} cannot read documents in windows; leave long_documents out, or say 'truncate'"
        )


def longest_of(checkpoint: Checkpoint) -> int:
    """Return what the model's files say is the longest text, the smallest of all that say something."""
    declared = (
        saved_json(checkpoint, "sentence_bert_config.json").get("max_seq_length"),
        saved_json(checkpoint, "tokenizer_config.json").get("model_max_length"),
    )
    return int(min([positions_of(checkpoint), *(length for length in declared if length)]))


def positions_of(checkpoint: Checkpoint) -> int:
    """Return how many positions a model has."""
    # whoever begins with a later position can use that many fewer
    return int(checkpoint.config.get("max_position_embeddings") or _NO_LIMIT) - checkpoint.first_position


def encoder_of(checkpoint: Checkpoint) -> TextEncoder:
    """Return a model's tokenizer."""
    lower = saved_json(checkpoint, "sentence_bert_config.json").get("do_lower_case")
    return TextEncoder(checkpoint.tokenizer_file, lower=bool(lower))


def is_decoder(checkpoint: Checkpoint) -> bool:
    """Whether a model is of the make of language models, which say how many heads their keys have."""
    return "num_key_value_heads" in checkpoint.config


def looks_back_only(checkpoint: Checkpoint) -> bool:
    """Whether no token sees those behind it, so that what comes first may be computed once for many texts."""
    return is_decoder(checkpoint) and checkpoint.config.get("is_causal", True) is not False


def is_typed(checkpoint: Checkpoint) -> bool:
    """Whether a model tells the first text from the second by token types."""
    names = saved_json(checkpoint, "tokenizer_config.json").get("model_input_names") or ["token_type_ids"]
    config = checkpoint.config
    kinds = config.get("type_vocab_size", 2 if config.get("model_type") in _TWO_TYPES_UNLESS_SAID else 0)
    return int(kinds or 0) > 1 and "token_type_ids" in names


def half_of(checkpoint: Checkpoint) -> Literal["float16", "bfloat16"]:
    """Return the half-precision format that a model's activations fit."""
    return "float16" if checkpoint.config.get("model_type") in _FLOAT16_IS_SAFE else "bfloat16"
