"""A ranker in a file: everything that was set survives, no secret is written, and Haystack loads it without leave."""

import copy
import inspect
import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.core.errors import DeserializationError, SerializationError
from haystack.utils import ComponentDevice, Secret

import resift
from haystack_integrations.components.rankers.resift import ResiftRanker
from resift.testing import FakeRanker

KEY = "k-0123456789-xyzzy"
KIND = "haystack_integrations.components.rankers.resift.ranker.ResiftRanker"

PARAMETERS = dict(list(inspect.signature(ResiftRanker.__init__).parameters.items())[1:])

PROMPT = resift.Prompt(
    pieces=("Query: {query}\n", "Document: {document}\n", "Relevant? "), positive="yes", negative="no"
)

LOCAL: dict[str, Any] = {
    "model": Path("nobody/nothing"),
    "top_k": 7,
    "score_threshold": 0.25,
    "scale_score": False,
    "meta_fields_to_embed": ["title", "section"],
    "meta_data_separator": " | ",
    "query_prefix": "a",
    "query_suffix": "b",
    "document_prefix": "c",
    "document_suffix": "d",
    "instruction": "find answers",
    "device": ComponentDevice.from_str("cuda:1"),
    "keep_retrieval_score": "bm25",
    "deduplicate": False,
    "on_error": "pass",
    "options": {"like": PROMPT, "dtype": "bfloat16", "max_length": 128, "cache_dir": Path("models")},
}
REMOTE: dict[str, Any] = {
    "model": "m",
    "api_base_url": "https://127.0.0.1:9/base/v1",
    "api_key": Secret.from_env_var(["A_KEY", "ANOTHER_KEY"], strict=True),
    "scale_score": True,
    "options": {
        "timeout_s": 7.5,
        "dialect": "cohere",
        "headers": {"x-tenant": Secret.from_env_var("TENANT", strict=False)},
    },
}


def pipeline_of(ranker: ResiftRanker) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    return pipeline


def written(ranker: ResiftRanker) -> dict[str, Any]:
    data = ranker.to_dict()
    parameters: dict[str, Any] = data["init_parameters"]
    return parameters


def test_h5_the_class_is_defined_where_haystack_trusts_it() -> None:
    """The type that stands in YAML is below `haystack_integrations`, so nobody has to allow its module."""
    assert ResiftRanker().to_dict()["type"] == KIND
    assert ResiftRanker.__module__.startswith("haystack_integrations.")


def test_h5_these_tests_set_every_parameter() -> None:
    """Each parameter but the ranker has a value here that is not its default."""
    for name, parameter in PARAMETERS.items():
        values = [settings[name] for settings in (LOCAL, REMOTE) if name in settings]
        assert values or name == "ranker", name
        assert all(value != parameter.default for value in values), name


@pytest.mark.parametrize("settings", [LOCAL, REMOTE, {}], ids=["local", "remote", "default"])
def test_h5_every_parameter_survives_yaml(settings: dict[str, Any]) -> None:
    """What was set is there after `dumps` and `loads`, with no module allowed, as values of the same kinds."""
    ranker = ResiftRanker(**settings)
    text = pipeline_of(ranker).dumps()

    pipeline = Pipeline.loads(text)

    again = pipeline.get_component("ranker")
    assert isinstance(again, ResiftRanker)
    assert again.to_dict() == ranker.to_dict()
    assert set(written(ranker)) == set(PARAMETERS)
    assert pipeline.dumps() == text
    assert "!!python" not in text
    for name, value in settings.items():
        if name not in ("model", "options"):
            assert getattr(again, name) == value, name
    assert again.model == ranker.model
    plain = {"like": {**asdict(PROMPT), "pieces": list(PROMPT.pieces)}, "cache_dir": "models"}
    assert again.options == {name: plain.get(name, value) for name, value in settings.get("options", {}).items()}


