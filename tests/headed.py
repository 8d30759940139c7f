"""Builds tiny models whose scores come from layers of their own behind a transformer, with random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

import tiny

WIDTH = 32
WEIGHTS = "model.safetensors"


def chain(directory: Path, *, output: str, width: int) -> Path:
    """Write what sentence-transformers saves of Transformer, Pooling and Dense: "scores", or a "sentence_embedding"."""
    tiny.build("bert-embedding", directory, pooling="mean", normalize=False)
    modules = json.loads((directory / "modules.json").read_text())
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.base.modules.dense.Dense"}
    (directory / "modules.json").write_text(json.dumps([*modules, dense]))
    saved = {
        "in_features": WIDTH,
        "out_features": width,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
        "module_output_name": output,
    }
    (directory / "2_Dense").mkdir()
    (directory / "2_Dense" / "config.json").write_text(json.dumps(saved))
    save_file(_weights(**{"linear.weight": (width, WIDTH), "linear.bias": (width,)}), directory / "2_Dense" / WEIGHTS)
    return directory


def nemotron(directory: Path) -> Path:
    """Write llama-nemotron-rerank: Llama whose tokens look both ways, the mean of all, one linear layer."""
    tiny.build("llama-cross", directory)
    say(
        directory,
        architectures=["LlamaBidirectionalForSequenceClassification"],
        model_type="llama_bidirec",
        auto_map={"AutoConfig": "llama_bidirectional_model.LlamaBidirectionalConfig"},
        pooling="avg",
        temperature=1.0,
    )
    return directory


def jina_m0(directory: Path) -> Path:
    """Write jina-reranker-m0 without its eyes: Qwen2, and two linear layers in the place of its words."""
    tiny.build("qwen2", directory)
    say(directory, architectures=["JinaVLForRanking"], model_type="qwen2_vl")
    head = {
        "score.0.weight": (WIDTH, WIDTH),
        "score.0.bias": (WIDTH,),
        "score.2.weight": (1, WIDTH),
        "score.2.bias": (1,),
    }
    save_file(load_file(directory / WEIGHTS) | _weights(**head), directory / WEIGHTS, {"format": "pt"})
    return directory


def say(directory: Path, **fields: Any) -> None:
    """Change what a checkpoint's configuration says."""
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _weights(**shapes: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.RandomState(0)
    return {name: (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32) for name, shape in shapes.items()}
