"""From a model's files, and its row in the catalogue where it has one, to the family that reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from resift.checkpoint import Checkpoint
from resift.errors import InvalidInput, ModelUnsupported
from resift.scoring.backends import Answer, Classify, Embed, Pooling, Readout
from resift.scoring.catalog import EmbeddingRow, PairRow, PromptRow, Row, find_row, row_of
from resift.scoring.families import Family, LogitScale
from resift.scoring.families.embedding import EmbeddingModel
from resift.scoring.families.pair import PairCrossEncoder
from resift.scoring.families.prompted import PromptedLM
from resift.settings import Prompt, Settings
from resift.tokenizing import TextEncoder

_DECLARED_PROMPT_LENGTH = 8192
_NO_LIMIT = 2**31
_FLOAT16_IS_SAFE = {"bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra"}
_TWO_TYPES_UNLESS_SAID = {"bert", "electra", "albert", "mobilebert", "convbert"}
_ACTIVATIONS = {"Identity": False, "Sigmoid": True}
_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class Recognised:
    """A model whose way to be read is known."""

    family: Family
    readout: Readout
    half: Literal["float16", "bfloat16"]
    """The half-precision format that its activations fit."""


def recognise(checkpoint: Checkpoint, settings: Settings) -> Recognised:
    """Decide how a model is read, or say what was found instead and what to do."""
    row = _row(checkpoint, settings.like)
    if isinstance(row, PromptRow):
        return _prompted(checkpoint, row, settings)
    if isinstance(row, EmbeddingRow):
        return _embedding(checkpoint, row, settings)
    if isinstance(row, PairRow):
        return _pair(checkpoint, row, settings)
    raise AssertionError(f"a row of an unknown kind: {row!r}. This is a bug.")


def _row(checkpoint: Checkpoint, like: str | Prompt | None) -> Row:
    if isinstance(like, Prompt):
        return PromptRow(like, max_length=_DECLARED_PROMPT_LENGTH)
    if like is not None:
        return row_of(like)
    return find_row(checkpoint.name) or find_row(str(checkpoint.path.absolute())) or _row_by_files(checkpoint)


def _row_by_files(checkpoint: Checkpoint) -> Row:
    modules = _modules(checkpoint)
    architecture = (checkpoint.config.get("architectures") or [""])[0]
    if modules[1:2] == ["Pooling"]:
        return EmbeddingRow(_prompts(checkpoint).get("query", ""), max_length=_longest(checkpoint))
    if len(modules) > 1:
        raise _unknown_chain(checkpoint)
    if architecture.endswith("ForSequenceClassification"):
        return PairRow(max_length=_longest(checkpoint))
    raise ModelUnsupported(f"{checkpoint.name} {_why_not(architecture)}")


def _why_not(architecture: str) -> str:
    if architecture.endswith(("ForCausalLM", "ForConditionalGeneration")):
        return (
            f"is a language model ({architecture}), and how to ask it is not known. Declare it, "
            "like=resift.Prompt(pieces=(..., '{query}', ..., '{document}', ...), positive='yes', negative='no'), or "
            "name the model that it was tuned from, like='Qwen/Qwen3-Reranker-0.6B'"
        )
    if not architecture:
        return (
            "does not say in its config.json what it is (architectures); pass like= with the model that it is a copy of"
        )
    return (
        f"is a {architecture}, which has no head that scores a pair; choose a reranker, or, if it was trained to "
        "embed by its first token as bge was, say like='BAAI/bge-large-en-v1.5'"
    )


def _pair(checkpoint: Checkpoint, row: PairRow, settings: Settings) -> Recognised:
    _require_one_label(checkpoint)
    _require_chain(checkpoint, known=())
    encoder = _encoder(checkpoint)
    if not len(encoder.pair_frame().before[1]):
        raise ModelUnsupported(
            f"{checkpoint.name} puts nothing between query and document, so it must be asked with a prompt; name the "
            "model that it was made from, like='Qwen/Qwen3-Reranker-0.6B', or declare a resift.Prompt"
        )
    sigmoid = _says_sigmoid(checkpoint) if row.sigmoid is None else row.sigmoid
    family = PairCrossEncoder(
        encoder,
        max_length=_max_length(checkpoint, settings, row.max_length),
        truncation=row.truncation,
        scale=LogitScale(sigmoid_by_default=sigmoid),
        typed=_typed(checkpoint),
        query_prompt=_default_prompt(checkpoint) if checkpoint.file("modules.json") else "",
    )
    return Recognised(family, Classify(), _half(checkpoint))


def _require_one_label(checkpoint: Checkpoint) -> None:
    named = checkpoint.config.get("id2label")
    labels = len(named) if named else checkpoint.config.get("num_labels", 2)  # two is what transformers assumes
    if labels != 1:
        raise ModelUnsupported(
            f"{checkpoint.name} is a classifier with {labels} labels; a reranker has one, the relevance of the document"
        )


def _prompted(checkpoint: Checkpoint, row: PromptRow, settings: Settings) -> Recognised:
    architecture = (checkpoint.config.get("architectures") or [""])[0]
    # decoders say how many heads their keys have; an encoder's head was never trained to answer
    converted = architecture.endswith("ForSequenceClassification") and "num_key_value_heads" in checkpoint.config
    if converted:
        _require_one_label(checkpoint)
    elif not architecture.endswith("ForCausalLM"):
        raise ModelUnsupported(
            f"{checkpoint.name} is a {architecture or 'model of no declared architecture'}, not a causal language "
            "model, so it cannot be asked with a prompt; leave `like` out"
        )
    _require_chain(checkpoint, known=("LogitScore",))
    encoder, prompt = _encoder(checkpoint), row.prompt
    family = PromptedLM(
        encoder,
        prompt,
        max_length=_max_length(checkpoint, settings, row.max_length),
        positions=_positions(checkpoint),
        scale=LogitScale(sigmoid_by_default=row.sigmoid, shift=row.shift),
        bos=_bos(checkpoint, encoder) if prompt.begins_with_bos else None,
    )
    if converted:  # its head is the difference of the answers' rows already
        return Recognised(family, Classify(), "bfloat16")
    negative = None if prompt.negative is None else _answer(checkpoint, encoder, prompt.negative)
    return Recognised(family, Answer(_answer(checkpoint, encoder, prompt.positive), negative), "bfloat16")


def _embedding(checkpoint: Checkpoint, row: EmbeddingRow, settings: Settings) -> Recognised:
    modules = _modules(checkpoint)
    _require_chain(checkpoint, known=("Pooling", "Normalize"))
    if modules and modules[1:2] != ["Pooling"]:
        raise _unknown_chain(checkpoint)
    saved = _saved(checkpoint, "config_sentence_transformers.json")
    similarity = saved.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        raise ModelUnsupported(f"{checkpoint.name} compares vectors by {similarity!r}; known here are cosine and dot")
    cosine = similarity == "cosine" or "Normalize" in modules
    family = EmbeddingModel(
        _encoder(checkpoint),
        max_length=_max_length(checkpoint, settings, row.max_length),
        cosine=cosine,
        typed=_typed(checkpoint),
        query_instruction=row.query_instruction,
        document_instruction=_prompts(checkpoint).get("document", ""),
    )
    width = saved.get("truncate_dim")
    if width and not cosine:
        raise ModelUnsupported(
            f"{checkpoint.name} shortens its vectors but compares them by dot product: not known here"
        )
    return Recognised(family, Embed(_poolings(checkpoint), normalize=cosine, width=width), _half(checkpoint))


def _max_length(checkpoint: Checkpoint, settings: Settings, default: int) -> int:
    most = _positions(checkpoint)
    if settings.max_length is None:
        return min(default, most)
    if settings.max_length > most:
        raise InvalidInput(f"max_length={settings.max_length} is more than {checkpoint.name} can read, {most} tokens")
    return settings.max_length


def _longest(checkpoint: Checkpoint) -> int:
    """Return what the model's files say is the longest text, the smallest of all that say something."""
    declared = (
        _saved(checkpoint, "sentence_bert_config.json").get("max_seq_length"),
        _saved(checkpoint, "tokenizer_config.json").get("model_max_length"),
    )
    return int(min([_positions(checkpoint), *(length for length in declared if length)]))


