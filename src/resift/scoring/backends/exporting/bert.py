"""BERT and XLM-R as a graph: on padded batches, in the last layer only the first token, where that alone is read."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import embedding, gelu, linear

from resift.checkpoint import Checkpoint
from resift.scoring.backends import Classify, Embed, Readout
from resift.scoring.backends.torch.bert import HEADS, is_bert, name_of
from resift.scoring.backends.torch.flash_names import by_plain_names
from resift.scoring.backends.torch.weights import read_weights

Weights = Mapping[str, torch.Tensor]


def bert_graph(checkpoint: Checkpoint, readout: Readout, dtype: torch.dtype) -> "BertGraph | None":
    """Return a model of this kind; None where it is of another, or its files are not as expected."""
    if not isinstance(readout, Classify | Embed) or readout.backbone or not is_bert(checkpoint.config):
        return None
    weights = by_plain_names(read_weights(checkpoint, dtype=torch.float32, device=torch.device("cpu")))
    try:
        return BertGraph(checkpoint, weights, readout).to(dtype).eval().requires_grad_(False)
    except KeyError:
        return None  # whoever loads it next says what is missing


class BertGraph(nn.Module):
    """The whole model: ids in; a logit out, or hidden states."""

    def __init__(self, checkpoint: Checkpoint, weights: Weights, readout: Classify | Embed) -> None:
        super().__init__()
        config = checkpoint.config
        name = name_of(config)
        backbone = {key.removeprefix(f"{name}."): weight for key, weight in weights.items()}
        self.cut = isinstance(readout, Classify) or readout.pooling == ("cls",)
        self.words, self.places, self.kinds = (
            nn.Parameter(backbone[f"embeddings.{kind}_embeddings.weight"])
            for kind in ("word", "position", "token_type")
        )
        self.padding = checkpoint.first_position - 1  # RoBERTas count from behind the padding id, and skip it
        epsilon = float(config.get("layer_norm_eps", 1e-12))
        self.norm = _norm(backbone, "embeddings.LayerNorm", epsilon)
        heads, count = int(config["num_attention_heads"]), int(config["num_hidden_layers"])
        self.layers = nn.ModuleList(
            _Layer(
                {
                    key.removeprefix(f"encoder.layer.{at}."): weight
                    for key, weight in backbone.items()
                    if key.startswith(f"encoder.layer.{at}.")
                },
                heads=heads,
                epsilon=epsilon,
                first_only=self.cut and at == count - 1,
            )
            for at in range(count)
        )
        self.head = _Head(weights, *HEADS[name]) if isinstance(readout, Classify) else None

    @property
    def inputs(self) -> list[str]:
        """What it takes, in this order."""
        return ["input_ids", "attention_mask", "token_type_ids"][: 2 + (len(self.kinds) > 1)]

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
        """Return (texts, labels), or hidden states: (texts, tokens, width), of one token where no other is read."""
        states = embedding(ids, self.words) + (self.kinds[0] if types is None else embedding(types, self.kinds))
        states = self.norm(states + self._positions(ids))
        hidden = (1 - mask.to(states.dtype))[:, None, None, :] * torch.finfo(states.dtype).min
        for layer in self.layers:
            states = layer(states, hidden)
        found: torch.Tensor = states if self.head is None else self.head(states[:, 0])
        return found

    def _positions(self, ids: torch.Tensor) -> torch.Tensor:
        if self.padding < 0:
            return self.places[: ids.shape[1]]
        counted = (ids != self.padding).long()
        return embedding(torch.cumsum(counted, 1) * counted + self.padding, self.places)


class _Layer(nn.Module):
    """One layer: what each asking token gathers from the others, then the two products."""

    def __init__(self, weights: Weights, *, heads: int, epsilon: float, first_only: bool) -> None:
        super().__init__()
        self.heads, self.first_only = heads, first_only
        self.ask, self.offer, self.give = (
            _linear(weights, f"attention.self.{name}") for name in ("query", "key", "value")
        )
        # the scale of attention is in its question's weights already
        scale = (self.ask.out_features // heads) ** -0.5
        self.ask.weight.data *= scale
        self.ask.bias.data *= scale
        self.take_in = _linear(weights, "attention.output.dense")
        self.attention_norm = _norm(weights, "attention.output.LayerNorm", epsilon)
        self.widen, self.narrow = _linear(weights, "intermediate.dense"), _linear(weights, "output.dense")
        self.norm = _norm(weights, "output.LayerNorm", epsilon)

    def forward(self, states: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        asking = states[:, :1] if self.first_only else states
        query = self.ask(asking).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key = self.offer(states).unflatten(2, (self.heads, -1)).permute(0, 2, 3, 1)
        value = self.give(states).unflatten(2, (self.heads, -1)).transpose(1, 2)
        gathered = (torch.softmax(query @ key + hidden, -1) @ value).transpose(1, 2).flatten(2)
        asking = self.attention_norm(asking + self.take_in(gathered))
        found: torch.Tensor = self.norm(asking + self.narrow(gelu(self.widen(asking))))
        return found


class _Head(nn.Module):
    """BERT's head, which is RoBERTa's as well: dense, tanh, one number; in full precision."""

    def __init__(self, weights: Weights, dense: str, out: str) -> None:
        super().__init__()
        self.dense, self.out = _linear(weights, dense), _linear(weights, out)

    def forward(self, first: torch.Tensor) -> torch.Tensor:
        pooled = torch.tanh(linear(first.float(), self.dense.weight.float(), self.dense.bias.float()))
        return linear(pooled, self.out.weight.float(), self.out.bias.float())


def _linear(weights: Weights, name: str) -> nn.Linear:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    made = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    made.weight, made.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return made


def _norm(weights: Weights, name: str, epsilon: float) -> nn.LayerNorm:
    weight = weights[f"{name}.weight"]
    made = nn.LayerNorm(len(weight), epsilon)
    made.weight.data, made.bias.data = weight, weights[f"{name}.bias"]
    return made
