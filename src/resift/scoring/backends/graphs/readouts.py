"""What is read from a graph's outputs: a logit, or a vector pooled from hidden states."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import ModelUnsupported
from resift.scoring.backends import Classify, Embed, Outputs, Pooling, Readout
from resift.scoring.backends.graphs.contract import Declared, Lengths

Hidden = NDArray[np.float32]  # (sequences, tokens, width)

# the names that exporters give to the output that matters
_LOGITS = ["logits", "scores", "score", "output"]
_HIDDEN = ["last_hidden_state", "token_embeddings"]


class Reading:
    """One output of a graph, and one row of numbers per sequence made of it."""

    def __init__(self, output: str, readout: Classify | Embed) -> None:
        self.output = output
        self._readout = readout

    def rows(self, found: NDArray[Any], lengths: Lengths) -> Outputs:
        """Return (sequences, width)."""
        numbers = np.asarray(found, dtype=np.float32)
        if isinstance(self._readout, Classify):
            if numbers.size != len(lengths):
                raise ModelUnsupported(f"the graph gives {numbers.shape} for {len(lengths)} texts, not one logit each")
            return numbers.reshape(len(lengths), 1)
        pooled = [_POOLS[pooling](numbers, lengths) for pooling in self._readout.pooling]
        vectors = np.concatenate(pooled, axis=1)[:, : self._readout.width]
        if not self._readout.normalize:
            return vectors
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def reading_of(outputs: Sequence[Declared], readout: Readout, model: str) -> Reading:
    """Choose the output to read, by its name and shape, or say what there is instead."""
    if isinstance(readout, Classify):
        fitting = [declared for declared in outputs if _is_logit(declared)]
        wanted = "one logit per text, of the shape (texts, 1)"
        names = _LOGITS
    elif isinstance(readout, Embed) and not readout.layers:
        fitting = [declared for declared in outputs if len(declared.shape) == 3]
        wanted = "hidden states, of the shape (texts, tokens, width)"
        names = _HIDDEN
    else:
        raise ModelUnsupported(
            f"{model} is read in a way that no graph is read here: graphs are cross-encoders, or embedding models that "
            "end with pooling; load the original model with backend='torch'"
        )
    named = [declared for declared in fitting if declared.name in names]
    if len(named or fitting) != 1:
        there = ", ".join(f"{declared.name} {declared.shape}" for declared in outputs)
        raise ModelUnsupported(f"the ONNX graph of {model} must give {wanted}; it gives {there}. Choose another model")
    return Reading((named or fitting)[0].name, readout)


def _is_logit(declared: Declared) -> bool:
    shape = declared.shape
    return len(shape) == 1 or (len(shape) == 2 and (shape[1] == 1 or not isinstance(shape[1], int)))


def _cls(hidden: Hidden, lengths: Lengths) -> Outputs:
    return hidden[:, 0]


def _last(hidden: Hidden, lengths: Lengths) -> Outputs:
    return hidden[np.arange(len(lengths)), lengths - 1]


def _real(hidden: Hidden, lengths: Lengths) -> NDArray[np.bool_]:
    real: NDArray[np.bool_] = (np.arange(hidden.shape[1]) < lengths[:, None])[:, :, None]
    return real


def _sum(hidden: Hidden, lengths: Lengths) -> Outputs:
    return np.asarray(np.where(_real(hidden, lengths), hidden, 0).sum(axis=1), dtype=np.float32)


def _max(hidden: Hidden, lengths: Lengths) -> Outputs:
    return np.asarray(np.where(_real(hidden, lengths), hidden, -np.inf).max(axis=1), dtype=np.float32)


def _weighted(hidden: Hidden, lengths: Lengths) -> Outputs:
    weights = np.arange(1, hidden.shape[1] + 1, dtype=np.float32)[None, :, None]
    return _over(_sum(hidden * weights, lengths), lengths * (lengths + 1) / 2)


def _over(sums: Outputs, divisors: NDArray[Any]) -> Outputs:
    return np.asarray(sums / divisors[:, None], dtype=np.float32)


_POOLS: dict[Pooling, Callable[[Hidden, Lengths], Outputs]] = {
    "cls": _cls,
    "lasttoken": _last,
    "max": _max,
    "mean": lambda hidden, lengths: _over(_sum(hidden, lengths), lengths),
    "mean_sqrt_len_tokens": lambda hidden, lengths: _over(_sum(hidden, lengths), np.sqrt(lengths)),
    "weightedmean": _weighted,
}
