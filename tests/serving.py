"""Servers for tests: our application on a free port of loopback, and rankers that do as they are told."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2
import uvicorn
from fastapi import FastAPI

from resift.documents import read_documents, render
from resift.errors import ScoringFailed
from resift.server.app import create_app
from resift.server.house import House
from resift.server.served import Scores, Served
from resift.server.settings import ServerSettings
from resift.types import Cut, Document, Ranked, Ranker, Ranking, Request, Usage

QUERY = "what does a panda eat?"
DOCUMENTS = ["Paris is in France.", "A panda will eat bamboo all day.", "a panda"]


def shared_words(query: str, text: str) -> float:
    """Return the part of the query's words that a text has: a score that a reader can check."""
    asked = set(query.casefold().split())
    return len(asked & set(text.casefold().split())) / max(1, len(asked))


class Scripted:
    """A ranker without a model: scores by a function, and waits, fails or counts as it is told."""

    def __init__(
        self,
        score: Callable[[str, str], float] = shared_words,
        *,
        model: str = "scripted",
        delay_s: float = 0.0,
        error: Exception | None = None,
        truncated: int = 0,
        missing: Sequence[int] = (),
        usage: bool = True,
        takes_instruction: bool = True,
        max_length: int | None = None,
    ) -> None:
        self.model = model
        self.delay_s, self.error = delay_s, error
        self.takes_instruction, self.max_length = takes_instruction, max_length
        self.identity, self.listwise = f"scripted:{model}", False
        self.calls: list[tuple[str, list[Document], str | None]] = []
        """Each call's query, documents and instruction."""

        self.finished = self.cancelled = self.running = self.most_at_once = 0
        self.closed = False
        self._score, self._truncated, self._missing, self._usage = score, truncated, tuple(missing), usage

    async def arank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        read = self._begin(query, documents, instruction)
        try:
            await asyncio.sleep(self.delay_s)
            ranking = self._ranking(query, read, Cut(top_n, threshold))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        self.finished += 1
        return ranking

    def rank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        read = self._begin(query, documents, instruction)
        try:
            time.sleep(self.delay_s)
            ranking = self._ranking(query, read, Cut(top_n, threshold))
        finally:
            self.running -= 1
        self.finished += 1
        return ranking

    async def ascore(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        ranking = await self.arank(query, documents, instruction=instruction)
        return [hit.score for hit in sorted(ranking, key=lambda hit: hit.index)]

    def score(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        return [hit.score for hit in sorted(self.rank(query, documents, instruction=instruction), key=_index)]

    def rank_many(
        self,
        requests: Iterable[Request],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> Iterator[Ranking]:
        for query, documents in requests:
            yield self.rank(query, documents, top_n=top_n, threshold=threshold, instruction=instruction)

    async def arank_many(
        self,
        requests: Iterable[Request],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> AsyncIterator[Ranking]:
        for query, documents in requests:
            yield await self.arank(query, documents, top_n=top_n, threshold=threshold, instruction=instruction)

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, query: str, documents: Iterable[Document], instruction: str | None) -> list[Document]:
        read = read_documents(documents)
        self.calls.append((query, read, instruction))
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        return read

    def _ranking(self, query: str, documents: list[Document], cut: Cut) -> Ranking:
        if self.error is not None:
            raise self.error
        scores = [self._score(query, render(document, at)) for at, document in enumerate(documents)]
        kept = [at for at in cut.apply(scores) if at not in self._missing]
        return Ranking(
            tuple(Ranked(at, scores[at], documents[at]) for at in kept),
            model=self.model,
            truncated=self._truncated,
            usage=Usage(sum(len(render(document, 0).split()) for document in documents)) if self._usage else None,
            missing=self._missing,
        )


def broken(text: str = "broken") -> Scripted:
    """Return a ranker whose model fails on every call."""
    return Scripted(error=ScoringFailed(text))


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
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


def _index(hit: Ranked) -> int:
    return hit.index
