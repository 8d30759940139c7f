"""Runs: for each query the documents that were found, best first, and the TREC files that hold them."""

import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from resift.errors import InvalidInput
from resift.evaluation.collections.lines import read_columns
from resift.evaluation.files import write_whole

logger = logging.getLogger("resift")


@dataclass(frozen=True, slots=True)
class Listing:
    """Documents, best first, with their scores and ranks. Documents of one rank are tied: their order means nothing."""

    documents: tuple[str, ...]
    scores: tuple[float, ...]
    ranks: tuple[int, ...]

    @classmethod
    def by_score(cls, documents: Iterable[str], scores: Iterable[float]) -> "Listing":
        """Order documents by their scores alone; equal scores are ties."""
        return cls.by_score_and_rank([(-score, 0, document) for document, score in zip(documents, scores, strict=True)])

    @classmethod
    def in_order(cls, documents: Sequence[str]) -> "Listing":
        """Take documents in the order in which they are."""
        count = len(documents)
        return cls(tuple(documents), tuple(float(count - at) for at in range(count)), tuple(range(1, count + 1)))

    @classmethod
    def unordered(cls, documents: Sequence[str]) -> "Listing":
        """Take documents as a set: all are tied."""
        count = len(documents)
        return cls(tuple(documents), (0.0,) * count, (1,) * count)

    @classmethod
    def by_score_and_rank(cls, rows: list[tuple[float, int, str]]) -> "Listing":
        """Order rows of (negative score, rank as told, document); a tie needs both to be equal."""
        rows.sort(key=lambda row: row[:2])
        ranks: list[int] = []
        for at, row in enumerate(rows):
            tied = at > 0 and row[:2] == rows[at - 1][:2]
            ranks.append(ranks[-1] if tied else at + 1)
        return cls(tuple(row[2] for row in rows), tuple(-row[0] for row in rows), tuple(ranks))

    def __len__(self) -> int:
        return len(self.documents)

    def top(self, depth: int) -> "Listing":
        """Return the documents whose rank is at most `depth`; a tie is never cut in two."""
        end = sum(rank <= depth for rank in self.ranks)
        return Listing(self.documents[:end], self.scores[:end], self.ranks[:end])


NOTHING = Listing((), (), ())


@dataclass(frozen=True, slots=True)
class Run:
    """What one system found: a list for each query."""

    name: str
    lists: Mapping[str, Listing] = field(repr=False)

    def of(self, query: str) -> Listing:
        """Return the list of a query; an empty one where nothing was found."""
        return self.lists.get(query, NOTHING)


def read_run(path: str | os.PathLike[str], *, name: str | None = None) -> Run:
    """
    Read a run in TREC's format, `query Q0 document rank score tag`, plain or gzipped.

    Scores decide, as in trec_eval; where they are equal, the rank does; where both are, it is a tie.

    Raises:
        InvalidInput: a file that is no such run; the message says where and why.
    """
    rows: dict[str, dict[str, tuple[float, int, str]]] = {}
    tag = ""
    for place, (query, _, document, rank, score, tag) in read_columns(Path(path), 6):  # noqa: B007 - the last is kept
        found = rows.setdefault(query, {})
        if document in found:
            raise InvalidInput(f"{place} has the document {document!r} for {query!r} a second time")
        found[document] = (-_score(score, place), _rank(rank, place), document)
    if not rows:
        raise InvalidInput(f"{path} holds no run: it has no lines")
    run = Run(name or tag, {query: Listing.by_score_and_rank(list(found.values())) for query, found in rows.items()})
    _warn_of_contradictions(path, rows, run)
    return run


def write_run(run: Run, path: str | os.PathLike[str]) -> None:
    """Write a run in TREC's format; tied documents have one rank, so that reading it gives the same run."""
    tag = "-".join(run.name.split()) or "run"  # others part columns at any blank
    lines = (
        f"{query}\tQ0\t{document}\t{rank}\t{score!r}\t{tag}\n"
        for query, found in run.lists.items()
        for document, score, rank in zip(found.documents, found.scores, found.ranks, strict=True)
    )
    write_whole(Path(path), "".join(lines).encode())


def _score(said: str, place: str) -> float:
    try:
        score = float(said)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise InvalidInput(f"{place} has the score {said!r}; a score is a finite number")
    return score


def _rank(said: str, place: str) -> int:
    try:
        return int(said)
    except ValueError:
        raise InvalidInput(f"{place} has the rank {said!r}; a rank is a whole number") from None


def _warn_of_contradictions(
    path: str | os.PathLike[str], rows: Mapping[str, Mapping[str, tuple[float, int, str]]], run: Run
) -> None:
    against = 0
    for query, found in run.lists.items():
        told = [rows[query][document][1] for document in found.documents]
        against += any(later < earlier for earlier, later in pairwise(told))
    if against:
        logger.warning("%s ranks documents of %d queries against their scores; scores decide", path, against)
