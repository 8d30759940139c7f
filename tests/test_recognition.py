"""From a model's files to how it is read, or to an error that says what was found and what to do."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resift
import tiny
from resift.checkpoint import open_checkpoint
from resift.errors import InvalidInput, ModelUnsupported, ResiftError
from resift.scoring.backends import Answer, Classify, Embed, Readout
from resift.scoring.families import Family, Prepared
from resift.scoring.families.embedding import EmbeddingModel
from resift.scoring.families.pair import PairCrossEncoder
from resift.scoring.families.prompted import PromptedLM
from resift.scoring.recognition import Recognised, recognise
from resift.settings import Prompt, Settings
from resift.tokenizing import TextEncoder

MXBAI = "mixedbread-ai/mxbai-rerank-base-v2"
QWEN3 = "Qwen/Qwen3-Reranker-0.6B"
GEMMA = "BAAI/bge-reranker-v2-gemma"
PLAIN_PROMPT = Prompt(pieces=("Query: {query}\n", "Document: {document}\n", "Relevant?"), positive="yes")
IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"
ENDLESS = int(1e30)  # what transformers writes for "no limit"
LONG = "The giant panda eats bamboo. " * 2000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "model"


def _set(directory: Path, name: str, **fields: Any) -> None:
    """Change fields of a JSON file of a model, which may not be there yet; None takes a field away."""
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    content = (json.loads(path.read_text()) if path.exists() else {}) | fields
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def _recognise(directory: Path, *, name: str | None = None, **options: Any) -> Recognised:
    checkpoint = open_checkpoint(str(directory))
    return recognise(replace(checkpoint, name=name or checkpoint.name), Settings(model=str(directory), **options))


def _read(recognised: Recognised, query: str = "panda", document: str = "bamboo") -> Prepared:
    return recognised.family.prepare(query, [document], None)


def _longest(recognised: Recognised) -> int:
    prepared = _read(recognised, document=LONG)
    assert list(prepared.cut) == [True]
    return len(prepared.prefix) + len(prepared.sequences[-1])


def _applies_sigmoid(recognised: Recognised) -> bool:
    score = float(_read(recognised).finish(np.array([[2.0]], dtype=np.float32), None)[0])
    assert score in {2.0, 1 / (1 + math.exp(-2))}
    return score != 2.0


def _refused(directory: Path | str, kind: type[ResiftError] = ModelUnsupported, **options: Any) -> str:
    """Load, expect a refusal that names the model, and return its message."""
    with pytest.raises(kind) as refused:
        resift.load(directory, device="cpu", **options)
    assert str(directory) in str(refused.value)
    return str(refused.value)


# what kind of model it is


@pytest.mark.parametrize(
    ("kind", "like", "family", "readout"),
    [
        ("bert-cross", None, PairCrossEncoder, Classify),
        ("xlmr-cross", None, PairCrossEncoder, Classify),
        ("deberta-cross", None, PairCrossEncoder, Classify),
        ("modernbert-cross", None, PairCrossEncoder, Classify),
        ("qwen3-cross", QWEN3, PromptedLM, Classify),
        ("xlmr-cross", "BAAI/bge-reranker-v2-m3", PairCrossEncoder, Classify),
        ("bert-embedding", None, EmbeddingModel, Embed),
        ("bert-embedding", "BAAI/bge-large-en-v1.5", EmbeddingModel, Embed),
        ("qwen2", MXBAI, PromptedLM, Answer),
        ("qwen3", QWEN3, PromptedLM, Answer),
        ("gemma", GEMMA, PromptedLM, Answer),
        ("gemma2", PLAIN_PROMPT, PromptedLM, Answer),
    ],
)
def test_a_model_is_known_by_its_files_or_by_what_it_is_like(
    kind: str, like: Any, family: type[Family], readout: type[Readout], directory: Path
) -> None:
    """A head for pairs, a chain that ends in a vector, a language model with a prompt: each is read as its kind."""
    recognised = _recognise(tiny.build(kind, directory), like=like)

    assert isinstance(recognised.family, family)
    assert isinstance(recognised.readout, readout)


def test_a_catalogued_model_is_read_as_its_authors_decided(directory: Path) -> None:
    """A catalogued name says what the files do not; a stranger with the same files is read by them alone."""
    tiny.build("xlmr-cross", directory)

    assert _applies_sigmoid(_recognise(directory))
    for name in ("BAAI/bge-reranker-base", "baai/BGE-reranker-base", "x/models--BAAI--bge-reranker-base/snapshots/1"):
        assert not _applies_sigmoid(_recognise(directory, name=name))
        assert not _applies_sigmoid(_recognise(directory, like=name))


def test_like_wins_over_the_name(directory: Path) -> None:
    """A caller who says what a model is like is believed, whatever its name and its files say."""
    prompted = tiny.build("qwen3", directory)

    recognised = _recognise(prompted, name=MXBAI, like=QWEN3)

    assert _applies_sigmoid(recognised)


@pytest.mark.parametrize(
    ("like", "kind", "texts"),
    [
        (MXBAI, "qwen2", ("1", "0")),
        (QWEN3, "qwen3", ("yes", "no")),
        (GEMMA, "gemma", ("Yes",)),
        (PLAIN_PROMPT, "qwen2", ("yes",)),
    ],
)
def test_answers_are_tokens_of_the_models_own_vocabulary(
    like: Any, kind: str, texts: tuple[str, ...], directory: Path
) -> None:
    """What is read are the logits of the answers' own tokens, one or two."""
    recognised = _recognise(tiny.build(kind, directory), like=like)

    encoder = TextEncoder(directory / "tokenizer.json")
    assert recognised.readout == Answer(*(encoder.token(text) or -1 for text in texts))


