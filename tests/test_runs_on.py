"""Which backend runs a model where none is named, and that a ranker says which."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import exported
import resift
import tiny
from resift.checkpoint import open_checkpoint
from resift.errors import ScoringFailed
from resift.scoring.backends import RunsOn, choosing
from resift.scoring.backends.choosing import choose
from resift.settings import Settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a maker of the same model with weights and a graph ("both"), or with one of them."""
    folder = tmp_path_factory.mktemp("runs on")
    both = exported.build("bert-cross", folder / "both")
    exported.without_weights(both, folder / "graph")
    tiny.build("bert-cross", folder / "weights")
    return lambda kind: folder / kind


def _chosen(model: Path, monkeypatch: pytest.MonkeyPatch, *, installed: str, gpu: bool = False, **how: Any) -> str:
    """Return what would run a model where some packages are installed, and ONNX Runtime has a GPU or not."""
    monkeypatch.setattr(choosing, "_is_installed", lambda package: package in installed.split())
    monkeypatch.setattr(choosing, "offers_gpu", lambda model: gpu)
    device = how.pop("device", "auto")
    choice = choose(Settings(str(model), device=device, **how), [device])
    return choice.runner(open_checkpoint(str(model)).form(choice.forms))


@pytest.mark.parametrize(
    ("kind", "installed", "runner"),
    [
        ("both", "torch onnxruntime openvino", "torch"),
        ("weights", "torch onnxruntime openvino", "torch"),
        ("graph", "torch onnxruntime openvino", "openvino"),
        ("graph", "torch onnxruntime", "onnx"),
        ("graph", "torch openvino", "openvino"),
        ("both", "onnxruntime openvino", "openvino"),
        ("both", "onnxruntime", "onnx"),
        ("both", "openvino", "openvino"),
    ],
)
def test_what_is_fastest_and_exact_runs(
    kind: str, installed: str, runner: str, made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU torch runs weights; where it or they are missing, OpenVINO runs the graph if it is there."""
    assert _chosen(made(kind), monkeypatch, installed=installed) == runner


@pytest.mark.parametrize(
    ("how", "runner"),
    [
        ({}, "onnx"),
        ({"device": "cuda"}, "onnx"),
        ({"device": "cpu"}, "openvino"),
        ({"device": "cpu", "dtype": "bfloat16"}, "openvino"),
        ({"device": "cpu", "dtype": "float16"}, "onnx"),
        ({"device": "cpu", "dtype": "int8"}, "onnx"),
        ({"backend": "openvino", "device": "cpu", "dtype": "int8"}, "openvino"),
    ],
)
def test_a_gpu_and_some_formats_are_onnx_runtimes(
    how: dict[str, Any], runner: str, made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph is left to ONNX Runtime where it has a GPU that may be used, and for float16 and int8, unless named."""
    monkeypatch.setattr(choosing.Choice, "require", lambda choice, form: None)

    assert _chosen(made("graph"), monkeypatch, installed="torch onnxruntime openvino", gpu=True, **how) == runner


@pytest.mark.parametrize(
    ("kind", "how", "expected"),
    [
        ("both", {"device": "cpu"}, RunsOn("torch", "cpu", "float32")),
        ("both", {"backend": "torch", "device": "cpu", "dtype": "bfloat16"}, RunsOn("torch", "cpu", "bfloat16")),
        ("graph", {"backend": "onnx", "device": "cpu"}, RunsOn("onnx", "cpu", "float32")),
        ("graph", {"device": "cpu"}, RunsOn("openvino", "cpu", "float32")),
    ],
)
def test_a_ranker_says_where_it_runs(
    kind: str, how: dict[str, Any], expected: RunsOn, made: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Backend, device and number format are decided when a model is loaded; ranker and log say them."""
    caplog.set_level(logging.INFO, "resift")
    with resift.load(made(kind), **how) as ranker:
        assert ranker.runs_on == (expected,)
    said = " ".join(record.getMessage() for record in caplog.records)

    assert expected.device in said
    assert expected.dtype in said


def test_each_replica_says_where_it_runs(made: Callable[[str], Path]) -> None:
    """Several devices are several places, and the built-in scorer needs none."""
    with resift.load(made("graph"), device=["cpu", "cpu"]) as ranker:
        assert ranker.runs_on == (RunsOn("openvino", "cpu", "float32"),) * 2
    with resift.load() as ranker:
        assert ranker.runs_on == ()


def test_a_closed_ranker_runs_nowhere(made: Callable[[str], Path]) -> None:
    """A closed ranker has no place to name."""
    ranker = resift.load(made("graph"))
    ranker.close()

    with pytest.raises(ScoringFailed, match="closed"):
        _ = ranker.runs_on


def test_backends_score_alike(made: Callable[[str], Path]) -> None:
    """Whatever runs a model in full precision, its scores are the same."""
    scores = []
    for backend in ("torch", "onnx", "openvino"):
        with resift.load(made("both"), backend=backend, device="cpu") as ranker:
            scores.append(ranker.score(tiny.QUERY, list(tiny.DOCUMENTS)))

    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
    assert scores[2] == pytest.approx(scores[0], abs=1e-5)
