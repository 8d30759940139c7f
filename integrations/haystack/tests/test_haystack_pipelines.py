"""A ranker among other components: in pipelines of every kind, between retrievers and who uses documents."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from haystack import Document, Pipeline, SuperComponent
from haystack.components.agents import Agent
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import MockChatGenerator
from haystack.components.joiners import DocumentJoiner
from haystack.components.rankers import LostInTheMiddleRanker
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.components.samplers import TopPSampler
from haystack.core.errors import BreakpointException
from haystack.core.pipeline.breakpoint import load_pipeline_snapshot
from haystack.dataclasses import ChatMessage, ToolCall
from haystack.dataclasses.breakpoints import Breakpoint
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.tools import ComponentTool

import resift
from haystack_integrations.components.rankers.resift import ResiftRanker
from resift.server.served import open_served
from resift.testing import FakeRanker
from serving import serving

QUERY = "how long does a giant panda sleep?"
CONTENTS = (
    "A giant panda sleeps for about ten hours a day.",
    "The giant panda is a bear, the red panda is none.",
    "Bamboo forests grow where winters are mild and wet.",
    "How long is the coast of Norway? A giant question.",
    "A day has 24 hours, and a long day has them too.",
    "The stock fell by ten percent after a long day.",
)
TEMPLATE = [ChatMessage.from_user("{% for one in documents %}{{ one.content }}\n{% endfor %}{{ query }}")]

Runs = Callable[[Pipeline, dict[str, Any]], dict[str, Any]]


def _run(pipeline: Pipeline, data: dict[str, Any]) -> dict[str, Any]:
    return pipeline.run(data, include_outputs_from={"retriever", "ranker"})


def _run_async(pipeline: Pipeline, data: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(pipeline.run_async(data, include_outputs_from={"retriever", "ranker"}))


def _generate(pipeline: Pipeline, data: dict[str, Any]) -> dict[str, Any]:
    async def follow() -> dict[str, Any]:
        partial = [part async for part in pipeline.run_async_generator(data, {"retriever", "ranker"})]
        last: dict[str, Any] = partial[-1]
        return last

    return asyncio.run(follow())


def _stream(pipeline: Pipeline, data: dict[str, Any]) -> dict[str, Any]:
    async def follow() -> dict[str, Any]:
        handle = pipeline.stream(data, include_outputs_from={"retriever", "ranker"})
        chunks = [chunk.content async for chunk in handle]
        result: dict[str, Any] = handle.result
        assert len(chunks) > 1
        assert "".join(chunks) == result["llm"]["replies"][0].text
        return result

    return asyncio.run(follow())


@pytest.fixture(params=[_run, _run_async, _generate, _stream], ids=["run", "run_async", "generator", "stream"])
def runs(request: pytest.FixtureRequest) -> Runs:
    """Return each way there is to run a pipeline."""
    way: Runs = request.param
    return way


@pytest.fixture
def store() -> InMemoryDocumentStore:
    """Return a store with some documents."""
    store = InMemoryDocumentStore()
    store.write_documents([Document(content=content, meta={"place": at}) for at, content in enumerate(CONTENTS)])
    return store


def _reversed(query: str, text: str, instruction: str | None) -> float:
    """Score a document by its place in CONTENTS: the last is the best."""
    return CONTENTS.index(text) / 8


def rag(store: InMemoryDocumentStore, ranker: ResiftRanker) -> Pipeline:
    """Return a pipeline that retrieves, ranks and answers."""
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(document_store=store))
    pipeline.add_component("ranker", ranker)
    pipeline.add_component("prompt", ChatPromptBuilder(template=TEMPLATE, required_variables="*"))
    pipeline.add_component("llm", MockChatGenerator("ten hours, and a few naps"))
    pipeline.connect("retriever.documents", "ranker.documents")
    pipeline.connect("ranker.documents", "prompt.documents")
    pipeline.connect("prompt.prompt", "llm.messages")
    return pipeline


def asked(**ranker: Any) -> dict[str, Any]:
    return {"retriever": {"query": QUERY}, "ranker": {"query": QUERY, **ranker}, "prompt": {"query": QUERY}}


def places(documents: list[Document]) -> list[int]:
    return [document.meta["place"] for document in documents]


def test_h17_a_pipeline_retrieves_ranks_and_answers(store: InMemoryDocumentStore, runs: Runs) -> None:
    """In every way to run a pipeline the documents go on in the ranker's order, with limits given at the run."""
    ranker = FakeRanker(scorer=_reversed)

    output = runs(rag(store, ResiftRanker(ranker=ranker, keep_retrieval_score=True)), asked(top_k=3))

    retrieved, ranked = output["retriever"]["documents"], output["ranker"]["documents"]
    assert len(retrieved) > 3
    assert places(ranked) == sorted(places(retrieved), reverse=True)[:3]
    assert {one.id: one.meta["retrieval_score"] for one in ranked}.items() <= {
        one.id: one.score for one in retrieved
    }.items()
    assert output["llm"]["replies"][0].text == "ten hours, and a few naps"
    assert all("retrieval_score" not in document.meta for document in store.filter_documents())


