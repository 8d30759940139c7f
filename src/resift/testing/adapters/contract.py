"""What every adapter promises: the contract that the reranking component of a framework is tested by."""

from resift.testing.adapters.answers import Answers
from resift.testing.adapters.copies import Copies
from resift.testing.adapters.crowds import Crowds
from resift.testing.adapters.cuts import Cuts
from resift.testing.adapters.failures import Failures
from resift.testing.adapters.lightness import Lightness
from resift.testing.adapters.mistakes import Mistakes
from resift.testing.adapters.secrets import Secrets


class AdapterContract(Answers, Cuts, Failures, Mistakes, Secrets, Copies, Lightness, Crowds):
    """
    What the reranking component of a framework promises, whatever the framework.

    Subclass it in a test file as `class TestMyRerank(AdapterContract)`, and give it the hooks of `AdapterHooks`.
    """
