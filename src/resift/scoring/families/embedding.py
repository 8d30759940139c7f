"""Embedding models: query and document are read apart, and compared as vectors (bge-large-en and its like)."""

from collections.abc import Sequence

import numpy as np

from resift.errors import InvalidInput
from resift.scoring.backends import Outputs
from resift.scoring.families import Prepared, Scores
from resift.scoring.families.vectors import Embedded, Recall, VectorCache
from resift.scoring.families.windows import Windows, best_of
from resift.scoring.planning import Ids, Tokens
from resift.tokenizing import TextEncoder


class EmbeddingModel:
    """
    Scores by cosine, or by dot product where the authors compare so.

    The instruction goes in front of the query. Document vectors are kept by content, so that documents which come back
    for the next query are not read again. With windows a long document has several vectors, each with the instruction
    in front, and the one that is closest to the query counts.
    """

    instructable = True
    listwise = False

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        max_length: int,
        cosine: bool,
        typed: bool,
        query_instruction: str = "",
        document_instruction: str = "",
        cache: VectorCache | None = None,
        windows: Windows | None = None,
    ) -> None:
        self.max_length = max_length
        self._encoder = encoder
        self._frame = encoder.single_frame()
        self._room = max_length - self._frame.size
        if self._room < 1:
            raise InvalidInput(f"max_length={max_length} leaves no room for a text; use at least 8")
        self._typed = typed and self._frame.typed
        self._instructions = query_instruction, document_instruction
        self._windows = windows
        self._cache = VectorCache() if cache is None else cache
        self.bounded = cosine

    def prepare(self, query: str, documents: Sequence[str], instruction: str | None) -> Prepared:
        """Make one call ready: the query's sequence, then one for each document that is not known yet."""
        for_query, for_documents = self._instructions
        recall = Recall(self._cache, documents)
        asked = (for_query if instruction is None else instruction) + query
        first, *others = self._encoder.encode_many([asked, *(for_documents + text for text in recall.new)])
        windows = [[first[: self._room]], *self._spread(others)]
        counts = [len(several) for several in windows]
        sequences = [self._frame_around(ids) for several in windows for ids in several]
        was_cut = [self._windows is None and len(ids) > self._room for ids in others]
        # without special tokens, a blank text is no token at all: nothing to read, and no direction to compare
        read = [place for place, sequence in enumerate(sequences) if len(sequence)]

        def finish(outputs: Outputs, normalize: bool | None) -> Scores:
            if not read:
                return _scaled(np.zeros(len(documents)), normalize)
            vectors = np.zeros((len(sequences), outputs.shape[1]), dtype=np.float32)
            vectors[read] = outputs
            asking, *found = np.split(vectors, np.cumsum(counts[:-1]))
            new = [Embedded(several.copy(), cut) for several, cut in zip(found, was_cut, strict=True)]
            return _similarity(asking[0], recall.learn(new), normalize)

        return Prepared(
            [sequences[place] for place in read],
            finish,
            cut=recall.cut(was_cut),
            tokens=sum(map(len, sequences)),
        )

    def _spread(self, documents: list[Ids]) -> list[list[Ids]]:
        """Return what is read of each document."""
        if self._windows is None or all(len(ids) <= self._room for ids in documents):
            return [[ids[: self._room]] for ids in documents]
        instruction = self._encoder.encode(self._instructions[1])
        return [self._windows.spread_behind(instruction, ids, self._room) for ids in documents]

    def _frame_around(self, ids: Ids) -> Tokens:
        return Tokens(self._frame.put_around(ids), self._frame.types_around(ids) if self._typed else None)


def _similarity(query: Outputs, documents: list[Embedded], normalize: bool | None) -> Scores:
    """Return the dot product with the closest vector of each document; the cosine, where they are of length 1."""
    matrix = np.concatenate([document.vectors for document in documents])
    counts = [len(document.vectors) for document in documents]
    return _scaled(best_of(matrix @ query, counts).astype(np.float64), normalize)


def _scaled(scores: Scores, normalize: bool | None) -> Scores:
    return (1.0 + scores) / 2.0 if normalize else scores
