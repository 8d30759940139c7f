"""The ranker's own words are true: examples in docstrings and YAML, the README's tables, and the example script."""

import inspect
import re
import runpy
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from haystack import Pipeline
from haystack.marshal.yaml import YamlMarshaller

import resift
from haystack_integrations.components.rankers import resift as package
from haystack_integrations.components.rankers.resift import ResiftRanker
from resift.server.served import open_served
from serving import serving
from test_documentation import blocks, cache_stand_ins, run_page

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
EXAMPLE = PROJECT.parents[1] / "examples" / "haystack_pipeline.py"
PARAMETERS = dict(list(inspect.signature(ResiftRanker.__init__).parameters.items())[1:])

Main = Callable[[list[str]], None]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the hub unreachable and its cache empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_the_examples_of_the_docstring_run(hub: Path) -> None:
    """What stands in the ranker's docstring runs as it stands there."""
    text = inspect.getdoc(ResiftRanker) or ""
    cache_stand_ins(hub, text)

    assert len(list(blocks(text))) == 2
    run_page(text, "ResiftRanker")


def test_every_parameter_is_explained_in_haystacks_form() -> None:
    """Each parameter of a public method has its `:param`, in order, and each method its first line."""
    for method in (ResiftRanker.__init__, ResiftRanker.run, ResiftRanker.run_async, ResiftRanker.from_dict):
        explained = re.findall(r":param (\w+):", inspect.getdoc(method) or "")
        names = [name for name in inspect.signature(method).parameters if name != "self"]
        assert explained == names, method
    for name, member in inspect.getmembers(ResiftRanker, inspect.isfunction):
        assert name.startswith("_") or inspect.getdoc(member), name


def test_the_yaml_of_the_readme_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the README shows is a pipeline, whose ranker has these settings."""
    (shown,) = [block.code for block in blocks(README) if block.language == "yaml"]

    ranker = Pipeline.loads(shown).get_component("ranker")

    assert isinstance(ranker, ResiftRanker)
    written = ranker.to_dict()["init_parameters"]
    given = YamlMarshaller().unmarshal(shown)["components"]["ranker"]["init_parameters"]
    assert {name: written[name] for name in given} == given
    for variable in ("RESIFT_API_KEY", "TENANT"):
        monkeypatch.setenv(variable, "x")
    ranker.warm_up()
    ranker.close()


def _rows() -> Iterator[tuple[str, str]]:
    """Yield the rows of the tables about other rankers: what is said there, and here."""
    tables = README.partition("## Coming from another ranker")[2]
    for left, right in re.findall(r"^\| (.+?) \| (.+) \|$", tables, re.MULTILINE):
        if right not in ("here", "---"):
            yield left, right


def test_each_argument_of_another_ranker_has_a_real_one_here() -> None:
    """The parameters and options that the tables name exist, and may have the values that they are shown with."""
    said = [remedy for _, right in _rows() for remedy in re.findall(r"`([^`]+)`", right)]
    options = {name for remedy in said for name in re.findall(r'[{ ]"(\w+)":', remedy)}
    known = {*inspect.signature(resift.load).parameters, *inspect.signature(resift.connect).parameters}

    assert {re.split(r"\W", remedy)[0] for remedy in said} <= PARAMETERS.keys()
    assert options <= known
    assert {"dtype", "max_length", "dialect", "timeout_s", "http_client"} <= options
    for remedy in said:
        if "=" in remedy and "..." not in remedy:
            _make(remedy)


def _make(remedy: str) -> ResiftRanker:
    """Make a ranker with a setting that the README shows, and an address where it needs one."""
    from haystack.utils import Secret

    settings: dict[str, Any] = eval(f"dict({remedy})", {"Secret": Secret})  # noqa: S307 - it is our own README
    remote = {"api_key", "timeout_s", "max_retries", "dialect"} & {*settings, *settings.get("options", {})}
    return ResiftRanker("m", **({"api_base_url": "http://127.0.0.1:9"} if remote else {}) | settings)


# what the constructors of sentence-transformers-haystack 2.0, Haystack 2.31, cohere-haystack 11.0, jina-haystack 2.0,
# huggingface-api-haystack 3.1 and vllm-haystack 3.0 take
THEIRS = {
    "SentenceTransformersSimilarityRanker": """
        model device token top_k query_prefix query_suffix document_prefix document_suffix meta_fields_to_embed
        embedding_separator scale_score score_threshold trust_remote_code model_kwargs tokenizer_kwargs config_kwargs
        backend batch_size
    """,
    "TransformersSimilarityRanker": """
        model device token top_k query_prefix document_prefix meta_fields_to_embed embedding_separator scale_score
        calibration_factor score_threshold model_kwargs tokenizer_kwargs batch_size
    """,
    "CohereRanker": "model top_k api_key api_base_url meta_fields_to_embed meta_data_separator max_tokens_per_doc",
    "JinaRanker": "model api_key top_k score_threshold base_url",
    "HuggingFaceTEIRanker": "url top_k raw_scores timeout max_retries retry_status_codes token use_grpc",
    "VLLMRanker": """
        model api_key api_base_url top_k score_threshold meta_fields_to_embed meta_data_separator http_client_kwargs
        extra_parameters
    """,
}


@pytest.mark.parametrize("ranker", THEIRS)
def test_no_argument_of_another_ranker_is_forgotten(ranker: str) -> None:
    """Whatever the other ranker's constructor takes has its place in the table about it."""
    table = README.partition(f"| `{ranker}`")[2].partition("\n\n")[0]
    told = {re.split(r"\W", name)[0] for left in table.splitlines()[1:] for name in re.findall(r"`([^`]+)`", left[2:])}

    assert set(THEIRS[ranker].split()) <= told


