"""Where people put it: query engines, chat engines, tools, evaluation, workflows; with others before and behind it."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import ReActAgent
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata, MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.objects import ObjectIndex
from llama_index.core.postprocessor import LongContextReorder, SimilarityPostprocessor
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import QueryEngineTool, RetrieverTool
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step

import resift
import tiny
from living import until
from llama_index.postprocessor.resift import ResiftRerank
from resift.scoring.backends import Outputs
from resift.scoring.backends.torch.running import TorchBackend
from resift.scoring.planning import Batch
from resift.server.served import open_served
from resift.testing import FakeRanker
from serving import serving

QUERY = "How long does a giant panda sleep?"
TEXTS = [
    "Bamboo forests grow on the slopes of Sichuan.",
    "The red panda is a small mammal, and it naps in trees.",
    "A giant panda sleeps for about ten hours a day.",
    "Sleep is a state of reduced activity.",
    "The stock of the company fell by ten percent.",
]
LLM = MockLLM()


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    """Return an index whose embeddings know nothing, so that any order comes from the rerank."""
    nodes = [TextNode(id_=str(at), text=text) for at, text in enumerate(TEXTS)]
    return VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=4))


@pytest.fixture(scope="module")
def expected() -> list[tuple[str, float]]:
    """Return what resift makes of the corpus."""
    return [(TEXTS[hit.index], hit.score) for hit in resift.load().rank(QUERY, TEXTS)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("bert-cross", tmp_path_factory.mktemp("model") / "bert-cross")


def found(nodes: Sequence[NodeWithScore]) -> list[tuple[str, float | None]]:
    return [(node.text, node.score) for node in nodes]


def engine(index: VectorStoreIndex, *postprocessors: Any, **settings: Any) -> RetrieverQueryEngine:
    """Return an engine that answers."""
    retriever = index.as_retriever(similarity_top_k=len(TEXTS))
    return RetrieverQueryEngine.from_args(retriever, llm=LLM, node_postprocessors=list(postprocessors), **settings)


def finder(index: VectorStoreIndex, *postprocessors: Any) -> RetrieverQueryEngine:
    """Return an engine that finds nodes, and says nothing."""
    return engine(index, *postprocessors, response_synthesizer=NoText(llm=LLM))


# engines


async def test_i10_query_engines(index: VectorStoreIndex, expected: list[tuple[str, float]]) -> None:
    """I10: a query engine answers from the reranked nodes, sync and async, with and without a language model."""
    rerank = ResiftRerank(top_n=2)

    for one in (engine(index, rerank), finder(index, rerank)):
        assert found(one.query(QUERY).source_nodes) == expected[:2]
        assert found((await one.aquery(QUERY)).source_nodes) == expected[:2]
    answer = str(engine(index, rerank).query(QUERY))
    assert expected[0][0] in answer
    assert TEXTS[-1] not in answer


async def test_i10_an_index_makes_a_query_engine(index: VectorStoreIndex, expected: list[tuple[str, float]]) -> None:
    """I10: the shortest way to a query engine takes it too."""
    short = index.as_query_engine(llm=LLM, similarity_top_k=5, node_postprocessors=[ResiftRerank(top_n=3)])

    assert found((await short.aquery(QUERY)).source_nodes) == expected[:3]


async def test_i10_the_async_engine_awaits(index: VectorStoreIndex) -> None:
    """I10: `aquery` waits for the ranker without blocking the loop: many queries wait at once."""
    gate, queries = threading.Event(), 50  # more than a pool of threads would have
    ranker = FakeRanker(gate=gate)
    one = finder(index, ResiftRerank(ranker=ranker))

    answers = asyncio.gather(*(one.aquery(f"query {at}") for at in range(queries)))
    await asyncio.to_thread(until, lambda: ranker.at_once == queries)
    gate.set()

    assert len(await answers) == queries


@pytest.mark.parametrize("kind", [ContextChatEngine, CondensePlusContextChatEngine])
async def test_i10_chat_engines(
    kind: type[ContextChatEngine | CondensePlusContextChatEngine],
    index: VectorStoreIndex,
    expected: list[tuple[str, float]],
) -> None:
    """I10: chat engines answer from the reranked nodes, at once and streaming, sync and async."""
    chat = kind.from_defaults(
        retriever=index.as_retriever(similarity_top_k=5),
        llm=LLM,
        memory=ChatMemoryBuffer.from_defaults(token_limit=2000),
        node_postprocessors=[ResiftRerank(top_n=2)],
    )

    assert found(chat.chat(QUERY).source_nodes) == expected[:2]
    chat.reset()
    assert found((await chat.achat(QUERY)).source_nodes) == expected[:2]
    chat.reset()
    assert found((await chat.astream_chat(QUERY)).source_nodes) == expected[:2]
    chat.reset()
    streamed = chat.stream_chat(QUERY)
    assert "".join(streamed.response_gen)
    assert found(streamed.source_nodes) == expected[:2]


async def test_i10_citation_engines(index: VectorStoreIndex, expected: list[tuple[str, float]]) -> None:
    """I10: the sources that are cited are the reranked ones, in their order."""
    cited = CitationQueryEngine.from_args(
        index, llm=LLM, similarity_top_k=5, node_postprocessors=[ResiftRerank(top_n=2)]
    )

    for response in (cited.query(QUERY), await cited.aquery(QUERY)):
        assert [node.text for node in response.source_nodes] == [
            f"Source {at}:\n{text}\n" for at, (text, _) in enumerate(expected[:2], start=1)
        ]


async def test_i10_retriever_tools(index: VectorStoreIndex, expected: list[tuple[str, float]]) -> None:
    """I10: an agent's tool returns the reranked nodes."""
    tool = RetrieverTool.from_defaults(
        index.as_retriever(similarity_top_k=5), node_postprocessors=[ResiftRerank(top_n=2)], name="pandas"
    )

    for output in (tool.call(QUERY), await tool.acall(QUERY)):
        assert found(output.raw_output) == expected[:2]
        assert output.content == "".join(f"{text}\n\n" for text, _ in expected[:2])


