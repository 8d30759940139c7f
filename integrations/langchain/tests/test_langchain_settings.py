"""The settings of `langchain_resift`: checked when they are given, kept as keys want it, and light."""

import copy
import importlib.metadata
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd, dumps
from packaging.requirements import Requirement
from packaging.version import Version
from pydantic import SecretStr, ValidationError

import langchain_resift
import resift
from langchain_resift import ResiftRerank
from programs import printed
from resift.testing import FakeRanker
from resift.testing.watching import loads
from scripted_server import ScriptedServer

KEY = "sk-hush-0123456789"
QUERY = "what is a panda?"
DOCUMENTS = [Document("a bear"), Document("the longest of them")]
VARIABLE = "RESIFT_API_KEY"


def keyed(**settings: Any) -> ResiftRerank:
    """Return a reranker that holds a key."""
    return ResiftRerank(model="m", base_url="http://127.0.0.1:9/v1", api_key=SecretStr(KEY), top_n=2, **settings)


def shown(component: ResiftRerank) -> str:
    """Return all that anybody might write down of a component."""
    return "\n".join(
        [
            repr(component),
            str(component),
            f"{component}",
            str(component.model_dump()),
            str(component.model_dump(mode="json")),
            component.model_dump_json(),
            json.dumps(dumpd(component)),
            dumps(component),
            repr(copy.deepcopy(component)),
            str(dict(component)["api_key"]),
        ]
    )


def message(*, of: Callable[[], Any]) -> str:
    """Return all that the error of a call says, to people and to programs."""
    with pytest.raises(ValidationError) as raised:
        of()
    error = raised.value
    return f"{error}\n{error!r}\n{error.errors()}\n{error.json()}"


# keys


def test_l16_a_key_is_nowhere_to_be_seen() -> None:
    """Neither texts nor dumps of a component hold its key."""
    component = keyed()

    assert component.api_key is not None
    assert component.api_key.get_secret_value() == KEY
    assert KEY not in shown(component)
    assert KEY.encode() not in pickle.dumps(component)
    assert "api_key" not in component.model_dump()


def test_l16_a_key_may_be_a_plain_text() -> None:
    """A key that is given as a text is hidden as well."""
    component = ResiftRerank(base_url="http://127.0.0.1:9", api_key=KEY)  # type: ignore[arg-type]  # as people do

    assert isinstance(component.api_key, SecretStr)
    assert KEY not in shown(component)


def test_l16_headers_are_keys_too() -> None:
    """Of headers only the names are ever shown, and a client of the caller's own is only named."""
    with httpx2.Client(headers={"Authorization": KEY}) as client:
        component = keyed(options={"headers": {"X-Tenant": "hush"}, "http_client": client})

        assert "hush" not in shown(component)
        assert KEY not in shown(component)
        assert component.model_dump()["options"] == {"headers": {"X-Tenant": None}, "http_client": "Client"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResiftRerank(base_url="http://127.0.0.1:9", api_keys=KEY),  # type: ignore[call-arg]
        lambda: ResiftRerank(base_url="http://127.0.0.1:9", api_key=KEY, topn=1),  # type: ignore[call-arg, arg-type]
        lambda: ResiftRerank(base_url="http://127.0.0.1:9", api_key=KEY, options={"timeout": 1}),  # type: ignore[arg-type]
        lambda: ResiftRerank(api_key=KEY),  # type: ignore[arg-type]
        lambda: ResiftRerank(base_url="http://127.0.0.1:9", api_key=[KEY]),  # type: ignore[arg-type]
        lambda: ResiftRerank(base_url="http://127.0.0.1:9", api_key=SecretStr(KEY), top_n=0),
        lambda: ResiftRerank(base_url="http://127.0.0.1:9", options=[("headers", {"Authorization": KEY})]),  # type: ignore[arg-type]
        lambda: ResiftRerank(model=FakeRanker(KEY)),  # type: ignore[arg-type]
        lambda: ResiftRerank(base_url="http://127.0.0.1:9", api_key=f"{KEY}\n"),  # type: ignore[arg-type]
        lambda: ResiftRerank(base_url=f"http://user:{KEY}@127.0.0.1:9"),
        lambda: setattr(keyed(), "api_key", SecretStr(f"{KEY}-2")),
        lambda: setattr(keyed(), "api_key", f"{KEY}-2"),
        lambda: setattr(keyed(), "apikey", f"{KEY}-2"),
        lambda: setattr(keyed(), "options", {"headers": {"Authorization": KEY}}),
        lambda: setattr(keyed(), "instruction", [KEY]),
        lambda: setattr(keyed(), "compress_documents", KEY),
    ],
)
def test_l16_errors_hold_no_key(make: Callable[[], Any]) -> None:
    """What is refused at construction or assignment is refused without showing what it was."""
    assert KEY not in message(of=make)


