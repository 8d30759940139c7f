"""A ranker that remembers the scores of another."""

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any, Literal

from resift.amounts import whole
from resift.compose.asking import Call, Do, Work
from resift.compose.memory import Entry, Memory, Store
from resift.compose.wrapping import (
    EVERYTHING,
    Answer,
    ComposedRanker,
    ask_ranking,
    ask_scores,
    may_be_listwise,
    require_rankers,
    told,
)
from resift.documents import render
from resift.errors import InvalidInput
from resift.types import Document, Ranked, Ranker, Ranking, Usage


def cached(ranker: Ranker, *, size: int = 100_000, path: str | os.PathLike[str] | None = None) -> ComposedRanker:
    """
    Return a ranker that remembers the scores of `ranker`, and asks it only for what is not known.

    A score is known by its query, instruction and document; where a document's score depends on the others, or the
    ranker does not say whether it does, by the whole list. Texts are never stored, only digests of them. Answers of a
    stand-in (see `fallback`) are handed on, but not remembered, nor is what a ranker dropped (`Ranking.missing`).

    `Ranking.usage` counts what was read for this call, so 0 where everything was known. `Ranking.truncated` is exact
    for a list that was ranked before. For other lists it may be an estimate: a ranker says how many documents of a call
    it cut, not which, so each is remembered with its share.

    Args:
        ranker: the ranker to ask.
        size: how many scores are remembered; those that were not used for longest are forgotten first.
        path: a SQLite file to remember them in; in memory if not given. Any number of threads, processes and rankers
            may share one; what belongs to another model, revision or setting is never mixed up.

    Raises:
        InvalidInput: a ranker that is none, or has no identity to be known by in a file; a size that is no whole number
            from 1 up; a path that holds something else or cannot be written.
    """
    require_rankers("cached", ranker)
    return ComposedRanker(
        Cached(ranker, whole("size", size, advice="it is how many scores are remembered"), _absolute(path))
    )


def _absolute(path: object) -> str | None:
    if path is None:
        return None
    named = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(named, str) or not named or "\0" in named:
        raise InvalidInput(f"path must be the path of a file, not {path!r}; leave it out to remember in memory")
    return os.path.abspath(os.path.expanduser(named))  # noqa: PTH100, PTH111 - Path raises where a name cannot be one


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What is known of a call's documents after the ranker was asked for the rest."""

    scores: Sequence[float | None]
    """None for a document that has no place in the ranking."""

    model: str
    truncated: float
    usage: Usage | None
    missing: tuple[int, ...] = ()
    lasting: bool = True


