"""XLM-R as it is written for flash attention (jina-reranker-v2): the same weights by other names."""

import re
from collections.abc import Mapping

import torch

_MARK = "emb_ln.weight"  # no other layout has it
_PROJECTIONS = ("query", "key", "value")
_FUSED = re.compile(r"(?P<layer>.*\blayers\.\d+)\.mixer\.Wqkv\.(?P<kind>weight|bias)")
_NAMES = (
    (r"\bemb_ln\.", "embeddings.LayerNorm."),
    (r"\blayers\.(\d+)\.mixer\.out_proj\.", r"layer.\1.attention.output.dense."),
    (r"\blayers\.(\d+)\.norm1\.", r"layer.\1.attention.output.LayerNorm."),
    (r"\blayers\.(\d+)\.mlp\.fc1\.", r"layer.\1.intermediate.dense."),
    (r"\blayers\.(\d+)\.mlp\.fc2\.", r"layer.\1.output.dense."),
    (r"\blayers\.(\d+)\.norm2\.", r"layer.\1.output.LayerNorm."),
    (r"\blayers\.(\d+)\.", r"layer.\1."),
)


def by_plain_names(weights: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Return weights by the names that transformers has for them; those that have them already as they are."""
    if not any(name.endswith(_MARK) for name in weights):
        return weights
    return {plain: part for name, weight in weights.items() for plain, part in _plain(name, weight)}


def _plain(name: str, weight: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    fused = _FUSED.fullmatch(name)
    if fused is None:
        return [(_renamed(name), weight)]
    layer = _renamed(fused["layer"] + ".")
    names = (f"{layer}attention.self.{projection}.{fused['kind']}" for projection in _PROJECTIONS)
    return list(zip(names, weight.chunk(len(_PROJECTIONS)), strict=True))


def _renamed(name: str) -> str:
    for known, plain in _NAMES:
        name = re.sub(known, plain, name)
    return name
