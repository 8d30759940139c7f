"""The openvino backend says of a graph what torch says of its weights, and does in a number format what it says."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import exported
import resift
import tiny
from resift.errors import InvalidInput, MissingDependency, ModelNotFound, ModelUnsupported
from resift.scoring.backends.openvino import sessions
from resift.testing import RankerContract
from resift.types import Ranker

COMPUTES_BFLOAT16 = "BF16" in sessions.the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a maker of models with graphs, each of which is made once."""
    return exported.maker(tmp_path_factory.mktemp("openvino"))


def _scores(model: Path, documents: Any = tiny.DOCUMENTS, query: str = tiny.QUERY, **how: Any) -> list[float]:
    with resift.load(model, **how) as ranker:
        return ranker.score(query, list(documents))


class TestOpenVinoRanker(RankerContract):
    """A model that OpenVINO runs here, from its graph."""

    @pytest.fixture(autouse=True)
    def _build(self, made: Callable[[str], Path]) -> None:
        self.model = made("bert-cross")

    def make_ranker(self) -> Ranker:
        return resift.load(self.model, backend="openvino")

    def long_documents(self, ranker: Ranker) -> list[str]:
        return [f"{number} {' '.join(self.documents) * 5}" for number in range(300)]


# the same scores


@pytest.mark.parametrize("kind", ["bert-cross", "xlmr-cross", "deberta-cross", "modernbert-cross", "electra-cross"])
@pytest.mark.parametrize("query", [tiny.QUERY, tiny.LONG_QUERY], ids=["short", "long"])
def test_a_graph_says_what_its_weights_say(kind: str, query: str, made: Callable[[str], Path]) -> None:
    """A cross-encoder gives the same scores from OpenVINO as from its weights."""
    model = made(kind)

    assert _scores(model, query=query, backend="openvino") == pytest.approx(
        _scores(model, query=query, backend="torch", device="cpu"), abs=1e-5
    )


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_hidden_states_are_pooled_as_torch_pools_them(pooling: str, tmp_path: Path) -> None:
    """An embedding model gives the same similarities from OpenVINO as from its weights."""
    model = exported.build("bert-embedding", tmp_path, pooling=pooling, prompts={"query": "query: "})

    assert _scores(model, backend="openvino") == pytest.approx(_scores(model, backend="torch", device="cpu"), abs=1e-5)


@pytest.mark.parametrize("limit", [1, 64, 4096])
def test_the_limit_of_a_batch_changes_no_score(limit: int, made: Callable[[str], Path]) -> None:
    """Whatever runs together, each document has the same score."""
    model = made("bert-cross")

    assert _scores(model, backend="openvino", max_batch_tokens=limit) == pytest.approx(
        _scores(model, backend="openvino"), abs=1e-5
    )


# number formats


def test_full_precision_is_not_rounded(made: Callable[[str], Path]) -> None:
    """float32 is computed in float32, although OpenVINO left to itself rounds where the processor can."""
    model = made("bert-cross")
    compiled = sessions.OpenVino().open(model / "onnx" / "model.onnx", "cpu", "float32")

    assert compiled._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"  # noqa: SLF001


@pytest.mark.skipif(not COMPUTES_BFLOAT16, reason="this processor does not compute in bfloat16")
def test_bfloat16_rounds_the_exact_graph(made: Callable[[str], Path]) -> None:
    """bfloat16 is read from the float32 graph, says nearly the same, and says that it is what runs."""
    model = made("bert-cross")
    with resift.load(model, backend="openvino", dtype="bfloat16") as ranker:
        rounded = ranker.score(tiny.QUERY, list(tiny.DOCUMENTS))
        (runs_on,) = ranker.runs_on
    exact = _scores(model, backend="openvino")

    assert runs_on.dtype == "bfloat16"
    assert rounded == pytest.approx(exact, abs=5e-2)
    assert rounded != exact


