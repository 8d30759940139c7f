"""One exchange with an endpoint: a body goes to a URL, and what comes back is kept within bounds."""

import asyncio
import ipaddress
import os
import ssl
import threading
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from resift.errors import InvalidInput

Headers = Sequence[tuple[bytes, bytes]]
Answer = TypeVar("Answer")

CONNECT_S = 10.0
_MOST_REPLY_BYTES, _MORE_THAN_ASKED = 64 * 2**20, 2**20
_MOST_ERROR_BYTES = 64 * 2**10
_KEEP_ALIVE_S = 30.0


@dataclass(frozen=True, slots=True)
class Received:
    """A reply as it came."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""

    body: bytes = field(default=b"", repr=False)
    flaw: str = ""
    """Why the body is not whole, if it is not."""

    @property
    def succeeded(self) -> bool:
        """Whether the body is an answer."""
        return 200 <= self.status < 300 and not self.flaw


@dataclass(frozen=True, slots=True)
class Broken:
    """An exchange without a reply."""

    words: str
    """What happened, and when."""

    hopeless: bool = False
    """Whether it would happen again."""

    stale: bool = False
    """Whether the connection had been kept from before, and the endpoint may have closed it just then."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What is sent, and what it may take."""

    url: str
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    deadline: float
    """When it has to be over, by `time.monotonic`."""

    @property
    def most_bytes(self) -> int:
        """How long a reply may be: it holds numbers, and at worst all that was sent, in many letters for each."""
        return min(_MOST_REPLY_BYTES, _MORE_THAN_ASKED + 8 * len(self.body))

    @property
    def left_s(self) -> float:
        """How much time is left."""
        return max(0.001, self.deadline - time.monotonic())


class Transport(Protocol):
    """A way to send requests."""

    async def post(self, sending: Sending) -> Received | Broken:
        """Send one request, and return what comes of it; redirects are not followed."""

    async def aclose(self) -> None:
        """Close what was opened here."""


def open_transport(http_client: Any, url: str) -> Transport:
    """Return the transport over a caller's client, or over one of our own where there is none."""
    if http_client is None:
        return AsyncTransport(_open_client(url), ours=True)
    return AsyncTransport(http_client) if is_async(http_client) else SyncTransport(http_client)


def is_async(http_client: Any) -> bool:
    """Whether a caller's client is an async one; InvalidInput if it is none at all."""
    if not all(callable(getattr(http_client, name, None)) for name in ("build_request", "send")):
        raise InvalidInput(
            "http_client must be a Client or AsyncClient of httpx or httpx2, "
            f"not {type(http_client).__name__}; leave it out for one of our own"
        )
    return iscoroutinefunction(http_client.send)


class AsyncTransport:
    """Sends over an async client, on the loop where the client lives."""

    def __init__(self, client: Any, *, ours: bool = False) -> None:
        self._client, self._ours = client, ours

    async def post(self, sending: Sending) -> Received | Broken:
        """Send one request, and return what comes of it."""
        reading, way = _Reading(sending.most_bytes), _Way()
        # whoever waits here is cancelled at the deadline, so only what ends earlier needs a time of its own
        timeouts = (CONNECT_S if sending.left_s > CONNECT_S else None, None, None, None)
        try:
            request = _request(self._client, sending, timeouts=timeouts, trace=way.anote)
            response = await self._client.send(request, stream=True, follow_redirects=False)
            try:
                if reading.begin(response):
                    async with aclosing(_chunks(response)) as chunks:
                        async for chunk in chunks:
                            if not reading.take(chunk):
                                break
            finally:
                await response.aclose()
        except Exception as error:  # noqa: BLE001 - a caller's client may raise anything, with the key inside
            return _broken(error, begun=reading.begun, kept=way.kept)
        return reading.end()

    async def aclose(self) -> None:
        """Close the client, if it is ours."""
        if self._ours:
            await self._client.aclose()


class SyncTransport:
    """Sends over a caller's sync client, in a thread for each request."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def post(self, sending: Sending) -> Received | Broken:
        """Send one request, and return what comes of it. A thread that is given up ends with the deadline."""
        given_up = threading.Event()
        try:
            return await _in_thread(lambda: self._post(sending, given_up))
        finally:
            given_up.set()

    def _post(self, sending: Sending, given_up: threading.Event) -> Received | Broken:
        reading, way, left = _Reading(sending.most_bytes), _Way(), sending.left_s
        try:
            timeouts = (min(CONNECT_S, left), left, left, left)
            request = _request(self._client, sending, timeouts=timeouts, trace=way.note)
            with closing(self._client.send(request, stream=True, follow_redirects=False)) as response:
                for chunk in _raw(response) if reading.begin(response) else ():
                    if not reading.take(chunk) or given_up.is_set() or time.monotonic() > sending.deadline:
                        break
        except Exception as error:  # noqa: BLE001 - a caller's client may raise anything, with the key inside
            return _broken(error, begun=reading.begun, kept=way.kept)
        return reading.end()

    async def aclose(self) -> None:
        """Leave the caller's client as it is."""


def _request(
    client: Any, sending: Sending, *, timeouts: tuple[float | None, ...], trace: Callable[[str, Any], Any]
) -> Any:
    """Build a request; `timeouts` are those to connect, to read, to write, and to wait in a pool."""
    return client.build_request(
        "POST",
        sending.url,
        headers=list(sending.headers),
        content=sending.body,
        timeout=timeouts,
        extensions={"trace": trace},
    )


class _Way:
    """Whether a request went over a connection that was kept, as far as its client says."""

    def __init__(self) -> None:
        self._opened = self._sent = False

    @property
    def kept(self) -> bool:
        return self._sent and not self._opened

    def note(self, event: str, _: Any) -> None:
        self._opened |= ".connect_" in event
        self._sent |= event.endswith(".send_request_headers.started")

    async def anote(self, event: str, info: Any) -> None:
        self.note(event, info)


