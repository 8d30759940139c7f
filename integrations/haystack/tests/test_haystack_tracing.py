"""What tracers see of a ranker: Haystack's own span, and a reranker in OpenInference."""

import asyncio
from collections.abc import Iterator

import pytest
from haystack import Document, Pipeline
from openinference.instrumentation.haystack import HaystackInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from haystack_integrations.components.rankers.resift import ResiftRanker

DOCUMENTS = [Document(content="a bear"), Document(content="a panda"), Document(content="a panda, a panda")]
PREFIX = "reranker"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Instrument Haystack, and keep the spans in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = HaystackInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    yield exporter
    instrumentor.uninstrument()


def _ranker_span(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = [
        span
        for span in exporter.get_finished_spans()
        if (span.attributes or {}).get("openinference.span.kind") == "RERANKER"
    ]
    return span


@pytest.mark.parametrize("asynchronously", [False, True])
def test_h19_a_tracer_sees_a_reranker(exporter: InMemorySpanExporter, asynchronously: bool) -> None:  # noqa: FBT001
    """In a pipeline the span has the model, the query, the limit, and documents before and after with their scores."""
    pipeline = Pipeline()
    pipeline.add_component("ranker", ResiftRanker())
    data = {"ranker": {"query": "panda", "documents": DOCUMENTS, "top_k": 2}}

    output = asyncio.run(pipeline.run_async(data)) if asynchronously else pipeline.run(data)

    seen = dict(_ranker_span(exporter).attributes or {})
    ranked = output["ranker"]["documents"]
    assert seen["reranker.model_name"] == "lexical"
    assert seen["reranker.query"] == "panda"
    assert seen["reranker.top_k"] == 2
    assert [seen[f"reranker.input_documents.{at}.document.id"] for at in range(3)] == [one.id for one in DOCUMENTS]
    assert [seen[f"reranker.output_documents.{at}.document.id"] for at in range(2)] == [one.id for one in ranked]
    assert [seen[f"reranker.output_documents.{at}.document.score"] for at in range(2)] == [one.score for one in ranked]
    assert "reranker.output_documents.2.document.id" not in seen


def test_h19_the_model_is_a_public_name() -> None:
    """`model` is a text, whether it was named, stands for the built-in scorer, or is an endpoint's own."""
    assert ResiftRanker().model == "lexical"
    assert ResiftRanker("BAAI/bge-reranker-v2-m3").model == "BAAI/bge-reranker-v2-m3"
    assert ResiftRanker(api_base_url="http://127.0.0.1:9/v1").model == "127.0.0.1:9"
    assert ResiftRanker.__name__.endswith("Ranker")