async def test_i10_object_retrievers(expected: list[tuple[str, float]]) -> None:
    """I10: objects are retrieved by what their texts say; also where LlamaIndex asks sync within async."""
    objects = ObjectIndex.from_objects(TEXTS, index_cls=VectorStoreIndex, embed_model=MockEmbedding(embed_dim=4))
    retriever = objects.as_retriever(similarity_top_k=5, node_postprocessors=[ResiftRerank(top_n=2)])

    assert retriever.retrieve(QUERY) == [text for text, _ in expected[:2]]
    assert await retriever.aretrieve(QUERY) == [text for text, _ in expected[:2]]


async def test_i10_retriever_evaluators(index: VectorStoreIndex) -> None:
    """I10: evaluation sees the order of the rerank, also where LlamaIndex asks sync within async."""
    evaluator = RetrieverEvaluator.from_metric_names(
        ["mrr", "hit_rate"],
        retriever=index.as_retriever(similarity_top_k=5),
        node_postprocessors=[ResiftRerank(top_n=1)],
    )

    for result in (evaluator.evaluate(QUERY, ["2"]), await evaluator.aevaluate(QUERY, ["2"])):
        assert result.retrieved_ids == ["2"]
        assert result.metric_vals_dict == {"mrr": 1.0, "hit_rate": 1.0}


async def test_i10_an_endpoint_is_asked_sync_within_async(model: Path) -> None:
    """I10: also over HTTP, a sync call inside a running event loop is answered."""
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    with serving(open_served(str(model), lambda normalize: resift.load(model, normalize=normalize))) as server:
        rerank = ResiftRerank(str(model), server.url)

        assert found(rerank.postprocess_nodes(nodes, query_str=QUERY)) == found(
            await rerank.apostprocess_nodes(nodes, query_str=QUERY)
        )
        await rerank.aclose()


