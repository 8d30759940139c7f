"""When a ranker opens its model, gives it back, shares it, and what it costs until then."""

import asyncio
import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from haystack import Document, Pipeline
from haystack.core.errors import PipelineError
from haystack.telemetry import _telemetry
from haystack.utils import ComponentDevice, Device, DeviceMap, Secret

import resift
from haystack_integrations.components.rankers.resift import ResiftRanker
from resift.adapting import Reranker
from resift.testing import FakeRanker
from resift.testing.watching import loads, longest_gap

Ask = Callable[..., list[Document]]

QUERY = "what does a panda eat?"
DOCUMENTS = [Document(content="Paris is in France."), Document(content="A panda will eat bamboo all day.")]


def scores(documents: list[Document]) -> list[float | None]:
    return [document.score for document in documents]


# construction

CONSTRUCTION = """
import sys
import haystack, haystack.utils
before = set(sys.modules)

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        raise RuntimeError(f"something was touched: {event}")
sys.addaudithook(refuse)

class Secret(type(haystack.utils.Secret.from_env_var("X"))):
    def resolve_value(self):
        raise RuntimeError("the key was read")

from haystack_integrations.components.rankers.resift import ResiftRanker
made = [
    ResiftRanker("nobody/nothing", device=haystack.utils.ComponentDevice.from_str("cuda:7")),
    ResiftRanker("m", api_base_url="http://127.0.0.1:9", api_key=Secret(("X",))),
    ResiftRanker("m", api_base_url="http://127.0.0.1:9", options={"headers": {"x": Secret(("X",))}}),
]
[repr(one) + one.model for one in made]
heavy = ("torch", "transformers", "safetensors", "huggingface_hub", "httpx2", "sentence_transformers")
print(sorted(name for name in heavy if name in sys.modules and name not in before))
"""


def test_h2_making_a_ranker_costs_nothing() -> None:
    """A ranker is made without network, without model libraries beyond Haystack's own, and without reading a secret."""
    ran = subprocess.run([sys.executable, "-c", CONSTRUCTION], capture_output=True, text=True, timeout=100, check=False)

    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr


