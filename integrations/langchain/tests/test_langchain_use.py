"""resift where LangChain's users put it: in compression retrievers, pipelines, chains, tools and agents."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.tools import BaseTool, create_retriever_tool
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.schemas import Run
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import CharacterTextSplitter

import resift
from langchain_resift import ResiftRerank, ResiftRetriever
from resift.testing import FakeRanker
from serving import served, serving
from tiny import build

QUERY = "what does a panda eat?"
OTHER = "where does bamboo grow?"
TEXTS = [
    "Paris is the capital of France, on the river Seine.",
    "A panda is a bear. It sleeps for half of the day.",
    "All day long, a panda will eat bamboo, and little else.",
    "Bamboo will grow in the mild and wet winters of Sichuan.",
    "The stock fell by ten percent after a long day.",
    "A red panda is no bear, and naps in trees.",
]


@pytest.fixture
def first_stage() -> BaseRetriever:
    """Return the retriever of a vector store that finds everything, in an order that means nothing."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents([Document(text, id=str(at), metadata={"source": f"{at}.md"}) for at, text in enumerate(TEXTS)])
    return store.as_retriever(search_kwargs={"k": len(TEXTS)})


@pytest.fixture
def compression(first_stage: BaseRetriever) -> ContextualCompressionRetriever:
    """Return what most of LangChain's users have around a reranker."""
    return ContextualCompressionRetriever(base_compressor=ResiftRerank(top_n=3), base_retriever=first_stage)


def ids(documents: Sequence[Document]) -> list[str | None]:
    """Return what tells documents apart."""
    return [document.id for document in documents]


def best(first_stage: BaseRetriever, query: str, top_n: int | None = None) -> list[str | None]:
    """Return the order in which resift itself puts what the first stage finds."""
    found = first_stage.invoke(query)
    with resift.load() as ranker:
        ranking = ranker.rank(query, [document.page_content for document in found], top_n=top_n)
    return [found[hit.index].id for hit in ranking]


# where compressors go


async def test_it_works_in_a_compression_retriever(
    compression: ContextualCompressionRetriever, first_stage: BaseRetriever
) -> None:
    """`ContextualCompressionRetriever` returns resift's order, invoked in each of its ways. L8."""
    expected = [best(first_stage, query, 3) for query in (QUERY, OTHER)]

    assert expected[0] != ids(first_stage.invoke(QUERY))[:3]
    assert ids(compression.invoke(QUERY)) == ids(await compression.ainvoke(QUERY)) == expected[0]
    assert [ids(found) for found in compression.batch([QUERY, OTHER])] == expected
    assert [ids(found) for found in await compression.abatch([QUERY, OTHER])] == expected


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_it_is_one_run_of_a_compression_retriever(way: str, compression: ContextualCompressionRetriever) -> None:
    """Inside a `ContextualCompressionRetriever`, each rerank is one child run with what went in and came out. L9."""
    collector = RunCollectorCallbackHandler()
    await _called(compression, way, QUERY, {"callbacks": [collector]})

    [run] = collector.traced_runs
    assert [child.name for child in run.child_runs] == ["VectorStoreRetriever", "ResiftRerank"]
    rerank = run.child_runs[1]
    assert rerank.outputs is not None
    assert (rerank.inputs["query"], rerank.inputs["n_in"], rerank.outputs["n_out"]) == (QUERY, len(TEXTS), 3)


async def test_a_compression_retrievers_queries_reach_the_ranker_together(first_stage: BaseRetriever) -> None:
    """The queries of one `abatch` are under way at the same time, so that they share batches. L6, L8."""
    ranker = FakeRanker(gate=threading.Event())
    compression = ContextualCompressionRetriever(
        base_compressor=ResiftRerank(ranker=ranker), base_retriever=first_stage
    )
    asked = asyncio.ensure_future(compression.abatch([f"question {at}" for at in range(50)]))
    async with asyncio.timeout(20):
        while ranker.at_once < 50:  # noqa: ASYNC110 - what is counted is no event
            await asyncio.sleep(0.005)
    assert ranker.gate is not None
    ranker.gate.set()

    assert [len(found) for found in await asked] == [len(TEXTS)] * 50


