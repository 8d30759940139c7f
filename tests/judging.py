"""Small collections for tests of the evaluation, in memory and as files."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resift.evaluation import Collection, Evaluation, Listing, Run, evaluate
from resift.evaluation.record import Standing
from resift.testing import FakeRanker


def collection(queries: int = 6, candidates: int = 12, *, name: str = "small", seed: int = 0) -> Collection:
    """Make a collection whose documents say how relevant they are: `q3 d17 grade 2`."""
    chance = np.random.default_rng(seed)
    documents: dict[str, Any] = {}
    judgements: dict[str, dict[str, int]] = {}
    lists: dict[str, Listing] = {}
    for number in range(queries):
        query = f"q{number}"
        grades = {f"{query}-d{at}": int(grade) for at, grade in enumerate(chance.integers(0, 3, candidates))}
        grades[f"{query}-d0"] = 2
        judgements[query] = grades
        documents |= {document: f"{query} {document} grade {grade}" for document, grade in grades.items()}
        lists[query] = Listing.in_order([f"{query}-d{at}" for at in chance.permutation(candidates)])
    return Collection(
        name, {query: f"what is {query}" for query in judgements}, documents, judgements, Run("first", lists)
    )


def told(query: str, text: str, instruction: str | None) -> float:
    """Score as the judges do."""
    return float(text.rsplit(maxsplit=1)[-1])


def perfect(**options: Any) -> FakeRanker:
    """Make a ranker that knows the judgements."""
    return FakeRanker("perfect", told, **options)


def noisy(seed: int, noise: float = 1.0, **options: Any) -> FakeRanker:
    """Make a ranker that knows the judgements more or less."""

    def score(query: str, text: str, instruction: str | None) -> float:
        chance = np.random.default_rng([seed, *f"{query} {text}".encode()])
        return told(query, text, instruction) + noise * float(chance.normal())

    return FakeRanker(f"noisy {seed}", score, **options)


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """Write lines, gzipped where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_objects(path: Path, objects: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSON objects, one on each line."""
    return write_lines(path, (json.dumps(one, ensure_ascii=False) for one in objects))


def means(standing: Standing, measure: str = "nDCG@10") -> dict[str, float]:
    """Return the mean of each row."""
    return {row: round(measures[measure].mean, 9) for row, measures in standing.measures.items()}


def numbers(evaluation: Evaluation) -> Any:
    """Return all that does not depend on the clock."""
    return {name: results.standing for name, results in evaluation.collections.items()}, evaluation.overall


def quick(collections: Any, contestants: Mapping[str, Any], **options: Any) -> Evaluation:
    """Evaluate without a warm-up."""
    return evaluate(collections, contestants, **{"warm_up": 0, **options})