def _positions(checkpoint: Checkpoint) -> int:
    # whoever begins with a later position can use that many fewer
    return int(checkpoint.config.get("max_position_embeddings") or _NO_LIMIT) - checkpoint.first_position


def _encoder(checkpoint: Checkpoint) -> TextEncoder:
    lower = _saved(checkpoint, "sentence_bert_config.json").get("do_lower_case")
    return TextEncoder(checkpoint.tokenizer_file, lower=bool(lower))


def _typed(checkpoint: Checkpoint) -> bool:
    names = _saved(checkpoint, "tokenizer_config.json").get("model_input_names") or ["token_type_ids"]
    config = checkpoint.config
    kinds = config.get("type_vocab_size", 2 if config.get("model_type") in _TWO_TYPES_UNLESS_SAID else 0)
    return int(kinds or 0) > 1 and "token_type_ids" in names


def _half(checkpoint: Checkpoint) -> Literal["float16", "bfloat16"]:
    return "float16" if checkpoint.config.get("model_type") in _FLOAT16_IS_SAFE else "bfloat16"


def _says_sigmoid(checkpoint: Checkpoint) -> bool:
    """Read the activation that a cross-encoder's authors saved; a sigmoid, where they saved none."""
    config = checkpoint.config
    chain = checkpoint.file("modules.json")  # without it, sentence-transformers does not read its own configuration
    named = (
        (chain and _saved(checkpoint, "config_sentence_transformers.json").get("activation_fn"))
        or (config.get("sentence_transformers") or {}).get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
        or "Sigmoid"
    )
    sigmoid = _ACTIVATIONS.get(str(named).rpartition(".")[2])
    if sigmoid is None:
        raise ModelUnsupported(f"{checkpoint.name} applies {named!r} to its logit; known here are Identity and Sigmoid")
    return sigmoid


