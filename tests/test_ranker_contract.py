"""The contract of rankers: kept by each of ours, and broken by none unnoticed."""

import asyncio
import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Self, cast

import numpy as np
import pytest

import resift
import tiny
from promising import outcome, promises
from resift.documents import render
from resift.errors import InvalidInput, ScoringFailed
from resift.testing import FakeRanker, RankerContract
from resift.testing.fake_ranker import checksum
from resift.types import Cut, Document, Ranked, Ranker, Ranking, Request
from serving import serving

SAYS = {"identity": "fake", "listwise": False, "takes_instruction": True, "max_length": None}


def shared_letters(query: str, text: str, instruction: str | None) -> float:
    """Return the part of the query's letters that a text has."""
    return len(set(query) & set(text)) / len(set(query))


def leisurely(query: str, text: str, instruction: str | None) -> float:
    """Take a millisecond for each text."""
    time.sleep(0.001)
    return shared_letters(query, text, instruction)


def long_texts(count: int) -> list[str]:
    """Return texts of forty words and more."""
    return [f"{number} {' '.join(RankerContract.documents) * 5}" for number in range(count)]


class TestBuiltInScorer(RankerContract):
    """The built-in scorer."""

    def make_ranker(self) -> Ranker:
        return resift.load()

    def long_documents(self, ranker: Ranker) -> Sequence[str]:
        return long_texts(8000)


