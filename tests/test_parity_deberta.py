"""DeBERTa, in our own forward pass, says what it says in transformers, whatever its configuration asks for."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForSequenceClassification
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

import resift
import tiny
from resift.checkpoint import open_checkpoint
from resift.scoring.backends import Answer, Classify, Embed, Readout
from resift.scoring.backends.torch.deberta import DebertaBody, _partition, open_deberta
from resift.scoring.backends.torch.packing import pack
from resift.scoring.backends.torch.running import Reader, read
from resift.scoring.planning import Batch, Tokens
from states import pooled

CPU = torch.device("cpu")
CLOSE = 1e-5
LENGTHS = (1, 2, 5, 17, 33, 64, 65, 130, 400, 512)
LIKE = "mixedbread-ai/mxbai-rerank-base-v1"

CONFIGS: dict[str, dict[str, Any]] = {
    "as released": {},
    "keys of its own": {"share_att_key": False},
    "one way": {"pos_att_type": ["c2p"]},
    "the other way": {"pos_att_type": "p2c", "share_att_key": False},
    "by content alone": {"pos_att_type": []},
    "no buckets": {"position_buckets": -1, "max_relative_positions": 20},
    "as far as it reads": {"position_buckets": -1},
    "narrow words": {"embedding_size": 16, "norm_rel_ebd": "none"},
    "absolute positions as well": {"position_biased_input": True, "type_vocab_size": 2},
    "another pooler": {"pooler_hidden_act": "tanh"},
    "medium": {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 6}
    | {"pooler_hidden_size": 192, "position_buckets": 256},
}


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    return lambda **config: tiny.build("deberta-cross", tmp_path / "model", **config)


def _sequences(lengths: Sequence[int] = LENGTHS) -> list[Tokens]:
    numbers = np.random.default_rng(0)
    return [
        Tokens(numbers.integers(5, 200, length).astype(np.int32), numbers.integers(0, 2, length).astype(np.int32))
        for length in lengths
    ]


def _open(directory: Path, readout: Readout | None = None) -> tuple[DebertaBody, Reader] | None:
    checkpoint = open_checkpoint(str(directory))
    return open_deberta(checkpoint, readout or Classify(), device=CPU, dtype=torch.float32)


def _opened(directory: Path, readout: Readout | None = None) -> tuple[DebertaBody, Reader]:
    opened = _open(directory, readout)
    assert opened is not None
    return opened


def _read(body: DebertaBody, reader: Reader, sequences: Sequence[Tokens]) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(read(body, reader, Batch(sequences), device=CPU).numpy())


def _expected(directory: Path, sequences: Sequence[Tokens]) -> list[float]:
    """Return what transformers says of each sequence alone."""
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    logits = []
    for sequence in sequences:
        assert sequence.types is not None
        ids, types = (torch.tensor([column.tolist()]) for column in (sequence.ids, sequence.types))
        with torch.inference_mode():
            logits.append(float(model(input_ids=ids, token_type_ids=types).logits))
    return logits


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_logits_are_those_of_transformers(config: dict[str, Any], build: Callable[..., Path]) -> None:
    """A batch of sequences, from one token to all that fit, says what transformers says of each."""
    directory, sequences = build(**config), _sequences()
    expected = _expected(directory, sequences)
    body, reader = _opened(directory)
    together = DebertaBody(
        open_checkpoint(str(directory)).config,
        {name.removeprefix("deberta."): torch.from_numpy(weight) for name, weight in _weights(directory).items()},
        together=True,
    )

    assert np.std(expected) > 0.05
    np.testing.assert_allclose(_read(body, reader, sequences)[:, 0], expected, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(_read(together, reader, sequences)[:, 0], expected, atol=CLOSE, rtol=0)


def _weights(directory: Path) -> dict[str, np.ndarray]:
    return load_file(directory / "model.safetensors")


@pytest.mark.parametrize("together", [False, True])
def test_any_token_can_be_read(*, together: bool, build: Callable[..., Path]) -> None:
    """Reading one token of each sequence gives what reading all gives there, whichever token it is."""
    body, _ = _opened(build(share_att_key=False))
    body._together = together  # noqa: SLF001 - as on a GPU
    packed = pack(Batch(_sequences()), body.positions, CPU)
    with torch.inference_mode():
        whole = body(packed, None)
        for rows in (packed.firsts, packed.lasts, (packed.firsts + packed.lasts) // 2):
            torch.testing.assert_close(body(packed, rows), whole[rows], atol=CLOSE, rtol=0)


@pytest.mark.parametrize("together", [False, True])
def test_company_changes_nothing(*, together: bool, build: Callable[..., Path]) -> None:
    """A sequence's logit is the same alone, beside longer ones, and in any order."""
    body, reader = _opened(build())
    body._together = together  # noqa: SLF001 - as on a GPU
    sequences = _sequences((40, 512, 3, 41, 1, 300, 42, 40))
    batched = _read(body, reader, sequences)
    alone = np.concatenate([_read(body, reader, [sequence]) for sequence in sequences])
    backwards = _read(body, reader, sequences[::-1])[::-1]

    np.testing.assert_allclose(batched, alone, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(batched, backwards, atol=CLOSE, rtol=0)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=40), st.booleans())