def test_l16_the_environment_has_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no key is given, that of RESIFT_API_KEY is sent, and none where there is none: local servers need none."""
    with ScriptedServer() as server:
        monkeypatch.delenv(VARIABLE, raising=False)
        ResiftRerank(base_url=server.url).compress_documents(DOCUMENTS, QUERY)
        monkeypatch.setenv(VARIABLE, "sk-environment")
        ResiftRerank(base_url=server.url).compress_documents(DOCUMENTS, QUERY)
        ResiftRerank(base_url=server.url, api_key=SecretStr(KEY)).compress_documents(DOCUMENTS, QUERY)
        ResiftRerank(base_url=server.url, api_key=SecretStr("")).compress_documents(DOCUMENTS, QUERY)

    sent = [request.headers.get("authorization") for request in server.requests]
    assert sent == [None, "Bearer sk-environment", f"Bearer {KEY}", None]


# round trips


def test_l17_settings_survive_a_dump() -> None:
    """What was dumped, to Python or to JSON, makes an equal component; the key comes from the environment then."""
    component = ResiftRerank(
        model=Path("models/reranker"),
        normalize=False,
        instruction="find bears",
        options={"device": "cpu", "max_length": 256},
        top_n=3,
        score_threshold=0.0,
        fields=["title"],
        score_key="score",
        keep_retrieval_score="first",
        on_error="pass",
    )

    assert ResiftRerank.model_validate(component.model_dump()) == component
    restored = ResiftRerank.model_validate_json(component.model_dump_json())
    assert restored.model_dump(mode="json") == component.model_dump(mode="json")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"ranker": FakeRanker()}, "ranker"),
        ({"base_url": "http://127.0.0.1:9", "options": {"headers": {"X-Tenant": "hush"}}}, "X-Tenant"),
        ({"base_url": "http://127.0.0.1:9", "options": {"http_client": httpx2.Client()}}, "http_client"),
    ],
)
def test_l17_what_a_dump_cannot_hold_is_missed(settings: dict[str, Any], named: str) -> None:
    """A component restored without what a dump cannot hold never ranks by something else in silence."""
    component = ResiftRerank(**settings)

    for dumped in (component.model_dump(), json.loads(component.model_dump_json())):
        with pytest.raises(ValidationError, match=named):
            ResiftRerank.model_validate(dumped)


def test_l17_a_pickle_holds_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickled component is its settings: it ranks as before, with the key of the environment it wakes up in."""
    with ScriptedServer() as server:
        component = ResiftRerank(base_url=server.url, api_key=SecretStr(KEY), top_n=1)
        before = component.compress_documents(DOCUMENTS, QUERY)
        pickled = pickle.dumps(component)
        monkeypatch.setenv(VARIABLE, "sk-there")
        restored: ResiftRerank = pickle.loads(pickled)  # noqa: S301 - pickled here

        assert restored.compress_documents(DOCUMENTS, QUERY) == before
        assert restored.top_n == 1
        assert restored.api_key is None
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {KEY}", "Bearer sk-there"]


def test_l17_a_copy_is_as_good() -> None:
    """A copy keeps key, ranker and settings, and what is assigned to it changes nothing else."""
    with ScriptedServer() as server, httpx2.Client() as client:
        component = ResiftRerank(base_url=server.url, api_key=SecretStr(KEY), options={"http_client": client})
        copies = [copy.copy(component), copy.deepcopy(component), component.model_copy(deep=True)]
        for one in copies:
            assert one == component
            one.top_n = 1
            one.compress_documents(DOCUMENTS, QUERY)
        assert component.top_n is None
        assert len(server.requests) == 3
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}

    fake = FakeRanker()
    copy.deepcopy(ResiftRerank(ranker=fake)).compress_documents(DOCUMENTS, QUERY)
    assert len(fake.asked) == 1