def test_h17_a_pipeline_that_was_written_down_ranks_alike(store: InMemoryDocumentStore, runs: Runs) -> None:
    """What `dumps` wrote `loads` reads, without leave for any module, and it ranks as the first one did."""
    pipeline = rag(store, ResiftRanker(top_k=2, scale_score=True))

    again = Pipeline.loads(pipeline.dumps())
    again.get_component("retriever").document_store = store  # type: ignore[attr-defined]  # its documents are not in YAML

    assert again.to_dict()["components"] == pipeline.to_dict()["components"]
    assert runs(again, asked())["ranker"] == runs(pipeline, asked())["ranker"]


def test_h16_nothing_undeclared_comes_out(store: InMemoryDocumentStore, caplog: pytest.LogCaptureFixture) -> None:
    """A pipeline has nothing to warn about, however the run ends."""
    with caplog.at_level("WARNING", "haystack"):
        for documents in ([], [Document(content="a panda")]):
            pipeline = Pipeline()
            pipeline.add_component("ranker", ResiftRanker())
            assert pipeline.run({"query": "panda", "documents": documents})["ranker"].keys() == {"documents"}

    assert caplog.records == []


def test_h17_an_asynchronous_run_needs_no_thread_of_haystacks() -> None:
    """`Pipeline.run_async` awaits the ranker on its own loop, in its own thread."""
    seen: list[str] = []

    class Noting(FakeRanker):
        """A fake that notes in which thread it is awaited."""

        async def arank(self, query: str, documents: Any, **options: Any) -> resift.Ranking:
            seen.append(threading.current_thread().name)
            return await super().arank(query, documents, **options)

    pipeline = Pipeline()
    pipeline.add_component("ranker", ResiftRanker(ranker=Noting()))

    asyncio.run(pipeline.run_async({"query": "panda", "documents": [Document(content="a panda")]}))

    assert seen == [threading.main_thread().name]


async def test_many_pipeline_runs_share_one_loop() -> None:
    """Fifty runs of one pipeline are under way at once, and each query gets its own answer."""
    gate = threading.Event()
    ranker = FakeRanker(scorer=lambda query, text, instruction: float(query == text), gate=gate)
    pipeline = Pipeline()
    pipeline.add_component("ranker", ResiftRanker(ranker=ranker, top_k=1))
    documents = [Document(content=f"{number}") for number in range(50)]
    runs = [
        asyncio.create_task(pipeline.run_async({"query": one.content, "documents": documents})) for one in documents
    ]

    async with asyncio.timeout(60):
        while ranker.at_once < 50:  # noqa: ASYNC110 - the fake has no event to wait for
            await asyncio.sleep(0.005)
        gate.set()
        found = await asyncio.gather(*runs)

    assert [output["ranker"]["documents"][0].content for output in found] == [one.content for one in documents]


