"""The plain way: sequences padded to the longest, models run as their authors wrote them."""

from collections.abc import Iterator
from typing import Any, cast

import torch

from resift.scoring.backends.torch.packing import Bounds, Packed, Positions


class PaddedBody:
    """A backbone that packed attention does not fit."""

    padded = True
    alone = at_once = False

    def __init__(self, backbone: Any, positions: Positions) -> None:
        self.positions = positions
        self.vocabulary = vocabulary_of(backbone)
        self._backbone = backbone

    def __call__(self, packed: Packed, rows: torch.Tensor | None) -> torch.Tensor:
        """Return the hidden states of `rows`, or of every token, in the packed order."""
        inputs, spans = _pad(packed, self._backbone)
        states = self._backbone(**inputs).last_hidden_state
        hidden = states.new_zeros(len(packed.ids), states.shape[-1])
        for at, (segment, skipped) in enumerate(spans):
            start, end = _own(packed, at, segment)
            hidden[start:end] = states[at, skipped : skipped + end - start]
        return cast("torch.Tensor", hidden if rows is None else hidden[rows])


class PaddedClassifier:
    """A whole classifier, head included, whose reading of its hidden states is nobody's business but its own."""

    padded = True
    alone = at_once = False
    positions = Positions()

    def __init__(self, model: Any) -> None:
        self.vocabulary = vocabulary_of(model)
        self._model = model

    def __call__(self, packed: Packed, rows: torch.Tensor | None) -> torch.Tensor:
        """Return (sequences, labels)."""
        inputs, _ = _pad(packed, self._model)
        logits: torch.Tensor = self._model(**inputs).logits
        return logits.float()


class LogitsReader:
    """Reads what a whole classifier says."""

    def rows(self, packed: Packed) -> None:
        """Leave the rows to the classifier."""

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Return the logits."""
        return hidden


def _pad(packed: Packed, model: Any) -> tuple[dict[str, torch.Tensor], list[tuple[int, int]]]:
    """Return a model's inputs, and for each row its segment with the length of the prefix in front of it."""
    spans = [(segment, _prefix_length(packed, segment)) for segment in packed.owners]
    columns = {"input_ids": packed.ids, "token_type_ids": packed.types, "attention_mask": _seen(packed)}
    padding = {"input_ids": getattr(model.config, "pad_token_id", None) or 0}
    inputs = {
        name: torch.nn.utils.rnn.pad_sequence(
            [torch.cat(list(_pieces(column, packed, at))) for at in range(len(spans))],
            batch_first=True,
            padding_value=padding.get(name, 0),
        )
        for name, column in columns.items()
        if name != "token_type_ids" or takes_types(model)
    }
    return inputs, spans


def vocabulary_of(model: Any) -> int:
    """Return how many tokens a model knows."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (NotImplementedError, AttributeError):  # foreign code need not say where its embeddings are
        return int(model.config.vocab_size)


def takes_types(model: Any) -> bool:
    """Whether a model tells the first text from the second by token types."""
    return bool(getattr(model.config, "type_vocab_size", 0))


def _prefix_length(packed: Packed, segment: int) -> int:
    return sum(end - start for start, end in packed.segments.keys[segment][:-1])


def _own(packed: Packed, at: int, segment: int) -> Bounds:
    """Return where a sequence's own tokens lie, those that nobody looks at behind the others."""
    start, end = packed.segments.bounds[segment]
    return start, end + packed.sequences[at].unseen


def _seen(packed: Packed) -> torch.Tensor:
    seen = torch.ones_like(packed.ids)
    for segment, sequence in zip(packed.owners, packed.sequences, strict=True):
        end = packed.segments.bounds[segment][1]
        seen[end : end + sequence.unseen] = 0
    return seen


def _pieces(column: torch.Tensor, packed: Packed, at: int) -> Iterator[torch.Tensor]:
    segment = packed.owners[at]
    for start, end in (*packed.segments.keys[segment][:-1], _own(packed, at, segment)):
        yield column[start:end]
