"""Stands around all routes: asks for the key, gives each request its id, counts it, and logs it in one line."""

import hashlib
import hmac
import logging
import re
import time
import traceback
import uuid
from collections.abc import Iterator, Sequence

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resift.server.declining import decline
from resift.server.house import UNKNOWN_ROUTE, House, Note
from resift.server.reasons import Ambiguous, Fault, Gone, KeyRefused, TurnedAway

logger = logging.getLogger("resift")

OPEN_PATHS = frozenset({"/health", "/healthz", "/livez", "/ready", "/readyz", "/openapi.json", "/docs"})
"""What is answered without a key; `/metrics` too, where the settings say so. Everything else asks for one."""

_KEY_HEADERS = (b"x-api-key", b"api-key")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FRAMES = 8  # the innermost; those of the framework around them are always the same
_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


class Access:
    """The outermost middleware; whatever goes wrong inside, its client gets an answer without a word of the input."""

    def __init__(self, app: ASGIApp, *, house: House) -> None:
        self._app, self._house = app, house
        self._keys = _Keys(house.settings.api_keys)
        self._open = OPEN_PATHS | ({"/metrics"} if house.settings.open_metrics else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        note = scope["resift.note"] = Note(_request_id(scope), route=_route(scope))
        reply = _Reply(send, note, self._house)
        try:
            await self._answer(scope, receive, reply)
        finally:
            self._report(note, scope["method"], status=reply.status, seconds=time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        try:
            _require_one_length(scope)
            self._require_key(scope)
            await self._app(scope, receive, reply.send)
        except Gone as gone:
            scope["resift.note"].reason = gone.reason
        except Exception as error:  # noqa: BLE001 - a fault of ours must not tell the client, or uvicorn's log, what it read
            refusal = error if isinstance(error, TurnedAway) else _fault(error, scope["resift.note"])
            if reply.status is None:  # otherwise the server below closes the connection on the half answer
                await decline(refusal, scope, reply.send)

    def _require_key(self, scope: Scope) -> None:
        if scope["path"].rstrip("/") in self._open or not self._keys:
            return
        if not self._keys.any_of(list(_presented(scope["headers"]))):
            raise KeyRefused("a valid key is needed; send it as `Authorization: Bearer KEY`")

    def _report(self, note: Note, method: str, *, status: int | None, seconds: float) -> None:
        status = Gone.status if status is None else status
        metrics = self._house.metrics
        metrics.answered(note.route, status, seconds)
        if note.reason is not None:
            metrics.refused(note.reason)
        # probes come every few seconds, for ever
        logger.log(
            logging.DEBUG if method == "GET" and status < 400 else logging.INFO,
            "%s %s %d %.1f ms%s id=%s",
            method if method in _METHODS else UNKNOWN_ROUTE,
            note.route,
            status,
            seconds * 1e3,
            "" if note.documents is None else f" {note.documents} documents",
            note.request_id,
        )


class _Keys:
    """The keys that open the house, as digests: comparing takes as long whatever is compared, and shows nothing."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def any_of(self, presented: Sequence[bytes]) -> bool:
        """Say whether one of the presented keys is one of ours, having looked at all of them."""
        found = False
        for key in map(_digest, presented):
            for digest in self._digests:
                found |= hmac.compare_digest(key, digest)
        return found


class _Reply:
    """Watches a reply go out: puts the request's id on it, and remembers its status."""

    def __init__(self, send: Send, note: Note, house: House) -> None:
        self._send, self._note, self._house = send, note, house
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on to the client."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"x-request-id"]
            headers.append((b"x-request-id", self._note.request_id.encode()))
            if self._house.admission.draining and not any(name.lower() == b"connection" for name, _ in headers):
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _presented(headers: Sequence[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Yield every key that a request shows: after Bearer however written, bare, or in a header of its own."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.strip().partition(b" ")
            yield rest.strip() if rest and scheme.lower() == b"bearer" else value.strip()
        elif name in _KEY_HEADERS:
            yield value.strip()


def _require_one_length(scope: Scope) -> None:
    names = {name for name, _ in scope["headers"]}
    if b"transfer-encoding" in names and b"content-length" in names:
        raise Ambiguous("send either a Content-Length or a Transfer-Encoding")


def _request_id(scope: Scope) -> str:
    """Return the id that the client gave, if it is fit for a log and a header, or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return uuid.uuid4().hex


def _route(scope: Scope) -> str:
    """Return the path of the route that will answer, as it was declared; all unknown paths share one name."""
    for route in getattr(scope.get("app"), "routes", ()):
        if route.matches(scope)[0] is not Match.NONE:
            return str(getattr(route, "path", UNKNOWN_ROUTE))
    return UNKNOWN_ROUTE


def _fault(error: Exception, note: Note) -> Fault:
    """Log where an error came from, but not what it says, which may be what the caller wrote."""
    frames = "".join(traceback.format_tb(error.__traceback__, limit=-_FRAMES))
    logger.error("request %s failed: %s\n%s", note.request_id, type(error).__name__, frames.rstrip())
    return Fault("the server failed on this request; its log says where")