def test_h12_it_stands_between_a_joiner_and_those_who_use_scores(store: InMemoryDocumentStore, runs: Runs) -> None:
    """Documents of two retrievers are joined, ranked once each, and sampled and reordered by their new scores."""
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(document_store=store, top_k=4))
    pipeline.add_component("second", InMemoryBM25Retriever(document_store=store, top_k=5, scale_score=True))
    pipeline.add_component("joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion"))
    pipeline.add_component("ranker", ResiftRanker(ranker=FakeRanker(scorer=_reversed)))
    pipeline.add_component("sampler", TopPSampler(top_p=0.99))
    pipeline.add_component("middle", LostInTheMiddleRanker())
    pipeline.add_component("prompt", ChatPromptBuilder(template=TEMPLATE, required_variables="*"))
    pipeline.add_component("llm", MockChatGenerator("ten hours, and a few naps"))
    for sender, receiver in (
        ("retriever", "joiner"),
        ("second", "joiner"),
        ("joiner", "ranker.documents"),
        ("ranker.documents", "sampler.documents"),
        ("sampler.documents", "middle.documents"),
        ("middle.documents", "prompt.documents"),
        ("prompt.prompt", "llm.messages"),
    ):
        pipeline.connect(sender, receiver)

    output = runs(pipeline, asked() | {"second": {"query": "giant day bamboo"}})

    ranked = output["ranker"]["documents"]
    assert len({document.id for document in ranked}) == len(ranked) > 4
    assert places(ranked) == sorted(places(ranked), reverse=True)
    assert output["llm"]["replies"][0].text == "ten hours, and a few naps"


