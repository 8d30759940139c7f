"""Rankers that hold rankers: what they all promise, alone and inside each other."""

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import count, islice
from typing import Any

import pytest

import resift
from noticing import logged, until
from resift.compose.cached import cached
from resift.compose.cascade import cascade
from resift.compose.fallback import fallback
from resift.compose.looking_ahead import AHEAD
from resift.compose.wrapping import ComposedRanker
from resift.errors import EndpointUnavailable, InvalidInput, Overloaded, ScoringFailed
from resift.testing import FakeRanker
from resift.testing.ways import WAYS, ranking_of, scores_of
from resift.types import Described, Ranker, Ranking, Request

way = pytest.mark.parametrize("way", WAYS)

Compose = Callable[[Ranker], ComposedRanker]
Many = Callable[..., Generator[Ranking]]
POINTWISE = {"identity": "p", "listwise": False, "takes_instruction": True, "max_length": 512}
DOCUMENTS: list[Any] = ["a panda", {"t": "a bear"}, "bamboo", "a panda"]

RECIPES: dict[str, Compose] = {
    "cascade": lambda ranker: cascade(ranker, ranker, keep=100),
    "fallback": lambda ranker: fallback(ranker, ranker),
    "cached": cached,
    "nested": lambda ranker: cached(fallback(cascade(cached(ranker), ranker, keep=99), ranker, ranker)),
    "nested otherwise": lambda ranker: cascade(cached(ranker), fallback(cached(ranker), ranker)),
}


@pytest.fixture(params=list(RECIPES))
def compose(request: pytest.FixtureRequest) -> Compose:
    """Return each way to compose, in a form that changes nothing about the ranker inside."""
    return RECIPES[request.param]


def _rank_many(ranker: Ranker, requests: Any, **options: Any) -> Generator[Ranking]:
    yield from ranker.rank_many(requests, **options)


def _arank_many(ranker: Ranker, requests: Any, **options: Any) -> Generator[Ranking]:
    """Walk through the asynchronous rankings in a loop of their own, step by step."""

    async def step(rankings: Any) -> Ranking | None:
        return await anext(rankings, None)

    async def closed(rankings: Any) -> None:
        await rankings.aclose()

    with asyncio.Runner() as runner:
        rankings = ranker.arank_many(requests, **options)
        try:
            while (ranking := runner.run(step(rankings))) is not None:
                yield ranking
        finally:
            runner.run(closed(rankings))


@pytest.fixture(params=[_rank_many, _arank_many], ids=["rank_many", "arank_many"])
def many(request: pytest.FixtureRequest) -> Many:
    """Return one of the two ways to rank many requests."""
    ways: Many = request.param
    return ways


def pointwise(**given: Any) -> FakeRanker:
    return FakeRanker(says=POINTWISE, **given)


def requests_for(*numbers: int) -> list[Request]:
    return [(f"q{number}", [f"{number} {at}" for at in range(number % 4)]) for number in numbers]


# what all of them are


def test_they_are_rankers(compose: Compose) -> None:
    """A composed ranker is a `Ranker`, and says of itself what the ranker inside says."""
    with compose(pointwise()) as ranker:
        assert isinstance(ranker, Ranker)
        assert isinstance(ranker, Described)
        assert ranker.model == "fake"


@way
def test_they_answer_as_the_ranker_inside(compose: Compose, way: str) -> None:
    """Composed of one ranker alone, they rank and score as it does, in every way there is to ask."""
    inner = FakeRanker()
    ranker = compose(inner)

    for options in ({}, {"top_n": 2}, {"threshold": 0.5, "top_n": 1}, {"instruction": "i"}, {"threshold": 99.0}):
        ranking = ranking_of(ranker, way, "q", iter(DOCUMENTS), **options)
        assert ranking == inner.rank("q", DOCUMENTS, **options)
        assert all(hit.document is DOCUMENTS[hit.index] for hit in ranking)
        assert ranking.elapsed_s > 0
    assert scores_of(ranker, way, "q", iter(DOCUMENTS)) == inner.score("q", DOCUMENTS)


