"""Which file of a repository the onnx backend reads, what of it is downloaded, and what is said of what is missing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from huggingface_hub import constants

import exported
import resift
import tiny
from fake_hub import FakeHub
from resift.checkpoint import open_checkpoint
from resift.checkpoint.graphs import data_of, graph_name
from resift.errors import InvalidInput, MissingDependency, ModelNotFound, ModelUnsupported
from resift.scoring.backends import choosing
from resift.scoring.backends.choosing import choose
from resift.scoring.catalog import find_row
from resift.settings import Settings

MODEL = "acme/reranker"
QUERY = "what does a panda eat?"
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with weights and with graphs in all number formats."""
    made = exported.build("bert-cross", tmp_path_factory.mktemp("files") / "model")
    graph = made / "onnx" / "model.onnx"
    exported.quantize(graph)
    exported.halve(graph)
    return made


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """Run a hub that huggingface_hub takes for the real one."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with FakeHub() as hub:
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + template)
        yield hub


def _files(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def _only_onnx(model: Path, directory: Path) -> Path:
    return exported.without_weights(model, directory / "only onnx")


def _fetched(hub: FakeHub, suffix: str = ".onnx") -> set[str]:
    return {name for name in hub.fetched if suffix in name}


# who runs what


def _form(settings: Settings) -> str:
    """Return in what form a model is run on the CPU."""
    return open_checkpoint(settings.model).form(choose(settings, ["cpu"]).forms)


def test_weights_are_run_by_torch(model: Path) -> None:
    """Left to itself, a model that has both runs from its weights."""
    assert _form(Settings(str(model))) == "weights"


@pytest.mark.parametrize("how", [{"backend": "onnx"}, {"dtype": "int8"}], ids=["onnx", "int8"])
def test_a_caller_chooses_the_graph(how: dict[str, Any], model: Path) -> None:
    """A model that has both runs from its graph where the caller says so, or asks for int8."""
    assert _form(Settings(str(model), **how)) == "graph"


def test_a_model_of_nothing_else_is_run_from_its_graph(model: Path, tmp_path: Path) -> None:
    """Left to itself, a model without weights runs from its ONNX graph, with the scores of its weights."""
    with resift.load(_only_onnx(model, tmp_path)) as graph, resift.load(model, device="cpu") as weights:
        assert graph.score(QUERY, DOCUMENTS) == pytest.approx(weights.score(QUERY, DOCUMENTS), abs=1e-5)


def test_without_torch_the_graph_is_taken(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only ONNX Runtime is installed, a model that has both runs from its graph."""
    monkeypatch.setattr(choosing, "_is_installed", lambda package: package == "onnxruntime")

    assert _form(Settings(str(model))) == "graph"


def test_without_torch_weights_ask_for_it(tmp_path: Path) -> None:
    """Where only ONNX Runtime is installed, a model that has weights alone names the extra that runs them."""
    model = tiny.build("bert-cross", tmp_path)
    said = _refused_without_torch(str(model))

    assert "torch" in said
    assert 'pip install "resift[local]"' in said


def test_torch_runs_no_quantised_graph() -> None:
    """int8 by torch is refused with the backend that runs it."""
    with pytest.raises(InvalidInput, match="backend='onnx'"):
        resift.load("acme/reranker", backend="torch", dtype="int8")


@pytest.mark.parametrize(
    ("conversion", "original"),
    [
        ("Xenova/bge-reranker-base", "BAAI/bge-reranker-base"),
        ("Xenova/bge-reranker-large", "BAAI/bge-reranker-large"),
        ("onnx-community/bge-reranker-v2-m3-ONNX", "BAAI/bge-reranker-v2-m3"),
        ("Xenova/bge-large-en-v1.5", "BAAI/bge-large-en-v1.5"),
    ],
)
def test_conversions_are_read_as_their_originals(conversion: str, original: str) -> None:
    """The catalogue knows a converted model by its own name, with -ONNX behind it or without."""
    assert find_row(conversion) is find_row(original) is not None


# which file


@pytest.mark.parametrize(
    ("dtype", "names", "chosen"),
    [
        ("float32", ["model.onnx", "onnx/model.onnx"], "onnx/model.onnx"),
        ("float32", ["model.onnx", "onnx/model_fp16.onnx"], "model.onnx"),
        ("float32", ["onnx/model_quantized.onnx", "onnx/model_O4.onnx"], None),
        ("float16", ["onnx/model.onnx", "onnx/model_fp16.onnx"], "onnx/model_fp16.onnx"),
        ("bfloat16", ["onnx/model.onnx", "onnx/model_bf16.onnx"], "onnx/model_bf16.onnx"),
        ("int8", ["onnx/model_int8.onnx", "onnx/model_quantized.onnx"], "onnx/model_quantized.onnx"),
        ("int8", ["onnx/model_uint8.onnx", "onnx/model_int8.onnx"], "onnx/model_int8.onnx"),
        ("int8", ["onnx/model_q4.onnx", "onnx/model.onnx"], None),
    ],
)
def test_a_number_format_is_a_file(dtype: str, names: list[str], chosen: str | None) -> None:
    """Each number format is one file, and never another's."""
    assert graph_name(names, dtype) == chosen


