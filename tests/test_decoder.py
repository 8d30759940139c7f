"""Qwen2, Qwen3 and Gemma in a forward pass of our own say what they say in transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import tiny
from programs import printed
from resift.checkpoint import open_checkpoint
from resift.scoring.backends import Answer, Backbone, Classify, Embed, Readout
from resift.scoring.backends.torch.decoder import DecoderBody, open_decoder
from resift.scoring.backends.torch.packing import Packed
from resift.scoring.backends.torch.running import read
from resift.scoring.backends.torch.weights import read_weights
from resift.scoring.planning import Batch, Tokens

ANSWER, HEAD = Answer(positive=40, negative=41), Classify()
LIKE = {"qwen2": "mixedbread-ai/mxbai-rerank-base-v2", "qwen3": "Qwen/Qwen3-Reranker-0.6B"}
CPU = torch.device("cpu")
TOLERANCE = 1e-5
LENGTHS = (1, 2, 9, 33, 150)

Change = dict[str, Any]


@pytest.fixture(autouse=True)
def _head_of_gemma(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma and Qwen2 with a head, which only Qwen3 has among the usual kinds."""
    for kind, classes in (("gemma", "GemmaForSequenceClassification"), ("qwen2", "Qwen2ForSequenceClassification")):
        made = tiny.KINDS[kind]
        head = tiny.Kind(classes, made.vocabulary, made.config | {"num_labels": 1}, gain=made.gain)
        monkeypatch.setitem(tiny.KINDS, f"{kind}-cross", head)


def _open(directory: Path, readout: Readout, dtype: torch.dtype = torch.float32) -> Any:
    return open_decoder(open_checkpoint(str(directory)), readout, device=CPU, dtype=dtype)


def _read(opened: Any, batch: Batch) -> np.ndarray[Any, Any]:
    body, reader = opened
    with torch.inference_mode():
        return np.asarray(read(body, reader, batch, device=CPU).numpy())[:, 0]


def _plainly(directory: Path, readout: Readout, sequences: list[Tokens]) -> np.ndarray[Any, Any]:
    """Return what transformers says of each sequence alone."""
    heads = {Answer: transformers.AutoModelForCausalLM, Classify: transformers.AutoModelForSequenceClassification}
    model = heads[type(readout)].from_pretrained(directory, dtype=torch.float32).eval()

    def alone(sequence: Tokens) -> float:
        ids = torch.from_numpy(sequence.ids.astype(np.int64))[None]
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        if not isinstance(readout, Answer):
            return float(logits[0])
        asked = logits[-1]
        return float(asked[readout.positive] - (0 if readout.negative is None else asked[readout.negative]))

    return np.array([alone(sequence) for sequence in sequences])


def _sequences(*lengths: int, seed: int = 0) -> list[Tokens]:
    stream = np.random.RandomState(seed)
    return [Tokens(stream.randint(5, 300, length).astype(np.int32)) for length in lengths]


def _with_prefixes(sequences: list[Tokens]) -> tuple[Batch, list[Tokens]]:
    """Return a batch of sequences that continue one of two prefixes or none, and the same sequences whole."""
    prefixes = [sequence.ids for sequence in _sequences(24, 9, seed=1)]
    prefix_of = [(0, 1, None)[at % 3] for at in range(len(sequences))]
    whole = [
        sequence if at is None else Tokens(np.concatenate([prefixes[at], sequence.ids]))
        for sequence, at in zip(sequences, prefix_of, strict=True)
    ]
    return Batch(sequences, prefixes, prefix_of), whole


def _assert_close(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], tolerance: float = TOLERANCE) -> None:
    assert np.ptp(expected) > 0.1  # scores that are all alike would prove nothing
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


class Everything:
    """Reads the states of all tokens."""

    def rows(self, packed: Packed) -> None:
        """Ask for all."""

    def read(self, hidden: torch.Tensor, packed: Packed) -> torch.Tensor:
        return hidden


