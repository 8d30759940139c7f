"""
ModernBERT, which gte-reranker-modernbert, granite and ettin are made of, in a forward pass of our own.

It computes what transformers' does, with GELU on the way out of its product, rotations without copies, the last layer
only for the rows that are read, and nothing of transformers imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding

from resift.checkpoint import Checkpoint
from resift.scoring.backends import Answer, Classify, EmbedEach, Readout
from resift.scoring.backends.torch.attention import Sight, attend
from resift.scoring.backends.torch.linears import in_steps
from resift.scoring.backends.torch.packing import Packed, Positions, Segments
from resift.scoring.backends.torch.parts import Step, Weights, has_more_layers, layer_norm, product
from resift.scoring.backends.torch.readouts import VectorReader, mean_of_each
from resift.scoring.backends.torch.rotations import Turn, base_of, pair_up, rates_of
from resift.scoring.backends.torch.running import Reader
from resift.scoring.backends.torch.weights import read_weights

_FULL, _LOCAL = "full_attention", "sliding_attention"
_BASES = {_FULL: ("global_rope_theta", 160_000.0), _LOCAL: ("local_rope_theta", 10_000.0)}  # where a file says none
_JOINED = {"Wqkv": ("query", "key", "value"), "Wi": ("wide", "gate")}  # products that files hold as one
_NEEDED = ("num_hidden_layers", "num_attention_heads", "hidden_size")
_UNKNOWN = ("quantization_config", "rope_scaling", "sliding_window")


def open_modernbert(
    checkpoint: Checkpoint, readout: Readout, *, device: torch.device, dtype: torch.dtype
) -> tuple["ModernBertBody", Reader] | None:
    """Load a model of this kind; None where it is of another, or its files are not as expected."""
    # tokens that nobody sees, which late interaction has, are not where a window would look for them
    if isinstance(readout, Answer | EmbedEach) or readout.backbone is not None or not _fits(checkpoint.config):
        return None
    weights = _apart(read_weights(checkpoint, dtype=dtype, device=device))
    try:
        reader = (
            ModernBertHead(checkpoint.config, weights)
            if isinstance(readout, Classify)
            else VectorReader(readout, checkpoint, device)
        )
        body = ModernBertBody(checkpoint.config, weights)
    except KeyError:
        return None  # whoever loads it next says what is missing
    return None if has_more_layers(weights) else (body, reader)  # and that one, what is left over


def _fits(config: Mapping[str, Any]) -> bool:
    """Whether a model's configuration asks for nothing but what is done here."""
    return (
        config.get("model_type") == "modernbert"
        and all(config.get(name) for name in _NEEDED)
        and not any(config.get(name) for name in _UNKNOWN)
        and all(config.get(name, "gelu") == "gelu" for name in ("hidden_activation", "classifier_activation"))
        and config.get("classifier_pooling", "cls") in ("cls", "mean")
        and len(_kinds(config)) == config["num_hidden_layers"]
        and set(_kinds(config)) <= _BASES.keys()
        and all(_base(config, kind) for kind in _BASES)
    )


def _kinds(config: Mapping[str, Any]) -> list[str]:
    """Return what each layer looks at."""
    every, layers = int(config.get("global_attn_every_n_layers") or 3), range(int(config["num_hidden_layers"]))
    return config.get("layer_types") or [_LOCAL if at % every else _FULL for at in layers]


def _base(config: Mapping[str, Any], kind: str) -> float | None:
    """Return the base of the rotations of such layers, where they are the plain ones."""
    asked: Mapping[str, Any] = config.get("rope_parameters") or {}
    own: Mapping[str, Any] = asked.get(kind) or {}
    if asked.keys() - _BASES.keys() or own.keys() - {"rope_type", "type", "rope_theta"}:
        return None
    name, usual = _BASES[kind]
    return base_of(own, config.get(name, usual))


def _apart(read: Weights) -> Weights:
    """Return weights by their names inside the backbone, each product with its own."""
    weights: Weights = {}
    for name, weight in read.items():
        inner, _, kind = name.removeprefix("model.").rpartition(".")
        stem, _, last = inner.rpartition(".")
        parts = _JOINED.get(last, ())
        if not parts or weight.dim() == 0 or len(weight) % len(parts):
            weights[name.removeprefix("model.")] = weight
            continue
        for part, piece in zip(parts, weight.chunk(len(parts)), strict=True):
            weights[f"{stem}.{part}.{kind}"] = piece
    return weights


