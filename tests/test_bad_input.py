"""Odd and wrong input, by every way to ask: it is scored, or it is refused by name, and it never shows up anywhere."""

import asyncio
import logging
import math
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resift
import tiny
from resift import LocalRanker
from resift.errors import InvalidInput, ScoringFailed
from resift.scoring.backends.torch.running import TorchBackend
from resift.scoring.families.lexical import Lexical
from resift.scoring.families.pair import PairCrossEncoder

QUERY = "what does a panda eat?"
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear", "pandas, pandas"]
SECRET = "xyzzyplugh"  # a word that nobody else writes, so that it can be searched for

Rank = Callable[..., resift.Ranking]
Way = Callable[..., dict[int, float]]


async def _collected(rankings: AsyncIterator[resift.Ranking]) -> list[resift.Ranking]:
    return [ranking async for ranking in rankings]


def _scores_of(rank: Rank) -> Way:
    return lambda *call, **options: {hit.index: hit.score for hit in rank(*call, **options)}


RANKS: dict[str, Rank] = {
    "rank": LocalRanker.rank,
    "arank": lambda *call, **options: asyncio.run(LocalRanker.arank(*call, **options)),
    "rank_many": lambda ranker, *call, **options: next(ranker.rank_many([call], **options)),
    "arank_many": lambda ranker, *call, **options: asyncio.run(_collected(ranker.arank_many([call], **options)))[0],
}
WAYS: dict[str, Way] = {
    "score": lambda *call, **options: dict(enumerate(LocalRanker.score(*call, **options))),
    "ascore": lambda *call, **options: dict(enumerate(asyncio.run(LocalRanker.ascore(*call, **options)))),
} | {name: _scores_of(rank) for name, rank in RANKS.items()}


def _order(ranking: resift.Ranking) -> list[int]:
    return [hit.index for hit in ranking]


@pytest.fixture(params=RANKS)
def rank(request: pytest.FixtureRequest) -> Rank:
    """Return one of the ways to ask for a ranking."""
    return RANKS[request.param]


@pytest.fixture(params=WAYS)
def ask(request: pytest.FixtureRequest) -> Way:
    """Return one of all ways to ask, as a function that gives scores by position."""
    return WAYS[request.param]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("bert-cross", tmp_path_factory.mktemp("bad-input") / "model")


@pytest.fixture(scope="session", params=["lexical", "cross-encoder"])
def name(request: pytest.FixtureRequest) -> str | Path:
    """Return the name of a model to load: the built-in one, then one that runs on torch."""
    return "lexical" if request.param == "lexical" else request.getfixturevalue("model")


@pytest.fixture(scope="session")
def ranker(name: str | Path) -> Iterator[LocalRanker]:
    with resift.load(name) as ranker:
        yield ranker


@pytest.fixture(scope="session")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRanker]:
    with resift.load(tiny.build("bert-embedding", tmp_path_factory.mktemp("bad-input") / "embedding")) as ranker:
        yield ranker


# lists of documents