# the example


@pytest.fixture
def main() -> Main:
    """Return the example's own `main`."""
    run: Main = runpy.run_path(str(EXAMPLE))["main"]
    return run


def test_the_example_shows_a_better_answer(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    """The file's pipeline puts the right passage first, where the retriever alone had another."""
    main(["Can I bring my dog into the museum?"])

    shown = " ".join(capsys.readouterr().out.split())
    assert "without: All the rooms of the museum can be reached by lift." in shown
    assert "with: They wait outside, in the shade and with water." in shown


def test_the_example_takes_a_model(main: Main, capsys: pytest.CaptureFixture[str], cross_encoder: Path) -> None:
    """`--model` ranks with a model that runs here."""
    main(["--model", str(cross_encoder), "Where is the tram?"])

    assert "with:" in capsys.readouterr().out


def test_the_example_takes_an_endpoint(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    """`--base-url` ranks behind an endpoint, here with the same scorer and thus the same answer."""
    with serving(open_served("lexical", lambda normalize: resift.load(normalize=normalize))) as server:
        main(["--model", "lexical", "--base-url", server.url, "Can I bring my dog into the museum?"])

    assert "with: They wait outside" in " ".join(capsys.readouterr().out.split())


# the package


def test_the_package_lives_in_a_shared_namespace() -> None:
    """No folder above the package has an `__init__.py`, which would hide other integrations, and it is typed."""
    source = PROJECT / "src"
    folder = source / "haystack_integrations" / "components" / "rankers" / "resift"

    assert [str(path.parent.relative_to(source)) for path in source.rglob("__init__.py")] == [
        str(folder.relative_to(source))
    ]
    assert (folder / "py.typed").is_file()
    assert package.__all__ == ["ResiftRanker"]


def test_it_needs_haystack_and_resift_only() -> None:
    """Installing the package brings the framework's core and resift, and nothing else."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert [re.split(r"[<>=]", needed)[0] for needed in project["dependencies"]] == ["haystack-ai", "resift"]
    assert project["optional-dependencies"] == {"local": ["resift[local]"], "all": ["resift[all]"]}