class Cached:
    """How a ranker's scores are remembered."""

    def __init__(self, ranker: Ranker, size: int, path: str | None) -> None:
        self.ranker = ranker
        self._size, self._path = size, path
        meant = _meant(ranker)
        self._listwise = may_be_listwise(meant)
        self._identity = "" if path is None else _identity(meant)
        self.store = _store(size, path)

    def __repr__(self) -> str:
        path = "" if self._path is None else f", path={self._path!r}"
        return f"cached({self.ranker!r}, size={self._size}{path})"

    def __reduce__(self) -> tuple[type["Cached"], tuple[Ranker, int, str | None]]:
        return type(self), (self.ranker, self._size, self._path)

    @property
    def rankers(self) -> tuple[Ranker, ...]:
        """The one that is asked."""
        return (self.ranker,)

    @property
    def meant(self) -> Ranker:
        """The one that is asked."""
        return self.ranker

    @property
    def model(self) -> str:
        """The name of its model."""
        return self.ranker.model

    @property
    def identity(self) -> str:
        """As the ranker says: remembering changes no score."""
        return str(told(self.ranker, "identity"))

    @property
    def listwise(self) -> bool:
        """As the ranker says."""
        return may_be_listwise(self.ranker)

    @property
    def takes_instruction(self) -> bool:
        """As the ranker says."""
        return bool(told(self.ranker, "takes_instruction"))

    @property
    def max_length(self) -> int | None:
        """As the ranker says."""
        length: int | None = told(self.ranker, "max_length")
        return length

    def close(self) -> None:
        """Forget what is in memory, let go of a file."""
        self.store.close()

    def rank(self, call: Call) -> Work[Answer[Ranking]]:
        """Rank by scores that are known and scores that are asked for."""
        started = time.perf_counter()
        found = yield from self._find_list(call) if self._listwise else self._find_each(call)
        placed = [(at, score) for at, score in enumerate(found.scores) if score is not None]
        order = call.cut.apply([score for _, score in placed])
        ranking = Ranking(
            tuple(Ranked(placed[place][0], placed[place][1], call.documents[placed[place][0]]) for place in order),
            model=found.model,
            truncated=round(found.truncated),
            usage=found.usage,
            elapsed_s=time.perf_counter() - started,
            missing=found.missing,
        )
        return Answer(ranking, lasting=found.lasting)

    def score(self, call: Call) -> Work[Answer[list[float]]]:
        """Return scores that are known and scores that are asked for."""
        if self._listwise:
            return (yield from self._score_list(call))
        found = yield from self._find_each(call)
        scores = [score for score in found.scores if score is not None]
        if len(scores) < len(call.documents):  # the ranker knows best what to say where a score is missing
            return (yield from ask_scores(self.ranker, call))
        return Answer(scores, lasting=found.lasting)

    def _find_each(self, call: Call) -> Work[_Found]:
        keys: list[bytes]
        known: dict[bytes, Entry]
        keys, known = yield Do(partial(self._look_up_each, call))
        if not keys:
            return (yield from self._find_anew(call))
        asked = sorted({key: at for at, key in reversed(list(enumerate(keys))) if key not in known}.values())
        answer = (yield from self._ask_for(asked, call)) if asked else self._nothing_asked()
        if answer is None or (known and not answer.lasting):  # scores of two rankers never stand in one list
            return (yield from self._find_anew(call))
        ranking = answer.value
        new = {keys[asked[hit.index]]: (ranking.truncated / len(ranking), float(hit.score)) for hit in ranking}
        if new and answer.lasting:
            yield Do(partial(self.store.put, new))
        entries, dropped = known | new, {keys[asked[at]] for at in ranking.missing}
        return _Found(
            [entries[key][1] if key in entries else None for key in keys],
            model=ranking.model,
            truncated=math.fsum(entries[key][0] for key in keys if key in entries),
            usage=ranking.usage,
            missing=tuple(at for at, key in enumerate(keys) if key in dropped),
            lasting=answer.lasting,
        )

    def _ask_for(self, places: Sequence[int], call: Call) -> Work[Answer[Ranking] | None]:
        """Ask for some of the documents. What is wrong with them alone may be right among all of them: then None."""
        part = replace(call, documents=[call.documents[at] for at in places], cut=EVERYTHING)
        try:
            return (yield from ask_ranking(self.ranker, part))
        except InvalidInput:
            if len(places) == len(call.documents):
                raise
            return None

    def _nothing_asked(self) -> Answer[Ranking]:
        return Answer(Ranking((), model=self.model, usage=Usage(0)), lasting=True)

    def _find_anew(self, call: Call) -> Work[_Found]:
        """Ask for all documents, whatever is known of them."""
        answer = yield from ask_ranking(self.ranker, replace(call, cut=EVERYTHING))
        ranking = answer.value
        scores: list[float | None] = [None] * len(call.documents)
        for hit in ranking:
            scores[hit.index] = float(hit.score)
        return _Found(
            scores, ranking.model, ranking.truncated, ranking.usage, missing=ranking.missing, lasting=answer.lasting
        )

    def _find_list(self, call: Call) -> Work[_Found]:
        key: bytes | None
        entry: Entry | None
        key, entry = yield Do(partial(self._look_up_list, call, "rank"))
        if entry is not None:
            scores = [None if math.isnan(score) else score for score in entry[1:]]
            return _Found(scores, self.model, truncated=entry[0], usage=Usage(0))
        found = yield from self._find_anew(call)
        if key is not None and found.lasting and not found.missing:
            placed = [math.nan if score is None else score for score in found.scores]
            yield Do(partial(self.store.put, {key: (found.truncated, *placed)}))
        return found

    def _score_list(self, call: Call) -> Work[Answer[list[float]]]:
        key: bytes | None
        entry: Entry | None
        key, entry = yield Do(partial(self._look_up_list, call, "score"))
        if entry is not None:
            return Answer(list(entry[1:]), lasting=True)
        answer = yield from ask_scores(self.ranker, call)
        if key is not None and answer.lasting:
            yield Do(partial(self.store.put, {key: (0.0, *map(float, answer.value))}))
        return answer

    def _look_up_each(self, call: Call) -> tuple[list[bytes], dict[bytes, Entry]]:
        """Return the documents' keys, none where one cannot have a key, and what is known of them."""
        keys = self._keys(call)
        known = self.store.get(list(dict.fromkeys(keys)))
        return keys, {key: entry for key, entry in known.items() if len(entry) == 2 and not math.isnan(entry[1])}

    def _look_up_list(self, call: Call, asked_for: Literal["rank", "score"]) -> tuple[bytes | None, Entry | None]:
        """Return the list's key, None where it cannot have one, and what is known of it."""
        keys = self._keys(call)
        if not keys:
            return None, None
        key = _digest(asked_for.encode(), *keys).digest()
        entry = self.store.get([key]).get(key)
        return key, entry if entry is not None and len(entry) == len(keys) + 1 else None

    def _keys(self, call: Call) -> list[bytes]:
        instruction = [] if call.instruction is None else [call.instruction.encode()]
        each = _digest(self._identity.encode(), call.query.encode(), *instruction)
        keys = []
        for document in call.documents:
            try:
                parts = _parts(document)
            except InvalidInput:
                return []
            key = each.copy()
            _add(key, parts)
            keys.append(key.digest())
        return keys


def _meant(ranker: Ranker) -> Ranker:
    """Return the ranker whose answers are remembered in the end."""
    while type(ranker) is ComposedRanker and ranker.recipe.meant is not None:
        ranker = ranker.recipe.meant
    return ranker


def _identity(ranker: Ranker) -> str:
    identity = getattr(ranker, "identity", None)
    if not isinstance(identity, str):
        raise InvalidInput(
            f"{ranker!r} does not say what its scores depend on, so a file cannot tell them from another ranker's; "
            "leave out path to remember in memory, or give it an `identity`"
        )
    return identity


def _store(size: int, path: str | None) -> Store:
    if path is None:
        return Memory(size)
    from resift.compose.database import Database

    return Database(path, size)


def _parts(document: Document) -> list[bytes]:
    """
    Return what tells a document from others, as parts.

    Of a mapping all keys and values, each for itself: which of them are read is known to the ranker alone.
    """
    if isinstance(document, str):
        return [b"text", document.encode(errors="surrogatepass")]
    if not isinstance(document, Mapping):
        raise InvalidInput("it is no document")
    pairs = ((repr(key), render({"": value}, 0)) for key, value in document.items())
    return [b"mapping", *(part.encode(errors="surrogatepass") for pair in pairs for part in pair)]


def _digest(*parts: bytes) -> Any:
    digest = blake2b(digest_size=16)
    _add(digest, parts)
    return digest


def _add(digest: Any, parts: Sequence[bytes]) -> None:
    """Add parts so that no others add up to the same."""
    digest.update(len(parts).to_bytes(8))
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