class ModernBertBody:
    """Packed tokens in, hidden states out."""

    padded = alone = False
    at_once = True
    positions = Positions()

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        """Take the weights of the backbone, by their names inside it, out of the mapping."""
        self._words = weights.pop("embeddings.tok_embeddings.weight")
        self.vocabulary = len(self._words)
        shape = _Shape.read(config)
        self._norm = shape.norm(weights, "embeddings.norm")
        bases = {kind: _base(config, kind) for kind in _BASES}
        self._rates = {kind: rates_of(base, shape.width, self._words.device) for kind, base in bases.items() if base}
        self._kinds = _kinds(config)
        self._layers = [_Layer(weights, at, shape, reach=shape.reach(kind)) for at, kind in enumerate(self._kinds)]
        self._last_norm = shape.norm(weights, "final_norm")

    def __call__(self, packed: Packed, rows: torch.Tensor | None) -> torch.Tensor:
        """Return the hidden states of `rows`, one per sequence, or of every token."""
        states = in_steps(self._norm(embedding(packed.ids, self._words)))
        positions = in_steps(packed.positions)
        turns = {kind: Turn.at(positions, rates, states.dtype) for kind, rates in self._rates.items()}
        for layer, kind in zip(self._layers[:-1], self._kinds, strict=False):
            states = layer(states, turns[kind], packed.segments)
        last, turn = self._layers[-1], turns[self._kinds[-1]]
        if rows is None or last.local:  # a row of its own would not know where in its sequence it is
            states = last(states, turn, packed.segments)
            return self._last_norm(states[: len(packed.ids)] if rows is None else states[rows])
        states = last(states, turn, packed.segments.narrowed(packed.owners), rows=in_steps(rows))
        return self._last_norm(states[: len(rows)])


@dataclass(frozen=True, slots=True)
class _Shape:
    """What all layers of a model have in common."""

    heads: int
    width: int
    epsilon: float
    near: int
    norm_bias: bool
    attention_bias: bool
    mlp_bias: bool

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "_Shape":
        heads = int(config["num_attention_heads"])
        return cls(
            heads=heads,
            width=int(config["hidden_size"]) // heads,
            epsilon=float(config.get("norm_eps", 1e-5)),
            near=int(config.get("local_attention", 128)) // 2,
            **{name: bool(config.get(name)) for name in ("norm_bias", "attention_bias", "mlp_bias")},
        )

    def norm(self, weights: Weights, name: str) -> Step:
        return layer_norm(weights, name, self.epsilon, biased=self.norm_bias)

    def reach(self, kind: str) -> int | None:
        """Return how far the tokens of such a layer look."""
        return self.near if kind == _LOCAL else None


class _Layer:
    """One layer: what each asking row gathers from the states that it may look at, then the gated products."""

    def __init__(self, weights: Weights, at: int, shape: _Shape, *, reach: int | None) -> None:
        name = f"layers.{at}"
        self.local = reach is not None
        self._heads = shape.heads
        self._sight = Sight(scaling=shape.width**-0.5, causal=False, reach=reach)
        self._norm = shape.norm(weights, f"{name}.attn_norm") if at else None  # the first layer's is the embeddings'
        for turned in ("query", "key"):
            pair_up(weights, f"{name}.attn.{turned}", shape.width)
        self._ask = product(weights, f"{name}.attn.query", biased=shape.attention_bias)
        self._offer = product(weights, f"{name}.attn.key", f"{name}.attn.value", biased=shape.attention_bias)
        self._take_in = product(weights, f"{name}.attn.Wo", biased=shape.attention_bias)
        self._wide_norm = shape.norm(weights, f"{name}.mlp_norm")
        self._widen = product(weights, f"{name}.mlp.wide", biased=shape.mlp_bias, gelu=True)
        self._gate = product(weights, f"{name}.mlp.gate", biased=shape.mlp_bias)
        self._narrow = product(weights, f"{name}.mlp.Wo", biased=shape.mlp_bias)

    def __call__(
        self, states: torch.Tensor, turn: Turn, segments: Segments, *, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        normed = self._norm(states) if self._norm else states
        key, value = self._offer(normed).unflatten(1, (2, self._heads, -1)).unbind(1)
        key = turn(key)
        if rows is not None:
            states, normed, turn = states[rows], normed[rows], turn.of(rows)
        query = turn(self._ask(normed).unflatten(1, (self._heads, -1)))
        states = states + self._take_in(attend(query, key, value, segments, self._sight).flatten(1))
        normed = self._wide_norm(states)
        narrowed: torch.Tensor = self._narrow(self._widen(normed).mul_(self._gate(normed)))
        return states + narrowed


class ModernBertHead:
    """Reads the logit of ModernBERT's head: dense, GELU, norm, one number; in full precision."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        whole = {name: weight.float() for name, weight in weights.items() if name.startswith(("head.", "classifier."))}
        self._all = config.get("classifier_pooling", "cls") == "mean"
        self._dense = whole["head.dense.weight"], whole["head.dense.bias"] if config.get("classifier_bias") else None
        self._norm = _Shape.read(config).norm(whole, "head.norm")
        self._out = whole["classifier.weight"], whole["classifier.bias"]

    def rows(self, packed: Packed) -> torch.Tensor | None:
        """Return the row of each sequence's first token, unless the mean of all is read."""
        return None if self._all else packed.firsts

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Return the logits: (sequences, labels)."""
        states = mean_of_each(hidden.float(), packed) if self._all else hidden.float()
        states = self._norm(nn.functional.gelu(nn.functional.linear(states, *self._dense)))
        return nn.functional.linear(states, *self._out)