class _Reading:
    """A reply's body as it arrives, unpacked, and never more of it than is wanted."""

    def __init__(self, most: int) -> None:
        self.begun = False
        self._most = most
        self._chunks: list[bytes] = []
        self._size = 0
        self._flaw = ""

    def begin(self, response: Any) -> bool:
        """Read the head; whether a body is wanted."""
        self.begun = True
        self._status = int(response.status_code)
        self._headers = {name.lower(): value for name, value in response.headers.items()}
        if not 200 <= self._status < 300:
            self._most = _MOST_ERROR_BYTES
        # a client whose hooks have read the body has unpacked it, too
        packing = "" if response.is_stream_consumed else self._headers.get("content-encoding", "").strip().lower()
        self._unpacker: Any = zlib.decompressobj(wbits=47) if packing in ("gzip", "x-gzip", "deflate") else None
        if packing not in ("", "identity") and self._unpacker is None:
            self._flaw = f"is packed as {packing[:32]!r}, which was not asked for"
        return not self._flaw

    def take(self, chunk: bytes) -> bool:
        """Take in a piece of the body; whether more is wanted."""
        room = self._most - self._size
        if self._unpacker is not None:
            try:
                chunk = self._unpacker.decompress(chunk, room + 1)
            except zlib.error:
                self._flaw = "is packed in a way that cannot be unpacked"
                return False
        if len(chunk) > room:
            self._flaw = f"is longer than {self._most} bytes"
            chunk = chunk[:room]
        self._chunks.append(chunk)
        self._size += len(chunk)
        return not self._flaw

    def end(self) -> Received:
        """Return what was read."""
        if self._unpacker is not None and not self._flaw and not self._unpacker.eof:
            self._flaw = "is packed, and its end is missing"
        return Received(self._status, self._headers, b"".join(self._chunks), self._flaw)


async def _chunks(response: Any) -> AsyncGenerator[bytes]:
    if response.is_stream_consumed:
        yield response.content
        return
    async with aclosing(response.aiter_raw()) as raw:
        async for chunk in raw:
            yield chunk


def _raw(response: Any) -> Iterator[bytes]:
    return iter([response.content]) if response.is_stream_consumed else response.iter_raw()


async def _in_thread(work: Callable[[], Answer]) -> Answer:
    """Run `work` in a thread of its own, which nobody waits for when he is cancelled or the interpreter ends."""
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            found = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the thread is waited for
            future.set_exception(error)
        else:
            future.set_result(found)

    future.set_running_or_notify_cancel()
    threading.Thread(target=run, name="resift-http-call", daemon=True).start()
    return await asyncio.wrap_future(future)


_BEFORE = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"})
_DURING = frozenset({"WriteError", "WriteTimeout", "LocalProtocolError"})
_HOPELESS = frozenset({"UnsupportedProtocol", "LocalProtocolError"})
_BROKEN = frozenset({"NetworkError", "RemoteProtocolError"})
_PLAINLY = {"RemoteProtocolError": "it ended too early, or is no HTTP", "ConnectTimeout": "it took too long"}


def _broken(error: Exception, *, begun: bool, kept: bool) -> Broken:
    """Say when and why an exchange broke. Only the names of errors are read: their texts may quote what was sent."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _BEFORE:
        phase = "could not be reached"
    elif names & _DURING:
        phase = "broke the connection while the request was sent"
    elif begun:
        phase = "broke the connection in the middle of its reply"
    else:
        phase = "broke the connection before it replied"
    chain = list(_chain(error))
    unverified = next((link for link in chain if isinstance(link, ssl.SSLCertVerificationError)), None)
    if unverified is not None:
        why = f"its certificate is not trusted ({unverified.verify_message})"
        return Broken(f"could not be reached: {why}", hopeless=True)
    reason = _reason(chain) or _PLAINLY.get(type(error).__name__, type(error).__name__)
    hopeless = bool(names & _HOPELESS) or not any(name.endswith("TransportError") for name in names)
    return Broken(f"{phase}: {reason}", hopeless, stale=kept and not begun and bool(names & _BROKEN))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those behind it."""
    for _ in range(16):
        if error is None:
            return
        yield error
        inside = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = inside or error.__cause__ or error.__context__


def _reason(chain: Sequence[BaseException]) -> str:
    """Return what the system said, which is the last that happened."""
    for link in reversed(chain):
        if isinstance(link, ssl.SSLError):
            return f"TLS failed ({link.reason or 'without a reason'})"
        if isinstance(link, OSError) and link.errno is not None:
            return os.strerror(link.errno) if link.errno > 0 else link.strerror or "no such host"
        if isinstance(link, TimeoutError):
            return "it took too long"
    return ""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost")


def _open_client(url: str) -> Any:
    """Open an async client of our own. Proxies of the environment are used, but never for this machine itself."""
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    import httpx2

    parts = urlsplit(url)
    options: dict[str, Any] = {"limits": httpx2.Limits(max_connections=None, keepalive_expiry=_KEEP_ALIVE_S)}
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # none: they would tie us to one of many servers
    try:
        if not is_loopback(parts.hostname or ""):
            return httpx2.AsyncClient(cookies=cookies, **options)
        # authorities cost time to read, and nobody needs them here
        trust: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if parts.scheme == "http" else True
        return httpx2.AsyncClient(cookies=cookies, transport=httpx2.AsyncHTTPTransport(verify=trust, **options))
    except (ImportError, ValueError, OSError) as error:
        kind = type(error).__name__
    raise InvalidInput(
        f"no connection can be opened with this environment's proxy and certificate settings ({kind}); "
        "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
    )
