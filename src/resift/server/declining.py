"""Sends a request away from inside a middleware, before or beside the routes."""

import asyncio

from starlette.types import Receive, Scope, Send

from resift.server.dispatch import error_code
from resift.server.house import note_of
from resift.server.reasons import TurnedAway
from resift.wire.faults import error_body
from resift.wire.strict_json import write_json

_LINGER_S = 2.0


async def decline(refusal: TurnedAway, scope: Scope, send: Send, *, rest: Receive | None = None) -> None:
    """
    Answer with the refusal.

    With `rest` the client may still be sending: what it sends is read and dropped for a moment, because a connection
    that is closed on unread bytes is reset, and the client would never see the answer.
    """
    note_of(scope).reason = refusal.reason
    code = error_code(scope["path"], refusal.status, refusal.reason)
    body = write_json(error_body(str(refusal), kind=refusal.kind, code=code))
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": rest is not None})
    if rest is not None:
        await _drop(rest)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drop(rest: Receive) -> None:
    try:
        async with asyncio.timeout(_LINGER_S):
            while (message := await rest())["type"] == "http.request" and message.get("more_body", False):
                pass
    except TimeoutError:
        return
