"""Prompted causal language models: asked whether a document answers a query, read at the answer's token."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resift.errors import InvalidInput
from resift.scoring.families import LogitScale, Prepared, split_prefix
from resift.scoring.families.windows import Windows, best_of
from resift.scoring.planning import NO_IDS, Ids, Tokens
from resift.settings import Prompt
from resift.tokenizing import TextEncoder, shared_prefix

_PLACEHOLDER = re.compile(r"\{(query|document|instruction)\}")
_LEAST_WINDOW = 8  # one part in so many of what is read
_NO_TOKEN = np.int32(-1)


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
        before: Ids = NO_IDS,
        after: Ids = NO_IDS,
        longest_document: int | None = None,
        shares_prefix: bool = True,
        windows: Windows | None = None,
    ) -> None:
        """
        Take what the authors decided.

        `before` and `after` are ids around the whole prompt. `longest_document` bounds a document's tokens, however
        much room there is. A model whose tokens look ahead shares no prefix. With `windows` a document is read in
        several where it would be cut, each in a prompt of its own.
        """
        self._encoder = encoder
        self._prompt = prompt
        self.max_length = max_length
        self._positions = positions
        self._scale = scale
        self._before, self._after = before, after
        self._longest_document = longest_document
        self._shares_prefix = shares_prefix
        self._windows = windows
        self.instructable = any("{instruction}" in piece for piece in prompt.pieces)

    def prepare(self, query: str, documents: Sequence[str], instruction: str | None) -> Prepared:
        """Make one call ready."""
        asked = self._ask(query, (self._prompt.instruction if instruction is None else instruction) or "")
        bodies = self._encoder.encode_many([_fill(asked.body, {**asked.texts, "document": text}) for text in documents])
        read = [self._read(asked, body) for body in bodies]
        counts = [len(several) for several in read]
        whole = [np.concatenate([*asked.before, kept, *asked.after]) for several in read for kept in several]
        prefix, sequences = split_prefix(whole) if self._shares_prefix else (NO_IDS, [Tokens(ids) for ids in whole])
        return Prepared(
            sequences,
            finish=lambda outputs, normalize: self._scale.apply(best_of(outputs[:, 0], counts), normalize),
            prefix=prefix,
            cut=[len(body) > asked.room and not self._can_spread(asked) for body in bodies],
            tokens=sum(map(len, whole)),
        )

    def _can_spread(self, asked: "_Question") -> bool:
        """Whether what a long query leaves is worth the name of a window; where it is not, documents are cut."""
        return self._windows is not None and asked.window * _LEAST_WINDOW >= self.max_length

    def _read(self, asked: "_Question", body: Ids) -> list[Ids]:
        """Return what is read of the document's piece, once for each window."""
        if self._windows is None or len(body) <= asked.room or not self._can_spread(asked):
            return [asked.kept(body)]
        return asked.spread(body, self._windows)

    def _ask(self, query: str, instruction: str) -> "_Question":
        """Write the whole prompt but the document, and find how many tokens are left for it."""
        texts = {"query": query, "instruction": instruction}
        pieces = self._prompt.pieces_with(instruction=bool(instruction))
        query_at, document_at = (_place_of(name, pieces) for name in ("{query}", "{document}"))
        body = pieces[document_at]
        ids = self._encoder.encode_many([_fill(piece, texts) if piece != body else "" for piece in pieces])
        first, last = sorted((query_at, document_at))
        head, rest = self._around(body, texts)
        room = self._room(ids, query_at, span=slice(first, last + 1))
        if self._longest_document is not None:
            room = min(room, len(head) + self._longest_document + len(rest))
        if room <= len(rest):
            raise InvalidInput(
                f"max_length={self.max_length} leaves no room for a document after the prompt and the query; raise it"
            )
        before, after = [self._before, *ids[:document_at]], [*ids[document_at + 1 :], self._after]
        return _Question(texts, before, body, after, head=head, rest=rest, room=room)

    def _around(self, body: str, texts: dict[str, str]) -> list[Ids]:
        """Return what stands before and after the document in its piece."""
        parts = body.split("{document}")
        return self._encoder.encode_many([_fill(part, texts) for part in (parts[0], parts[-1])])

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
        return min(longest, limit - len(self._before) - len(self._after) - sum(map(len, ids[span])))


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """A prompt that lacks nothing but the document."""

    texts: dict[str, str]
    before: list[Ids]
    body: str
    after: list[Ids]
    head: Ids
    """What stands before the document in its piece."""

    rest: Ids
    """What stands behind the document in its piece, and stays where the document gives way."""

    room: int

    def kept(self, body: Ids) -> Ids:
        """Return what is read of the document's piece."""
        if len(body) <= self.room:
            return body
        return np.concatenate([body[: self.room - len(self.rest)], self.rest])

    @property
    def window(self) -> int:
        """How many tokens of a document one prompt has room for."""
        return self.room - len(self.head) - len(self.rest)

    def spread(self, body: Ids, windows: Windows) -> list[Ids]:
        """Return the document's piece once for each window; what its ends merge with is the document's."""
        head = shared_prefix([np.append(self.head, _NO_TOKEN), body])
        end = shared_prefix([np.append(self.rest[::-1], _NO_TOKEN), body[len(head) :][::-1]])[::-1]
        *others, last = windows.spread(body[len(head) : len(body) - len(end)], self.window)
        return [np.concatenate([head, *parts]) for parts in (*((other, self.rest) for other in others), (last, end))]


def _place_of(name: str, pieces: Sequence[str]) -> int:
    return next(place for place, piece in enumerate(pieces) if name in piece)


def _fill(piece: str, texts: dict[str, str]) -> str:
    """Put the texts into a piece in one pass, so that a text that looks like a placeholder stays a text."""
    return _PLACEHOLDER.sub(lambda found: texts[found[1]], piece)
