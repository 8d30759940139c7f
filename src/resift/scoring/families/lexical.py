"""The built-in family: words in common, counted by BM25. No model, no download, no dependency."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

from resift.scoring.backends import Outputs
from resift.scoring.backends.lexical import bm25
from resift.scoring.families import Prepared, Scores

# Han, kana and Hangul are written without blanks between words (or with particles joined on), so they are read as
# overlapping pairs of characters; all other scripts as whole words.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_RUNS = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")

_STEM_LENGTH = 6

# Words that ask, not words that are asked for: a candidate list is too small to tell them apart by how rare they are.
_ASKING = frozenset(
    """
    a an and are as at be been but by can could did do does for from had has have how i if in into is it its may me my
    no not of on or our she he should so such than that the their them then there these they this to was we were what
    when where which who whom whose why will with would you your
    """.split()  # noqa: SIM905 - ninety quoted words would be harder to read
)


class Lexical:
    """Scores by the words that query and document share; needs nothing from any device."""

    instructable = False
    bounded = True
    listwise = True  # how rare a word is, is counted in the list
    max_length = None

    def prepare(self, query: str, documents: Sequence[str], instruction: str | None) -> Prepared:
        """Score the call; there is nothing left to run."""
        every = list(words(query))
        # a document that comes twice is one document: its words are no more common for it, here as behind an endpoint
        distinct = {document: at for at, document in enumerate(dict.fromkeys(documents))}
        texts = [list(map(stem, words(document))) for document in distinct]
        places = [distinct[document] for document in documents]
        found = bm25(list(map(stem, asked_for(every))), texts)

        def finish(outputs: Outputs, normalize: bool | None) -> Scores:
            scores = np.array(found.scores)[places]
            return scores / found.ceiling if normalize and found.ceiling else scores

        return Prepared((), finish, tokens=len(every) + sum(map(len, texts)))


def words(text: str) -> Iterator[str]:
    """Yield the words of a text: compatibility forms folded together, case ignored."""
    for run in _RUNS.findall(unicodedata.normalize("NFKC", text).casefold()):
        if len(run) > 1 and _IS_UNSPACED.match(run):
            yield from (run[at : at + 2] for at in range(len(run) - 1))
        else:
            yield run


def asked_for(query: Sequence[str]) -> Sequence[str]:
    """Return the words of a query that are looked for; all of them, where it only asks."""
    return [word for word in query if word not in _ASKING] or query


def stem(word: str) -> str:
    """
    Return what is left of a word without its ending, in any language: no plural s, and no more than six letters.

    On seven collections it ranked as well as any of the rules that it was tried against.
    """
    if len(word) > 3 and word[-1] == "s" and word[-2] not in "su":
        word = word[:-1]
    return word[:_STEM_LENGTH]
