"""The ranker that holds rankers: a recipe says whom to ask what, and this ranker is what callers see of it."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from resift.compose.asking import AskRanking, AskScores, Call, Do, Work, run, run_async
from resift.compose.looking_ahead import rank_turns, rank_turns_async, turns
from resift.documents import read_documents, read_instruction, read_query
from resift.errors import InvalidInput
from resift.many import how_many, read_many
from resift.progress import progress_bar
from resift.types import Cut, Document, Ranker, Ranking, Request

T = TypeVar("T")
EVERYTHING = Cut()


@dataclass(frozen=True, slots=True, eq=False)
class Answer(Generic[T]):
    """What a ranker answered."""

    value: T
    lasting: bool
    """Whether it will answer the same tomorrow; a stand-in's answer lasts no longer than the trouble."""


class Recipe(Protocol):
    """
    A way to compose rankers.

    What it says of itself it says as `resift.types.Described` does; where the rankers in it are silent, so is it.
    """

    @property
    def rankers(self) -> tuple[Ranker, ...]:
        """The rankers in it; they are closed with it."""

    @property
    def meant(self) -> Ranker | None:
        """The ranker that all lasting answers are from, if they are one's own unchanged."""

    @property
    def model(self) -> str:
        """The name of the model that scores."""

    @property
    def identity(self) -> str:
        """All that the scores depend on besides the texts."""

    @property
    def listwise(self) -> bool:
        """Whether a document's score depends on the other documents of the call."""

    @property
    def takes_instruction(self) -> bool:
        """Whether an instruction means something."""

    @property
    def max_length(self) -> int | None:
        """How many tokens are read of a query with one document."""

    def rank(self, call: Call) -> Work[Answer[Ranking]]:
        """Work on a ranking."""

    def score(self, call: Call) -> Work[Answer[list[float]]]:
        """Work on a score for every document."""

    def close(self) -> None:
        """Give back what the recipe itself holds; its rankers are closed by whoever closes it."""


