"""Open a checkpoint's graph as a backend: which file, what runs it, and whether its texts may share a batch."""

import logging
from functools import partial

import numpy as np

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported, ResiftError
from resift.scoring.backends import PlacedBackend, Readout, RunsOn
from resift.scoring.backends.graphs.contract import Runtime, Session
from resift.scoring.backends.graphs.feeds import Feeder, feeder_for
from resift.scoring.backends.graphs.readouts import Reading, reading_of
from resift.scoring.backends.graphs.running import GraphBackend, read
from resift.scoring.planning import Batch

logger = logging.getLogger("resift")

_CPU_BATCH_TOKENS = 1024  # activations of small batches stay in the cache, and large ones gain nothing
_GPU_BATCH_TOKENS = 16384

# How far two runs of a graph may differ, of its largest output, before something else than rounding must be at work. In
# int8 the last bit of one number in the first layer is enough for others behind it to be rounded otherwise.
_SLACK = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2, "int8": 0.1}


def open_backend(
    checkpoint: Checkpoint,
    readout: Readout,
    sample: Batch,
    *,
    runtime: Runtime,
    device: str,
    dtype: str,
    graph: str,
    max_batch_tokens: int | None,
) -> PlacedBackend:
    """
    Load the file of the number format `graph` onto one device, to be run in `dtype`.

    The graph is tried on `sample`: where it does not say the same of a text with others as of the text alone, each runs
    alone. A quantised graph mostly does not, because it scales a whole batch by its largest number.
    """
    path = checkpoint.graph(graph)
    opened = partial(runtime.open, path, device, dtype)
    try:
        session = opened()
        feeder = feeder_for(session.inputs, checkpoint)
        reading = reading_of(session.outputs, readout, checkpoint.name)
        alone = _must_run_alone(session, feeder, reading, sample=sample, runtime=runtime)
    except ResiftError:
        raise
    except Exception as error:  # errors of runtimes share no parent of their own
        if runtime.is_out_of_memory(error):
            raise ModelUnsupported(
                f"{checkpoint.name} does not fit the memory of {device} in {dtype}; choose a smaller dtype, or the CPU"
            ) from error
        raise runtime.explained(path, error) from error
    how = "one text at a time" if alone else "padded"
    logger.info(
        "%s loaded from %s on %s in %s by %s, %s", checkpoint.name, path.name, session.device, dtype, runtime.name, how
    )
    return GraphBackend(
        session,
        feeder,
        reading,
        runs_on=RunsOn(runtime.name, session.device, dtype),
        open_again=opened,
        is_out_of_memory=runtime.is_out_of_memory,
        alone=alone,
        max_batch_tokens=max_batch_tokens or (_CPU_BATCH_TOKENS if session.device == "cpu" else _GPU_BATCH_TOKENS),
    )


def _must_run_alone(session: Session, feeder: Feeder, reading: Reading, *, sample: Batch, runtime: Runtime) -> bool:
    """Whether a graph says something else of a text when others are in the batch, or cannot take others at all."""
    expected = np.concatenate([read(session, feeder, reading, batch=alone) for alone in sample.apart()])
    try:
        found = read(session, feeder, reading, batch=sample)
    except Exception as error:
        if runtime.is_out_of_memory(error):
            raise
        return True
    return float(np.abs(expected - found).max()) > _SLACK[session.rounds_in] * float(np.abs(expected).max()) + 1e-5
