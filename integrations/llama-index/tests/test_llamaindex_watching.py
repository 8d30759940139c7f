"""What those who watch get to see of a rerank: spans, events, callbacks, and what OpenInference makes of them."""

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # its documented home
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import resift
from llama_index.postprocessor.resift import ResiftRerank
from resift.testing import FakeRanker

METHODS = {"sync": "_postprocess_nodes", "async": "_apostprocess_nodes"}


class Events(BaseEventHandler):
    """Keeps what happens."""

    seen: list[BaseEvent] = []  # noqa: RUF012 - pydantic copies it

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.seen.append(event)

    @property
    def reranks(self) -> list[BaseEvent]:
        """Return the two kinds that a rerank has."""
        return [event for event in self.seen if isinstance(event, ReRankStartEvent | ReRankEndEvent)]


class Spans(BaseSpanHandler[BaseSpan]):
    """Keeps which spans are entered, left and dropped."""

    seen: list[tuple[str, str]] = []  # noqa: RUF012 - pydantic copies it

    @classmethod
    def class_name(cls) -> str:
        return "Spans"

    def new_span(self, id_: str, bound_args: inspect.BoundArguments, *_: Any, **others: Any) -> BaseSpan:
        self.seen.append(("entered", id_))
        return BaseSpan(id_=id_)

    def prepare_to_exit_span(self, id_: str, *_: Any, **others: Any) -> BaseSpan:
        self.seen.append(("left", id_))
        return self.open_spans[id_]

    def prepare_to_drop_span(self, id_: str, *_: Any, **others: Any) -> BaseSpan:
        self.seen.append(("dropped", id_))
        return self.open_spans[id_]


class Calls(BaseCallbackHandler):
    """Keeps what callbacks tell."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.seen: list[tuple[str, CBEventType, str, dict[str, Any]]] = []

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        self.seen.append(("start", event_type, event_id, payload or {}))
        return event_id

    def on_event_end(
        self, event_type: CBEventType, payload: dict[str, Any] | None = None, event_id: str = "", **kwargs: Any
    ) -> None:
        self.seen.append(("end", event_type, event_id, payload or {}))

    def start_trace(self, trace_id: str | None = None) -> None: ...

    def end_trace(self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None) -> None: ...


@pytest.fixture
def events() -> Iterator[Events]:
    """Watch the events of all of LlamaIndex."""
    root, handler = get_dispatcher(), Events()
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Watch the spans of all of LlamaIndex."""
    root, handler = get_dispatcher(), Spans()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    """Return how to ask: by the method, or by the coroutine."""
    return str(request.param)


def nodes_of(*texts: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text), score=0.5) for text in texts]


async def ask(way: str, rerank: ResiftRerank, nodes: list[NodeWithScore], query: str | None = "q") -> list[str]:
    if way == "async":
        return [node.text for node in await rerank.apostprocess_nodes(nodes, query_str=query)]
    return [node.text for node in rerank.postprocess_nodes(nodes, query_str=query)]


async def ask_anything(way: str, rerank: ResiftRerank, nodes: list[NodeWithScore], query: str | None) -> None:
    """Ask, whatever comes of it."""
    try:
        await ask(way, rerank, nodes, query)
    except (resift.ResiftError, RuntimeError):
        logging.getLogger(__name__).info("it failed, as it should")


def lengths(query: str, text: str, instruction: str | None) -> float:
    return len(text)


# Every way in which a rerank may end: its nodes, its query, what the ranker does, and how many nodes it returns.
ENDS: dict[str, tuple[list[str], str | None, Callable[[], FakeRanker], int]] = {
    "well": (["a", "bb"], "q", lambda: FakeRanker(scorer=lengths), 2),
    "empty": ([], "q", FakeRanker, 0),
    "textless": ([" "], "q", FakeRanker, 1),
    "passed on": (["a", "bb"], "q", lambda: FakeRanker(fails=[resift.ScoringFailed("no")]), 2),
    "mistaken": (["a", "bb"], "q", lambda: FakeRanker(fails=[resift.InvalidInput("no")]), 0),
    "without a query": (["a", "bb"], None, FakeRanker, 0),
    "with a blank query": (["a", "bb"], " ", FakeRanker, 0),
}


