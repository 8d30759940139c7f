"""One call's requests to an endpoint: which address answers, what is tried again, and when it is over."""

import asyncio
import contextlib
import itertools
import logging
import math
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from random import random
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from resift.errors import DeadlineExceeded, EndpointError, EndpointMisbehaved, EndpointRefused, EndpointUnavailable
from resift.forking import Lock, renew_in_child
from resift.remote.endpoint import Endpoint
from resift.remote.limiter import Limiter
from resift.remote.portal import PORTAL, run_on
from resift.remote.refusals import is_route_missing, read_refusal
from resift.remote.requests import Ask, Part
from resift.remote.retrying import Outcome, RetryBudget, pause, read_outcome
from resift.remote.transport import Broken, Received, Sending, Transport, is_async, open_transport

logger = logging.getLogger("resift")

_MOST_REDIRECTS = 3


class Line:
    """
    The way to one endpoint: its connections, and what was learnt about it.

    Rankers that differ in patience only share one.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.spoken, self.urls = endpoint.spoken, endpoint.urls
        self.asynchronous = endpoint.http_client is not None and is_async(endpoint.http_client)
        """Whether requests go over a caller's async client, on the loop where that lives."""

        self._known: str | None = None
        self._closed = False
        self._lock = Lock()
        self._transport: Transport | None = None
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Begin anew in a forked child: the parent's connections are the parent's."""
        self.limiter = Limiter(self.endpoint.max_concurrency)
        self.budget = RetryBudget(capacity=max(10.0, self.endpoint.max_concurrency))
        self.under_way: set[asyncio.Task[Any]] = set()
        if self._transport is not None:
            self._forgotten.detach()
            self._transport = None

    def submit(self, exchange: "Exchange", loop: asyncio.AbstractEventLoop | None) -> "Future[list[Received]]":
        """Begin an exchange: on the portal's thread, or where a caller's own async client lives."""
        work = partial(exchange.run, self.opened())
        if not self.asynchronous:
            return PORTAL.submit(work)
        assert loop is not None, "a sync call came to an async client. This is a bug."
        return run_on(loop, work)

    def opened(self) -> Transport:
        """Return the connections; the first time that takes a moment, because authorities are read."""
        with self._lock:
            self.require_open()
            if self._transport is None:
                self._transport = open_transport(self.endpoint.http_client, self.urls[0])
                PORTAL.adopt(self._transport)
                self._forgotten = weakref.finalize(self, PORTAL.dismiss, self._transport)
                self._forgotten.atexit = False  # the portal closes what is open then
            return self._transport

    def require_open(self) -> None:
        """Refuse a call to a ranker that is closed."""
        if self._closed:
            raise EndpointUnavailable("this ranker is closed; connect again to go on")

    def addresses(self) -> list[str]:
        """Return the addresses to try, first the one that has answered."""
        known = self._known
        return list(self.urls) if known is None else [known, *(url for url in self.urls if url != known)]

    def remember(self, url: str) -> None:
        """Try this address first from now on."""
        self._known = url

    def close(self) -> None:
        """Take no more calls, answer those under way, and close the connections. Again changes nothing."""
        with self._lock:
            transport = None if self._closed else self._transport
            self._closed = True
        if transport is None or not self._forgotten.detach():
            return
        with contextlib.suppress(EndpointUnavailable):  # the interpreter ends, and all is closed
            closing = PORTAL.submit(partial(self._close, transport))
            if not PORTAL.is_here():
                closing.result()

    async def _close(self, transport: Transport) -> None:
        if not self.asynchronous:  # else they are under way on other loops, and there is nothing to close
            await asyncio.gather(*self.under_way, return_exceptions=True)
        PORTAL.release(transport)
        await transport.aclose()
        await asyncio.sleep(0)  # until the loop has closed the sockets, too


class Exchange:
    """One call's requests, until all are answered, one has failed, or the time is up."""

    def __init__(self, line: Line, ask: Ask, parts: Sequence[Part], *, timeout_s: float, patient: bool = False) -> None:
        self._line, self._ask, self._parts = line, ask, parts
        self._timeout_s = timeout_s
        # whoever is handed in ahead waits for those before it, which have their own deadlines
        self._deadline = math.inf if patient else time.monotonic() + timeout_s
        self._sent = 0
        self._trouble = ""
        """What went wrong last."""

    async def run(self, transport: Transport) -> list[Received]:
        """Return one reply per part, in their order."""
        self._transport = transport
        task = asyncio.current_task()
        assert task is not None
        self._line.under_way.add(task)
        try:
            async with asyncio.timeout(None if math.isinf(self._deadline) else self._left_s) as limit:
                self._limit = limit
                return await self._answer_all()
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._line.under_way.discard(task)
        raise self._too_late()

    def _begin(self) -> None:
        """Let the time run from now on, if it does not yet."""
        if math.isinf(self._deadline):
            self._deadline = time.monotonic() + self._timeout_s
            self._limit.reschedule(asyncio.get_running_loop().time() + self._timeout_s)

    @property
    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    async def _answer_all(self) -> list[Received]:
        if len(self._parts) == 1:
            return [await self._answer(self._parts[0])]
        tasks = [asyncio.ensure_future(self._answer(part)) for part in self._parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            failed = next((task for task in tasks if task.done() and task.exception() is not None), None)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [task.result() for task in ([failed] if failed else tasks)]

    async def _answer(self, part: Part) -> Received:
        """Ask until there is an answer, or no sense in asking again."""
        self._line.budget.earn()
        for attempt in itertools.count(1):
            async with self._line.limiter.slot(again=attempt > 1, deadline=self._deadline) as slot:
                self._begin()
                found = await self._try_addresses(part)
                if found.reply is not None and found.reply.succeeded:
                    slot.heard(found.status)
                    if attempt > 1:
                        self._line.budget.give_back()
                    self._line.remember(found.url)
                    return found.reply
                outcome = found.outcome()
                wait = self._pause(outcome, attempt)
                slot.heard(found.status, rest_s=(wait or outcome.rest_s) if outcome.rest_s else 0.0)
            self._trouble = found.words
            if wait is None:
                break
            logger.info("%s %s; trying again in %.2f s", self._line.endpoint.host, found.words, wait)
            try:
                await asyncio.sleep(wait)
            except asyncio.CancelledError:
                self._line.budget.give_back()  # the retry was never made
                raise
        raise self._failure(found, part)

    def _pause(self, outcome: Outcome, attempt: int) -> float | None:
        """Return how long to wait before the next try, or None to give up."""
        wait = pause(
            outcome,
            attempt=attempt,
            max_retries=self._line.endpoint.max_retries,
            random=random,
            time_left_s=self._left_s,
        )
        return wait if wait is not None and self._line.budget.spend() else None

    async def _try_addresses(self, part: Part) -> "_Found":
        """Ask one address after the other, until one of them knows the route."""
        tried: list[str] = []
        for url in self._line.addresses():
            found = await self._post(url, part.body)
            tried.append(url)
            if found.reply is None or not is_route_missing(found.reply.status, found.reply.body):
                return found
        return replace(found, tried=tuple(tried))

    async def _post(self, url: str, body: bytes, *, onward: str = "", hops: int = _MOST_REDIRECTS) -> "_Found":
        """Send one request, and send it on where the same server wants it under another path."""
        line = self._line
        sending = Sending(onward or url, line.endpoint.head(line.spoken), body, self._deadline)
        self._sent += 1
        reply = await self._transport.post(sending)
        if isinstance(reply, Broken) and reply.stale:  # an idle connection's end says nothing about the endpoint
            self._sent += 1
            reply = await self._transport.post(sending)
        if isinstance(reply, Broken):
            return _Found(url, broken=reply)
        further = _onward(onward or url, reply)
        if further is None:
            return _Found(url, reply=reply)
        if not hops:
            return _Found(url, reply=replace(reply, flaw="sends it back and forth between its own addresses"))
        return await self._post(url, body, onward=further, hops=hops - 1)

    def _failure(self, found: "_Found", part: Part) -> EndpointError:
        reply, broken = found.reply, found.broken
        if broken is not None:
            late = self._left_s <= 0  # the deadline ended the exchange, and not the endpoint
            return self._too_late() if late else EndpointUnavailable(f"{found.url} {broken.words}")
        assert reply is not None
        if reply.flaw and reply.status < 400:
            return EndpointMisbehaved(f"the reply of {found.url} {reply.flaw}", status=reply.status)
        if 300 <= reply.status < 400 and "location" in reply.headers:
            return EndpointRefused(
                f"{found.url} answered {reply.status} and names {_origin(found.url, reply)}, where neither the key nor "
                "the texts were sent; if that is the endpoint, use its address as base_url",
                status=reply.status,
            )
        return read_refusal(
            reply.status,
            reply.headers,
            reply.body,
            url=found.url,
            secrets=self._line.endpoint.secrets(),
            texts=[self._ask.query, self._ask.instruction or "", *(self._ask.texts[place] for place in part.places)],
            dialect=self._line.spoken,
            tried=found.tried,
        )

    def _too_late(self) -> DeadlineExceeded:
        endpoint = self._line.endpoint
        sent = f"{self._sent} request{'' if self._sent == 1 else 's'} sent"
        trouble = f", the last trouble: it {self._trouble}" if self._trouble else ""
        return DeadlineExceeded(
            f"no answer from {endpoint.host} within timeout_s={self._timeout_s:g} ({sent}{trouble}); "
            "ask for less, or allow more time"
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of one try: a reply, or a broken exchange."""

    url: str
    reply: Received | None = None
    broken: Broken | None = None
    tried: tuple[str, ...] = ()

    @property
    def status(self) -> int | None:
        return None if self.reply is None else self.reply.status

    @property
    def words(self) -> str:
        return self.broken.words if self.broken is not None else f"answered {self.status}"

    def outcome(self) -> Outcome:
        """Return what the try says about another one."""
        if self.reply is None:
            return Outcome(None, hopeless=self.broken is not None and self.broken.hopeless)
        return read_outcome(self.reply.status, self.reply.headers, self.reply.body, now=time.time())


def _onward(url: str, reply: Received) -> str | None:
    """Return where the same server wants the same request to go; None if that is nowhere, or another server."""
    if reply.status not in (307, 308) or "location" not in reply.headers:
        return None
    try:
        there, here = urlsplit(urljoin(url, reply.headers["location"])), urlsplit(url)
        if there.username is None and _server(there) == _server(here):
            return there._replace(fragment="").geturl()
    except ValueError:
        pass
    return None


def _server(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _origin(url: str, reply: Received) -> str:
    """Return the server that a redirect names, without its path, which may hold anything."""
    try:
        parts = urlsplit(urljoin(url, reply.headers["location"]))
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that is none"
    return f"{parts.scheme}://{parts.hostname}{port}"
