"""What a graph wants to be fed, and batches laid out so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends.graphs.contract import Declared, Feed, Lengths
from resift.scoring.planning import Batch, Tokens

_KNOWN = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


@dataclass(frozen=True, slots=True)
class Feeder:
    """Lays out batches as a graph declares its inputs: padded on the right, and no input that it does not have."""

    kinds: Mapping[str, type[np.generic]]
    """The number format of each input."""

    padding_id: int
    first_position: int
    vocabulary: int | None
    """How many tokens the model knows, where its configuration says so."""

    def lay_out(self, batch: Batch) -> tuple[Feed, Lengths]:
        """Return the inputs for a batch, (sequences, the longest length), and how much of each row is text."""
        whole = [sequence for alone in batch.apart() for sequence in alone.sequences]
        lengths = np.array([len(sequence) for sequence in whole], dtype=np.int64)
        real = np.arange(lengths.max(initial=1)) < lengths[:, None]
        ids = np.full(real.shape, self.padding_id, dtype=np.int64)
        ids[real] = np.concatenate([sequence.ids for sequence in whole])
        self._require_known(ids)
        columns: dict[str, NDArray[Any]] = {
            "input_ids": ids,
            "attention_mask": real,
            "token_type_ids": _types(whole, real),
            "position_ids": np.broadcast_to(np.arange(real.shape[1]) + self.first_position, real.shape),
        }
        return {name: np.ascontiguousarray(columns[name], dtype=kind) for name, kind in self.kinds.items()}, lengths

    def _require_known(self, ids: NDArray[np.int64]) -> None:
        highest = int(ids.max(initial=0))
        if self.vocabulary is not None and highest >= self.vocabulary:
            raise ValueError(
                f"the tokenizer gave id {highest} to a model of {self.vocabulary} tokens; they do not belong together"
            )


def _types(sequences: Sequence[Tokens], real: NDArray[np.bool_]) -> NDArray[np.int64]:
    types = np.zeros(real.shape, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        if sequence.types is not None:
            types[row, : len(sequence)] = sequence.types
    return types


def feeder_for(inputs: Sequence[Declared], checkpoint: Checkpoint) -> Feeder:
    """Return how a checkpoint's graph is fed, or say what it asks for that is not known."""
    model = checkpoint.name
    unknown = [declared.name for declared in inputs if declared.name not in _KNOWN or declared.kind is None]
    if unknown or "input_ids" not in {declared.name for declared in inputs}:
        raise ModelUnsupported(
            f"the ONNX graph of {model} takes {', '.join(sorted(unknown)) or 'no input_ids'}, which is not known here; "
            f"known are {', '.join(_KNOWN)}. Choose a graph that was exported for classification or embedding"
        )
    fixed = next((declared for declared in inputs if any(isinstance(size, int) for size in declared.shape)), None)
    if fixed is not None:
        raise ModelUnsupported(
            f"the ONNX graph of {model} takes {fixed.name} in the one shape {tuple(fixed.shape)}; choose a graph that "
            "was exported for batches and texts of any size"
        )
    padding, size = (checkpoint.config.get(name) for name in ("pad_token_id", "vocab_size"))
    return Feeder(
        kinds={declared.name: declared.kind for declared in inputs if declared.kind is not None},
        padding_id=0 if padding is None else int(padding),
        first_position=checkpoint.first_position,
        vocabulary=None if size is None else int(size),
    )