@way
def test_a_real_ranker_inside_answers_the_same(compose: Compose, way: str) -> None:
    """So it is for the built-in scorer."""
    with resift.load() as inner:
        ranker = compose(inner)

        assert ranking_of(ranker, way, "panda", DOCUMENTS, top_n=3) == inner.rank("panda", DOCUMENTS, top_n=3)
        assert scores_of(ranker, way, "panda", DOCUMENTS) == inner.score("panda", DOCUMENTS)


@way
@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"query": 7}, "the query must be a str"),
        ({"query": " "}, "the query is blank"),
        ({"documents": "a"}, "documents must be a list"),
        ({"documents": {"a": "b"}}, "documents must be a list"),
        ({"documents": None}, "documents must be a list"),
        ({"documents": ["a", 7]}, r"documents\[1\] must be a str or a mapping"),
        ({"top_n": 0}, "top_n must be a whole number from 1 up"),
        ({"threshold": "high"}, "threshold must be a number"),
        ({"instruction": 7}, "instruction must be a str"),
    ],
)
def test_what_cannot_mean_anything_is_refused(compose: Compose, way: str, call: dict[str, Any], message: str) -> None:
    """Bad input is refused as by any ranker; no wrapper hides it, works around it or makes it worse."""
    given = {"query": "q", "documents": ["a"], **call}
    with pytest.raises(InvalidInput, match=message) as refused:
        ranking_of(compose(pointwise()), way, given.pop("query"), given.pop("documents"), **given)

    is_of_one_request = way.endswith("many") and not call.keys() & {"top_n", "threshold"}
    assert str(refused.value).count("requests[0]") == is_of_one_request


@pytest.mark.parametrize("given", ["lexical", None, 7, FakeRanker, object()])
def test_only_rankers_are_held(given: Any) -> None:
    """What is no ranker is refused where it is put in; the message names the wrapper and what it was given."""
    makers: dict[str, Callable[[], ComposedRanker]] = {
        "cascade": lambda: cascade(given, FakeRanker()),
        "fallback": lambda: fallback(FakeRanker(), FakeRanker(), given),
        "cached": lambda: cached(given),
    }
    for name, make in makers.items():
        with pytest.raises(InvalidInput, match=f"{name} holds rankers, not {type(given).__name__}"):
            make()


def test_their_structure_can_be_seen() -> None:
    """`repr` shows who holds whom."""
    with resift.load() as local:
        composed = cached(fallback(cascade(local, FakeRanker("strong"), keep=9), local), size=7)

        assert repr(composed) == (
            "cached(fallback(cascade(LocalRanker('lexical'), FakeRanker('strong'), keep=9), LocalRanker('lexical')), "
            "size=7)"
        )


def test_they_are_pickled_if_what_they_hold_is(compose: Compose) -> None:
    """A pickle is the structure and the rankers' own pickles."""
    with compose(resift.load()) as ranker:
        again = pickle.loads(pickle.dumps(ranker))  # noqa: S301 - it is what was just written

        assert repr(again) == repr(ranker)
        assert again.identity == ranker.identity
        assert again.rank("panda", DOCUMENTS) == ranker.rank("panda", DOCUMENTS)
        again.close()
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(compose(FakeRanker(scorer=lambda *_: 0.0)))


def test_a_subclass_keeps_its_own_ways() -> None:
    """A composed ranker whose methods somebody changed is asked through them, wherever it is put."""

    class Loud(ComposedRanker):
        asked = 0

        def rank(self, *arguments: Any, **options: Any) -> Ranking:
            self.asked += 1
            return super().rank(*arguments, **options)

    loud = Loud(fallback(FakeRanker(), FakeRanker()).recipe)

    cascade(FakeRanker(), cached(loud)).rank("q", DOCUMENTS)

    assert loud.asked == 1


# closing


