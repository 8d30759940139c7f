"""ModernBERT, in our own forward pass, says what it says in transformers, whatever its configuration asks for."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

import resift
import tiny
from resift.checkpoint import open_checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Answer, Backbone, Classify, Embed, EmbedEach, Readout
from resift.scoring.backends.torch.modernbert import ModernBertBody, open_modernbert
from resift.scoring.backends.torch.packing import pack
from resift.scoring.backends.torch.running import Reader, read
from resift.scoring.planning import Batch, Tokens
from states import pooled

CPU = torch.device("cpu")
CLOSE = 1e-5
LENGTHS = (1, 2, 5, 8, 9, 10, 17, 33, 64, 65, 130, 400, 1100)
FULL, LOCAL = "full_attention", "sliding_attention"
BIASES = ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias")

CONFIGS: dict[str, dict[str, Any]] = {
    "the first token": {"classifier_pooling": "cls"},
    "the mean of all": {"classifier_pooling": "mean"},
    "biases everywhere": dict.fromkeys(BIASES, True),
    "biases, the first token": {"classifier_pooling": "cls", **dict.fromkeys(BIASES, True)},
    "the last layer local": {"classifier_pooling": "cls", "layer_types": [FULL, LOCAL, LOCAL]},
    "the last layer local, the mean": {"classifier_pooling": "mean", "layer_types": [LOCAL, FULL, LOCAL]},
    "everything near": {"classifier_pooling": "cls", "layer_types": [LOCAL] * 3, "local_attention": 4},
    "an odd window": {"local_attention": 7},
    "one layer": {"num_hidden_layers": 1, "layer_types": [FULL], "classifier_pooling": "cls"},
    "base": {"hidden_size": 768, "intermediate_size": 1152, "num_attention_heads": 12, "local_attention": 128},
}
OLD = ("layer_types", "rope_parameters")  # what the first files did not have
OF_ROTATIONS = (*OLD, "global_attn_every_n_layers", "global_rope_theta", "local_rope_theta", "local_attention")

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return lambda **config: tiny.build("modernbert-cross", tmp_path / "model", **config)


def _sequences(lengths: Sequence[int] = LENGTHS) -> list[Tokens]:
    numbers = np.random.default_rng(0)
    return [Tokens(numbers.integers(5, 200, length).astype(np.int32)) for length in lengths]


def _open(
    directory: Path, readout: Readout | None = None, dtype: torch.dtype = torch.float32
) -> tuple[ModernBertBody, Reader] | None:
    return open_modernbert(open_checkpoint(str(directory)), readout or Classify(), device=CPU, dtype=dtype)


def _opened(
    directory: Path, readout: Readout | None = None, dtype: torch.dtype = torch.float32
) -> tuple[ModernBertBody, Reader]:
    opened = _open(directory, readout, dtype)
    assert opened is not None
    return opened


def _read(body: ModernBertBody, reader: Reader, sequences: Sequence[Tokens]) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(read(body, reader, Batch(sequences), device=CPU).numpy())


def _expected(directory: Path, sequences: Sequence[Tokens], dtype: torch.dtype = torch.float32) -> list[float]:
    """Return what transformers says of each sequence alone."""
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=dtype)
    with torch.inference_mode():
        return [float(model(input_ids=torch.tensor([sequence.ids.tolist()])).logits) for sequence in sequences]


def _rewrite(directory: Path, fields: dict[str, Any], *, forget: Sequence[str] = ()) -> None:
    config = json.loads((directory / "config.json").read_text())
    kept = {name: value for name, value in config.items() if name not in forget}
    (directory / "config.json").write_text(json.dumps(kept | fields))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_logits_are_those_of_transformers(config: dict[str, Any], build: Build) -> None:
    """A batch of sequences, from one token to many windows, says what transformers says of each."""
    directory, sequences = build(**config), _sequences()
    expected = _expected(directory, sequences)

    assert np.std(expected) > 0.05
    np.testing.assert_allclose(_read(*_opened(directory), sequences)[:, 0], expected, atol=CLOSE, rtol=0)


@pytest.mark.parametrize(
    ("forgotten", "fields"),
    [
        (OLD, {}),
        (OLD, {"global_attn_every_n_layers": 3, "local_rope_theta": 10.0, "global_rope_theta": 50.0}),
        (OF_ROTATIONS, {}),
        (("layer_types",), {"rope_parameters": {FULL: {"rope_type": "default", "rope_theta": 30.0}}}),
        (("norm_eps", "classifier_pooling", "hidden_activation", "classifier_activation"), {}),
    ],
    ids=["first layout", "other rotations", "usual rotations", "in part", "usual head"],
)
def test_what_files_leave_out_is_what_transformers_takes(
    forgotten: Sequence[str], fields: dict[str, Any], build: Build
) -> None:
    """Files of the first layout, and files that leave the usual values out, score as in transformers."""
    directory, sequences = build(), _sequences()
    _rewrite(directory, fields, forget=forgotten)

    np.testing.assert_allclose(
        _read(*_opened(directory), sequences)[:, 0], _expected(directory, sequences), atol=CLOSE, rtol=0
    )


@pytest.mark.parametrize("layers", [[FULL, LOCAL, FULL], [FULL, LOCAL, LOCAL]], ids=["last full", "last local"])
def test_any_token_can_be_read(layers: list[str], build: Build) -> None:
    """Reading one token of each sequence gives what reading all gives there, whichever token it is."""
    body, _ = _opened(build(layer_types=layers))
    packed = pack(Batch(_sequences()), body.positions, CPU)
    with torch.inference_mode():
        whole = body(packed, None)
        for rows in (packed.firsts, packed.lasts, (packed.firsts + packed.lasts) // 2):
            torch.testing.assert_close(body(packed, rows), whole[rows], atol=CLOSE, rtol=0)


def test_company_changes_nothing(build: Build) -> None:
    """A sequence's logit is the same alone, beside longer ones, and in any order."""
    body, reader = _opened(build())
    sequences = _sequences((40, 512, 3, 41, 1, 300, 42, 40))
    batched = _read(body, reader, sequences)
    alone = np.concatenate([_read(body, reader, [sequence]) for sequence in sequences])
    backwards = _read(body, reader, sequences[::-1])[::-1]

    np.testing.assert_allclose(batched, alone, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(batched, backwards, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_bfloat16_is_as_near_as_the_authors_own(pooling: str, build: Build) -> None:
    """In bfloat16 scores are as far from the exact ones as transformers' own, give or take a half."""
    directory, sequences = build(classifier_pooling=pooling, **CONFIGS["base"]), _sequences()
    exact = _expected(directory, sequences)
    theirs = np.abs(np.subtract(_expected(directory, sequences, torch.bfloat16), exact))
    ours = np.abs(_read(*_opened(directory, dtype=torch.bfloat16), sequences)[:, 0] - exact)

    assert theirs.mean() > 1e-4
    assert ours.mean() < 1.5 * theirs.mean()


@pytest.mark.parametrize("pooling", ["cls", "mean", "lasttoken"])
def test_vectors_are_those_of_transformers(pooling: Any, build: Build) -> None:
    """As an embedding model it gives the vectors that transformers' hidden states are pooled to."""
    directory, sequences = build(), _sequences()
    found = _read(*_opened(directory, Embed((pooling,), normalize=False)), sequences)

    np.testing.assert_allclose(found, pooled(directory, sequences, pooling), atol=CLOSE, rtol=0)


YARN = {"rope_type": "yarn", "rope_theta": 160000.0, "factor": 2.0, "original_max_position_embeddings": 4096}


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_activation": "relu"},
        {"classifier_activation": "relu"},
        {"rope_parameters": {FULL: YARN, LOCAL: {"rope_type": "default", "rope_theta": 20000.0}}},
        {"rope_parameters": {kind: {"type": "linear", "factor": 4.0, "rope_theta": 50.0} for kind in (FULL, LOCAL)}},
        {"sliding_window": 4},
    ],
    ids=["activation", "activation of the head", "yarn", "linear, as it was written", "window"],
)
def test_what_is_not_ours_runs_by_the_authors_code(fields: dict[str, Any], build: Build) -> None:
    """A variant that is not computed here is left to transformers, and scores as there."""
    directory = build()
    _rewrite(directory, fields)
    assert _open(directory) is None
    with resift.load(directory, device="cpu", normalize=False) as ranker:
        scores = ranker.score(tiny.QUERY, tiny.DOCUMENTS[:6])
        prepared = ranker._hold.family.prepare(tiny.QUERY, tiny.DOCUMENTS[:6], None)  # noqa: SLF001
    assert scores == pytest.approx(_expected(directory, prepared.sequences), abs=CLOSE)


