"""Late-interaction models say here what they say in sentence-transformers, whatever the layout of their files."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules.dense import Dense

import late_models
import resift
import tiny

SUM = 2e-5  # sums of up to 32 cosines
DOCUMENTS = list(tiny.DOCUMENTS)
QUERIES = {"short": tiny.QUERY, "long": tiny.LONG_QUERY, "one": "panda"}

Build = Callable[..., Path]
Read = list[tuple[list[int], list[int]]]


def _native(directory: Path, **options: Any) -> Path:
    expansion = {"strategy": "fixed", "length": 32} | options.pop("expansion", {})
    prompts = {"query": "query: ", "document": "document: "}
    return late_models.chain(directory, prompts=prompts, query_expansion=expansion, document_length=64, **options)


def _two_layers(directory: Path) -> Path:
    torch.manual_seed(0)
    layers = [
        Dense(32, 48, activation_function=torch.nn.GELU(), module_input_name="token_embeddings"),
        Dense(
            48,
            8,
            bias=False,
            activation_function=torch.nn.Identity(),
            module_input_name="token_embeddings",
            use_residual=True,
        ),
    ]
    return _native(directory, layers=layers)


def _unnamed(directory: Path, **saved: Any) -> Path:
    """Write a checkpoint as PyLate did before its chains had a name, those of GTE-ModernColBERT among them."""
    late_models.pylate(directory, **saved)
    path = directory / "config_sentence_transformers.json"
    fields = json.loads(path.read_text())
    del fields["model_type"]
    path.write_text(json.dumps(fields))
    return directory


MAKERS: dict[str, Callable[[Path], Path]] = {
    "stanford": late_models.stanford,
    "stanford, short": lambda at: late_models.stanford(at, query_maxlen=20, doc_maxlen=48),
    "stanford, attending": lambda at: late_models.stanford(at, attend_to_mask_tokens=True),
    "stanford, with punctuation": lambda at: late_models.stanford(at, mask_punctuation=False),
    "pylate": late_models.pylate,
    "pylate, markers as text": lambda at: late_models.pylate(at, known_markers=False),
    "pylate, attending": lambda at: late_models.pylate(at, attend_to_expansion_tokens=True),
    "pylate, unexpanded": lambda at: late_models.pylate(at, do_query_expansion=False, query_length=24),
    "pylate, no words skipped": lambda at: late_models.pylate(at, skiplist_words=[]),
    "pylate, with a prompt": lambda at: late_models.pylate(at, prompts={"query": "Find: ", "document": "[D] A: "}),
    "pylate, unnamed": _unnamed,
    "pylate, unnamed, modernbert": lambda at: _unnamed(at, kind="modernbert-cross", document_length=300),
    "modernbert": lambda at: late_models.pylate(at, kind="modernbert-cross"),
    "modernbert, wide": lambda at: late_models.pylate(at, kind="modernbert-cross", query_length=64),
    "modernbert, attending": lambda at: late_models.pylate(
        at, kind="modernbert-cross", query_length=64, attend_to_expansion_tokens=True
    ),
    "chain": lambda at: _native(at, mask={"skiplist_words": [".", ",", "?"]}),
    "chain, at least": lambda at: _native(at, expansion={"strategy": "min", "length": 40, "attend": True}),
    "chain, at least, hidden": lambda at: _native(at, expansion={"strategy": "min", "length": 40}),
    "chain, queries skip": lambda at: _native(
        at, mask={"skiplist_words": ["?", ","], "skiplist_tasks": ["query", "document"]}
    ),
    "chain, mean": lambda at: _native(at, similarity="meanmaxsim"),
    "chain, unexpanded": lambda at: late_models.chain(at, query_length=16, document_length=64),
    "chain, nothing said": late_models.chain,
    "chain, two layers": _two_layers,
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a maker of tiny models, each built once."""
    built: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in built:
            built[name] = MAKERS[name](tmp_path_factory.mktemp("late") / "model")
        return built[name]

    return make


@contextmanager
def _watch(model: Any) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Collect the ids that a model of sentence-transformers is given, and which of them are attended to."""
    seen: Read = []

    def note(_module: object, arguments: tuple[dict[str, Any]]) -> None:
        (ids,), (mask,) = arguments[0]["input_ids"].tolist(), arguments[0]["attention_mask"].tolist()
        seen.append((ids, mask))

    handle = model[0].register_forward_pre_hook(note)
    yield seen
    handle.remove()


def _expected(directory: Path, query: str, documents: Sequence[str]) -> tuple[Read, list[int], list[float]]:
    """Return what the reference reads, how many vectors it keeps, and its scores; one text at a time."""
    logging.disable(logging.WARNING)
    try:
        model = MultiVectorEncoder(str(directory), device="cpu", local_files_only=True)
        with _watch(model) as seen:
            options: dict[str, Any] = {"show_progress_bar": False, "convert_to_numpy": True}
            asked = model.encode_query([query], **options)
            answered = [model.encode_document([document], **options)[0] for document in documents]
        scores = model.similarity(asked, answered)[0].tolist()
    finally:
        logging.disable(logging.NOTSET)
    return seen, [len(vectors) for vectors in (*asked, *answered)], scores


def _read(ranker: resift.LocalRanker, query: str, documents: Sequence[str]) -> tuple[Read, list[int]]:
    prepared = ranker._hold.family.prepare(query, documents, None)  # noqa: SLF001 - there is no other way to see
    return [
        (tokens.ids.tolist(), [1] * (len(tokens) - tokens.unseen) + [0] * tokens.unseen)
        for tokens in prepared.sequences
    ], [tokens.rows for tokens in prepared.sequences]


@pytest.mark.parametrize("length", QUERIES)
@pytest.mark.parametrize("name", MAKERS)
def test_late_interaction_parity(name: str, length: str, build: Build) -> None:
    """The same ids are read, as many vectors of them count, and the sums of the best matches are the same."""
    directory, query = build(name), QUERIES[length]
    documents = DOCUMENTS if length == "short" else DOCUMENTS[::4]
    ids, counts, scores = _expected(directory, query, documents)

    with resift.load(directory, device="cpu") as ranker:
        found, rows = _read(ranker, query, documents)
        assert found == ids
        assert rows == counts
        tolerance = SUM * max(1.0, counts[0] / 32)  # a float32 of hundreds is no finer
        np.testing.assert_allclose(ranker.score(query, documents), scores, atol=tolerance, rtol=0)