def test_l17_an_updated_copy_asks_the_updated_ranker() -> None:
    """`model_copy(update=...)` is checked as a new component is, and never ranks by what was replaced."""
    component = keyed()
    other = component.model_copy(update={"base_url": "http://127.0.0.1:10", "top_n": 1})

    assert (other.model, other.base_url, other.top_n) == ("m", "http://127.0.0.1:10", 1)
    assert other.api_key == component.api_key
    with pytest.raises(ValidationError, match="did you mean 'top_n'"):
        component.model_copy(update={"topn": 1})
    with pytest.raises(resift.EndpointUnavailable, match=r"127\.0\.0\.1:10"):
        other.model_copy(update={"options": {"max_retries": 0}}).compress_documents(DOCUMENTS, QUERY)


# settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"topn": 3}, "there is no setting 'topn'; did you mean 'top_n'?"),
        ({"model_id": "x"}, "there is no setting 'model_id'; did you mean 'model'?"),
        ({"cohere_api_key": KEY}, "there is no setting 'cohere_api_key'; did you mean 'api_key'?"),
        ({"device": "cpu"}, "there is no setting 'device'; say options={'device': ...}"),
        ({"timeout_s": 3}, "there is no setting 'timeout_s'; say options={'timeout_s': ...}"),
        ({"options": {"max_lenght": 1}}, "there is no option 'max_lenght'; did you mean 'max_length'?"),
        ({"options": {"top_n": 1}}, "options holds 'top_n', which has a place of its own; say top_n=..."),
        ({"options": {"timeout_s": 1}}, "the option 'timeout_s' is for endpoints only"),
        ({"api_key": "x"}, "the option 'api_key' is for endpoints only"),
        ({"ranker": FakeRanker(), "model": "x"}, "a ranker has settings of its own; leave out model"),
        ({"ranker": FakeRanker(), "normalize": False}, "a ranker has settings of its own; leave out normalize"),
        ({"ranker": "lexical"}, "ranker must be a Ranker"),
        (
            {"model": FakeRanker()},
            "model must be a model's name or directory, not FakeRanker; a Ranker goes to ranker=",
        ),
        ({"base_url": "127.0.0.1:9"}, "must begin with http"),
        ({"on_error": "ignore"}, "Input should be 'raise' or 'pass'"),
    ],
)
def test_l21_a_wrong_setting_is_refused_in_plain_words(settings: dict[str, Any], said: str) -> None:
    """What cannot mean anything is a ValueError at construction that says what to do, and nothing else."""
    with pytest.raises(ValueError, match="1 validation error for ResiftRerank") as raised:
        ResiftRerank(**settings)

    assert said in str(raised.value)
    assert "input_value" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"), [("model", "x"), ("base_url", None), ("options", {}), ("ranker", None), ("on_error", "pass")]
)
def test_what_decides_the_ranker_stays(name: str, value: Any) -> None:
    """Settings that decide the ranker cannot be assigned; a component never ranks by other ones than it shows."""
    component = ResiftRerank()
    with pytest.raises(ValidationError, match=f"{name} decides which ranker is asked and stays"):
        setattr(component, name, value)
    assert component == ResiftRerank()


def test_l21_an_unknown_setting_is_not_assigned() -> None:
    """A misspelt assignment is refused with a hint."""
    with pytest.raises(ValidationError, match="there is no setting 'score_treshold'; did you mean 'score_threshold'"):
        ResiftRerank().score_treshold = 0.5  # type: ignore[attr-defined]


def test_what_is_assigned_counts() -> None:
    """What does not decide the ranker may be assigned, and counts from the next call on."""
    component = ResiftRerank(ranker=FakeRanker(scorer=lambda query, text, instruction: len(text)))
    component.top_n, component.score_key = 1, "score"

    (found,) = component.compress_documents(DOCUMENTS, QUERY)

    assert found.metadata == {"score": 19.0}


def test_a_subclass_may_have_what_pydantic_lets_it_have() -> None:
    """Fields and properties of one's own class of reranker work, and its misspelt settings are refused as well."""

    class Own(ResiftRerank):
        tenant: str = "zoo"

        @property
        def best(self) -> int | None:
            return self.top_n

        @best.setter
        def best(self, best: int) -> None:
            self.top_n = best

    own = Own(tenant="park")
    own.best = 2

    assert own.top_n == 2
    assert own.model_copy(update={"top_n": 3}) == Own(tenant="park", top_n=3)
    assert copy.deepcopy(own) == own
    with pytest.raises(ValidationError, match="did you mean 'tenant'"):
        Own(tenent="park")  # type: ignore[call-arg]


