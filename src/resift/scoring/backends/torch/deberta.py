"""
DeBERTa-v2 and v3 in a forward pass of our own.

A token there weighs another by what both are and by how far apart they are, the latter in two ways: what the asking one
makes of the distance, and what the distance makes of the asked one. A distance means the same wherever it occurs, so
both are one product with a table that has a row for each distance, and the weights of a sequence are a slanted view of
it. transformers' own picks them one by one, and computes the table anew in each layer of each pass.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding, gelu, scaled_dot_product_attention

from resift.checkpoint import Checkpoint
from resift.scoring.backends import Classify, Embed, Readout
from resift.scoring.backends.torch.linears import in_steps
from resift.scoring.backends.torch.packing import Packed, Positions, Segments
from resift.scoring.backends.torch.parts import Step, Weights, has_more_layers, layer_norm, product
from resift.scoring.backends.torch.readouts import VectorReader
from resift.scoring.backends.torch.running import Reader
from resift.scoring.backends.torch.weights import read_weights

_POOLER_ACTIVATIONS: dict[str, Step] = {"gelu": gelu, "tanh": torch.tanh}
_LEAST_FILLED = 0.7  # of the longest sequence of a group, how long the others must be at least
_MOST_WEIGHTS = 2**22  # what each head of a group may write down for one way of looking


def open_deberta(
    checkpoint: Checkpoint, readout: Readout, *, device: torch.device, dtype: torch.dtype
) -> tuple["DebertaBody", Reader] | None:
    """Load a model of this kind; None where it is of another, or its files are not as expected."""
    known = isinstance(readout, Classify) or (isinstance(readout, Embed) and readout.backbone is None)
    if not known or not _fits(checkpoint.config):
        return None
    weights = read_weights(checkpoint, dtype=dtype, device=device)
    backbone = {key.removeprefix("deberta."): weight for key, weight in weights.items()}
    try:
        reader = (
            VectorReader(readout, checkpoint, device)
            if isinstance(readout, Embed)
            else ContextHead(checkpoint.config, weights)
        )
        del weights  # the body's are let go one by one
        body = DebertaBody(checkpoint.config, backbone)
    except KeyError:
        return None  # whoever loads it next says what is missing
    left = (name for name in backbone if ".pos_" not in name)  # projections of positions are read, and not taken out
    return None if has_more_layers(left) else (body, reader)  # and that one, what is left over


def _fits(config: Mapping[str, Any]) -> bool:
    """Whether a model's configuration asks for nothing but what is done here."""
    return (
        config.get("model_type") == "deberta-v2"
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("pooler_hidden_act", "gelu") in _POOLER_ACTIVATIONS
        and bool(config.get("relative_attention"))
        and not config.get("conv_kernel_size")
        and not config.get("quantization_config")
    )


class DebertaBody:
    """Packed tokens in, hidden states out."""

    padded = alone = False
    at_once = True
    positions = Positions()

    def __init__(self, config: Mapping[str, Any], weights: Weights, *, together: bool | None = None) -> None:
        """
        Take the weights of the backbone, by their names inside it, out of the mapping.

        `together` says whether sequences of like lengths share products, which saves a GPU time and costs a CPU some.
        """
        self._words = weights["embeddings.word_embeddings.weight"]
        self._added = [
            (column, weights[f"embeddings.{name}_embeddings.weight"])
            for column, name, there in (
                ("positions", "position", config.get("position_biased_input", True)),
                ("types", "token_type", config.get("type_vocab_size", 0)),
            )
            if there
        ]
        self._project = weights.get("embeddings.embed_proj.weight")
        self.vocabulary = len(self._words)
        self._together = self._words.is_cuda if together is None else together
        self._distances = _Distances(config)
        epsilon = float(config.get("layer_norm_eps", 1e-7))
        self._norm = layer_norm(weights, "embeddings.LayerNorm", epsilon)
        related = weights["encoder.rel_embeddings.weight"][: self._distances.rows]
        if "layer_norm" in (part.strip() for part in config.get("norm_rel_ebd", "none").lower().split("|")):
            related = layer_norm(weights, "encoder.LayerNorm", epsilon)(related)
        self._layers = [
            _Layer(config, weights, f"encoder.layer.{at}", related=related)
            for at in range(int(config["num_hidden_layers"]))
        ]

    def __call__(self, packed: Packed, rows: torch.Tensor | None) -> torch.Tensor:
        """Return the hidden states of `rows`, or of every token."""
        states = embedding(packed.ids, self._words)
        for column, table in self._added:
            states = states + embedding(getattr(packed, column), table)
        if self._project is not None:
            states = nn.functional.linear(states, self._project)
        states = in_steps(self._norm(states))
        layout = _Layout(
            _grouped(packed.segments, together=self._together),
            self._distances.within(packed.segments.longest, states.device),
        )
        for layer in self._layers[:-1]:
            states = layer(states, layout)
        if rows is None or len(rows) != len(packed.segments.bounds):
            states = self._layers[-1](states, layout)
            return states[: len(packed.ids)] if rows is None else states[rows]
        return self._layers[-1].read(states, in_steps(rows), layout)[: len(rows)]


