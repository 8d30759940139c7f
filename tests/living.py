"""Real `resift serve` processes and bare sockets, for tests of how a server lives and ends."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from resift.server.app import create_app
from resift.server.running import Server
from resift.server.served import Served
from resift.server.settings import ServerSettings
from resift.types import Ranker
from serving import Serving, served

PATIENCE_S = 60

# A server around a ranker that needs as many seconds as the query says, and reads documents at any length.
SLOW = """
import asyncio, logging, sys, threading
from resift.server.running import run
from resift.server.served import Served
from resift.server.settings import ServerSettings
from resift.types import Ranked, Ranking

class Slow:
    model = "slow"
    def close(self):
        sys.stderr.write("closed\\n")
    async def arank(self, query, documents, *, top_n=None, threshold=None, instruction=None):
        if query == "-1":
            sys.stderr.write("stuck\\n")
            threading.Event().wait()
        await asyncio.sleep(float(query))
        return Ranking(tuple(Ranked(at, 0.5, each) for at, each in enumerate(documents)), model="slow")

def load():
    ranker = Slow()
    return [Served("slow", {"own": ranker, "normalized": ranker, "raw": ranker}, "normalized")]

logging.basicConfig(level="INFO", stream=sys.stderr)
settings = ServerSettings(port=0, **SETTINGS)
run(load, settings, announce=lambda address: sys.stderr.write(f"on {address} (\\n"))
"""


class Process:
    """A server in a process of its own; what it writes to stderr is kept."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], *, talks: bool = False) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, *command],
            env={**_environment(), **env},
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.is_deaf = False
        """Whether nobody reads any more what it writes."""

        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def log(self) -> str:
        return "".join(self.lines)

    @property
    def port(self) -> int:
        return int(until(lambda: re.search(r"on http://\S+:(\d+) \(", self.log), self.popen)[1])

    def await_ready(self) -> Self:
        until(lambda: get(self.port, "/ready")[0] == 200, self.popen)
        return self

    def await_log(self, words: str) -> None:
        until(lambda: words in self.log, self.popen)

    def say(self, words: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(words)
        self.popen.stdin.flush()

    def end(self, kind: int) -> tuple[int, float]:
        """Send a signal; return the exit status and how long it took."""
        started = time.monotonic()
        self.popen.send_signal(kind)
        return self.wait(), time.monotonic() - started

    def wait(self) -> int:
        status = self.popen.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)
        return status

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.wait()
        for pipe in (self.popen.stdin, self.popen.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.lines.append(line)
            if self.is_deaf:
                return


@contextmanager
def serve(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run `python -m resift serve` on a free port."""
    with _closing(Process(["-m", "resift", "serve", *arguments, "--port", "0"], env or {})) as process:
        yield process


@contextmanager
def serve_slowly(**settings: Any) -> Iterator[Process]:
    """Run a server whose ranker takes its time, once it is ready."""
    with _closing(Process(["-c", SLOW.replace("SETTINGS", repr(settings))], {})) as process:
        yield process.await_ready()


@contextmanager
def serve_here(*models: Ranker | Served, **settings: Any) -> Iterator[Serving]:
    """Run the server in this process as `resift serve` sets it up, with clocks on its connections."""
    app = create_app(
        [model if isinstance(model, Served) else served(model) for model in models], ServerSettings(**settings)
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="test-server")
        thread.start()
        try:
            until(lambda: server.started)
            yield Serving(f"http://127.0.0.1:{listener.getsockname()[1]}", app)
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@contextmanager
def _closing(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        process.close()


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESIFT_")}
    return {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def until(found: Callable[[], Any], process: "subprocess.Popen[str] | None" = None) -> Any:
    """Ask until there is an answer, which is returned; a process that has ended gives none."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ended = process is not None and process.poll() is not None
        answer = found()
        if answer:
            return answer
        assert not ended, "the server ended"
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


Reply = tuple[int, dict[str, str], bytes]


class Wire:
    """One bare connection, on which a test says exactly what it means."""

    def __init__(self, port: int, *, patience_s: float = PATIENCE_S) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience_s)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, sent: bytes) -> Self:
        self.socket.sendall(sent)
        return self

    def ask(self, path: str, body: bytes = b"", *headers: str, method: str = "POST") -> Reply:
        """Send a whole request, and read the reply."""
        return self.send(request(path, body, *headers, method=method)).reply(method)

    def reply(self, method: str = "POST") -> Reply:
        """Read one reply."""
        line = self._file.readline()
        if not line:
            raise ConnectionError("the server closed the connection without a reply")
        headers: dict[str, str] = {}
        while (header := self._file.readline().strip()) != b"":
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        return int(line.split()[1]), headers, self._file.read(length)

    def is_closed(self) -> bool:
        """Wait until the server closes the connection."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def request(path: str, body: bytes = b"", *headers: str, method: str = "POST") -> bytes:
    """Write a request's bytes."""
    length = [f"Content-Length: {len(body)}"] if body or method == "POST" else []
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *length, *headers]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


def get(port: int, path: str, *headers: str) -> Reply:
    """Send a GET on a connection of its own."""
    with Wire(port) as wire:
        return wire.ask(path, b"", *headers, method="GET")


def post(port: int, path: str, value: Any, *headers: str) -> Reply:
    """Send JSON on a connection of its own."""
    with Wire(port) as wire:
        return wire.ask(path, json.dumps(value).encode(), *headers)


def port_of(server: Serving) -> int:
    """Return the port of a server in this process."""
    return int(server.url.rpartition(":")[2])


def asking(query: str = "panda", documents: int = 2) -> dict[str, Any]:
    """Return the body of a plain request."""
    return {"query": query, "documents": [f"panda number {at} eats bamboo" for at in range(documents)]}
