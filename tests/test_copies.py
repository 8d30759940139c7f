"""Copies and conversions of known models are read as their originals, and what is said wrongly is found at once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resift
import tiny
from resift.checkpoint import open_checkpoint
from resift.errors import InvalidInput, ModelUnsupported, ResiftError
from resift.scoring import loading
from resift.scoring.families import Prepared
from resift.scoring.recognition import recognise
from resift.settings import Prompt, Settings

BGE = "BAAI/bge-reranker-base"
BGE_EMBEDDING = "BAAI/bge-large-en-v1.5"
QWEN3 = "Qwen/Qwen3-Reranker-0.6B"
DOCUMENTS = list(tiny.DOCUMENTS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model under a name that nobody knows."""
    return tiny.build("xlmr-cross", tmp_path_factory.mktemp("copies") / "my-model")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "model"


def _copy(plain: Path, to: Path) -> Path:
    return Path(shutil.copytree(plain, to))


def _scores(model: Path | str, **options: Any) -> list[float]:
    """Score with a query and documents that are too long, so that it shows which of them gives way."""
    with resift.load(model, device="cpu", max_length=128, **options) as ranker:
        return ranker.score(tiny.LONG_QUERY, DOCUMENTS)


def _refused(model: Path | str, **options: Any) -> str:
    with pytest.raises(ModelUnsupported) as refused:
        resift.load(model, device="cpu", **options)
    return str(refused.value)


# copies by name


@pytest.mark.parametrize(
    "name",
    [
        "BAAI/bge-reranker-base",
        "baai/BGE-Reranker-Base",
        "bge-reranker-v2-m3",
        "backup of/bge-reranker-large",
        "models--BAAI--bge-reranker-base/snapshots/abc",
        "hub/models--BAAI--bge-reranker-v2-m3/snapshots/0123456789",
    ],
)
def test_a_copy_scores_as_its_original(name: str, plain: Path, tmp_path: Path) -> None:
    """A directory that is called as a catalogued model is read as its authors decided, with nothing said."""
    copy = _copy(plain, tmp_path / name)
    expected = _scores(plain, like=BGE)

    assert _scores(copy) == pytest.approx(expected, abs=1e-6)
    assert _scores(f"{copy}/") == pytest.approx(expected, abs=1e-6)
    assert _scores(plain) != pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", ["bge-reranker-base", "./bge-reranker-base", "bge-reranker-base/.", ".", "../b/../."])
