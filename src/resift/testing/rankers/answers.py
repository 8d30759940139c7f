"""What a ranker answers: scores, order, and the part of it that was asked for."""

import math
from collections.abc import Sequence
from copy import deepcopy
from unittest import SkipTest

from resift.testing.rankers.hooks import RankerHooks
from resift.testing.ways import WAYS, ranking_of, run, scores_of
from resift.types import Document, Ranked, Ranker, Ranking


class Answers(RankerHooks):
    """The promises about answers."""

    def test_every_document_has_a_score(self) -> None:
        """Scores are finite Python floats, one per document, in input order."""
        with self.ranker() as ranker:
            for way in WAYS:
                scores = scores_of(ranker, way, self.query, list(self.documents))
                assert len(scores) == len(self.documents), way
                assert all(type(score) is float and math.isfinite(score) for score in scores), f"{way}: {scores}"

    def test_documents_are_told_apart(self) -> None:
        """Documents that differ do not all have the same score."""
        with self.ranker() as ranker:
            scores = ranker.score(self.query, list(self.documents))

            assert not all(self.same(score, scores[0]) for score in scores), f"all scores are the same: {scores}"

    def test_a_ranking_is_the_documents_by_score(self) -> None:
        """In every way to ask, documents stand in the order of `score`, best first, ties in input order."""
        with self.ranker() as ranker:
            scores = ranker.score(self.query, list(self.documents))
            self.require_same(scores_of(ranker, "arank", self.query, list(self.documents)), scores, by="ascore")
            for way in WAYS:
                self.require_order(self._ranking(ranker, way), scores, by=way)

    def test_a_ranking_holds_python_floats(self) -> None:
        """Scores in a ranking are finite Python floats, which can be written as JSON."""
        with self.ranker() as ranker:
            for way in WAYS:
                for hit in self._ranking(ranker, way):
                    assert type(hit.score) is float, way
                    assert math.isfinite(hit.score), way

    def test_a_hit_carries_the_callers_own_document(self) -> None:
        """Each hit holds the very object that stands at its index in the caller's list."""
        given = self._mixed()
        with self.ranker() as ranker:
            for way in WAYS:
                ranking = ranking_of(ranker, way, self.query, given)
                others = [hit.index for hit in ranking if hit.document is not given[hit.index]]
                assert not others, f"{way}: other objects than the caller's at {others}"

    def test_the_ranking_names_the_model(self) -> None:
        """A ranking says which model scored, as the ranker does."""
        with self.ranker() as ranker:
            for way in WAYS:
                assert self._ranking(ranker, way).model == ranker.model, way

    def test_top_n_keeps_the_best(self) -> None:
        """`top_n` keeps the head of the whole ranking; more than there are is all of them."""
        with self.ranker() as ranker:
            for way in WAYS:
                whole = self._ranking(ranker, way)
                for top_n in (1, 2, len(whole), len(whole) + 1, 1000, None):
                    ranking = self._ranking(ranker, way, top_n=top_n)
                    self._require_head(ranking, whole, whole[:top_n], by=f"{way} with top_n={top_n}")

    def test_a_threshold_is_inclusive(self) -> None:
        """A threshold keeps the scores that are at least as high, one that is just as high among them."""
        with self.ranker() as ranker:
            for way in WAYS:
                whole = self._steady(ranker, way)
                for hit in whole:
                    ranking = self._ranking(ranker, way, threshold=hit.score)
                    kept = [other for other in whole if other.score >= hit.score]
                    self._require_head(ranking, whole, kept, by=f"{way} with threshold={hit.score}")

    def test_a_threshold_of_0_is_one(self) -> None:
        """The threshold 0.0 keeps the scores from 0 up; it is not taken for none."""
        with self.ranker() as ranker:
            for way in WAYS:
                whole = self._ranking(ranker, way)
                ranking = self._ranking(ranker, way, threshold=0.0)
                kept = [hit for hit in whole if hit.score >= 0.0]
                self._require_head(ranking, whole, kept, by=f"{way} with threshold=0.0")

    def test_a_threshold_may_leave_nothing(self) -> None:
        """Where every score is too low the ranking is empty, and where none is it is whole."""
        with self.ranker() as ranker:
            for way in WAYS:
                whole = self._ranking(ranker, way)
                for threshold, kept in ((whole[0].score + 1.0, []), (whole[-1].score - 1.0, whole)):
                    ranking = self._ranking(ranker, way, threshold=threshold)
                    self._require_head(ranking, whole, kept, by=f"{way} with threshold={threshold}")

    def test_a_threshold_and_top_n_both_count(self) -> None:
        """Where both are given, `top_n` counts among the documents that the threshold keeps."""
        with self.ranker() as ranker:
            for way in WAYS:
                whole = self._steady(ranker, way)
                for threshold, top_n in ((whole[2].score, 2), (whole[0].score, len(whole))):
                    ranking = self._ranking(ranker, way, threshold=threshold, top_n=top_n)
                    kept = [hit for hit in whole if hit.score >= threshold][:top_n]
                    by = f"{way} with threshold={threshold} and top_n={top_n}"
                    self._require_head(ranking, whole, kept, by=by)

    def test_no_documents_are_ranked_too(self) -> None:
        """Where there are no documents the answer is empty."""
        with self.ranker() as ranker:
            for way in WAYS:
                assert list(ranking_of(ranker, way, self.query, [])) == [], way
                assert scores_of(ranker, way, self.query, []) == [], way

    def test_documents_may_come_from_a_generator(self) -> None:
        """Whatever can be iterated over once is enough."""
        with self.ranker() as ranker:
            scores = ranker.score(self.query, list(self.documents))
            for way in WAYS:
                self.require_same(scores_of(ranker, way, self.query, iter(self.documents)), scores, by=way)
                self.require_order(ranking_of(ranker, way, self.query, iter(self.documents)), scores, by=way)

    def test_a_mapping_is_read_as_lines(self) -> None:
        """A document that is a mapping is scored as its `key: value` lines."""
        mappings = [{"title": f"No. {at}", "text": text} for at, text in enumerate(self.documents)]
        lines = [f"title: No. {at}\ntext: {text}" for at, text in enumerate(self.documents)]
        with self.ranker() as ranker:
            expected = ranker.score(self.query, lines)
            for way in WAYS:
                self.require_same(scores_of(ranker, way, self.query, mappings), expected, by=way)
                self.require_order(ranking_of(ranker, way, self.query, mappings), expected, by=way)

    def test_the_callers_documents_are_left_alone(self) -> None:
        """Neither the list nor the mappings in it are changed."""
        given = self._mixed()
        before = deepcopy(given)
        with self.ranker() as ranker:
            for way in WAYS:
                ranking_of(ranker, way, self.query, given, top_n=2)
                scores_of(ranker, way, self.query, given)

        assert given == before

    def test_equal_documents_tie(self) -> None:
        """
        A document that is in the list twice is in the ranking twice, with the same score, in input order.

        A ranker that compares documents may give each its own score.
        """
        twice = [*self.documents, *self.documents]
        with self.ranker() as ranker:
            for way in WAYS:
                ranking = ranking_of(ranker, way, self.query, twice)
                found = {hit.index: hit.score for hit in ranking}
                assert sorted(found) == list(range(len(twice))), f"{way}: {len(twice)} documents, and {len(found)} hits"
                scores = [found[at] for at in range(len(twice))]
                if not self.compares_documents(ranker):
                    self.require_same(scores[: len(self.documents)], scores[len(self.documents) :], by=way)
                self.require_order(ranking, scores, by=way)

    def test_order_does_not_change_scores(self) -> None:
        """A document has the same score wherever it stands in the list, unless the ranker compares documents."""
        with self.ranker() as ranker:
            self.require_pointwise(ranker)
            scores = ranker.score(self.query, list(self.documents))
            backwards = ranker.score(self.query, list(reversed(self.documents)))

            self.require_same(backwards, scores[::-1], by="score, backwards")

    def test_company_does_not_change_scores(self) -> None:
        """A document has the same score alone as among others, unless the ranker compares documents."""
        with self.ranker() as ranker:
            self.require_pointwise(ranker)
            scores = ranker.score(self.query, list(self.documents))
            alone = [ranker.score(self.query, [text])[0] for text in self.documents]

            self.require_same(alone, scores, by="score, one by one")

    def test_many_requests_are_answered_in_order(self) -> None:
        """`rank_many` and `arank_many` answer each request as `rank` does, in order; none where there are none."""
        requests: list[tuple[str, list[Document]]] = [
            (self.query, list(self.documents)),
            (self.query, []),
            (self.documents[1], list(self.documents[1:3])),
        ]

        with self.ranker() as ranker:
            expected = [ranker.rank(query, documents) for query, documents in requests]

            async def asked() -> list[Ranking]:
                return [ranking async for ranking in ranker.arank_many(iter(requests))]

            for by, rankings in {
                "rank_many": list(ranker.rank_many(iter(requests))),
                "arank_many": run(asked()),
            }.items():
                assert len(rankings) == len(expected), by
                for ranking, other in zip(rankings, expected, strict=True):
                    scores = {hit.index: hit.score for hit in other}
                    self.require_order(ranking, [scores[at] for at in range(len(scores))], by=by)
            assert list(ranker.rank_many([])) == []

    def _mixed(self) -> list[Document]:
        return [text if at % 2 else {"text": text, "tags": ["animal"]} for at, text in enumerate(self.documents)]

    def _ranking(self, ranker: Ranker, way: str, **cut: float | None) -> Ranking:
        return ranking_of(ranker, way, self.query, list(self.documents), **cut)

    def _steady(self, ranker: Ranker, way: str) -> Ranking:
        """Return the whole ranking; skip what is about scores just as high as a threshold where they do not repeat."""
        ranking = self._ranking(ranker, way)
        if ranking != self._ranking(ranker, way):
            raise SkipTest("its scores are not the same to the last digit in each call")
        return ranking

    def _require_head(self, ranking: Ranking, whole: Ranking, kept: Sequence[Ranked], *, by: str) -> None:
        """Demand this head of the whole ranking; among scores that only rounding tells apart, any of them."""
        scores, known = [hit.score for hit in ranking], {hit.index: hit.score for hit in whole}
        self.require_same(scores, [hit.score for hit in kept], by=by)
        self.require_same(scores, [known[hit.index] for hit in ranking], by=by)