@pytest.mark.parametrize("end", ENDS)
async def test_i1_i9_one_event_begins_and_one_ends(way: str, end: str, events: Events, spans: Spans) -> None:
    """I1, I8, I9: however a rerank goes, it has one start and one end, inside one span of its own."""
    texts, query, ranker, returned = ENDS[end]
    nodes = nodes_of(*texts)

    await ask_anything(way, ResiftRerank(ranker=ranker(), on_error="pass"), nodes, query)

    start, stop = events.reranks
    assert isinstance(start, ReRankStartEvent)
    assert isinstance(stop, ReRankEndEvent)
    assert [start.nodes, len(stop.nodes)] == [nodes, returned]
    assert (start.model_name, start.top_n) == ("fake", len(texts))
    assert start.query == (None if query is None else QueryBundle(query))
    (entered, span), (left, same) = spans.seen
    failed = end in ("mistaken", "without a query", "with a blank query")
    assert (entered, left, same) == ("entered", "dropped" if failed else "left", span)
    assert span.startswith(f"ResiftRerank.{METHODS[way]}-")
    assert start.span_id == stop.span_id == span


async def test_i9_the_start_says_what_was_asked(way: str, events: Events) -> None:
    """I9: the start has the settings and the nodes with their scores as they came, also when all is over."""
    nodes = nodes_of("a", "bb", "ccc")

    await ask(way, ResiftRerank(ranker=FakeRanker(scorer=lengths), top_n=2), nodes)

    start, stop = events.reranks
    assert isinstance(start, ReRankStartEvent)
    assert isinstance(stop, ReRankEndEvent)
    assert start.top_n == 2
    assert [(node.text, node.score) for node in start.nodes] == [("a", 0.5), ("bb", 0.5), ("ccc", 0.5)]
    assert [(node.text, node.score) for node in stop.nodes] == [("ccc", 3.0), ("bb", 2.0)]


@pytest.mark.parametrize("model", ["lexical", "nobody/nothing"])
async def test_i9_the_model_has_its_name_before_it_is_loaded(way: str, model: str, events: Events) -> None:
    """I9: an event names the model, whether it was given a name or is the built-in one."""
    await ask(way, ResiftRerank(None if model == "lexical" else model), [])

    assert [event.model_name for event in events.reranks if isinstance(event, ReRankStartEvent)] == [model]


async def test_i9_an_endpoint_without_a_models_name_is_named_by_its_host(way: str, events: Events) -> None:
    """I9: an event always names something."""
    await ask(way, ResiftRerank(base_url="http://127.0.0.1:9/v1"), [])

    assert [event.model_name for event in events.reranks if isinstance(event, ReRankStartEvent)] == ["127.0.0.1:9"]


async def test_i9_a_rerank_that_is_cancelled_ends(events: Events, spans: Spans) -> None:
    """I9: a coroutine that nobody waits for any more has its end as well, and its ranker is told."""
    calls, ranker = Calls(), FakeRanker(delay_s=30)
    rerank = ResiftRerank(ranker=ranker, callback_manager=CallbackManager([calls]))
    task = asyncio.create_task(rerank.apostprocess_nodes(nodes_of("a"), query_str="q"))
    async with asyncio.timeout(10):
        while not ranker.at_once:  # noqa: ASYNC110 - the ranker counts, and signals nothing
            await asyncio.sleep(0.001)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [type(event) for event in events.reranks] == [ReRankStartEvent, ReRankEndEvent]
    assert [seen for seen, _ in spans.seen] == ["entered", "dropped"]
    assert [kind for kind, *_ in calls.seen] == ["start", "end"]
    assert ranker.cancelled == 1


