"""Which models run packed: those whose packed run is known, or seen, to say what the models themselves say."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import own_code
import resift
import tiny
from resift.checkpoint import open_checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Answer, Backend, Classify, Embed, Readout
from resift.scoring.backends.torch import linears, open_torch
from resift.scoring.planning import Batch, Tokens

LLAMA = tiny.DECODER | {"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
ROBERTA_LM = tiny.ROBERTA | {"model_type": "roberta", "is_decoder": True, "num_labels": None}
MORE_KINDS = {
    "llama": tiny.Kind("LlamaForCausalLM", "qwen", LLAMA, gain=0.7),
    "llama-cross": tiny.Kind("LlamaForSequenceClassification", "qwen", LLAMA | {"num_labels": 1}, gain=0.7),
    "granite": tiny.Kind("GraniteForCausalLM", "qwen", LLAMA | {"model_type": "granite", "logits_scaling": 4.0}),
    "roberta-lm": tiny.Kind("RobertaForCausalLM", "roberta", ROBERTA_LM | {"tie_word_embeddings": False}),
    "gpt2-cross": tiny.Kind(
        "GPT2ForSequenceClassification",
        "qwen",
        {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "num_labels": 1},
    ),
    "xlnet-cross": tiny.Kind(
        "XLNetForSequenceClassification",
        "xlmr",
        {"model_type": "xlnet", "d_model": 32, "d_inner": 64, "n_layer": 2, "n_head": 4, "num_labels": 1},
    ),
    "t5-cross": tiny.Kind(
        "T5ForSequenceClassification",
        "gemma",
        {"model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "num_labels": 1}
        | {"decoder_start_token_id": 0, "tie_word_embeddings": True},
    ),
    "deberta-embedding": tiny.Kind(
        "DebertaV2Model", "deberta", tiny.KINDS["deberta-cross"].config | {"conv_kernel_size": 3}
    ),
}
ANSWER = Answer(positive=40, negative=41)
EOS = 1


@pytest.fixture(autouse=True)
def _more_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in MORE_KINDS.items():
        monkeypatch.setitem(tiny.KINDS, name, kind)


def _sequences(*lengths: int) -> list[Tokens]:
    """Return random sequences that all end in the token with which some models end a text."""
    stream = np.random.RandomState(0)
    drawn = [np.append(stream.randint(5, 300, length - 1), EOS) for length in lengths]
    return [Tokens(ids.astype(np.int32)) for ids in drawn]


def _open(directory: Path, readout: Readout) -> Backend:
    return open_torch(
        open_checkpoint(str(directory)),
        readout,
        Batch(_sequences(3, 40, 90)),
        device="cpu",
        dtype="float32",
        half="bfloat16",
        max_batch_tokens=None,
        trust_remote_code=False,
    )


def _pretrained(kind: Any, directory: Path) -> Any:
    return kind.from_pretrained(directory).eval()


def _classify_alone(directory: Path, sequences: list[Tokens]) -> list[float]:
    model = _pretrained(transformers.AutoModelForSequenceClassification, directory)
    return [float(_alone(model, sequence).logits[0, 0]) for sequence in sequences]


def _answer_alone(directory: Path, sequences: list[Tokens]) -> list[float]:
    model = _pretrained(transformers.AutoModelForCausalLM, directory)
    assert ANSWER.negative is not None
    logits = [_alone(model, sequence).logits[0, -1] for sequence in sequences]
    return [float(row[ANSWER.positive] - row[ANSWER.negative]) for row in logits]


def _alone(model: Any, sequence: Tokens) -> Any:
    ids = torch.from_numpy(sequence.ids.astype(np.int64))[None]
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids))


def _assert_close(found: Any, expected: Any, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


# models that are not what they seem

Change = Callable[[dict[str, Any]], None]


def _shift_positions(inputs: dict[str, Any]) -> None:
    inputs["position_ids"] = inputs["position_ids"].clone()
    inputs["position_ids"][:, 1:] += 1


def _lose_segments(inputs: dict[str, Any]) -> None:
    del inputs["segments"]


def _ask_for_sinks(inputs: dict[str, Any]) -> None:
    inputs["s_aux"] = torch.ones(4)


def _fail_with(error: type[Exception]) -> Change:
    def fail(inputs: dict[str, Any]) -> None:
        raise error("no such input")

    return fail


def _misread(patch: pytest.MonkeyPatch, kind: type[Any], change: Change) -> None:
    """Make a model treat its inputs in another way when it is given positions, as only packed runs do."""
    read = kind.forward

    @functools.wraps(read)
    def forward(self: Any, *given: Any, **inputs: Any) -> Any:
        if inputs.get("position_ids") is not None:
            change(inputs)
        return read(self, *given, **inputs)

    patch.setattr(kind, "forward", forward)


FAILURES = (TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError, AssertionError)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_shift_positions, "something else"),
        (_lose_segments, "segments"),
        (_ask_for_sinks, "s_aux"),
        *(pytest.param(_fail_with(error), "", id=error.__name__) for error in FAILURES),
    ],
)
def test_a_model_that_differs_packed_is_never_run_packed(
    change: Change, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong when a model is tried packed, it runs padded, says why, and gives its own scores."""
    directory = tiny.build("electra-cross", tmp_path)
    sequences = _sequences(3, 90, 17, 40)
    expected = _classify_alone(directory, sequences)
    _misread(monkeypatch, transformers.ElectraModel, change)

    with caplog.at_level(logging.INFO, "resift"):
        backend = _open(directory, Classify())

    assert backend.padded
    assert f"{directory} runs padded: " in caplog.text
    assert reason in caplog.text
    _assert_close(backend.run(Batch(sequences))[:, 0], expected)


@pytest.mark.parametrize("change", [_shift_positions, _lose_segments])
def test_a_language_model_falls_back_too(
    change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A language model that differs packed is padded, and prefixes are put back in front of their tails."""
    directory = tiny.build("llama", tmp_path)
    tails, (prefix, other) = _sequences(1, 30, 7, 12), _sequences(20, 9)
    prefix_of = [0, None, 1, 0]
    heads = [prefix.ids, np.empty(0, np.int32), other.ids, prefix.ids]
    whole = [Tokens(np.concatenate([head, tail.ids])) for head, tail in zip(heads, tails, strict=True)]
    expected = _answer_alone(directory, whole)
    assert not _open(directory, ANSWER).padded
    _misread(monkeypatch, transformers.LlamaModel, change)

    backend = _open(directory, ANSWER)

    assert backend.padded
    _assert_close(backend.run(Batch(tails, [prefix.ids, other.ids], prefix_of))[:, 0], expected)


@pytest.mark.parametrize("kind", ["llama-cross", "gpt2-cross"])
@pytest.mark.parametrize("padding", [2, None])
def test_a_head_at_the_end_of_a_padded_text_is_found(
    kind: str, padding: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A padded classifier that reads the last token reads each text's own last one, with a padding token or without."""
    directory = tiny.build(kind, tmp_path, pad_token_id=padding)
    sequences = _sequences(5, 60, 2, 33)
    _misread(monkeypatch, transformers.LlamaModel, _shift_positions)

    backend = _open(directory, Classify())

    assert backend.padded
    _assert_close(backend.run(Batch(sequences))[:, 0], _classify_alone(directory, sequences))


def test_padding_is_tried_as_well(tmp_path: Path) -> None:
    """A model that reads its padding, because its head takes the last position whatever it holds, is never padded."""
    directory = tiny.build("xlnet-cross", tmp_path)
    sequences = _sequences(5, 60, 7)

    found = _open(directory, Classify()).run(Batch(sequences))

    _assert_close(found[:, 0], _classify_alone(directory, sequences))


def test_a_model_keeps_the_weights_that_its_code_looks_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose code reads the weights of its layers runs, however fast prepacked layers are."""
    monkeypatch.setattr(linears, "prepacking_pays", lambda _: True)
    directory = tiny.build("t5-cross", tmp_path, eos_token_id=EOS)
    sequences = _sequences(9, 9, 9)

    found = _open(directory, Classify()).run(Batch(sequences))

    _assert_close(found[:, 0], _classify_alone(directory, sequences))


@pytest.mark.parametrize("pooling", [("cls",), ("mean",), ("max", "lasttoken")])
def test_a_padded_model_is_pooled_over_its_text_alone(pooling: Any, tmp_path: Path) -> None:
    """Vectors of a model that must be padded hold nothing of the padding."""
    directory = tiny.build("deberta-embedding", tmp_path)
    sequences = _sequences(5, 60, 7)
    model = _pretrained(transformers.AutoModel, directory)
    backend = _open(directory, Embed(pooling, normalize=False))
    pools = {
        "cls": lambda states: states[0],
        "mean": lambda states: states.mean(0),
        "max": lambda states: states.amax(0),
        "lasttoken": lambda states: states[-1],
    }

    found = backend.run(Batch(sequences))

    assert backend.padded
    states = [_alone(model, sequence).last_hidden_state[0] for sequence in sequences]
    _assert_close(found, [np.concatenate([pools[pool](rows).numpy() for pool in pooling]) for rows in states])


# what cannot be read


@pytest.mark.parametrize("kind", ["granite", "roberta-lm"])
def test_a_head_that_does_more_than_project_is_refused(kind: str, tmp_path: Path) -> None:
    """A language model whose logits are not its last state times its output rows is refused, never scored wrongly."""
    directory = tiny.build(kind, tmp_path)

    with pytest.raises(ModelUnsupported, match=tiny.KINDS[kind].architecture):
        _open(directory, ANSWER)


@pytest.fixture
def remote(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that brings its own code, whatever it calls itself."""
    return own_code.build(tmp_path / "remote", monkeypatch, model_type=request.param)


@pytest.mark.parametrize("remote", ["toy"], indirect=True)
def test_a_models_own_code_is_not_run_unasked(remote: Path) -> None:
    """A model that brings its own code says so, and what to pass once one has read it."""
    with pytest.raises(ModelUnsupported, match="trust_remote_code=True"):
        resift.load(remote, device="cpu")


@pytest.mark.parametrize("remote", ["toy", "bert"], indirect=True)
def test_a_models_own_code_runs_padded(remote: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A model's own code, once trusted, runs padded and scores as it says."""
    with (
        caplog.at_level(logging.INFO, "resift"),
        resift.load(remote, device="cpu", trust_remote_code=True, normalize=False) as ranker,
    ):
        one, two, both = ranker.score("panda", ["bear", "bamboo", "bear bamboo"])
        nothing = ranker.score("panda", [""])[0]

    assert "runs padded" in caplog.text
    assert both + nothing == pytest.approx(one + two, abs=1e-4)
    assert one != two
