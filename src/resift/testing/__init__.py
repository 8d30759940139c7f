"""
What those who write a ranker, or an adapter for a framework, test it with.

Subclass a contract as a class of tests, give it its hooks, and pytest runs its promises. docs/testing.md shows how.
Nothing here imports pytest.
"""

import sys

if "pytest" in sys.modules:  # it then shows the values that an assert compared; the contracts must not be imported yet
    sys.modules["pytest"].register_assert_rewrite("resift.testing.adapters", "resift.testing.rankers")

from resift.testing.adapters.contract import AdapterContract
from resift.testing.adapters.hooks import AdapterSettings, Overrides, Places
from resift.testing.fake_ranker import FakeRanker
from resift.testing.rankers.contract import RankerContract

__all__ = ["AdapterContract", "AdapterSettings", "FakeRanker", "Overrides", "Places", "RankerContract"]