def test_no_documents_make_an_empty_ranking(ranker: LocalRanker, rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty list is ranked without any work: nothing is prepared, nothing is run."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("there was nothing to do")

    monkeypatch.setattr(Lexical, "prepare", refuse)
    monkeypatch.setattr(PairCrossEncoder, "prepare", refuse)

    ranking = rank(ranker, QUERY, [])

    assert ranking == resift.Ranking((), model=ranker.model)
    assert ranking.truncated == 0
    assert ranking.usage == resift.Usage(0)


def test_no_documents_have_no_scores(ranker: LocalRanker, ask: Way) -> None:
    """An empty list, tuple or generator has no scores."""
    nothings: list[Any] = [[], (), iter(())]
    for nothing in nothings:
        assert ask(ranker, QUERY, nothing) == {}


def test_empty_and_blank_documents_are_scored(ranker: LocalRanker, ask: Way) -> None:
    """A document without words has a score like any other."""
    scores = ask(ranker, QUERY, ["", "   ", "\n\t", "\u3000", "panda"])

    assert sorted(scores) == [0, 1, 2, 3, 4]
    assert all(map(math.isfinite, scores.values()))


def test_what_is_no_list_is_refused(ranker: LocalRanker, ask: Way) -> None:
    """A single document or something else in place of a list is refused by its type, with the remedy."""
    for documents in ("panda", b"panda", {"title": "panda"}, None, 3, 1.5, object()):
        kind = type(documents).__name__
        with pytest.raises(
            InvalidInput, match=rf"documents must be a list .* not {kind}; put a single one into a list"
        ):
            ask(ranker, QUERY, documents)


def test_what_is_no_document_is_refused(ranker: LocalRanker, ask: Way) -> None:
    """An element that is no document is refused by its place and its type."""
    for element in (None, 3, True, b"panda", ["panda"], ("panda", 1.0), {"panda"}):
        with pytest.raises(InvalidInput, match=rf"documents\[2\] .* not {type(element).__name__}"):
            ask(ranker, QUERY, ["a", "b", element, "c"])


def test_what_is_no_query_is_refused(ranker: LocalRanker, ask: Way) -> None:
    """A query that is blank or no text is refused, even where there is nothing to rank."""
    for query in (None, 3, b"panda", ["panda"], {"q": "panda"}, "", "  ", "\n\u3000"):
        for documents in (DOCUMENTS, []):
            with pytest.raises(InvalidInput, match="query"):
                ask(ranker, query, documents)


def test_documents_may_come_from_a_generator(ranker: LocalRanker, rank: Rank) -> None:
    """Documents that are made on the way are read once, and handed back as they were."""
    made: list[dict[str, str]] = []

    def documents() -> Iterator[dict[str, str]]:
        for text in DOCUMENTS:
            made.append({"text": text})
            yield made[-1]

    ranking = rank(ranker, QUERY, documents())

    assert len(made) == len(DOCUMENTS)
    assert all(hit.document is made[hit.index] for hit in ranking)


# texts


def test_lone_surrogates_are_scored(ranker: LocalRanker, ask: Way) -> None:
    """Half a character, wherever it is, scores as U+FFFD does."""
    odd = ask(ranker, "panda \ud83d", ["panda\ud83d", "\udc00", {"k\ud800": ["\udfff"]}])
    expected = ask(ranker, "panda \ufffd", ["panda\ufffd", "\ufffd", 'k\ufffd: ["\ufffd"]'])

    assert odd == pytest.approx(expected, abs=1e-5)


def test_texts_of_a_million_characters_are_scored(ranker: LocalRanker) -> None:
    """A document or a query may be as long as it likes; what a model cannot read is cut and counted."""
    text = "panda bear " * 95_000

    ranking = ranker.rank(QUERY, [text, "panda"])

    assert {hit.index for hit in ranking} == {0, 1}
    assert ranking.truncated == (ranker.model != "lexical")
    assert len(ranker.score(text, ["panda", text])) == 2


def test_ten_thousand_documents_are_ranked(ranker: LocalRanker) -> None:
    """A long list is ranked whole."""
    ranking = ranker.rank(QUERY, [f"panda {number}" for number in range(10_000)], top_n=9_999)

    assert len(ranking) == 9_999
    assert len({hit.index for hit in ranking}) == 9_999


# mappings


def test_a_mapping_scores_as_its_text(ranker: LocalRanker, ask: Way) -> None:
    """A mapping scores as the text that it is written as, whatever kinds of values it holds."""
    written: list[tuple[dict[Any, Any], str]] = [
        ({"title": "Panda", "body": "It eats bamboo."}, "title: Panda\nbody: It eats bamboo."),
        ({"title": "Panda", "body": None}, "title: Panda"),
        ({"a": {"b": ["c", 1, None]}, "d": [True]}, 'a: {"b":["c",1,null]}\nd: [true]'),
        ({"born": [date(2026, 11, 20), Decimal("1.50")]}, 'born: ["2026-11-20","1.50"]'),
        ({"n": np.float32(0.5), "v": np.array([1, 2])}, "n: 0.5\nv: [1,2]"),
        ({1: "panda", None: "bear"}, "1: panda\nNone: bear"),
        ({}, ""),
    ]
    documents, texts = zip(*written, strict=True)

    assert ask(ranker, QUERY, documents) == pytest.approx(ask(ranker, QUERY, texts), abs=1e-5)


def test_fields_are_what_is_read(name: str | Path, ask: Way) -> None:
    """A ranker that reads some fields scores a mapping by these alone, in their order; texts are read whole."""
    document = {"price": 9, "title": "Panda", "body": "It eats bamboo."}
    with resift.load(name, fields=["title", "price"]) as ranker:
        scores = ask(ranker, QUERY, [document, {"body": "panda"}, {"title": None}, "body: panda"])
        expected = ask(ranker, QUERY, ["title: Panda\nprice: 9", "", "", "body: panda"])

    assert scores == pytest.approx(expected, abs=1e-5)


def _circular() -> dict[str, Any]:
    document: dict[str, Any] = {"title": SECRET}
    return document | {"self": [document.setdefault("again", document)]}


UNWRITABLE: dict[str, dict[Any, Any]] = {
    "bytes": {SECRET: SECRET.encode()},
    "a set": {"a": [{SECRET: {SECRET}}]},
    "an object": {"a": object()},
    "a nested key": {"a": {(SECRET, 1): SECRET}},
    "itself": _circular(),
}


def test_a_mapping_that_cannot_be_written_is_refused(ranker: LocalRanker, ask: Way) -> None:
    """A mapping with a value that has no text is refused by its place."""
    for document in UNWRITABLE.values():
        with pytest.raises(InvalidInput, match=r"documents\[1\]"):
            ask(ranker, QUERY, ["a", document])


# which part of a ranking


def test_a_wrong_top_n_is_refused(ranker: LocalRanker, rank: Rank) -> None:
    """A `top_n` that is no number of documents is refused, with or without documents."""
    for top_n in (0, -1, True, 1.5, "3", np.float64(1)):
        for documents in (DOCUMENTS, []):
            with pytest.raises(InvalidInput, match="top_n"):
                rank(ranker, QUERY, documents, top_n=top_n)


def test_top_n_keeps_the_best(ranker: LocalRanker, rank: Rank) -> None:
    """`top_n` keeps the beginning of the ranking, all of it where it is larger than the list."""
    whole = _order(rank(ranker, QUERY, DOCUMENTS))

    for top_n in (1, 3, 4, 99, np.int64(2), np.uint8(1)):
        assert _order(rank(ranker, QUERY, DOCUMENTS, top_n=top_n)) == whole[: int(top_n)]


def test_a_wrong_threshold_is_refused(ranker: LocalRanker, rank: Rank) -> None:
    """A `threshold` that is no number is refused, with or without documents."""
    for threshold in (math.nan, True, "x", [0.5], np.float64("nan")):
        for documents in (DOCUMENTS, []):
            with pytest.raises(InvalidInput, match="threshold"):
                rank(ranker, QUERY, documents, threshold=threshold)


def test_the_threshold_comes_before_top_n(ranker: LocalRanker, rank: Rank) -> None:
    """Scores from the threshold up are kept, whatever kind of number it is, and `top_n` counts among these."""
    whole = rank(ranker, QUERY, DOCUMENTS)
    between = (whole[0].score + whole[1].score) / 2

    for threshold, kept in ((between, 1), (np.float64(between), 1), (0.0, 4), (-math.inf, 4), (math.inf, 0)):
        assert _order(rank(ranker, QUERY, DOCUMENTS, threshold=threshold)) == _order(whole)[:kept]
        assert _order(rank(ranker, QUERY, DOCUMENTS, threshold=threshold, top_n=2)) == _order(whole)[: min(kept, 2)]


def test_the_threshold_is_inclusive(rank: Rank) -> None:
    """A score that is exactly the threshold is kept."""
    with resift.load() as ranker:
        best = rank(ranker, QUERY, DOCUMENTS)[0]

        assert rank(ranker, QUERY, DOCUMENTS, threshold=best.score)[:] == (best,)
        assert len(rank(ranker, QUERY, DOCUMENTS, threshold=math.nextafter(best.score, math.inf))) == 0


def test_ties_stay_in_input_order(ranker: LocalRanker, rank: Rank) -> None:
    """Documents that say the same score the same, to the last bit, and keep the order in which they came."""
    for repeats in (2, 3, 5, 8, 13, 21, 34):
        ranking = rank(ranker, QUERY, ["panda", "a bear sleeps all day"] * repeats)

        for first in (0, 1):
            alike = [hit for hit in ranking if hit.index % 2 == first]
            assert [hit.index for hit in alike] == list(range(first, 2 * repeats, 2))
            assert len({hit.score for hit in alike}) == 1


# instructions and scales


def test_an_instruction_that_nobody_reads_is_refused(ranker: LocalRanker, name: Any, ask: Way) -> None:
    """A model that was not trained with instructions is given none, at loading or at asking."""
    with pytest.raises(InvalidInput, match="takes no instruction"):
        ask(ranker, QUERY, DOCUMENTS, instruction="find animals")
    with pytest.raises(InvalidInput, match="takes no instruction"):
        resift.load(name, instruction="find animals")


def test_an_instruction_is_text(embedding: LocalRanker, ask: Way) -> None:
    """An instruction that is no string is refused by its type."""
    for instruction in (5, b"find", ["find"], {"find": 1}):
        with pytest.raises(InvalidInput, match=rf"instruction must be a str, not {type(instruction).__name__}"):
            ask(embedding, QUERY, DOCUMENTS, instruction=instruction)


def test_lone_surrogates_in_an_instruction_are_read(embedding: LocalRanker, ask: Way) -> None:
    """An instruction is mended as queries and documents are."""
    odd = ask(embedding, QUERY, DOCUMENTS, instruction="find \ud83d: ")

    assert odd == pytest.approx(ask(embedding, QUERY, DOCUMENTS, instruction="find \ufffd: "), abs=1e-5)


def test_normalize_chooses_the_scale(name: str | Path, ask: Way) -> None:
    """True is in [0, 1], False is the model's own number, None is the authors' choice; the order is one."""
    scores = {}
    for normalize in (None, True, False):
        with resift.load(name, normalize=normalize) as ranker:
            scores[normalize] = ask(ranker, QUERY, DOCUMENTS)

    assert all(0 <= score <= 1 for score in scores[True].values())
    assert scores[None] == scores[name != "lexical"]
    assert sorted(scores[True], key=scores[True].__getitem__) == sorted(scores[False], key=scores[False].__getitem__)


# nothing of what was asked shows up anywhere


WRONG: list[tuple[Any, Any, dict[str, Any]]] = [
    (SECRET, SECRET, {}),
    (SECRET, {SECRET: SECRET}, {}),
    (SECRET, [SECRET, SECRET.encode()], {}),
    (SECRET, [SECRET, [SECRET]], {}),
    (SECRET.encode(), [SECRET], {}),
    ([SECRET], [SECRET], {}),
    (SECRET, [SECRET], {"instruction": SECRET}),
    *((SECRET, [SECRET, document], {}) for document in UNWRITABLE.values()),
]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if error.__cause__ is not None and error.__cause__ is not error.__context__:
            yield from _chain(error.__cause__)
        error = error.__context__


def _said(error: BaseException) -> str:
    """Return all that an error, and what caused it, could be made to say."""
    return "\n".join([f"{one} {one!r}" for one in _chain(error)] + traceback.format_exception(error))


def test_a_refusal_quotes_nothing(ranker: LocalRanker, ask: Way, caplog: pytest.LogCaptureFixture) -> None:
    """No query, document or key is in the error, in what caused it, in its trace, or in the log."""
    for query, documents, options in WRONG:
        with caplog.at_level(logging.DEBUG), pytest.raises(InvalidInput) as refused:
            ask(ranker, query, documents, **options)

        assert SECRET not in _said(refused.value)
    assert SECRET not in caplog.text


def test_a_failure_quotes_nothing(
    model: Path, rank: Rank, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong inside a model is told without the texts that it was reading."""

    def fail(*arguments: object) -> None:
        raise RuntimeError("the device is on fire")

    monkeypatch.setattr(TorchBackend, "run", fail)
    with caplog.at_level(logging.DEBUG), resift.load(model) as ranker, pytest.raises(ScoringFailed) as failed:
        rank(ranker, SECRET, [SECRET, {SECRET: SECRET}])

    assert "the device is on fire" in str(failed.value)
    assert SECRET not in _said(failed.value) + caplog.text


def test_a_ranking_shows_nothing(ranker: LocalRanker, rank: Rank, caplog: pytest.LogCaptureFixture) -> None:
    """What a ranking, a hit or a ranker prints as, and what is logged, holds no query and no document."""
    with caplog.at_level(logging.DEBUG):
        ranking = rank(ranker, SECRET, [SECRET, {SECRET: SECRET}])

    assert len(ranking) == 2
    assert SECRET not in f"{ranking} {ranking!r} {ranking[0]} {ranking[:]!r} {ranker!r} {caplog.text}"
