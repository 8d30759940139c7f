"""Receives a request's body whole, never more or longer than allowed, and accounts for it until its reply is gone."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resift.server.admission import Load
from resift.server.declining import decline
from resift.server.dispatch import PATHS
from resift.server.house import House, note_of
from resift.server.lanes import body_bytes
from resift.server.reasons import Busy, Gone, TooLarge, TooSlow

_BODILESS = ("GET", "HEAD", "OPTIONS")
_PIECE = 2**16  # about what a connection sends ahead of its client


class Receiving:
    """Hands each request on when its body is complete, so that nobody inside ever waits for a client."""

    def __init__(self, app: ASGIApp, *, house: House) -> None:
        self._app, self._house = app, house
        self._limit, self._patience_s = house.settings.max_body_bytes, house.settings.body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] in _BODILESS or note_of(scope).route not in PATHS:
            await self._app(scope, receive, send)
            return
        with self._house.admission.carry() as load:
            try:
                self._require_small(scope)
                body = await self._read(receive, load)
            except (TooLarge, Busy) as refusal:
                await decline(refusal, scope, send, rest=receive)
            except TooSlow as refusal:
                await decline(refusal, scope, send)
            else:
                body_bytes.set(len(body))
                await self._app(scope, _Received(body, receive), _in_pieces(send))

    async def _read(self, receive: Receive, load: Load) -> bytes:
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._patience_s):
                while (message := await receive())["type"] == "http.request":
                    part = message.get("body", b"")
                    if load.bytes + len(part) > self._limit:
                        raise self._too_large()
                    load.add(len(part))
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise TooSlow(
                f"the request's body was not there within {self._patience_s:g} s; send less of it at once"
            ) from None
        raise Gone("the client left before its request was complete")

    def _require_small(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or len(value) > 18 or int(value) > self._limit):
                raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body has more than {self._limit} bytes; send fewer documents at once")


def _in_pieces(send: Send) -> Send:
    """Return a `send` that hands out large replies as their client reads them; whole they would lie in its buffer."""

    async def send_in_pieces(message: Message) -> None:
        body = message.get("body", b"")
        if len(body) > _PIECE:
            for start in range(0, len(body), _PIECE):
                await send({"type": message["type"], "body": body[start : start + _PIECE], "more_body": True})
            message = {**message, "body": b""}
        await send(message)

    return send_in_pieces


class _Received:
    """Gives the application the whole body at once, and afterwards tells it when the client leaves."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            return await self._receive()
        return {"type": "http.request", "body": body, "more_body": False}