def test_h2_a_missing_key_is_an_error_when_the_ranker_warms_up(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that must exist is looked for by `warm_up` or `run`, and once it exists everything goes on."""
    key = Secret.from_env_var("A_KEY_THAT_IS_NOT_SET")
    ranker = ResiftRanker("m", api_base_url="http://127.0.0.1:9", api_key=key)

    for opens in (ranker.warm_up, lambda: ask(ranker, query=QUERY, documents=DOCUMENTS)):
        with pytest.raises(ValueError, match="A_KEY_THAT_IS_NOT_SET"):
            opens()
    with pytest.raises(ValueError, match="A_KEY_THAT_IS_NOT_SET"):
        asyncio.run(ranker.warm_up_async())
    assert ask(ranker, query=QUERY, documents=[]) == []

    monkeypatch.setenv("A_KEY_THAT_IS_NOT_SET", "a key")
    ranker.warm_up()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "m", "ranker": FakeRanker()}, "leave out model, or the ranker"),
        (
            {"options": {"dtype": "float32"}, "scale_score": True, "ranker": FakeRanker()},
            "scale_score, options, or the",
        ),
        ({"ranker": "bm25"}, "ranker must be a Ranker"),
        ({"on_error": "ignore"}, "on_error='ignore' is not known"),
        ({"options": {"max_lenght": 64}}, "did you mean 'max_length'"),
        ({"options": {"timeout_s": 1}}, "'timeout_s' is for endpoints only"),
        ({"options": {"normalize": True}}, "'normalize'; it is the parameter scale_score"),
        ({"options": {"fields": ["title"]}}, "'fields'; it is the parameter meta_fields_to_embed"),
        ({"options": {7: 7}}, "options must be named by str"),
        ({"options": "fast"}, "options must be a dict"),
        ({"options": {"like": {"pieces": ["{query}"], "negatives": "no"}}}, "must hold the fields of a Prompt"),
        ({"api_key": Secret.from_token("k-12345")}, "'api_key' is for endpoints only"),
        ({"api_key": Secret.from_token("k-12345"), "ranker": FakeRanker()}, "leave out api_key, or the ranker"),
        ({"api_base_url": "http://127.0.0.1:9", "ranker": FakeRanker()}, "leave out api_base_url, or the ranker"),
        ({"api_key": "k-12345", "api_base_url": "http://127.0.0.1:9"}, "api_key must be a Secret"),
        ({"api_base_url": "127.0.0.1"}, "must begin with http"),
        ({"meta_fields_to_embed": "title"}, "meta_fields_to_embed must be a list of names"),
        ({"meta_fields_to_embed": [1]}, "meta_fields_to_embed must be a list of names"),
        ({"meta_data_separator": None}, "meta_data_separator must be a str"),
        ({"query_prefix": 7}, "query_prefix must be a str"),
        ({"keep_retrieval_score": 1}, "keep_retrieval_score must be True, False or"),
        ({"deduplicate": "false"}, "deduplicate must be True or False, not str"),
        ({"scale_score": "yes"}, "scale_score must be None, True or False"),
        ({"instruction": 7}, "instruction must be a str"),
        ({"score_threshold": float("nan")}, "threshold must be a number"),
        ({"score_threshold": "0.5"}, "score_threshold must be a number, not str"),
        ({"top_k": "3"}, "top_k must be a whole number"),
    ],
)
def test_settings_are_checked_when_a_ranker_is_made(settings: dict[str, Any], message: str) -> None:
    """A setting that cannot mean anything is an InvalidInput at once, and no key stands in its words."""
    with pytest.raises(resift.InvalidInput, match=message) as raised:
        ResiftRanker(**settings)

    assert "k-12345" not in str(raised.value)


def test_an_instruction_that_nobody_follows_is_refused_when_the_ranker_warms_up() -> None:
    """A model that knows no instructions says so before the first query comes."""
    with pytest.raises(resift.InvalidInput, match="lexical takes no instruction"):
        ResiftRanker(instruction="find bears").warm_up()


# warming up


def test_h3_warming_up_loads_once(cross_encoder: Path, ask: Ask) -> None:
    """Warming up again does nothing, neither does a pipeline that does it for every run."""
    ranker = ResiftRanker(cross_encoder)
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)

    with loads() as loaded:
        ranker.warm_up()
        assert loaded == [str(cross_encoder)]
        ranker.warm_up()
        asyncio.run(ranker.warm_up_async())
        for _ in range(2):
            pipeline.run({"ranker": {"query": QUERY, "documents": DOCUMENTS}})
        ask(ranker, query=QUERY, documents=DOCUMENTS)

    assert loaded == [str(cross_encoder)]
    ranker.close()


def test_h3_a_run_warms_up_by_itself(cross_encoder: Path, ask: Ask) -> None:
    """Without `warm_up` the first run loads the model."""
    ranker = ResiftRanker(cross_encoder)

    with loads() as loaded:
        assert len(ask(ranker, query=QUERY, documents=DOCUMENTS)) == 2

    assert len(loaded) == 1
    ranker.close()


def test_h3_threads_that_warm_up_together_load_once(cross_encoder: Path) -> None:
    """Of many threads at once one loads, and all get the same scores."""
    ranker = ResiftRanker(cross_encoder)
    together = threading.Barrier(8)

    def use(_: int) -> list[float | None]:
        together.wait(30)
        ranker.warm_up()
        return scores(ranker.run(query=QUERY, documents=DOCUMENTS)["documents"])

    with loads(delay_s=0.05) as loaded, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(use, range(8)))

    assert len(loaded) == 1
    assert all(one == pytest.approx(found[0], abs=1e-5) for one in found)
    ranker.close()


def test_h3_loading_does_not_stop_the_event_loop(cross_encoder: Path) -> None:
    """While the model loads, by `warm_up_async` or in a pipeline's run, the loop goes on."""
    slow_s = 0.6

    async def warm_up() -> float:
        ranker = ResiftRanker(cross_encoder)
        gap_s = await longest_gap(ranker.warm_up_async())
        await ranker.close_async()
        return gap_s

    async def run_in_pipeline() -> float:
        pipeline = Pipeline()
        pipeline.add_component("ranker", ResiftRanker(cross_encoder))
        gap_s = await longest_gap(pipeline.run_async({"ranker": {"query": QUERY, "documents": DOCUMENTS}}))
        await pipeline.close_async()
        return gap_s

    for way in (warm_up, run_in_pipeline):
        gaps_s: list[float] = []
        with loads(delay_s=slow_s) as loaded:
            # a busy machine may hold the loop up as well, but hardly three times as long as loading would
            while len(gaps_s) < 3 and min(gaps_s, default=slow_s) >= slow_s / 2:
                gaps_s.append(asyncio.run(way()))
        assert len(loaded) == len(gaps_s)
        assert min(gaps_s) < slow_s / 2


# closing


@pytest.mark.parametrize("asynchronously", [False, True])
def test_h4_closing_gives_the_model_back(cross_encoder: Path, asynchronously: bool, ask: Ask) -> None:  # noqa: FBT001
    """Closing frees the model, closing again does nothing, and the next run loads it again with the same scores."""
    ranker = ResiftRanker(cross_encoder)

    def close() -> None:
        asyncio.run(ranker.close_async()) if asynchronously else ranker.close()

    with loads() as loaded:
        close()
        first = scores(ask(ranker, query=QUERY, documents=DOCUMENTS))
        close()
        close()
        assert scores(ask(ranker, query=QUERY, documents=DOCUMENTS)) == pytest.approx(first, abs=1e-5)

    assert len(loaded) == 2  # had the first not been given back, it would have been found
    close()


def test_h4_closing_is_not_left_to_the_garbage_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way to close closes what is open, in its own way, once; and nothing where nothing is open."""
    told: list[str] = []
    close, aclose = Reranker.close, Reranker.aclose

    def noted(self: Reranker) -> None:
        told.append("close")
        close(self)

    async def anoted(self: Reranker) -> None:
        told.append("aclose")
        await aclose(self)

    monkeypatch.setattr(Reranker, "close", noted)
    monkeypatch.setattr(Reranker, "aclose", anoted)
    ranker = ResiftRanker()

    for _ in range(2):
        ranker.close()
        asyncio.run(ranker.close_async())
        ranker.warm_up()
        ranker.close()
        ranker.warm_up()
        asyncio.run(ranker.close_async())

    assert told == ["close", "aclose"] * 2


def test_h4_a_pipeline_closes_its_ranker(cross_encoder: Path) -> None:
    """`Pipeline.close` and `Pipeline.close_async` reach the ranker, after which the pipeline still runs."""
    pipeline = Pipeline()
    pipeline.add_component("ranker", ResiftRanker(cross_encoder))
    asked = {"ranker": {"query": QUERY, "documents": DOCUMENTS}}

    with loads() as loaded:
        first = pipeline.run(asked)["ranker"]["documents"]
        pipeline.close()
        second = pipeline.run(asked)["ranker"]["documents"]
        asyncio.run(pipeline.close_async())

    assert scores(second) == pytest.approx(scores(first), abs=1e-5)
    assert len(loaded) == 2


def test_h4_a_given_ranker_is_not_closed(ask: Ask) -> None:
    """What a caller brought stays the caller's to close."""
    given = FakeRanker()
    ranker = ResiftRanker(ranker=given)

    ask(ranker, query=QUERY, documents=DOCUMENTS)
    ranker.close()
    asyncio.run(ranker.close_async())

    assert given.closed == 0


# cancelling


async def test_h18_cancelling_a_run_reaches_the_ranker() -> None:
    """Whoever stops waiting for `run_async` stops the call behind it."""
    ranker = FakeRanker(gate=threading.Event())
    running = asyncio.create_task(ResiftRanker(ranker=ranker).run_async(query=QUERY, documents=DOCUMENTS))
    async with asyncio.timeout(60):
        while not ranker.at_once:  # noqa: ASYNC110 - the fake has no event to wait for
            await asyncio.sleep(0.005)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert ranker.cancelled == 1


# devices


def test_h20_a_device_is_haystacks_own(cross_encoder: Path) -> None:
    """A ComponentDevice says where the model runs, and survives serialization."""
    ranker = ResiftRanker(cross_encoder, device=ComponentDevice.from_str("cpu"))

    with loads() as loaded:
        assert len(ranker.run(query=QUERY, documents=DOCUMENTS)["documents"]) == 2
    assert len(loaded) == 1
    again = ResiftRanker.from_dict(ranker.to_dict())
    assert again.device == ComponentDevice.from_str("cpu")
    ranker.close()


def test_h20_a_device_that_is_not_there_is_an_error_when_it_is_needed(cross_encoder: Path) -> None:
    """A machine without that device can make the ranker, and is told when it warms up."""
    ranker = ResiftRanker(cross_encoder, device=ComponentDevice.from_str("cuda:77"))

    with pytest.raises(resift.ResiftError, match="cuda:77"):
        ranker.warm_up()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda"}, "device must be a ComponentDevice"),
        ({"device": ComponentDevice.from_str("cpu"), "api_base_url": "http://127.0.0.1:9"}, "for models that run here"),
        ({"device": ComponentDevice.from_str("cpu"), "options": {"device": "cpu"}}, "device is given twice"),
        (
            {"device": ComponentDevice.from_multiple(DeviceMap({"a": Device.cpu(), "b": Device.gpu(0)}))},
            "one replica on each",
        ),
    ],
)
def test_h20_a_device_that_means_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    """What is no single device, or contradicts another setting, is refused with what to do instead."""
    with pytest.raises(resift.InvalidInput, match=message):
        ResiftRanker("m", **settings)


