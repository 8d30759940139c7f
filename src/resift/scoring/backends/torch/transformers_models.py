"""Any model that transformers knows: packed where its attention can be replaced, padded where it cannot."""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Answer, Classify, Embed, EmbedEach, Readout
from resift.scoring.backends.torch.attention import IMPLEMENTATION, UnknownAttention, packed_attention
from resift.scoring.backends.torch.devices import is_out_of_memory
from resift.scoring.backends.torch.linears import in_steps, prepack_linears
from resift.scoring.backends.torch.packing import Packed, Positions
from resift.scoring.backends.torch.padding import LogitsReader, PaddedBody, PaddedClassifier, takes_types, vocabulary_of
from resift.scoring.backends.torch.places import PlaceReader
from resift.scoring.backends.torch.pretrained import build
from resift.scoring.backends.torch.readouts import AnswerReader, HeadReader, VectorReader
from resift.scoring.backends.torch.running import Body, Reader, read
from resift.scoring.planning import Batch

logger = logging.getLogger("resift")

# packed runs of these are held equal to the plain ones by the project's own tests
_ENCODERS, _DECODERS = {"bert", "xlm-roberta", "roberta", "camembert"}, {"qwen2", "qwen3", "gemma"}
_PROVEN = {
    Classify: _ENCODERS | _DECODERS | {"gte"},
    Answer: _DECODERS | {"mistral"},
    Embed: _ENCODERS | {"granite", "llama", "qwen2", "qwen3"},
    EmbedEach: _ENCODERS | {"qwen3"},
}


class TransformersBody:
    """An unmodified backbone from transformers whose attention is ours."""

    padded = alone = False

    def __init__(self, backbone: Any, positions: Positions, *, at_once: bool) -> None:
        self.at_once = at_once
        self.positions = positions
        self.vocabulary = vocabulary_of(backbone)
        self._backbone = backbone
        parameters = inspect.signature(backbone.forward).parameters
        if "position_ids" not in parameters:
            raise UnknownAttention("the model takes no positions")
        self._typed = "token_type_ids" in parameters and takes_types(backbone)
        self._extra = {"use_cache": False} if "use_cache" in parameters else {}

    def __call__(self, packed: Packed, rows: torch.Tensor | None) -> torch.Tensor:
        """Return the hidden states of `rows`, or of every token."""
        types = {"token_type_ids": in_steps(packed.types)[None]} if self._typed else {}
        states: torch.Tensor = self._backbone(
            input_ids=in_steps(packed.ids)[None],
            position_ids=in_steps(packed.positions)[None],
            segments=packed.segments,
            **types,
            **self._extra,
        ).last_hidden_state[0]
        return states[: len(packed.ids)] if rows is None else states[rows]


