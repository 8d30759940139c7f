"""Builds tiny late-interaction models with random weights, in the three layouts in which they are published."""

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from tokenizers import AddedToken, Tokenizer

import tiny
from resift.scoring.backends import Projection

WIDTH = 16
PROJECTION = Projection("linear")
"""What turns hidden states into vectors, in the layout of ColBERT's authors."""


def stanford(directory: Path, *, kind: str = "bert-cross", **metadata: Any) -> Path:
    """Write a checkpoint as ColBERT's authors do: the projection among the weights, the settings beside them."""
    tiny.build(kind, directory, architectures=["HF_ColBERT"])
    weights = load_file(directory / "model.safetensors")
    save_file(weights | {"linear.weight": _projection(32)}, directory / "model.safetensors", {"format": "pt"})
    saved = {
        "query_maxlen": 32,
        "doc_maxlen": 180,
        "dim": WIDTH,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "similarity": "cosine",
    }
    _write_json(directory / "artifact.metadata", saved | metadata)
    return directory


def pylate(directory: Path, *, kind: str = "bert-cross", known_markers: bool = True, **saved: Any) -> Path:
    """Write a checkpoint as PyLate 1 does: Transformer and Dense, and settings of its own among those of ST."""
    architecture = {"bert-cross": "BertModel", "modernbert-cross": "ModernBertModel"}[kind]
    tiny.build(kind, directory, architectures=[architecture])
    if known_markers:
        _add_tokens(directory, "[Q] ", "[D] ")
    modules = [("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense")]
    _write_json(
        directory / "modules.json",
        [{"idx": at, "name": str(at), "path": path, "type": kind} for at, (path, kind) in enumerate(modules)],
    )
    _write_json(directory / "sentence_bert_config.json", {"max_seq_length": 179, "do_lower_case": False})
    fields = {
        "model_type": "ColBERT",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 32,
        "document_length": 180,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
        "do_query_expansion": True,
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
    }
    _write_json(directory / "config_sentence_transformers.json", fields | saved)
    dense(directory / "1_Dense", 32, WIDTH)
    return directory


def dense(folder: Path, width: int, out: int, **saved: Any) -> None:
    """Write the folder of a projection without a bias."""
    folder.mkdir(exist_ok=True)
    fields = {"in_features": width, "out_features": out, "bias": False}
    _write_json(folder / "config.json", fields | {"activation_function": "torch.nn.modules.linear.Identity"} | saved)
    save_file({"linear.weight": _projection(width, out)}, folder / "model.safetensors", {"format": "pt"})


def chain(directory: Path, *, prompts: dict[str, str] | None = None, **options: Any) -> Path:
    """Write a checkpoint as sentence-transformers does; `options` are of its Transformer, or `mask` and `dense`."""
    plain = tiny.build("bert-cross", directory.with_name(f"{directory.name}-plain"), architectures=["BertModel"])
    mask, layers = options.pop("mask", {}), options.pop("layers", None)
    similarity = options.pop("similarity", None)
    first = Dense(32, WIDTH, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings")
    first.linear.weight.data = torch.from_numpy(_projection(32))
    model = MultiVectorEncoder(
        modules=[
            Transformer(str(plain), **options),
            *([first] if layers is None else layers),
            MultiVectorMask(**mask),
            Normalize(module_input_name="token_embeddings"),
        ],
        prompts=prompts,
        similarity_fn_name=similarity,
        device="cpu",
    )
    model.save(str(directory), create_model_card=False)
    return directory


def _projection(width: int, out: int = WIDTH) -> np.ndarray:
    random = np.random.RandomState(width * 1000 + out)
    return ((random.random_sample((out, width)) - 0.5) / 2).astype(np.float32)


def _add_tokens(directory: Path, *tokens: str) -> None:
    path = directory / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens([AddedToken(token, normalized=True) for token in tokens])
    tokenizer.save(str(path))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
