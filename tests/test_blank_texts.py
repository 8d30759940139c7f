"""Texts that become no token at all: they score nothing, and change nothing for the texts beside them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import resift
import tiny
from resift import LocalRanker

QUERY = "what does a panda eat?"
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear sleeps in the forest for half a day", "pandas"]
BLANKS = ["", "   ", "\n\t", "\u200b"]
NO_TOKEN = "\u200b\u200c"  # a query that is not blank, and of which a tokenizer leaves nothing


def _without_frame(directory: Path) -> Path:
    """Take away what puts special tokens around a text."""
    path = directory / "tokenizer.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(fields | {"post_processor": None}), encoding="utf-8")
    return directory


@pytest.fixture(scope="module", params=["cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _without_frame(
        tiny.build("bert-embedding", tmp_path_factory.mktemp("blank") / request.param, pooling=request.param)
    )


@pytest.fixture
def ranker(directory: Path) -> Iterator[LocalRanker]:
    with resift.load(directory) as ranker:
        yield ranker


def _mixed() -> list[str]:
    return [text for pair in zip(BLANKS, DOCUMENTS, strict=True) for text in pair]


def test_a_blank_document_scores_nothing(ranker: LocalRanker) -> None:
    """A document that becomes no token scores 0, wherever it stands."""
    assert ranker.score(QUERY, _mixed())[::2] == [0.0] * 4
    assert ranker.score(QUERY, BLANKS) == [0.0] * 4


def test_a_blank_document_disturbs_no_neighbour(directory: Path) -> None:
    """The scores of the others are those that they have without it."""
    with resift.load(directory) as plain:
        expected = plain.score(QUERY, DOCUMENTS)
    assert all(abs(score) > 1e-3 for score in expected)

    with resift.load(directory) as ranker:
        assert ranker.score(QUERY, _mixed())[1::2] == pytest.approx(expected, abs=1e-6)
        assert ranker.score(QUERY, [*BLANKS, *DOCUMENTS])[4:] == pytest.approx(expected, abs=1e-6)
        assert ranker.score(QUERY, [*DOCUMENTS, *BLANKS])[:4] == pytest.approx(expected, abs=1e-6)


def test_a_blank_document_is_remembered(ranker: LocalRanker) -> None:
    """Asked again, with all vectors kept, the scores are the same to the last bit."""
    first = ranker.score(QUERY, _mixed())

    assert ranker.score(QUERY, _mixed()) == first
    assert ranker.score(QUERY, BLANKS) == [0.0] * 4


def test_a_query_of_no_token_scores_nothing(ranker: LocalRanker) -> None:
    """A query that becomes no token is like nothing: all documents score 0, now and when they are known."""
    for _ in range(2):
        assert ranker.score(NO_TOKEN, _mixed()) == [0.0] * 8


def test_nothing_asked_of_nothing_is_forgotten(ranker: LocalRanker) -> None:
    """A call of which nothing is left to read leaves no trace in the calls after it."""
    assert ranker.score(NO_TOKEN, BLANKS) == [0.0] * 4

    scores = ranker.score(QUERY, _mixed())
    assert scores[::2] == [0.0] * 4
    assert all(abs(score) > 1e-3 for score in scores[1::2])
    assert ranker.score(QUERY, BLANKS) == [0.0] * 4


def test_blank_texts_are_neither_cut_nor_counted(ranker: LocalRanker) -> None:
    """A ranking with blank documents says how much was read: nothing of these."""
    mixed, plain = ranker.rank(QUERY, _mixed()), ranker.rank(QUERY, BLANKS)

    assert (mixed.truncated, plain.truncated) == (0, 0)
    assert sorted(hit.index for hit in mixed) == list(range(8))
    assert [hit.index for hit in plain] == [0, 1, 2, 3]


def test_blank_texts_stay_within_bounds(directory: Path) -> None:
    """Within [0, 1], a blank document stands in the middle, and for a query of no token all documents are equal."""
    with resift.load(directory, normalize=True) as ranker:
        assert ranker.score(QUERY, _mixed())[::2] == [0.5] * 4
        (tie,) = set(ranker.score(NO_TOKEN, DOCUMENTS))
        assert 0.0 <= tie <= 1.0


def test_a_blank_text_inside_special_tokens_is_a_text(tmp_path: Path) -> None:
    """A tokenizer that frames its texts has something to read in a blank one: it scores as the model says."""
    with resift.load(tiny.build("bert-embedding", tmp_path)) as ranker:
        scores = ranker.score(QUERY, _mixed())

    assert len({round(score, 6) for score in scores[::2]}) == 1
    assert scores[0] != 0.0