def test_what_is_read_otherwise_is_not_opened(build: Build) -> None:
    """Answers, vectors of tokens, and what another architecture is to compute are not read from it."""
    directory = build()
    assert _open(directory, Answer(1)) is None
    assert _open(directory, EmbedEach(())) is None
    assert _open(directory, Classify(Backbone("bert", {}))) is None
    for fields in (
        {"rope_parameters": {"rope_type": "default", "rope_theta": 9.0}},
        {"layer_types": [FULL, LOCAL]},
        {"num_hidden_layers": None},
        {"num_attention_heads": None},
        {"hidden_size": None},
    ):
        _rewrite(build(), fields)
        assert _open(directory) is None


def test_weights_beside_the_model_are_left_alone(build: Build) -> None:
    """A number that belongs to nothing that is computed here changes nothing."""
    directory, sequences = build(), _sequences((5, 60))
    expected = _expected(directory, sequences)
    weights = load_file(directory / "model.safetensors")
    save_file(weights | {"logit_scale": torch.tensor(3.0)}, directory / "model.safetensors", {"format": "pt"})

    np.testing.assert_allclose(_read(*_opened(directory), sequences)[:, 0], expected, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("lacking", ["head.dense.weight", "classifier.bias", "model.layers.2.mlp.Wi.weight"])
def test_a_weight_that_is_missing_is_told(lacking: str, build: Build) -> None:
    """A checkpoint without one of its weights is refused by its name, not scored with random numbers."""
    directory = build()
    weights = load_file(directory / "model.safetensors")
    del weights[lacking]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})

    assert _open(directory) is None
    with pytest.raises(ModelUnsupported, match=lacking):
        resift.load(directory, device="cpu")


@pytest.mark.parametrize("rows", [96, 4])
@pytest.mark.parametrize("surplus", ["model.layers.1.attn.Wqkv.bias", "model.layers.1.attn.gate.weight"])
def test_a_weight_too_many_is_told(surplus: str, rows: int, build: Build) -> None:
    """A checkpoint with weights inside its layers that nothing is done with is refused."""
    directory = build()
    weights = load_file(directory / "model.safetensors")
    weights[surplus] = torch.ones(rows)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})

    assert _open(directory) is None
    with pytest.raises(ModelUnsupported, match="does not compute with"):
        resift.load(directory, device="cpu")
