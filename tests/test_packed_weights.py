"""The forms in which a model's files come: other names, other formats, and settings that are left out."""

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import resift
import tiny
from resift.scoring.backends.torch import bert, decoder
from resift.scoring.backends.torch.weights import read_weights

Weights = dict[str, torch.Tensor]

KINDS = ("bert-cross", "xlmr-cross", "bert-embedding", "electra-cross")


def _save(directory: Path, weights: Weights) -> None:
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


def _scores(directory: Path) -> np.ndarray[Any, Any]:
    with resift.load(directory, device="cpu") as ranker:
        return np.array(ranker.score(tiny.QUERY, tiny.DOCUMENTS))


def _as_pickle(directory: Path) -> None:
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()


def _as_shards(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    places = {name: f"model-0000{1 + at % 2}-of-00002.safetensors" for at, name in enumerate(weights)}
    for shard in set(places.values()):
        save_file({name: weights[name] for name in weights if places[name] == shard}, directory / shard)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def _with_old_norms(directory: Path) -> None:
    def old(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    _save(directory, {old(name): weight for name, weight in load_file(directory / "model.safetensors").items()})


def _with_more(directory: Path) -> None:
    """Add what old checkpoints hold as well: a buffer, and heads that nobody reads."""
    weights = load_file(directory / "model.safetensors")
    backbone = next(name.partition("embeddings.")[0] for name in weights if "embeddings." in name)
    more = {f"{backbone}embeddings.position_ids": torch.arange(512)[None], "cls.predictions.bias": torch.ones(7)}
    _save(directory, weights | more)


@pytest.mark.parametrize("change", [_as_pickle, _as_shards, _with_old_norms, _with_more])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_read_in_every_form(kind: str, change: Callable[[Path], None], tmp_path: Path) -> None:
    """The same weights in another file format, or under the names of another time, give the same scores."""
    directory = tiny.build(kind, tmp_path)
    expected = _scores(directory)

    change(directory)

    np.testing.assert_allclose(_scores(directory), expected, rtol=0, atol=1e-6)


def test_a_backbone_from_inside_a_larger_model_is_found(tmp_path: Path) -> None:
    """An embedding model whose weights keep the prefix that they had beside a head is the same model."""
    directory = tiny.build("bert-embedding", tmp_path)
    expected = _scores(directory)
    weights = load_file(directory / "model.safetensors")

    _save(directory, {f"bert.{name}": weight for name, weight in weights.items()})

    np.testing.assert_allclose(_scores(directory), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "opener"), [("bert-cross", bert), ("xlmr-cross", bert), ("qwen3", decoder)])
def test_no_layer_is_held_twice(kind: str, opener: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file says of a product is let go once it is laid out anew, so that a large model fits beside itself."""
    read_in: dict[str, weakref.ref[torch.Tensor]] = {}

    def watch(*given: Any, **how: Any) -> Weights:
        weights = read_weights(*given, **how)
        read_in.update({name: weakref.ref(weight) for name, weight in weights.items()})
        return weights

    monkeypatch.setattr(opener, "read_weights", watch)
    like = "Qwen/Qwen3-Reranker-0.6B" if opener is decoder else None
    with resift.load(tiny.build(kind, tmp_path), like=like, device="cpu"):
        kept = [name for name, weight in read_in.items() if weight() is not None]

    assert any("embed" in name for name in kept)
    assert not [name for name in kept if ".layer" in name and "norm" not in name.lower()]


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_weights_are_computed_in_full(kind: str, tmp_path: Path) -> None:
    """Weights saved in float16 are widened first on a CPU: the scores are those of the same numbers in float32."""
    directory = tiny.build(kind, tmp_path)
    halves = {name: weight.half() for name, weight in load_file(directory / "model.safetensors").items()}
    _save(directory, {name: weight.float() for name, weight in halves.items()})
    expected = _scores(directory)

    _save(directory, halves)

    np.testing.assert_allclose(_scores(directory), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "field", "default"),
    [
        ("bert-cross", "hidden_act", "gelu"),
        ("bert-cross", "layer_norm_eps", 1e-12),
        ("bert-cross", "type_vocab_size", 2),
        ("bert-cross", "max_position_embeddings", 512),
        ("bert-cross", "num_attention_heads", 12),
        ("bert-cross", "num_hidden_layers", 12),
        ("xlmr-cross", "layer_norm_eps", 1e-12),
        ("xlmr-cross", "hidden_act", "gelu"),
        ("xlmr-cross", "pad_token_id", 1),
    ],
)
def test_what_a_configuration_leaves_out_is_as_transformers_has_it(
    kind: str, field: str, default: Any, tmp_path: Path
) -> None:
    """A field that is not written has the value that the model's own class gives it."""
    wide = {"hidden_size": 48, "intermediate_size": 32}  # as many as twelve heads can share
    directory = tiny.build(kind, tmp_path, **wide, **{field: default})
    expected = _scores(directory)
    config = json.loads((directory / "config.json").read_text())
    assert config.pop(field) == default
    (directory / "config.json").write_text(json.dumps(config))

    np.testing.assert_allclose(_scores(directory), expected, rtol=0, atol=1e-6)