def test_h5_a_file_and_json_hold_it_too(tmp_path: Path) -> None:
    """`dump` and `load` do as `dumps` and `loads`, and the dictionary is plain JSON."""
    pipeline = pipeline_of(ResiftRanker(top_k=1))
    with (tmp_path / "pipeline.yaml").open("w") as file:
        pipeline.dump(file)
    with (tmp_path / "pipeline.yaml").open() as file:
        again = Pipeline.load(file)
    documents = [Document(content="a bear"), Document(content="a panda")]

    found = again.run({"ranker": {"query": "panda", "documents": documents}})

    assert [document.content for document in found["ranker"]["documents"]] == ["a panda"]
    assert ResiftRanker.from_dict(json.loads(json.dumps(pipeline.to_dict()))["components"]["ranker"]).top_k == 1


def test_h5_what_is_left_out_of_a_file_is_as_by_default() -> None:
    """A file that somebody writes by hand needs the type, and what is not by default."""
    ranker = Pipeline.loads(f"components:\n  ranker:\n    type: {KIND}\nconnections: []\n").get_component("ranker")

    assert isinstance(ranker, ResiftRanker)
    assert ranker.to_dict() == ResiftRanker().to_dict()


def test_h5_a_model_that_nobody_named_stays_unnamed() -> None:
    """What stands for a model in `model` is no name that an endpoint should be asked for later."""
    ranker = ResiftRanker(api_base_url="http://127.0.0.1:9")

    assert ranker.model == "127.0.0.1:9"
    assert written(ranker)["model"] is None


def test_h5_numbers_of_numpy_are_written_as_numbers() -> None:
    """Limits that somebody computed are plain numbers in the file, whatever computed them."""
    ranker = ResiftRanker(top_k=np.int64(3), score_threshold=np.float32(0.5))  # type: ignore[arg-type]

    again = Pipeline.loads(pipeline_of(ranker).dumps()).get_component("ranker")

    assert isinstance(again, ResiftRanker)
    assert (again.top_k, again.score_threshold) == (3, 0.5)


# secrets