def test_closing_closes_what_is_inside() -> None:
    """Every ranker inside is closed, by `close`, `aclose` and the end of either kind of block; again is no error."""
    inner = [FakeRanker() for _ in range(4)]
    ranker = cached(fallback(cascade(inner[0], inner[1]), inner[2], inner[3]))

    async def asynchronously() -> None:
        async with ranker:
            pass
        await ranker.aclose()

    with ranker:
        pass
    ranker.close()
    asyncio.run(asynchronously())

    assert [fake.closed for fake in inner] == [4, 4, 4, 4]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_that_cannot_be_closed_keeps_no_other_open(asynchronous: bool) -> None:  # noqa: FBT001 - as it is told
    """All rankers are closed even if one of them fails at it; then its error is raised."""

    class Stuck(FakeRanker):
        def close(self) -> None:
            raise ScoringFailed("stuck")

    first, last = FakeRanker(), FakeRanker()
    ranker = fallback(first, Stuck(), last)

    with pytest.raises(ScoringFailed, match="stuck"):
        asyncio.run(ranker.aclose()) if asynchronous else ranker.close()
    assert (first.closed, last.closed) == (1, 1)


# many requests


def test_rankings_are_those_of_one_by_one(compose: Compose, many: Many) -> None:
    """Every request gets the ranking that it would have got alone, in the order of the requests."""
    requests = requests_for(*range(40))

    rankings = list(many(compose(FakeRanker()), iter(requests), top_n=2, threshold=0.25, instruction="i"))

    assert len(rankings) == 40
    for (query, documents), ranking in zip(requests, rankings, strict=True):
        assert ranking == FakeRanker().rank(query, documents, top_n=2, threshold=0.25, instruction="i")


def test_no_requests_have_no_rankings(compose: Compose, many: Many) -> None:
    """Nothing asked, nothing answered."""
    assert list(many(compose(FakeRanker()), [])) == []


def test_several_requests_are_under_way_at_once(compose: Compose, many: Many) -> None:
    """Requests are begun ahead of the ranking that is waited for, so that they share batches and connections."""
    inner = FakeRanker(gate=threading.Event())
    released = threading.Timer(0.5, inner.gate.set)  # type: ignore[union-attr]
    released.start()

    rankings = list(many(compose(inner), [(f"q{number}", ["a"]) for number in range(20)]))

    released.join()
    assert len(rankings) == 20
    assert 2 <= inner.most_at_once <= AHEAD


def test_requests_are_read_as_they_are_needed(compose: Compose, many: Many) -> None:
    """Requests without end are no problem: they are read some way ahead of the rankings, and no further."""
    asked: list[int] = []

    def endless() -> Iterator[Request]:
        for number in count():
            asked.append(number)
            yield f"q{number}", ["a"]

    with closing(many(compose(FakeRanker()), endless())) as rankings:
        assert asked == []
        assert len(list(islice(rankings, 30))) == 30
    assert 30 <= len(asked) <= 30 + AHEAD


@pytest.mark.parametrize("fault", ["reading", "pair", "documents", "query", "document", "ranker"])
def test_an_error_comes_in_its_turn(compose: Compose, many: Many, fault: str) -> None:
    """The rankings before a bad request are handed out first; a wrong request is named by its place."""

    def requests() -> Iterator[Any]:
        yield from requests_for(1, 2, 3)
        if fault == "reading":
            raise OSError("the disk is gone")
        wrong = {"pair": 7, "documents": ("q", "text"), "query": ("", ["a"]), "document": ("q", ["a", 7])}
        yield wrong.get(fault, ("broken", ["a"]))
        yield from requests_for(5)

    def scorer(query: str, text: str, instruction: str | None) -> float:
        if query == "broken":
            raise ScoringFailed("broken")
        return 1.0

    rankings = many(compose(FakeRanker(scorer=scorer)), requests())

    assert [len(next(rankings)) for _ in range(3)] == [1, 2, 3]
    error = {"reading": OSError, "ranker": ScoringFailed}.get(fault, InvalidInput)
    with pytest.raises(error) as raised:
        next(rankings)
    assert ("requests[3]" in str(raised.value)) == (error is InvalidInput)
    assert list(rankings) == []