def test_groups_are_of_like_lengths(lengths: list[int], together: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    """Every sequence is in one group, with others only where they are nearly as long and fit beside it."""
    groups = list(_partition(lengths, together=together))

    assert sorted(at for owners in groups for at in owners) == list(range(len(lengths)))
    for owners in groups:
        longest = lengths[owners[0]]
        assert all(0.7 * longest <= lengths[at] <= longest for at in owners)
        assert len(owners) == 1 or (together and len(owners) * 2 * longest**2 <= 2**22)


@pytest.mark.parametrize(("buckets", "farthest"), [(32, 512), (256, 512), (64, 128), (16, 2048)])
def test_distances_fall_into_the_same_buckets(buckets: int, farthest: int, build: Callable[..., Path]) -> None:
    """Every distance is told apart from the others as transformers does it, beyond the farthest as well."""
    body, _ = _opened(build(position_buckets=buckets, max_relative_positions=farthest))
    length = 700
    distances = torch.arange(1 - length, length)
    expected = make_log_bucket_position(distances, buckets, farthest).long() + buckets

    found = body._distances.within(length, CPU)  # noqa: SLF001 - a table that nothing else shows
    assert found.tolist() == expected.clamp(0, 2 * buckets - 1).tolist()
    assert body._distances.within(3, CPU).tolist() == found[length - 3 : length + 2].tolist()  # noqa: SLF001


@pytest.mark.parametrize("pooling", ["cls", "mean", "lasttoken"])
def test_vectors_are_those_of_transformers(pooling: Any, build: Callable[..., Path]) -> None:
    """As an embedding model it gives the vectors that transformers' hidden states are pooled to."""
    directory, sequences = build(), _sequences()
    found = _read(*_opened(directory, Embed((pooling,), normalize=False)), sequences)

    np.testing.assert_allclose(found, pooled(directory, sequences, pooling), atol=CLOSE, rtol=0)


@pytest.mark.parametrize(
    "config",
    [{"conv_kernel_size": 3}, {"relative_attention": False}, {"hidden_act": "relu"}, {"pooler_hidden_act": "relu"}],
    ids=lambda config: next(iter(config)),
)
def test_what_is_not_ours_runs_by_the_authors_code(config: dict[str, Any], build: Callable[..., Path]) -> None:
    """A variant that is not computed here is left to transformers, and scores as there."""
    directory = build(**config)
    assert _open(directory) is None
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    with resift.load(directory, device="cpu", normalize=False) as ranker:
        scores = ranker.score(tiny.QUERY, tiny.DOCUMENTS[:6])
        prepared = ranker._hold.family.prepare(tiny.QUERY, tiny.DOCUMENTS[:6], None)  # noqa: SLF001
    with torch.inference_mode():
        expected = [float(model(input_ids=torch.tensor([one.ids.tolist()])).logits) for one in prepared.sequences]
    assert scores == pytest.approx(expected, abs=CLOSE)


def test_what_is_no_classifier_is_not_opened(build: Callable[..., Path]) -> None:
    """A language model's answer is not read from it, and a checkpoint that lacks a weight is left to who can say so."""
    directory = build()
    assert _open(directory, Answer(1)) is None
    weights = _weights(directory)
    del weights["deberta.encoder.rel_embeddings.weight"]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    assert _open(directory) is None


def test_it_runs_packed_and_applies_a_sigmoid(build: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    """mxbai-rerank v1 is read as its authors read it: packed here, 512 tokens, a probability out."""
    directory = build()
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"sbert_ce_default_activation_function": "x.Identity"}))
    with caplog.at_level("INFO", logger="resift"), resift.load(directory, like=LIKE, device="cpu") as ranker:
        scores = ranker.score(tiny.QUERY, tiny.DOCUMENTS)
        assert ranker.max_length == 512
    with resift.load(directory, device="cpu", normalize=False) as ranker:
        logits = ranker.score(tiny.QUERY, tiny.DOCUMENTS)

    assert "packed" in caplog.text
    assert scores == pytest.approx([1 / (1 + math.exp(-logit)) for logit in logits], abs=1e-6)


def test_half_precision_stays_near(build: Callable[..., Path]) -> None:
    """In bfloat16 it is no farther from full precision than transformers is in that format."""
    directory, sequences = build(), _sequences()
    checkpoint = open_checkpoint(str(directory))
    opened = open_deberta(checkpoint, Classify(), device=CPU, dtype=torch.bfloat16)
    assert opened is not None
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.bfloat16)
    with torch.inference_mode():
        theirs = [float(model(input_ids=torch.tensor([one.ids.tolist()])).logits) for one in sequences]
    exact, ours = np.array(_expected(directory, sequences)), _read(*opened, sequences)[:, 0]

    assert np.abs(ours - exact).max() < 1.2 * np.abs(np.array(theirs) - exact).max()
