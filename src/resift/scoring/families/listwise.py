"""Listwise rerankers of the make of jina-reranker-v3: many documents in one sequence, a vector read behind each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.errors import InvalidInput
from resift.scoring.backends import Outputs
from resift.scoring.families import Prepared, Scores
from resift.scoring.planning import Ids, Tokens
from resift.tokenizing import TextEncoder

_BLOCK = 125  # documents
_SHORTEST = 1024  # tokens, so that neither a query nor a document has to be cut to a few words

_HEAD = (
    "<|im_start|>system\n"
    "You are a search relevance expert who can determine a ranking of the passages based on how relevant they are to "
    "the query. If the query is a question, how relevant a passage is depends on how well it answers the question. "
    "If not, try to analyze the intent of the query and assess how well each passage satisfies the intent. If an "
    "instruction is provided, you should follow the instruction when determining the ranking."
    "<|im_end|>\n<|im_start|>user\n"
)
_TAIL = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

Vectors = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Marks:
    """The tokens behind which vectors are read."""

    query: str
    document: str


class ListwiseRanker:
    """
    Scores by the cosine between what the model makes of the query and of each document, in view of the others.

    Documents are read in blocks of as many as the authors allow. The query has a vector in each; they are averaged, the
    ones of blocks with a good match counting for more, and every document is compared with the average. So a score
    depends on which documents stand in the list, and in what order.
    """

    instructable = True
    bounded = True
    listwise = True

    def __init__(
        self, encoder: TextEncoder, marks: Marks, *, max_length: int, query_length: int, document_length: int
    ) -> None:
        """`max_length` is of the texts of a block, the query twice; a query has an eighth of it, a document half."""
        if max_length < _SHORTEST:
            raise InvalidInput(
                f"max_length={max_length} leaves no room for a list of documents; use at least {_SHORTEST}"
            )
        self.max_length = max_length
        self._encoder = encoder
        self._marks = marks
        self._ids = [encoder.token(mark) for mark in (marks.query, marks.document)]
        self._query_length = min(query_length, max_length // 8)
        self._document_length = min(document_length, max_length // 2)

    def prepare(self, query: str, documents: Sequence[str], instruction: str | None) -> Prepared:
        """Make one call ready: one sequence for each block of documents."""
        (asked,), (query_length,), _ = self._shorten([query], self._query_length)
        texts, lengths, cut = self._shorten(documents, self._document_length)
        blocks = list(self._blocks(lengths, self.max_length - 2 * query_length))
        prompts = [self._prompt(asked, texts[block], instruction or "") for block in blocks]
        sequences = [self._marked(ids) for ids in self._encoder.encode_many(prompts)]

        def finish(outputs: Outputs, normalize: bool | None) -> Scores:
            vectors = outputs.astype(np.float64)
            ends = np.cumsum([sequence.rows for sequence in sequences])
            scores = _cosines_of_all(np.split(vectors, ends[:-1]))
            return (1.0 + scores) / 2.0 if normalize else scores

        return Prepared(sequences, finish, cut=cut, tokens=sum(map(len, sequences)))

    def _shorten(self, texts: Sequence[str], length: int) -> tuple[list[str], list[int], list[bool]]:
        """Return the texts, those that fill the length written anew from their tokens, as the authors do."""
        encoded = self._encoder.encode_many(texts)
        shortened = [
            text if len(ids) < length else self._encoder.decode(ids[:length])
            for text, ids in zip(texts, encoded, strict=True)
        ]
        return shortened, [min(len(ids), length) for ids in encoded], [len(ids) > length for ids in encoded]

    def _blocks(self, lengths: Sequence[int], room: int) -> Iterator[slice]:
        """Yield which documents are read together: a block ends where the longest document might not fit any more."""
        start, left = 0, room
        for at, length in enumerate(lengths):
            left -= length
            if at + 1 - start >= _BLOCK or left <= self._document_length:
                yield slice(start, at + 1)
                start, left = at + 1, room
        if start < len(lengths):
            yield slice(start, len(lengths))

    def _prompt(self, query: str, documents: Sequence[str], instruction: str) -> str:
        query, instruction = self._without_marks(query), self._without_marks(instruction)
        passages = [
            f'<passage id="{at}">\n{self._without_marks(text)}{self._marks.document}\n</passage>\n'
            for at, text in enumerate(documents)
        ]
        return "".join(
            [
                f"{_HEAD}I will provide you with {len(documents)} passages, each indicated by a numerical identifier. ",
                f"Rank the passages based on their relevance to query: {query}\n",
                f"<instruct>\n{instruction}\n</instruct>\n" if instruction else "",
                *passages,
                f"<query>\n{query}{self._marks.query}\n</query>{_TAIL}",
            ]
        )

    def _without_marks(self, text: str) -> str:
        """Take the marks out of a text, and those that come into being where one was taken out."""
        marks = (self._marks.query, self._marks.document)
        while any(mark in text for mark in marks):
            for mark in marks:
                text = text.replace(mark, "")
        return text

    def _marked(self, ids: Ids) -> Tokens:
        """Read behind each document, and last behind the query."""
        query, document = self._ids
        read = np.concatenate([np.flatnonzero(ids == document), np.flatnonzero(ids == query)])
        return Tokens(ids, read=read.astype(np.int32))


def _cosines_of_all(blocks: Sequence[Vectors]) -> Scores:
    """Compare each document with the queries of all blocks: a block counts for more the better its best document."""
    weights = [((1.0 + _cosines(block[-1], block[:-1])) / 2.0).max() for block in blocks]
    queries = np.stack([block[-1] for block in blocks])
    query = np.average(queries, axis=0, weights=weights if sum(weights) > 0.0 else None)
    return _cosines(query, np.concatenate([block[:-1] for block in blocks]))


def _cosines(query: Vectors, documents: Vectors) -> Scores:
    norms = np.linalg.norm(query) * np.linalg.norm(documents, axis=1)
    cosines: Scores = documents @ query / np.maximum(norms, 1e-8)
    return cosines
