"""`resift score`: pairs in, scores out, in the order of the input and as it comes."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby, islice
from typing import Any

import click

from resift.cli.faults import PARTIAL
from resift.cli.opening import opened
from resift.cli.options import OneOf, option, ranker_options
from resift.cli.reading import FORMATS, Placed, read_lines, read_rows
from resift.cli.writing import flush, write_line, write_row
from resift.documents import read_query
from resift.errors import InvalidInput
from resift.types import Document, Ranker, Request

_AT_ONCE = 256  # documents of one query that are asked for together

_EXAMPLES = """\b
Examples:
  resift score pairs.jsonl
  resift score pairs.csv --query-field question --document-field answer -o csv
  resift score --query "what does a panda eat?" documents.txt -o scores
"""


@dataclass(frozen=True, slots=True)
class _Pair:
    query: str
    document: Document
    entry: Any = None


@dataclass(slots=True)
class _Group:
    """Pairs of one query that stand behind one another."""

    query: str
    documents: list[Document] = field(default_factory=list)
    entries: list[Any] = field(default_factory=list)


_option = partial(option, prefix="RESIFT_SCORE_")


@click.command(epilog=_EXAMPLES)
@click.argument("file", required=False, metavar="[FILE|-]")
@_option("--query", metavar="TEXT", help="The query of all pairs; each line of FILE is then a document.")
@_option("--format", "kind", type=OneOf(FORMATS), default="auto", show_default=True, help="How the pairs are written.")
@_option("--query-field", default="query", show_default=True, metavar="NAME", help="Where a pair has its query.")
@_option("--document-field", default="document", show_default=True, metavar="NAME", help="Where it has its document.")
@_option("--id-field", default="id", show_default=True, metavar="NAME", help="Where it has its id, if it has one.")
@_option(
    "-o",
    "--output",
    type=OneOf(("jsonl", "csv", "scores")),
    default="jsonl",
    show_default=True,
    help="scores is a number on each line.",
)
@ranker_options
@click.pass_context
def score(context: click.Context, /, file: str | None, **given: Any) -> None:
    """
    Score pairs of a query and a document.

    FILE is JSONL, JSON, CSV or TSV with a query and a document in each row; without it, or for "-", it comes from
    stdin. Scores are written in input order, as they are known.
    """
    write = _Writer(given["output"])
    with closing(_pairs(file, given)) as pairs:
        first = next(pairs, None)  # a file that cannot be read should not cost the loading of a model
        if first is None:
            raise InvalidInput("there are no pairs to score; name a file that has some, or pipe them in")
        with opened(context) as ranker:
            for group, scores in _scored(ranker, _groups(chain([first], pairs))):
                write(group, scores)
    if write.missing:
        click.echo(f"Note: {write.missing} of {write.written} pairs got no score", err=True)
        context.exit(PARTIAL)


class _Writer:
    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.written = self.missing = 0

    def __call__(self, group: _Group, scores: dict[int, float]) -> None:
        for at, entry in enumerate(group.entries):
            self._write(entry, scores.get(at))
        flush()

    def _write(self, entry: Any, found: float | None) -> None:
        if self._kind == "jsonl":
            head = {"index": self.written} if entry is None else {"index": self.written, "id": entry}
            write_line({**head, "score": found})
        elif self._kind == "csv":
            if not self.written:
                write_row(["index", "id", "score"])
            write_row([self.written, entry, found])
        else:
            write_row(["" if found is None else found])
        self.written += 1
        self.missing += found is None


def _scored(ranker: Ranker, groups: Iterator[_Group]) -> Iterator[tuple[_Group, dict[int, float]]]:
    """Yield each group with the scores of its documents by their place; groups are read ahead of their scores."""
    asked: deque[_Group] = deque()

    def requests() -> Iterator[Request]:
        for group in groups:
            asked.append(group)
            yield group.query, group.documents

    for ranking in ranker.rank_many(requests()):
        yield asked.popleft(), {hit.index: hit.score for hit in ranking}


def _pairs(file: str | None, given: dict[str, Any]) -> Generator[_Pair]:
    query = None if given["query"] is None else read_query(given["query"])
    is_lines = query is not None and given["kind"] in ("auto", "lines")
    with closing(read_lines(file) if is_lines else read_rows(file, given["kind"])) as rows:
        for placed in rows:
            yield _Pair(query, placed[1]) if query is not None and is_lines else _pair(placed, given, query)


def _pair(placed: Placed, given: dict[str, Any], query: str | None) -> _Pair:
    place, row = placed
    own = _member(place, row, given["query_field"]) if query is None else query
    if not isinstance(own, str) or not own.strip():
        raise InvalidInput(f"{place} has a query that is blank or no text; give it words, or take the line out")
    document = _member(place, row, given["document_field"])
    if not isinstance(document, str | dict):
        raise InvalidInput(f"{place} has a document that is neither text nor an object; correct it")
    return _Pair(own, document, row.get(given["id_field"]))


def _member(place: str, row: dict[str, Any], name: str) -> Any:
    if name not in row:
        known = ", ".join(map(repr, islice(row, 8)))
        raise InvalidInput(
            f"{place} has no {name!r}, only {known or 'nothing'}; name them with --query-field and --document-field"
        )
    return row[name]


def _groups(pairs: Iterator[_Pair]) -> Iterator[_Group]:
    for query, together in groupby(pairs, key=lambda pair: pair.query):
        while some := list(islice(together, _AT_ONCE)):
            yield _Group(query, [pair.document for pair in some], [pair.entry for pair in some])
