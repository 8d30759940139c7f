"""Runs the server: answers at once, loads the models meanwhile, and ends well when it is told to."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from resift.errors import InvalidInput
from resift.server.app import create_app
from resift.server.connection import patient_protocol
from resift.server.house import House
from resift.server.lanes import Lanes
from resift.server.served import Served, close_all
from resift.server.settings import ServerSettings

logger = logging.getLogger("resift")

Loader = Callable[[], Sequence[Served]]

_KEEP_ALIVE_S = 75  # longer than what load balancers keep, or they would write into a closed connection
_BACKLOG = 2048
_LAST_WORDS_S = 1.0


def run(load: Loader, settings: ServerSettings, *, announce: Callable[[str], None]) -> None:
    """
    Serve until a signal says that it is enough; `announce` is told the address when it can be reached.

    The first SIGTERM or Ctrl-C lets nobody in any more and waits for the answers under way. A second one, or the end
    of `drain_s`, ends the process at once, with exit status 1. What `load` raises is raised here.
    """
    with _listen(settings) as listener:
        server = _Process(settings, load)
        server.when_started = lambda: announce(_address(listener))
        server.run(sockets=[listener])
    server.finish()


class Server(uvicorn.Server):
    """uvicorn's server, set up for one application of ours: without its logs, with clocks on every connection."""

    def __init__(self, app: FastAPI) -> None:
        self.house: House = app.state.resift
        settings = self.house.settings
        super().__init__(
            uvicorn.Config(
                app,
                http=patient_protocol(head_timeout_s=settings.body_timeout_s, read_timeout_s=settings.timeout_s),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Give the event loop its threads, then listen."""
        asyncio.get_running_loop().set_default_executor(Lanes())
        await super().startup(sockets)


class _Process(Server):
    """A server that is all that its process does: it loads the models, and hears the signals."""

    def __init__(self, settings: ServerSettings, load: Loader) -> None:
        super().__init__(create_app((), settings))
        self.when_started: Callable[[], None] = lambda: None
        self._load = load
        self._loading = threading.Thread(target=self._load_models, name="resift-loading", daemon=True)
        self._failure: BaseException | None = None
        self._deadline: threading.Timer | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen first, then load."""
        await super().startup(sockets)
        self.when_started()
        self._loading.start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hear the signals, and do not die of them afterwards as uvicorn does: an end that went well exits with 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {kind: signal.signal(kind, self.handle_exit) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            # until the process has ended, another signal still means: at once
            if self._deadline is None:
                for kind, handler in before.items():
                    signal.signal(kind, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave; when asked again, leave."""
        name = signal.Signals(sig).name
        if self._deadline is not None:
            _end_at_once(f"{name} came a second time")
        drain_s = self.house.settings.drain_s
        self._deadline = threading.Timer(drain_s, self._end_late)
        self._deadline.daemon = True
        self._deadline.start()
        self.house.admission.drain()
        self.should_exit = True
        logger.info("%s: nobody is let in any more; answers under way have %g s", name, drain_s)

    def finish(self) -> None:
        """Let go of the models, then raise what kept them from loading, or end well."""
        if self._failure is None and not self.house.ready.is_set() and self._loading.is_alive():
            logger.info("ended while the models were being loaded")
            _flush()
            os._exit(0)  # a thread that is inside a model library would not survive the interpreter's end
        close_all(ranker for served in self.house.models for ranker in served.rankers.values())
        if self._failure is None:
            logger.info("ended; nothing was left unanswered")
        if self._deadline is not None:
            self._deadline.cancel()
        if self._failure is not None:
            raise self._failure

    def _load_models(self) -> None:
        started = time.perf_counter()
        try:
            self.house.open(self._load())
        except BaseException as error:  # noqa: BLE001 - raised in the main thread, which is told to end
            self._failure = error
            self.should_exit = True
        else:
            logger.info("ready after %.1f s", time.perf_counter() - started)

    def _end_late(self) -> None:
        _end_at_once(f"{self.house.admission.requests} requests were not answered when the time to leave was over")


def _end_at_once(why: str) -> None:
    words = threading.Thread(target=_say_last, args=(why,), name="resift-last-words", daemon=True)
    words.start()
    words.join(_LAST_WORDS_S)  # a log that nobody reads blocks whoever writes to it, and may not keep the process alive
    os._exit(1)


def _say_last(why: str) -> None:
    logger.error("%s; ending at once", why)
    _flush()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _listen(settings: ServerSettings) -> socket.socket:
    host, port = settings.host, settings.port
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInput(f"cannot listen on {host!r}, port {port}: {reason}; choose another host or port") from error
    # asyncio does so only where a socket names its protocol; without it each reply waits for the client to acknowledge
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family is socket.AF_INET6 else f"http://{host}:{port}"
