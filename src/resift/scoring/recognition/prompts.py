"""Prompted language models: what their row and their files decide."""

import numpy as np

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Answer, Classify
from resift.scoring.catalog.rows import PromptRow
from resift.scoring.families import LogitScale
from resift.scoring.families.prompted import PromptedLM
from resift.scoring.families.windows import windows_for
from resift.scoring.planning import NO_IDS, Ids
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.saved import (
    encoder_of,
    is_decoder,
    looks_back_only,
    max_length_of,
    positions_of,
    require_chain,
    require_one_label,
    special_tokens_of,
)
from resift.settings import Settings
from resift.tokenizing import TextEncoder


def recognise_prompted(checkpoint: Checkpoint, row: PromptRow, settings: Settings) -> Recognised:
    """Decide how a prompted language model is read."""
    architecture = (checkpoint.config.get("architectures") or [""])[0]
    # an encoder's head was never trained to answer
    converted = architecture.endswith("ForSequenceClassification") and is_decoder(checkpoint)
    if converted:
        require_one_label(checkpoint)
    elif not architecture.endswith("ForCausalLM"):
        raise ModelUnsupported(
            f"{checkpoint.name} is a {architecture or 'model of no declared architecture'}, not a causal language "
            "model, so it cannot be asked with a prompt; leave `like` out"
        )
    require_chain(checkpoint, known=("LogitScore",))
    encoder, prompt = encoder_of(checkpoint), row.prompt
    before, after = around(checkpoint, encoder, row)
    family = PromptedLM(
        encoder,
        prompt,
        max_length=max_length_of(checkpoint, settings, row.max_length),
        positions=positions_of(checkpoint),
        scale=LogitScale(sigmoid_by_default=row.sigmoid, shift=row.shift, spread=row.spread),
        before=before,
        after=after,
        shares_prefix=looks_back_only(checkpoint),
        windows=windows_for(settings.long_documents),
    )
    if converted:  # its head is the difference of the answers' rows already
        return Recognised(family, Classify(), "bfloat16")
    if row.answer is not None:
        return Recognised(family, Answer(row.answer), "bfloat16")
    negative = None if prompt.negative is None else _answer(checkpoint, encoder, prompt.negative)
    return Recognised(family, Answer(_answer(checkpoint, encoder, prompt.positive), negative), "bfloat16")


def _answer(checkpoint: Checkpoint, encoder: TextEncoder, text: str) -> int:
    ids = encoder.encode(text)
    if len(ids) != 1:
        raise ModelUnsupported(
            f"the answer {text!r} is {len(ids)} tokens in the vocabulary of {checkpoint.name}; it must be one"
        )
    return int(ids[0])


def around(checkpoint: Checkpoint, encoder: TextEncoder, row: PromptRow) -> tuple[Ids, Ids]:
    """Return the ids before and after a whole prompt."""
    if row.framed:
        frame = encoder.single_frame()
        return frame.before[0], frame.after
    bos = _bos(checkpoint, encoder) if row.prompt.begins_with_bos else None
    return NO_IDS if bos is None else np.array([bos], dtype=np.int32), NO_IDS


def _bos(checkpoint: Checkpoint, encoder: TextEncoder) -> int | None:
    """Return the beginning-of-sequence token, where there is one that is not the padding token as well."""
    tokens = special_tokens_of(checkpoint)
    bos, pad = tokens.get("bos_token"), tokens.get("pad_token")
    return None if bos is None or bos == pad else encoder.token(bos)