@pytest.mark.parametrize("requests", ["text", b"text", {"q": ["a"]}, 7, None])
def test_what_are_no_requests_is_refused_at_once(compose: Compose, requests: Any) -> None:
    """Wrong arguments are refused where they are passed, not at the first ranking."""
    for rank_many in (compose(FakeRanker()).rank_many, compose(FakeRanker()).arank_many):
        with pytest.raises(InvalidInput, match="requests must be pairs"):
            rank_many(requests)
        with pytest.raises(InvalidInput, match="top_n"):
            rank_many([], top_n=0)


def test_leaving_early_begins_nothing_more(compose: Compose) -> None:
    """Whoever leaves does not wait for what is under way in other threads, and nothing more is asked."""
    goes_on = threading.Event()

    def scorer(query: str, text: str, instruction: str | None) -> float:
        if query == "first":
            until(lambda: len(inner.asked) > 3)
        else:
            goes_on.wait(10)
        return 1.0

    inner = FakeRanker(scorer=scorer)
    rankings: Any = compose(inner).rank_many([("first", ["a"]), *((f"q{number}", ["a"]) for number in range(40))])
    next(rankings)

    started = time.perf_counter()
    rankings.close()
    left_after = time.perf_counter() - started
    goes_on.set()
    until(lambda: not _threads_ahead())

    assert left_after < 5
    assert 3 < len(inner.asked) <= AHEAD


@pytest.mark.parametrize("name", ["cascade", "fallback"])
def test_what_is_under_way_when_one_leaves_asks_nobody_else(name: str) -> None:
    """A call that nobody waits for any more ends with the ranker that it is at."""
    goes_on = threading.Event()

    def scorer(query: str, text: str, instruction: str | None) -> float:
        if query == "first":
            until(lambda: len(begun.asked) == 3)
            return 1.0
        goes_on.wait(10)
        if name == "fallback":
            raise ScoringFailed("no")
        return 1.0

    begun, following = FakeRanker(scorer=scorer), FakeRanker("following")
    ranker = cascade(begun, following, keep=1) if name == "cascade" else fallback(begun, following)

    with logged() as lines:
        rankings: Any = ranker.rank_many([("first", ["a", "b"]), ("second", ["a", "b"]), ("third", ["a", "b"])])
        next(rankings)
        asked = len(following.asked)
        rankings.close()
        goes_on.set()
        until(lambda: not _threads_ahead())

    assert len(following.asked) == asked
    assert lines == []


def _threads_ahead() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("resift-ahead")]


async def test_leaving_an_async_loop_early_cancels_what_is_under_way(compose: Compose) -> None:
    """Calls that nobody waits for any more are cancelled, and have ended when the loop is left."""
    inner = FakeRanker()
    rankings: Any = compose(inner).arank_many([(f"q{number}", ["a"]) for number in range(40)])
    await anext(rankings)
    inner.gate = threading.Event()
    for _ in range(AHEAD):  # those that were answered already
        waiting = asyncio.ensure_future(anext(rankings))
        done, _pending = await asyncio.wait([waiting], timeout=0.2)
        if not done:
            break
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await rankings.aclose()

    assert inner.cancelled >= 1
    assert len(asyncio.all_tasks()) == 1


async def test_cancelling_a_call_cancels_what_it_asked(compose: Compose) -> None:
    """A cancelled call leaves nothing running in the rankers inside, and no wrapper takes it for a failure."""
    inner = FakeRanker(gate=threading.Event())
    with logged() as lines:
        call = asyncio.create_task(compose(inner).arank("q", ["a"]))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    assert (inner.cancelled, inner.at_once, lines) == (1, 0, [])


def test_threads_end_with_the_iteration(compose: Compose) -> None:
    """When the rankings are all handed out, or the iteration is garbage, no thread is left."""
    list(compose(FakeRanker()).rank_many(requests_for(*range(20))))
    forgotten: Any = compose(FakeRanker()).rank_many(requests_for(*range(20)))
    next(forgotten)
    del forgotten
    gc.collect()

    until(lambda: not _threads_ahead())


# crowds