async def test_i10_fusion_retrievers(index: VectorStoreIndex, expected: list[tuple[str, float]]) -> None:
    """I10: what several retrievers found together is reranked as one list."""
    fusion = QueryFusionRetriever(
        [index.as_retriever(similarity_top_k=3), index.as_retriever(similarity_top_k=5)],
        llm=LLM,
        num_queries=1,
        similarity_top_k=5,
        use_async=False,
    )
    one = RetrieverQueryEngine.from_args(
        fusion, llm=LLM, node_postprocessors=[ResiftRerank(top_n=3)], response_synthesizer=NoText(llm=LLM)
    )

    for response in (one.query(QUERY), await one.aquery(QUERY)):
        assert found(response.source_nodes) == expected[:3]


@pytest.mark.parametrize(("deduplicate", "times"), [(False, 2), (True, 1)])
async def test_i16_finds_may_be_put_together_by_hand(
    deduplicate: bool,  # noqa: FBT001 - a parameter of pytest's
    times: int,
    index: VectorStoreIndex,
    expected: list[tuple[str, float]],
) -> None:
    """I16: of nodes that two retrievers found, each comes as often as it was found, or once on demand."""
    retriever = index.as_retriever(similarity_top_k=5)
    nodes = [*await retriever.aretrieve(QUERY), *await retriever.aretrieve("pandas")]

    ranked = await ResiftRerank(deduplicate=deduplicate).apostprocess_nodes(nodes, query_str=QUERY)

    assert sorted(found(ranked)) == sorted(expected * times)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex's agents use what is deprecated
async def test_i10_agents(index: VectorStoreIndex, expected: list[tuple[str, float]]) -> None:
    """I10: a query engine that reranks is a tool for an agent."""

    class Asking(CustomLLM):
        """Asks the tool first, and answers with what it says."""

        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata()

        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002 - LlamaIndex's
            if expected[0][0] in prompt:
                return CompletionResponse(text="Thought: I can answer.\nAnswer: ten hours")
            return CompletionResponse(text=f'Thought: I ask.\nAction: pandas\nAction Input: {{"input": "{QUERY}"}}')

        def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: FBT001, FBT002 - the same
            response = self.complete(prompt)
            yield CompletionResponse(text=response.text, delta=response.text)

    tool = QueryEngineTool.from_defaults(engine(index, ResiftRerank(top_n=1)), name="pandas", description="about them")

    answer = await ReActAgent(tools=[tool], llm=Asking()).run(QUERY)

    assert str(answer) == "ten hours"


async def test_i10_workflow_steps(index: VectorStoreIndex, expected: list[tuple[str, float]]) -> None:
    """I10: a step of a workflow reranks what it retrieved."""
    rerank = ResiftRerank(top_n=2)

    class Retrieval(Workflow):
        @step
        async def retrieve(self, event: StartEvent) -> StopEvent:
            nodes = await index.as_retriever(similarity_top_k=5).aretrieve(event.query)
            return StopEvent(await rerank.apostprocess_nodes(nodes, query_str=event.query))

    assert found(await Retrieval().run(query=QUERY)) == expected[:2]


def test_i10_others_may_follow(index: VectorStoreIndex, expected: list[tuple[str, float]]) -> None:
    """I10: LlamaIndex's cut-off and its reordering work on the new scores."""
    cutoff = (expected[1][1] + expected[2][1]) / 2

    cut = finder(index, ResiftRerank(), SimilarityPostprocessor(similarity_cutoff=cutoff))
    assert found(cut.query(QUERY).source_nodes) == expected[:2]

    ends = finder(index, ResiftRerank(top_n=3), LongContextReorder()).query(QUERY).source_nodes
    assert found(ends) == [expected[0], expected[2], expected[1]]


def test_i10_an_engine_brings_its_callbacks(index: VectorStoreIndex) -> None:
    """I10, I11: the engine's own callbacks hear of the rerank."""
    debug = LlamaDebugHandler(print_trace_on_end=False)

    engine(index, ResiftRerank(), callback_manager=CallbackManager([debug])).query(QUERY)

    assert len(debug.get_event_pairs(CBEventType.RERANKING)) == 1


