"""
Qwen2, Qwen3 and Gemma, the language models that rerankers are made of, in a forward pass of our own.

It computes what transformers' does, with the key and value products as one, the two of the feed-forward part as one,
the last layer only for the rows that are read, no product with the vocabulary, and nothing of transformers imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding, gelu, rms_norm, silu

from resift.checkpoint import Checkpoint
from resift.scoring.backends import Answer, Classify, Readout
from resift.scoring.backends.torch.attention import Sight, attend
from resift.scoring.backends.torch.linears import in_steps
from resift.scoring.backends.torch.packing import Packed, Positions, Segments
from resift.scoring.backends.torch.parts import Step, Weights, has_more_layers, product
from resift.scoring.backends.torch.readouts import AnswerReader
from resift.scoring.backends.torch.rotations import Turn, base_of, pair_up, rates_of
from resift.scoring.backends.torch.running import Reader
from resift.scoring.backends.torch.weights import read_weights

_ACTIVATIONS: dict[str, tuple[str, Step]] = {
    "qwen2": ("silu", silu),
    "qwen3": ("silu", silu),
    "gemma": ("gelu_pytorch_tanh", partial(gelu, approximate="tanh")),
}
_NEEDED = {"qwen2": (), "qwen3": ("head_dim",), "gemma": ("head_dim",)}  # what has a default that no file says
_UNKNOWN = ("quantization_config", "use_sliding_window", "use_bidirectional_attention", "partial_rotary_factor")


def open_decoder(
    checkpoint: Checkpoint, readout: Readout, *, device: torch.device, dtype: torch.dtype
) -> tuple["DecoderBody", Reader] | None:
    """Load a model of this kind; None where it is of another, or its files are not as expected."""
    config = checkpoint.config
    known = isinstance(readout, Answer) or (isinstance(readout, Classify) and readout.backbone is None)
    if not known or not _fits(config):
        return None
    read = read_weights(checkpoint, dtype=dtype, device=device)
    weights = {name.removeprefix("model."): weight for name, weight in read.items()}
    del read
    try:
        reader = (
            AnswerReader(_output(config, weights), readout, softcap=None)
            if isinstance(readout, Answer)
            else LastTokenHead(weights.pop("score.weight"))
        )
        body = DecoderBody(config, weights)
    except KeyError:
        return None  # whoever loads it next says what is missing
    return None if has_more_layers(weights) else (body, reader)  # and that one, what is left over


def _fits(config: Mapping[str, Any]) -> bool:
    """Whether a model's configuration asks for nothing but what is done here, and leaves nothing to defaults."""
    kind = str(config.get("model_type"))
    if kind not in _ACTIVATIONS or any(config.get(name) for name in _UNKNOWN):
        return False
    activations = {config.get(name) for name in ("hidden_act", "hidden_activation")} - {None}
    return (
        activations == {_ACTIVATIONS[kind][0]}
        and config.get("is_causal", True) is True
        and set(config.get("layer_types") or ()) <= {"full_attention"}
        and _base(config) is not None
        and all(config.get(name) for name in ("num_key_value_heads", "rms_norm_eps", *_NEEDED[kind]))
    )


def _base(config: Mapping[str, Any]) -> float | None:
    """Return the base of the rotations, where they are the plain ones."""
    return base_of(config.get("rope_parameters") or config.get("rope_scaling") or {}, config.get("rope_theta"))


def _output(config: Mapping[str, Any], weights: Weights) -> nn.Linear:
    """Return what turns states into logits: for many models, the table of their words."""
    tied = config.get("tie_word_embeddings", config["model_type"] == "gemma")
    weight = weights["embed_tokens.weight"] if tied else weights.pop("lm_head.weight")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


