"""Pair cross-encoders: query and document in one sequence, one logit out (bge-reranker, ms-marco, and their like)."""

from collections.abc import Callable, Sequence
from typing import Literal

from resift.errors import InvalidInput
from resift.scoring.families import LogitScale, Prepared
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
    quarters of the length and only the document gives way, as in FlagEmbedding.
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
        self._cut = _CUTS[truncation]
        self._query_prompt = query_prompt
        self._scale = scale
        self._typed = typed and self._frame.typed

    def prepare(self, query: str, documents: Sequence[str], instruction: str | None) -> Prepared:
        """Make one call ready."""
        first = self._encoder.encode(self._query_prompt + query)[: self._query_room]
        seconds = self._encoder.encode_many(documents)
        pairs = [self._shorten(first, second[: self._document_room]) for second in seconds]
        sequences = [self._join(*pair) for pair in pairs]
        return Prepared(
            sequences,
            finish=lambda outputs, normalize: self._scale.apply(outputs[:, 0], normalize),
            cut=[len(kept) < len(second) for (_, kept), second in zip(pairs, seconds, strict=True)],
            tokens=sum(map(len, sequences)),
        )

    def _shorten(self, first: Ids, second: Ids) -> tuple[Ids, Ids]:
        keep_first, keep_second = self._cut(len(first), len(second), self._room)
        return first[:keep_first], second[:keep_second]

    def _join(self, first: Ids, second: Ids) -> Tokens:
        types = self._frame.types_around(first, second) if self._typed else None
        return Tokens(self._frame.put_around(first, second), types)