class ComposedRanker:
    """
    Ranks by a recipe of other rankers. Threads and event loops may use one at once as far as they may use those.

    Closing it closes the rankers that it holds. It can be pickled if they can.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def __repr__(self) -> str:
        return repr(self._recipe)

    @property
    def recipe(self) -> Recipe:
        """How it is composed."""
        return self._recipe

    @property
    def model(self) -> str:
        """The name of the model that scores, as long as all is well."""
        return self._recipe.model

    @property
    def identity(self) -> str:
        """All that the scores depend on besides the texts; there is none where a ranker inside has none."""
        return self._recipe.identity

    @property
    def listwise(self) -> bool:
        """Whether a document's score depends on the other documents of the call."""
        return self._recipe.listwise

    @property
    def takes_instruction(self) -> bool:
        """Whether an instruction means something; nothing is said where the ranker inside says nothing."""
        return self._recipe.takes_instruction

    @property
    def max_length(self) -> int | None:
        """How many tokens are read of a query with one document, where the ranker inside says it."""
        return self._recipe.max_length

    def score(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Return one score per document, in input order."""
        return run(self._recipe.score(_call(query, documents, EVERYTHING, instruction=instruction))).value

    async def ascore(self, query: str, documents: Iterable[Document], *, instruction: str | None = None) -> list[float]:
        """Do what `score` does without blocking the event loop."""
        work = self._recipe.score(_call(query, documents, EVERYTHING, instruction=instruction))
        return (await run_async(work)).value

    def rank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        """Return the documents in order of relevance: scores from `threshold` up, then the best `top_n`."""
        return run(self._rank(query, documents, cut=Cut(top_n, threshold), instruction=instruction))

    async def arank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
    ) -> Ranking:
        """Do what `rank` does without blocking the event loop."""
        return await run_async(self._rank(query, documents, cut=Cut(top_n, threshold), instruction=instruction))

    def rank_many(
        self,
        requests: Iterable[Request],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> Iterator[Ranking]:
        """
        Rank many requests, several at once; yield their rankings lazily, in order. `progress` shows a bar.

        They are ranked in a few threads. Whoever leaves early does not wait for what is under way there; nothing more
        is begun.
        """
        work = partial(self._rank, cut=Cut(top_n, threshold), instruction=instruction)
        rankings = rank_turns(turns(read_many(requests), work))
        return _shown(rankings, how_many(requests), progress=progress)

    def arank_many(
        self,
        requests: Iterable[Request],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> AsyncIterator[Ranking]:
        """Do what `rank_many` does without blocking the event loop; leaving early cancels what is under way."""
        work = partial(self._rank, cut=Cut(top_n, threshold), instruction=instruction)
        rankings = rank_turns_async(turns(read_many(requests), work))
        return _shown_async(rankings, how_many(requests), progress=progress)

    def close(self) -> None:
        """Close the rankers that this one holds; all of them, even if one cannot be closed."""
        with ExitStack() as stack:
            for ranker in self._recipe.rankers:
                stack.callback(ranker.close)
            stack.callback(self._recipe.close)

    async def aclose(self) -> None:
        """Do what `close` does without blocking the event loop."""
        async with AsyncExitStack() as stack:
            for ranker in self._recipe.rankers:
                stack.push_async_callback(ranker.aclose)
            stack.push_async_callback(Do(self._recipe.close).later)

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
        await self.aclose()

    def _rank(self, query: str, documents: Iterable[Document], *, cut: Cut, instruction: str | None) -> Work[Ranking]:
        return (yield from self._recipe.rank(_call(query, documents, cut, instruction=instruction))).value


def ask_ranking(ranker: Ranker, call: Call) -> Work[Answer[Ranking]]:
    """Ask a ranker for a ranking; work of one that is composed itself becomes part of this work."""
    if type(ranker) is ComposedRanker:
        return (yield from ranker.recipe.rank(call))
    ranking: Ranking = yield AskRanking(ranker, call)
    return Answer(ranking, lasting=ranking.model == ranker.model)


def ask_scores(ranker: Ranker, call: Call) -> Work[Answer[list[float]]]:
    """Ask a ranker for scores; work of one that is composed itself becomes part of this work."""
    if type(ranker) is ComposedRanker:
        return (yield from ranker.recipe.score(call))
    scores: list[float] = yield AskScores(ranker, call)
    return Answer(scores, lasting=True)


def require_rankers(recipe: str, *given: object) -> None:
    """Refuse what cannot rank, by the name of what it was given to."""
    for one in given:
        if isinstance(one, type) or not isinstance(one, Ranker):
            raise InvalidInput(f"{recipe} holds rankers, not {type(one).__name__}; load() and connect() make them")


def told(ranker: Ranker, word: str) -> Any:
    """Return what a ranker says of itself; an AttributeError where it says nothing."""
    return getattr(ranker, word)


def may_be_listwise(ranker: Ranker) -> bool:
    """Whether a document's score may depend on the other documents: it may where the ranker does not say."""
    return bool(getattr(ranker, "listwise", True))


def _call(query: str, documents: Iterable[Document], cut: Cut, *, instruction: str | None) -> Call:
    return Call(read_query(query), read_documents(documents), cut, read_instruction(instruction))


def _shown(rankings: Generator[Ranking], total: int | None, *, progress: bool) -> Iterator[Ranking]:
    """Hand rankings on, with a bar for those who want one."""
    with closing(rankings), progress_bar(total, shown=progress) as advance:
        for ranking in rankings:
            yield ranking
            advance()


async def _shown_async(
    rankings: AsyncGenerator[Ranking, None], total: int | None, *, progress: bool
) -> AsyncIterator[Ranking]:
    async with aclosing(rankings):
        with progress_bar(total, shown=progress) as advance:
            async for ranking in rankings:
                yield ranking
                advance()