async def test_it_works_in_a_pipeline_of_compressors(first_stage: BaseRetriever) -> None:
    """`DocumentCompressorPipeline` hands it the pieces that a splitter made, and then another's order. L8."""
    splitter = CharacterTextSplitter(separator=". ", chunk_size=30, chunk_overlap=0, keep_separator="end")
    rerank = ResiftRerank(top_n=2)
    pipeline = DocumentCompressorPipeline(transformers=[splitter, rerank])
    found = first_stage.invoke(QUERY)
    pieces = splitter.split_documents(found)

    expected = [document.page_content for document in rerank.compress_documents(pieces, QUERY)]
    assert len(pieces) > len(found)
    assert [document.page_content for document in pipeline.compress_documents(found, QUERY)] == expected
    assert [document.page_content for document in await pipeline.acompress_documents(found, QUERY)] == expected
    assert list(pipeline.compress_documents([], QUERY)) == list(await pipeline.acompress_documents([], QUERY)) == []


async def test_two_rerankers_stand_behind_each_other(first_stage: BaseRetriever) -> None:
    """In a pipeline, a second reranker orders what the first kept, and the score is the second's. L5."""
    by_length = FakeRanker(scorer=lambda query, text, instruction: float(len(text)))
    pipeline = DocumentCompressorPipeline(transformers=[ResiftRerank(top_n=3), ResiftRerank(ranker=by_length)])

    found = pipeline.compress_documents(first_stage.invoke(QUERY), QUERY)

    assert {document.id for document in found} == {*best(first_stage, QUERY, 3)}
    lengths = [float(len(document.page_content)) for document in found]
    assert [document.metadata["relevance_score"] for document in found] == lengths == sorted(lengths, reverse=True)


async def test_the_pipelines_runs_are_traced(first_stage: BaseRetriever) -> None:
    """A pipeline passes its callbacks on: each reranking in it is a run. L9."""
    found = first_stage.invoke(QUERY)
    pipeline = DocumentCompressorPipeline(transformers=[ResiftRerank(top_n=4), ResiftRerank(top_n=2)])
    for way in ("compress_documents", "acompress_documents"):
        collector = RunCollectorCallbackHandler()
        await _called(pipeline, way, found, QUERY, [collector])

        counts = [(run.name, run.inputs["n_in"], (run.outputs or {})["n_out"]) for run in collector.traced_runs]
        assert counts == [("ResiftRerank", len(TEXTS), 4), ("ResiftRerank", 4, 2)]


# where runnables go


def rerank_step(rerank: ResiftRerank) -> Runnable[dict[str, Any], list[Document]]:
    """Return a reranking as a step of a chain: what LangChain recommends in place of a compressor."""

    def compress(given: dict[str, Any]) -> list[Document]:
        return rerank.compress_documents(given["documents"], given["query"])

    async def acompress(given: dict[str, Any]) -> list[Document]:
        return await rerank.acompress_documents(given["documents"], given["query"])

    return RunnableLambda(compress, afunc=acompress)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "batch", "abatch"])
async def test_it_works_as_a_step_of_a_chain(way: str, first_stage: BaseRetriever) -> None:
    """In a `RunnableLambda` it reranks, and is traced inside it although nobody passes it callbacks. L8, L9."""
    both: Runnable[str, dict[str, Any]] = {
        "documents": first_stage,
        "query": RunnablePassthrough(),
    } | RunnablePassthrough()
    chain = both | rerank_step(ResiftRerank(top_n=2))
    collector = RunCollectorCallbackHandler()

    answer = await _called(chain, way, [QUERY] if "batch" in way else QUERY, {"callbacks": [collector]})

    assert ids(answer[0] if "batch" in way else answer) == best(first_stage, QUERY, 2)
    [run] = collector.traced_runs
    assert _path(run, "ResiftRerank")[-2].startswith(("compress", "acompress", "RunnableLambda"))


async def test_it_answers_in_a_chain(first_stage: BaseRetriever) -> None:
    """A chain of retriever, prompt, model and parser gets its passages in the new order, however it is called."""
    retriever = ResiftRetriever(base_retriever=first_stage, reranker=ResiftRerank(), k=2)
    chain = {"context": retriever | _joined, "question": RunnablePassthrough()} | PROMPT | Quoting() | StrOutputParser()
    expected = TEXTS[2]

    assert chain.invoke(QUERY) == await chain.ainvoke(QUERY) == expected
    assert chain.batch([QUERY, OTHER]) == await chain.abatch([QUERY, OTHER]) == [expected, TEXTS[3]]
    assert "".join(chain.stream(QUERY)) == "".join([piece async for piece in chain.astream(QUERY)]) == expected


# where tools go


