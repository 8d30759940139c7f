"""Vectors of single tokens: the hidden states at the places that sequences name, taken through layers."""

import torch

from resift.checkpoint import Checkpoint
from resift.scoring.backends import EmbedEach
from resift.scoring.backends.torch.heads import Head
from resift.scoring.backends.torch.packing import Packed


class PlaceReader:
    """
    Reads one vector at each place that a sequence names, in full precision.

    The last layer runs for every token: late interaction reads nearly all of them, and where few are read they are the
    few of one long sequence.
    """

    def __init__(self, readout: EmbedEach, checkpoint: Checkpoint, device: torch.device) -> None:
        self._head = Head(readout.layers, checkpoint, device)

    def rows(self, packed: Packed) -> None:
        """Ask for the hidden states of all tokens."""

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Return the vectors: (places, width)."""
        return self._head(hidden[packed.places].float())
