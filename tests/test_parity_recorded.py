"""
Scores and token ids are those of the authors' own packages.

Those packages need an older transformers than the one installed here, so their numbers were recorded once, on the same
tiny models, by `references/make.py`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resift
import tiny

RECORDED = Path(__file__).parent / "references"

# Differences between one padded batch there and packed tokens here; the same package differs as much from itself.
TOLERANCE = 2e-6

# How each package's settings are said in resift, beside the length.
LIKE = {
    "FlagEmbedding xlmr-cross": "BAAI/bge-reranker-base",
    "FlagEmbedding bert-cross": "BAAI/bge-reranker-base",
    "FlagEmbedding gemma": "BAAI/bge-reranker-v2-gemma",
    "FlagEmbedding minicpm": "BAAI/bge-reranker-v2-minicpm-layerwise",
    "mxbai-rerank qwen2": "mixedbread-ai/mxbai-rerank-large-v2",
    "mxbai-rerank deberta-cross": "mixedbread-ai/mxbai-rerank-base-v1",
    "transformers qwen3": "Qwen/Qwen3-Reranker-0.6B",
}


def _cases() -> Iterator[Any]:
    for path in sorted(RECORDED.glob("*.json")):
        recorded = json.loads(path.read_text())
        for number, case in enumerate(recorded["cases"]):
            if "query_max_length" in case["settings"]:
                continue  # a setting of that package which has no counterpart here
            yield pytest.param(recorded, case, id=f"{path.stem}-{number}-{case['model']['kind']}")


@pytest.mark.parametrize(("recorded", "case"), list(_cases()))
def test_recorded_parity(recorded: dict[str, Any], case: dict[str, Any], tmp_path: Path) -> None:
    """Ids are equal to those that the authors' package feeds its model, and scores are its scores."""
    model, settings = case["model"], case["settings"]
    config = {"pooling": settings["pooling"]} if "pooling" in settings else model["config"]  # said to the package there
    directory = tiny.build(model["kind"], tmp_path / "model", seed=model["seed"], **config)
    assert tiny.fingerprint(directory) == model["sha256"]

    with resift.load(directory, device="cpu", **_options(recorded["package"], case)) as ranker:
        instruction = settings.get("instruction", settings.get("prompt"))
        told = {"instruction": instruction or ""} if _takes_instruction(recorded["package"], case) else {}
        assert _ids(ranker, case["query"], recorded["documents"], told.get("instruction")) == _expected_ids(case)
        scores = ranker.score(case["query"], recorded["documents"], **told)

    np.testing.assert_allclose(scores, case["scores"], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(scores, case["scores_alone"], atol=TOLERANCE, rtol=0)


def _options(package: str, case: dict[str, Any]) -> dict[str, Any]:
    kind, settings = case["model"]["kind"], case["settings"]
    options: dict[str, Any] = {"max_length": settings.get("max_length"), "like": LIKE.get(f"{package} {kind}")}
    if package == "transformers" and kind.endswith("-cross"):
        options["normalize"] = False  # the model card's code shows the raw logit
    if settings.get("normalize"):
        options["normalize"] = True
    if settings.get("estimated_max") == 9.0:
        options["like"] = "mixedbread-ai/mxbai-rerank-base-v2"
    if package == "FlagEmbedding" and kind == "bert-embedding" and settings["pooling"] == "cls":
        options["like"] = "BAAI/bge-large-en-v1.5"
    return options


def _takes_instruction(package: str, case: dict[str, Any]) -> bool:
    """Whether the case says an instruction, or (for embeddings) says that there is none."""
    settings = case["settings"]
    return settings.get("instruction") is not None or "prompt" in settings or case["model"]["kind"] == "bert-embedding"


def _ids(
    ranker: resift.LocalRanker, query: str, documents: list[str], instruction: str | None
) -> tuple[list[int] | None, list[list[int]]]:
    prepared = ranker._hold.family.prepare(query, documents, instruction)  # noqa: SLF001 - what the model is fed
    whole = [[*prepared.prefix.tolist(), *sequence.ids.tolist()] for sequence in prepared.sequences]
    if len(whole) == len(documents):
        return None, whole
    distinct = dict(zip(dict.fromkeys(documents), whole[1:], strict=True))
    return whole[0], [distinct[document] for document in documents]


def _expected_ids(case: dict[str, Any]) -> tuple[list[int] | None, list[list[int]]]:
    return case.get("query_ids"), case["ids"]


def test_recorded_edge(tmp_path: Path) -> None:
    """Everything that was recorded is compared, but for one case whose setting resift does not have."""
    left_out = [
        case
        for path in RECORDED.glob("*.json")
        for case in json.loads(path.read_text())["cases"]
        if "query_max_length" in case["settings"]
    ]
    assert len(left_out) == 1
