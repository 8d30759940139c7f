"""How a ranker behaves in company and over time: threads, event loops, copies, and the end."""

import asyncio
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import SkipTest

from resift.testing.rankers.hooks import RankerHooks
from resift.testing.watching import longest_gap
from resift.testing.ways import run
from resift.types import Ranker, Ranking

_THREADS, _CALLS, _ATTEMPTS = 8, 24, 3
_TELLING_S = 0.3  # in half of that a coroutine gets its turn on a busy machine too


class Manners(RankerHooks):
    """The promises about everything but answers."""

    def test_it_is_a_ranker(self) -> None:
        """It has all that a `resift.Ranker` has, and its model has a name."""
        with self.ranker() as ranker:
            lacks = [name for name in vars(Ranker) if not name.startswith("_") and not hasattr(ranker, name)]
            assert not lacks, f"a resift.Ranker also has {', '.join(lacks)}"
            assert isinstance(ranker, Ranker), "a resift.Ranker can be used in `with` and `async with`"
            assert isinstance(ranker.model, str)
            assert ranker.model

    def test_what_it_says_of_itself_is_of_its_kind(self) -> None:
        """Whatever a ranker says of itself, it says in the words of `resift.Described`."""
        with self.ranker() as ranker:
            identity, max_length = getattr(ranker, "identity", ""), getattr(ranker, "max_length", None)
            assert isinstance(identity, str)
            assert "\n" not in identity
            assert max_length is None or max_length > 0
            for name in ("listwise", "takes_instruction"):
                said = getattr(ranker, name, False)
                assert isinstance(said, bool), f"{name} is {said!r}, neither True nor False"

    def test_threads_may_share_it(self) -> None:
        """Threads that rank at the same time get what each would get alone."""
        with self.ranker() as ranker:
            scores = ranker.score(self.query, list(self.documents))
            with ThreadPoolExecutor(_THREADS) as threads:
                calls = [threads.submit(ranker.rank, self.query, list(self.documents)) for _ in range(_CALLS)]
            for call in calls:
                self.require_order(call.result(), scores, by="a thread")

    def test_coroutines_may_share_it(self) -> None:
        """Coroutines that rank at the same time get what each would get alone."""

        async def together(ranker: Ranker) -> list[Ranking]:
            return await asyncio.gather(*(ranker.arank(self.query, list(self.documents)) for _ in range(_CALLS)))

        with self.ranker() as ranker:
            scores = ranker.score(self.query, list(self.documents))
            for ranking in run(together(ranker)):
                self.require_order(ranking, scores, by="a coroutine")

    def test_event_loops_may_follow_one_another(self) -> None:
        """One ranker serves one event loop after the other, and calls without any in between."""
        with self.ranker() as ranker:
            scores = ranker.score(self.query, list(self.documents))
            for number in range(3):
                ranking = run(ranker.arank(self.query, list(self.documents)))
                self.require_order(ranking, scores, by=f"event loop {number}")
                self.require_order(ranker.rank(self.query, list(self.documents)), scores, by="rank in between")

    def test_the_event_loop_stays_free(self) -> None:
        """While it ranks, other coroutines go on."""
        if not self.frees_the_loop:
            raise SkipTest("frees_the_loop is False")
        with self.ranker() as ranker:
            documents = list(self.long_documents(ranker))
            for attempt in range(_ATTEMPTS):  # a busy machine is given another try
                started = time.perf_counter()
                gap_s = run(longest_gap(ranker.arank(f"{self.query} {attempt}", documents)))
                took_s = time.perf_counter() - started
                if took_s < _TELLING_S:
                    raise SkipTest(f"{took_s:.2f} s are too short to tell; long_documents may return more documents")
                if gap_s < took_s / 2:
                    return
            raise AssertionError(f"the event loop stood still for {gap_s:.2f} s of a call of {took_s:.2f} s")

    def test_a_pickled_one_ranks_the_same(self) -> None:
        """A ranker that went through pickle gives the same scores."""
        if not self.picklable:
            raise SkipTest("picklable is False")
        with self.ranker() as ranker:
            scores = ranker.score(self.query, list(self.documents))
            again: Ranker = pickle.loads(pickle.dumps(ranker))  # noqa: S301 - it was pickled right here
            with again:
                self.require_same(again.score(self.query, list(self.documents)), scores, by="a pickled ranker")

    def test_closing_again_does_nothing(self) -> None:
        """A ranker may be closed any number of times, in either way."""
        if not self.fresh:
            raise SkipTest("a shared ranker is not closed")
        ranker = self.make_ranker()
        ranker.rank(self.query, list(self.documents))

        ranker.close()
        ranker.close()
        run(ranker.aclose())

    def test_a_ranker_that_was_never_asked_can_be_closed(self) -> None:
        """A ranker may be closed before anything was asked, in either way."""
        if not self.fresh:
            raise SkipTest("a shared ranker is not closed")

        self.make_ranker().close()
        run(self.make_ranker().aclose())

    def test_a_with_block_gives_the_ranker_itself(self) -> None:
        """`with` and `async with` give the ranker, which ranks inside."""
        if not self.fresh:
            raise SkipTest("a shared ranker is not closed")

        async def within(ranker: Ranker) -> Ranking:
            async with ranker as same:
                assert same is ranker
                return await ranker.arank(self.query, list(self.documents))

        with self.make_ranker() as ranker, ranker as same:
            assert same is ranker
            scores = ranker.score(self.query, list(self.documents))
        self.require_order(run(within(self.make_ranker())), scores, by="async with")