class Small(FakeRanker):
    """A ranker that takes one call at a time and refuses others, as a full queue does."""

    refused, free = 0, threading.Lock()

    def rank(self, *arguments: Any, **options: Any) -> Ranking:
        if not self.free.acquire(blocking=False):
            self.refused += 1
            raise Overloaded("too much work is waiting")
        try:
            time.sleep(0.01)
            return super().rank(*arguments, **options)
        finally:
            self.free.release()

    async def arank(self, *arguments: Any, **options: Any) -> Ranking:
        return await asyncio.to_thread(self.rank, *arguments, **options)


def test_looking_ahead_never_makes_an_answer_worse(many: Many) -> None:
    """A ranker that refuses calls only because others were begun ahead is asked again; no other stands in for it."""
    small = Small("small")
    ranker = fallback(small, FakeRanker("second"))

    with logged() as lines:
        rankings = list(many(ranker, [(f"q{number}", ["a"]) for number in range(30)]))

    assert {ranking.model for ranking in rankings} == {"small"}
    assert lines == []
    assert small.refused > 0


def test_a_refused_call_waits_for_those_beside_it(many: Many) -> None:
    """A call that was refused beside others is asked again when they are done, not while they still run."""
    running, done, refused = threading.Event(), threading.Event(), threading.Event()

    def scorer(query: str, text: str, instruction: str | None) -> float:
        if query == "first" and not done.is_set():
            running.wait(10)
            refused.set()
            raise Overloaded("too much work is waiting")
        if query == "second":
            running.set()
            refused.wait(10)
            time.sleep(0.2)
            done.set()
        return 1.0

    class Threaded(FakeRanker):
        async def arank(self, *arguments: Any, **options: Any) -> Ranking:
            return await asyncio.to_thread(self.rank, *arguments, **options)

    ranker = fallback(Threaded(scorer=scorer), FakeRanker("following"))

    rankings = list(many(ranker, [("first", ["a"]), ("second", ["a"])]))
    assert [ranking.model for ranking in rankings] == ["fake", "fake"]


def test_a_ranker_that_is_really_overloaded_falls_back(many: Many) -> None:
    """Where the trouble is not of our own making, the next ranker answers."""

    class Full(FakeRanker):
        def rank(self, *arguments: Any, **options: Any) -> Ranking:
            raise Overloaded("full")

        async def arank(self, *arguments: Any, **options: Any) -> Ranking:
            raise Overloaded("full")

    requests = [(f"q{number}", ["a"]) for number in range(12)]

    rankings = list(many(fallback(Full(), FakeRanker("second")), requests))
    assert [ranking.model for ranking in rankings] == ["second"] * 12
    with pytest.raises(Overloaded):
        list(many(cached(Full()), requests))


def test_a_model_here_and_one_that_is_down(many: Many) -> None:
    """A pipeline goes on without its endpoint, for as long as that is down."""
    endpoint = FakeRanker("endpoint", fails=[EndpointUnavailable("no")] * 10)
    with resift.load() as local, logged() as lines:
        rankings = list(many(fallback(endpoint, local, rest_s=0), [("panda", ["bear", "panda"])] * 20))

    assert sorted({ranking.model for ranking in rankings}) == ["endpoint", "lexical"]
    assert len(lines) == 10


# progress


def _shown(program: str) -> str:
    """Run a program whose stderr is a terminal; return what is shown there."""
    import pty

    master, terminal = pty.openpty()
    with closing(os.fdopen(terminal, "wb")) as stderr:
        process = subprocess.Popen([sys.executable, "-c", program], stderr=stderr, stdin=subprocess.DEVNULL)
    shown = b""
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:  # this is how Linux says that nobody holds the other end any more
        pass
    os.close(master)
    assert process.wait(60) == 0
    return shown.decode()


def test_people_see_a_bar() -> None:
    """At a terminal `progress=True` shows how many rankings are done, for both kinds of iteration."""
    shown = _shown("""
import asyncio
import resift
from resift.compose.cached import cached

ranker = cached(resift.load())
list(ranker.rank_many([("panda", ["panda"])] * 3, progress=True))

async def main():
    return [ranking async for ranking in ranker.arank_many([("panda", ["panda"])] * 3, progress=True)]

asyncio.run(main())
""")

    assert "ranking" in shown
    assert shown.count("3/3") >= 2
