"""Builds tiny listwise rerankers of the make of jina-reranker-v3, with random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer

import tiny

MARKS = ("<|embed_token|>", "<|rerank_token|>")
SLIDING: dict[str, Any] = {
    "use_sliding_window": True,
    "sliding_window": 24,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
}


def build(directory: Path, *, model_max_length: int = 131072, **config: Any) -> Path:
    """Write a checkpoint with the weights, the marks and the names of the authors' files."""
    own_code = {"AutoModel": "modeling.JinaForRanking"}
    fields: dict[str, Any] = {
        "architectures": ["JinaForRanking"],
        "auto_map": own_code,
        "max_position_embeddings": 131072,
    }
    tiny.build("qwen3", directory, vocab_size=1088, **(fields | config))
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    tokenizer.save(str(directory / "tokenizer.json"))
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": model_max_length}))
    weights = load_file(directory / "model.safetensors")
    weights.pop("lm_head.weight", None)
    random = np.random.RandomState(3)
    for name, shape in {"projector.0.weight": (16, 32), "projector.2.weight": (24, 16)}.items():
        weights[name] = random.standard_normal(shape).astype(np.float32) / 4
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory
