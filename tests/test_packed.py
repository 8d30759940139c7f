"""Packed runs say what the models themselves say: every sequence alone, unpadded, through transformers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tiny
from resift.checkpoint import open_checkpoint
from resift.scoring.backends import Answer, Backend, Classify, Embed, Readout
from resift.scoring.backends.torch import linears, open_torch
from resift.scoring.backends.torch.linears import PrepackedLinear, prepack_linears
from resift.scoring.planning import Batch, Ids, Tokens

LIMIT = 512
LENGTHS = (4, 5, 6, 9, 16, 17, 18, 33, 100, 257, LIMIT)  # three special tokens and one of text, up to the model's limit
TOLERANCE = {"float32": 2e-5, "bfloat16": 0.05}
ANSWER = Answer(positive=40, negative=41)
CLS, MEAN = Embed(("cls",), normalize=True), Embed(("mean", "max"), normalize=False)


@dataclass(frozen=True)
class Model:
    """A tiny model, what is read from it, and whether it runs packed."""

    kind: str
    readout: Readout = field(default_factory=Classify)
    config: dict[str, Any] = field(default_factory=dict)
    packed: bool = True


def _decoder(kind: str, **config: Any) -> Model:
    return Model(kind, ANSWER, {"max_position_embeddings": LIMIT, **config})


SLIDING = {"use_sliding_window": True, "sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"] * 2}
MODELS = {
    "bert": Model("bert-cross"),
    "bert, causal": Model("bert-cross", config={"is_decoder": True}),
    "xlm-roberta": Model("xlmr-cross"),
    "roberta": Model("roberta-cross"),
    "distilbert": Model("distilbert-cross"),
    "electra": Model("electra-cross"),
    "modernbert, [CLS]": Model("modernbert-cross", config={"classifier_pooling": "cls"}),
    "bert, one vector": Model("bert-embedding", CLS),
    "bert, two vectors": Model("bert-embedding", MEAN),
    "qwen2": _decoder("qwen2"),
    "qwen2, sliding": _decoder("qwen2", num_hidden_layers=4, max_window_layers=0, **SLIDING),
    "qwen3": _decoder("qwen3"),
    "qwen3, one answer": Model("qwen3", Answer(positive=40)),
    "gemma": _decoder("gemma"),
    "gemma2": _decoder("gemma2"),
    "gemma2, capped": _decoder("gemma2", attn_logit_softcapping=1.0),
    "qwen3, head": Model("qwen3-cross"),
    "qwen3, head without padding": Model("qwen3-cross", config={"pad_token_id": None}),
    "qwen3, head, both ways": Model("qwen3-cross", config={"is_causal": False}),
    "modernbert, mean": Model("modernbert-cross", config={"classifier_pooling": "mean"}),
    "deberta": Model("deberta-cross"),
    "deberta, convolved": Model("deberta-cross", config={"conv_kernel_size": 3}, packed=False),
}
DECODERS = [name for name, model in MODELS.items() if isinstance(model.readout, Answer)]


@dataclass(frozen=True)
class Opened:
    """A model in both forms."""

    backend: Backend
    plain: Any
    readout: Readout
    log: str

    def alone(self, sequence: Tokens) -> np.ndarray[Any, Any]:
        """Return what transformers says about one sequence."""
        inputs = {"input_ids": _tensor(sequence.ids), "attention_mask": torch.ones(1, len(sequence), dtype=torch.int64)}
        if sequence.types is not None:
            inputs["token_type_ids"] = _tensor(sequence.types)
        with torch.inference_mode():
            output = self.plain(**inputs)
        return np.asarray(_read_plainly(output, self.readout).float().numpy())

    def sequences(self, lengths: Sequence[int] = LENGTHS, *, seed: int = 0) -> list[Tokens]:
        """Return random sequences, with the token types that the model knows; none holds a padding token."""
        stream = np.random.RandomState(seed)
        drawn = [stream.randint(5, self.plain.config.vocab_size, length) for length in lengths]
        padding = self.plain.config.pad_token_id
        ids = [np.where(numbers == padding, 6, numbers).astype(np.int32) for numbers in drawn]
        typed = getattr(self.plain.config, "type_vocab_size", 0) > 1
        return [Tokens(numbers, _two_texts(len(numbers)) if typed else None) for numbers in ids]


def _read_plainly(output: Any, readout: Readout) -> torch.Tensor:
    if isinstance(readout, Classify):
        return output.logits[0]  # type: ignore[no-any-return]
    if isinstance(readout, Answer):
        last = output.logits[0, -1]
        return (last[readout.positive] - (0 if readout.negative is None else last[readout.negative]))[None]  # type: ignore[no-any-return]
    states = output.last_hidden_state[0]
    if readout == CLS:
        return torch.nn.functional.normalize(states[0].float(), dim=-1)
    return torch.cat([states.mean(0), states.amax(0)])


def _tensor(ids: Ids) -> torch.Tensor:
    return torch.from_numpy(ids.astype(np.int64))[None]


def _two_texts(length: int) -> Ids:
    return (np.arange(length) >= length // 3).astype(np.int32)


def _sample() -> Batch:
    return Batch([Tokens(np.arange(7, 7 + length, dtype=np.int32)) for length in (3, 30, 90)])


_AUTO = {
    Classify: transformers.AutoModelForSequenceClassification,
    Answer: transformers.AutoModelForCausalLM,
    Embed: transformers.AutoModel,
}


class Zoo:
    """Builds each model once, and opens it in each precision once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._opened: dict[tuple[str, str], Opened] = {}

    def build(self, name: str) -> Path:
        directory = self._directory / name
        if not directory.exists():
            tiny.build(MODELS[name].kind, directory, **MODELS[name].config)
        return directory

    def open(self, name: str, dtype: str, log: pytest.LogCaptureFixture) -> Opened:
        if (name, dtype) not in self._opened:
            directory, readout = self.build(name), MODELS[name].readout
            plain = _AUTO[type(readout)].from_pretrained(directory, dtype=getattr(torch, dtype)).eval()
            log.clear()
            with log.at_level(logging.INFO, "resift"):
                backend = open_backend(directory, readout, dtype)
            self._opened[name, dtype] = Opened(backend, plain, readout, log.text)
        return self._opened[name, dtype]


