"""The run that each rerank is in a trace: who hears of it, what it says, and how it ends. Row L9."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManager,
    BaseCallbackHandler,
    CallbackManager,
)
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

import resift
from langchain_resift import ResiftRerank
from resift.testing import FakeRanker

QUERY = "what is a panda?"
DOCUMENTS = [Document("Paris is in France.", id="a"), Document("A panda, a panda.", id="b"), Document("A panda.")]


class Named(ResiftRerank):
    """A reranker with a name of its own."""


@dataclass
class Event:
    """Something that a callback was told."""

    what: str
    told: Any
    run_id: UUID
    parent_run_id: UUID | None
    options: dict[str, Any] = field(repr=False)
    on_loop: bool


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Watching(BaseCallbackHandler):
    """Notes what it is told of chains."""

    run_inline = True

    def __init__(self) -> None:
        self.events: list[Event] = []

    def note(self, what: str, told: Any, *, run_id: UUID, parent_run_id: UUID | None, **options: Any) -> None:
        self.events.append(Event(what, told, run_id, parent_run_id, options, _is_on_loop()))

    def on_chain_start(self, serialized: Any, inputs: Any, **options: Any) -> None:
        self.note("start", inputs, **options)

    def on_chain_end(self, outputs: Any, **options: Any) -> None:
        self.note("end", outputs, **options)

    def on_chain_error(self, error: BaseException, **options: Any) -> None:
        self.note("error", error, **options)

    def on_retriever_end(self, documents: Any, **options: Any) -> None:
        self.note("retriever", documents, **options)


class WatchingAsync(AsyncCallbackHandler):
    """Notes the same in coroutines that really wait."""

    def __init__(self) -> None:
        self.watching = Watching()

    @property
    def events(self) -> list[Event]:
        return self.watching.events

    async def on_chain_start(self, serialized: Any, inputs: Any, **options: Any) -> None:
        await asyncio.sleep(0)
        self.watching.note("start", inputs, **options)

    async def on_chain_end(self, outputs: Any, **options: Any) -> None:
        await asyncio.sleep(0)
        self.watching.note("end", outputs, **options)

    async def on_chain_error(self, error: BaseException, **options: Any) -> None:
        await asyncio.sleep(0)
        self.watching.note("error", error, **options)


def pandas(_query: str, text: str, _instruction: str | None) -> float:
    return float(text.count("panda"))


def rerank(**settings: Any) -> Named:
    fails = settings.pop("fails", [])
    return Named(ranker=FakeRanker(model="pandas", scorer=pandas, fails=fails), **settings)


Ask = Callable[..., list[Document]]


def compress(component: ResiftRerank, callbacks: Any, **options: Any) -> list[Document]:
    return component.compress_documents(DOCUMENTS, QUERY, callbacks, **options)


def acompress(component: ResiftRerank, callbacks: Any, **options: Any) -> list[Document]:
    return asyncio.run(component.acompress_documents(DOCUMENTS, QUERY, callbacks, **options))


both_ways = pytest.mark.parametrize("ask", [compress, acompress])


@both_ways
def test_l9_each_rerank_is_one_run(ask: Ask) -> None:
    """A rerank is one run, named after the class, that says what was asked and what came of it."""
    watching = Watching()
    component = rerank(score_threshold=0.5, instruction="bears")

    found = ask(component, [watching], top_n=1)

    start, end = watching.events
    assert (start.what, end.what) == ("start", "end")
    assert start.run_id == end.run_id
    assert start.parent_run_id is None
    assert start.options["name"] == "Named"
    assert start.told == {
        "query": QUERY,
        "n_in": 3,
        "ids": ["a", "b", None],
        "model": "pandas",
        "top_n": 1,
        "score_threshold": 0.5,
        "instruction": "bears",
    }
    assert end.told == {"documents": found, "n_out": 1, "indices": [1], "scores": [2.0], "truncated": 0}


@both_ways
def test_l9_a_failure_ends_the_run(ask: Ask) -> None:
    """The run of a failed rerank ends with the very error that the caller gets, and does not end twice."""
    watching = Watching()

    with pytest.raises(resift.ScoringFailed) as raised:
        ask(rerank(fails=[resift.ScoringFailed("no")]), [watching])

    assert [event.what for event in watching.events] == ["start", "error"]
    assert watching.events[1].told is raised.value


@both_ways
def test_l9_a_mistake_ends_the_run_too(ask: Ask) -> None:
    """A call that cannot mean anything is seen in the trace with its error."""
    watching = Watching()

    with pytest.raises(resift.InvalidInput):
        ask(rerank(), [watching], top_n=0)

    assert [event.what for event in watching.events] == ["start", "error"]


@both_ways
def test_l9_a_failure_that_is_passed_over_is_named(ask: Ask) -> None:
    """Where documents pass as they came, the run ends well and names the error."""
    watching = Watching()

    found = ask(rerank(fails=[resift.ScoringFailed("no")], on_error="pass"), [watching], top_n=2)

    start, end = watching.events
    assert (start.what, end.what) == ("start", "end")
    assert end.told == {
        "documents": found,
        "n_out": 2,
        "indices": [0, 1],
        "scores": [None, None],
        "truncated": 0,
        "error": "ScoringFailed",
    }


@both_ways
def test_l9_nobody_needs_to_watch(ask: Ask) -> None:
    """Without callbacks the ranking is the same."""
    assert ask(rerank(), None) == ask(rerank(), []) == ask(rerank(), [Watching()])


@both_ways
@pytest.mark.parametrize("kind", [CallbackManager, AsyncCallbackManager])
def test_l9_managers_are_taken(ask: Ask, kind: Any) -> None:
    """A manager of callbacks, sync or async, makes the run a child of its own, with its tags and metadata."""
    watching, parent = Watching(), UUID(int=7)
    manager = kind([watching], [watching], parent_run_id=parent, inheritable_tags=["tag"], tags=["tag"])
    manager.add_metadata({"tenant": "zoo"})

    ask(rerank(), manager)

    start, end = watching.events
    assert start.parent_run_id == end.parent_run_id == parent
    assert start.options["tags"] == ["tag"]
    assert start.options["metadata"] == {"tenant": "zoo"}


@both_ways
def test_l9_callbacks_that_are_coroutines_are_told(ask: Ask) -> None:
    """Handlers whose methods are coroutines hear of the run in either way to ask."""
    watching = WatchingAsync()

    ask(rerank(), [watching])

    assert [event.what for event in watching.events] == ["start", "end"]


async def test_l9_async_callbacks_run_on_the_callers_loop() -> None:
    """In the async way, coroutine handlers are awaited on the loop that asked, before the documents are returned."""
    watching = WatchingAsync()

    await rerank().acompress_documents(DOCUMENTS, QUERY, [watching])
    with pytest.raises(resift.ScoringFailed):
        await rerank(fails=[resift.ScoringFailed("no")]).acompress_documents(DOCUMENTS, QUERY, [watching])

    assert [event.what for event in watching.events] == ["start", "end", "start", "error"]
    assert all(event.on_loop for event in watching.events)


async def test_l9_a_cancelled_rerank_ends_its_run() -> None:
    """A run whose task is cancelled ends with that, instead of never."""
    watching, gate = Watching(), threading.Event()
    fake = FakeRanker(gate=gate)

    task = asyncio.create_task(Named(ranker=fake).acompress_documents(DOCUMENTS, QUERY, [watching]))
    async with asyncio.timeout(30):
        while not fake.at_once:  # noqa: ASYNC110 - a fake's gate is for threads
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [event.what for event in watching.events] == ["start", "error"]
    assert isinstance(watching.events[1].told, asyncio.CancelledError)


async def test_l9_the_surrounding_runnable_is_found() -> None:
    """Inside a runnable nothing has to be passed on: the run is a child of the runnable's, with its tags."""
    component = rerank()

    def inside(query: str) -> list[Document]:
        return component.compress_documents(DOCUMENTS, query)

    async def inside_too(query: str) -> list[Document]:
        return await component.acompress_documents(DOCUMENTS, query)

    for chain in (RunnableLambda(inside), RunnableLambda(inside, afunc=inside_too)):
        collector, watching = RunCollectorCallbackHandler(), Watching()
        config: Any = {"callbacks": [collector, watching], "tags": ["tag"], "metadata": {"tenant": "zoo"}}
        found = chain.invoke(QUERY, config)
        awaited = await chain.ainvoke(QUERY, config)

        assert found == awaited
        for run in collector.traced_runs:
            (child,) = run.child_runs
            assert (child.name, child.run_type, child.error) == ("Named", "chain", None)
            assert child.tags == ["tag"]
            assert child.extra["metadata"]["tenant"] == "zoo"
        assert len(collector.traced_runs) == 2
        assert [event.what for event in watching.events] == ["start", "start", "end", "end"] * 2