@pytest.mark.parametrize(
    ("kind", "like", "half"),
    [
        ("bert-cross", None, "float16"),
        ("xlmr-cross", None, "float16"),
        ("bert-embedding", None, "float16"),
        ("deberta-cross", None, "bfloat16"),
        ("modernbert-cross", None, "bfloat16"),
        ("qwen3", QWEN3, "bfloat16"),
    ],
)
def test_half_precision_suits_the_model(kind: str, like: Any, half: str, directory: Path) -> None:
    """Only models whose activations are known to stay small get the format with the small range."""
    assert _recognise(tiny.build(kind, directory), like=like).half == half


# what becomes of the logit

OWN = "config_sentence_transformers.json"


@pytest.mark.parametrize(
    ("own", "nested", "old", "sigmoid"),
    [
        (None, None, None, True),
        (None, None, IDENTITY, False),
        (None, None, SIGMOID, True),
        (None, IDENTITY, None, False),
        (None, SIGMOID, IDENTITY, True),
        (None, IDENTITY, SIGMOID, False),
        (IDENTITY, None, None, False),
        (IDENTITY, SIGMOID, SIGMOID, False),
        (SIGMOID, IDENTITY, IDENTITY, True),
        ("torch.nn.Identity", None, None, False),
    ],
)
def test_the_saved_activation_is_applied(
    own: str | None,
    nested: str | None,
    old: str | None,
    sigmoid: bool,  # noqa: FBT001
    directory: Path,
) -> None:
    """The newest of the three places that name an activation decides; a sigmoid is applied where none does."""
    tiny.build("bert-cross", directory)
    _set(directory, "config.json", sentence_transformers=nested and {"activation_fn": nested, "version": "4.0"})
    _set(directory, "config.json", sbert_ce_default_activation_function=old)
    if own is not None:  # read only where sentence-transformers reads it: beside a chain of modules
        _set(directory, OWN, activation_fn=own)
        (directory / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.Transformer", "path": ""}]))

    assert _applies_sigmoid(_recognise(directory)) is sigmoid


def test_the_saved_activation_reaches_the_scores(directory: Path) -> None:
    """A cross-encoder saved with Identity scores in logits; asked to, it scores in [0, 1]."""
    tiny.build("bert-cross", directory, sbert_ce_default_activation_function=IDENTITY)
    with resift.load(directory, device="cpu") as authors, resift.load(directory, device="cpu", normalize=True) as ours:
        logits, scores = (np.array(ranker.score(tiny.QUERY, tiny.DOCUMENTS)) for ranker in (authors, ours))

    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), rtol=0, atol=1e-9)
    assert logits.max() > 1


def test_an_unknown_activation_is_refused(directory: Path) -> None:
    """A function that is not known is named, not skipped."""
    message = _refused(tiny.build("bert-cross", directory, sbert_ce_default_activation_function="acme.Tanh"))

    assert "'acme.Tanh'" in message
    assert "Identity and Sigmoid" in message


# how much it reads


