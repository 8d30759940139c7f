"""What every ranker promises: the contract that a model, an endpoint or a wrapper is tested by."""

from resift.testing.rankers.answers import Answers
from resift.testing.rankers.manners import Manners
from resift.testing.rankers.refusals import Refusals


class RankerContract(Answers, Refusals, Manners):
    """
    What a ranker promises, wherever its scores come from.

    Subclass it in a test file as `class TestMyRanker(RankerContract)`, and give it `make_ranker`, at least.
    """
