"""What becomes of an adapter's copies: they rank as it does."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

from resift.testing.adapters.hooks import QUERY, AdapterHooks
from resift.testing.watching import loads


class Copies(AdapterHooks):
    """The promises about copies."""

    def test_a_pickled_one_reranks_the_same(self) -> None:
        """A component that went through pickle gives the same answers, whether it was used before or not."""
        self._copies_alike(lambda component: pickle.loads(pickle.dumps(component)))  # noqa: S301 - pickled here

    def test_a_deep_copy_reranks_the_same(self) -> None:
        """A component's deep copy gives the same answers, whether it was used before or not."""
        self._copies_alike(copy.deepcopy)

    def test_copying_loads_no_model(self) -> None:
        """A copy is settings; a model is loaded when it is used."""
        with self.unheld() as settings, loads() as loaded:
            component = self.make(**settings)
            copies = [copy.deepcopy(component), pickle.loads(pickle.dumps(component))]  # noqa: S301 - pickled here

        assert len(copies) == 2
        assert loaded == []

    def test_it_may_be_used_after_it_was_closed(self) -> None:
        """A component that was closed, once or twice, opens again what it needs."""
        component = self.make(model="lexical")
        self.close(component)
        before = self.both(component, QUERY)
        self.close(component)
        self.close(component)

        assert self.both(component, QUERY) == before
        self.close(component)

    def _copies_alike(self, copied: Callable[[Any], Any]) -> None:
        settings: dict[str, Any] = {"model": "lexical", "top_n": 4}
        component = self.make(**{name: value for name, value in settings.items() if name not in self.lacks})
        new = copied(component)
        places = self.both(component, QUERY)
        used = copied(component)
        for one in (new, used):
            assert self.both(one, QUERY) == places
            self.close(one)
        assert self.both(component, QUERY) == places, "closing a copy leaves the component as it is"
        self.close(component)
