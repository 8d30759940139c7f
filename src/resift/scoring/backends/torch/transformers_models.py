"""Any model that transformers knows: packed where its attention can be replaced, padded where it cannot."""

import inspect
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from resift.checkpoint import Checkpoint
from resift.errors import MissingDependency, ModelNotFound, ModelUnsupported
from resift.scoring.backends import Answer, Classify, Embed, Readout
from resift.scoring.backends.torch.attention import IMPLEMENTATION, UnknownAttention, packed_attention
from resift.scoring.backends.torch.linears import prepack_linears
from resift.scoring.backends.torch.packing import Packed, Positions
from resift.scoring.backends.torch.padding import LogitsReader, PaddedBody, PaddedClassifier, takes_types
from resift.scoring.backends.torch.readouts import AnswerReader, HeadReader, VectorReader
from resift.scoring.backends.torch.running import Body, Reader, read
from resift.scoring.planning import Batch, Tokens

logger = logging.getLogger("resift")

# transformers changes process-wide defaults while it builds a model, so one is built at a time
_BUILDING = threading.Lock()

# packed runs of these are held equal to the plain ones by the project's own tests
_PROVEN = {"bert", "xlm-roberta", "roberta", "camembert", "qwen2", "qwen3", "gemma"}

_AUTO_CLASSES = {Classify: "AutoModelForSequenceClassification", Answer: "AutoModelForCausalLM", Embed: "AutoModel"}


class TransformersBody:
    """An unmodified backbone from transformers whose attention is ours."""

    padded = False

    def __init__(self, backbone: Any, positions: Positions) -> None:
        self.positions = positions
        self._backbone = backbone
        parameters = inspect.signature(backbone.forward).parameters
        if "position_ids" not in parameters:
            raise UnknownAttention("the model takes no positions")
        self._typed = "token_type_ids" in parameters and takes_types(backbone)
        self._extra = {"use_cache": False} if "use_cache" in parameters else {}

    def __call__(self, packed: Packed, rows: torch.Tensor | None) -> torch.Tensor:
        """Return the hidden states of `rows`, or of every token."""
        types = {"token_type_ids": packed.types[None]} if self._typed else {}
        states: torch.Tensor = self._backbone(
            input_ids=packed.ids[None],
            position_ids=packed.positions[None],
            segments=packed.segments,
            **types,
            **self._extra,
        ).last_hidden_state[0]
        return states if rows is None else states[rows]


def open_model(
    checkpoint: Checkpoint,
    readout: Readout,
    sample: Batch,
    *,
    device: torch.device,
    dtype: torch.dtype,
    trust_remote_code: bool = False,
) -> tuple[Body, Reader]:
    """
    Load a model and choose how it runs.

    A model whose packed run is not known to be exact is tried on `sample` both ways: packed is kept only if it says the
    same as the authors' own code does, one sequence at a time.
    """
    model = _build(checkpoint, readout, dtype=dtype, trust_remote_code=trust_remote_code).to(device)
    reader = _reader(model, readout)
    if model.config.model_type in _PROVEN:
        prepack_linears(model.base_model)
        return _packed_body(model), reader
    plain = _plain(model, readout, reader)
    attention = model.config._attn_implementation
    with torch.inference_mode():
        expected = torch.cat([read(*plain, alone, device=device) for alone in _alone(sample)])
        if isinstance(readout, Answer):
            _require_plain_projection(model, readout, sample, expected=expected)
        prepack_linears(model.base_model)
        try:
            packed = _packed_body(model), reader
            found = read(*packed, sample, device=device)
        except (UnknownAttention, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
        else:
            if _agree(expected, found, dtype):
                return packed
            reason = "packed, it would say something else"
    model.set_attn_implementation(attention)
    logger.info("%s runs padded: %s", checkpoint.name, reason)
    return plain


def _plain(model: Any, readout: Readout, reader: Reader) -> tuple[Body, Reader]:
    if isinstance(readout, Classify):
        return PaddedClassifier(model), LogitsReader()
    return PaddedBody(model.base_model, _positions(model.base_model)), reader


def _packed_body(model: Any) -> Body:
    from transformers import AttentionInterface

    if not getattr(model, "_supports_attention_backend", False):
        raise UnknownAttention("its attention cannot be replaced")
    AttentionInterface.register(IMPLEMENTATION, packed_attention)
    model.set_attn_implementation(IMPLEMENTATION)
    return TransformersBody(model.base_model, _positions(model.base_model))


def _reader(model: Any, readout: Readout) -> Reader:
    from transformers.modeling_layers import GenericForSequenceClassification

    if isinstance(readout, Answer):
        softcap = getattr(model.config, "final_logit_softcapping", None)
        return AnswerReader(model.get_output_embeddings(), readout, softcap=softcap)
    if isinstance(readout, Embed):
        return VectorReader(readout)
    return HeadReader(model, last=isinstance(model, GenericForSequenceClassification))


def _positions(backbone: Any) -> Positions:
    """RoBERTa and its descendants count from behind the padding id; they can be told by how they do it."""
    embeddings: Any = getattr(backbone, "embeddings", None)
    if hasattr(embeddings, "create_position_ids_from_input_ids"):
        return Positions(padding_id=int(embeddings.padding_idx))
    return Positions()


def _alone(batch: Batch) -> list[Batch]:
    """Return one batch per sequence, each whole."""
    return [
        Batch([Tokens(np.concatenate([batch.prefix(at), sequence.ids]), sequence.types)])
        for at, sequence in enumerate(batch.sequences)
    ]


def _agree(expected: torch.Tensor, found: torch.Tensor, dtype: torch.dtype) -> bool:
    tolerance = 1e-4 if dtype == torch.float32 else 5e-2
    scale = max(1.0, float(expected.abs().max()))
    return expected.shape == found.shape and bool((expected - found).abs().max() <= tolerance * scale)


def _require_plain_projection(model: Any, readout: Answer, sample: Batch, *, expected: torch.Tensor) -> None:
    """Make sure that the model's logits are what its hidden states times its output rows are, and nothing else."""
    ids = torch.from_numpy(_alone(sample)[0].sequences[0].ids.astype(np.int64))
    logits = model(input_ids=ids[None].to(model.device)).logits[0, -1].float()
    asked = logits[readout.positive] - (0 if readout.negative is None else logits[readout.negative])
    if not _agree(asked.reshape(1, 1), expected[:1], model.dtype):
        raise ModelUnsupported(
            f"{type(model).__name__} changes its logits after projecting them, in a way that is not known here; "
            "serve it elsewhere and use it through its endpoint"
        )


def _build(checkpoint: Checkpoint, readout: Readout, *, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    """Load the weights into the class that transformers has for the purpose, and miss none of them."""
    checkpoint.weights()  # says what is missing or damaged, before transformers says less
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
            )
        except (ValueError, KeyError, ImportError, AttributeError) as error:
            raise ModelUnsupported(_unsupported(checkpoint, error)) from error
        except (OSError, RuntimeError) as error:
            raise ModelNotFound(
                f"{checkpoint.name}: its weights cannot be read; download it again ({error})"
            ) from error
    unread = ("pooler.",) if isinstance(readout, Embed) else ()
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(unread))
    if missing:
        raise ModelUnsupported(
            f"{checkpoint.name} has no weights for {', '.join(missing[:3])}: its head was never trained, so its scores "
            "would be random; use a reranker, or the model as an embedding model"
        )
    return model.eval().requires_grad_(False)


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