class _Distances:
    """Which row of the position table stands for a distance: near ones have their own, far ones share."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._farthest = int(config.get("max_relative_positions", -1))
        if self._farthest < 1:
            self._farthest = int(config.get("max_position_embeddings", 512))
        self._buckets = int(config.get("position_buckets", -1))
        self._span = self._buckets if self._buckets > 0 else self._farthest
        self.rows = 2 * self._span
        self._table = torch.empty(0, dtype=torch.int64)

    def within(self, length: int, device: torch.device) -> torch.Tensor:
        """Return the rows for the distances of -(length - 1) to length - 1, in this order."""
        table = self._table  # which another thread may replace
        known = len(table) // 2 + 1
        if not len(table) or known < length or table.device != device:
            known = max(length, 64)
            distances = torch.arange(1 - known, known)  # on the CPU, whose logarithm is the authors' at every bound
            self._table = table = (self._bucket(distances) + self._span).clamp(0, self.rows - 1).to(device)
        return table[known - length : known + length - 1]

    def _bucket(self, distances: torch.Tensor) -> torch.Tensor:
        if self._buckets <= 0:
            return distances
        middle = self._buckets // 2
        far = torch.where(distances.abs() < middle, middle - 1, distances.abs())
        steps = torch.log(far / middle) / torch.log(torch.tensor((self._farthest - 1) / middle)) * (middle - 1)
        buckets = torch.where(far <= middle, distances, (torch.ceil(steps) + middle) * torch.sign(distances))
        return buckets.to(torch.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Sequences that are weighed in one product, each as wide as the longest of them."""

    owners: Sequence[int]
    rows: torch.Tensor | slice
    """Where their tokens lie: (sequences, longest), or the tokens of the only one."""

    real: torch.Tensor | None
    """Which of these places are tokens; None is all."""

    longest: int

    def take(self, states: torch.Tensor) -> torch.Tensor:
        """Return (sequences, heads, longest, width) of (tokens, heads, width)."""
        taken = states[self.rows]
        return (taken[None] if isinstance(self.rows, slice) else taken).transpose(1, 2)

    def put(self, gathered: torch.Tensor, into: torch.Tensor) -> None:
        """Write (sequences, heads, longest, width) back to where it was taken from."""
        gathered = gathered.transpose(1, 2)
        if isinstance(self.rows, slice):
            into[self.rows] = gathered[0]
        elif self.real is None:
            into[self.rows] = gathered
        else:
            into[self.rows[self.real]] = gathered[self.real]

    def hide_padding(self, weights: torch.Tensor | None) -> torch.Tensor | None:
        """Let nobody see the places that are no tokens."""
        if self.real is None:
            return weights
        real = self.real[:, None, None]
        return real if weights is None else weights.masked_fill(~real, -torch.inf)


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """What all layers need to know of a batch."""

    groups: Sequence[_Group]
    near: torch.Tensor
    """The rows of the position table for all distances in it, in order."""


