"""The ways there are to ask a ranker, by name, so that a promise can be kept in each of them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from resift.types import Ranker, Ranking

T = TypeVar("T")

WAYS = ("rank", "arank", "rank_many", "arank_many")

_PATIENCE_S = 60.0


def ranking_of(ranker: Ranker, way: str, *request: Any, **options: Any) -> Ranking:
    """Ask for a ranking in one of the four ways there are; a request is a query and its documents."""
    query, documents = request
    if way == "rank":
        return ranker.rank(query, documents, **options)
    if way == "arank":
        return run(ranker.arank(query, documents, **options))
    if way == "rank_many":
        (only,) = ranker.rank_many([(query, documents)], **options)
        return only
    (only,) = run(_all(ranker.arank_many([(query, documents)], **options)))
    return only


def scores_of(ranker: Ranker, way: str, *request: Any, **options: Any) -> list[float]:
    """Ask for scores in the way that goes with that way to rank."""
    query, documents = request
    if way.startswith("a"):
        return run(ranker.ascore(query, documents, **options))
    return ranker.score(query, documents, **options)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop of its own, and for no longer than a minute."""

    async def bounded() -> T:
        return await asyncio.wait_for(coroutine, _PATIENCE_S)

    return asyncio.run(bounded())


async def _all(rankings: AsyncIterator[Ranking]) -> list[Ranking]:
    return [ranking async for ranking in rankings]