async def test_l9_callbacks_that_are_passed_on_join_the_surroundings() -> None:
    """Inside a runnable, callbacks of the call's own are those that are told, with the runnable's tags and metadata."""
    component, around, own = rerank(), Watching(), Watching()

    def inside(query: str) -> list[Document]:
        return component.compress_documents(DOCUMENTS, query, [own])

    async def inside_too(query: str) -> list[Document]:
        return await component.acompress_documents(DOCUMENTS, query, [own])

    chain = RunnableLambda(inside, afunc=inside_too)
    config: Any = {"callbacks": [around], "tags": ["tag"], "metadata": {"tenant": "zoo"}}
    chain.invoke(QUERY, config)
    await chain.ainvoke(QUERY, config)

    assert [event.what for event in own.events] == ["start", "end"] * 2
    assert [event.what for event in around.events] == ["start", "end"] * 2
    for event in own.events[::2]:
        assert event.options["tags"] == ["tag"]
        assert event.options["metadata"] == {"tenant": "zoo"}


async def test_l9_event_streams_show_the_run() -> None:
    """`astream_events` tells of the rerank under its name, and of no retriever."""
    component = rerank(top_n=1)

    async def inside(query: str) -> list[Document]:
        return await component.acompress_documents(DOCUMENTS, query)

    chain = RunnableLambda(lambda _: None, afunc=inside)
    events = [event async for event in chain.astream_events(QUERY, version="v2") if event["name"] == "Named"]

    assert [event["event"] for event in events] == ["on_chain_start", "on_chain_end"]
    assert events[1]["data"]["output"]["scores"] == [2.0]


