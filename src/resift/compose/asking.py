"""Work that asks rankers, written once as a generator, and the two who carry its questions: one waits, one awaits."""

import asyncio
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from resift.errors import Overloaded
from resift.types import Cut, Document, Ranker, Ranking

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What a caller asked for, checked."""

    query: str
    documents: Sequence[Document]
    cut: Cut
    instruction: str | None = None


class Step(Protocol):
    """Something that work cannot go on without."""

    def now(self) -> Any:
        """Do it in this thread."""

    async def later(self) -> Any:
        """Do it without blocking the event loop."""


Work: TypeAlias = Generator[Step, Any, T]
"""Yields steps, is sent what they gave or thrown what they raised, and returns its result."""


@dataclass(frozen=True, slots=True, eq=False)
class AskRanking:
    """Ask a ranker for a ranking."""

    ranker: Ranker
    call: Call

    def now(self) -> Ranking:
        """Ask, and wait for the answer."""
        return self.ranker.rank(self.call.query, list(self.call.documents), **self._options())

    async def later(self) -> Ranking:
        """Ask, and await the answer."""
        return await self.ranker.arank(self.call.query, list(self.call.documents), **self._options())

    def _options(self) -> dict[str, Any]:
        cut = self.call.cut
        return {"top_n": cut.top_n, "threshold": cut.threshold, "instruction": self.call.instruction}


@dataclass(frozen=True, slots=True, eq=False)
class AskScores:
    """Ask a ranker for a score of every document."""

    ranker: Ranker
    call: Call

    def now(self) -> list[float]:
        """Ask, and wait for the answer."""
        call = self.call
        return self.ranker.score(call.query, list(call.documents), instruction=call.instruction)

    async def later(self) -> list[float]:
        """Ask, and await the answer."""
        call = self.call
        return await self.ranker.ascore(call.query, list(call.documents), instruction=call.instruction)


@dataclass(frozen=True, slots=True, eq=False)
class Do(Generic[T]):
    """Do something that takes a moment, a file's or a processor's."""

    thing: Callable[[], T]

    def now(self) -> T:
        """Do it here."""
        return self.thing()

    async def later(self) -> T:
        """Do it in another thread."""
        return await asyncio.to_thread(self.thing)


@dataclass(frozen=True, slots=True, eq=False)
class Company:
    """
    Other calls of one iteration that run beside this one.

    In company a call that is refused as one too many ends at once, so that the iteration can ask again when the others
    are done: no other ranker is asked only because calls were begun ahead of time.
    """

    left: threading.Event
    """Set when nobody waits for any of them any more."""


def run(work: Work[T], company: Company | None = None) -> T:
    """Do work step by step in this thread."""
    try:
        step = next(work)
        while True:
            if company is not None and company.left.is_set():
                raise CancelledError
            try:
                gave = step.now()
            except Exception as error:
                if company is not None and (isinstance(error, Overloaded) or company.left.is_set()):
                    raise
                step = work.throw(error)
            else:
                step = work.send(gave)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        work.close()


async def run_async(work: Work[T], company: Company | None = None) -> T:
    """Do work step by step without blocking the event loop."""
    try:
        step = next(work)
        while True:
            try:
                gave = await step.later()
            except Exception as error:
                if company is not None and isinstance(error, Overloaded):
                    raise
                step = work.throw(error)
            else:
                step = work.send(gave)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        work.close()
