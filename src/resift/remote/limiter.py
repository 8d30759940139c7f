"""How many requests an endpoint is sent at one time: fewer when it says that they are too many."""

import asyncio
import heapq
import itertools
import math
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager


class Limiter:
    """
    Lets so many requests through at one time, first come first served, whatever loops they come from.

    The bound is halved when the endpoint says that it is too busy, once for all requests that were under way then,
    and grows back by one for each full round of answers. While the endpoint asks to be left alone, nobody's request is
    sent, so that one who is refused spares all others the same.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._bound = float(most)
        self._busy = 0
        self._waiting: list[tuple[tuple[bool, int], Future[None]]] = []
        self._arrivals = itertools.count()
        self._halved_at = 0.0
        self._calm_at = 0.0
        self._lock = threading.Lock()

    @property
    def bound(self) -> int:
        """How many requests may be under way now."""
        return int(self._bound)

    @asynccontextmanager
    async def slot(self, *, again: bool = False, deadline: float = math.inf) -> AsyncIterator["Slot"]:
        """
        Wait for a turn, and give it on at the end.

        Who comes `again` has waited before, and goes first. A rest that ends behind the deadline is not waited for.
        """
        place = (not again, next(self._arrivals))
        await self._enter(place)
        while time.monotonic() < (calm_at := self._calm_at) < deadline:
            self._leave()  # the bound may be another one afterwards
            await asyncio.sleep(max(0.0, calm_at - time.monotonic()))
            await self._enter(place)
        try:
            yield Slot(self)
        finally:
            self._leave()

    def halve(self, *, since: float) -> None:
        """Let fewer through, unless that was done after `since` already."""
        with self._lock:
            if since >= self._halved_at:
                self._bound = max(1.0, self._bound / 2)
                self._halved_at = time.monotonic()

    def rest(self, seconds: float) -> None:
        """Let nobody through for some time."""
        with self._lock:
            self._calm_at = max(self._calm_at, time.monotonic() + seconds)

    def grow(self) -> None:
        """Let a little more through."""
        with self._lock:
            self._bound = min(self._most, self._bound + 1 / self._bound)

    async def _enter(self, place: tuple[bool, int]) -> None:
        with self._lock:
            if self._busy < self.bound and not self._waiting:
                self._busy += 1
                return
            turn: Future[None] = Future()
            heapq.heappush(self._waiting, (place, turn))
        try:
            await asyncio.wrap_future(turn)
        except BaseException:
            if not turn.cancel():  # the turn came at the same moment
                self._leave()
            raise

    def _leave(self) -> None:
        with self._lock:
            self._busy -= 1
            turns = []
            while self._waiting and self._busy < self.bound:
                _, turn = heapq.heappop(self._waiting)
                if turn.set_running_or_notify_cancel():
                    self._busy += 1
                    turns.append(turn)
        for turn in turns:  # outside the lock, because callbacks may do anything
            turn.set_result(None)


class Slot:
    """One request's turn; it tells the limiter how the endpoint took it."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._since = time.monotonic()

    def heard(self, status: int | None, *, rest_s: float = 0.0) -> None:
        """Take note of the endpoint's answer, and of how long it asks to be left alone."""
        if rest_s > 0:
            self._limiter.rest(rest_s)
        if status == 429:
            self._limiter.halve(since=self._since)
        elif status is not None and status < 400:
            self._limiter.grow()