def _grouped(segments: Segments, *, together: bool) -> list[_Group]:
    lengths = [end - start for start, end in segments.bounds]
    return [_group(segments, owners) for owners in _partition(lengths, together=together)]


def _partition(lengths: Sequence[int], *, together: bool) -> Iterator[list[int]]:
    """Yield groups of like lengths, the longest first; each alone, where they are not to run together."""
    owners: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        longest = lengths[owners[0]] if owners else 0
        too_large = (len(owners) + 1) * 2 * longest**2 > _MOST_WEIGHTS
        if owners and (not together or too_large or lengths[at] < _LEAST_FILLED * longest):
            yield owners
            owners = []
        owners.append(at)
    yield owners


def _group(segments: Segments, owners: Sequence[int]) -> _Group:
    bounds = [segments.bounds[at] for at in owners]
    longest = bounds[0][1] - bounds[0][0]
    if len(bounds) == 1:
        return _Group(owners, slice(*bounds[0]), None, longest)
    starts = torch.tensor([start for start, _ in bounds], device=segments.device)[:, None]
    lengths = torch.tensor([end - start for start, end in bounds], device=segments.device)[:, None]
    places = torch.arange(longest, device=segments.device)[None]
    equal = all(end - start == longest for start, end in bounds)
    return _Group(owners, starts + places.minimum(lengths - 1), None if equal else places < lengths, longest)