def test_i3_the_store_stays_as_it_is(index: VectorStoreIndex) -> None:
    """I3: nodes that an index handed out are not written to, so nothing is noted in its store."""
    before = {key: node.to_dict() for key, node in index.docstore.docs.items()}
    one = finder(index, ResiftRerank(keep_retrieval_score=True))

    nodes = one.query(QUERY).source_nodes

    assert all("retrieval_score" in node.metadata for node in nodes)
    assert {key: node.to_dict() for key, node in index.docstore.docs.items()} == before


# here and there, together and in turn


def test_here_and_there_agree(index: VectorStoreIndex, model: Path) -> None:
    """A model that runs here and the same one behind an endpoint give the same nodes in the same order."""
    with serving(open_served(str(model), lambda normalize: resift.load(model, normalize=normalize))) as server:
        here = finder(index, ResiftRerank(model)).query(QUERY).source_nodes
        for dialect in ("auto", "resift"):
            rerank = ResiftRerank(str(model), server.url, options={"dialect": dialect}, normalize=None)
            there = finder(index, rerank).query(QUERY).source_nodes
            rerank.close()

            assert [node.node_id for node in there] == [node.node_id for node in here]
            assert dialect == "auto" or [node.score for node in there] == pytest.approx([node.score for node in here])


def queries(count: int) -> list[str]:
    return [f"{QUERY} {'really ' * (at % 5)}{at}" for at in range(count)]


async def test_i20_together_is_as_in_turn(
    index: VectorStoreIndex, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I20: 50 queries at once give the scores that they give one after the other, and share the model's batches."""
    rerank, debug = ResiftRerank(model), LlamaDebugHandler(print_trace_on_end=False)
    one = finder(index, rerank)
    with resift.load(model) as ranker:  # the same model: equal settings share it
        start = ranker.workload.batches
        serial = [found((await one.aquery(query)).source_nodes) for query in queries(50)]
        before = ranker.workload.batches
        assert before - start == 50

        rerank.callback_manager = CallbackManager([debug])
        run = TorchBackend.run

        def patient(backend: TorchBackend, batch: Batch) -> Outputs:
            """Hold the first batch back until all queries have come: how they are run then is the engine's choice."""
            until = time.monotonic() + 30
            while len(debug.get_events(CBEventType.RERANKING)) < 50:
                assert time.monotonic() < until, "the queries did not come together"
                time.sleep(0.001)
            return run(backend, batch)

        monkeypatch.setattr(TorchBackend, "run", patient)
        together = await asyncio.gather(*(one.aquery(query) for query in queries(50)))

        for response, alone in zip(together, serial, strict=True):
            assert [text for text, _ in found(response.source_nodes)] == [text for text, _ in alone]
            assert [score for _, score in found(response.source_nodes)] == pytest.approx(
                [score for _, score in alone], abs=1e-5
            )
        assert ranker.workload.batches - before < 10


def test_i20_threads_and_loops_may_use_one(index: VectorStoreIndex, model: Path) -> None:
    """I20: one component serves many threads at once, and event loops one after the other, here and over HTTP."""
    with serving(open_served(str(model), lambda normalize: resift.load(model, normalize=normalize))) as server:
        for rerank in (ResiftRerank(model), ResiftRerank(str(model), server.url)):
            one = finder(index, rerank)

            async def ask(query: str, one: RetrieverQueryEngine = one) -> Any:
                return await one.aquery(query)

            serial = [found(one.query(query).source_nodes) for query in queries(12)]
            looped = [found(asyncio.run(ask(query)).source_nodes) for query in queries(12)]
            with ThreadPoolExecutor(12) as pool:
                threaded = [found(response.source_nodes) for response in pool.map(one.query, queries(12))]
            rerank.close()

            for others in (looped, threaded):
                assert [[text for text, _ in nodes] for nodes in others] == [[t for t, _ in nodes] for nodes in serial]
