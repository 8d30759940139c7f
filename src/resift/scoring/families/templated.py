"""Language models that their own chat template asks, read as sentence-transformers reads them."""

from collections.abc import Sequence

import numpy as np

from resift.errors import InvalidInput
from resift.scoring.families import LogitScale, Prepared, split_prefix
from resift.scoring.families.chat import ChatTemplate
from resift.scoring.planning import NO_IDS, Ids, Tokens
from resift.tokenizing import TextEncoder

_FILLERS = ("0", "1 2 3 4")  # in the place of both texts; what both prompts end in is the template's own


class TemplatedLM:
    """
    Writes the whole prompt by the template, tokenises it at once, and cuts it at its end.

    What a template writes behind the texts is where a model answers. Cutting takes it away, so it is then written over
    the last tokens that are left, which is what sentence-transformers does.
    """

    bounded = True
    listwise = False

    def __init__(
        self,
        encoder: TextEncoder,
        chat: ChatTemplate,
        *,
        max_length: int,
        scale: LogitScale,
        instruction: str = "",
        cuts_front: bool = False,
        restores_end: bool = True,
        shares_prefix: bool = True,
    ) -> None:
        """
        Read as saved; with `cuts_front`, too long a prompt loses its beginning.

        A model whose tokens look ahead, or of which more than the last one is read, shares no prefix.
        """
        self.max_length = max_length
        self.instructable = chat.hears_the_system()
        self._encoder = encoder
        self._chat = chat
        self._scale = scale
        self._instruction = instruction
        self._cuts_front = cuts_front
        self._restores_end = restores_end
        self._shares_prefix = shares_prefix

    def prepare(self, query: str, documents: Sequence[str], instruction: str | None) -> Prepared:
        """Make one call ready."""
        told = self._instruction if instruction is None else instruction
        *written, bare = self._encoder.encode_many(
            [self._chat.render(query, document, told) for document in (*documents, "")]
        )
        if len(bare) >= self.max_length:
            raise InvalidInput(
                f"max_length={self.max_length} leaves no room for a document beside the prompt and the query; raise it"
            )
        end = self._end(told) if any(len(ids) >= self.max_length for ids in written) else NO_IDS
        whole = [self._shortened(ids, end) for ids in written]
        prefix, sequences = split_prefix(whole) if self._shares_prefix else (NO_IDS, [Tokens(ids) for ids in whole])
        return Prepared(
            sequences,
            finish=lambda outputs, normalize: self._scale.apply(outputs[:, 0], normalize),
            prefix=prefix,
            cut=[len(ids) > self.max_length for ids in written],
            tokens=sum(map(len, whole)),
        )

    def _shortened(self, ids: Ids, end: Ids) -> Ids:
        if len(ids) < self.max_length:
            return ids
        kept = ids[len(ids) - self.max_length :] if self._cuts_front else ids[: self.max_length]
        return np.concatenate([kept[: self.max_length - len(end)], end])

    def _end(self, instruction: str) -> Ids:
        """Return what every prompt ends in, whatever the texts are."""
        if not self._restores_end:
            return NO_IDS
        first, second = self._encoder.encode_many(
            [self._chat.render(filler, filler, instruction) for filler in _FILLERS]
        )
        shorter = min(len(first), len(second))
        differing = np.flatnonzero(first[::-1][:shorter] != second[::-1][:shorter])
        return first[len(first) - int(differing[0]) :] if len(differing) else NO_IDS
