"""Text to token ids: exactly what the tokenizers library makes of a pair, from parts that are encoded once."""

import json
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer, models, pre_tokenizers

import tiny
from resift.errors import ModelNotFound, ModelUnsupported
from resift.scoring.planning import Ids
from resift.tokenizing import Frame, TextEncoder, cut_longest_first, cut_second_only, shared_prefix

VOCABULARIES = ("bert", "deberta", "gemma", "modernbert", "qwen", "roberta", "xlmr")
LARGEST = 14
SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=5)


@cache
def _library(vocabulary: str) -> Tokenizer:
    """Return the library's own tokenizer, which is what every promise here is measured against."""
    tokenizer = Tokenizer.from_file(str(tiny.VOCABULARIES / f"{vocabulary}.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@cache
def _encoder(vocabulary: str) -> TextEncoder:
    return TextEncoder(tiny.VOCABULARIES / f"{vocabulary}.json")


@cache
def _frame(vocabulary: str, *, pair: bool) -> Frame:
    encoder = _encoder(vocabulary)
    return encoder.pair_frame() if pair else encoder.single_frame()


def _agree(frame: Frame, expected: Encoding, *texts: Ids) -> None:
    assert frame.put_around(*texts).tolist() == expected.ids
    assert frame.types_around(*texts).tolist() == expected.type_ids
    assert frame.size == len(expected.ids) - sum(map(len, texts))


def _ids(*numbers: int) -> Ids:
    return np.array(numbers, dtype=np.int32)


# one text


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_texts_are_encoded_as_the_library_does(vocabulary: str) -> None:
    """A text has the library's ids, without anything around it, alone or among others."""
    expected = [_library(vocabulary).encode(text, add_special_tokens=False).ids for text in tiny.DOCUMENTS]

    assert [ids.tolist() for ids in _encoder(vocabulary).encode_many(tiny.DOCUMENTS)] == expected
    assert [_encoder(vocabulary).encode(text).tolist() for text in tiny.DOCUMENTS] == expected
    assert _encoder(vocabulary).encode_many([]) == []
    assert {ids.dtype for ids in _encoder(vocabulary).encode_many(["", "panda"])} == {np.dtype(np.int32)}


def test_a_saved_limit_or_padding_is_not_applied(tmp_path: Path) -> None:
    """What a tokenizer.json says about cutting and padding concerns whoever saved it, not us."""
    tokenizer = Tokenizer.from_file(str(tiny.VOCABULARIES / "bert.json"))
    plain = tokenizer.encode("the giant panda eats bamboo", add_special_tokens=False).ids
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    encoder = TextEncoder(tmp_path / "tokenizer.json")

    assert encoder.encode("the giant panda eats bamboo").tolist() == plain
    assert encoder.pair_frame().put_around(_ids(7), _ids(8)).tolist() == _frame("bert", pair=True).put_around(
        _ids(7), _ids(8)
    ).tolist()  # fmt: skip


def test_a_token_is_found_by_how_it_is_written() -> None:
    """The id of a token is found by its exact text; what is no token has none."""
    encoder, library = _encoder("bert"), _library("bert")

    assert encoder.token("[SEP]") == library.token_to_id("[SEP]")
    assert encoder.token("[sep]") is None


@pytest.mark.parametrize("content", ["", "{}", "no json", json.dumps({"model": {"type": "Mystery"}})])
def test_a_broken_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    """A tokenizer.json that cannot be read is an error that names the file and says what to do."""
    path = tmp_path / "tokenizer.json"
    path.write_text(content)

    with pytest.raises(ModelNotFound, match="download the model again") as missing:
        TextEncoder(path)
    assert str(path) in str(missing.value)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    """A tokenizer.json that is not there is an error that names it."""
    with pytest.raises(ModelNotFound, match="absent"):
        TextEncoder(tmp_path / "absent.json")


def test_a_tokenizer_without_letters_is_refused(tmp_path: Path) -> None:
    """A tokenizer that reads plain letters as nothing is refused, rather than ranked with."""
    Tokenizer(models.BPE({"\u4e00": 0}, [])).save(str(tmp_path / "tokenizer.json"))

    with pytest.raises(ModelUnsupported, match="not usable"):
        TextEncoder(tmp_path / "tokenizer.json").pair_frame()


# frames


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_pairs_are_put_together_as_the_library_does(vocabulary: str) -> None:
    """Query and document that were encoded apart make the ids and token types of the library's pair."""
    query = _encoder(vocabulary).encode(tiny.QUERY)
    for text, document in zip(tiny.DOCUMENTS, _encoder(vocabulary).encode_many(tiny.DOCUMENTS), strict=True):
        expected = _library(vocabulary).encode(tiny.QUERY, text)
        _agree(_frame(vocabulary, pair=True), expected, query, document)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_single_texts_are_framed_as_the_library_does(vocabulary: str) -> None:
    """A text that was encoded bare makes the ids and token types of the library's single text."""
    for text, ids in zip(tiny.DOCUMENTS, _encoder(vocabulary).encode_many(tiny.DOCUMENTS), strict=True):
        _agree(_frame(vocabulary, pair=False), _library(vocabulary).encode(text), ids)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@given(query=st.text(), document=st.text())
def test_any_pair_is_put_together_as_the_library_does(vocabulary: str, query: str, document: str) -> None:
    """Whatever the texts are, nothing merges across the seam, and nothing is lost there."""
    first, second = _encoder(vocabulary).encode_many([query, document])

    _agree(_frame(vocabulary, pair=True), _library(vocabulary).encode(query, document), first, second)
    _agree(_frame(vocabulary, pair=False), _library(vocabulary).encode(document), second)


@pytest.mark.parametrize(
    ("vocabulary", "size"), [("bert", 3), ("modernbert", 3), ("roberta", 4), ("xlmr", 4), ("gemma", 2), ("qwen", 0)]
)
def test_frames_have_the_size_that_authors_gave_them(vocabulary: str, size: int) -> None:
    """BERT puts three tokens around a pair, RoBERTa four, Qwen none."""
    assert _frame(vocabulary, pair=True).size == size


def test_frames_know_whether_types_matter() -> None:
    """BERT marks the second text by its type; XLM-R does not."""
    assert _frame("bert", pair=True).typed
    assert not _frame("bert", pair=False).typed
    assert not _frame("xlmr", pair=True).typed


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_empty_texts_leave_the_frame(vocabulary: str) -> None:
    """Two empty texts are the frame alone, as in the library."""
    _agree(_frame(vocabulary, pair=True), _library(vocabulary).encode("", ""), _ids(), _ids())


# cuts


def _differing(strategy: str, cut: Callable[[int, int, int], tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return the lengths and limits, of all small ones, for which `cut` and the library part."""
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="b"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    differing = []
    for budget, first, second in product(range(1, 2 * LARGEST), range(LARGEST), range(LARGEST)):
        tokenizer.enable_truncation(max_length=budget, strategy=strategy)
        try:
            sources = tokenizer.encode("a " * first, "b " * second, add_special_tokens=False).sequence_ids
        except Exception:  # noqa: BLE001 - the library refuses to cut a text to nothing, by bare Exception
            expected = first, second
        else:
            expected = sources.count(0), sources.count(1)
        if cut(first, second, budget) != expected:
            differing.append((first, second, budget))
    return differing


def test_the_longer_text_gives_way_as_in_the_library() -> None:
    """Every pair of lengths within every limit is cut to the lengths that the library cuts it to."""
    assert _differing("longest_first", cut_longest_first) == []


def test_only_the_second_text_gives_way_as_in_the_library() -> None:
    """Where only the document may be cut, it is cut as the library does; nothing is cut where it would be all gone."""
    assert _differing("only_second", cut_second_only) == []


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_cut_fills_the_limit(first: int, second: int, budget: int) -> None:
    """Whichever text gives way, neither grows, and together they are as long as the limit allows."""
    kept_first, kept_second = cut_longest_first(first, second, budget)

    assert 0 <= kept_first <= first
    assert 0 <= kept_second <= second
    assert kept_first + kept_second == min(first + second, budget)


# shared prefixes


@given(SEQUENCES)
def test_a_shared_prefix_is_shared_and_the_longest(sequences: list[list[int]]) -> None:
    """All sequences begin with it, each has at least one token left, and one token more would be too many."""
    prefix = shared_prefix([_ids(*sequence) for sequence in sequences]).tolist()
    size = len(prefix)

    assert all(sequence[:size] == prefix and len(sequence) > size for sequence in sequences)
    if len(sequences) > 1:
        longer = {tuple(sequence[: size + 1]) for sequence in sequences}
        assert len(longer) > 1 or any(len(sequence) == size + 1 for sequence in sequences)


@pytest.mark.parametrize("sequences", [[], [[1, 2, 3]], [[1, 2, 3], []], [[], [1, 2, 3]], [[1], [1, 2]], [[], []]])
def test_where_nothing_is_shared_the_prefix_is_empty(sequences: list[list[int]]) -> None:
    """One sequence shares nothing with itself, and an empty or single token has nothing to spare."""
    assert shared_prefix([_ids(*sequence) for sequence in sequences]).tolist() == []


def test_identical_sequences_keep_their_last_token() -> None:
    """Sequences that are all the same share all but the last token."""
    assert shared_prefix([_ids(1, 2, 3)] * 3).tolist() == [1, 2]
