"""How a component is made, kept and carried: settings, secrets, dumps, pickles, and what its import costs."""

import copy
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import tomllib
import traceback
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest
from llama_index.core import Settings
from llama_index.core.bridge.pydantic import SecretStr
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import PromptTemplate
from llama_index.core.prompts.mixin import PromptMixin
from llama_index.core.schema import NodeWithScore, TextNode

import resift
import tiny
from llama_index.postprocessor import resift as package
from llama_index.postprocessor.resift import ResiftRerank
from resift.testing import FakeRanker
from resift.testing.watching import loads
from scripted_server import ScriptedServer, reply

HERE = Path(__file__).parent.parent
KEY = "sk-a-key-that-nobody-may-see"

# every setting, with another value than its default
LOCAL: dict[str, Any] = {
    "model": "lexical",
    "top_n": 3,
    "score_threshold": 0.0,
    "instruction": "find animals",
    "normalize": False,
    "metadata_mode": "none",
    "keep_retrieval_score": True,
    "deduplicate": True,
    "textless": "drop",
    "on_error": "pass",
    "options": {"device": "cpu", "fields": ["title"], "trust_remote_code": True, "max_length": 64},
}
REMOTE: dict[str, Any] = LOCAL | {
    "model": "some/model",
    "base_url": "http://127.0.0.1:9/v1",
    "options": {"timeout_s": 2.5, "max_retries": 0, "dialect": "resift"},
}


def nodes_of(*texts: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(id_=str(at), text=text)) for at, text in enumerate(texts)]


def ranked(rerank: ResiftRerank, *texts: str) -> list[tuple[str, float | None]]:
    found = rerank.postprocess_nodes(nodes_of(*(texts or ("Paris", "a panda", "panda panda"))), query_str="panda")
    return [(node.node_id, node.score) for node in found]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no key of the environment come in."""
    monkeypatch.delenv("RESIFT_API_KEY", raising=False)


# what it is


def test_i18_it_is_a_postprocessor_with_a_name_of_its_own() -> None:
    """I18: LlamaIndex takes it for what it is, and writes it down under its public name."""
    assert issubclass(ResiftRerank, BaseNodePostprocessor)
    assert issubclass(ResiftRerank, PromptMixin)
    assert ResiftRerank.class_name() == ResiftRerank.__name__ == "ResiftRerank"
    assert BaseNodePostprocessor.__name__ in [kind.__name__ for kind in ResiftRerank.__mro__]


def test_the_door_shows_one_thing() -> None:
    """The package's `__all__` names all there is."""
    assert package.__all__ == ["ResiftRerank"]


# dumps


@pytest.mark.parametrize("settings", [{}, LOCAL, REMOTE], ids=["default", "local", "remote"])
def test_i12_every_setting_comes_back(settings: dict[str, Any]) -> None:
    """I12: written down and read again, as a dict or as JSON, a component has every setting that it had."""
    rerank = ResiftRerank(**settings)

    for again in (ResiftRerank.from_dict(rerank.to_dict()), ResiftRerank.from_json(rerank.to_json())):
        assert again.to_dict() == rerank.to_dict()
        assert {name: again.to_dict()[name] for name in settings} == settings


def test_i12_every_setting_was_tried() -> None:
    """I12: the settings above are all there are, apart from the key and the callbacks, which are not written down."""
    fields = ResiftRerank.model_fields

    assert REMOTE.keys() == fields.keys() - {"api_key", "callback_manager"}
    assert {name for name, field in fields.items() if field.exclude} == {"api_key", "callback_manager"}


def test_i11_callbacks_can_be_assigned_and_are_not_written_down() -> None:
    """I11: engines set their own callback manager, which no dump mentions."""
    rerank, manager = ResiftRerank(), CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
    rerank.callback_manager = manager

    assert rerank.callback_manager is manager
    assert "callback_manager" not in rerank.to_dict()


