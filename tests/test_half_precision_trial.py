"""The trial of a model of unknown make, where it is asked to run in half precision."""

import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import resift
import tiny
from resift.scoring.backends.torch import opening, transformers_models
from resift.scoring.backends.torch.attention import IMPLEMENTATION, packed_attention

EMBEDDING = "BAAI/bge-large-en-v1.5"
QUERY = "How long do giant pandas sleep, and what do they eat?"
KINDS = {
    "modernbert-embedding": tiny.Kind("ModernBertModel", "modernbert", tiny.KINDS["modernbert-cross"].config, gain=1.0),
    "llama-cross": tiny.Kind(
        "LlamaForSequenceClassification",
        "modernbert",
        tiny.DECODER
        | {"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "num_labels": 1},
        gain=0.7,
    ),
}
MODELS: dict[str, tuple[dict[str, Any], str | None]] = {
    "modernbert-cross": ({"classifier_pooling": "cls"}, None),
    "modernbert-embedding": ({"num_labels": None}, EMBEDDING),
    "llama-cross": ({}, None),
}
Wrong = Callable[..., Any]


def _without_window(*given: Any, sliding_window: int | None = None, **options: Any) -> Any:
    return packed_attention(*given, **options)


def _rescaled(*given: Any, scaling: float | None = None, **options: Any) -> Any:
    scale = given[1].shape[-1] ** -0.5 if scaling is None else scaling
    return packed_attention(*given, scaling=0.7 * scale, **options)


def _of_all(*given: Any, segments: Any, **options: Any) -> Any:
    """Let each sequence see whatever stands in the same batch."""
    end = segments.bounds[-1][1]
    return packed_attention(*given, segments=type(segments)(((0, end),), (((0, end),),), segments.device), **options)


WRONGS = {"no window": _without_window, "another scale": _rescaled, "neighbours": _of_all}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _nothing_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every model be tried, whatever else shows that it can be trusted."""
    proven = vars(transformers_models)["_PROVEN"]
    monkeypatch.setattr(transformers_models, "_PROVEN", dict.fromkeys(proven, frozenset()))
    monkeypatch.setattr(opening, "_OWN_PASSES", ())


@pytest.fixture(autouse=True)
def _own_attention() -> Iterator[None]:
    """Put the real attention back, which is known to transformers by its name."""
    yield
    transformers.AttentionInterface.register(IMPLEMENTATION, packed_attention)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with pytest.MonkeyPatch.context() as patch:
        for kind, made in KINDS.items():
            patch.setitem(tiny.KINDS, kind, made)
        root = tmp_path_factory.mktemp("trial")
        return {kind: tiny.build(kind, root / kind, **config) for kind, (config, _) in MODELS.items()}


def _scores(directory: Path, kind: str, dtype: Any) -> list[float]:
    with resift.load(directory, like=MODELS[kind][1], device="cpu", dtype=dtype, normalize=False) as ranker:
        return ranker.score(QUERY, list(tiny.DOCUMENTS))


def _chosen(caplog: pytest.LogCaptureFixture) -> str:
    """Return how the last model is said to run: its number format and its way."""
    said = [record.getMessage() for record in caplog.records if " loaded on " in record.getMessage()]
    return said[-1].partition(" in ")[2]


@pytest.mark.parametrize("kind", MODELS)
def test_an_honest_model_is_packed_in_half_precision(
    kind: str, directories: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A model that says the same packed runs packed in bfloat16 too, and its scores stay near those in full."""
    with caplog.at_level(logging.INFO, "resift"):
        half = _scores(directories[kind], kind, "bfloat16")
        assert _chosen(caplog) == "torch.bfloat16, packed"
        full = _scores(directories[kind], kind, "float32")
        assert _chosen(caplog) == "torch.float32, packed"

    spread = max(full) - min(full)
    assert spread > 0.05
    assert half == pytest.approx(full, abs=0.1 * spread)
    assert half != full


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("kind", "wrong"),
    [(kind, wrong) for kind in MODELS for wrong in WRONGS if (kind, wrong) != ("llama-cross", "no window")],
)
def test_a_model_that_is_wrong_packed_is_not_packed_in_half_precision(
    *,
    kind: str,
    wrong: str,
    dtype: str,
    directories: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rounding hides nothing: attention that loses a window, scales otherwise or leaks is found in either format."""
    expected = _scores(directories[kind], kind, dtype)
    monkeypatch.setattr(transformers_models, "packed_attention", WRONGS[wrong])
    with caplog.at_level(logging.INFO, "resift"):
        found = _scores(directories[kind], kind, dtype)

    assert _chosen(caplog) == f"torch.{dtype}, padded"
    assert "packed, it would say something else" in caplog.text
    spread = max(expected) - min(expected)
    assert found == pytest.approx(expected, abs=0.1 * spread)


def test_the_trial_leaves_no_second_model(directories: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was built in full precision for the trial is gone when the ranker scores."""
    sizes: list[int] = []
    built: list[Any] = []
    build = vars(transformers_models)["build"]

    def seeing(*given: Any, **options: Any) -> Any:
        model = build(*given, **options)
        built.append(weakref.ref(model))
        sizes.append(next(model.parameters()).element_size())
        return model

    monkeypatch.setattr(transformers_models, "build", seeing)
    with resift.load(directories["modernbert-cross"], device="cpu", dtype="bfloat16") as ranker:
        assert len(ranker.score(QUERY, ["panda"])) == 1
        gc.collect()
        alive = [size for size, seen in zip(sizes, built, strict=True) if seen() is not None]

    assert sizes == [2, 4]
    assert 4 not in alive