class DecoderBody:
    """Packed tokens in, hidden states out."""

    padded = alone = False
    at_once = True
    positions = Positions()

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        """Take the weights of the backbone, by their names inside it, out of the mapping."""
        self._words = weights.pop("embed_tokens.weight")
        self.vocabulary = len(self._words)
        shape = _Shape.read(config)
        # in the number format of the model, rounded as its authors round it
        self._widening = torch.tensor(shape.hidden**0.5).to(self._words) if shape.gemma else None
        base = _base(config)
        assert base is not None
        self._rates = rates_of(base, shape.width, self._words.device)
        self._layers = [_Layer(weights, f"layers.{at}", shape) for at in range(int(config["num_hidden_layers"]))]
        self._norm = shape.norm(weights, "norm")

    def __call__(self, packed: Packed, rows: torch.Tensor | None) -> torch.Tensor:
        """Return the hidden states of `rows`, one per sequence, or of every token."""
        states = in_steps(embedding(packed.ids, self._words))
        if self._widening is not None:
            states = states * self._widening
        turn = Turn.at(in_steps(packed.positions), self._rates, states.dtype)
        for layer in self._layers[:-1]:
            states = layer(states, turn, packed.segments)
        if rows is None:
            return self._norm(self._layers[-1](states, turn, packed.segments))[: len(packed.ids)]
        narrowed = packed.segments.narrowed(packed.owners)
        return self._norm(self._layers[-1](states, turn, narrowed, rows=in_steps(rows)))[: len(rows)]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What all layers of a model have in common."""

    kind: str
    hidden: int
    heads: int
    key_heads: int
    width: int
    epsilon: float
    attention_bias: bool

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "_Shape":
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        return cls(
            kind=config["model_type"],
            hidden=hidden,
            heads=heads,
            key_heads=int(config["num_key_value_heads"]),
            width=int(config.get("head_dim") or hidden // heads),
            epsilon=float(config["rms_norm_eps"]),
            attention_bias=bool(config.get("attention_bias")),
        )

    @property
    def gemma(self) -> bool:
        return self.kind == "gemma"

    def norm(self, weights: Weights, name: str) -> Step:
        """Return the normalisation of that name; Gemma's weights count from 1, in full precision."""
        weight = weights.pop(f"{name}.weight")
        if not self.gemma:
            return lambda states: rms_norm(states, weight.shape, weight, self.epsilon)
        exact = 1.0 + weight.float()
        return lambda states: rms_norm(states.float(), exact.shape, exact, self.epsilon).to(states.dtype)


class _Layer:
    """One layer: what each asking row gathers from itself and the rows before it, then the gated products."""

    def __init__(self, weights: Weights, name: str, shape: _Shape) -> None:
        attention, biased = f"{name}.self_attn", shape.kind == "qwen2" or shape.attention_bias
        self._shape = shape
        self._sight = Sight(scaling=shape.width**-0.5, causal=True)
        self._norm = shape.norm(weights, f"{name}.input_layernorm")
        for turned in ("q_proj", "k_proj", "q_norm", "k_norm"):
            pair_up(weights, f"{attention}.{turned}", shape.width)
        self._ask = product(weights, f"{attention}.q_proj", biased=biased)
        self._offer = product(weights, f"{attention}.k_proj", f"{attention}.v_proj", biased=biased)
        self._take_in = product(weights, f"{attention}.o_proj", biased=shape.attention_bias and shape.kind != "qwen2")
        norms = [f"{attention}.{part}_norm" for part in "qk"] if shape.kind == "qwen3" else []
        self._head_norms = [shape.norm(weights, norm) for norm in norms]
        self._wide_norm = shape.norm(weights, f"{name}.post_attention_layernorm")
        self._widen = product(weights, f"{name}.mlp.gate_proj", f"{name}.mlp.up_proj", biased=False)
        self._narrow = product(weights, f"{name}.mlp.down_proj", biased=False)
        self._activate = _ACTIVATIONS[shape.kind][1]

    def __call__(
        self, states: torch.Tensor, turn: Turn, segments: Segments, *, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        normed = self._norm(states)
        key, value = self._offer(normed).unflatten(1, (2, self._shape.key_heads, -1)).unbind(1)
        key = turn(self._head_norms[1](key) if self._head_norms else key)
        if rows is not None:
            states, normed, turn = states[rows], normed[rows], turn.of(rows)
        query = self._ask(normed).unflatten(1, (self._shape.heads, -1))
        query = turn(self._head_norms[0](query) if self._head_norms else query)
        states = states + self._take_in(attend(query, key, value, segments, self._sight).flatten(1))
        gate, wide = self._widen(self._wide_norm(states)).chunk(2, dim=-1)
        narrowed: torch.Tensor = self._narrow(self._activate(gate).mul_(wide))
        return states + narrowed


class LastTokenHead:
    """Reads the logit of a head that is one product with the last token's state, in full precision."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight.float()

    def rows(self, packed: Packed) -> torch.Tensor:
        """Return the last row of each sequence."""
        return packed.lasts

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Return the logits: (sequences, labels)."""
        return nn.functional.linear(hidden.float(), self._weight)
