"""Servers for tests: our application on a free port of loopback, and rankers that do as they are told."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from resift.server.app import create_app
from resift.server.house import House
from resift.server.served import Scores, Served
from resift.server.settings import ServerSettings
from resift.testing import FakeRanker
from resift.types import Ranker

QUERY = "what does a panda eat?"
DOCUMENTS = ["Paris is in France.", "A panda will eat bamboo all day.", "a panda"]


def shared_words(query: str, text: str, instruction: str | None) -> float:
    """Return the part of the query's words that a text has: a score that a reader can check."""
    asked = set(query.casefold().split())
    return len(asked & set(text.casefold().split())) / max(1, len(asked))


def words(text: str) -> int:
    """Return how many words a text has: tokens that a reader can count."""
    return len(text.split())


def scripted(
    scorer: Callable[[str, str, str | None], float] = shared_words, model: str = "scripted", **behaviour: Any
) -> FakeRanker:
    """Return a ranker without a model, whose scores and tokens a reader can check."""
    return FakeRanker(model, scorer, **{"counts": words, **behaviour})


def failing(error: BaseException) -> FakeRanker:
    """Return a ranker that fails on every call."""

    def fail(query: str, text: str, instruction: str | None) -> float:
        raise error

    return scripted(fail)


def served(ranker: Ranker, name: str | None = None, *, raw: Ranker | None = None, own: Ranker | None = None) -> Served:
    """Return a model for the server, whose `ranker` gives scores in [0, 1]."""
    kinds: dict[Scores, Ranker] = {"normalized": ranker}
    if raw is not None:
        kinds["raw"] = raw
    if own is not None:
        kinds["own"] = own
    return Served(name or ranker.model, kinds, "normalized")


@dataclass(frozen=True)
class Serving:
    """A server that runs."""

    url: str
    app: FastAPI

    @property
    def house(self) -> House:
        """What the application's routes share."""
        house: House = self.app.state.resift
        return house

    def client(self, **options: Any) -> httpx2.Client:
        """Return a client for it, to be closed by the caller."""
        return httpx2.Client(base_url=self.url, timeout=30, trust_env=False, **options)


@contextmanager
def serving(*models: Ranker | Served, **settings: Any) -> Iterator[Serving]:
    """Run the application for these models on a free port of loopback until the block ends."""
    rooms = [model if isinstance(model, Served) else served(model) for model in models]
    with running(create_app(rooms, ServerSettings(**settings))) as found:
        yield found


@contextmanager
def running(app: FastAPI) -> Iterator[Serving]:
    """Run an application on a free port of loopback until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the server itself does for its connections
        port = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, ws="none", lifespan="off", timeout_graceful_shutdown=5
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="test-server")
        thread.start()
        try:
            _await(lambda: server.started or not thread.is_alive())
            yield Serving(f"http://127.0.0.1:{port}", app)
        finally:
            server.should_exit = True
            thread.join(15)
            assert not thread.is_alive()


def _await(is_so: Callable[[], bool], *, seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "nothing happened in time"
        time.sleep(0.005)