def test_h6_only_the_names_of_variables_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML holds where a key is found, never the key, even where the ranker has read it already."""
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("TENANT", f"{KEY}-tenant")
    ranker = ResiftRanker(**REMOTE)
    ranker.warm_up()

    text = pipeline_of(ranker).dumps()

    assert KEY not in text
    assert written(ranker)["api_key"] == {"type": "env_var", "env_vars": ["A_KEY", "ANOTHER_KEY"], "strict": True}
    assert written(ranker)["options"]["headers"]["x-tenant"]["env_vars"] == ["TENANT"]
    ranker.close()


def test_h6_a_token_is_refused_when_it_is_to_be_written() -> None:
    """A ranker with a token can be made and used, and `dumps` raises instead of writing it."""
    pipeline = pipeline_of(ResiftRanker("m", api_base_url="http://127.0.0.1:9", api_key=Secret.from_token(KEY)))

    with pytest.raises(ValueError, match="Cannot serialize token-based secret") as raised:
        pipeline.dumps()

    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"headers": {"authorization": f"Bearer {KEY}"}}, "headers"),
        ({"headers": {"x-tenant": Secret.from_token(KEY)}}, "headers"),
        ({"http_client": httpx.Client(headers={"authorization": KEY})}, "http_client"),
    ],
)
def test_h6_what_may_hold_a_key_is_neither_written_nor_pickled(options: dict[str, Any], message: str) -> None:
    """Headers in plain text and clients stay in the process, and the error says what to do."""
    ranker = ResiftRanker("m", api_base_url="http://127.0.0.1:9", options=options)

    for away in (ranker.to_dict, lambda: pickle.dumps(ranker)):
        with pytest.raises(SerializationError, match=message) as raised:
            away()
        assert KEY not in str(raised.value)


def test_h6_no_key_is_none_in_the_file_too() -> None:
    """A ranker without a key, for an endpoint that has none, is written as such."""
    ranker = ResiftRanker("m", api_base_url="http://127.0.0.1:9", api_key=None)

    assert written(ranker)["api_key"] is None
    again = ResiftRanker.from_dict(ranker.to_dict())
    assert again.api_key is None


def test_a_given_ranker_cannot_be_written() -> None:
    """A ranker object has no words in YAML, and the error names the settings that have."""
    with pytest.raises(SerializationError, match=r"ranker=\.\.\. cannot be serialized; .* model, api_base_url"):
        pipeline_of(ResiftRanker(ranker=FakeRanker())).dumps()


# reading


@pytest.mark.parametrize("settings", [LOCAL, REMOTE], ids=["local", "remote"])
def test_h7_reading_leaves_the_data_as_it_is(settings: dict[str, Any]) -> None:
    """The same dictionary can be read twice."""
    data = ResiftRanker(**settings).to_dict()
    before = copy.deepcopy(data)

    first, second = ResiftRanker.from_dict(data), ResiftRanker.from_dict(data)

    assert data == before
    assert first.to_dict() == second.to_dict() == before
    assert first.options is not second.options


@pytest.mark.parametrize(
    ("parameter", "advice"),
    [("topk", "did you mean 'top_k'?"), ("batch_size", "there are model, api_base_url, api_key, top_k")],
)
def test_h7_a_parameter_that_does_not_exist_is_named(parameter: str, advice: str) -> None:
    """A file with a misspelt parameter, or one of another ranker, is refused with what may have been meant."""
    data = {"type": KIND, "init_parameters": {parameter: 3}}

    with pytest.raises(DeserializationError) as raised:
        ResiftRanker.from_dict(data)

    assert str(raised.value).startswith(f"ResiftRanker has no parameter '{parameter}'; {advice}")
    with pytest.raises(DeserializationError, match=parameter):
        Pipeline.from_dict({"components": {"ranker": data}, "connections": []})


@pytest.mark.parametrize("data", [{"type": "somebody.Else", "init_parameters": {}}, {"init_parameters": {}}])
def test_h7_data_of_another_component_is_refused(data: dict[str, Any]) -> None:
    """What is no ResiftRanker's data is an error of Haystack's."""
    with pytest.raises(DeserializationError):
        ResiftRanker.from_dict(data)


def test_a_prompt_may_be_written_by_hand() -> None:
    """In a file, as in code, `like` may be the parts of a prompt."""
    by_hand = {"pieces": ["Q: {query}\n", "D: {document}\n", "?"], "positive": "yes"}

    ranker = ResiftRanker("nobody/nothing", options={"like": by_hand})

    assert ResiftRanker.from_dict(ranker.to_dict()).options == ranker.options == {"like": by_hand}
    with pytest.raises(resift.InvalidInput, match=r"like=\{\.\.\.\} must hold the fields of a Prompt"):
        ResiftRanker("nobody/nothing", options={"like": {"type": "prompt"}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"headers": {"x-tenant": {"name": KEY}}}, "must be a str, not dict"),
        ({"headers": [KEY]}, "headers must be a mapping"),
        ({"headers": {"x-tenant": {"type": "token", "token": KEY}}}, "Cannot deserialize token-based secret"),
    ],
)
def test_h6_headers_that_are_no_secrets_are_refused_without_being_shown(options: dict[str, Any], message: str) -> None:
    """What somebody wrote by hand in place of a secret is named, and its value is not."""
    parameters = {"api_base_url": "http://127.0.0.1:9", "options": options}

    with pytest.raises(ValueError, match=message) as raised:
        ResiftRanker.from_dict({"type": KIND, "init_parameters": parameters})

    assert KEY not in str(raised.value)


class HouseRanker(ResiftRanker):
    """A ranker as somebody may derive it, with one setting left open and one more."""

    def __init__(self, top_k: int = 3, *, title: str = "title") -> None:
        self.title = title
        super().__init__("lexical", top_k=top_k, meta_fields_to_embed=[title])


def test_a_class_of_somebodys_own_has_its_own_parameters() -> None:
    """What a subclass takes is what is written, read and copied; all else it sets itself."""
    ranker = HouseRanker(1, title="name")
    data = ranker.to_dict()

    assert data["init_parameters"] == {"top_k": 1, "title": "name"}
    for again in (HouseRanker.from_dict(data), copy.deepcopy(ranker), pickle.loads(pickle.dumps(ranker))):  # noqa: S301
        assert isinstance(again, HouseRanker)
        assert again.meta_fields_to_embed == ["name"]
    with pytest.raises(DeserializationError, match="HouseRanker has no parameter 'topk'; did you mean 'top_k'"):
        HouseRanker.from_dict({**data, "init_parameters": {"topk": 1}})