@pytest.mark.parametrize(
    ("kind", "declared", "longest"),
    [
        ("bert-cross", (512, ENDLESS, None), 512),
        ("bert-cross", (512, 100, None), 100),
        ("bert-cross", (512, 512, 64), 64),
        ("bert-cross", (128, 512, 300), 128),
        ("bert-cross", (512, None, None), 512),
        ("xlmr-cross", (514, ENDLESS, None), 512),  # two of the positions stand for padding
        ("roberta-cross", (130, 512, None), 128),
        ("bert-embedding", (512, ENDLESS, 48), 48),
        ("bert-embedding", (96, 512, 512), 96),
    ],
)
def test_the_shortest_declared_length_holds(
    kind: str, declared: tuple[int, int | None, int | None], longest: int, directory: Path
) -> None:
    """Of what the positions, the tokenizer and sentence-transformers allow, a model reads the least."""
    positions, tokenizer, sentence_bert = declared
    tiny.build(kind, directory, max_position_embeddings=positions)
    _set(directory, "tokenizer_config.json", model_max_length=tokenizer)
    _set(directory, "sentence_bert_config.json", max_seq_length=sentence_bert)

    assert _longest(_recognise(directory)) == longest


@pytest.mark.parametrize(
    ("kind", "like", "positions", "longest"),
    [
        ("xlmr-cross", "BAAI/bge-reranker-v2-m3", 1026, 512),
        ("xlmr-cross", "BAAI/bge-reranker-v2-m3", 130, 128),
        ("bert-embedding", "BAAI/bge-small-en", 128, 128),
        ("qwen2", PLAIN_PROMPT, 300, 300),
        ("qwen3", QWEN3, 300, 300),
        ("qwen2", MXBAI, 400, 400),
        ("gemma", GEMMA, 300, 300),
    ],
)
def test_a_model_that_is_like_another_reads_no_more_than_it_can(
    kind: str, like: Any, positions: int, longest: int, directory: Path
) -> None:
    """A catalogued length holds for a copy, as far as the copy has positions for it."""
    tiny.build(kind, directory, max_position_embeddings=positions)

    assert _longest(_recognise(directory, like=like)) == longest
    with resift.load(directory, like=like, device="cpu") as ranker:
        assert math.isfinite(ranker.score("panda", [LONG])[0])


@pytest.mark.parametrize(("kind", "most"), [("bert-cross", 512), ("xlmr-cross", 512), ("bert-embedding", 512)])
def test_a_given_length_wins_within_the_model(kind: str, most: int, directory: Path) -> None:
    """A caller may read more than the files declare, up to the positions; beyond them is an error with both numbers."""
    tiny.build(kind, directory)
    _set(directory, "tokenizer_config.json", model_max_length=100)

    assert _longest(_recognise(directory, max_length=most)) == most
    assert _longest(_recognise(directory, max_length=20)) == 20
    message = _refused(directory, InvalidInput, max_length=most + 1)
    assert f"max_length={most + 1}" in message
    assert f"{most} tokens" in message


# token types


@pytest.mark.parametrize(
    ("kind", "names", "typed"),
    [
        ("bert-cross", None, True),
        ("bert-cross", ["input_ids", "token_type_ids", "attention_mask"], True),
        ("bert-cross", ["input_ids", "attention_mask"], False),
        ("electra-cross", None, True),
        ("xlmr-cross", None, False),
        ("roberta-cross", None, False),
        ("distilbert-cross", None, False),
        ("deberta-cross", None, False),
        ("modernbert-cross", None, False),
    ],
)
def test_token_types_are_given_to_models_that_know_them(
    kind: str,
    names: list[str] | None,
    typed: bool,  # noqa: FBT001
    directory: Path,
) -> None:
    """The second text has type 1 where model and tokenizer know types; other models get none."""
    tiny.build(kind, directory)
    _set(directory, "tokenizer_config.json", model_input_names=names)

    types = _read(_recognise(directory)).sequences[0].types

    assert (types is not None) is typed
    assert types is None or sorted(set(types.tolist())) == [0, 1]


@pytest.mark.parametrize(
    ("tokens", "begins"),
    [({}, True), ({"pad_token": "<bos>"}, False), ({"bos_token": "<eos>"}, True)],
)
def test_a_prompt_begins_as_the_authors_package_lets_it(tokens: dict[str, Any], begins: bool, directory: Path) -> None:  # noqa: FBT001
    """The beginning-of-sequence token comes first where there is one, and where it is not the padding token as well."""
    tiny.build("gemma", directory)
    plain = _read(_recognise(directory, like=GEMMA)).sequences[0].ids
    _set(directory, "tokenizer_config.json", **tokens)
    first = TextEncoder(directory / "tokenizer.json").token(tokens.get("bos_token") or "<bos>")

    found = _read(_recognise(directory, like=GEMMA)).sequences[0].ids

    assert found.tolist() == [*([first] if begins else []), *plain[1:]]


def test_a_model_of_one_type_is_given_none(directory: Path) -> None:
    """Where a tokenizer tells the second text by a type that the model has no row for, no types are given."""
    tiny.build("bert-cross", directory, type_vocab_size=1)

    assert _read(_recognise(directory)).sequences[0].types is None
