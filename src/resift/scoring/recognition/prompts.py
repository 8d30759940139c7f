"""Prompted language models: what their row and their files decide."""

from collections.abc import Mapping

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Answer, Classify
from resift.scoring.catalog.rows import PromptRow
from resift.scoring.families import LogitScale
from resift.scoring.families.prompted import PromptedLM
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.saved import (
    encoder_of,
    max_length_of,
    positions_of,
    require_chain,
    require_one_label,
    saved_json,
)
from resift.settings import Settings
from resift.tokenizing import TextEncoder


def recognise_prompted(checkpoint: Checkpoint, row: PromptRow, settings: Settings) -> Recognised:
    """Decide how a prompted language model is read."""
    architecture = (checkpoint.config.get("architectures") or [""])[0]
    # decoders say how many heads their keys have; an encoder's head was never trained to answer
    converted = architecture.endswith("ForSequenceClassification") and "num_key_value_heads" in checkpoint.config
    if converted:
        require_one_label(checkpoint)
    elif not architecture.endswith("ForCausalLM"):
        raise ModelUnsupported(
            f"{checkpoint.name} is a {architecture or 'model of no declared architecture'}, not a causal language "
            "model, so it cannot be asked with a prompt; leave `like` out"
        )
    require_chain(checkpoint, known=("LogitScore",))
    encoder, prompt = encoder_of(checkpoint), row.prompt
    family = PromptedLM(
        encoder,
        prompt,
        max_length=max_length_of(checkpoint, settings, row.max_length),
        positions=positions_of(checkpoint),
        scale=LogitScale(sigmoid_by_default=row.sigmoid, shift=row.shift),
        bos=_bos(checkpoint, encoder) if prompt.begins_with_bos else None,
    )
    if converted:  # its head is the difference of the answers' rows already
        return Recognised(family, Classify(), "bfloat16")
    negative = None if prompt.negative is None else _answer(checkpoint, encoder, prompt.negative)
    return Recognised(family, Answer(_answer(checkpoint, encoder, prompt.positive), negative), "bfloat16")


def _answer(checkpoint: Checkpoint, encoder: TextEncoder, text: str) -> int:
    ids = encoder.encode(text)
    if len(ids) != 1:
        raise ModelUnsupported(
            f"the answer {text!r} is {len(ids)} tokens in the vocabulary of {checkpoint.name}; it must be one"
        )
    return int(ids[0])


def _bos(checkpoint: Checkpoint, encoder: TextEncoder) -> int | None:
    """Return the beginning-of-sequence token, where there is one that is not the padding token as well."""
    saved = saved_json(checkpoint, "tokenizer_config.json")
    bos, pad = (_token_text(saved.get(name)) for name in ("bos_token", "pad_token"))
    return None if bos is None or bos == pad else encoder.token(bos)


def _token_text(token: str | Mapping[str, str] | None) -> str | None:
    return token["content"] if isinstance(token, Mapping) else token