@both_ways
def test_l9_a_rerank_is_no_retrieval(ask: Ask) -> None:
    """Who collects what retrievers return is not told of the same documents again."""
    watching = Watching()

    ask(rerank(), [watching])

    assert "retriever" not in [event.what for event in watching.events]


@both_ways
def test_l9_a_callback_that_fails_fails_as_it_was_told(ask: Ask) -> None:
    """A handler that is to raise its errors does, and the run is not reported as failed on top of it."""

    class Failing(Watching):
        raise_error = True

        def on_chain_end(self, outputs: Any, **options: Any) -> None:
            super().on_chain_end(outputs, **options)
            raise ConnectionError("the tracer is gone")

    failing = Failing()
    with pytest.raises(ConnectionError, match="the tracer is gone"):
        ask(rerank(), [failing])
    assert [event.what for event in failing.events] == ["start", "end"]


@both_ways
def test_l9_keys_are_in_no_trace(ask: Ask) -> None:
    """Neither inputs, outputs nor metadata of a run hold the key."""
    collector = RunCollectorCallbackHandler()
    component = ResiftRerank(base_url="http://127.0.0.1:9", api_key=SecretStr("sk-hush"), options={"max_retries": 0})

    with pytest.raises(resift.EndpointUnavailable):
        ask(component, [collector])

    (run,) = collector.traced_runs
    assert "EndpointUnavailable" in str(run.error)
    assert "sk-hush" not in str([run.inputs, run.outputs, run.extra, run.error, run.serialized, run.tags])


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Have OpenInference watch LangChain, and give what it sees."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()


@both_ways
def test_l9_opentelemetry_sees_it(ask: Ask, spans: InMemorySpanExporter) -> None:
    """OpenInference turns the run into a span with the query and the scored documents, or with the error."""
    ask(rerank(top_n=1), None)
    with pytest.raises(resift.ScoringFailed):
        ask(rerank(fails=[resift.ScoringFailed("no")]), None)

    good, bad = spans.get_finished_spans()
    seen = dict(good.attributes or {})
    assert (good.name, good.status.status_code.name) == ("Named", "OK")
    assert json.loads(str(seen["input.value"]))["query"] == QUERY
    (shown,) = json.loads(str(seen["output.value"]))["documents"]
    assert shown["metadata"] == {"relevance_score": 2.0}
    assert bad.status.status_code.name == "ERROR"