@pytest.mark.parametrize("stop", ["ranker", "sampler"])
def test_a_pipeline_goes_on_from_a_snapshot(
    store: InMemoryDocumentStore, stop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stopped at a breakpoint, before the ranker or behind it, ends from its file as it would have."""
    monkeypatch.setenv("HAYSTACK_PIPELINE_SNAPSHOT_SAVE_ENABLED", "true")

    def make() -> Pipeline:
        pipeline = Pipeline()
        pipeline.add_component("retriever", InMemoryBM25Retriever(document_store=store))
        pipeline.add_component("ranker", ResiftRanker(keep_retrieval_score=True))
        pipeline.add_component("sampler", TopPSampler(top_p=0.99))
        pipeline.connect("retriever.documents", "ranker.documents")
        pipeline.connect("ranker.documents", "sampler.documents")
        return pipeline

    data = {"retriever": {"query": QUERY}, "ranker": {"query": QUERY, "top_k": 3, "scale_score": True}}

    with pytest.raises(BreakpointException):
        make().run(data, break_point=Breakpoint(stop, snapshot_file_path=str(tmp_path)))
    (written,) = tmp_path.iterdir()

    assert make().run({}, pipeline_snapshot=load_pipeline_snapshot(written)) == make().run(data)


def test_branches_rank_at_once() -> None:
    """Rankers in branches of one pipeline wait for their models together, and each has its own answer."""
    gate = threading.Event()
    ranker = FakeRanker(scorer=lambda query, text, instruction: float(query == text), gate=gate)
    pipeline = Pipeline()
    pipeline.add_component("joiner", DocumentJoiner(join_mode="concatenate", sort_by_score=False))
    for name in ("a", "b", "c"):
        pipeline.add_component(name, ResiftRanker(ranker=ranker, top_k=1))
        pipeline.connect(name, "joiner")
    documents = [Document(content=name) for name in ("c", "b", "a")]

    async def run() -> dict[str, Any]:
        running = asyncio.create_task(
            pipeline.run_async({name: {"query": name, "documents": documents} for name in ("a", "b", "c")})
        )
        async with asyncio.timeout(60):
            while ranker.at_once < 3:  # noqa: ASYNC110 - the fake has no event to wait for
                await asyncio.sleep(0.005)
        gate.set()
        return await running

    found = asyncio.run(run())["joiner"]["documents"]

    assert sorted(document.content for document in found) == ["a", "b", "c"]
    assert all(document.score == 1.0 for document in found)


@pytest.mark.parametrize("asynchronously", [False, True])
def test_h17_a_super_component_holds_it(store: InMemoryDocumentStore, asynchronously: bool) -> None:  # noqa: FBT001
    """A SuperComponent around retriever and ranker is one component, which can be written down and closed as well."""
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(document_store=store))
    pipeline.add_component("ranker", ResiftRanker(top_k=2))
    pipeline.connect("retriever.documents", "ranker.documents")
    search = SuperComponent(
        pipeline=pipeline,
        input_mapping={"query": ["retriever.query", "ranker.query"], "top_k": ["ranker.top_k"]},
        output_mapping={"ranker.documents": "documents"},
    )
    outer = Pipeline()
    outer.add_component("search", search)

    data = {"search": {"query": QUERY, "top_k": 1}}
    output = asyncio.run(outer.run_async(data)) if asynchronously else outer.run(data)

    assert places(output["search"]["documents"]) == [0]
    assert Pipeline.loads(outer.dumps()).dumps() == outer.dumps()
    outer.close()


@pytest.mark.parametrize("asynchronously", [False, True])
def test_h17_a_tool_of_an_agent_can_be_made_of_it(asynchronously: bool) -> None:  # noqa: FBT001
    """A ComponentTool describes itself by the ranker's own words, and calls it with an LLM's arguments."""
    tool = ComponentTool(ResiftRanker())
    tool.warm_up()

    parameters = tool.parameters["properties"]
    assert tool.name == "resift_ranker"
    assert tool.description.strip().startswith("Puts documents in order of relevance")
    assert set(tool.parameters["required"]) == {"query", "documents"}
    assert parameters["query"]["description"] == "What the documents are to be relevant to."
    assert set(parameters) == {"query", "documents", "top_k", "score_threshold", "scale_score"}
    assert all(parameter["description"] for parameter in parameters.values())

    arguments = {"query": "panda", "documents": [{"content": "a bear"}, {"content": "a panda"}], "top_k": 1}
    output = asyncio.run(tool.invoke_async(**arguments)) if asynchronously else tool.invoke(**arguments)

    assert [document.content for document in output["documents"]] == ["a panda"]
    assert ComponentTool.from_dict(tool.to_dict()).parameters == tool.parameters
    tool.close() if hasattr(tool, "close") else None  # Haystack 3.0 has no such method yet


@pytest.mark.parametrize("asynchronously", [False, True])
def test_h17_an_agent_calls_it(asynchronously: bool) -> None:  # noqa: FBT001
    """An agent ranks the documents of its state with it, and the state holds them in the new order."""
    tool = ComponentTool(
        ResiftRanker(),
        name="rank",
        description="Puts the documents at hand in order.",
        inputs_from_state={"documents": "documents"},
        outputs_to_state={"ranked": {"source": "documents"}},
    )
    call = ChatMessage.from_assistant(tool_calls=[ToolCall("rank", {"query": "panda", "top_k": 1})])
    agent = Agent(
        chat_generator=MockChatGenerator([call, "done"]),
        tools=[tool],
        state_schema={"documents": {"type": list[Document]}, "ranked": {"type": list[Document]}},
    )
    given: dict[str, Any] = {
        "messages": [ChatMessage.from_user("what is best?")],
        "documents": [Document(content="a bear"), Document(content="a panda")],
    }

    output = asyncio.run(agent.run_async(**given)) if asynchronously else agent.run(**given)

    assert "documents" not in tool.parameters["properties"]
    assert [document.content for document in output["ranked"]] == ["a panda"]
    assert output["last_message"].text == "done"


@pytest.fixture
def server(cross_encoder: Path) -> Iterator[str]:
    """Serve a small model, and return the address."""
    with serving(open_served("tiny", lambda normalize: resift.load(cross_encoder, normalize=normalize))) as found:
        yield found.url


def test_a_pipeline_ranks_alike_here_and_there(
    store: InMemoryDocumentStore, runs: Runs, cross_encoder: Path, server: str
) -> None:
    """A pipeline gives the same documents in the same order whether the model runs here or behind an endpoint."""
    here = rag(store, ResiftRanker(cross_encoder))
    there = rag(store, ResiftRanker("tiny", api_base_url=server, options={"dialect": "resift"}))

    first, second = runs(here, asked())["ranker"]["documents"], runs(there, asked())["ranker"]["documents"]
    here.close()
    there.close()

    assert len(first) > 3
    assert places(first) == places(second)
    assert [one.score for one in first] == pytest.approx([one.score for one in second], abs=1e-5)
