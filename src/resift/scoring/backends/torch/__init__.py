"""The torch backend: models from safetensors, run on packed tokens."""

import logging
from typing import Any

from resift.checkpoint import Checkpoint
from resift.errors import MissingDependency, ModelUnsupported
from resift.scoring.backends import Backend, OutOfMemory, Readout
from resift.scoring.planning import Batch

logger = logging.getLogger("resift")


def open_torch(
    checkpoint: Checkpoint,
    readout: Readout,
    sample: Batch,
    *,
    device: str,
    dtype: str,
    half: str,
    max_batch_tokens: int | None,
    trust_remote_code: bool,
) -> Backend:
    """
    Load a model onto one device.

    `half` is the half-precision format that suits the model where `dtype` is "auto" and the device is a GPU.
    """
    try:
        from resift.scoring.backends.torch import bert, devices, transformers_models
        from resift.scoring.backends.torch.running import TorchBackend
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{checkpoint.name} needs {error.name}, which is not installed: pip install "resift[local]"'
        ) from error

    where = devices.pick_device(device)
    kind = devices.pick_dtype(dtype, where, half)
    how: dict[str, Any] = {"device": where, "dtype": kind, "trust_remote_code": trust_remote_code}
    try:
        with devices.out_of_memory():
            opened = bert.open_bert(checkpoint, readout, **how)
            body, reader = opened or transformers_models.open_model(checkpoint, readout, sample, **how)
    except OutOfMemory as error:
        raise ModelUnsupported(
            f"{checkpoint.name} does not fit the memory of {where} in {kind}; "
            "load it in half precision, on a larger device, or on the CPU"
        ) from error
    logger.info("%s loaded on %s in %s, %s", checkpoint.name, where, kind, "padded" if body.padded else "packed")
    return TorchBackend(
        body,
        reader,
        device=where,
        max_batch_tokens=max_batch_tokens or devices.default_batch_tokens(where, checkpoint.config, kind),
    )
