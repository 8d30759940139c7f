"""What an adapter refuses: settings and calls that cannot mean anything, each with a word on what to do."""

from typing import Any, cast

from resift.testing.adapters.hooks import AdapterHooks, AdapterSettings
from resift.testing.fake_ranker import FakeRanker
from resift.testing.watching import loads


class Mistakes(AdapterHooks):
    """
    The promises about mistakes: each is a `ValueError`, as `resift.InvalidInput` is.

    It comes when the component is made or at the latest when it is used, and says the same sync and async.
    """

    def test_a_blank_query_is_refused(self) -> None:
        """There is nothing to rank by."""
        self.needs("ranker")
        ranker = FakeRanker()
        for query in ("", " \n\t"):
            assert "query" in self.refused({"ranker": ranker}, query)

        assert ranker.asked == []

    def test_a_misspelt_option_is_refused_with_a_hint(self) -> None:
        """An option that does not exist is named together with the closest one that does."""
        self.needs("options")
        message = self.refused({"model": "lexical", "options": {"max_lenght": 512}})

        assert "max_lenght" in message
        assert "max_length" in message

    def test_an_option_of_the_other_kind_is_refused(self) -> None:
        """An option for endpoints is refused where the model is to run here."""
        self.needs("options")

        assert "timeout_s" in self.refused({"model": "lexical", "options": {"timeout_s": 3.0}})

    def test_a_ranker_has_settings_of_its_own(self) -> None:
        """A ranker beside a model, an endpoint or their options is refused: only one of them could count."""
        self.needs("ranker")
        beside: dict[str, Any] = {
            "model": "lexical",
            "base_url": "http://127.0.0.1:9",
            "options": {"max_length": 512},
        }
        for setting, value in beside.items():
            if setting not in self.lacks:
                self.refused(cast("AdapterSettings", {"ranker": FakeRanker(), setting: value}))

    def test_what_cannot_rank_is_no_ranker(self) -> None:
        """A given ranker must be one, not its name or its class."""
        self.needs("ranker")
        for given in ("lexical", FakeRanker):
            self.refused(cast("AdapterSettings", {"ranker": given}))

    def test_an_unknown_on_error_is_refused(self) -> None:
        """`on_error` is "raise" or "pass", and nothing else is taken for one of them."""
        self.needs("on_error")
        for given in ("ignore", "", None):
            self.refused(cast("AdapterSettings", {"model": "lexical", "on_error": given}))

    def test_a_mistake_loads_no_model(self) -> None:
        """What is refused is refused before a model is loaded."""
        with self.unheld() as settings, loads() as loaded:
            self.refused(settings, " ")
            if "top_n" not in self.lacks:
                self.refused({**settings, "top_n": 0})

        assert loaded == []
