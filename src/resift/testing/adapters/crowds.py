"""How an adapter behaves among many callers: threads, event loops, and coroutines by the hundred."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from resift.testing.adapters.hooks import QUERY, TEXTS, AdapterHooks, AdapterSettings, Places
from resift.testing.fake_ranker import FakeRanker
from resift.testing.loopback import LoopbackEndpoint
from resift.testing.watching import loads, longest_gap
from resift.testing.ways import run

_COROUTINES, _THREADS, _CALLS = 200, 8, 32
_SLOW_S, _ATTEMPTS = 0.4, 3
_PATIENCE_S = 20.0


class Crowds(AdapterHooks):
    """The promises about many callers."""

    def test_threads_may_share_it(self) -> None:
        """Threads that rerank at the same time get what each would get alone."""
        component = self.make(model="lexical")
        expected = self.both(component, QUERY)
        with ThreadPoolExecutor(_THREADS) as threads:
            answers = list(threads.map(lambda _: self.rerank(component, QUERY, TEXTS), range(_CALLS)))
        self.close(component)

        assert answers == [expected] * _CALLS

    def test_event_loops_may_follow_one_another(self) -> None:
        """One component serves one event loop after the other, with a model here and with an endpoint."""
        with LoopbackEndpoint() as endpoint:
            settings: list[Any] = [{"model": "lexical"}]
            if "base_url" not in self.lacks:
                settings.append({"model": "m", "base_url": endpoint.url})
            for made in settings:
                component = self.make(**made)
                first = run(self.arerank(component, QUERY, TEXTS))
                assert run(self.arerank(component, QUERY, TEXTS)) == first
                assert self.rerank(component, QUERY, TEXTS) == first
                assert run(self.arerank(component, QUERY, TEXTS)) == first
                self.close(component)

    def test_hundreds_of_coroutines_wait_at_once(self) -> None:
        """Coroutines wait for the ranker itself, and not for a thread that could wait for it."""
        self.needs("ranker")
        gate = threading.Event()
        ranker = FakeRanker(gate=gate)
        component = self.make(ranker=ranker)

        async def crowd() -> list[Places]:
            calls = [asyncio.create_task(self.arerank(component, QUERY, TEXTS)) for _ in range(_COROUTINES)]
            await _until(lambda: ranker.at_once == _COROUTINES or any(call.done() for call in calls))
            gate.set()
            return await asyncio.gather(*calls)

        answers = run(crowd())
        assert ranker.most_at_once == _COROUTINES, f"only {ranker.most_at_once} of {_COROUTINES} asked at once"
        assert answers == [answers[0]] * _COROUTINES

    def test_the_event_loop_stays_free(self) -> None:
        """While a slow ranker ranks, other coroutines go on."""
        self.needs("ranker")
        self._stays_free(lambda: nullcontext({"ranker": FakeRanker(delay_s=_SLOW_S)}))

    def test_loading_leaves_the_event_loop_free(self) -> None:
        """While a model is loaded for the first coroutine, other coroutines go on."""
        self.needs("options")
        with loads(delay_s=_SLOW_S) as loaded:
            self._stays_free(self.unheld)

        assert loaded

    def test_cancelling_reaches_the_ranker(self) -> None:
        """A coroutine that is cancelled leaves nothing running in the ranker, and the next call is answered."""
        self.needs("ranker")
        ranker = FakeRanker(gate=threading.Event())
        component = self.make(ranker=ranker)

        async def leave() -> None:
            call = asyncio.create_task(self.arerank(component, QUERY, TEXTS))
            await _until(lambda: ranker.at_once == 1 or call.done())
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled(), "a cancelled call returned or failed"
            await _until(lambda: ranker.at_once == 0)
            assert (ranker.cancelled, ranker.at_once) == (1, 0), "the ranker goes on"

        run(leave())
        ranker.gate = None
        assert len(self.both(component, QUERY)) == len(TEXTS)

    def _stays_free(self, slow: Callable[[], AbstractContextManager[AdapterSettings]]) -> None:
        """Demand that the loop goes on during a call that takes long; a busy machine is given another try."""
        for _ in range(_ATTEMPTS):
            with slow() as settings:
                component = self.make(**settings)
                gap_s = run(longest_gap(self.arerank(component, QUERY, TEXTS)))
                self.close(component)
            if gap_s < _SLOW_S / 2:
                return
        raise AssertionError(f"the event loop stood still for {gap_s:.2f} s of a call of {_SLOW_S} s")


async def _until(condition: Callable[[], bool]) -> None:
    """Wait until something is so, or the time is up."""
    patient_until = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > patient_until:
            return
        await asyncio.sleep(0.01)