# sharing and copies


def test_h24_two_rankers_share_one_model(cross_encoder: Path) -> None:
    """A component is in one pipeline only, and two components of equal settings load one model for both."""
    first, second = Pipeline(), Pipeline()
    shared = ResiftRanker(cross_encoder)
    first.add_component("ranker", shared)
    with pytest.raises(PipelineError):
        second.add_component("ranker", shared)
    second.add_component("ranker", ResiftRanker(cross_encoder, top_k=1, meta_fields_to_embed=["title"]))
    asked = {"ranker": {"query": QUERY, "documents": DOCUMENTS}}

    with loads() as loaded:
        second.warm_up()
        whole = first.run(asked)["ranker"]["documents"]
        first.close()
        (best,) = second.run(asked)["ranker"]["documents"]

    assert len(loaded) == 1
    assert best.id == whole[0].id
    second.close()


def pickled(ranker: ResiftRanker) -> ResiftRanker:
    """Return what comes out of a pickle."""
    again: ResiftRanker = pickle.loads(pickle.dumps(ranker))  # noqa: S301 - it was pickled right here
    return again


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_is_a_ranker_of_its_own(copied: Callable[[ResiftRanker], ResiftRanker]) -> None:
    """Copies and pickles have the settings, are in no pipeline, and can be put into another one."""
    ranker = ResiftRanker(top_k=1, query_prefix="find: ", options={"max_length": 64})
    Pipeline().add_component("ranker", ranker)

    again = copied(ranker)
    Pipeline().add_component("ranker", again)

    assert again.to_dict() == ranker.to_dict()
    assert again.run(query=QUERY, documents=DOCUMENTS) == ranker.run(query=QUERY, documents=DOCUMENTS)


def test_h6_a_copy_keeps_the_key_and_a_pickle_does_not() -> None:
    """A token stays in the process: a pickle has the environment's key in its place."""
    ranker = ResiftRanker("m", api_base_url="http://127.0.0.1:9", api_key=Secret.from_token("k-12345"))

    assert copy.copy(ranker).api_key == copy.deepcopy(ranker).api_key == Secret.from_token("k-12345")
    assert b"k-12345" not in pickle.dumps(ranker)
    assert pickled(ranker).api_key == Secret.from_env_var("RESIFT_API_KEY", strict=False)
    assert "k-12345" not in f"{ranker!r} {ranker} {vars(ranker)}"


def test_h25_nobody_is_told() -> None:
    """The ranker adds nothing to Haystack's telemetry, which these tests have turned off."""
    assert not hasattr(ResiftRanker, "_get_telemetry_data")
    assert _telemetry.telemetry is None
