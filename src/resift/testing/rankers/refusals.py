"""What a ranker refuses: calls that cannot mean anything."""

from typing import Any

from resift.errors import InvalidInput
from resift.testing.rankers.hooks import RankerHooks
from resift.testing.watching import raises
from resift.testing.ways import WAYS, ranking_of, scores_of


class Refusals(RankerHooks):
    """The promises about calls that cannot mean anything: each is an `InvalidInput`, in every way to ask."""

    def test_a_blank_query_is_refused(self) -> None:
        """There is nothing to rank by."""
        self._refuses_everywhere("", list(self.documents))
        self._refuses_everywhere(" \n\t", list(self.documents))

    def test_a_query_is_a_text(self) -> None:
        """What is no str is no query."""
        self._refuses_everywhere(None, list(self.documents))
        self._refuses_everywhere([self.query], list(self.documents))

    def test_a_text_is_no_list_of_documents(self) -> None:
        """A single document is not taken for a list of characters or keys."""
        self._refuses_everywhere(self.query, self.documents[0])
        self._refuses_everywhere(self.query, {"text": self.documents[0]})

    def test_a_document_is_a_text_or_a_mapping(self) -> None:
        """What is neither is refused."""
        self._refuses_everywhere(self.query, [self.documents[0], 7])

    def test_a_top_n_below_1_is_refused(self) -> None:
        """To keep nothing, or less, cannot be meant; 0 is not taken for all."""
        for top_n in (0, -1):
            self._refuses_to_rank(top_n=top_n)

    def test_a_threshold_is_a_number(self) -> None:
        """NaN, which nothing is above or below, is refused."""
        self._refuses_to_rank(threshold=float("nan"))

    def _refuses_everywhere(self, query: Any, documents: Any) -> None:
        with self.ranker() as ranker:
            for way in WAYS:
                with raises(InvalidInput, by=f"{way} of {query!r} and {documents!r}"):
                    ranking_of(ranker, way, query, documents)
                with raises(InvalidInput, by=f"{way.replace('rank', 'score')} of {query!r} and {documents!r}"):
                    scores_of(ranker, way, query, documents)

    def _refuses_to_rank(self, **options: Any) -> None:
        with self.ranker() as ranker:
            for way in WAYS:
                with raises(InvalidInput, by=f"{way} with {options}"):
                    ranking_of(ranker, way, self.query, list(self.documents), **options)
