"""Notices that a client leaves, and drops the work that nobody waits for any more."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from resift.errors import ScoringFailed
from resift.server.reasons import Gone

T = TypeVar("T")


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work of a request whose body was read; if the client leaves first, cancel it and raise `Gone`."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and watching.done():
            raise Gone("the client left before its answer was there")
        if working.cancelled():
            raise ScoringFailed("the ranking was cancelled, and not by this server")
        return await working
    finally:
        await _end(working, watching)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel what is not done, and let it clean up; how it ended interests nobody."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
