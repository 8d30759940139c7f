"""What an adapter does when the ranker fails: raise, or pass the documents on as they came."""

import logging
from typing import Any

from resift.errors import (
    EndpointUnavailable,
    InvalidInput,
    MissingDependency,
    ModelNotFound,
    ModelUnsupported,
    Overloaded,
    ResiftError,
    ScoringFailed,
)
from resift.testing.adapters.hooks import QUERY, TEXTS, AdapterHooks, Places
from resift.testing.fake_ranker import FakeRanker
from resift.testing.watching import logged, raises
from resift.testing.ways import run

_FAILURES = (ScoringFailed("no"), EndpointUnavailable("no"), Overloaded("no"), RuntimeError("no"))
_MISTAKES = (InvalidInput("no"), ModelNotFound("no"), ModelUnsupported("no"), MissingDependency("no"))
_PASSED: Places = [(at, None) for at in range(len(TEXTS))]


class Failures(AdapterHooks):
    """The promises about rankers that fail."""

    def test_errors_are_raised(self) -> None:
        """An error of the ranker reaches the caller as it is, and the next call is answered."""
        self.needs("ranker")
        for error in (*_FAILURES, *_MISTAKES):
            component = self.make(ranker=FakeRanker(fails=[error, error]))
            self._raises(component, error)
            assert len(self.both(component, QUERY)) == len(TEXTS)

    def test_a_score_is_a_finite_number(self) -> None:
        """A ranker that scores by NaN or infinity has failed; what it says orders nothing."""
        self.needs("ranker")
        for bad in (float("nan"), float("inf"), float("-inf")):
            self._is_a_failure(f"the score {bad}", scorer=lambda *_, bad=bad: bad)

    def test_a_ranking_is_of_the_callers_documents(self) -> None:
        """A ranker that names a document twice, or one that is not there, has failed."""
        self.needs("ranker")
        self._is_a_failure("the index 0 for each document", renumber=lambda at: 0)
        self._is_a_failure("indices from 1", renumber=lambda at: at + 1)
        self._is_a_failure("indices from -1", renumber=lambda at: at - 1)

    def test_documents_may_pass_as_they_came(self) -> None:
        """With on_error="pass" a failure gives the documents in the order in which they came, without scores."""
        self.needs("ranker", "on_error")
        for error in _FAILURES:
            component = self.make(ranker=FakeRanker(fails=[error, error]), on_error="pass")
            assert self.both(component, QUERY) == _PASSED
            assert {type(score) for _, score in self.both(component, QUERY)} == {float}, "the next call is answered"

    def test_no_more_than_top_n_pass(self) -> None:
        """`top_n` counts for documents that pass too."""
        self.needs("ranker", "on_error", "top_n")
        for top_n in (1, 2, 1000):
            component = self.make(ranker=FakeRanker(fails=[ScoringFailed("no")] * 2), on_error="pass", top_n=top_n)
            assert self.both(component, QUERY) == _PASSED[:top_n]

    def test_a_failure_that_passes_is_logged(self) -> None:
        """Each failure that passes is a warning in the log, which quotes neither query nor documents."""
        self.needs("ranker", "on_error")
        error = RuntimeError(f"could not rank {TEXTS[1]!r} by {QUERY!r}")
        component = self.make(ranker=FakeRanker(fails=[error] * 2), on_error="pass")

        for rerank in (self.rerank, lambda *asked: run(self.arerank(*asked))):
            with logged(logging.WARNING) as lines:
                assert rerank(component, QUERY, TEXTS) == _PASSED
            assert lines, "nothing was logged"
            assert not [line for line in lines for text in (QUERY, *TEXTS) if text in line]

    def test_mistakes_never_pass(self) -> None:
        """What stays wrong until somebody corrects it is raised, whatever else may pass."""
        self.needs("ranker", "on_error")
        for error in _MISTAKES:
            self._raises(self.make(ranker=FakeRanker(fails=[error, error]), on_error="pass"), error)
        self.refused({"ranker": FakeRanker(), "on_error": "pass"}, " ")

    def _raises(self, component: object, error: Exception) -> None:
        with raises(type(error), by=f"rerank with {error!r}") as raised:
            self.rerank(component, QUERY, TEXTS)
        with raises(type(error), by=f"arerank with {error!r}") as later:
            run(self.arerank(component, QUERY, TEXTS))
        assert raised.error is error
        assert later.error is error

    def _is_a_failure(self, said: str, **behaviour: Any) -> None:
        """Demand that what such a ranker says is raised, or passed as any other failure is."""
        component = self.make(ranker=FakeRanker(**behaviour))
        with raises(ResiftError, by=f"rerank by a ranker that gives {said}"):
            self.rerank(component, QUERY, TEXTS)
        with raises(ResiftError, by=f"arerank by a ranker that gives {said}"):
            run(self.arerank(component, QUERY, TEXTS))
        if "on_error" not in self.lacks:
            assert self.asked({"ranker": FakeRanker(**behaviour), "on_error": "pass"}) == _PASSED