def _answer(checkpoint: Checkpoint, encoder: TextEncoder, text: str) -> int:
    ids = encoder.encode(text)
    if len(ids) != 1:
        raise ModelUnsupported(
            f"the answer {text!r} is {len(ids)} tokens in the vocabulary of {checkpoint.name}; it must be one"
        )
    return int(ids[0])


def _bos(checkpoint: Checkpoint, encoder: TextEncoder) -> int | None:
    """Return the beginning-of-sequence token, where there is one that is not the padding token as well."""
    saved = _saved(checkpoint, "tokenizer_config.json")
    bos, pad = (_token_text(saved.get(name)) for name in ("bos_token", "pad_token"))
    return None if bos is None or bos == pad else encoder.token(bos)


def _token_text(token: str | Mapping[str, str] | None) -> str | None:
    return token["content"] if isinstance(token, Mapping) else token


def _saved(checkpoint: Checkpoint, name: str) -> Mapping[str, Any]:
    """Return what a file that not every model has says."""
    return checkpoint.json(name) or {}


def _prompts(checkpoint: Checkpoint) -> dict[str, str]:
    saved = _saved(checkpoint, "config_sentence_transformers.json")
    return cast("dict[str, str]", saved.get("prompts") or {})


def _default_prompt(checkpoint: Checkpoint) -> str:
    """Return what sentence-transformers puts in front of a query when nothing is said."""
    saved = _saved(checkpoint, "config_sentence_transformers.json")
    return _prompts(checkpoint).get(str(saved.get("default_prompt_name")), "")


def _poolings(checkpoint: Checkpoint) -> tuple[Pooling, ...]:
    """Read how the hidden states become one vector; [CLS], for a checkpoint that is no chain of modules."""
    modules = checkpoint.json("modules.json") or ()
    folder = next((module["path"] for module in modules if _kind(module) == "Pooling"), None)
    if folder is None:
        return ("cls",)
    saved = checkpoint.json(folder, "config.json")
    if saved is None:
        raise checkpoint.damaged(f"{folder}/config.json", "it is missing")
    if saved.get("include_prompt") is False and any(_prompts(checkpoint).values()):
        raise ModelUnsupported(f"{checkpoint.name} leaves its prompt out of the pooling, which is not known here")
    modes = saved.get("pooling_mode") or [mode for key, mode in _POOLINGS.items() if saved.get(key)] or ["mean"]
    return tuple(_known_pooling(checkpoint, mode) for mode in ([modes] if isinstance(modes, str) else modes))


def _modules(checkpoint: Checkpoint) -> list[str]:
    return [_kind(module) for module in checkpoint.json("modules.json") or ()]


def _require_chain(checkpoint: Checkpoint, *, known: Sequence[str]) -> None:
    """Make sure that a chain begins with a transformer, and that nothing behind it would be left out."""
    modules = _modules(checkpoint)
    if modules[:1] not in ([], ["Transformer"]) or set(modules[1:]) - set(known):
        raise _unknown_chain(checkpoint)


def _unknown_chain(checkpoint: Checkpoint) -> ModelUnsupported:
    return ModelUnsupported(
        f"{checkpoint.name} is a chain of modules that is not known here: {' -> '.join(_modules(checkpoint))}; "
        "choose a model with a sequence-classification head, or an embedding model"
    )


def _kind(module: Mapping[str, Any]) -> str:
    """Return what a module of a sentence-transformers chain is, wherever its class lives in that version."""
    return str(module.get("type", "")).rpartition(".")[2]


def _known_pooling(checkpoint: Checkpoint, mode: str) -> Pooling:
    if mode not in _POOLINGS.values():
        raise ModelUnsupported(f"{checkpoint.name} pools by {mode!r}; known here are {', '.join(_POOLINGS.values())}")
    return cast("Pooling", mode)