def test_i12_a_path_is_written_as_text(tmp_path: Path) -> None:
    """I12: a model's folder may be a path, and so may a cache's."""
    rerank = ResiftRerank(tmp_path, options={"cache_dir": tmp_path})

    assert json.loads(rerank.to_json())["model"] == str(tmp_path)
    assert ResiftRerank.from_json(rerank.to_json()).to_dict() == rerank.to_dict()


def test_i12_a_prompt_is_written_in_its_parts() -> None:
    """I12: the prompt of a language model is an option that comes back like others."""
    prompt = resift.Prompt(pieces=("Query: {query}", "Document: {document}"), positive="yes", negative="no")
    rerank = ResiftRerank("some/model", options={"like": prompt})

    again = ResiftRerank.from_json(rerank.to_json())

    assert again.to_json() == rerank.to_json()
    assert resift.Prompt(**again.options["like"]) == prompt


def test_i12_what_cannot_be_written_down_says_so() -> None:
    """I12: a given ranker, headers and a client are refused by dumps and pickles, and not left out of them."""
    given, http_client = ResiftRerank(ranker=FakeRanker()), httpx2.Client()
    with pytest.raises(ValueError, match="a ranker that was given cannot be written down"):
        given.to_dict()
    for options in ({"headers": {"X-Key": KEY}}, {"http_client": http_client}):
        rerank = ResiftRerank(base_url="http://127.0.0.1:9", options=options)
        for write in (rerank.to_dict, rerank.to_json, lambda rerank=rerank: pickle.dumps(rerank)):
            with pytest.raises(ValueError, match=f"{next(iter(options))} cannot be written down") as caught:
                write()
            assert KEY not in str(caught.value)


def test_i23_remote_code_is_not_trusted_unasked() -> None:
    """I23: code from a model's repository runs only where somebody said so, and a dump says what was said."""
    trusting = ResiftRerank("some/model", options={"trust_remote_code": True})

    assert "trust_remote_code" not in ResiftRerank("some/model").to_dict()["options"]
    assert trusting.to_dict()["options"] == {"trust_remote_code": True}
    assert (resift.load.__kwdefaults__ or {})["trust_remote_code"] is False


# secrets


def test_i14_the_key_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """I14: neither texts nor dumps nor logs nor errors hold the key, however it was given."""
    caplog.set_level(logging.DEBUG)
    with ScriptedServer([reply(status=401, body=f'{{"detail": "no such key: {KEY}"}}'.encode())]) as server:
        for key in (KEY, SecretStr(KEY)):
            rerank = ResiftRerank(base_url=server.url, api_key=key)
            with pytest.raises(resift.EndpointRefused) as caught:
                ranked(rerank)
            shown = [repr(rerank), str(rerank), repr(vars(rerank)), rerank.to_json(), str(rerank.to_dict())]
            shown += [rerank.model_dump_json(), str(rerank.model_dump()), str(rerank.get_prompts())]
            shown += [*traceback.format_exception(caught.value), caplog.text]

            assert KEY not in "\n".join(shown)
        assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {KEY}"] * 2