@pytest.mark.parametrize("end", ENDS)
async def test_i9_callbacks_come_in_pairs(way: str, end: str) -> None:
    """I9: however a rerank goes, callbacks hear of its start and of its end, with the error if there was one."""
    texts, query, ranker, returned = ENDS[end]
    nodes, calls = nodes_of(*texts), Calls()
    rerank = ResiftRerank(ranker=ranker(), on_error="pass", top_n=7)
    rerank.callback_manager = CallbackManager([calls])

    await ask_anything(way, rerank, nodes, query)

    (start, started, one, begun), (stop, stopped, same, done) = calls.seen
    assert (start, stop, one) == ("start", "end", same)
    assert started == stopped == CBEventType.RERANKING
    assert begun == {
        EventPayload.NODES: nodes,
        EventPayload.MODEL_NAME: "fake",
        EventPayload.QUERY_STR: query,
        EventPayload.TOP_K: 7,
    }
    if end in ("mistaken", "without a query", "with a blank query"):
        assert isinstance(done[EventPayload.EXCEPTION], resift.InvalidInput)
    else:
        assert len(done[EventPayload.NODES]) == returned


async def test_i8_concurrent_reranks_have_their_own_spans(events: Events, spans: Spans) -> None:
    """I8: of many reranks at once, each has its events in its own span."""
    rerank = ResiftRerank(ranker=FakeRanker(scorer=lengths, delay_s=0.01))

    await asyncio.gather(*(ask("async", rerank, nodes_of("a", "bb"), f"q{at}") for at in range(20)))

    assert len({span for _, span in spans.seen}) == 20
    by_span = [
        [event for event in events.reranks if event.span_id == span] for span in {span for _, span in spans.seen}
    ]
    assert [[type(event) for event in pair] for pair in by_span] == [[ReRankStartEvent, ReRankEndEvent]] * 20


# OpenInference


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Trace all of LlamaIndex."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    if not instrumentor.is_instrumented_by_opentelemetry:
        pytest.skip("this OpenInference knows only newer versions of LlamaIndex")
    yield exporter
    instrumentor.uninstrument()


def reranks(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    return [
        span
        for span in exporter.get_finished_spans()
        if (span.attributes or {}).get("openinference.span.kind") == "RERANKER"
    ]


async def test_openinference_sees_a_reranker(way: str, exporter: InMemorySpanExporter) -> None:
    """A trace has one RERANKER span, with model, query, top_k, and the documents before and after."""
    await ask(way, ResiftRerank(ranker=FakeRanker("panda-ranker", lengths), top_n=1), nodes_of("a", "bb"), "what?")

    (span,) = reranks(exporter)
    told = dict(span.attributes or {})
    assert span.name == f"ResiftRerank.{METHODS[way]}"
    assert told["reranker.model_name"] == "panda-ranker"
    assert told["reranker.query"] == "what?"
    assert told["reranker.top_k"] == 1
    documents = {name: value for name, value in told.items() if name.endswith((".content", ".score"))}
    assert documents == {
        "reranker.input_documents.0.document.content": "a",
        "reranker.input_documents.0.document.score": 0.5,
        "reranker.input_documents.1.document.content": "bb",
        "reranker.input_documents.1.document.score": 0.5,
        "reranker.output_documents.0.document.content": "bb",
        "reranker.output_documents.0.document.score": 2.0,
    }


async def test_openinference_sees_failures_and_no_key(way: str, exporter: InMemorySpanExporter) -> None:
    """A rerank that fails is a span with an error, and no span holds the key."""
    rerank = ResiftRerank(
        base_url="http://127.0.0.1:9", api_key="sk-secret", options={"max_retries": 0, "timeout_s": 5}
    )

    with pytest.raises(resift.EndpointUnavailable):
        await ask(way, rerank, nodes_of("a"))

    (span,) = reranks(exporter)
    assert not span.status.is_ok
    assert "sk-secret" not in json.dumps([json.loads(span.to_json()) for span in exporter.get_finished_spans()])