VARIANTS: dict[str, tuple[str, Readout, dict[str, Any]]] = {
    "qwen2": ("qwen2", ANSWER, {}),
    "qwen2, every head its keys": ("qwen2", ANSWER, {"num_key_value_heads": 4}),
    "qwen2, words of its own": ("qwen2", ANSWER, {"tie_word_embeddings": False}),
    "qwen2, one layer": ("qwen2", Answer(positive=40), {"num_hidden_layers": 1}),
    "qwen2, head": ("qwen2-cross", HEAD, {"pad_token_id": 400}),
    "qwen3": ("qwen3", ANSWER, {}),
    "qwen3, biased": ("qwen3", ANSWER, {"attention_bias": True, "tie_word_embeddings": True}),
    "qwen3, other rotations": ("qwen3", ANSWER, {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    "qwen3, head": ("qwen3-cross", HEAD, {"pad_token_id": 400}),
    "gemma": ("gemma", ANSWER, {}),
    "gemma, other norms": ("gemma", Answer(positive=40), {"rms_norm_eps": 1e-2}),
    "gemma, head": ("gemma-cross", HEAD, {"pad_token_id": 400}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_one_pass_says_what_transformers_says(name: str, tmp_path: Path) -> None:
    """Sequences of all lengths, whole or behind a prefix that is computed once, get what each gets alone."""
    kind, readout, config = VARIANTS[name]
    directory = tiny.build(kind, tmp_path, **config)
    opened, sequences = _open(directory, readout), _sequences(*LENGTHS)
    assert opened is not None

    _assert_close(_read(opened, Batch(sequences)), _plainly(directory, readout, sequences))

    cut, whole = _with_prefixes(sequences)
    _assert_close(_read(opened, cut), _plainly(directory, readout, whole))


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma"])
def test_half_precision_stays_close(kind: str, tmp_path: Path) -> None:
    """In bfloat16 a score is as far from the exact one as rounding takes it, and no farther."""
    directory, sequences = tiny.build(kind, tmp_path), _sequences(*LENGTHS)
    cut, whole = _with_prefixes(sequences)
    exact = _plainly(directory, ANSWER, whole)

    _assert_close(_read(_open(directory, ANSWER, torch.bfloat16), cut), exact, 0.06)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma"])
def test_every_token_has_the_state_that_transformers_gives_it(kind: str, tmp_path: Path) -> None:
    """Where all rows are asked for, all are computed, the last layer too."""
    directory, sequences = tiny.build(kind, tmp_path), _sequences(7, 40)
    body, _ = _open(directory, ANSWER)
    model = transformers.AutoModel.from_pretrained(directory, dtype=torch.float32).eval()

    with torch.inference_mode():
        found = read(body, Everything(), Batch(sequences), device=CPU)
        alone = [model(torch.from_numpy(each.ids.astype(np.int64))[None]).last_hidden_state[0] for each in sequences]

    torch.testing.assert_close(found, torch.cat(alone), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma"])
def test_weights_are_taken_out_of_the_mapping(kind: str, tmp_path: Path) -> None:
    """A body takes each weight out as it lays it out anew, so that a large model is never held twice."""
    checkpoint = open_checkpoint(str(tiny.build(kind, tmp_path)))
    read_in = read_weights(checkpoint, dtype=torch.float32, device=CPU)
    weights = {name.removeprefix("model."): weight for name, weight in read_in.items()}

    DecoderBody(checkpoint.config, weights)

    assert set(weights) <= {"lm_head.weight"}


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_act": "relu"},
        {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
        {"layer_types": ["sliding_attention", "full_attention", "full_attention"]},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        {"is_causal": False},
        {"quantization_config": {"quant_method": "gptq"}},
        {"use_bidirectional_attention": True},
        {"head_dim": None},
        {"model_type": "llama"},
    ],
)
def test_what_is_not_known_here_is_left_to_transformers(config: Change, tmp_path: Path) -> None:
    """A configuration that asks for anything else, or leaves a width to a default, is not this pass's."""
    directory = tiny.build("qwen3", tmp_path)
    written = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(written | config))

    assert _open(directory, ANSWER) is None


@pytest.mark.parametrize("readout", [Embed(("lasttoken",), normalize=True), Classify(Backbone("qwen3", {}))])
def test_other_readings_are_left_to_transformers(readout: Readout, tmp_path: Path) -> None:
    """Vectors, and models whose backbone their files do not name, are not this pass's."""
    assert _open(tiny.build("qwen3", tmp_path), readout) is None


def _lose(name: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        weights = load_file(directory / "model.safetensors")
        del weights[name]
        save_file(weights, directory / "model.safetensors", {"format": "pt"})

    return change


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.2.mlp.up_proj.weight", "model.norm.weight"])
def test_a_missing_weight_is_left_to_whoever_says_so(name: str, tmp_path: Path) -> None:
    """Files that lack a weight are not opened; transformers then says which."""
    directory = tiny.build("qwen3", tmp_path)
    _lose(name)(directory)

    assert _open(directory, ANSWER) is None


@pytest.mark.parametrize("kind", LIKE)
def test_a_ranker_of_this_kind_needs_no_transformers(kind: str, tmp_path: Path) -> None:
    """Loading and scoring import nothing of transformers, which takes longer than the model's weights."""
    directory = tiny.build(kind, tmp_path)

    found = printed(
        "import sys, resift\n"
        f"ranker = resift.load({str(directory)!r}, like={LIKE[kind]!r}, device='cpu')\n"
        "ranker.score('what do pandas eat?', ['bamboo'])\n"
        "print('transformers' in sys.modules)"
    )

    assert found == "False"
