"""Prompted causal language models: asked whether a document answers a query, read at the answer's token."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resift.errors import InvalidInput
from resift.scoring.families import LogitScale, Prepared
from resift.scoring.planning import NO_IDS, Ids, Tokens
from resift.settings import Prompt
from resift.tokenizing import TextEncoder, shared_prefix

_PLACEHOLDER = re.compile(r"\{(query|document|instruction)\}")
_WORTH_SHARING = 8  # tokens; joining a shorter prefix to every document costs more than computing it again


class PromptedLM:
    """
    Writes the prompt piece by piece, each tokenised alone, because authors do: joined text gives other ids.

    The query may fill three quarters of the length; beyond that only the document gives way. What all documents of one
    query begin with is found on the finished ids, where no merge across a seam can hide, and is computed once.
    """

    bounded = True
    listwise = False

    def __init__(
        self,
        encoder: TextEncoder,
        prompt: Prompt,
        *,
        max_length: int,
        positions: int,
        scale: LogitScale,
        bos: int | None = None,
    ) -> None:
        self._encoder = encoder
        self._prompt = prompt
        self.max_length = max_length
        self._positions = positions
        self._scale = scale
        self._bos = NO_IDS if bos is None else np.array([bos], dtype=np.int32)
        self.instructable = any("{instruction}" in piece for piece in prompt.pieces)

    def prepare(self, query: str, documents: Sequence[str], instruction: str | None) -> Prepared:
        """Make one call ready."""
        asked = self._ask(query, (self._prompt.instruction if instruction is None else instruction) or "")
        bodies = self._encoder.encode_many([_fill(asked.body, {**asked.texts, "document": text}) for text in documents])
        whole = [np.concatenate([*asked.before, body[: asked.room], *asked.after]) for body in bodies]
        prefix = shared_prefix(whole)
        if len(prefix) < _WORTH_SHARING:
            prefix = NO_IDS
        return Prepared(
            [Tokens(ids[len(prefix) :]) for ids in whole],
            finish=lambda outputs, normalize: self._scale.apply(outputs[:, 0], normalize),
            prefix=prefix,
            cut=[len(body) > asked.room for body in bodies],
            tokens=sum(map(len, whole)),
        )

    def _ask(self, query: str, instruction: str) -> "_Question":
        """Write the whole prompt but the document, and find how many tokens are left for it."""
        texts = {"query": query, "instruction": instruction}
        pieces = self._prompt.pieces_with(instruction=bool(instruction))
        query_at, document_at = (_place_of(name, pieces) for name in ("{query}", "{document}"))
        body = pieces[document_at]
        ids = self._encoder.encode_many([_fill(piece, texts) if piece != body else "" for piece in pieces])
        first, last = sorted((query_at, document_at))
        room = self._room(ids, query_at, span=slice(first, last + 1))
        if room < 1:
            raise InvalidInput(
                f"max_length={self.max_length} leaves no room for a document after the prompt and the query; raise it"
            )
        return _Question(texts, [self._bos, *ids[:document_at]], body, ids[document_at + 1 :], room)

    def _room(self, ids: list[Ids], query_at: int, *, span: slice) -> int:
        """Cut the query's piece in place where it is too long, and return the tokens left for the document's."""
        head, tail = (sum(map(len, part)) for part in (ids[: span.start], ids[span.stop :]))
        limit = {
            "everything": min(self.max_length, self._positions) - head - tail,
            "texts": min(self.max_length, self._positions - head - tail),
            "texts and tail": min(self.max_length + tail, self._positions - head - tail),
        }[self._prompt.max_length_covers]
        longest = min(self.max_length, limit) if self._prompt.max_length_covers == "texts" else self.max_length
        ids[query_at] = ids[query_at][: longest * 3 // 4]
        return min(longest, limit - len(self._bos) - sum(map(len, ids[span])))


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """A prompt that lacks nothing but the document."""

    texts: dict[str, str]
    before: list[Ids]
    body: str
    after: list[Ids]
    room: int


def _place_of(name: str, pieces: Sequence[str]) -> int:
    return next(place for place, piece in enumerate(pieces) if name in piece)


def _fill(piece: str, texts: dict[str, str]) -> str:
    """Put the texts into a piece in one pass, so that a text that looks like a placeholder stays a text."""
    return _PLACEHOLDER.sub(lambda found: texts[found[1]], piece)