def test_a_copy_is_known_however_it_is_named(
    name: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that leads to a copy from where the program stands means the same copy."""
    copy = _copy(plain, tmp_path / "bge-reranker-base")
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(copy if name == "." else tmp_path / "b" if name.startswith("../b") else tmp_path)
    if name.startswith("../b"):
        name = "../b/../bge-reranker-base/."

    assert _scores(name) == pytest.approx(_scores(plain, like=BGE), abs=1e-6)


@pytest.mark.parametrize("name", ["my-bge-reranker-base", "bge-reranker-base-tuned", "BAAI", "models--me--mine/abc"])
def test_a_directory_of_another_name_is_read_by_its_files(name: str, plain: Path, tmp_path: Path) -> None:
    """A name that only resembles a catalogued one means nothing."""
    assert _scores(_copy(plain, tmp_path / name)) == pytest.approx(_scores(plain), abs=1e-6)


def test_a_folder_above_names_no_model(plain: Path, tmp_path: Path) -> None:
    """What a directory's parents are called is nobody's business."""
    copy = _copy(plain, tmp_path / "bge-reranker-base" / "tuned")

    assert _scores(copy) == pytest.approx(_scores(plain), abs=1e-6)


def test_like_wins_over_the_name_of_a_copy(tmp_path: Path) -> None:
    """A caller who says what a model is like is believed, whatever the directory is called."""
    plain = tiny.build("bert-embedding", tmp_path / "plain", num_labels=None)
    named = _copy(plain, tmp_path / "bge-reranker-base")

    assert _scores(named, like=BGE_EMBEDDING) == pytest.approx(_scores(plain, like=BGE_EMBEDDING), abs=1e-6)


@pytest.mark.parametrize(
    "name",
    ["jina-reranker-v3", "models--jinaai--jina-colbert-v2/snapshots/abc", "BAAI/bge-reranker-v2.5-gemma2-lightweight"],
)
def test_a_copy_of_an_unsuitable_model_is_refused(name: str, plain: Path, tmp_path: Path) -> None:
    """A model that cannot be run, or is not what its name says, is refused from a directory of that name as well."""
    assert "choose another model" in _refused(_copy(plain, tmp_path / name))


@pytest.mark.parametrize("name", ["jina-reranker-v3-mine", "jinaai", "my-jina-reranker-v3"])
def test_a_directory_that_is_no_unsuitable_model_is_loaded(name: str, plain: Path, tmp_path: Path) -> None:
    """Only the name itself is refused."""
    assert _scores(_copy(plain, tmp_path / name)) == pytest.approx(_scores(plain), abs=1e-6)


# chains and conversions


def _chain(directory: Path, *modules: str) -> None:
    paths = [f"{at}_{kind}" if at else "" for at, kind in enumerate(modules)]
    saved = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(zip(paths, modules, strict=True))
    ]
    (directory / "modules.json").write_text(json.dumps(saved))
    for path in paths[1:]:
        (directory / path).mkdir(exist_ok=True)
        (directory / path / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))


@pytest.mark.parametrize("name", ["model", "bge-large-en-v1.5"])
def test_a_chain_is_never_cut_short(name: str, tmp_path: Path) -> None:
    """A chain with a module behind the pooling that is not known is refused, whatever it is said to be or called."""
    directory = tiny.build("bert-embedding", tmp_path / name)
    _chain(directory, "Transformer", "Pooling", "WordWeights", "Normalize")

    assert "Transformer -> Pooling -> WordWeights -> Normalize" in _refused(directory, like=BGE_EMBEDDING)
    assert "Transformer -> Pooling -> WordWeights -> Normalize" in _refused(directory)


def test_a_chain_around_a_classifier_is_never_cut_short(directory: Path) -> None:
    """A classifier whose chain goes on is refused too, whatever it is said to be like."""
    tiny.build("xlmr-cross", directory)
    _chain(directory, "Transformer", "Dense")

    assert "Transformer -> Dense" in _refused(directory)
    assert "Transformer -> Dense" in _refused(directory, like=BGE)


def _prepared(directory: Path, **options: Any) -> Prepared:
    settings = Settings(model=str(directory), like=QWEN3, **options)
    family = recognise(open_checkpoint(str(directory)), settings).family
    return family.prepare(tiny.QUERY, DOCUMENTS, None)


def test_a_converted_classifier_is_asked_with_the_prompt(tmp_path: Path) -> None:
    """A prompted model saved with a head instead of its answers reads the very ids that the language model reads."""
    converted = _prepared(tiny.build("qwen3-cross", tmp_path / "converted"))
    original = _prepared(tiny.build("qwen3", tmp_path / "original"))

    assert len(original.prefix) > 8
    np.testing.assert_array_equal(converted.prefix, original.prefix)
    for found, expected in zip(converted.sequences, original.sequences, strict=True):
        np.testing.assert_array_equal(found.ids, expected.ids)
        assert found.types is None
        assert expected.types is None
    with resift.load(tmp_path / "converted", like=QWEN3, device="cpu") as ranker:
        assert all(0.0 < score < 1.0 for score in ranker.score(tiny.QUERY, DOCUMENTS))


# mistakes, before anything is downloaded


MISTAKES: dict[str, dict[str, Any]] = {
    "like": {"like": "BAAI/bge-rerankr-base"},
    "device": {"device": "gpu"},
    "second device": {"device": ["cpu", "cuda:99"]},
    "dtype": {"dtype": "bf16"},
    "trust": {"trust_remote_code": "false"},
    "trust number": {"trust_remote_code": 1},
    "local": {"local_files_only": "no"},
    "local nothing": {"local_files_only": None},
    "number as like": {"like": 123},
    "number as cache": {"cache_dir": 123},
    "number as fields": {"fields": 123},
    "number as revision": {"revision": 123},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_no_download(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument that cannot mean anything is refused before a model is looked for."""
    if mistake != "number as revision":
        monkeypatch.setattr(loading, "open_checkpoint", None)

    with pytest.raises(InvalidInput) as refused:
        resift.load("some-owner/some-large-model", **MISTAKES[mistake])
    assert len(str(refused.value)) > 20


class _Bytes:
    def __fspath__(self) -> bytes:
        return b"model"


@pytest.mark.parametrize("model", [123, 1.5, b"model", [], ("a",), True, "", _Bytes()])
def test_what_is_no_model_is_refused(model: Any) -> None:
    """A model is a name or a path; anything else is refused in words."""
    with pytest.raises(ResiftError):
        resift.load(model)


WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnxruntime", "openvino"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import resift
from resift.scoring import loading
loading.open_checkpoint = None
try:
    resift.load("some-owner/some-large-model")
except resift.MissingDependency as error:
    print(error)
"""


def test_a_missing_library_costs_no_download() -> None:
    """Where nothing that runs models is installed, torch is asked for before a model is looked for."""
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, timeout=60, check=True
    ).stdout

    assert "torch" in said
    assert 'pip install "resift[local]"' in said


# what documents, prompts and files leave out


def test_fields_that_no_document_has_are_refused() -> None:
    """Fields are refused where no mapping has any of them, and read where some have some."""
    documents: list[Any] = [{"title": "Panda", "body": "It eats bamboo."}, {"title": "Paris"}]
    with resift.load(fields=["titel", "text"]) as misspelt:
        with pytest.raises(InvalidInput, match="titel"):
            misspelt.score("panda", documents)
        assert misspelt.score("panda", ["panda"]) == misspelt.score("panda", ["panda"])
        assert misspelt.score("panda", []) == []
    with resift.load(fields=["body", "summary"]) as some:
        assert len(some.score("panda", documents)) == 2
        assert len(some.score("panda", [*documents, "a text"])) == 3


@pytest.mark.parametrize("without", ["", "Judge this.", "{document}", "{instruction}"])
def test_a_prompt_keeps_the_query_without_an_instruction(without: str) -> None:
    """A piece that stands in for another must hold the query too, where that one does."""
    with pytest.raises(InvalidInput, match="without_instruction"):
        Prompt(("{instruction}: {query}", "{document}"), positive="yes", without_instruction=without)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pieces": 5},
        {"positive": 5},
        {"negative": 5},
        {"instruction": 5},
        {"without_instruction": 5},
        {"max_length_covers": "all"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_prompt_of_wrong_parts_is_refused(wrong: dict[str, Any]) -> None:
    """A part of a prompt that cannot mean anything is refused when the prompt is declared."""
    parts: dict[str, Any] = {"pieces": ("{instruction} {query}", "{document}"), "positive": "yes"}
    with pytest.raises(InvalidInput):
        Prompt(**(parts | wrong))


def _change(directory: Path, name: str, **fields: Any) -> None:
    path = directory / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


NULLS: dict[str, Callable[[Path], None]] = {
    "pad_token_id": lambda model: _change(model, "config.json", pad_token_id=None),
    "model_input_names": lambda model: _change(model, "tokenizer_config.json", model_input_names=None),
    "model_max_length": lambda model: _change(model, "tokenizer_config.json", model_max_length=None),
    "id2label": lambda model: _change(model, "config.json", id2label=None, num_labels=1),
}


@pytest.mark.parametrize("null", NULLS)
def test_a_null_is_what_is_left_out(null: str, plain: Path, directory: Path) -> None:
    """A field that a model's files say nothing about by `null` is read as one that they leave out."""
    NULLS[null](_copy(plain, directory))

    assert _scores(directory) == pytest.approx(_scores(plain), abs=1e-6)


def test_a_name_is_no_hub_id_beside_a_directory(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative directory that spells a hub id is a copy, read where it is."""
    _copy(plain, tmp_path / BGE)
    monkeypatch.chdir(tmp_path)
    assert os.path.isdir(BGE)  # noqa: PTH112 - the text itself is what matters

    assert _scores(BGE) == pytest.approx(_scores(plain, like=BGE), abs=1e-6)
