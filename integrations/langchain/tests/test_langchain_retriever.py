"""`ResiftRetriever`: two stages as one retriever, with whatever LangChain promises of retrievers."""

import asyncio
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.load import dumpd
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.schemas import Run
from pydantic import Field, ValidationError

import resift
from langchain_resift import ResiftRerank, ResiftRetriever
from resift.testing import FakeRanker
from tiny import build

QUERY = "what does a panda eat?"
TEXTS = (
    "Paris is in France.",
    "A panda is a bear.",
    "All day long, a panda will eat bamboo.",
    "Bamboo grows fast.",
    "What a day!",
)
KEY = "sk-not-to-be-seen"


class Shelf(BaseRetriever):
    """Finds all it has, in its own order, and notes what else it was told."""

    texts: tuple[str, ...] = TEXTS
    told: list[dict[str, Any]] = Field(default_factory=list)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        self.told.append(options)
        return [Document(text, id=str(at)) for at, text in enumerate(self.texts)]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return self._get_relevant_documents(query, run_manager=run_manager.get_sync(), **options)


def retriever(shelf: BaseRetriever | None = None, *, k: int | None = None, **settings: Any) -> ResiftRetriever:
    """Return a retriever over a shelf; the settings are the reranker's."""
    return ResiftRetriever(base_retriever=shelf or Shelf(), reranker=ResiftRerank(**settings), k=k)


def ids(documents: list[Document]) -> list[str | None]:
    """Return what tells documents apart."""
    return [document.id for document in documents]


def plain_order(query: str = QUERY) -> list[str]:
    """Return the order in which resift itself puts the shelf."""
    with resift.load() as ranker:
        return [str(hit.index) for hit in ranker.rank(query, TEXTS)]


# what comes back


async def test_the_order_is_resifts() -> None:
    """Invoked in any way, it returns the documents in the order that resift itself gives them."""
    asked = retriever()
    expected = plain_order()

    assert expected != sorted(expected)
    assert ids(asked.invoke(QUERY)) == expected
    assert ids(await asked.ainvoke(QUERY)) == expected
    assert [ids(found) for found in asked.batch([QUERY, QUERY])] == [expected, expected]
    assert [ids(found) for found in await asked.abatch([QUERY, QUERY])] == [expected, expected]


async def test_any_runnable_finds_documents() -> None:
    """The first stage is a retriever, or any runnable from a query to documents."""
    first = RunnableLambda[str, list[Document]](
        lambda query: [Document(text, id=str(at)) for at, text in enumerate(TEXTS)]
    )
    asked = ResiftRetriever(base_retriever=first, reranker=ResiftRerank(), k=2)

    assert ids(asked.invoke(QUERY)) == ids(await asked.ainvoke(QUERY)) == plain_order()[:2]


async def test_nothing_found_is_nothing_reranked() -> None:
    """Where the first stage finds nothing, nothing is asked, loaded or returned."""
    ranker = FakeRanker()
    asked = retriever(Shelf(texts=()), ranker=ranker)

    assert asked.invoke(QUERY) == await asked.ainvoke(QUERY) == []
    assert ranker.asked == []


def test_what_else_a_call_is_given_reaches_the_first_stage() -> None:
    """Options of a call that are not the retriever's own go to the base retriever."""
    shelf = Shelf()

    retriever(shelf).invoke(QUERY, None, k=2, filter={"language": "en"})

    assert shelf.told == [{"filter": {"language": "en"}}]


# how many


async def test_a_call_knows_better_than_the_retriever_and_it_better_than_the_reranker() -> None:
    """The call's `k` comes before the retriever's, and that before the reranker's `top_n`."""
    assert len(retriever(top_n=2).invoke(QUERY)) == 2
    assert len(retriever(top_n=2, k=3).invoke(QUERY)) == 3
    assert len(retriever(top_n=2, k=3).invoke(QUERY, k=4)) == 4
    assert len(await retriever(top_n=2, k=3).ainvoke(QUERY, None, k=4)) == 4
    assert len(retriever(k=3).invoke(QUERY, k=None)) == 3
    assert len(retriever(k=3).invoke(QUERY, k=100)) == len(TEXTS)