class TestLocalRanker(RankerContract):
    """A model that runs here."""

    model: ClassVar[Path]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _build(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.model = tiny.build("bert-cross", tmp_path_factory.mktemp("contract") / "model")

    def make_ranker(self) -> Ranker:
        return resift.load(self.model)

    def long_documents(self, ranker: Ranker) -> Sequence[str]:
        return long_texts(300)


class TestRemoteRanker(RankerContract):
    """A model behind an endpoint, which is our own server."""

    url: ClassVar[str]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _serve(cls) -> Iterator[None]:
        with serving(FakeRanker("fake", leisurely, says=SAYS)) as server:
            cls.url = server.url
            yield

    def make_ranker(self) -> Ranker:
        return resift.connect(self.url, model="fake")

    def long_documents(self, ranker: Ranker) -> Sequence[str]:
        return [f"{number} {text}" for number in range(80) for text in self.documents]


class TestFakeRanker(RankerContract):
    """The ranker for tests."""

    def make_ranker(self) -> Ranker:
        return FakeRanker()

    def long_documents(self, ranker: Ranker) -> Sequence[str]:
        assert isinstance(ranker, FakeRanker)
        ranker.delay_s = 0.4
        return self.documents


class Around(RankerContract):
    """What holds a fake, which can be slowed down."""

    def make_ranker(self) -> Ranker:
        self.inside = FakeRanker("inside", shared_letters, says=SAYS)
        return self.around(self.inside)

    def around(self, inside: Ranker) -> Ranker:
        raise NotImplementedError

    def long_documents(self, ranker: Ranker) -> Sequence[str]:
        self.inside.delay_s = 0.4
        return self.documents


class TestCascade(Around):
    """A cheap ranker before a strong one."""

    def around(self, inside: Ranker) -> Ranker:
        return resift.cascade(resift.load(), inside, keep=2 * len(self.documents))


class TestFallback(Around):
    """A ranker with a stand-in."""

    def around(self, inside: Ranker) -> Ranker:
        return resift.fallback(inside, resift.load())


class TestCached(Around):
    """A ranker with a memory."""

    def around(self, inside: Ranker) -> Ranker:
        return resift.cached(inside)


class TestCachedInFile(Around):
    """A ranker with a memory that outlasts it."""

    folder: ClassVar[Path]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _make_room(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.folder = tmp_path_factory.mktemp("contract")

    def around(self, inside: Ranker) -> Ranker:
        return resift.cached(inside, path=self.folder / "scores.db")


class TestCachedListwise(RankerContract):
    """A ranker with a memory, in front of one that compares documents."""

    def make_ranker(self) -> Ranker:
        return resift.cached(resift.load())

    def long_documents(self, ranker: Ranker) -> Sequence[str]:
        return long_texts(8000)


# broken ones


class Bent(FakeRanker):
    """A ranker in which every way to rank goes through `answer`, which a broken one overrides."""

    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        return FakeRanker.rank(self, query, documents, **options)

    def rank(self, query: Any, documents: Any, **options: Any) -> Ranking:
        return self.answer(query, documents, options)

    async def arank(self, query: Any, documents: Any, **options: Any) -> Ranking:
        return self.answer(query, documents, options)


class Backwards(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        ranking = super().answer(query, documents, options)
        return replace(ranking, hits=ranking.hits[::-1])


class Nameless(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        return replace(super().answer(query, documents, options), model="another")


class Copying(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        return super().answer(query, copy.deepcopy(list(documents)), options)


class WithoutTopN(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        return super().answer(query, documents, {**options, "top_n": None})


class Exclusive(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        threshold = options.get("threshold")
        more = threshold if threshold is None else math.nextafter(threshold, math.inf)
        return super().answer(query, documents, {**options, "threshold": more})


class Falsy(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        return super().answer(query, documents, {**options, "threshold": options.get("threshold") or None})


class Generous(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        listed = list(documents)
        found = super().answer(query, listed, options)
        return found if found or not listed else super().answer(query, listed, {"top_n": 1})


class OneCutOnly(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        cut = {**options, "top_n": None} if options.get("threshold") is not None else options
        return super().answer(query, documents, cut)


class Needy(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        listed = list(documents)
        if not listed:
            raise ScoringFailed("there is nothing to score")
        return super().answer(query, listed, options)


class Counting(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        assert len(documents) >= 0
        return super().answer(query, documents, options)


class Plain(Bent):
    """Reads a mapping as its `repr`."""

    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        return super().answer(query, [one if isinstance(one, str) else str(one) for one in documents], options)


class Rough(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        listed = list(documents)
        ranking = super().answer(query, listed, options)
        for document in listed:
            if isinstance(document, dict):
                document.pop("tags", None)
        return ranking


class Deduplicating(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        listed = list(documents)
        texts = [render(document, at) for at, document in enumerate(listed)]
        first = [document for at, document in enumerate(listed) if texts[at] not in texts[:at]]
        return super().answer(query, first, options)


class Disorderly(Bent):
    """Answers many requests from the last to the first."""

    def rank_many(self, requests: Iterable[Request], **options: Any) -> Iterator[Ranking]:
        return super().rank_many(list(requests)[::-1], **options)


class Positional(Bent):
    """Scores by where a document stands, and by how many there are."""

    def score(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        listed = list(documents)
        return [float(at) + len(listed) for at in range(len(listed))]


class Forgiving(Bent):
    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        try:
            return super().answer(query, documents, options)
        except InvalidInput:
            return Ranking((), model=self.model)


class Unsafe(Bent):
    """Scores differently while others ask."""

    def answer(self, query: Any, documents: Any, options: dict[str, Any]) -> Ranking:
        listed = list(documents)
        self.at_once += 1
        time.sleep(0.02)
        scores = [checksum(query, text, None) + self.at_once for text in cast("list[str]", listed)]
        self.at_once -= 1
        hits = [Ranked(at, scores[at], listed[at]) for at in Cut().apply(scores)]
        return Ranking(tuple(hits), model=self.model)

    async def arank(self, query: Any, documents: Any, **options: Any) -> Ranking:
        return await asyncio.to_thread(self.answer, query, documents, options)

    def score(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        return [hit.score for hit in sorted(self.rank(query, documents), key=lambda hit: hit.index)]


class Bound(FakeRanker):
    """Serves the first event loop that it meets."""

    loop: asyncio.AbstractEventLoop | None = None

    async def arank(self, query: Any, documents: Any, **options: Any) -> Ranking:
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("attached to a different loop")
        return await super().arank(query, documents, **options)


class Blocking(FakeRanker):
    async def arank(self, query: Any, documents: Any, **options: Any) -> Ranking:
        return self.rank(query, documents, **options)


class Changing(FakeRanker):
    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "model": "another", "scorer": shorter}


def shorter(query: str, text: str, instruction: str | None) -> float:
    return 1 / (1 + len(text))


class CloseOnce(FakeRanker):
    def close(self) -> None:
        super().close()
        if self.closed > 1:
            raise RuntimeError("closed already")


class CloseAfterUse(FakeRanker):
    def close(self) -> None:
        if not self.asked:
            raise RuntimeError("not open")


class Twin(FakeRanker):
    def __enter__(self) -> Self:
        return copy.copy(self)


def _in_numpy(query: str, text: str, instruction: str | None) -> Any:
    return np.float32(checksum(query, text, instruction))


def _around_0(query: str, text: str, instruction: str | None) -> float:
    return checksum(query, text, instruction) - 0.6


def _incomplete() -> Any:
    return SimpleNamespace(model="incomplete", close=lambda: None)


BROKEN_RANKERS: dict[str, Callable[[], Any]] = {
    "test_it_is_a_ranker": _incomplete,
    "test_what_it_says_of_itself_is_of_its_kind": lambda: FakeRanker(says={**SAYS, "listwise": "no"}),
    "test_every_document_has_a_score": lambda: FakeRanker(scorer=_in_numpy),
    "test_documents_are_told_apart": lambda: FakeRanker(scorer=lambda *_: 1.0),
    "test_a_ranking_is_the_documents_by_score": Backwards,
    "test_a_ranking_holds_python_floats": lambda: FakeRanker(scorer=_in_numpy),
    "test_a_hit_carries_the_callers_own_document": Copying,
    "test_the_ranking_names_the_model": Nameless,
    "test_top_n_keeps_the_best": WithoutTopN,
    "test_a_threshold_is_inclusive": Exclusive,
    "test_a_threshold_of_0_is_one": lambda: Falsy(scorer=_around_0),
    "test_a_threshold_may_leave_nothing": Generous,
    "test_a_threshold_and_top_n_both_count": OneCutOnly,
    "test_no_documents_are_ranked_too": Needy,
    "test_documents_may_come_from_a_generator": Counting,
    "test_a_mapping_is_read_as_lines": Plain,
    "test_the_callers_documents_are_left_alone": Rough,
    "test_equal_documents_tie": Deduplicating,
    "test_order_does_not_change_scores": Positional,
    "test_company_does_not_change_scores": Positional,
    "test_many_requests_are_answered_in_order": Disorderly,
    "test_a_blank_query_is_refused": Forgiving,
    "test_a_query_is_a_text": Forgiving,
    "test_a_text_is_no_list_of_documents": Forgiving,
    "test_a_document_is_a_text_or_a_mapping": Forgiving,
    "test_a_top_n_below_1_is_refused": Forgiving,
    "test_a_threshold_is_a_number": Forgiving,
    "test_threads_may_share_it": Unsafe,
    "test_coroutines_may_share_it": Unsafe,
    "test_event_loops_may_follow_one_another": Bound,
    "test_the_event_loop_stays_free": lambda: Blocking(delay_s=0.4),
    "test_a_pickled_one_ranks_the_same": Changing,
    "test_closing_again_does_nothing": CloseOnce,
    "test_a_ranker_that_was_never_asked_can_be_closed": CloseAfterUse,
    "test_a_with_block_gives_the_ranker_itself": Twin,
}


def ranker_contract(make: Callable[[], Any]) -> RankerContract:
    """Return the contract for such a ranker."""

    class Contract(RankerContract):
        def make_ranker(self) -> Ranker:
            ranker: Ranker = make()
            return ranker

    return Contract()


@pytest.mark.parametrize("promise", promises(RankerContract))
def test_a_ranker_that_breaks_a_promise_is_caught(promise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each promise about rankers fails for a ranker that breaks it."""
    monkeypatch.setattr("resift.testing.rankers.manners._ATTEMPTS", 1)
    assert outcome(ranker_contract(BROKEN_RANKERS[promise]), promise) == "broken"
