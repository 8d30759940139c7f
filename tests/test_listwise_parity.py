"""Listwise rerankers say here what the authors' own code says: written anew, on transformers' model and tokenizer."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen3Model

import listwise_models
import resift
import tiny

COSINE = 1e-6
DOCUMENTS = list(tiny.DOCUMENTS)
Embeddings = np.ndarray


class Reference:
    """The authors' way: blocks of documents, a prompt for each, vectors behind the marks, one query for all blocks."""

    def __init__(self, directory: Path, query_length: int, document_length: int) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        self._model: Any = Qwen3Model.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
        self._model.train(mode=False)
        weights = load_file(directory / "model.safetensors")
        self._first, self._second = weights["projector.0.weight"], weights["projector.2.weight"]
        self._document, self._query = (self._tokenizer.convert_tokens_to_ids(mark) for mark in listwise_models.MARKS)
        self._query_length, self._document_length = query_length, document_length

    def rerank(self, query: str, documents: Sequence[str], instruction: str | None = None) -> Embeddings:
        vectors, queries, weights = [], [], []
        for ids in self.read(query, documents, instruction):
            of_documents, of_query = self._embed(torch.tensor([ids]))
            best = torch.nn.functional.cosine_similarity(of_documents, of_query).max().item()
            vectors.append(of_documents)
            queries.append(of_query[0].numpy())
            weights.append((1.0 + best) / 2.0)
        joined, query_vector = torch.cat(vectors).numpy(), np.average(queries, axis=0, weights=weights)
        norms = np.linalg.norm(joined, axis=1) * np.linalg.norm(query_vector)
        return np.asarray(joined @ query_vector / norms)

    def read(self, query: str, documents: Sequence[str], instruction: str | None = None) -> list[list[int]]:
        """Return the ids of each block's prompt."""
        query, query_length = self._cut(query, self._query_length)
        room = self._tokenizer.model_max_length - 2 * query_length
        blocks = self._blocks([self._cut(text, self._document_length) for text in documents], room)
        return [self._tokenizer(_prompt(query, block, instruction))["input_ids"] for block in blocks]

    def _cut(self, text: str, length: int) -> tuple[str, int]:
        ids = self._tokenizer(text, truncation=True, max_length=length)["input_ids"]
        return (self._tokenizer.decode(ids) if len(ids) >= length else text), len(ids)

    def _blocks(self, documents: list[tuple[str, int]], room: int) -> Iterator[list[str]]:
        block: list[str] = []
        left = room
        for text, length in documents:
            block.append(text)
            left -= length
            if len(block) >= 125 or left <= self._document_length:
                yield block
                block, left = [], room
        if block:
            yield block

    def _embed(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            hidden = self._model(input_ids=ids).last_hidden_state
            vectors = torch.relu(hidden @ self._first.T) @ self._second.T
        return vectors[ids == self._document], vectors[ids == self._query]


def _prompt(query: str, documents: Sequence[str], instruction: str | None) -> str:
    def clean(text: str) -> str:
        return text.replace("<|rerank_token|>", "").replace("<|embed_token|>", "")

    system = (
        "You are a search relevance expert who can determine a ranking of the passages based on how relevant they are "
        "to the query. If the query is a question, how relevant a passage is depends on how well it answers the "
        "question. If not, try to analyze the intent of the query and assess how well each passage satisfies the "
        "intent. If an instruction is provided, you should follow the instruction when determining the ranking."
    )
    said = (
        f"I will provide you with {len(documents)} passages, each indicated by a numerical identifier. "
        f"Rank the passages based on their relevance to query: {clean(query)}\n"
    )
    told = f"<instruct>\n{instruction}\n</instruct>\n" if instruction else ""
    passages = [
        f'<passage id="{at}">\n{clean(document)}<|embed_token|>\n</passage>' for at, document in enumerate(documents)
    ]
    asked = f"<query>\n{clean(query)}<|rerank_token|>\n</query>"
    user = said + told + "\n".join(passages) + "\n" + asked
    return (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


Build = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a maker of tiny models, each in a directory of its own, called as the authors call theirs."""
    return lambda name="jina-reranker-v3", **config: listwise_models.build(
        tmp_path_factory.mktemp("listwise") / name, **config
    )


def _read(ranker: resift.LocalRanker, query: str, documents: Sequence[str], instruction: str | None) -> list[list[int]]:
    prepared = ranker._hold.family.prepare(query, documents, instruction)  # noqa: SLF001 - there is no other way to see
    return [tokens.ids.tolist() for tokens in prepared.sequences]


def _assert_same(
    directory: Path, limits: tuple[int, int], query: str, documents: Sequence[str], **options: Any
) -> list[list[int]]:
    """Compare ids and scores with the authors' way, and return the ids of each block."""
    instruction = options.pop("instruction", None)
    reference = Reference(directory, *limits)
    blocks, expected = reference.read(query, documents, instruction), reference.rerank(query, documents, instruction)
    with resift.load(directory, device="cpu", **options) as ranker:
        assert _read(ranker, query, documents, instruction) == blocks
        scores = ranker.score(query, documents, instruction=instruction)
    np.testing.assert_allclose(scores, expected, atol=COSINE, rtol=0)
    assert np.ptp(expected) > 1e-3
    return blocks


@pytest.mark.parametrize("instruction", [None, "Prefer what is said of food."])
@pytest.mark.parametrize("query", [tiny.QUERY, tiny.LONG_QUERY])
def test_one_block_parity(query: str, instruction: str | None, build: Build) -> None:
    """Documents of one block are read in one sequence, and compared as the authors compare them."""
    blocks = _assert_same(build(), (512, 2048), query, DOCUMENTS, instruction=instruction)

    assert len(blocks) == 1


@pytest.mark.parametrize("count", [125, 126, 260])
def test_blocks_of_many_documents_parity(count: int, build: Build) -> None:
    """A block holds 125 documents at most; the queries of all blocks are averaged, and all documents compared anew."""
    documents = [f"The panda of day {at} ate {at * 7 % 11} kilos." for at in range(count)]

    assert len(_assert_same(build(), (512, 2048), tiny.QUERY, documents)) == -(-count // 125)


def test_blocks_of_long_documents_parity(build: Build) -> None:
    """A block ends where a document of the longest kind might not fit any more; texts are cut token by token."""
    documents = [*DOCUMENTS[:6], "bamboo and rice, " * 500, *DOCUMENTS[6:9], "pandas; " * 1100, "bears, " * 700]
    directory = build(model_max_length=5000)

    blocks = _assert_same(directory, (512, 2048), tiny.LONG_QUERY + " " + tiny.LONG_QUERY, documents)

    assert len(blocks) > 2


@pytest.mark.parametrize(("spare", "first"), [(0, 3), (1, 4)])
def test_a_block_that_is_just_full_parity(spare: int, first: int, build: Build) -> None:
    """A block ends where exactly the longest document is left room for, and not one token before."""
    documents = [f"{text} {'bamboo and rice, ' * 200}" for text in DOCUMENTS[:6]]
    reference = Reference(build(), 512, 2048)
    asked, *lengths = (len(reference._tokenizer(text)["input_ids"]) for text in (tiny.QUERY, *documents))  # noqa: SLF001
    directory = build(model_max_length=2 * asked + sum(lengths[:3]) + 2048 + spare)

    assert sum(lengths[:3]) > 2048 > max(lengths)
    blocks = _assert_same(directory, (512, 2048), tiny.QUERY, documents)

    mark = reference._tokenizer.convert_tokens_to_ids(listwise_models.MARKS[0])  # noqa: SLF001 - as above
    assert [block.count(mark) for block in blocks] == [first, 6 - first]


def test_sliding_windows_parity(build: Build) -> None:
    """The successor, whose layers look back a limited way, is read just as exactly."""
    _assert_same(build("jina-reranker-v3.5", **listwise_models.SLIDING), (1024, 8192), tiny.QUERY, DOCUMENTS)


@pytest.mark.parametrize(("name", "limits"), [("jina-reranker-v3", (512, 2048)), ("jina-reranker-v3.5", (1024, 8192))])
def test_lengths_parity(name: str, limits: tuple[int, int], build: Build) -> None:
    """Queries and documents beyond the authors' limits, which grew from one model to the next, are cut as they cut."""
    query, documents = tiny.LONG_QUERY * 3, [*DOCUMENTS[::3], "bamboo and rice, " * 900, "pandas; " * 2500]
    directory = build(name)
    expected = Reference(directory, *limits).read(query, documents)

    with resift.load(directory, device="cpu") as ranker:
        assert _read(ranker, query, documents, None) == expected