def test_i14_mistakes_do_not_show_the_key() -> None:
    """I14: a call that is refused does not repeat what it was given, be it in the wrong place."""
    for wrong in (
        {"api_key": KEY},  # without an endpoint
        {"base_url": "http://127.0.0.1:9", "options": {"api_key": KEY}},
        {"base_url": "http://127.0.0.1:9", "api_key": f"{KEY}\n"},
        {"base_url": "http://127.0.0.1:9", "api_key": [KEY]},
        {"textless": KEY},
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it must not say is what matters
            ResiftRerank(**wrong)
        assert KEY not in str(caught.value)
    rerank = ResiftRerank(base_url="http://127.0.0.1:9")
    with pytest.raises(ValueError, match="make another ResiftRerank") as caught:
        rerank.api_key = KEY  # type: ignore[assignment]
    assert KEY not in str(caught.value)


def test_i14_the_environment_has_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """I14: without a key that of RESIFT_API_KEY is sent; without any, none, and who is refused learns where to look."""
    with ScriptedServer() as server:
        ranked(ResiftRerank(base_url=server.url))
        monkeypatch.setenv("RESIFT_API_KEY", KEY)
        ranked(ResiftRerank(base_url=server.url))

        assert [request.headers.get("authorization") for request in server.requests] == [None, f"Bearer {KEY}"]

    with (
        ScriptedServer([reply(status=401)]) as server,
        pytest.raises(resift.EndpointRefused, match=r"api_key=\.\.\. or RESIFT_API_KEY"),
    ):
        ranked(ResiftRerank(base_url=server.url))


# pickles and copies


def test_i13_a_pickle_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """I13: a pickle is the settings without the key, which comes from the environment where it is read."""
    with ScriptedServer() as server:
        rerank = ResiftRerank(base_url=server.url, api_key=KEY, top_n=2)
        expected, pickled = ranked(rerank), pickle.dumps(rerank)
        assert KEY.encode() not in pickled

        with pytest.raises(resift.InvalidInput, match="set RESIFT_API_KEY"):
            pickle.loads(pickled)  # noqa: S301 - our own
        monkeypatch.setenv("RESIFT_API_KEY", KEY)
        again = pickle.loads(pickled)  # noqa: S301 - our own

        assert again.to_dict() == rerank.to_dict()
        assert ranked(again) == expected
        assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {KEY}"] * 2


def test_i13_a_pickle_holds_no_model(tmp_path: Path) -> None:
    """I13: a component whose model is loaded is pickled as its settings, and loads it where it is read."""
    rerank = ResiftRerank(tiny.build("bert-cross", tmp_path), top_n=2)
    rerank.callback_manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
    expected, pickled = ranked(rerank), pickle.dumps(rerank)

    assert len(pickled) < 10_000
    assert ranked(pickle.loads(pickled)) == expected  # noqa: S301 - our own


def test_i13_a_pickle_holds_the_given_ranker() -> None:
    """I13: where a ranker was given, it comes along as it can."""
    again = pickle.loads(pickle.dumps(ResiftRerank(ranker=resift.load(normalize=True), top_n=1)))  # noqa: S301 - our own

    assert ranked(again) == ranked(ResiftRerank(normalize=True, top_n=1))


class Locked(LlamaDebugHandler):
    """A listener that can be neither pickled nor copied, as those that send elsewhere are."""

    def __init__(self) -> None:
        super().__init__(print_trace_on_end=False)
        self.lock = threading.Lock()


@pytest.mark.parametrize("where", ["its own", "everybody's"])
def test_i13_a_pickle_holds_no_listeners(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """I13: listeners, be they everybody's, stay in their process; what is read there has those of that process."""
    manager = CallbackManager([Locked()])
    if where == "everybody's":
        monkeypatch.setattr(Settings, "_callback_manager", manager)
    rerank = ResiftRerank(callback_manager=manager if where == "its own" else None)

    again = pickle.loads(pickle.dumps(rerank))  # noqa: S301 - our own

    assert again.callback_manager.handlers == (manager.handlers if where == "everybody's" else [])


def test_copies_have_the_same_listeners() -> None:
    """Who listens to a component hears its copies too, deep ones as well."""
    manager = CallbackManager([Locked()])
    rerank = ResiftRerank(callback_manager=manager)

    for one in (copy.copy(rerank), copy.deepcopy(rerank), rerank.model_copy(deep=True), copy.deepcopy([rerank])[0]):
        assert one is not rerank
        assert one.callback_manager is manager


def test_a_copy_in_the_same_process_is_whole() -> None:
    """Copies, deep ones too, have the key and the ranker that was given."""
    ranker = FakeRanker()
    with ScriptedServer() as server:
        rerank = ResiftRerank(base_url=server.url, api_key=KEY)
        for one in (copy.copy(rerank), copy.deepcopy(rerank), rerank.model_copy(), rerank.model_copy(deep=True)):
            ranked(one)
        assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {KEY}"] * 4
    for one in (copy.copy(ResiftRerank(ranker=ranker)), copy.deepcopy(ResiftRerank(ranker=ranker))):
        ranked(one)
    assert len(ranker.asked) == 2


def test_a_copy_may_treat_nodes_otherwise() -> None:
    """What may be assigned may differ in a copy; what decides the ranker needs another component."""
    rerank = ResiftRerank(ranker=FakeRanker())

    assert len(ranked(rerank.model_copy(update={"top_n": 1}))) == 1
    assert len(ranked(rerank)) == 3
    with pytest.raises(resift.InvalidInput, match="model, on_error decides the ranker; make another ResiftRerank"):
        rerank.model_copy(update={"on_error": "pass", "model": "lexical", "top_n": 1})


# settings


@pytest.mark.parametrize("name", ["model", "base_url", "api_key", "normalize", "on_error", "options"])
def test_what_decides_the_ranker_is_not_assigned(name: str) -> None:
    """An assignment that could have no effect is refused."""
    with pytest.raises(ValueError, match=f"{name} decides the ranker; make another ResiftRerank"):
        setattr(ResiftRerank(), name, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": {"devise": "cpu"}}, "there is no option 'devise'; did you mean 'device'"),
        ({"options": {"timeout_s": 5}}, "the option 'timeout_s' is for endpoints only"),
        (
            {"options": {"model": "m", "normalize": True}},
            "options holds model, normalize; give such settings beside it",
        ),
        ({"options": ["device"]}, "options must be a dict of names to values, not list"),
        ({"model": "lexical", "ranker": FakeRanker()}, "leave out model, or the ranker"),
        ({"normalize": True, "ranker": FakeRanker()}, "leave out normalize, or the ranker"),
        ({"ranker": "lexical"}, "ranker must be a Ranker"),
        ({"on_error": "ignore"}, "on_error='ignore' is not known"),
        ({"base_url": "nowhere"}, "base_url must begin with http"),
        ({"metadata_mode": "some"}, "metadata_mode\n.*'all', 'embed', 'llm' or 'none'"),
    ],
)
def test_settings_are_checked_at_once(settings: dict[str, Any], message: str) -> None:
    """What cannot mean anything is refused when the component is made, with a word on what to do."""
    with pytest.raises(ValueError, match=message):
        ResiftRerank(**settings)


def test_it_shows_what_it_was_asked_for() -> None:
    """Its text has the settings that say what it does, and not those that were left out."""
    rerank = ResiftRerank("some/model", "http://127.0.0.1:9", top_n=3, options={"timeout_s": 5})

    assert repr(rerank) == "ResiftRerank(model='some/model', base_url='http://127.0.0.1:9', top_n=3)"
    assert repr(ResiftRerank()) == "ResiftRerank()"


def test_equal_settings_share_a_model(tmp_path: Path) -> None:
    """The model is loaded once for all components that ask for the same, and freed with the last."""
    directory = tiny.build("bert-cross", tmp_path)
    first, second = ResiftRerank(directory), ResiftRerank(directory, top_n=1)
    first.warm_up()
    with resift.load(directory) as ranker:
        ranked(first)
        ranked(second)
        assert ranker.workload.batches == 2
        first.close()
        second.close()
    with resift.load(directory) as ranker:
        assert ranker.workload.batches == 0


async def test_it_can_be_opened_and_closed_at_will(tmp_path: Path) -> None:
    """The model is loaded by warming up, sync or async, and after closing again when needed; twice is once."""
    rerank = ResiftRerank(tiny.build("bert-cross", tmp_path))

    with loads() as loaded:
        await rerank.awarm_up()
        await rerank.awarm_up()
        assert len(loaded) == 1
        first = ranked(rerank)
        await rerank.aclose()
        await rerank.aclose()
        rerank.warm_up()
        assert len(loaded) == 2
        rerank.close()
        rerank.close()
        assert ranked(rerank) == first
        assert len(loaded) == 3
    rerank.close()


# instructions


def test_i21_an_instruction_is_a_prompt() -> None:
    """I21: the instruction is found and changed where LlamaIndex keeps prompts, and reaches the ranker."""
    ranker = FakeRanker()
    rerank = ResiftRerank(ranker=ranker)
    assert rerank.get_prompts()["instruction"].format() == ""

    rerank.update_prompts({"other": PromptTemplate("ignored")})
    ranked(rerank)
    rerank.update_prompts({"instruction": PromptTemplate('Find {what} in {"json": 1}.').partial_format(what="animals")})
    ranked(rerank)
    rerank.instruction = "Find plants."
    ranked(rerank)

    assert rerank.get_prompts()["instruction"].format() == "Find plants."
    rerank.update_prompts(ResiftRerank().get_prompts())
    ranked(rerank)
    told = [call["instruction"] for call in ranker.asked]
    assert told == [None, 'Find animals in {"json": 1}.', "Find plants.", None]


def test_i21_an_instruction_changes_what_is_sent(tmp_path: Path) -> None:
    """I21: a model that knows instructions scores otherwise; one that does not says so."""
    rerank = ResiftRerank(tiny.build("qwen3", tmp_path), options={"like": "Qwen/Qwen3-Reranker-0.6B"})
    without = ranked(rerank)
    rerank.instruction = "Find texts about cities of France, and nothing else."

    assert dict(ranked(rerank)) != pytest.approx(dict(without))
    with pytest.raises(resift.InvalidInput, match="instruction"):
        ranked(ResiftRerank("lexical", instruction="Find animals."))


# the package


def run(*words: str, path: Path | None = None) -> str:
    """Run a Python of its own, with another folder to import from if need be, and return what it prints."""
    result = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        stdin=subprocess.DEVNULL,
        env=None if path is None else {**os.environ, "PYTHONPATH": str(path)},
        cwd=HERE,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_i19_it_costs_nothing_until_it_is_asked() -> None:
    """I19: importing and making one loads no library for models or HTTP, reads no environment, touches no network."""
    program = """
import os, sys
import llama_index.core.postprocessor, llama_index.core.prompts

before = set(sys.modules)
read = []

class Environment(type(os.environ)):
    def __getitem__(self, name):
        read.append(name)
        return super().__getitem__(name)

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"the network was touched: {event} {arguments}")

os.environ.__class__ = Environment
sys.addaudithook(refuse)
from llama_index.postprocessor.resift import ResiftRerank
assert {name for name in read if not name.startswith("PYDANTIC_")} == set(), read
ResiftRerank("nobody/nothing", top_n=3)
ResiftRerank("nobody/nothing", "http://nobody.invalid/v1", api_key="key")
heavy = {"torch", "transformers", "sentence_transformers", "huggingface_hub", "httpx2", "fastapi"}
print(sorted((set(sys.modules) - before) & heavy))
"""

    assert run("-c", program) == "[]"


def test_i22_the_package_shares_its_namespace() -> None:
    """I22: above the package there is no `__init__.py` that would hide LlamaIndex's core or its other packages."""
    source = HERE / "src"

    assert [path.relative_to(source).as_posix() for path in sorted(source.rglob("__init__.py"))] == [
        "llama_index/postprocessor/resift/__init__.py"
    ]
    assert (source / "llama_index/postprocessor/resift/py.typed").is_file()


def test_i22_the_wheel_shares_its_namespace(tmp_path: Path) -> None:
    """I22: what the wheel installs holds nothing but the package, which is found beside LlamaIndex's core."""
    pytest.importorskip("hatchling", reason="building the wheel needs hatchling")
    run("-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "wheels"))
    (wheel,) = (tmp_path / "wheels").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    folder = "llama_index/postprocessor/resift"
    program = f"import llama_index.core, {package.__name__} as it; print(it.__file__)"

    assert files == {f"{folder}/{path.name}" for path in (HERE / "src" / folder).iterdir() if path.is_file()}
    assert len(licences) == 1
    assert run("-c", program, path=tmp_path / "installed") == str(tmp_path / "installed" / folder / "__init__.py")


def test_i22_llamahub_finds_the_class() -> None:
    """I22: the tables for LlamaHub name what the package has, and it depends on the core and on resift alone."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
    hub = project["tool"]["llamahub"]

    assert hub["import_path"] == package.__name__
    assert list(hub["class_authors"]) == package.__all__
    assert [name.partition(">=")[0] for name in project["project"]["dependencies"]] == ["llama-index-core", "resift"]
