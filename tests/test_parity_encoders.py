"""Encoders whose files are in words of their own, or whose heads read all tokens, say what they should."""

import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForSequenceClassification

import resift
import tiny
from resift.errors import ModelUnsupported

LOGIT = 2e-6
GTE = "Alibaba-NLP/gte-multilingual-reranker-base"
JINA = "jinaai/jina-reranker-v2-base-multilingual"
DOCUMENTS = list(tiny.DOCUMENTS)

# As transformers says what GTE's authors say by a factor of 8 on a base of 20000, with heads of 8.
ROTATION = {"rope_type": "linear", "rope_theta": 160000.0, "factor": 8 ** (2 / 8)}
GTE_KIND = tiny.Kind(
    "GteForSequenceClassification",
    "xlmr",
    {
        "model_type": "gte",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "type_vocab_size": 1,
        "num_labels": 1,
        "rope_parameters": ROTATION,
    },
)
FIRST_PUBLISHED: dict[str, Any] = {
    "architectures": ["NewForSequenceClassification"],
    "auto_map": {"AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig"},
    "model_type": "new",
    "hidden_act": "gelu",
    "layer_norm_type": "layer_norm",
    "logn_attention_clip1": False,
    "logn_attention_scale": False,
    "pack_qkv": True,
    "position_embedding_type": "rope",
    "rope_parameters": None,
    "rope_scaling": {"factor": 8.0, "type": "ntk"},
    "rope_theta": 20000,
}

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    monkeypatch.setitem(tiny.KINDS, "gte-cross", GTE_KIND)
    return lambda kind, name="model", **config: tiny.build(kind, tmp_path / name, **config)


def _set(directory: Path, **fields: Any) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def _rename(directory: Path, *names: tuple[str, str], fused: dict[str, Sequence[str]]) -> None:
    """Write the weights by other names; what is fused is one weight for several."""
    weights: dict[str, np.ndarray] = {}
    for name, weight in load_file(directory / "model.safetensors").items():
        plain = name
        for known, other in names:
            plain = re.sub(known, other, plain)
        weights[plain] = weight
    for whole, parts in fused.items():
        for name in [name for name in weights if parts[0] in name]:
            pieces = [weights.pop(name.replace(parts[0], part)) for part in parts]
            weights[name.replace(parts[0], whole)] = np.concatenate(pieces)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


def _as_first_published(directory: Path) -> Path:
    """Turn a GTE of transformers into what its authors published before transformers knew it."""
    _rename(
        directory,
        (r"^gte\.layers\.", "new.encoder.layer."),
        (r"^gte\.", "new."),
        (r"self_attn\.", "attention."),
        ("post_attention_layernorm", "attn_ln"),
        ("post_mlp_layernorm", "mlp_ln"),
        fused={
            "attention.qkv_proj": [f"attention.{name}_proj" for name in "qkv"],
            "mlp.up_gate_proj": ["mlp.up_proj", "mlp.gate_proj"],
        },
    )
    _set(directory, **FIRST_PUBLISHED)
    return directory


