"""What `load` may be asked for, and how it answers what cannot mean anything."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resift
import tiny
from resift.api import opener
from resift.errors import InvalidInput, ModelUnsupported
from resift.scoring.catalog import ROWS
from resift.settings import Prompt, Settings

PIECES = ("Query: {query}", "\nDocument: {document}", "\nRelevant?")
NO_COUNTS = (0, -1, True, False, 1.5, 64.0, "64", np.float32(8), np.int64(0), [64], (64,))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("bert-cross", tmp_path_factory.mktemp("settings") / "model")


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("qwen2", tmp_path_factory.mktemp("settings") / "language-model")


def _refused(model: Path | str | None = None, **options: Any) -> str:
    """Load, expect a refusal, and return its message."""
    with pytest.raises(InvalidInput) as refused:
        resift.load(model, **options)
    return str(refused.value)


# counts


@pytest.mark.parametrize("name", ["max_length", "max_batch_tokens"])
@pytest.mark.parametrize("value", NO_COUNTS)
def test_a_limit_is_a_whole_number(name: str, value: Any) -> None:
    """A limit that is no whole number from 1 up is refused; the message names it and shows the value."""
    with pytest.raises(InvalidInput, match=name) as refused:
        Settings(**{name: value})
    assert repr(value) in str(refused.value)
    assert "1" in str(refused.value).replace(repr(value), "")


@pytest.mark.parametrize("name", ["max_length", "max_batch_tokens"])
@pytest.mark.parametrize("value", [None, 1, 512, np.int64(64), np.uint8(7)])
def test_any_whole_number_is_a_limit(name: str, value: Any) -> None:
    """Limits are whole numbers from 1 up, numpy's included, or not given."""
    plain: Any = None if value is None else int(value)

    assert getattr(Settings(**{name: value}), name) == plain
    assert Settings(**{name: value}) == Settings(**{name: plain})


def test_limits_are_checked_for_the_built_in_scorer_too() -> None:
    """An argument that means nothing is refused even where nothing would read it."""
    assert "max_length" in _refused(max_length=0)
    assert "max_batch_tokens" in _refused("lexical", max_batch_tokens=-1)


def test_a_length_beyond_the_model_is_refused(model: Path) -> None:
    """More tokens than the model has positions for cannot be asked of it; the message says how many it has."""
    message = _refused(model, max_length=513)

    assert "max_length=513" in message
    assert "512" in message
    with resift.load(model, max_length=512) as ranker:
        assert len(ranker.score("panda", ["bamboo " * 600])) == 1


def test_a_length_without_room_is_refused(model: Path) -> None:
    """A limit that leaves no token for a query and a document is refused; the message says what would do."""
    assert "max_length=4" in _refused(model, max_length=4)
    with resift.load(model, max_length=5) as ranker:
        assert ranker.rank("panda", ["bamboo", "panda bears"]).truncated


# one of a few words


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("dtype", "float-16", "float16"),
        ("dtype", "bfloat", "bfloat16"),
        ("backend", "tourch", "torch"),
        ("backend", "aut", "auto"),
        ("long_documents", "truncated", "truncate"),
    ],
)
def test_a_misspelt_word_is_corrected(name: str, value: str, meant: str) -> None:
    """A word that is nearly one of those that mean something is refused with that one."""
    message = _refused(**{name: value})

    assert name in message
    assert repr(value) in message
    assert f"did you mean {meant!r}" in message


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("dtype", ("auto", "float32", "float16", "bfloat16", "int8")),
        ("backend", ("auto", "torch", "onnx")),
        ("long_documents", ("truncate", "window")),
    ],
)
@pytest.mark.parametrize("value", ["zzz", "", False, 16, []])
def test_an_unknown_word_is_answered_with_the_known_ones(name: str, known: tuple[str, ...], value: Any) -> None:
    """A word that means nothing is refused with those that do."""
    with pytest.raises(InvalidInput, match=name) as refused:
        Settings(**{name: value})
    assert repr(value) in str(refused.value)
    assert all(word in str(refused.value) for word in known)


@pytest.mark.parametrize("value", [0, 1, "yes", "True", 0.5, [], np.bool_(0)])
def test_normalize_is_a_switch_of_three(value: Any) -> None:
    """`normalize` is None, True or False; a number that only resembles one of them is refused, not guessed."""
    with pytest.raises(InvalidInput, match="normalize") as refused:
        Settings(normalize=value)
    assert repr(value) in str(refused.value)


# devices


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "cuda:99", "CPU0"])
def test_an_unknown_device_is_answered_with_those_there_are(model: Path, device: str) -> None:
    """A device that is not there is refused, alone or among others; the message names it and those there are."""
    for asked in (device, ["cpu", device]):
        message = _refused(model, device=asked)

        assert repr(device) in message
        assert "cpu" in message.replace(repr(device), "")


@pytest.mark.parametrize("device", ["", [], (), [""], None, 0, [0], ["cpu", None]])
def test_a_device_is_a_name_or_names(device: Any) -> None:
    """Something that names no device is refused, and so is a list of none."""
    message = _refused(device=device)

    assert "device" in message


def test_several_devices_are_several_replicas(model: Path) -> None:
    """A list of devices runs one replica on each, and scores as one does."""
    with resift.load(model) as one, resift.load(model, device=["cpu", "cpu"]) as two:
        expected = one.score(tiny.QUERY, tiny.DOCUMENTS)

        assert two.score(tiny.QUERY, tiny.DOCUMENTS) == pytest.approx(expected, abs=1e-5)