async def test_no_documents_at_all_are_no_number() -> None:
    """A `k` below 1 is refused at construction, at assignment and at the call, before anything is retrieved. L10."""
    with pytest.raises(ValidationError, match=r"k\n.*greater than or equal to 1"):
        retriever(k=0)
    with pytest.raises(ValidationError, match="valid integer"):
        retriever(k=True)
    shelf = Shelf()
    asked = retriever(shelf)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        asked.k = -1
    for k in (0, -1, True, "2"):
        with pytest.raises(resift.InvalidInput, match="k must be a whole number from 1 up"):
            asked.invoke(QUERY, k=k)
        with pytest.raises(resift.InvalidInput, match="top_n must be a whole number from 1 up"):
            await asked.ainvoke(QUERY, top_n=k)
    assert shelf.told == []


def test_one_number_has_one_value() -> None:
    """`k` and `top_n` are one number; both at once are refused, even where they agree."""
    with pytest.raises(resift.InvalidInput, match="k and top_n are the same number"):
        retriever().invoke(QUERY, k=2, top_n=2)


def test_k_can_be_configured() -> None:
    """`k` works as a field that LangChain's configuration sets."""
    asked = retriever(k=1).configurable_fields(k=ConfigurableField(id="documents"))

    assert len(asked.invoke(QUERY)) == 1
    assert len(asked.invoke(QUERY, {"configurable": {"documents": 4}})) == 4


# settings


def test_a_misspelt_setting_is_refused() -> None:
    """What the retriever does not know raises instead of being ignored. L21."""
    with pytest.raises(ValidationError, match="there is no setting 'rerankr'; did you mean 'reranker'"):
        ResiftRetriever(base_retriever=Shelf(), rerankr=ResiftRerank())  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="there is no setting 'rerankr'; did you mean 'reranker'"):
        retriever().rerankr = ResiftRerank()  # type: ignore[attr-defined]


def test_a_setting_of_the_rerankers_is_sent_there() -> None:
    """The reranker's settings are not the retriever's: the error says where they go, and shows none of their values."""
    for make in (
        lambda: ResiftRetriever(base_retriever=Shelf(), model="m", base_url="http://localhost:9", api_key=KEY),  # type: ignore[call-arg]
        lambda: setattr(retriever(), "api_key", KEY),
        lambda: ResiftRetriever(base_retriever=Shelf(), reranker={"api_key": KEY}),  # type: ignore[arg-type]
        lambda: ResiftRetriever(base_retriever=Shelf(), reranker=[KEY]),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValidationError) as caught:
            make()
        assert KEY not in f"{caught.value} {caught.value.errors()}"
    with pytest.raises(
        ValidationError, match=r"there is no setting 'model'; say reranker=ResiftRerank\(model=\.\.\.\)"
    ):
        ResiftRetriever(base_retriever=Shelf(), model="m")  # type: ignore[call-arg]


def test_what_cannot_find_is_refused() -> None:
    """A first stage that cannot be invoked is refused at construction, without its value in the error."""
    with pytest.raises(ValidationError, match="instance of Runnable") as caught:
        ResiftRetriever(base_retriever=KEY, reranker=ResiftRerank())  # type: ignore[arg-type]

    assert KEY not in str(caught.value)


def test_the_key_is_never_shown() -> None:
    """Neither text nor dump nor pickle of the retriever holds the endpoint's key. L16."""
    asked = retriever(base_url="http://localhost:9", api_key=KEY)

    shown = [repr(asked), str(asked), str(asked.model_dump()), str(dumpd(asked)), repr(asked.to_json())]
    assert [text for text in shown if KEY in text] == []
    assert KEY.encode() not in pickle.dumps(asked)


def test_a_pickled_retriever_ranks_the_same() -> None:
    """A pickle holds settings, and what comes out of it ranks as before. L17."""
    asked = retriever(k=3)

    assert ids(pickle.loads(pickle.dumps(asked)).invoke(QUERY)) == plain_order()[:3]  # noqa: S301 - our own


# failures


async def test_a_failing_first_stage_fails_the_call() -> None:
    """What the base retriever raises arrives as it is, and nothing is reranked."""

    def fail(query: str) -> list[Document]:
        raise ConnectionError("no store")

    ranker = FakeRanker()
    asked = ResiftRetriever(base_retriever=RunnableLambda(fail), reranker=ResiftRerank(ranker=ranker))

    with pytest.raises(ConnectionError, match="no store"):
        asked.invoke(QUERY)
    with pytest.raises(ConnectionError, match="no store"):
        await asked.ainvoke(QUERY)
    assert ranker.asked == []


