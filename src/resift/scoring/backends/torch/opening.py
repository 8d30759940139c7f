"""Open a checkpoint as a torch backend: which device, which format, which forward pass."""

import logging
from collections.abc import Callable
from typing import Any

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import PlacedBackend, Readout
from resift.scoring.backends.torch.bert import open_bert
from resift.scoring.backends.torch.deberta import open_deberta
from resift.scoring.backends.torch.decoder import open_decoder
from resift.scoring.backends.torch.devices import default_batch_tokens, is_out_of_memory, pick_device, pick_dtype
from resift.scoring.backends.torch.lanes import lanes_here
from resift.scoring.backends.torch.modernbert import open_modernbert
from resift.scoring.backends.torch.pretrained import brings_code
from resift.scoring.backends.torch.running import Body, Reader, TorchBackend
from resift.scoring.backends.torch.transformers_models import open_model
from resift.scoring.planning import Batch

logger = logging.getLogger("resift")

Opened = tuple[Body, Reader] | None

# Each says None to what is not its own.
_OWN_PASSES: tuple[Callable[..., Opened], ...] = (open_bert, open_deberta, open_decoder, open_modernbert)


def open_backend(
    checkpoint: Checkpoint,
    readout: Readout,
    sample: Batch,
    *,
    device: str,
    dtype: str,
    half: str,
    max_batch_tokens: int | None,
    trust_remote_code: bool,
) -> PlacedBackend:
    """Load a model onto one device."""
    where = pick_device(device)
    kind = pick_dtype(dtype, where, half)
    how: dict[str, Any] = {"device": where, "dtype": kind}
    ours = () if brings_code(checkpoint, trust_remote_code=trust_remote_code) else _OWN_PASSES
    try:
        opened = (open_ours(checkpoint, readout, **how) for open_ours in ours)
        body, reader = next(filter(None, opened), None) or open_model(
            checkpoint, readout, sample, trust_remote_code=trust_remote_code, **how
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ModelUnsupported(
            f"{checkpoint.name} does not fit the memory of {where} in {kind}; "
            "load it in half precision, on a larger device, or on the CPU"
        ) from error
    logger.info("%s loaded on %s in %s, %s", checkpoint.name, where, kind, "padded" if body.padded else "packed")
    lanes = lanes_here() if body.at_once and where.type == "cpu" else 1
    most = max_batch_tokens or default_batch_tokens(where, checkpoint.config, kind, lanes=lanes)
    return TorchBackend(body, reader, device=where, dtype=kind, max_batch_tokens=most)
