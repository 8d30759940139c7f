"""Text to token ids with a model's own tokenizer.json: the query once per call, pairs assembled from ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Encoding, Tokenizer

from resift.errors import ModelNotFound, ModelUnsupported
from resift.scoring.planning import NO_IDS, Ids

_PROBES = ("a", "1", ".", "the")  # a text that every vocabulary turns into at least one token


class TextEncoder:
    """A tokenizer that neither truncates nor pads nor adds anything unasked."""

    def __init__(self, path: Path, *, lower: bool = False) -> None:
        """Read a tokenizer.json; with `lower`, texts are put into lower case first, whatever it does itself."""
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ModelNotFound(f"{path} cannot be read as a tokenizer ({error}); download the model again") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._lower = lower

    def encode(self, text: str) -> Ids:
        """Return the ids of one text, without special tokens."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, without special tokens."""
        cased = [text.lower() for text in texts] if self._lower else list(texts)
        encodings = self._tokenizer.encode_batch_fast(cased, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def decode(self, ids: Ids) -> str:
        """Return the text of some ids, special tokens included."""
        text: str = self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)
        return text

    def token(self, text: str) -> int | None:
        """Return the id of the token that is written exactly `text`."""
        found: int | None = self._tokenizer.token_to_id(text)
        return found

    def read_whole(self, text: str) -> None:
        """Read `text` as one token wherever it stands, if the vocabulary holds it as one."""
        if self._tokenizer.token_to_id(text) is not None:
            self._tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True)])

    def single_frame(self) -> "Frame":
        """Return the special tokens that this tokenizer puts around one text."""
        return self._frame(pair=False)

    def pair_frame(self) -> "Frame":
        """Return the special tokens that this tokenizer puts around two texts."""
        return self._frame(pair=True)

    def _frame(self, *, pair: bool) -> "Frame":
        for probe in _PROBES:
            encoding = self._tokenizer.encode(probe, probe if pair else None, add_special_tokens=True)
            frame = _read_frame(encoding, texts=2 if pair else 1)
            if frame is not None:
                return frame
        raise ModelUnsupported(
            "the tokenizer turns plain letters into no tokens at all; its tokenizer.json is not usable"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The special tokens around one or two texts, with the token type of each part."""

    before: tuple[Ids, ...]  # what stands in front of each text
    after: Ids  # what stands behind the last
    before_types: tuple[Ids, ...]
    after_types: Ids
    text_types: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many special tokens the frame adds."""
        return sum(map(len, self.before)) + len(self.after)

    @property
    def typed(self) -> bool:
        """Whether any token has a type other than 0."""
        return any(self.text_types) or any(types.any() for types in (*self.before_types, self.after_types))

    def put_around(self, *texts: Ids) -> Ids:
        """Return the ids of the texts inside the frame."""
        pairs = zip(self.before, texts, strict=True)
        return np.concatenate([*(piece for pair in pairs for piece in pair), self.after])

    def types_around(self, *texts: Ids) -> Ids:
        """Return the token types of the texts inside the frame."""
        filled = [np.full(len(text), kind, dtype=np.int32) for text, kind in zip(texts, self.text_types, strict=True)]
        pairs = zip(self.before_types, filled, strict=True)
        return np.concatenate([*(piece for pair in pairs for piece in pair), self.after_types])


def _read_frame(encoding: Encoding, *, texts: int) -> Frame | None:
    """Tell special tokens from text by the sequence that each token is said to come from."""
    sources = encoding.sequence_ids
    if any(text not in sources for text in range(texts)):
        return None
    ids, types = np.array(encoding.ids, dtype=np.int32), np.array(encoding.type_ids, dtype=np.int32)
    starts = [sources.index(text) for text in range(texts)]
    ends = [len(sources) - sources[::-1].index(text) for text in range(texts)]
    *before, (last, end) = zip([0, *ends], [*starts, len(sources)], strict=True)
    return Frame(
        before=tuple(ids[start:stop] for start, stop in before),
        after=ids[last:end],
        before_types=tuple(types[start:stop] for start, stop in before),
        after_types=types[last:end],
        text_types=tuple(int(types[start]) for start in starts),
    )


def cut_longest_first(first: int, second: int, budget: int) -> tuple[int, int]:
    """
    Return how many tokens each of two texts keeps when the longer one gives way first.

    This is what the `tokenizers` library does for `longest_first`, down to its rounding.
    """
    if first + second <= budget:
        return first, second
    short, long = sorted((first, second))
    long = short if short > budget else max(short, budget - short)
    if short + long > budget:
        short = budget // 2
        long = short + budget % 2
    return (short, long) if first <= second else (long, short)


def cut_second_only(first: int, second: int, budget: int) -> tuple[int, int]:
    """
    Return how many tokens each of two texts keeps when only the second gives way.

    As in transformers, nothing is cut where the second would have to give all it has.
    """
    excess = max(0, first + second - budget)
    return (first, second - excess) if excess < second else (first, second)


def shared_prefix(sequences: Sequence[Ids]) -> Ids:
    """Return the longest prefix that all sequences begin with and that leaves each at least one token of its own."""
    if len(sequences) < 2:
        return NO_IDS
    first = sequences[0]
    size = max(0, min(map(len, sequences)) - 1)
    for other in sequences[1:]:
        differing = np.flatnonzero(first[:size] != other[:size])
        size = int(differing[0]) if len(differing) else size
    return first[:size]