# what a model is read like


def test_an_unknown_row_is_corrected(model: Path) -> None:
    """`like` must name a model of the catalogue; a misspelt one is answered with the closest."""
    message = _refused(model, like="BAAI/bge-reranker-v2-m4")

    assert "'BAAI/bge-reranker-v2-m4'" in message
    assert "did you mean 'BAAI/bge-reranker-v2-m3'" in message


def test_a_row_like_nothing_is_answered_with_all(model: Path) -> None:
    """A `like` that resembles no row is answered with every row there is."""
    message = _refused(model, like="0000")

    assert all(name in message for name in ROWS)


def test_a_model_can_be_read_like_a_known_one(model: Path) -> None:
    """`like` gives a copy the habits of the row: a logit, where the model's own files say nothing."""
    with resift.load(model) as own, resift.load(model, like="BAAI/bge-reranker-base") as copied:
        probabilities = own.score(tiny.QUERY, tiny.DOCUMENTS[2:5])
        logits = copied.score(tiny.QUERY, tiny.DOCUMENTS[2:5])

    assert 1 / (1 + np.exp(-np.array(logits))) == pytest.approx(np.array(probabilities), abs=1e-5)


def test_a_prompt_needs_a_language_model(model: Path) -> None:
    """A prompt for a model that cannot be asked is refused with the reason."""
    with pytest.raises(ModelUnsupported, match="not a causal language model"):
        resift.load(model, like=Prompt(PIECES, positive="yes"))


def test_a_language_model_can_be_asked_with_a_prompt(language_model: Path) -> None:
    """A declared prompt is enough to rank with a language model."""
    prompt = Prompt(PIECES, positive="yes", negative="no")
    with resift.load(language_model, like=prompt) as ranker:
        scores = ranker.score(tiny.QUERY, tiny.DOCUMENTS[:5])

    assert len(set(scores)) > 2


def test_an_answer_must_be_one_token(language_model: Path) -> None:
    """A prompt whose answer the vocabulary lacks is refused; the message shows the answer."""
    with pytest.raises(ModelUnsupported, match="'absolutely not'"):
        resift.load(language_model, like=Prompt(PIECES, positive="absolutely not"))


# prompts


@pytest.mark.parametrize(
    "pieces",
    [
        ("{query}",),
        ("{document}",),
        ("{query}", "{query}", "{document}"),
        ("{query} {document}", "{document}"),
        (),
        ("{quer}", "{document}"),
    ],
)
def test_a_prompt_holds_query_and_document_once(pieces: tuple[str, ...]) -> None:
    """A prompt that lacks the query or the document, or has one in two pieces, is refused and shown."""
    with pytest.raises(InvalidInput, match="exactly one of Prompt") as refused:
        Prompt(pieces, positive="yes")
    assert repr(pieces) in str(refused.value)


@pytest.mark.parametrize("pieces", ["{query} {document}", (b"{query}", "{document}"), ("{query}", "{document}", None)])
def test_the_pieces_of_a_prompt_are_strings(pieces: Any) -> None:
    """One string is no tuple of pieces, and a piece is text."""
    with pytest.raises(InvalidInput, match="tuple of strings"):
        Prompt(pieces, positive="yes")


def test_a_prompt_needs_an_answer() -> None:
    """A prompt whose answer is empty is refused."""
    with pytest.raises(InvalidInput, match="positive"):
        Prompt(PIECES, positive="")


def test_a_prompt_is_a_value() -> None:
    """Prompts that say the same are equal and have one hash, whether their pieces came in a list or a tuple."""
    listed: Any = list(PIECES)
    first, second = Prompt(listed, positive="yes"), Prompt(PIECES, positive="yes")

    assert first == second
    assert hash(first) == hash(second)
    assert first.pieces == PIECES


def test_a_prompt_may_be_a_mapping() -> None:
    """A prompt that was written down as its fields, in a file for one, is the prompt; other fields are refused."""
    written = dataclasses.asdict(Prompt(PIECES, positive="yes", negative="no"))

    assert opener("m", like=json.loads(json.dumps(written))) == opener("m", like=Prompt(**written))
    with pytest.raises(InvalidInput, match=r"fields of a Prompt: .*'negatives'"):
        opener("m", like={**written, "negatives": "no"})


def test_a_prompt_says_what_to_write_without_an_instruction() -> None:
    """Without an instruction the piece that would hold it is replaced, where the prompt says by what."""
    pieces = ("System.", "{instruction}\n{query}", "{document}")
    silent = Prompt(pieces, positive="yes", without_instruction="{query}")

    assert silent.pieces_with(instruction=True) == pieces
    assert silent.pieces_with(instruction=False) == ("System.", "{query}", "{document}")
    assert Prompt(pieces, positive="yes").pieces_with(instruction=False) == pieces


# settings as values


def test_settings_are_values() -> None:
    """Settings that say the same are equal and have one hash, and none can be changed."""
    first, second = (Settings("model", device=("cpu", "cuda"), max_length=64) for _ in range(2))

    assert first == second
    assert hash(first) == hash(second)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.max_length = 1  # type: ignore[misc]


def test_fields_are_a_list_of_keys(model: Path) -> None:
    """One string is no list of keys: it is refused, rather than read letter by letter."""
    message = _refused(model, fields="title")

    assert "fields" in message
    assert "'title'" in message