class _Layer:
    """One layer: what each token gathers by content and by distance, then the two products."""

    def __init__(self, config: Mapping[str, Any], weights: Weights, name: str, *, related: torch.Tensor) -> None:
        """Take the layer's weights; `related` is the table of relative positions that all layers share."""
        ways = config.get("pos_att_type") or []
        ways = [way.strip() for way in ways.lower().split("|")] if isinstance(ways, str) else ways
        self._heads = int(config["num_attention_heads"])
        own = f"{name}.attention.self"
        width = len(weights[f"{own}.query_proj.weight"]) // self._heads
        # one scale for each part of a weight, folded into whatever asks
        scale = (width * (1 + ("c2p" in ways) + ("p2c" in ways))) ** -0.5
        self._scale = scale
        shared = config.get("share_att_key", False)
        # (rows, heads, width): what stands for each distance when it is asked, and when it asks
        self._asked = self._asking = None
        if "c2p" in ways:
            self._asked = self._spread(weights, f"{own}.{'key' if shared else 'pos_key'}_proj", related)
        if "p2c" in ways:
            self._asking = self._spread(weights, f"{own}.{'query' if shared else 'pos_query'}_proj", related) * scale
        self._offer = product(weights, *(f"{own}.{part}_proj" for part in ("query", "key", "value")))
        epsilon = float(config.get("layer_norm_eps", 1e-7))
        self._take_in = product(weights, f"{name}.attention.output.dense")
        self._attention_norm = layer_norm(weights, f"{name}.attention.output.LayerNorm", epsilon)
        self._widen = product(weights, f"{name}.intermediate.dense", gelu=True)
        self._narrow = product(weights, f"{name}.output.dense")
        self._norm = layer_norm(weights, f"{name}.output.LayerNorm", epsilon)

    def _spread(self, weights: Weights, name: str, related: torch.Tensor) -> torch.Tensor:
        taken = nn.functional.linear(related, weights[f"{name}.weight"], weights.get(f"{name}.bias"))
        return taken.view(len(taken), self._heads, -1)

    def __call__(self, states: torch.Tensor, layout: _Layout) -> torch.Tensor:
        """Return the next states of every token."""
        near = layout.near
        query, key, value = self._offer(states).unflatten(1, (3, self._heads, -1)).unbind(1)
        query = query * self._scale
        # by how far the asked one lies behind the asking one
        asked, asking = (
            None if table is None else table[rows].permute(1, 2, 0)
            for table, rows in ((self._asked, near.flip(0)), (self._asking, near))
        )
        gathered = torch.zeros_like(value)
        for group in layout.groups:
            queries, keys, values = (group.take(part) for part in (query, key, value))
            weights = _added(
                None if asked is None else _slanted(queries, asked, len(near)),
                None if asking is None else _slanted(keys, asking, len(near)).transpose(-1, -2),
            )
            group.put(_attend(queries, keys, values, weights=weights, group=group), gathered)
        return self._finish(states, gathered)

    def read(self, states: torch.Tensor, rows: torch.Tensor, layout: _Layout) -> torch.Tensor:
        """Return the next states of one token of each sequence."""
        query, key, value = self._offer(states).unflatten(1, (3, self._heads, -1)).unbind(1)
        query = query[rows][:, :, None] * self._scale  # (sequences, heads, 1, width)
        gathered = torch.zeros_like(value[: len(rows)])
        for group in layout.groups:
            queries, keys, values = query[list(group.owners)], group.take(key), group.take(value)
            offsets = self._offsets(rows, group, layout.near)
            asked, asking = (
                None if table is None else table[offsets].transpose(1, 2) for table in (self._asked, self._asking)
            )
            weights = _added(
                None if asked is None else queries @ asked.transpose(-1, -2),
                None if asking is None else (keys * asking).sum(-1)[:, :, None],
            )
            gathered[list(group.owners)] = _attend(queries, keys, values, weights=weights, group=group)[:, :, 0]
        return self._finish(states[rows], gathered)

    @staticmethod
    def _offsets(rows: torch.Tensor, group: _Group, near: torch.Tensor) -> torch.Tensor:
        """Return the row of the distance to each token, from the one that is read of each sequence: (sequences, n)."""
        if isinstance(group.rows, slice):
            starts = torch.tensor([group.rows.start], device=rows.device)
        else:
            starts = group.rows[:, 0]
        places = rows[list(group.owners)] - starts
        distances = places[:, None] - torch.arange(group.longest, device=rows.device)
        return near[distances + len(near) // 2]

    def _finish(self, asking: torch.Tensor, gathered: torch.Tensor) -> torch.Tensor:
        asking = self._attention_norm(asking + self._take_in(gathered.flatten(1)))
        return self._norm(asking + self._narrow(self._widen(asking)))


def _slanted(states: torch.Tensor, table: torch.Tensor, distances: int) -> torch.Tensor:
    """
    Return what each of n states makes of its distance to each of the n: (sequences, heads, n, n).

    `table` has a column for each distance, (heads, width, distances); the n columns that a state needs begin one
    further left than those of the state before it, so they are a view of the product.
    """
    sequences, heads, length, _ = states.shape
    beyond = distances // 2 - (length - 1)  # how much farther the table goes
    product = torch.matmul(states, table[:, :, beyond : distances - beyond]).contiguous()
    wide = 2 * length - 1
    return product.as_strided(
        (sequences, heads, length, length),
        (heads * length * wide, length * wide, wide - 1, 1),
        product.storage_offset() + length - 1,
    )


def _added(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, weights: torch.Tensor | None, group: _Group
) -> torch.Tensor:
    """Return what is gathered by content and the weights of distances."""
    return scaled_dot_product_attention(query, key, value, attn_mask=group.hide_padding(weights), scale=1.0)


class ContextHead:
    """Reads the logit of DeBERTa's head from the first token: dense, activation, one number; in full precision."""

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
        """Take the weights of the whole classifier."""
        self._activation = _POOLER_ACTIVATIONS[config.get("pooler_hidden_act", "gelu")]
        self._dense, self._out = (
            (weights[f"{name}.weight"].float(), weights[f"{name}.bias"].float())
            for name in ("pooler.dense", "classifier")
        )

    def rows(self, packed: Packed) -> torch.Tensor:
        """Return the row of each sequence's first token."""
        return packed.firsts

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        """Return the logits: (sequences, labels)."""
        pooled = self._activation(nn.functional.linear(hidden.float(), *self._dense))
        return nn.functional.linear(pooled, *self._out)