async def test_a_failing_reranker_may_pass_on_what_was_found() -> None:
    """With `on_error="pass"` the first `k` documents come as they were found; otherwise the error arrives."""
    fails: list[Exception] = [resift.Overloaded("busy") for _ in range(3)]
    asked = retriever(ranker=FakeRanker(fails=fails), on_error="pass", k=2)

    assert ids(asked.invoke(QUERY)) == ids(await asked.ainvoke(QUERY)) == ["0", "1"]
    with pytest.raises(resift.Overloaded, match="busy"):
        retriever(ranker=FakeRanker(fails=fails), k=2).invoke(QUERY)


# tracing


async def _called(asked: ResiftRetriever, way: str, *arguments: Any) -> None:
    answer = getattr(asked, way)(*arguments)
    if way.startswith("a"):
        await answer


def _family(run: Run) -> tuple[str, list[tuple[str, str | None]]]:
    return run.name, [(child.name, child.error) for child in run.child_runs]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "batch", "abatch"])
async def test_both_stages_are_traced_inside_the_retriever(way: str) -> None:
    """The runs of the first stage and of the reranking are children of the retriever's run. L9."""
    collector = RunCollectorCallbackHandler()
    await _called(retriever(k=2), way, [QUERY] if "batch" in way else QUERY, {"callbacks": [collector]})

    [run] = collector.traced_runs
    assert _family(run) == ("ResiftRetriever", [("Shelf", None), ("ResiftRerank", None)])
    assert run.child_runs[1].inputs["top_n"] == 2
    assert run.child_runs[1].outputs is not None
    assert (run.child_runs[1].inputs["n_in"], run.child_runs[1].outputs["n_out"]) == (len(TEXTS), 2)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_failed_stage_is_traced_with_its_error(way: str) -> None:
    """A reranking that fails ends its own run and the retriever's with the error. L9."""
    collector = RunCollectorCallbackHandler()
    asked = retriever(ranker=FakeRanker(fails=[resift.Overloaded("busy")]))

    with pytest.raises(resift.Overloaded):
        await _called(asked, way, QUERY, {"callbacks": [collector]})

    [run] = collector.traced_runs
    assert "busy" in (run.error or "")
    assert [child.name for child in run.child_runs if "busy" in (child.error or "")] == ["ResiftRerank"]


# many at once


async def _under_way(ranker: FakeRanker, count: int) -> None:
    """Wait until so many calls are held back, then let them go."""
    assert ranker.gate is not None
    async with asyncio.timeout(20):
        while ranker.at_once < count:  # noqa: ASYNC110 - threads count too
            await asyncio.sleep(0.005)
    ranker.gate.set()


async def test_two_hundred_queries_wait_together() -> None:
    """Queries of one `abatch` reach the ranker all at once: no pool of threads holds them back. L6."""
    ranker = FakeRanker(gate=threading.Event())
    asked = asyncio.ensure_future(retriever(ranker=ranker, k=1).abatch([f"question {at}" for at in range(200)]))
    await _under_way(ranker, 200)

    assert [len(found) for found in await asked] == [1] * 200


async def test_queries_of_a_batch_run_side_by_side() -> None:
    """`batch` asks with as many threads as its configuration allows."""
    ranker = FakeRanker(gate=threading.Event())
    queries = [f"question {at}" for at in range(12)]
    asked = asyncio.ensure_future(
        asyncio.to_thread(retriever(ranker=ranker, k=1).batch, queries, {"max_concurrency": 6})
    )
    await _under_way(ranker, 6)

    assert [len(found) for found in await asked] == [1] * 12
    assert ranker.most_at_once == 6


@pytest.mark.parametrize("way", ["batch", "abatch"])
async def test_queries_share_the_models_batches(way: str, tmp_path: Path) -> None:
    """Queries asked together run in fewer batches than there are queries, with the scores that each gets alone."""
    queries = [f"what does a panda eat on day {day}?" for day in range(32)]
    with resift.load(build("bert-cross", tmp_path / "model"), device="cpu") as ranker:
        asked = retriever(ranker=ranker, k=2)
        alone = [asked.invoke(query) for query in queries]
        before = ranker.workload.batches
        if way == "batch":
            together = await asyncio.to_thread(asked.batch, queries, {"max_concurrency": 16})
        else:
            together = await asked.abatch(queries)
        batches = ranker.workload.batches - before

    assert before == len(queries)
    assert batches < len(queries)
    assert [ids(found) for found in together] == [ids(found) for found in alone]
    for found, expected in zip(together, alone, strict=True):
        scores = [document.metadata["relevance_score"] for document in found]
        assert scores == pytest.approx([document.metadata["relevance_score"] for document in expected], abs=1e-5)
