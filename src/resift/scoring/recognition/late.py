"""Late-interaction models: what their row and their files decide, in the layouts of ColBERT, PyLate and ST."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import EmbedEach, Layer, Normalize, Projection
from resift.scoring.catalog.rows import LateRow
from resift.scoring.families.late import Expansion, LateInteraction, Side
from resift.scoring.families.windows import windows_for
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.saved import (
    activation_of,
    encoder_of,
    half_of,
    kind_of,
    longest_of,
    max_length_of,
    modules_of,
    positions_of,
    require_cuts_at_end,
    saved_json,
    special_tokens_of,
    unknown_chain,
)
from resift.settings import Settings
from resift.tokenizing import TextEncoder

_STANFORD = "HF_ColBERT"  # the architecture that the authors' own checkpoints name
_PYLATE, _ST = "ColBERT", "MultiVectorEncoder"  # what the chains of others call themselves
_MARKERS = ("query_prefix", "document_prefix")  # what PyLate has always saved, also before its chains had a name
_PUNCTUATION = list(string.punctuation)


@dataclass(frozen=True, slots=True)
class _Said:
    """What the files say, whatever their layout."""

    layers: tuple[Layer, ...]
    prompts: Mapping[str, str]
    skipped: Sequence[str]
    """What is no match for anything, if it is a token."""

    skipped_in: Sequence[str] = ("document",)
    whole: Sequence[str] = ()
    """What is one token wherever it stands."""

    query_length: int | None = None
    document_length: int | None = None
    expansion: Mapping[str, Any] | None = field(default=None)
    mean: bool = False


def is_late(checkpoint: Checkpoint) -> bool:
    """Whether a model's files say that it compares texts token by token."""
    saved = saved_json(checkpoint, "config_sentence_transformers.json")
    marked = any(name in saved for name in _MARKERS) and "Pooling" not in modules_of(checkpoint)
    named = saved.get("model_type") in (_PYLATE, _ST)
    return named or marked or _STANFORD in (checkpoint.config.get("architectures") or ())


def recognise_late(checkpoint: Checkpoint, row: LateRow, settings: Settings) -> Recognised:
    """Decide how a late-interaction model is read."""
    _require_plain_positions(checkpoint)
    require_cuts_at_end(checkpoint)
    said = _chained(checkpoint) if modules_of(checkpoint) else _stanford(checkpoint)
    encoder = encoder_of(checkpoint)
    if said.whole and saved_json(checkpoint, "sentence_bert_config.json").get("do_lower_case"):
        raise ModelUnsupported(
            f"{checkpoint.name} has its texts put into lower case, and the markers in front of them are not: how these "
            "go together is not known here; choose another model"
        )
    for text in said.whole:
        _read_whole(encoder, text)
    expansion = _expansion(checkpoint, encoder, said, shortest=row.query_length)
    fixed = expansion is not None and (said.expansion or {}).get("strategy", "fixed") == "fixed"
    query_length = expansion.length if expansion and fixed else said.query_length or longest_of(checkpoint)
    document_length = said.document_length or row.document_length or longest_of(checkpoint)
    skipped = [found for word in said.skipped if (found := encoder.token(word)) is not None]
    family = LateInteraction(
        encoder,
        Side(
            said.prompts.get("query") or "",
            min(query_length, positions_of(checkpoint)),
            skipped if "query" in said.skipped_in else (),
        ),
        Side(
            said.prompts.get("document") or "",
            max_length_of(checkpoint, settings, document_length),
            skipped if "document" in said.skipped_in else (),
        ),
        expansion=expansion,
        bounded=said.layers[-1:] == (Normalize(),),
        mean=said.mean,
        windows=windows_for(settings.long_documents),
    )
    return Recognised(family, EmbedEach(said.layers), half_of(checkpoint))


def _require_plain_positions(checkpoint: Checkpoint) -> None:
    how = checkpoint.config.get("position_embedding_type") or "absolute"
    if how != "absolute":
        raise ModelUnsupported(
            f"{checkpoint.name} counts positions in a way of its own ({how}), which is not known here; choose another "
            "model, for example answerdotai/answerai-colbert-small-v1"
        )


def _stanford(checkpoint: Checkpoint) -> _Said:
    """Read the layout of ColBERT's authors: the projection among the weights, the settings in a file beside them."""
    saved = saved_json(checkpoint, "artifact.metadata")
    if (similarity := saved.get("similarity") or "cosine") != "cosine":
        raise ModelUnsupported(f"{checkpoint.name} compares vectors by {similarity!r}; known here is cosine")
    markers = {
        "query": saved.get("query_token_id") or "[unused0]",
        "document": saved.get("doc_token_id") or "[unused1]",
    }
    return _Said(
        layers=(Projection("linear"), Normalize()),
        prompts={role: f"{marker} " for role, marker in markers.items()},
        skipped=_PUNCTUATION if saved.get("mask_punctuation", True) else (),
        whole=list(markers.values()),
        document_length=saved.get("doc_maxlen"),
        expansion={"attend": saved.get("attend_to_mask_tokens"), "length": saved.get("query_maxlen")},
    )


