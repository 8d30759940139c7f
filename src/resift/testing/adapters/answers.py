"""What an adapter answers: the documents in the order that resift puts them in, with its scores."""

import math
from typing import Any

import numpy as np

from resift.api import connect, load
from resift.testing.adapters.hooks import QUERY, TEXTS, AdapterHooks, AdapterSettings, Places
from resift.testing.fake_ranker import FakeRanker, checksum
from resift.testing.loopback import LoopbackEndpoint
from resift.types import Ranking

_MANY = 1500


class Answers(AdapterHooks):
    """The promises about answers."""

    def test_a_model_here_answers_as_in_plain_resift(self) -> None:
        """The component gives the order and the scores that `resift.load(...)` gives."""
        with load("lexical") as ranker:
            expected = _places(ranker.rank(QUERY, list(TEXTS)))

        assert self.asked({"model": "lexical"}) == expected

    def test_an_endpoint_answers_as_in_plain_resift(self) -> None:
        """The component gives the order and the scores that `resift.connect(...)` gives."""
        self.needs("base_url")
        with LoopbackEndpoint() as endpoint:
            with connect(endpoint.url, model="m", api_key="") as ranker:
                expected = _places(ranker.rank(QUERY, list(TEXTS)))
            assert self.asked({"model": "m", "base_url": endpoint.url}) == expected

    def test_a_given_ranker_answers(self) -> None:
        """The component asks the ranker that it was given, keeps its order and scores, and leaves it open."""
        self.needs("ranker")
        ranker = FakeRanker()
        expected = _places(FakeRanker().rank(QUERY, list(TEXTS)))

        assert self.asked({"ranker": ranker}) == expected
        assert [call["query"] for call in ranker.asked] == [QUERY, QUERY]
        assert all(len(documents) == len(TEXTS) for documents in ranker.texts_asked)
        assert not ranker.closed, "a ranker is its owner's to close"

    def test_no_documents_ask_nobody(self) -> None:
        """Where there are no documents there is no answer, and nobody is asked."""
        self.needs("ranker")
        ranker = FakeRanker()

        assert self.asked({"ranker": ranker}, ()) == []
        assert ranker.asked == []

    def test_ties_keep_their_order(self) -> None:
        """Documents with the same score stay in the order in which they came."""
        self.needs("ranker")
        level = FakeRanker(scorer=lambda query, text, instruction: float("panda" in text))

        assert [at for at, _ in self.asked({"ranker": level})] == [1, 2, 5, 0, 3, 4]

    def test_equal_documents_are_all_kept(self) -> None:
        """A text that comes twice is there twice, with the same score."""
        self.needs("ranker")
        places = self.asked({"ranker": FakeRanker()}, (*TEXTS, *TEXTS))

        found = dict(places)
        assert sorted(found) == list(range(2 * len(TEXTS)))
        assert all(found[at] == found[at + len(TEXTS)] for at in range(len(TEXTS)))

    def test_blank_documents_keep_their_places(self) -> None:
        """A document without words moves no other one's score to it, or its score to another."""
        self.needs("ranker")
        texts = ("", *TEXTS[:2], " \n", *TEXTS[2:], "")
        ranker = FakeRanker(scorer=lambda query, text, instruction: float(len(text)))

        found = dict(self.asked({"ranker": ranker}, texts))
        lengths = {at: len(text) for at, text in enumerate(texts) if text.strip()}
        assert {at: found.get(at) for at in lengths} == lengths

    def test_scores_are_python_floats(self) -> None:
        """A score can be written as JSON, whatever kind of number the ranker gave."""
        self.needs("ranker")

        def scorer(query: str, text: str, instruction: str | None) -> Any:
            return np.float32(checksum(query, text, instruction))

        assert [type(score) for _, score in self.asked({"ranker": FakeRanker(scorer=scorer)})] == [float] * len(TEXTS)
        assert {type(score) for _, score in self.asked({"model": "lexical"})} == {float}

    def test_documents_without_a_score_come_last(self) -> None:
        """What the ranker gave no score stands behind the others, without one, in the order in which it came."""
        self.needs("ranker")
        ranker = FakeRanker(drops=frozenset({TEXTS[3], TEXTS[0]}))
        scored = _places(FakeRanker().rank(QUERY, [text for text in TEXTS if text not in ranker.drops]))
        kept = [at for at, text in enumerate(TEXTS) if text not in ranker.drops]
        expected: Places = [*((kept[at], score) for at, score in scored), (0, None), (3, None)]

        assert self.asked({"ranker": ranker}) == expected
        if "top_n" not in self.lacks:
            assert self.asked({"ranker": ranker, "top_n": 5}) == expected[:5]

    def test_documents_without_a_score_pass_no_threshold(self) -> None:
        """Where there is a threshold, what has no score is left out."""
        self.needs("ranker", "threshold")
        ranker = FakeRanker(drops=frozenset({TEXTS[3]}))

        assert 3 not in dict(self.asked({"ranker": ranker, "threshold": 0.0}))

    def test_many_documents_are_ranked_whole(self) -> None:
        """More than a thousand documents are all ranked together."""
        self.needs("ranker")
        texts = tuple(f"{TEXTS[number % len(TEXTS)]} {number}" for number in range(_MANY))

        assert self.asked({"ranker": FakeRanker()}, texts) == _places(FakeRanker().rank(QUERY, list(texts)))

    def test_an_instruction_reaches_the_ranker(self) -> None:
        """The ranker is told what the component was told to look for."""
        self.needs("ranker", "instruction")
        ranker = FakeRanker()

        self.asked({"ranker": ranker, "instruction": "find food"})
        assert [call["instruction"] for call in ranker.asked] == ["find food", "find food"]

    def test_an_instruction_may_be_given_at_the_call(self) -> None:
        """An instruction of one call comes before that of the component."""
        self.needs("ranker", "instruction")
        self.needs_override("instruction")
        ranker = FakeRanker()

        self.asked({"ranker": ranker, "instruction": "find food"}, instruction="find bears")
        self.asked({"ranker": ranker, "instruction": "find food"}, instruction=None)
        assert [call["instruction"] for call in ranker.asked] == [*["find bears"] * 2, *["find food"] * 2]

    def test_normalize_says_what_scores_mean(self) -> None:
        """`normalize` brings scores into [0, 1]."""
        self.needs("base_url", "normalize", "options")
        with LoopbackEndpoint() as endpoint:
            made: AdapterSettings = {"model": "m", "base_url": endpoint.url, "options": {"scores": "logits"}}
            raw, scaled = self.asked(made), self.asked({**made, "normalize": True})

        _require_scaled(scaled, raw)

    def test_normalize_may_be_given_at_the_call(self) -> None:
        """`normalize` of one call comes before that of the component, False too."""
        self.needs("base_url", "normalize", "options")
        self.needs_override("normalize")
        with LoopbackEndpoint() as endpoint:
            made: AdapterSettings = {"model": "m", "base_url": endpoint.url, "options": {"scores": "logits"}}
            raw = self.asked({**made, "normalize": True}, normalize=False)
            scaled = self.asked({**made, "normalize": False}, normalize=True)

        _require_scaled(scaled, raw)


def _require_scaled(scaled: Places, raw: Places) -> None:
    """Demand the same documents, with the sigmoid of their scores."""
    sigmoids = [(at, round(1 / (1 + math.exp(-(logit or 0.0))), 6)) for at, logit in raw]
    assert [(at, round(score or 0.0, 6)) for at, score in scaled] == sigmoids


def _places(ranking: Ranking) -> Places:
    return [(hit.index, hit.score) for hit in ranking]
