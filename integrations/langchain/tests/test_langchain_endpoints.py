"""`ResiftRerank` and endpoints: many calls at once, one loop after the other, and replies that cannot be trusted."""

import asyncio
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.documents import Document

import resift
from langchain_resift import ResiftRerank
from resift.testing import FakeRanker
from scripted_server import Act, ScriptedServer, Talk, error, html, reply, rerank, reset, stall

QUERY = "what is a panda?"
CROWD = 200


def documents(*texts: str) -> list[Document]:
    return [Document(text, metadata={"at": at}) for at, text in enumerate(texts)]


GIVEN = documents("1 a", "3 b", "2 c")


def positions(found: list[Document]) -> list[int]:
    return [document.metadata["at"] for document in found]


Ask = Callable[..., list[Document]]


def compress(component: ResiftRerank, given: list[Document]) -> list[Document]:
    return component.compress_documents(given, QUERY)


def acompress(component: ResiftRerank, given: list[Document]) -> list[Document]:
    return asyncio.run(component.acompress_documents(given, QUERY))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so that another thread decides, but not for ever."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - events are for one loop
            await asyncio.sleep(0.005)


both_ways = pytest.mark.parametrize("ask", [compress, acompress])


# many at once


async def test_l6_calls_wait_for_the_endpoint_and_for_no_thread() -> None:
    """Two hundred calls are under way at the endpoint together, where the executor has a single thread to offer."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    async def when_all_are_here(talk: Talk) -> None:
        await until(lambda: server.most_busy == CROWD)
        await rerank()(talk)

    with ScriptedServer([when_all_are_here]) as server:
        component = ResiftRerank(base_url=server.url, options={"max_concurrency": CROWD})
        answers = await asyncio.gather(*(component.acompress_documents(GIVEN, QUERY) for _ in range(CROWD)))
        await component.aclose()

    assert server.most_busy == CROWD
    assert [positions(answer) for answer in answers] == [[1, 2, 0]] * CROWD


async def test_l6_the_event_loop_goes_on() -> None:
    """While a slow ranker ranks, the event loop is never held up for a fraction of that time."""
    slow_s, attempts = 0.5, 3
    component = ResiftRerank(ranker=FakeRanker(delay_s=slow_s))

    async def longest_gap() -> float:
        call = asyncio.create_task(component.acompress_documents(GIVEN, QUERY))
        longest, last = 0.0, time.perf_counter()
        while not call.done():
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        await call
        return longest

    gaps = []
    for _ in range(attempts):  # a busy machine may hold anybody up
        gaps.append(await longest_gap())
        if gaps[-1] < slow_s / 2:
            return
    raise AssertionError(f"the event loop was held up for {gaps} seconds")


async def test_l6_a_cancelled_call_leaves_the_endpoint() -> None:
    """A call that is cancelled gives its connection back at once, and the next one is answered."""
    with ScriptedServer([stall, rerank()]) as server:
        component = ResiftRerank(base_url=server.url)
        call = asyncio.create_task(component.acompress_documents(GIVEN, QUERY))
        await until(lambda: server.busy == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(server.wait_for, lambda server: server.left == 1)
        assert positions(await component.acompress_documents(GIVEN, QUERY)) == [1, 2, 0]
        await component.aclose()


def test_l7_one_loop_after_the_other() -> None:
    """One component serves successive event loops, threads and loops in threads, over an endpoint."""
    with ScriptedServer() as server:
        component = ResiftRerank(base_url=server.url)
        answers = [acompress(component, GIVEN), acompress(component, GIVEN), compress(component, GIVEN)]
        with ThreadPoolExecutor(8) as threads:
            answers += threads.map(lambda at: (compress, acompress)[at % 2](component, GIVEN), range(32))
        component.close()

    assert [positions(answer) for answer in answers] == [[1, 2, 0]] * 35


def test_l7_a_model_here_serves_everybody() -> None:
    """One component with a model that runs here serves threads and loops at once, and they get the same."""
    component = ResiftRerank()
    given = documents("Paris is in France.", "A panda is a bear.", "What a day!")
    expected = compress(component, given)
    started = threading.Barrier(8)

    def ask(at: int) -> list[Document]:
        started.wait(10)
        return (compress, acompress)[at % 2](component, given)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == [expected] * 8
    component.close()


@both_ways
def test_l20_requests_are_split_and_ranked_as_one(ask: Ask) -> None:
    """Documents that go over several requests are ranked as those of one are."""
    given = documents(*(f"{(at * 37) % 101} text" for at in range(101)))
    with ScriptedServer() as server:
        whole = ResiftRerank(base_url=server.url, top_n=20)
        split = ResiftRerank(base_url=server.url, top_n=20, options={"max_documents_per_request": 7})
        expected = ask(whole, given)

        assert ask(split, given) == expected
        assert len(server.requests) == 1 + 15
        whole.close()
        split.close()


# replies


def results(*found: tuple[int, Any], key: str = "relevance_score") -> Act:
    """Answer with these indices and scores."""
    return reply({"results": [{"index": index, key: score} for index, score in found]})


@both_ways
@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (results((0, 1), (1, 3), (2, 2)), [1, 2]),  # as they came, and more than were wanted
        (results((2, 2), (1, 3), (0, 1), key="score"), [1, 2]),
        (reply([{"index": 1, "score": 3}, {"index": 0, "score": 1}, {"index": 2, "score": 2}]), [1, 2]),  # as TEI
        (results((0, -1.5), (1, 0.0), (2, -3)), [1, 0]),
    ],
)
def test_l19_what_endpoints_say_is_understood(ask: Ask, act: Act, expected: list[int]) -> None:
    """Replies that are unsorted, too long or in another shape give the best documents in their order."""
    with ScriptedServer([act]) as server:
        component = ResiftRerank(base_url=server.url, top_n=2)

        assert positions(ask(component, GIVEN)) == expected
        component.close()


@both_ways
def test_l19_a_document_that_was_left_out_comes_last(ask: Ask) -> None:
    """A document that the endpoint leaves out is behind the others and has no score; none is made up for it."""
    with ScriptedServer([results((2, 0.5))]) as server:
        component = ResiftRerank(base_url=server.url)
        found = ask(component, GIVEN)
        component.close()

    assert [document.metadata for document in found] == [{"at": 2, "relevance_score": 0.5}, {"at": 0}, {"at": 1}]


def impatient(act: Act) -> dict[str, Any]:
    """Return options that ask once; and that wait no longer than must be, where no answer will come."""
    return {"max_retries": 0, "timeout_s": 0.5 if act is stall else 30.0}


BAD = [
    (results((0, 1), (3, 2)), resift.EndpointMisbehaved),
    (results((0, 1), (-1, 2)), resift.EndpointMisbehaved),
    (results((0, 1), (0, 2)), resift.EndpointMisbehaved),
    (results((0, "high")), resift.EndpointMisbehaved),
    (reply(b'{"results": [{"index": 0, "relevance_score": NaN}]}', kind="application/json"), resift.EndpointMisbehaved),
    (reply({}), resift.EndpointMisbehaved),
    (html(200), resift.EndpointMisbehaved),
    (html(502), resift.EndpointUnavailable),
    (error("no such model", status=404), resift.EndpointRefused),
    (error("who are you?", status=401), resift.EndpointRefused),
    (error("busy", status=429), resift.EndpointUnavailable),
    (reset, resift.EndpointUnavailable),
    (stall, resift.DeadlineExceeded),
]


@both_ways
@pytest.mark.parametrize(("act", "kind"), BAD)
def test_l19_what_cannot_be_trusted_is_an_error(ask: Ask, act: Act, kind: type[Exception]) -> None:
    """A reply that cannot be trusted, and one that does not come, is an error of its kind, and never no documents."""
    with ScriptedServer([act]) as server:
        component = ResiftRerank(base_url=server.url, options=impatient(act))
        with pytest.raises(kind) as raised:
            ask(component, GIVEN)
        component.close()

    assert QUERY not in str(raised.value)


@both_ways
@pytest.mark.parametrize(("act", "kind"), BAD)
def test_l19_failures_pass_documents_on(ask: Ask, act: Act, kind: type[Exception]) -> None:
    """With on_error="pass" the same failures give the documents as they came, and say what went wrong."""
    with ScriptedServer([act]) as server:
        component = ResiftRerank(base_url=server.url, on_error="pass", top_n=2, options=impatient(act))
        found = ask(component, GIVEN)
        component.close()

    assert [document.metadata for document in found] == [
        {"at": 0, "rerank_error": kind.__name__},
        {"at": 1, "rerank_error": kind.__name__},
    ]


@both_ways
def test_l19_a_busy_endpoint_is_asked_again_when_it_says(ask: Ask) -> None:
    """A 429 is tried again after as long as the endpoint asks for."""
    busy = error("busy", status=429, headers={"retry-after": "1"})
    with ScriptedServer([busy, rerank()]) as server:
        component = ResiftRerank(base_url=server.url)

        assert positions(ask(component, GIVEN)) == [1, 2, 0]
        component.close()
    assert server.requests[1].at - server.requests[0].at >= 0.9


@both_ways
def test_l14_an_endpoint_is_asked_about_blanks_too(ask: Ask) -> None:
    """Blank documents keep the indices right, whatever the endpoint makes of them."""
    given = documents("", "3 b", "  ", "2 c")
    with ScriptedServer([rerank(lambda text: float(re.sub(r"\D", "", text) or -1))]) as server:
        component = ResiftRerank(base_url=server.url)
        found = ask(component, given)
        component.close()

    assert positions(found) == [1, 3, 0, 2]


@both_ways
def test_l15_the_same_text_is_sent_once(ask: Ask) -> None:
    """Documents of the same text cost one, and tie."""
    with ScriptedServer() as server:
        component = ResiftRerank(base_url=server.url)
        found = ask(component, documents("1 a", "2 b", "1 a", "2 b"))
        component.close()

    assert positions(found) == [1, 3, 0, 2]
    assert server.requests[0].json["documents"] == ["1 a", "2 b"]
