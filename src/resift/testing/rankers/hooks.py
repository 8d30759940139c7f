"""What the contract of rankers must be told about one: how to make it, and what does not hold for it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar
from unittest import SkipTest

from resift.types import Ranker, Ranking

_LONG_ENOUGH_S, _MOST_DOCUMENTS = 0.4, 4096


class RankerHooks:
    """What `RankerContract` is told about a ranker. `make_ranker` must be given."""

    query: ClassVar[str] = "what does a panda eat?"
    """What the documents are ranked by."""

    documents: ClassVar[Sequence[str]] = (
        "A panda will eat bamboo all day.",
        "Paris is the capital of France.",
        "The giant panda is a bear.",
        "Bamboo is a grass, and grows fast.",
        "What does a bear eat in winter? Nothing.",
    )
    """Texts that the ranker scores: three at least, all different, and not all with the same score."""

    tolerance: ClassVar[float] = 1e-5
    """How far two scores of the same document may lie apart, relative to their size where they are larger than 1."""

    fresh: ClassVar[bool] = True
    """Whether `make_ranker` makes a new ranker each time. One that is shared is never closed here."""

    picklable: ClassVar[bool] = True
    """Whether it can be pickled, to be sent to another process for one."""

    listwise: ClassVar[bool | None] = None
    """
    Whether scores depend on the other documents of the call, and on their order.

    None is as the ranker itself says, or no where it says nothing.
    """

    frees_the_loop: ClassVar[bool] = True
    """Whether its coroutines leave the event loop free; every ranker's should."""

    def make_ranker(self) -> Ranker:
        """Return the ranker to be tested."""
        raise NotImplementedError

    @contextmanager
    def ranker(self) -> Iterator[Ranker]:
        """Make the ranker that a test asks, and close it afterwards if nobody shares it."""
        ranker = self.make_ranker()
        try:
            yield ranker
        finally:
            if self.fresh:
                ranker.close()

    def long_documents(self, ranker: Ranker) -> Sequence[str]:
        """
        Return documents that take the ranker some tenths of a second, so that a blocked event loop is noticed.

        They are found by trying more and more; where thousands are too few, the test is skipped.
        """
        ranker.rank(self.query, list(self.documents))  # the first call may take long because of what is opened
        count = len(self.documents)
        while count <= _MOST_DOCUMENTS:
            documents = [f"{number}: {self.documents[number % len(self.documents)]}" for number in range(count)]
            started = time.perf_counter()
            ranker.rank(f"{self.query} {count}", documents)
            if time.perf_counter() - started >= _LONG_ENOUGH_S:
                return documents
            count *= 2
        raise SkipTest(f"{_MOST_DOCUMENTS} documents are ranked too quickly to tell; long_documents may return more")

    def compares_documents(self, ranker: Ranker) -> bool:
        """Say whether a ranker's scores depend on the other documents of the call, and on their order."""
        return bool(getattr(ranker, "listwise", False) if self.listwise is None else self.listwise)

    def require_pointwise(self, ranker: Ranker) -> None:
        """Skip what does not hold for a ranker whose scores depend on the other documents."""
        if self.compares_documents(ranker):
            raise SkipTest("its scores depend on the other documents of the call")

    def same(self, one: float, other: float) -> bool:
        """Say whether two scores are the same but for rounding."""
        return abs(one - other) <= self.tolerance * max(1.0, abs(one), abs(other))

    def require_same(self, got: Sequence[float], expected: Sequence[float], *, by: str) -> None:
        """Demand the same scores."""
        assert len(got) == len(expected), f"{by}: {len(got)} scores instead of {len(expected)}"
        for at, (one, other) in enumerate(zip(got, expected, strict=True)):
            assert self.same(one, other), f"{by}: document {at} has the score {one}, not {other}"

    def require_order(self, ranking: Ranking, scores: Sequence[float], *, by: str) -> None:
        """Demand all documents, each with its score, best first and ties in input order."""
        assert sorted(hit.index for hit in ranking) == list(range(len(scores))), f"{by}: {_indices(ranking)}"
        self.require_same([hit.score for hit in ranking], [scores[hit.index] for hit in ranking], by=by)
        places = [(-hit.score, hit.index) for hit in ranking]
        assert places == sorted(places), f"{by}: not best first with ties in input order: {_indices(ranking)}"


def _indices(ranking: Ranking) -> list[int]:
    return [hit.index for hit in ranking]
