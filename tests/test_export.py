"""A model that was exported says what its weights say, wherever it runs, and is there whole or not at all."""

import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from click.testing import CliRunner

import exported
import own_code
import resift
import tiny
from resift.checkpoint.graphs import data_of
from resift.cli.export import export as command
from resift.errors import InvalidInput, MissingDependency, ModelNotFound, ModelUnsupported, ResiftError
from resift.exporting import Exported, export, exporting
from resift.exporting.samples import QUERY, documents
from resift.scoring import loading
from resift.scoring.backends.exporting import writing

WIDE = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "pooler_hidden_size": 256}
MINILM = WIDE | {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536, "pooler_hidden_size": 384}
CROSS = ["bert-cross", "xlmr-cross", "deberta-cross", "modernbert-cross", "electra-cross"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a maker of models with weights, each of which is made once."""
    models: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in models:
            models[kind] = tiny.build(kind, tmp_path_factory.mktemp("export") / kind)
        return models[kind]

    return make


def _scores(model: Path, **how: Any) -> list[float]:
    with resift.load(model, **how) as ranker:
        return [
            score
            for query in (tiny.QUERY, tiny.LONG_QUERY)
            for score in ranker.score(query, [*tiny.DOCUMENTS, *documents(8)])
        ]


def _names(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


# the same scores


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("kind", CROSS)
def test_a_graph_says_what_its_weights_say(
    kind: str, backend: str, made: Callable[[str], Path], tmp_path: Path
) -> None:
    """An exported cross-encoder gives the scores of its weights, in every runtime."""
    model = made(kind)
    written = export(model, tmp_path / "out")

    assert _scores(tmp_path / "out", backend=backend) == pytest.approx(
        _scores(model, backend="torch", device="cpu"), abs=1e-5
    )
    assert written.proof.largest_difference < 1e-5


@pytest.mark.parametrize("pooling", ["cls", "mean", "lasttoken"])
def test_an_embedding_model_is_exported(pooling: str, tmp_path: Path) -> None:
    """An exported embedding model gives the similarities of its weights, and keeps what sentence-transformers reads."""
    model = tiny.build("bert-embedding", tmp_path / "model", pooling=pooling, prompts={"query": "query: "})
    written = export(model, tmp_path / "out")

    assert _scores(tmp_path / "out") == pytest.approx(_scores(model, backend="torch", device="cpu"), abs=1e-5)
    assert written.cut == (pooling == "cls")
    assert {"modules.json", "1_Pooling/config.json", "onnx/model.onnx"} <= _names(tmp_path / "out")


@pytest.mark.parametrize(("kind", "cut"), [("bert-cross", True), ("xlmr-cross", True), ("electra-cross", False)])
def test_the_last_layer_is_cut_where_we_know_how(
    kind: str, *, cut: bool, made: Callable[[str], Path], tmp_path: Path
) -> None:
    """In the last layer of BERT and XLM-R only the token that is read is computed."""
    written = export(made(kind), tmp_path / "out")
    model = onnx.load(written.graph)
    widened = [node.output[0] for node in model.graph.node if node.name.endswith("widen/MatMul")]
    for name in widened:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.full((2, 9), 7)
    feed = {declared.name: ids if declared.name == "input_ids" else ids // 7 for declared in session.get_inputs()}
    lengths = [states.shape[1] for states in session.run(widened, feed)] if widened else []

    assert written.cut == cut
    assert lengths == ([9] * (len(lengths) - 1) + [1] if cut else [])


def test_only_what_a_model_reads_is_asked_for(made: Callable[[str], Path], tmp_path: Path) -> None:
    """A graph declares the inputs that its model has, of any size, and one logit."""
    for kind, inputs in (("bert-cross", exported.INPUTS), ("xlmr-cross", exported.INPUTS[:2])):
        graph = onnx.load(export(made(kind), tmp_path / kind).graph).graph

        assert tuple(declared.name for declared in graph.input) == inputs
        assert [declared.name for declared in graph.output] == ["logits"]


@pytest.mark.parametrize("model_type", ["toy", "bert"])
def test_a_models_own_code_is_what_is_exported(
    model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of a model that brings its own code says what that code says, whatever the model calls itself."""
    model = own_code.build(tmp_path / "model", monkeypatch, model_type=model_type)
    written = export(model, tmp_path / "out", trust_remote_code=True)

    exact = _scores(model, backend="torch", device="cpu", trust_remote_code=True, normalize=False)
    assert _scores(written.directory, normalize=False) == pytest.approx(exact, rel=1e-5)
    assert not written.cut


# number formats


@pytest.mark.parametrize("kind", CROSS)
def test_float16_is_half_as_large_and_close(kind: str, tmp_path: Path) -> None:
    """float16 halves the file, and says nearly what the weights say."""
    model = tiny.build(kind, tmp_path / "model", **WIDE)
    exact, half = (export(model, tmp_path / dtype, dtype=dtype) for dtype in ("float32", "float16"))

    assert half.graph.name == "model_fp16.onnx"
    assert half.graph.stat().st_size < 0.55 * exact.graph.stat().st_size
    assert 0 < half.proof.largest_difference < 2e-2
    assert _scores(tmp_path / "float16", dtype="float16") == pytest.approx(_scores(tmp_path / "float32"), abs=2e-2)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("kind", [kind for kind in CROSS if kind != "bert-cross"])
def test_int8_is_written_of_every_kind(kind: str, backend: str, tmp_path: Path) -> None:
    """An int8 graph of any cross-encoder ranks nearly as its weights do, in every runtime."""
    model = tiny.build(kind, tmp_path / "model", **MINILM)
    written = export(model, tmp_path / "out", dtype="int8")
    found = _scores(tmp_path / "out", backend=backend, dtype="int8")

    assert written.proof.largest_difference > 0
    assert exported.agreement(_scores(model, backend="torch", device="cpu"), found) >= 0.95


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as wide as MiniLM."""
    return tiny.build("bert-cross", tmp_path_factory.mktemp("wide") / "model", **MINILM)


@pytest.fixture(scope="module")
def quantised(weights: Path) -> Exported:
    """The same in int8."""
    return export(weights, weights.parent / "out", dtype="int8")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_int8_ranks_nearly_alike(backend: str, weights: Path, quantised: Exported) -> None:
    """An int8 graph is a quarter as large and ranks nearly as the weights do, in every runtime."""
    asked = documents(32)
    exact = _ranked(weights, asked, backend="torch", device="cpu")
    found = _ranked(quantised.directory, asked, backend=backend, dtype="int8")

    assert quantised.proof.rank_correlation >= 0.98
    assert float(np.corrcoef(exact, found)[0, 1]) >= 0.98
    assert quantised.proof.largest_difference > 0
    assert quantised.graph.stat().st_size < 0.3 * (weights / "model.safetensors").stat().st_size


def _ranked(model: Path, asked: list[str], **how: Any) -> list[int]:
    with resift.load(model, **how) as ranker:
        return [int(place) for place in np.argsort(np.argsort(ranker.score(QUERY, asked)))]


@pytest.mark.parametrize(("backend", "rounding"), [("onnx", 1e-5), ("openvino", 2e-2)])
def test_int8_scores_do_not_depend_on_company(backend: str, rounding: float, quantised: Exported) -> None:
    """A text's score by an int8 graph is its own, whatever else is scored beside it, but for how OpenVINO rounds it."""
    with resift.load(quantised.directory, backend=backend, dtype="int8") as ranker:  # type: ignore[arg-type]
        together = ranker.score(tiny.QUERY, list(tiny.DOCUMENTS))
        apart = [ranker.score(tiny.QUERY, [document])[0] for document in tiny.DOCUMENTS]

    assert together == pytest.approx(apart, abs=rounding)


def test_an_unknown_format_is_refused(made: Callable[[str], Path], tmp_path: Path) -> None:
    """A number format that is not written is refused with those that are."""
    with pytest.raises(InvalidInput, match="float32, float16, int8"):
        export(made("bert-cross"), tmp_path / "out", dtype="q4")  # type: ignore[arg-type]


# the directory


def test_a_directory_holds_all_that_others_need(made: Callable[[str], Path], tmp_path: Path) -> None:
    """Configuration, tokenizer and licence go along; weights and code do not."""
    model = shutil.copytree(made("bert-cross"), tmp_path / "model")
    (model / "LICENSE").write_text("yours")
    (model / "modeling_mine.py").write_text("raise SystemExit")
    written = export(model, tmp_path / "out")

    described = {name for name in _names(model) if name.endswith((".json", ".txt"))}
    assert _names(written.directory) == described | {"LICENSE", "onnx/model.onnx"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out"]


def test_what_is_there_is_left_alone(made: Callable[[str], Path], tmp_path: Path) -> None:
    """A directory that holds something, or a file, is refused before any work is done; an empty one is not."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    (tmp_path / "empty").mkdir()

    with pytest.raises(InvalidInput, match="not empty"):
        export(made("bert-cross"), tmp_path / "full")
    with pytest.raises(InvalidInput, match="is a file"):
        export(made("bert-cross"), tmp_path / "full" / "precious")
    assert _names(tmp_path) == {"full/precious"}
    assert "onnx/model.onnx" in _names(export(made("bert-cross"), tmp_path / "empty").directory)


def test_force_replaces_only_what_it_writes(made: Callable[[str], Path], tmp_path: Path) -> None:
    """`force` writes into a directory that holds something: formats gather there, and other files stay."""
    model = shutil.copytree(made("bert-cross"), tmp_path / "model")
    before = _names(model)
    for dtype in ("float32", "float16", "float32"):
        export(model, model, dtype=dtype, force=True)

    assert _names(model) == before | {"onnx/model.onnx", "onnx/model_fp16.onnx"}
    assert _scores(model, backend="onnx") == pytest.approx(_scores(model, backend="torch", device="cpu"), abs=1e-5)


def test_nothing_is_left_of_a_failure(
    made: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that does not say what the weights say is refused, and nothing of it is there."""
    trace = writing._trace  # noqa: SLF001

    def trace_another(model: Any, path: Path, output: str) -> None:
        model.head.out.bias.data += 1
        trace(model, path, output)

    monkeypatch.setattr(writing, "_trace", trace_another)
    with pytest.raises(ModelUnsupported, match=r"differs from its weights by 1\.0e\+00"):
        export(made("bert-cross"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_weights_of_many_files_become_one(
    made: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the tracer leaves a large graph's weights in a file each, one file of weights stands beside it."""
    trace = writing._trace  # noqa: SLF001

    def trace_apart(model: Any, path: Path, output: str) -> None:
        trace(model, path, output)
        graph = onnx.load(path)
        onnx.save(graph, path, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)

    monkeypatch.setattr(writing, "_trace", trace_apart)
    written = export(made("bert-cross"), tmp_path / "out")

    assert set(data_of(written.graph)) == {"model.onnx_data"}
    assert {path.name for path in written.graph.parent.iterdir()} == {"model.onnx", "model.onnx_data"}


# what cannot be


def test_a_model_that_is_asked_with_a_prompt_is_refused(tmp_path: Path) -> None:
    """A language model is left to torch, and nothing is written."""
    model = tiny.build("qwen3", tmp_path / "model")
    with pytest.raises(ModelUnsupported, match="backend='torch'"):
        export(model, tmp_path / "out", like="Qwen/Qwen3-Reranker-0.6B")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "like", "said"),
    [
        ("BAAI/bge-reranker-v2.5-gemma2-lightweight", None, "leaves out tokens and layers"),
        ("acme/reranker", "BAAI/bge-rerankr-base", "did you mean 'BAAI/bge-reranker-base'"),
        ("Qwen/Qwen3-Reranker-8B", None, "cannot be exported"),
        ("nvidia/llama-nemotron-rerank-1b-v2", None, "cannot be exported"),
        ("colbert-ir/colbertv2.0", None, "cannot be exported"),
        ("jinaai/jina-reranker-v3", None, "cannot be exported"),
        ("cross-encoder/ettin-reranker-17m-v1", None, "cannot be exported"),
        ("lexical", None, "has no weights"),
    ],
)
def test_what_is_known_not_to_be_exported_is_refused_before_any_download(
    model: str, like: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that no graph is written of, and a misspelt name of what it is like, are refused without the hub."""
    for room in (loading, exporting):
        monkeypatch.setattr(room, "open_checkpoint", None)

    with pytest.raises(ResiftError, match=said) as refused:
        export(model, tmp_path / "out", like=like)

    assert (like or model) in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_converted_language_model_is_exported(tmp_path: Path) -> None:
    """A language model that was converted to a classifier is exported, though what it was made from is not."""
    like = "Qwen/Qwen3-Reranker-0.6B"
    model = tiny.build("qwen3-cross", tmp_path / "Qwen3-Reranker-0.6B")
    export(model, tmp_path / "out", like=like)

    assert _scores(tmp_path / "out", like=like) == pytest.approx(_scores(model, device="cpu"), abs=1e-5)


def test_a_model_without_weights_is_refused(made: Callable[[str], Path], tmp_path: Path) -> None:
    """What has no weights cannot be exported, and the error says what is missing."""
    export(made("bert-cross"), tmp_path / "graph")
    with pytest.raises(ModelNotFound, match="has no weights"):
        export(tmp_path / "graph", tmp_path / "out")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime.quantization"])
def test_a_missing_library_names_its_extra(
    package: str, made: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what writes graphs is not installed, its extra is named."""
    rooms = ("resift.scoring.backends.exporting.writing", "resift.scoring.backends.exporting.quantizing")
    for room in rooms:
        monkeypatch.delitem(sys.modules, room, raising=False)
        monkeypatch.delattr(room, raising=False)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingDependency, match=r'pip install "resift\[export\]"'):
        export(made("bert-cross"), tmp_path / "out")


def test_a_catalogued_model_says_how_to_load_it(made: Callable[[str], Path], tmp_path: Path) -> None:
    """A model that is known by its name is to be named again, unless its directory has that name."""
    model = shutil.copytree(made("xlmr-cross"), tmp_path / "bge-reranker-base")

    assert export(model, tmp_path / "mine").like == "bge-reranker-base"
    assert export(model, tmp_path / "out" / "bge-reranker-base").like is None
    assert export(made("bert-cross"), tmp_path / "other").like is None


# the command


def test_the_command_says_what_it_wrote(made: Callable[[str], Path], tmp_path: Path) -> None:
    """`resift export` prints the directory, and on stderr what is in it and how near it is."""
    out = tmp_path / "out"
    said = CliRunner().invoke(command, [str(made("bert-cross")), str(out), "--dtype", "fp16"])

    assert said.exit_code == 0, said.output
    assert said.stdout == f"{out}\n"
    assert "float16, the last layer only for the token that is read" in said.stderr
    assert "rank correlation" in said.stderr
    assert "onnx/model_fp16.onnx" in _names(out)


def test_the_logger_says_what_was_written(
    made: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The logger is told which file was written, and no text of the sample."""
    caplog.set_level(logging.INFO, "resift")
    export(made("bert-cross"), tmp_path / "out")
    said = " ".join(record.getMessage() for record in caplog.records)

    assert "model.onnx" in said
    assert QUERY not in said
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"]
