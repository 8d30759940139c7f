"""Open a checkpoint's graph as an onnx backend: which file, which device, and whether its texts may share a batch."""

import logging
from functools import partial

import numpy as np

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported, ResiftError
from resift.scoring.backends import Backend, Readout
from resift.scoring.backends.onnx.feeds import Feeder, feeder_for
from resift.scoring.backends.onnx.readouts import Reading, reading_of
from resift.scoring.backends.onnx.running import OnnxBackend, read
from resift.scoring.backends.onnx.sessions import (
    Session,
    explained,
    is_on_gpu,
    is_out_of_memory,
    open_session,
    providers_of,
)
from resift.scoring.planning import Batch

__all__ = ["open_backend", "providers_of"]

logger = logging.getLogger("resift")

_CPU_BATCH_TOKENS = 1024  # activations of small batches stay in the cache, and large ones gain nothing
_GPU_BATCH_TOKENS = 16384

# How far two runs of a graph may differ, of its largest output, before something else than rounding must be at work.
_SLACK = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2, "int8": 1e-4}


def open_backend(
    checkpoint: Checkpoint,
    readout: Readout,
    sample: Batch,
    *,
    device: str,
    dtype: str,
    max_batch_tokens: int | None,
) -> Backend:
    """
    Load a graph onto one device.

    The graph is tried on `sample`: where it does not say the same of a text with others as of the text alone, each runs
    alone. A quantised graph does not, because it scales a whole batch by its largest number.
    """
    path = checkpoint.graph(dtype)
    opened = partial(open_session, path, device)
    try:
        session = opened()
        feeder = feeder_for(session.get_inputs(), checkpoint)
        reading = reading_of(session.get_outputs(), readout, checkpoint.name)
        alone = _must_run_alone(session, feeder, reading, sample=sample, slack=_SLACK[dtype])
    except ResiftError:
        raise
    except Exception as error:  # its errors share no parent of their own
        if is_out_of_memory(error):
            raise ModelUnsupported(
                f"{checkpoint.name} does not fit the memory of {device} in {dtype}; choose a smaller dtype, or the CPU"
            ) from error
        raise explained(path, error) from error
    on_gpu = is_on_gpu(session)
    where, how = "a GPU" if on_gpu else "the CPU", "one text at a time" if alone else "padded"
    logger.info("%s loaded from %s on %s, %s", checkpoint.name, path.name, where, how)
    return OnnxBackend(
        session,
        feeder,
        reading,
        open_again=opened,
        alone=alone,
        max_batch_tokens=max_batch_tokens or (_GPU_BATCH_TOKENS if on_gpu else _CPU_BATCH_TOKENS),
    )


def _must_run_alone(session: Session, feeder: Feeder, reading: Reading, *, sample: Batch, slack: float) -> bool:
    """Whether a graph says something else of a text when others are in the batch, or cannot take others at all."""
    expected = np.concatenate([read(session, feeder, reading, batch=alone) for alone in sample.apart()])
    try:
        found = read(session, feeder, reading, batch=sample)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return True
    return float(np.abs(expected - found).max()) > slack * float(np.abs(expected).max()) + 1e-5