def test_options_given_later_do_not_count() -> None:
    """A mapping of options that its owner changes later changes nothing here."""
    options = {"max_length": 128}
    component = ResiftRerank(model="m", options=options)
    options["max_length"] = 256

    assert component.options == {"max_length": 128}


def test_its_repr_says_what_was_set() -> None:
    """A component shows the settings that are not as they would be anyway."""
    assert repr(ResiftRerank(top_n=3, ranker=FakeRanker())) == "ResiftRerank(ranker='FakeRanker', top_n=3)"


def test_its_settings_have_a_schema() -> None:
    """The settings that can be written are described by a JSON schema."""
    properties = ResiftRerank.model_json_schema()["properties"]

    assert {*properties} == {*ResiftRerank.model_fields} - {"ranker"}


async def test_a_model_may_be_loaded_early_and_given_back(tmp_path: Path) -> None:
    """`warm_up` loads the model before documents wait for it; after `close` the next call loads it again."""
    component = ResiftRerank(options={"cache_dir": str(tmp_path)})  # settings that nobody else has
    with loads() as loaded:
        component.warm_up()
        await component.awarm_up()
        component.compress_documents(DOCUMENTS, QUERY)
        assert loaded == ["lexical"]
        component.close()
        component.close()
        await component.awarm_up()
        await component.acompress_documents(DOCUMENTS, QUERY)
        assert loaded == ["lexical", "lexical"]
        await component.aclose()


# the package


def test_the_package_shows_its_classes() -> None:
    """The package shows three classes, under their names and no others."""
    assert langchain_resift.__all__ == ["ResiftCrossEncoder", "ResiftRerank", "ResiftRetriever"]
    assert [langchain_resift.ResiftRerank.__name__, langchain_resift.ResiftRetriever.__name__] == [
        *langchain_resift.__all__[1:]
    ]
    with pytest.raises(AttributeError, match="ResiftReranker"):
        langchain_resift.ResiftReranker  # type: ignore[attr-defined]  # noqa: B018 - looking is enough


OLD_CORE = """
import sys
sys.modules["langchain_core.cross_encoders"] = None  # as before langchain-core 1.2.19
sys.modules["langchain_classic"] = None  # where it was then
from langchain_resift import ResiftRerank, ResiftRetriever
try:
    from langchain_resift import ResiftCrossEncoder
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_l24_only_the_cross_encoder_needs_a_newer_core() -> None:
    """Where LangChain has no cross-encoders, that class says what it needs, and the others work."""
    said = printed(OLD_CORE)

    assert said.startswith("MissingDependency ResiftCrossEncoder needs langchain-core 1.2.19 or newer")


def test_the_package_is_typed() -> None:
    """Type checkers of other projects read the package's annotations."""
    assert (Path(langchain_resift.__file__).parent / "py.typed").is_file()


PROGRAM = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"the network was touched: {event} {arguments}")

sys.addaudithook(refuse)
from langchain_resift import ResiftRerank
ResiftRerank(model="nobody/nothing", options={"device": "cuda"})
ResiftRerank(base_url="http://nowhere.invalid", model="m")
heavy = (
    *("torch", "transformers", "sentence_transformers", "huggingface_hub"),
    *("langchain", "langchain_classic", "langchain_community"),
)
print([name for name in heavy if name in sys.modules])
"""


def test_l18_making_one_is_light() -> None:
    """Importing the package and making rerankers loads no model, no library for models, and touches no network."""
    assert printed(PROGRAM) == "[]"


def test_l24_it_needs_the_core_and_no_more() -> None:
    """The package depends on langchain-core, any 1.x of it, and on resift; on nothing else of LangChain's."""
    required = [Requirement(line) for line in importlib.metadata.requires("langchain-resift") or ()]
    always = {one.name: one.specifier for one in required if one.marker is None}

    assert {*always} == {"langchain-core", "resift"}
    assert [version in always["langchain-core"] for version in map(Version, ("0.3.99", "1.0.0", "1.99", "2.0"))] == [
        *(False, True, True, False)
    ]