def open_backend(directory: Path, readout: Readout, dtype: str = "float32") -> Backend:
    return open_torch(
        open_checkpoint(str(directory)),
        readout,
        _sample(),
        device="cpu",
        dtype=dtype,
        half="bfloat16",
        max_batch_tokens=None,
        trust_remote_code=False,
    )


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("zoo"))


def _assert_close(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", MODELS)
def test_one_pass_says_what_the_model_says(name: str, dtype: str, zoo: Zoo, caplog: pytest.LogCaptureFixture) -> None:
    """Sequences from one token of text up to the model's limit, in one batch, get what each gets alone."""
    opened = zoo.open(name, dtype, caplog)
    sequences = opened.sequences()

    found = opened.backend.run(Batch(sequences))

    assert found.dtype == np.float32
    assert np.ptp(found[:, 0]) > 0.1  # scores that are all alike would prove nothing
    _assert_close(found, np.stack([opened.alone(sequence) for sequence in sequences]), TOLERANCE[dtype])


@pytest.mark.parametrize("name", MODELS)
def test_the_chosen_way_is_said(name: str, zoo: Zoo, caplog: pytest.LogCaptureFixture) -> None:
    """Whether a model runs packed or padded is known to the planner and told in the log."""
    opened = zoo.open(name, "float32", caplog)

    assert opened.backend.padded is not MODELS[name].packed
    assert ("packed" if MODELS[name].packed else "padded") in opened.log.splitlines()[-1]
    assert ("runs padded" in opened.log) is not MODELS[name].packed


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "qwen3", "deberta", "deberta, convolved", "modernbert, mean"])
def test_a_sequence_does_not_feel_its_neighbours(name: str, zoo: Zoo, caplog: pytest.LogCaptureFixture) -> None:
    """A sequence gets the same number alone and among a hundred others."""
    opened = zoo.open(name, "float32", caplog)
    sequences = opened.sequences([3 + count % 41 for count in range(100)])

    together = opened.backend.run(Batch(sequences))
    alone = np.concatenate([opened.backend.run(Batch([sequence])) for sequence in sequences])

    _assert_close(together, alone, 1e-5)


@pytest.mark.parametrize("name", ["xlm-roberta", "roberta"])
def test_padding_tokens_in_a_text_are_read_as_the_model_reads_them(
    name: str, zoo: Zoo, caplog: pytest.LogCaptureFixture
) -> None:
    """A text with a literal <pad> in it gets what the model gives it, although positions are counted past it."""
    opened = zoo.open(name, "float32", caplog)
    sequences = opened.sequences([12, 30, 7])
    for sequence in sequences:
        sequence.ids[[2, 5]] = opened.plain.config.pad_token_id

    found = opened.backend.run(Batch(sequences))

    _assert_close(found, np.stack([opened.alone(sequence) for sequence in sequences]), TOLERANCE["float32"])


