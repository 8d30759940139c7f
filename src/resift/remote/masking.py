"""What may be repeated of an endpoint's words: nothing of the key, the query or the documents that it was sent."""

import re
from collections.abc import Iterator, Sequence

from resift.wire.faults import clipped

MOST_READ = 1000
"""How much of an endpoint's message is looked at; more than is shown, because what is masked gets shorter."""

_GONE, _SECRET = "[...]", "***"
_TEXT_RUN, _SECRET_RUN = 12, 6  # shorter ones are words that anybody might use
_SHORTEST_TEXT = 3  # whoever repeats one or two letters repeats nothing
_PATIENCE = 50_000_000  # characters compared, before only every twelfth place of a message is looked at
_ESCAPE = re.compile(r"""\\(?:u([0-9a-fA-F]{4})|([nrt])|(["'\\/]))""")


def masked(words: str, *, secrets: Sequence[str], texts: Sequence[str]) -> str:
    """
    Return `words` without what they repeat of `secrets` and `texts`, and clipped.

    A run of 6 characters of a secret is taken out, or of 12 of a text; a shorter secret or text where it stands whole.
    """
    words = _unescaped(words)
    words = _without(words, _covered(words, secrets, run=_SECRET_RUN, least=1), _SECRET)
    spoken = list(dict.fromkeys(" ".join(text.split()) for text in texts))
    return clipped(_without(words, _covered(words, spoken, run=_TEXT_RUN, least=_SHORTEST_TEXT), _GONE))


def _unescaped(words: str) -> str:
    """Undo the escapes of JSON and Python, in which a server may quote what it was sent."""
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else " " if found[2] else found[3], words)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _covered(words: str, hidden: Sequence[str], *, run: int, least: int) -> bytearray:
    """Return which letters of `words` repeat one of `hidden`, in a run or as a whole of `least` letters or more."""
    covered = bytearray(len(words))
    for begin, end in (*_runs(words, "\0".join(hidden), run), *_wholes(words, hidden, least)):
        covered[begin:end] = b"\1" * (end - begin)
    return covered


def _runs(words: str, hidden: str, run: int) -> Iterator[tuple[int, int]]:
    stride = 1 if len(words) * len(hidden) < _PATIENCE else run
    for begin in range(0, len(words) - run + 1, stride):
        at = hidden.find(words[begin : begin + run])
        if at >= 0:
            yield _grown(words, begin, hidden=hidden, at=at, run=run)


def _grown(words: str, begin: int, *, hidden: str, at: int, run: int) -> tuple[int, int]:
    """Return how far the match of `run` letters at `begin` and `at` goes to both sides."""
    end, until = begin + run, at + run
    while begin and at and words[begin - 1] == hidden[at - 1]:
        begin, at = begin - 1, at - 1
    while end < len(words) and until < len(hidden) and words[end] == hidden[until]:
        end, until = end + 1, until + 1
    return begin, end


def _wholes(words: str, hidden: Sequence[str], least: int) -> Iterator[tuple[int, int]]:
    for text in hidden:
        if least <= len(text) and text in words:
            for found in re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", words):
                yield found.span()


def _without(words: str, covered: bytearray, sign: str) -> str:
    pieces, hidden = [], False
    for letter, gone in zip(words, covered, strict=True):
        if not gone:
            pieces.append(letter)
        elif not hidden:
            pieces.append(sign)
        hidden = bool(gone)
    return "".join(pieces)