@pytest.mark.parametrize(
    ("machine", "chosen"),
    [
        ("x86_64", "model_qint8_avx512_vnni.onnx"),
        ("aarch64", "model_qint8_arm64.onnx"),
        ("arm64", "model_qint8_arm64.onnx"),
    ],
)
def test_quantised_files_suit_the_processor(machine: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files that were quantised for several processors, this one's is read."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    names = ["model_qint8_arm64.onnx", "model_qint8_avx512_vnni.onnx", "model_quint8_avx2.onnx"]

    assert graph_name(names, "int8") == chosen


def _without_half(model: Path, directory: Path) -> Path:
    only = _only_onnx(model, directory)
    (only / "onnx" / "model_fp16.onnx").unlink()
    return only


def test_a_missing_format_names_those_that_are_there(model: Path, tmp_path: Path) -> None:
    """What is not there is answered with what is, and with how to ask for it."""
    with pytest.raises(ModelNotFound) as refused:
        resift.load(_without_half(model, tmp_path), backend="onnx", dtype="float16")

    for shown in ("dtype='float16'", "model_fp16.onnx", "onnx/model_quantized.onnx (dtype='int8')"):
        assert shown in str(refused.value)


def test_a_quantised_graph_is_never_taken_unasked(model: Path, tmp_path: Path) -> None:
    """A model that has nothing but a quantised graph is refused until that is asked for."""
    only = _without_half(model, tmp_path)
    (only / "onnx" / "model.onnx").unlink()

    with pytest.raises(ModelNotFound, match="dtype='int8'"):
        resift.load(only)
    with resift.load(only, dtype="int8") as ranker:
        assert len(ranker.score(QUERY, DOCUMENTS)) == 3


def test_torch_says_that_there_is_a_graph(model: Path, tmp_path: Path) -> None:
    """A model without weights that torch is to run is refused with the backend that can."""
    with pytest.raises(ModelNotFound, match="backend='onnx'"):
        resift.load(_only_onnx(model, tmp_path), backend="torch")


# from the hub


@pytest.mark.parametrize(
    ("how", "fetched"),
    [
        ({}, {"onnx/model.onnx"}),
        ({"backend": "onnx"}, {"onnx/model.onnx"}),
        ({"backend": "onnx", "dtype": "float16"}, {"onnx/model_fp16.onnx"}),
        ({"dtype": "int8"}, {"onnx/model_quantized.onnx"}),
    ],
    ids=["auto", "float32", "float16", "int8"],
)
def test_one_graph_is_downloaded(
    how: dict[str, str], fetched: set[str], hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    """Of all the graphs of a model, the one that is read is downloaded; later it is found without the hub."""
    hub.publish(MODEL, _files(_only_onnx(model, tmp_path)))
    with resift.load(MODEL, **how) as ranker:  # type: ignore[arg-type]
        scores = ranker.score(QUERY, DOCUMENTS)
    assert _fetched(hub) == fetched
    hub.close()

    with resift.load(MODEL, local_files_only=True, **how) as ranker:  # type: ignore[arg-type]
        assert ranker.score(QUERY, DOCUMENTS) == scores


def test_no_graph_is_downloaded_beside_weights(hub: FakeHub, model: Path) -> None:
    """A model that has both comes with its weights alone."""
    hub.publish(MODEL, _files(model))
    resift.load(MODEL, device="cpu").close()

    assert not _fetched(hub)
    assert _fetched(hub, ".safetensors")


def test_no_weights_are_downloaded_beside_a_graph(hub: FakeHub, model: Path) -> None:
    """A model that has both comes with its graph alone, where that is asked for."""
    hub.publish(MODEL, _files(model))
    resift.load(MODEL, backend="onnx").close()

    assert _fetched(hub) == {"onnx/model.onnx"}
    assert not _fetched(hub, ".safetensors")


def test_a_graph_brings_its_data(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    """The files of weights that a graph names are downloaded with it, and no others."""
    only = _only_onnx(model, tmp_path)
    graph = only / "onnx" / "model.onnx"
    exported.move_data_out(graph, "weights.bin")
    hub.publish(MODEL, _files(only) | {"onnx/model_q4.onnx_data": b"more"})
    with resift.load(MODEL) as ranker, resift.load(model, device="cpu") as weights:
        assert ranker.score(QUERY, DOCUMENTS) == pytest.approx(weights.score(QUERY, DOCUMENTS), abs=1e-5)

    assert {"onnx/model.onnx", "onnx/weights.bin"} <= set(hub.fetched)
    assert "onnx/model_q4.onnx_data" not in hub.fetched


def test_a_missing_format_costs_no_download(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    """What a repository does not have is answered with what it has, before any graph is downloaded."""
    hub.publish(MODEL, _files(_without_half(model, tmp_path)))
    with pytest.raises(ModelNotFound, match=r"onnx/model\.onnx \(dtype='float32'\)"):
        resift.load(MODEL, backend="onnx", dtype="float16")

    assert not _fetched(hub)


def test_what_is_not_computed_costs_no_download(hub: FakeHub, model: Path) -> None:
    """bfloat16 by ONNX Runtime on a CPU is refused with who runs it, before anything is downloaded."""
    hub.publish(MODEL, _files(model))
    with pytest.raises(InvalidInput, match=r"dtype='bfloat16'.* say backend='openvino'"):
        resift.load(MODEL, backend="onnx", device="cpu", dtype="bfloat16")

    assert not hub.fetched


def test_a_missing_library_costs_no_download(
    hub: FakeHub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ONNX Runtime is not installed, its extra is named before any graph is downloaded."""
    hub.publish(MODEL, _files(_only_onnx(model, tmp_path)))
    for name in [name for name in sys.modules if name.startswith("resift.scoring.backends.onnx.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("resift.scoring.backends.onnx.sessions", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r'pip install "resift\[onnx\]"'):
        resift.load(MODEL, backend="onnx")

    assert not _fetched(hub)


# files that are not whole


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_graph_that_ends_too_early_is_damaged(size: int, model: Path, tmp_path: Path) -> None:
    """A graph whose download broke off is an error that says so."""
    only = _only_onnx(model, tmp_path)
    _cut(only / "onnx" / "model.onnx", size)

    with pytest.raises(ModelNotFound, match=r"damaged: 'onnx/model\.onnx' (is empty|ends too early|holds no graph)"):
        resift.load(only)


def test_what_is_no_graph_is_damaged(model: Path, tmp_path: Path) -> None:
    """A page of HTML, or a pointer, in a graph's place is an error that says so."""
    only = _only_onnx(model, tmp_path)
    for content, said in ((b"<html></html>", "onnx/model.onnx"), (b"version https://git-lfs.github.com", "LFS")):
        (only / "onnx" / "model.onnx").write_bytes(content)
        with pytest.raises(ModelNotFound, match=said):
            resift.load(only)


def test_missing_data_are_named(model: Path, tmp_path: Path) -> None:
    """A graph whose file of weights is not there, or is cut, is an error that names it."""
    only = _only_onnx(model, tmp_path)
    data = exported.move_data_out(only / "onnx" / "model.onnx")
    _cut(data, -1)
    with pytest.raises(ModelNotFound, match=r"model\.onnx_data"):
        resift.load(only)
    data.unlink()
    with pytest.raises(ModelNotFound, match=r"model\.onnx_data"):
        resift.load(only)


def test_a_graph_reads_nothing_elsewhere(model: Path, tmp_path: Path) -> None:
    """A graph that names a file outside its model's directory is refused."""
    only = _only_onnx(model, tmp_path)
    graph = only / "onnx" / "model.onnx"
    exported.move_data_out(graph)
    graph.write_bytes(graph.read_bytes().replace(b"model.onnx_data", b"../../../../etc"))
    assert "../../../../etc" in data_of(graph)

    with pytest.raises(ModelUnsupported, match="outside its own directory"):
        resift.load(only)


def test_data_are_told_from_the_graph(model: Path, tmp_path: Path) -> None:
    """What a graph needs of each file beside it is what the file holds."""
    only = _only_onnx(model, tmp_path)
    graph = only / "onnx" / "model.onnx"
    assert data_of(graph) == {}
    data = exported.move_data_out(graph)
    held = sum(tensor.ByteSize() > 0 for tensor in onnx.load(graph, load_external_data=False).graph.initializer)

    assert held
    assert data_of(graph) == {data.name: data.stat().st_size}


# without torch


WITHOUT_TORCH = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "sentence_transformers", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import resift
with resift.load(sys.argv[1]) as ranker:
    print(json.dumps(ranker.score(sys.argv[2], sys.argv[3:])))
"""


def _run_without_torch(model: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, model, QUERY, *DOCUMENTS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def _refused_without_torch(model: str) -> str:
    said = _run_without_torch(model)
    assert said.returncode
    return said.stderr.splitlines()[-1]


def _without_torch(model: str, **environment: str) -> list[float]:
    said = _run_without_torch(model, **environment)
    assert not said.stderr
    scores: list[float] = json.loads(said.stdout)
    return scores


def test_neither_torch_nor_transformers_is_needed(model: Path, hub: FakeHub) -> None:
    """Where torch and transformers cannot be imported, directories and hub models run, in silence."""
    hub.publish(MODEL, _files(model))
    with resift.load(model, device="cpu") as ranker:
        expected = ranker.score(QUERY, DOCUMENTS)

    assert _without_torch(str(model)) == pytest.approx(expected, abs=1e-5)
    resift.load(MODEL, backend="onnx").close()
    cached = _without_torch(MODEL, HF_HUB_CACHE=constants.HF_HUB_CACHE, HF_HUB_OFFLINE="1")
    assert cached == pytest.approx(expected, abs=1e-5)