def _as_for_flash_attention(directory: Path) -> Path:
    """Turn an XLM-R into what jina-reranker-v2 looks like."""
    _rename(
        directory,
        (r"embeddings\.LayerNorm\.", "emb_ln."),
        (r"encoder\.layer\.", "encoder.layers."),
        (r"attention\.output\.dense\.", "mixer.out_proj."),
        (r"attention\.output\.LayerNorm\.", "norm1."),
        (r"intermediate\.dense\.", "mlp.fc1."),
        (r"(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        (r"(layers\.\d+)\.output\.LayerNorm\.", r"\1.norm2."),
        fused={"mixer.Wqkv": [f"attention.self.{name}" for name in ("query", "key", "value")]},
    )
    _set(directory, auto_map={"AutoModel": "jinaai/jina-reranker-v2-base-multilingual--modeling_xlm_roberta.X"})
    return directory


def _logits(model: Any, ranker: resift.LocalRanker) -> list[float]:
    """Return what a model of transformers says of what a ranker would read, one sequence at a time."""
    sequences = ranker._hold.family.prepare(tiny.QUERY, DOCUMENTS, None).sequences  # noqa: SLF001
    with torch.inference_mode():
        return [float(model(input_ids=torch.tensor([one.ids.tolist()])).logits) for one in sequences]


# ModernBERT


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("like", [None, "Alibaba-NLP/gte-reranker-modernbert-base"])
def test_modernbert_reads_one_token_or_all(
    pooling: str, like: str | None, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    """ModernBERT runs packed, and its head reads the first token or the mean of all, as its files say."""
    directory = build("modernbert-cross", classifier_pooling=pooling)
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    with (
        caplog.at_level(logging.INFO, "resift"),
        resift.load(directory, like=like, device="cpu", normalize=False) as ranker,
    ):
        assert ranker.max_length == 8192
        np.testing.assert_allclose(ranker.score(tiny.QUERY, DOCUMENTS), _logits(model, ranker), atol=LOGIT, rtol=0)
    assert "packed" in caplog.text


# GTE


def _gte(directory: Path) -> Any:
    """Return transformers' GTE with the frequencies that its authors' code computes for a factor of 8."""
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    width = 8
    powers = torch.arange(0, width, 2, dtype=torch.float32) / width
    model.gte.rotary_emb.inv_freq.copy_(1.0 / ((20000 * 8.0) ** powers) / 8.0 ** (2 / width))
    return model


def test_gte_loads_in_either_layout(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    """The first files of GTE say what those in transformers' words say, packed, and none of their code runs."""
    model = _gte(build("gte-cross"))
    first = _as_first_published(build("gte-cross", "first"))
    with (
        caplog.at_level(logging.INFO, "resift"),
        resift.load(build("gte-cross"), device="cpu", like=GTE) as community,
        resift.load(first, device="cpu", like=GTE) as original,
    ):
        expected = _logits(model, original)
        found = [ranker.score(tiny.QUERY, DOCUMENTS) for ranker in (community, original)]
        assert original.max_length == 512

    assert np.std(expected) > 0.05
    np.testing.assert_allclose(found, [expected] * 2, atol=LOGIT, rtol=0)
    assert caplog.text.count("packed") == 2


def test_gte_without_scaling(build: Build) -> None:
    """A first layout that scales no positions turns them by the base alone."""
    rotation = {"rope_type": "default", "rope_theta": 20000.0}
    model = AutoModelForSequenceClassification.from_pretrained(build("gte-cross", rope_parameters=rotation))
    first = _as_first_published(build("gte-cross", "first"))
    _set(first, rope_scaling=None)
    with resift.load(first, device="cpu", normalize=False) as ranker:
        np.testing.assert_allclose(ranker.score(tiny.QUERY, DOCUMENTS), _logits(model, ranker), atol=LOGIT, rtol=0)


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_scaling": {"factor": 8.0, "type": "ntk", "mixed_b": 0.6}},
        {"rope_scaling": {"factor": 8.0, "type": "dynamic"}},
        {"rope_scaling": {"factor": 1.0, "type": "ntk"}},
        {"logn_attention_scale": True},
        {"layer_norm_type": "rms_norm"},
        {"position_embedding_type": "absolute"},
        {"pack_qkv": False},
    ],
    ids=str,
)
def test_gte_that_cannot_be_had_exactly_names_its_copy(fields: dict[str, Any], build: Build) -> None:
    """What only the authors' code computes is refused, and the message names the files that need none of it."""
    first = _as_first_published(build("gte-cross"))
    _set(first, **fields)
    with pytest.raises(ModelUnsupported, match="alibaba-nlp-community/gte-multilingual-reranker-base") as refused:
        resift.load(first, device="cpu")
    assert next(iter(fields)) in str(refused.value)


# XLM-R for flash attention


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_jina_v2_is_xlm_r(dtype: Any, build: Build) -> None:
    """jina-reranker-v2 says by either names of its weights what XLM-R says, a probability, and runs no code of its."""
    plain = build("xlmr-cross", max_position_embeddings=1026)
    flash = _as_for_flash_attention(build("xlmr-cross", "flash", max_position_embeddings=1026))
    shared = {name for name in load_file(plain / "model.safetensors") if "layer" in name}
    assert not shared & set(load_file(flash / "model.safetensors"))
    with (
        resift.load(plain, like=JINA, device="cpu", dtype=dtype) as by_plain_names,
        resift.load(flash, like=JINA, device="cpu", dtype=dtype) as by_flash_names,
    ):
        found = by_flash_names.score(tiny.QUERY, DOCUMENTS)
        assert found == by_plain_names.score(tiny.QUERY, DOCUMENTS)
        assert by_flash_names.max_length == 1024
        if dtype == "float32":
            logits = _logits(AutoModelForSequenceClassification.from_pretrained(plain), by_flash_names)
            np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.array(logits))), atol=1e-6, rtol=0)


def test_jina_v1_has_a_graph(build: Build) -> None:
    """Weights that tell positions apart by ALiBi are refused, and the message says that a graph of them runs."""
    directory = build("bert-cross", position_embedding_type="alibi")
    with pytest.raises(ModelUnsupported, match="backend='onnx'") as refused:
        resift.load(directory, device="cpu")
    assert "ALiBi" in str(refused.value)