def test_bfloat16_needs_a_processor_that_computes_it(
    made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where OpenVINO would silently run float32, bfloat16 is refused."""
    monkeypatch.setattr(sessions, "the_core", _Modest)

    with pytest.raises(InvalidInput, match="not computed by this processor"):
        resift.load(made("bert-cross"), backend="openvino", dtype="bfloat16")


class _Modest:
    """A processor that knows nothing but float32."""

    def get_property(self, device: str, name: str) -> list[str]:
        return ["FP32"]


def test_float16_is_left_to_others(made: Callable[[str], Path]) -> None:
    """float16 is refused with what is run instead."""
    with pytest.raises(InvalidInput, match="bfloat16"):
        resift.load(made("bert-cross"), backend="openvino", dtype="float16")


def test_a_quantised_graph_is_read_and_told(made: Callable[[str], Path]) -> None:
    """An int8 graph is read when int8 is asked for, and the company that a text is in changes no more than rounding."""
    model = made("xlmr-cross")
    exported.quantize(model / "onnx" / "model.onnx")
    with resift.load(model, backend="openvino", dtype="int8") as ranker:
        together = ranker.score(tiny.QUERY, list(tiny.DOCUMENTS))
        apart = [ranker.score(tiny.QUERY, [document])[0] for document in tiny.DOCUMENTS]
        (runs_on,) = ranker.runs_on

    assert (runs_on.backend, runs_on.dtype) == ("openvino", "int8")
    assert together == pytest.approx(apart, abs=1e-2)
    assert together == pytest.approx(_scores(model, backend="openvino"), abs=0.1)


# what it refuses


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "GPU", "mps"])
def test_other_devices_are_refused(device: str, made: Callable[[str], Path]) -> None:
    """OpenVINO runs on the CPU here; another device is refused with who has it."""
    with pytest.raises(InvalidInput, match="backend='torch'"):
        resift.load(made("bert-cross"), backend="openvino", device=device)


def test_a_graph_that_it_cannot_run_is_told(made: Callable[[str], Path], tmp_path: Path) -> None:
    """A graph with a node that OpenVINO does not know is refused with the backend that may."""
    from onnx import helper

    model = tiny.build("bert-cross", tmp_path)
    node = helper.make_node("Nobody", ["attention_mask"], ["logits"], domain="nowhere")
    inputs = {name: (exported.INT64, ["batch", "sequence"]) for name in exported.INPUTS[:2]}
    exported.write_graph(
        model / "onnx" / "model.onnx", [node], inputs, outputs={"logits": ["batch", 1]}, domains=["nowhere"]
    )

    with pytest.raises(ModelUnsupported, match=r"Nobody.*backend='onnx'"):
        resift.load(model, backend="openvino")


def test_a_model_without_a_graph_is_told(tmp_path: Path) -> None:
    """A model that has weights alone is refused with the file that is missing."""
    with pytest.raises(ModelNotFound, match=r"model\.onnx"):
        resift.load(tiny.build("bert-cross", tmp_path), backend="openvino")


def test_a_missing_library_names_its_extra(made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenVINO is not installed, its extra is named."""
    for name in ("importing", "sessions"):
        monkeypatch.delitem(sys.modules, f"resift.scoring.backends.openvino.{name}")
        monkeypatch.delattr(f"resift.scoring.backends.openvino.{name}")
    monkeypatch.setitem(sys.modules, "openvino", None)

    with pytest.raises(MissingDependency, match=r'pip install "resift\[openvino\]"'):
        resift.load(made("bert-cross"), backend="openvino")


# memory and files


def test_a_batch_that_does_not_fit_is_told(made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory runs out, smaller batches are tried, and scores stay what they are."""
    model = made("bert-cross")
    expected = _scores(model, backend="openvino")
    run, sizes = sessions.OpenVinoSession.run, []

    def run_in_little_room(self: Any, output: str, feed: Any) -> Any:
        sizes.append(feed["input_ids"].size)
        if sizes[-1] > 600:
            raise RuntimeError("Exception from src/inference: std::bad_alloc")
        return run(self, output, feed)

    with resift.load(model, backend="openvino") as ranker:
        monkeypatch.setattr(sessions.OpenVinoSession, "run", run_in_little_room)
        found = ranker.score(tiny.QUERY, list(tiny.DOCUMENTS) * 8)

    assert found == pytest.approx(expected * 8, abs=1e-5)
    assert max(sizes) > 600 >= sizes[-1]


def test_weights_behind_links_are_found(made: Callable[[str], Path], tmp_path: Path) -> None:
    """Files of weights that are links out of the graph's folder, as in the cache of the hub, are read."""
    model = exported.without_weights(made("bert-cross"), tmp_path / "model")
    graph = model / "onnx" / "model.onnx"
    data = exported.move_data_out(graph)
    kept = tmp_path / "kept"
    kept.mkdir()
    for number, file in enumerate((graph, data)):
        moved = file.rename(kept / str(number))
        file.symlink_to(moved)

    assert _scores(model, backend="openvino") == pytest.approx(_scores(made("bert-cross"), backend="torch"), abs=1e-5)
    assert sorted(path.name for path in kept.iterdir()) == ["0", "1"]
