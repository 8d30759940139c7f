"""What is read from a model's hidden states: the logit of a head, the logits of two tokens, or a vector."""

import copy
from threading import get_ident
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import normalize

from resift.checkpoint import Checkpoint
from resift.scoring.backends import Answer, Embed
from resift.scoring.backends.torch.heads import Head
from resift.scoring.backends.torch.packing import Packed


class AnswerReader:
    """Reads the logit of one token after the last position, minus that of another where there is one."""

    def __init__(self, output: nn.Linear, answer: Answer, *, softcap: float | None) -> None:
        rows = [answer.positive] if answer.negative is None else [answer.positive, answer.negative]
        self._weight = output.weight.detach()[rows].float()
        bias = getattr(output, "bias", None)
        self._bias = None if bias is None else bias.detach()[rows].float()
        self._softcap = softcap

    def rows(self, packed: Packed) -> torch.Tensor:
        """Return the last row of each sequence."""
        return packed.lasts

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Return the logit, or the difference of the two: (sequences, 1)."""
        logits = nn.functional.linear(hidden.float(), self._weight, self._bias)
        if self._softcap:
            logits = torch.tanh(logits / self._softcap) * self._softcap
        return logits[:, :1] - logits[:, 1:] if logits.shape[1] == 2 else logits


class HeadReader:
    """
    Reads the logit of a model's own head, by the model's own code.

    The backbone inside the model is replaced by one that hands over hidden states computed before, so that whatever the
    authors do after it is done here as well.
    """

    def __init__(self, model: Any, pooling: Literal["first", "last", "mean"]) -> None:
        backbone, name = model.base_model, model.base_model_prefix
        self._handed = _Handed()
        setattr(model, name, self._handed)
        try:
            self._model = copy.deepcopy(model).float()
        finally:
            setattr(model, name, backbone)
        self._handed = getattr(self._model, name)
        pooler = getattr(backbone, "pooler", None)
        self._pooler = None if pooler is None else copy.deepcopy(pooler).float()
        if self._model.config.pad_token_id is None:
            self._model.config.pad_token_id = -1  # some heads insist on one; here nothing is padded
        self._id = 0 if self._model.config.pad_token_id != 0 else 1
        self._pooling = pooling

    def rows(self, packed: Packed) -> torch.Tensor | None:
        """Return the row of each sequence that the head is trained on, unless it is the mean of all."""
        return {"first": packed.firsts, "last": packed.lasts}.get(self._pooling)

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Return what the head says: (sequences, labels)."""
        states = hidden.float()
        if self._pooling == "mean":
            states = mean_of_each(states, packed)
        states = states[:, None]  # (sequences, 1, width): each a sequence of the one token that is read
        self._handed.give(states, None if self._pooler is None else self._pooler(states))
        ids = torch.full((len(states), 1), self._id, device=states.device)
        try:
            logits: torch.Tensor = self._model(input_ids=ids).logits
        finally:
            self._handed.take_back()
        return logits.float()


class _Handed(nn.Module):
    """A backbone whose output was computed elsewhere, by the thread that asks for it."""

    def __init__(self) -> None:
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

        super().__init__()
        self._form = BaseModelOutputWithPoolingAndCrossAttentions
        self._outputs: dict[int, tuple[torch.Tensor, torch.Tensor | None]] = {}

    def give(self, states: torch.Tensor, pooled: torch.Tensor | None) -> None:
        self._outputs[get_ident()] = (states, pooled)

    def take_back(self) -> None:
        self._outputs.pop(get_ident(), None)

    def forward(self, *_: Any, **__: Any) -> Any:
        states, pooled = self._outputs[get_ident()]
        return self._form(last_hidden_state=states, pooler_output=pooled)


class VectorReader:
    """Reads one vector per sequence, pooled from its hidden states and taken through layers."""

    def __init__(self, embed: Embed, checkpoint: Checkpoint, device: torch.device) -> None:
        self._embed = embed
        self._head = Head(embed.layers, checkpoint, device)

    def rows(self, packed: Packed) -> torch.Tensor | None:
        """Return one row of each sequence, where pooling needs no more."""
        return {"cls": packed.firsts, "lasttoken": packed.lasts}.get("+".join(self._embed.pooling))

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Return the vectors: (sequences, width)."""
        states = hidden.float()
        if self.rows(packed) is None:
            lengths = _lengths(packed)
            states = torch.cat(
                [self._pool(pooling, states, packed, lengths=lengths) for pooling in self._embed.pooling], dim=1
            )
        states = self._head(states)[:, : self._embed.width]
        return normalize(states, dim=-1) if self._embed.normalize else states

    def _pool(self, pooling: str, states: torch.Tensor, packed: Packed, *, lengths: torch.Tensor) -> torch.Tensor:
        if pooling in ("cls", "lasttoken"):
            return states[packed.firsts if pooling == "cls" else packed.lasts]
        if pooling in ("mean", "max"):
            return torch.segment_reduce(states, pooling, lengths=lengths, axis=0)
        if pooling == "mean_sqrt_len_tokens":
            return torch.segment_reduce(states, "sum", lengths=lengths, axis=0) / lengths[:, None] ** 0.5
        weights = torch.cat([torch.arange(1, length + 1, device=states.device) for length in lengths.tolist()])
        totals = lengths * (lengths + 1) / 2
        return torch.segment_reduce(states * weights[:, None], "sum", lengths=lengths, axis=0) / totals[:, None]


def mean_of_each(states: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Return the mean of each sequence's states."""
    return torch.segment_reduce(states, "mean", lengths=_lengths(packed), axis=0)


def _lengths(packed: Packed) -> torch.Tensor:
    return torch.tensor([end - start for start, end in packed.segments.bounds], device=packed.ids.device)
