"""The torch backend: pack, run the body, read the rows that matter."""

from typing import Protocol

import numpy as np
import torch

from resift.scoring.backends import OutOfMemory, Outputs, RunsOn
from resift.scoring.backends.torch.devices import is_out_of_memory
from resift.scoring.backends.torch.lanes import Lanes
from resift.scoring.backends.torch.packing import Packed, Positions, pack
from resift.scoring.planning import Batch


class Body(Protocol):
    """A model up to its last hidden states."""

    padded: bool
    """Whether it pads inside, so that batches should be of like lengths."""

    alone: bool
    """Whether padding changes what it says, so that each sequence must run alone."""

    at_once: bool
    """Whether several threads may run it at once."""

    positions: Positions
    vocabulary: int
    """How many tokens it knows."""

    def __call__(self, packed: Packed, rows: torch.Tensor | None) -> torch.Tensor:
        """Return the hidden states of `rows`, or of every token: (rows, width)."""


class Reader(Protocol):
    """Turns hidden states into one row of numbers per sequence, always in full precision."""

    def rows(self, packed: Packed) -> torch.Tensor | None:
        """Return which rows of the hidden states are read, one per sequence; None where all are."""

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Return (sequences, width) from those rows."""


class TorchBackend:
    """One model on one device: a body and what is read from it."""

    def __init__(
        self,
        body: Body,
        reader: Reader,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        max_batch_tokens: int,
    ) -> None:
        self.padded = body.padded
        self.runs_on = RunsOn("torch", str(device), str(dtype).removeprefix("torch."))
        self.max_batch_tokens = max_batch_tokens
        self._parts: tuple[Body, Reader] | None = (body, reader)
        self._device = device
        self._lanes = Lanes() if body.at_once and device.type == "cpu" else None

    def run(self, batch: Batch) -> Outputs:
        """Read each sequence of the batch."""
        try:
            return self._lanes.run(self._read, batch) if self._lanes else self._read(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            message = str(error)
        # only here, outside the handler, is the memory of the failed pass given up
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        raise OutOfMemory(message)

    def close(self) -> None:
        """Forget the weights and give their memory back."""
        self._parts = None
        if self._lanes:
            self._lanes.close()
            self._lanes = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _read(self, batch: Batch) -> Outputs:
        assert self._parts is not None, "a closed backend was run. This is a bug."
        with torch.inference_mode():
            outputs = read(*self._parts, batch, device=self._device)
            return outputs.cpu().numpy().astype(np.float32, copy=False)


def read(body: Body, reader: Reader, batch: Batch, *, device: torch.device) -> torch.Tensor:
    """Run one batch through a body and its reader: (sequences, width)."""
    if body.alone and len(batch.sequences) > 1:
        return torch.cat([read(body, reader, alone, device=device) for alone in batch.apart()])
    _require_known_tokens(batch, body.vocabulary)
    packed = pack(batch, body.positions, device)
    return reader.read(body(packed, reader.rows(packed)), packed)


def _require_known_tokens(batch: Batch, vocabulary: int) -> None:
    """Refuse ids that the model has no row for: on a GPU they would end the use of the device, not just this call."""
    highest = max(int(ids.max(initial=0)) for ids in (*(tokens.ids for tokens in batch.sequences), *batch.prefixes))
    if highest >= vocabulary:
        raise ValueError(
            f"the tokenizer gave id {highest} to a model of {vocabulary} tokens; they do not belong together"
        )
