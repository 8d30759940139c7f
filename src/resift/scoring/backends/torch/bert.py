"""
BERT and XLM-R, the most used encoders, in a forward pass of our own.

It computes what transformers' does, with the query, key and value products as one, GELU on the way out of its product,
the last layer only for the rows that are read, and nothing of transformers imported.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding

from resift.checkpoint import Checkpoint
from resift.scoring.backends import Answer, Embed, EmbedEach, Readout
from resift.scoring.backends.torch.attention import Sight, attend
from resift.scoring.backends.torch.flash_names import by_plain_names
from resift.scoring.backends.torch.linears import in_steps
from resift.scoring.backends.torch.packing import Packed, Positions, Segments
from resift.scoring.backends.torch.parts import Weights, has_more_layers, layer_norm, product
from resift.scoring.backends.torch.places import PlaceReader
from resift.scoring.backends.torch.readouts import VectorReader
from resift.scoring.backends.torch.running import Reader
from resift.scoring.backends.torch.weights import read_weights

# the two layers of the head, by the name of the backbone
HEADS = {"bert": ("bert.pooler.dense", "classifier"), "roberta": ("classifier.dense", "classifier.out_proj")}

_ROBERTAS = frozenset({"roberta", "xlm-roberta", "camembert"})


def open_bert(
    checkpoint: Checkpoint, readout: Readout, *, device: torch.device, dtype: torch.dtype
) -> tuple["BertBody", Reader] | None:
    """Load a model of this kind; None where it is of another, or its files are not as expected."""
    if isinstance(readout, Answer) or not is_bert(checkpoint.config):
        return None
    weights = by_plain_names(read_weights(checkpoint, dtype=dtype, device=device))
    name = name_of(checkpoint.config)
    backbone = {key.removeprefix(f"{name}."): weight for key, weight in weights.items()}
    try:
        reader: Reader
        if isinstance(readout, EmbedEach):
            reader = PlaceReader(readout, checkpoint, device)
        elif isinstance(readout, Embed):
            reader = VectorReader(readout, checkpoint, device)
        else:
            reader = BertHead(weights, *HEADS[name])
        del weights  # the body's are let go one by one
        body = BertBody(checkpoint.config, backbone)
    except KeyError:
        return None  # whoever loads it next says what is missing
    return None if has_more_layers(backbone) else (body, reader)  # and that one, what is left over


def name_of(config: Mapping[str, Any]) -> str:
    """Return what a model's backbone is called inside its weights."""
    return "roberta" if config["model_type"] in _ROBERTAS else "bert"


def is_bert(config: Mapping[str, Any]) -> bool:
    """Whether a model's configuration asks for nothing but what is done here."""
    return (
        config.get("model_type") in _ROBERTAS | {"bert"}
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and not config.get("quantization_config")
    )


class BertBody:
    """Packed tokens in, hidden states out."""

    padded = alone = False
    at_once = True

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        """Take the weights of the backbone, by their names inside it, out of the mapping."""
        counts_from_padding = config["model_type"] in _ROBERTAS
        padding = config.get("pad_token_id")
        self.positions = Positions((1 if padding is None else int(padding)) if counts_from_padding else None)
        self._words, self._places, self._kinds = (
            weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        )
        self.vocabulary = len(self._words)
        epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._norm = layer_norm(weights, "embeddings.LayerNorm", epsilon)
        self._layers = [
            _Layer(weights, f"encoder.layer.{at}", heads=int(config["num_attention_heads"]), epsilon=epsilon)
            for at in range(int(config["num_hidden_layers"]))
        ]

    def __call__(self, packed: Packed, rows: torch.Tensor | None) -> torch.Tensor:
        """Return the hidden states of `rows`, one per sequence, or of every token."""
        states = embedding(packed.ids, self._words) + embedding(packed.types, self._kinds)
        states = in_steps(self._norm(states + embedding(packed.positions, self._places)))
        for layer in self._layers[:-1]:
            states = layer(states, states, packed.segments)
        if rows is None:
            return self._layers[-1](states, states, packed.segments)[: len(packed.ids)]
        asking = states[in_steps(rows)]
        return self._layers[-1](asking, states, packed.segments.narrowed(packed.owners))[: len(rows)]


class _Layer:
    """One layer: what each asking row gathers from the states that it may look at, then the two products."""

    def __init__(self, weights: Weights, name: str, *, heads: int, epsilon: float) -> None:
        self._heads = heads
        self._ask = product(weights, f"{name}.attention.self.query")
        self._offer = product(weights, f"{name}.attention.self.key", f"{name}.attention.self.value")
        self._take_in = product(weights, f"{name}.attention.output.dense")
        self._attention_norm = layer_norm(weights, f"{name}.attention.output.LayerNorm", epsilon)
        self._widen = product(weights, f"{name}.intermediate.dense", gelu=True)
        self._narrow = product(weights, f"{name}.output.dense")
        self._norm = layer_norm(weights, f"{name}.output.LayerNorm", epsilon)

    def __call__(self, asking: torch.Tensor, states: torch.Tensor, segments: Segments) -> torch.Tensor:
        query = self._ask(asking).unflatten(1, (self._heads, -1))
        key, value = self._offer(states).unflatten(1, (2, self._heads, -1)).unbind(1)
        sight = Sight(scaling=query.shape[-1] ** -0.5, causal=False)
        gathered = attend(query, key, value, segments, sight).flatten(1)
        asking = self._attention_norm(asking + self._take_in(gathered))
        return self._norm(asking + self._narrow(self._widen(asking)))


class BertHead:
    """Reads the logit of BERT's head, which is RoBERTa's as well: dense, tanh, one number; in full precision."""

    def __init__(self, weights: Mapping[str, torch.Tensor], dense: str, out: str) -> None:
        self._dense, self._out = (
            (weights[f"{name}.weight"].float(), weights[f"{name}.bias"].float()) for name in (dense, out)
        )

    def rows(self, packed: Packed) -> torch.Tensor:
        """Return the row of each sequence's first token."""
        return packed.firsts

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Return the logits: (sequences, labels)."""
        pooled = torch.tanh(nn.functional.linear(hidden.float(), *self._dense))
        return nn.functional.linear(pooled, *self._out)