@pytest.fixture
def tool(first_stage: BaseRetriever) -> BaseTool:
    """Return a retriever as an agent gets it."""
    retriever = ResiftRetriever(base_retriever=first_stage, reranker=ResiftRerank(), k=2)
    return create_retriever_tool(
        retriever, "search_animals", "Finds what is known about animals.", response_format="content_and_artifact"
    )


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_an_agent_calls_it(way: str, tool: BaseTool, first_stage: BaseRetriever) -> None:
    """An agent's tool call is answered with the best documents, and the rerank is part of the agent's trace."""
    agent = create_agent(Calling(tool="search_animals", query=QUERY), [tool])
    collector = RunCollectorCallbackHandler()

    state = await _called(agent, way, {"messages": [HumanMessage("Tell me!")]}, {"callbacks": [collector]})

    [answer] = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    expected = [TEXTS[int(at or "")] for at in best(first_stage, QUERY, 2)]
    assert answer.content == "\n\n".join(expected)
    assert ids(answer.artifact) == best(first_stage, QUERY, 2)
    assert state["messages"][-1].content == expected[0]
    [run] = collector.traced_runs
    assert _path(run, "ResiftRerank")[-3:] == ["search_animals", "ResiftRetriever", "ResiftRerank"]


# here and there


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small cross-encoder, in the format of a real one."""
    return build("bert-cross", tmp_path_factory.mktemp("models") / "cross")


@pytest.fixture(scope="module")
def endpoint(checkpoint: Path) -> Iterator[str]:
    """Serve that model on loopback, with the scores that its authors return."""
    with (
        resift.load(checkpoint, device="cpu") as ranker,
        serving(served(ranker, "cross", raw=ranker, own=ranker)) as up,
    ):
        yield up.url


async def test_here_and_there_agree(checkpoint: Path, endpoint: str, first_stage: BaseRetriever) -> None:
    """A model gives the same documents in the same order with the same scores, run here or behind an endpoint. L8."""
    here = ResiftRerank(model=checkpoint, options={"device": "cpu"})
    there = ResiftRerank(base_url=endpoint, model="cross", options={"dialect": "resift"})
    local, remote = (ResiftRetriever(base_retriever=first_stage, reranker=reranker, k=4) for reranker in (here, there))

    for query in (QUERY, OTHER):
        expected, found = local.invoke(query), remote.invoke(query)
        assert ids(found) == ids(expected)
        assert _scores(found) == pytest.approx(_scores(expected), abs=1e-5)
        assert ids(await remote.ainvoke(query)) == ids(await local.ainvoke(query)) == ids(expected)
        assert len({*_scores(expected)}) == 4


async def test_everything_shares_one_reranker(checkpoint: Path, first_stage: BaseRetriever) -> None:
    """Threads and an event loop that ask one reranker at the same time each get what they would get alone."""
    asked = ResiftRetriever(
        base_retriever=first_stage, reranker=ResiftRerank(model=checkpoint, options={"device": "cpu"}), k=3
    )
    queries = [f"what does a panda eat on day {day}?" for day in range(16)]
    alone = [ids(asked.invoke(query)) for query in queries]

    in_threads, in_loop = await asyncio.gather(asyncio.to_thread(asked.batch, queries), asked.abatch(queries))

    assert [ids(found) for found in in_threads] == [ids(found) for found in in_loop] == alone


# what answers


PROMPT = ChatPromptTemplate.from_template("{context}\n\n{question}")


class Quoting(BaseChatModel):
    """Answers with the first line of what it is told."""

    @property
    def _llm_type(self) -> str:
        return "quoting"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

    def _answer(self, messages: list[BaseMessage]) -> AIMessage:
        return AIMessage(str(messages[-1].content).splitlines()[0])


class Calling(Quoting):
    """Calls a tool first, and answers with the first line of what that returns."""

    tool: str
    query: str

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> "Calling":
        return self

    def _answer(self, messages: list[BaseMessage]) -> AIMessage:
        if isinstance(messages[-1], ToolMessage):
            return super()._answer(messages)
        return AIMessage("", tool_calls=[{"id": "1", "name": self.tool, "args": {"query": self.query}}])


def _joined(documents: list[Document]) -> str:
    return "\n".join(document.page_content for document in documents)


def _scores(documents: Sequence[Document]) -> list[float]:
    return [document.metadata["relevance_score"] for document in documents]


async def _called(asked: Any, way: str, *arguments: Any) -> Any:
    """Call a method that is asynchronous where its name begins with an a."""
    answer = getattr(asked, way)(*arguments)
    return await answer if way.startswith("a") else answer


def _path(run: Run, name: str) -> list[str]:
    """Return the names of the runs that lead to the one of that name."""
    if run.name == name:
        return [name]
    for child in run.child_runs:
        if below := _path(child, name):
            return [run.name, *below]
    return []