def open_model(
    checkpoint: Checkpoint,
    readout: Readout,
    sample: Batch,
    *,
    device: torch.device,
    dtype: torch.dtype,
    trust_remote_code: bool,
) -> tuple[Body, Reader]:
    """
    Load a model and choose how it runs.

    A model whose packed run is not known to be exact is tried on `sample`, in full precision, where a wrong result
    cannot pass for a rounded one: it runs packed if it then says the same as the authors' own code does one sequence at
    a time, else padded, if that is the same, else one sequence at a time.
    """
    asked = _Asked(readout, checkpoint)
    model = build(checkpoint, readout, dtype=dtype, trust_remote_code=trust_remote_code)
    own_code = not type(model).__module__.startswith("transformers.")
    if model.config.model_type in _PROVEN[type(readout)] and not own_code:
        return _packed(model.to(device), asked, known=True)
    full = dtype == torch.float32
    tried = model if full else build(checkpoint, readout, dtype=torch.float32, trust_remote_code=trust_remote_code)
    with torch.inference_mode():
        how = _try(tried.to(device), asked, sample)
    del tried
    if how == "packed":
        return _packed(model.to(device), asked, known=False)
    body, reader = _plain(model.to(device), asked)
    body.alone = how == "alone"
    return body, reader


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is read of a model, and the files that hold the weights that reading takes."""

    readout: Readout
    checkpoint: Checkpoint


def _try(model: Any, asked: _Asked, sample: Batch) -> Literal["packed", "padded", "alone"]:
    """Return the fastest way in which a model says what it says plainly, one sequence at a time."""
    attention = model.config._attn_implementation
    plain = _plain(model, asked)
    expected = torch.cat([read(*plain, alone, device=model.device) for alone in sample.apart()])
    if isinstance(asked.readout, Answer):
        _require_plain_projection(model, asked.readout, sample, expected=expected)
    reason = _why_not_packed(model, asked, sample, expected=expected)
    if reason is None:
        return "packed"
    logger.info("%s runs padded: %s", model.name_or_path, reason)
    model.set_attn_implementation(attention)
    try:
        same = _agree(expected, read(*plain, sample, device=model.device))
    except ValueError:  # what transformers raises where a model has no padding token
        same = False
    return "padded" if same else "alone"


def _why_not_packed(model: Any, asked: _Asked, sample: Batch, *, expected: torch.Tensor) -> str | None:
    try:
        found = read(*_packed(model, asked, known=False), sample, device=model.device)
    except Exception as error:  # whatever foreign code trips over, it cannot run packed
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return None if _agree(expected, found) else "packed, it would say something else"


def _plain(model: Any, asked: _Asked) -> tuple[PaddedBody | PaddedClassifier, Reader]:
    if isinstance(asked.readout, Classify):
        return PaddedClassifier(model), LogitsReader()
    return PaddedBody(model.base_model, _positions(model.base_model)), _reader(model, asked)


def _packed(model: Any, asked: _Asked, *, known: bool) -> tuple[Body, Reader]:
    """
    Return the model with our attention; raise where its own cannot be replaced.

    Models of known make never look at the plain weights of prepacked layers, and remember nothing of a pass but, in
    some, their rotations.
    """
    from transformers import AttentionInterface

    if not getattr(model, "_supports_attention_backend", False):
        raise UnknownAttention("its attention cannot be replaced")
    AttentionInterface.register(IMPLEMENTATION, packed_attention)
    model.set_attn_implementation(IMPLEMENTATION)
    reader = _reader(model, asked)
    prepack_linears(model.base_model, frugal=known)
    body = TransformersBody(
        model.base_model, _positions(model.base_model), at_once=known and not _changes_rotations(model.config)
    )
    return body, reader


def _reader(model: Any, asked: _Asked) -> Reader:
    from transformers.modeling_layers import GenericForSequenceClassification

    readout = asked.readout
    if isinstance(readout, Answer):
        softcap = getattr(model.config, "final_logit_softcapping", None)
        return AnswerReader(model.get_output_embeddings(), readout, softcap=softcap)
    if isinstance(readout, Embed):
        return VectorReader(readout, asked.checkpoint, model.device)
    if isinstance(readout, EmbedEach):
        return PlaceReader(readout, asked.checkpoint, model.device)
    if isinstance(model, GenericForSequenceClassification):
        return HeadReader(model, "last")
    return HeadReader(model, "mean" if getattr(model.config, "classifier_pooling", None) == "mean" else "first")


def _changes_rotations(config: Any) -> bool:
    """Whether a pass leaves other rotations behind than it found, by the longest sequence that it saw."""
    asked = getattr(config, "rope_parameters", None) or {}
    kinds = {rotations.get("rope_type") for rotations in (asked, *asked.values()) if isinstance(rotations, Mapping)}
    return not kinds.isdisjoint(("dynamic", "longrope"))


def _positions(backbone: Any) -> Positions:
    """RoBERTa and its descendants count from behind the padding id; they can be told by how they do it."""
    embeddings: Any = getattr(backbone, "embeddings", None)
    if hasattr(embeddings, "create_position_ids_from_input_ids"):
        return Positions(padding_id=int(embeddings.padding_idx))
    return Positions()


def _agree(expected: torch.Tensor, found: torch.Tensor) -> bool:
    """Whether two runs say the same, up to what another order of sums changes in full precision."""
    scale = float(expected.abs().max())
    return expected.shape == found.shape and bool((expected - found).abs().max() <= 1e-4 * scale + 1e-5)


def _require_plain_projection(model: Any, readout: Answer, sample: Batch, *, expected: torch.Tensor) -> None:
    """Make sure that the model's logits are what its hidden states times its output rows are, and nothing else."""
    ids = torch.from_numpy(sample.apart()[0].sequences[0].ids.astype(np.int64))
    logits = model(input_ids=ids[None].to(model.device)).logits[0, -1].float()
    asked = logits[readout.positive] - (0 if readout.negative is None else logits[readout.negative])
    if not _agree(expected[:1], asked.reshape(1, 1)):
        raise ModelUnsupported(
            f"{type(model).__name__} changes its logits after projecting them, in a way that is not known here; "
            "choose another model"
        )