@pytest.mark.parametrize("name", DECODERS)
def test_a_shared_prefix_changes_nothing(name: str, zoo: Zoo, caplog: pytest.LogCaptureFixture) -> None:
    """Prompts that share a prefix get what they get whole, in a batch with others that share another or none."""
    opened = zoo.open(name, "float32", caplog)
    prefixes = [sequence.ids for sequence in opened.sequences([24, 9], seed=1)]
    tails = opened.sequences([1, 2, 5, 9, 30, 120, 400])
    prefix_of = [0, 1, None, 0, 1, None, 0]

    found = opened.backend.run(Batch(tails, prefixes, prefix_of))
    whole = [
        Tokens(tail.ids if at is None else np.concatenate([prefixes[at], tail.ids]))
        for tail, at in zip(tails, prefix_of, strict=True)
    ]

    _assert_close(found, opened.backend.run(Batch(whole)), 1e-4)
    _assert_close(found, np.stack([opened.alone(sequence) for sequence in whole]), 1e-4)


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "electra", "qwen3, head", "qwen3", "gemma2"])
def test_the_head_is_read_in_full_precision(name: str, zoo: Zoo, caplog: pytest.LogCaptureFixture) -> None:
    """Scores that tie when a bfloat16 model reads its head in bfloat16 stay apart."""
    opened = zoo.open(name, "bfloat16", caplog)
    sequences = opened.sequences([20] * 200)
    for sequence in sequences:
        sequence.ids[:19] = sequences[0].ids[:19]  # alike but for the last token

    plain = np.concatenate([opened.alone(sequence) for sequence in sequences])
    found = opened.backend.run(Batch(sequences))[:, 0]

    distinct = len({sequence.ids[-1] for sequence in sequences})
    assert len(np.unique(plain)) < 0.95 * distinct  # the model itself cannot tell them all apart
    assert len(np.unique(found)) > 0.98 * distinct


# prepacked linear layers


@pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"), reason="this build of torch has no prepacked products"
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(48,), (1, 48), (7, 48), (1, 300, 48)])
def test_a_prepacked_layer_is_the_layer(
    shape: tuple[int, ...],
    bias: bool,  # noqa: FBT001
    dtype: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A prepacked linear layer gives what the plain one gives, whatever the shape and with or without a bias."""
    monkeypatch.setattr(linears, "prepacking_pays", lambda _: True)
    kind = getattr(torch, dtype)
    stream = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(48, 20, bias=bias).to(kind).requires_grad_(False)  # noqa: FBT003
    states = torch.randn(shape, generator=stream).to(kind)

    expected = layer(states)

    swapped = torch.nn.Sequential(layer)
    prepack_linears(swapped)

    assert not isinstance(swapped[0], torch.nn.Linear)
    assert swapped(states).dtype == kind
    torch.testing.assert_close(swapped(states), expected, rtol=0, atol={"float32": 1e-6, "bfloat16": 2e-2}[dtype])


@pytest.mark.parametrize("name", ["bert", "electra", "qwen3", "modernbert, mean", "deberta", "deberta, convolved"])
@pytest.mark.parametrize("pays", [True, False])
def test_a_model_says_the_same_prepacked_or_not(
    name: str,
    pays: bool,  # noqa: FBT001
    zoo: Zoo,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether this machine is faster with prepacked layers decides the time that a score takes, not the score."""
    opened = zoo.open(name, "float32", caplog)
    monkeypatch.setattr(linears, "prepacking_pays", lambda _: pays)

    backend = open_backend(zoo.build(name), opened.readout)
    sequences = opened.sequences((5, 60, 200))

    _assert_close(backend.run(Batch(sequences)), opened.backend.run(Batch(sequences)), TOLERANCE["float32"])


def test_only_plain_linear_layers_are_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that is more than a linear one keeps its own code."""

    class Special(torch.nn.Linear):
        """A linear layer with something of its own."""

    monkeypatch.setattr(linears, "prepacking_pays", lambda _: True)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), Special(4, 4), torch.nn.Sequential(torch.nn.Linear(4, 4)))
    states = torch.ones(2, 4)
    expected = model(states)

    prepack_linears(model)

    kinds = [type(module) for module in model.modules() if not isinstance(module, torch.nn.Sequential)]
    assert kinds == [PrepackedLinear, Special, PrepackedLinear]
    torch.testing.assert_close(model(states), expected, rtol=0, atol=1e-6)
