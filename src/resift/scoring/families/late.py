"""Late interaction: a vector for each token of query and document, compared token by token (ColBERT and its like)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from resift.errors import InvalidInput
from resift.scoring.backends import Outputs
from resift.scoring.families import Prepared, Scores
from resift.scoring.families.maxsim import maxsim
from resift.scoring.families.vectors import Embedded, Recall, VectorCache
from resift.scoring.families.windows import Windows, best_of
from resift.scoring.planning import Ids, Tokens
from resift.tokenizing import TextEncoder


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """How the texts of one side are read: queries, or documents."""

    prompt: str
    """What goes in front of each."""

    length: int
    """How many tokens are read at most, special ones included."""

    skipped: Iterable[int] = ()
    """Tokens whose vectors count for nothing."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """Tokens that short queries are filled up with; their vectors count."""

    token: int
    length: int
    seen: bool
    """Whether the query's own tokens look at them, and they at each other."""


class LateInteraction:
    """
    Scores by the sum, over the query's vectors, of the best match among the document's vectors.

    The vectors of documents are kept by content, so that documents which come back for the next query are not read
    again. Of a document that is read in windows, the best one counts. `normalize=True` is the mean of the best matches
    instead of their sum, moved from [-1, 1] to [0, 1].
    """

    instructable = False
    listwise = False

    def __init__(
        self,
        encoder: TextEncoder,
        query: Side,
        documents: Side,
        *,
        expansion: Expansion | None,
        bounded: bool,
        mean: bool = False,
        cache: VectorCache | None = None,
        windows: Windows | None = None,
    ) -> None:
        """`mean` says that the authors divide the sum by the number of the query's vectors."""
        self.max_length = documents.length
        self.bounded = bounded
        self._encoder = encoder
        self._frame = encoder.single_frame()
        for side in (query, documents):
            if side.length <= self._frame.size + 1:
                raise InvalidInput(f"{side.length} tokens leave no room for a text; use max_length=8 or more")
        self._query, self._documents = query, documents
        self._room = documents.length - self._frame.size
        self._prompt = encoder.encode(documents.prompt)
        self._windows = windows
        self._expansion = expansion
        self._mean = mean
        self._cache = VectorCache() if cache is None else cache

    def prepare(self, query: str, documents: Sequence[str], instruction: str | None) -> Prepared:
        """Make one call ready: the query's sequence, then one for each document that is not known yet."""
        recall = Recall(self._cache, documents)
        asked = self._ask(query)
        encoded = self._encoder.encode_many([self._documents.prompt + text for text in recall.new])
        read = [self._read(ids) for ids in encoded]
        sequences = [asked, *(window for windows in read for window in windows)]
        was_cut = [self._windows is None and len(ids) > self._room for ids in encoded]

        def finish(outputs: Outputs, normalize: bool | None) -> Scores:
            sizes = [asked.rows, *(sum(window.rows for window in windows) for windows in read)]
            first, *others = np.split(outputs, np.cumsum(sizes[:-1]))
            new = [
                Embedded(vectors.copy(), cut, tuple(window.rows for window in windows))
                for vectors, cut, windows in zip(others, was_cut, read, strict=True)
            ]
            return self._scaled(_best(first, recall.learn(new)), len(first), normalize)

        return Prepared(
            [sequence for sequence in sequences if sequence.rows],
            finish,
            cut=recall.cut(was_cut),
            tokens=sum(map(len, sequences)),
        )

    def _ask(self, query: str) -> Tokens:
        """Read a query, filled up where it is short; what is filled in counts, whatever tokens are skipped."""
        side, expansion = self._query, self._expansion
        ids = self._encoder.encode(side.prompt + query)[: side.length - self._frame.size]
        ids = self._frame.put_around(ids)
        missing = 0 if expansion is None else max(0, expansion.length - len(ids))
        if expansion is None or not missing:
            return Tokens(ids, read=_places(ids, side.skipped))
        return Tokens(
            np.concatenate([ids, np.full(missing, expansion.token, dtype=np.int32)]),
            read=np.concatenate([_places(ids, side.skipped), np.arange(missing, dtype=np.int32) + len(ids)]),
            unseen=0 if expansion.seen else missing,
        )

    def _read(self, ids: Ids) -> list[Tokens]:
        """Return what is read of a document: its beginning, or all of it in windows."""
        if self._windows is None:
            several = [ids[: self._room]]
        else:
            several = self._windows.spread_behind(self._prompt, ids, self._room)
        whole = [self._frame.put_around(window) for window in several]
        return [Tokens(window, read=_places(window, self._documents.skipped)) for window in whole]

    def _scaled(self, sums: Scores, vectors: int, normalize: bool | None) -> Scores:
        if not vectors or not (normalize or self._mean):
            return sums
        means = sums / vectors
        return (1.0 + means) / 2.0 if normalize else means


def _places(ids: Ids, skipped: Iterable[int]) -> Ids:
    return np.flatnonzero(~np.isin(ids, list(skipped))).astype(np.int32)


def _best(query: Outputs, documents: Sequence[Embedded]) -> Scores:
    """Return the score of the best window of each document."""
    windows = [window for found in documents for window in np.split(found.vectors, np.cumsum(found.windows[:-1]))]
    return best_of(maxsim(query, windows), [len(found.windows) for found in documents]).astype(np.float64)
