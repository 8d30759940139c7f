"""
A loopback server that does what a script says, bytes and sockets included: the endpoint that tests talk to.

    with ScriptedServer([reply(status=503), rerank()]) as server:
        ranker = resift.connect(server.url)

Each request is answered by the next act of the script, and every one behind its end by the last. A script may also be a
function from the request to an act.
"""

import asyncio
import json
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

Act = Callable[["Talk"], Awaitable[None]]
Script = Sequence[Act] | Callable[["Request"], Act]

_PATIENCE_S = 10.0
_REASONS = {200: "OK", 307: "Temporary Redirect", 404: "Not Found", 429: "Too Many Requests", 503: "Unavailable"}


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""

    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass
class Talk:
    """One request under way: what it is, and the wire to answer on."""

    request: Request
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection as a crash does, not as a goodbye."""
        there: socket.socket = self.writer.get_extra_info("socket")
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class ScriptedServer:
    """Serves a script on loopback, in a thread of its own, and keeps account of what clients do."""

    def __init__(
        self, script: Script | None = None, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self._script: Script = [rerank()] if script is None else script
        self._host, self._tls = host, tls
        self.requests: list[Request] = []
        self.opened = 0
        """Connections that clients opened."""

        self.left = 0
        """Connections that clients closed while they were being answered."""

        self.closed = 0
        """Connections that ended, whoever ended them."""

        self.busy = 0
        self.most_busy = 0
        """The most requests that were being answered at one time."""

        self._changed = threading.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="scripted-server", daemon=True)
        self._thread.start()
        assert started.wait(_PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive()

    def wait_for(self, done: Callable[[Self], bool], timeout_s: float = _PATIENCE_S) -> bool:
        """Wait until what is counted here is as it should be; say whether it came to be."""
        with self._changed:
            return self._changed.wait_for(lambda: done(self), timeout_s)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(started))
        self._loop.close()

    async def _serve(self, started: threading.Event) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._begin, self._host, 0, ssl=self._tls)
        self.port: int = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count(opened=1)
        try:
            while (request := await _read(reader)) is not None:
                await self._answer(request, reader, writer)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()
            self._count(closed=1)

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        act = self._next_act(request)
        acting = asyncio.ensure_future(act(Talk(request, writer)))
        leaving = asyncio.ensure_future(reader.read(1))  # nobody sends ahead here, so this ends only with the client
        self._count(busy=1)
        try:
            await asyncio.wait({acting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not acting.done():
                self._count(left=1)
                writer.transport.abort()
        finally:
            for task in (acting, leaving):
                task.cancel()
            await asyncio.gather(acting, leaving, return_exceptions=True)
            self._count(busy=-1)

    def _next_act(self, request: Request) -> Act:
        with self._changed:
            place = len(self.requests)
            self.requests.append(request)
            self._changed.notify_all()
        return self._script(request) if callable(self._script) else self._script[min(place, len(self._script) - 1)]

    def _count(self, *, opened: int = 0, left: int = 0, closed: int = 0, busy: int = 0) -> None:
        with self._changed:
            self.opened += opened
            self.left += left
            self.closed += closed
            self.busy += busy
            self.most_busy = max(self.most_busy, self.busy)
            self._changed.notify_all()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """Read one request off a connection; None where the client has closed it instead."""
    line = await reader.readline()
    if not line:
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


# acts


def reply(
    body: Any = b"", *, status: int = 200, headers: Mapping[str, str] | Iterable[tuple[str, str]] = (), kind: str = ""
) -> Act:
    """Answer with a status and a body: bytes and text as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    kind = kind or ("text/plain" if isinstance(body, bytes | str) else "application/json")
    extra = list(headers.items() if isinstance(headers, Mapping) else headers)

    async def act(talk: Talk) -> None:
        await talk.send(head(status, [("content-type", kind), ("content-length", str(len(content))), *extra]) + content)

    return act


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the beginning of a reply."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Whatever')}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def mark(text: str) -> float:
    """Return the score that `rerank` gives a text: the number that it begins with, or else how long it is."""
    first = text.split(" ", 1)[0]
    try:
        return float(first)
    except ValueError:
        return float(len(text))


def rerank(score: Callable[[str], float] = mark, *, headers: Mapping[str, str] | None = None) -> Act:
    """Answer a flat request as an endpoint that works does."""

    async def act(talk: Talk) -> None:
        asked = talk.request.json
        results = [{"index": at, "relevance_score": score(text)} for at, text in enumerate(asked["documents"])]
        results.sort(key=lambda result: -float(result["relevance_score"]))
        await reply({"model": asked.get("model"), "results": results[: asked.get("top_n")]}, headers=headers or {})(
            talk
        )

    return act


def error(message: str = "no", *, status: int = 400, headers: Mapping[str, str] | None = None) -> Act:
    """Answer with an error in the body that most servers send."""
    return reply({"error": {"message": message}}, status=status, headers=headers or {})


def html(status: int = 200) -> Act:
    """Answer with a page for people."""
    return reply("<!doctype html><title>Sign in</title>", status=status, kind="text/html")


def redirect(location: str, status: int = 307) -> Act:
    """Send the client elsewhere."""
    return reply(status=status, headers={"location": location})


def after(delay_s: float, act: Act) -> Act:
    """Do something a little later."""

    async def later(talk: Talk) -> None:
        await asyncio.sleep(delay_s)
        await act(talk)

    return later


async def drop(talk: Talk) -> None:
    """Close the connection without a word."""
    talk.writer.close()


async def reset(talk: Talk) -> None:
    """Break the connection without a word."""
    talk.reset()


async def stall(talk: Talk) -> None:
    """Say nothing until the client leaves."""
    await asyncio.Event().wait()


async def stall_in_body(talk: Talk) -> None:
    """Begin an answer and never end it."""
    await talk.send(head(200, [("content-type", "application/json"), ("content-length", "1000")]) + b'{"results": [')
    await asyncio.Event().wait()


def trickle_head(interval_s: float = 0.02) -> Act:
    """Send a header one byte at a time, without end."""

    async def act(talk: Talk) -> None:
        await talk.send(b"HTTP/1.1 200 OK\r\nx-long: ")
        while True:
            await talk.send(b"x")
            await asyncio.sleep(interval_s)

    return act


def trickle_body(interval_s: float = 0.02) -> Act:
    """Send a body one byte at a time, without end."""

    async def act(talk: Talk) -> None:
        await talk.send(head(200, [("content-type", "application/json"), ("transfer-encoding", "chunked")]))
        while True:
            await talk.send(b"1\r\n \r\n")
            await asyncio.sleep(interval_s)

    return act


async def endless_body(talk: Talk) -> None:
    """Send a body as fast as it goes, without end."""
    await talk.send(head(200, [("content-type", "application/json"), ("transfer-encoding", "chunked")]))
    while True:
        await talk.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def cut_short(body: bytes = b'{"results": [', *, reset: bool = False) -> Act:
    """Promise a longer body than is sent, and then close or break the connection."""

    async def act(talk: Talk) -> None:
        await talk.send(head(200, [("content-type", "application/json"), ("content-length", "1000")]) + body)
        if reset:
            await asyncio.sleep(0.05)  # or the client would not see the beginning
            talk.reset()
        else:
            talk.writer.close()

    return act


def gzip_bomb(size: int = 2**27) -> Act:
    """Answer with a few bytes that unpack to very many."""
    packer = zlib.compressobj(wbits=31)
    body = b"".join(packer.compress(bytes(2**20)) for _ in range(size // 2**20)) + packer.flush()
    return reply(body, headers={"content-encoding": "gzip"}, kind="application/json")