def _chained(checkpoint: Checkpoint) -> _Said:
    """Read a chain of modules, of PyLate or of sentence-transformers."""
    saved = saved_json(checkpoint, "config_sentence_transformers.json")
    modules = checkpoint.json("modules.json") or ()
    kinds = modules_of(checkpoint)
    if kinds[:1] != ["Transformer"] or set(kinds[1:]) - {"Dense", "MultiVectorMask", "Normalize"}:
        raise unknown_chain(checkpoint)
    layers = [layer for module in modules[1:] if (layer := _layer(checkpoint, module)) is not None]
    if saved.get("model_type") != _ST and Normalize() not in layers:  # PyLate does it without saying so
        layers.append(Normalize())
    prefixes = {role: saved.get(f"{role}_prefix") or "" for role in ("query", "document")}
    prompts = {
        role: prefix + ((saved.get("prompts") or {}).get(role) or "").removeprefix(prefix)
        for role, prefix in prefixes.items()
    }
    transformer = {**_knobs(saved), **saved_json(checkpoint, "sentence_bert_config.json")}
    mask = next((module for module in modules if kind_of(module) == "MultiVectorMask"), None)
    masked = _masked(saved, None if mask is None else checkpoint.json(mask["path"], "config.json") or {})
    if masked.get("keep_only_token_ids"):
        raise ModelUnsupported(
            f"{checkpoint.name} compares chosen tokens only, as models of pictures do: not known here"
        )
    tasks = masked.get("skiplist_tasks") or ("document",)
    return _Said(
        layers=tuple(layers),
        prompts=prompts,
        skipped=masked.get("skiplist_words") or (),
        skipped_in=[tasks] if isinstance(tasks, str) else tasks,
        whole=[prefix for prefix in prefixes.values() if prefix.strip()],
        query_length=transformer.get("query_length"),
        document_length=transformer.get("document_length"),
        expansion=transformer.get("query_expansion"),
        mean=saved.get("similarity_fn_name") == "meanmaxsim",
    )


def _masked(saved: Mapping[str, Any], module: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return what counts for nothing: what the module for it says; where there is none, what PyLate does without."""
    if module is not None:
        return module
    words = saved.get("skiplist_words")
    return {"skiplist_words": _PUNCTUATION if words is None else words}


def _knobs(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return how PyLate's own settings read in today's words; nothing, where there are none of it."""
    knobs = {name: saved[name] for name in ("query_length", "document_length") if saved.get(name) is not None}
    if "query_expansion" in saved:
        return {**knobs, "query_expansion": saved["query_expansion"]}
    marks = ("do_query_expansion", "attend_to_expansion_tokens", "attend_to_mask_tokens", "skiplist_words")
    if not knobs and not any(name in saved for name in (*marks, "query_prefix", "document_prefix")):
        return {}
    if saved.get("do_query_expansion") is False:
        return {**knobs, "query_expansion": None}
    attend = saved.get("attend_to_expansion_tokens", saved.get("attend_to_mask_tokens"))
    return {**knobs, "query_expansion": {"attend": attend, "length": knobs.pop("query_length", None)}}


def _layer(checkpoint: Checkpoint, module: Mapping[str, Any]) -> Layer | None:
    """Return what a module does with the vectors of tokens; None where it does nothing with them."""
    if kind_of(module) == "MultiVectorMask":
        return None
    saved = checkpoint.json(module["path"], "config.json") or {}
    if kind_of(module) == "Normalize":
        return Normalize() if saved.get("module_input_name") == "token_embeddings" else None
    names = {saved.get(f"module_{end}_name") or "token_embeddings" for end in ("input", "output")}
    if names != {"token_embeddings"}:
        raise ModelUnsupported(
            f"{checkpoint.name}: what {module['path']} does with {', '.join(sorted(names))} is not known here, where "
            "each token has a vector; choose another model"
        )
    activation = activation_of(checkpoint, saved)
    return Projection("linear", module["path"], activation, residual=bool(saved.get("use_residual")))


def _expansion(checkpoint: Checkpoint, encoder: TextEncoder, said: _Said, *, shortest: int) -> Expansion | None:
    if said.expansion is None:
        return None
    if saved_json(checkpoint, "tokenizer_config.json").get("padding_side") == "left":
        raise ModelUnsupported(f"{checkpoint.name} fills queries up from the left, which is not known here")
    tokens = special_tokens_of(checkpoint)
    text = said.expansion.get("token") or tokens.get("mask_token") or tokens.get("eos_token")
    token = None if text is None else encoder.token(text)
    if token is None:
        raise ModelUnsupported(
            f"{checkpoint.name} fills queries up with {text!r}, which its tokenizer.json does not hold; "
            "download the model again"
        )
    length = min(int(said.expansion.get("length") or shortest), positions_of(checkpoint))
    return Expansion(token, length, seen=bool(said.expansion.get("attend")))


def _read_whole(encoder: TextEncoder, prefix: str) -> None:
    """See to it that a marker is one token, with the blank behind it if it is known so, else without."""
    for text in (prefix, prefix.split(maxsplit=1)[0]):
        if (token := encoder.token(text)) is not None:
            if encoder.encode(text).tolist() != [token]:
                encoder.read_whole(text)
            return
