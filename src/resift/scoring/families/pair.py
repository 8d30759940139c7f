"""Pair cross-encoders: query and document in one sequence, one logit out (bge-reranker, ms-marco, and their like)."""

from collections.abc import Callable, Sequence
from typing import Literal

from resift.errors import InvalidInput
from resift.scoring.families import LogitScale, Prepared
from resift.scoring.families.windows import Windows, best_of
from resift.scoring.planning import Ids, Tokens
from resift.tokenizing import TextEncoder, cut_longest_first, cut_second_only

Truncation = Literal["longest_first", "only_second"]
_CUTS: dict[Truncation, Callable[[int, int, int], tuple[int, int]]] = {
    "longest_first": cut_longest_first,
    "only_second": cut_second_only,
}


class PairCrossEncoder:
    """
    Reads `[CLS] query [SEP] document [SEP]`, or whatever frame the tokenizer declares.

    Under `longest_first` the longer text gives way, as in transformers. Under `only_second` the query may fill three
    quarters of the length and only the document gives way, as in FlagEmbedding. With windows a document never gives
    way: one that would have to is read in several, beside a query that leaves it half of the room, or a quarter.
    """

    instructable = False
    bounded = True
    listwise = False

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        max_length: int,
        truncation: Truncation,
        scale: LogitScale,
        typed: bool,
        query_prompt: str = "",
        windows: Windows | None = None,
    ) -> None:
        self.max_length = max_length
        self._encoder = encoder
        self._frame = encoder.pair_frame()
        self._room = max_length - self._frame.size
        if self._room < 2:
            raise InvalidInput(f"max_length={max_length} leaves no room for a query and a document; use at least 16")
        # what each text may keep before they share the room
        self._query_room = max_length * 3 // 4 if truncation == "only_second" else None
        self._document_room = max_length if truncation == "only_second" else None
        self._query_beside_windows = self._room * 3 // 4 if truncation == "only_second" else self._room // 2
        self._windows = windows
        if windows is not None and windows.longest_query is not None:
            bound = windows.longest_query - encoder.single_frame().size
            self._query_room = bound if self._query_room is None else min(bound, self._query_room)
        self._cut = _CUTS[truncation]
        self._query_prompt = query_prompt
        self._scale = scale
        self._typed = typed and self._frame.typed

    def prepare(self, query: str, documents: Sequence[str], instruction: str | None) -> Prepared:
        """Make one call ready."""
        first = self._encoder.encode(self._query_prompt + query)[: self._query_room]
        seconds = self._encoder.encode_many(documents)
        shortened = [self._shorten(first, second[: self._document_room]) for second in seconds]
        cut = [len(kept) < len(second) for (_, kept), second in zip(shortened, seconds, strict=True)]
        pairs = [[pair] for pair in shortened]
        if self._windows is not None:
            pairs = [
                self._spread(first, second, self._windows) if was_cut else pair
                for pair, second, was_cut in zip(pairs, seconds, cut, strict=True)
            ]
            cut = []
        sequences = [self._join(*pair) for several in pairs for pair in several]
        counts = [len(several) for several in pairs]
        return Prepared(
            sequences,
            finish=lambda outputs, normalize: self._scale.apply(best_of(outputs[:, 0], counts), normalize),
            cut=cut,
            tokens=sum(map(len, sequences)),
        )

    def _shorten(self, first: Ids, second: Ids) -> tuple[Ids, Ids]:
        keep_first, keep_second = self._cut(len(first), len(second), self._room)
        return first[:keep_first], second[:keep_second]

    def _spread(self, first: Ids, second: Ids, windows: Windows) -> list[tuple[Ids, Ids]]:
        kept = first[: self._query_beside_windows]
        return [(kept, window) for window in windows.spread(second, self._room - len(kept))]

    def _join(self, first: Ids, second: Ids) -> Tokens:
        types = self._frame.types_around(first, second) if self._typed else None
        return Tokens(self._frame.put_around(first, second), types)
