"""A score is a property of a query and a document: not of order, neighbours, batches, threads or callers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import resift
import tiny

LIKE = {"qwen2": "mixedbread-ai/mxbai-rerank-base-v2", "qwen3": "Qwen/Qwen3-Reranker-0.6B"}
KINDS = ("bert-cross", "xlmr-cross", "electra-cross", "qwen2", "qwen3", "deberta-cross", "modernbert-cross")
LIMITS = (16, 200, 4096)  # one sequence at a time; a few; all at once
TOLERANCE = 1e-5

Scores = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rankers:
    """One model behind several limits, and what it says about each document alone."""

    directories: dict[str, Path]
    limited: dict[tuple[str, int], resift.LocalRanker]
    alone: dict[str, Scores]


def _load(directory: Path, **options: Any) -> resift.LocalRanker:
    return resift.load(directory, like=LIKE.get(directory.name), device="cpu", normalize=False, **options)


@pytest.fixture(scope="module")
def rankers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rankers]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("models")
    directories = {kind: tiny.build(kind, root / kind) for kind in KINDS}
    limited = {
        (kind, limit): _load(directory, max_batch_tokens=limit)
        for kind, directory in directories.items()
        for limit in LIMITS
    }
    alone = {kind: _alone(limited[kind, 4096]) for kind in KINDS}
    yield Rankers(directories, limited, alone)
    for ranker in limited.values():
        ranker.close()
    torch.set_num_threads(threads)


def _alone(ranker: resift.LocalRanker) -> Scores:
    return np.array([ranker.score(tiny.QUERY, [document])[0] for document in tiny.DOCUMENTS])


def _assert_close(found: Any, expected: Scores) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@given(
    kind=st.sampled_from(KINDS),
    limit=st.sampled_from(LIMITS),
    chosen=st.lists(st.integers(0, len(tiny.DOCUMENTS) - 1), min_size=1, max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_a_score_does_not_depend_on_the_others(kind: str, limit: int, chosen: list[int], rankers: Rankers) -> None:
    """Any documents, in any order, some of them twice, in batches of any size, get what each gets alone."""
    found = rankers.limited[kind, limit].score(tiny.QUERY, [tiny.DOCUMENTS[at] for at in chosen])

    _assert_close(found, rankers.alone[kind][chosen])


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_score_does_not_depend_on_concurrent_callers(kind: str, limit: int, rankers: Rankers) -> None:
    """Callers whose calls share batches get what each would get alone, prefixes and all."""
    queries = [f"{tiny.QUERY} {count}" * (1 + count % 3) for count in range(6)]
    ranker = rankers.limited[kind, limit]
    expected = [ranker.score(query, tiny.DOCUMENTS[3:12]) for query in queries]

    with ThreadPoolExecutor(len(queries)) as pool:
        found = list(pool.map(lambda query: ranker.score(query, tiny.DOCUMENTS[3:12]), queries))

    _assert_close(found, np.array(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_does_not_depend_on_threads(kind: str, rankers: Rankers) -> None:
    """A machine with more threads gives the same scores."""
    torch.set_num_threads(2)
    try:
        with _load(rankers.directories[kind], max_batch_tokens=1000) as ranker:
            found = ranker.score(tiny.QUERY, tiny.DOCUMENTS)
    finally:
        torch.set_num_threads(1)

    _assert_close(found, rankers.alone[kind])


def test_the_models_tell_documents_apart(rankers: Rankers) -> None:
    """What the promises above compare are scores that differ from document to document."""
    for scores in rankers.alone.values():
        assert len(np.unique(scores.round(4))) > 0.7 * len(tiny.DOCUMENTS)
