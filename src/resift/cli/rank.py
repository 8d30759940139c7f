"""`resift rank`: one query, its documents, their order."""

import sys
from functools import partial
from typing import Any

import click

from resift.cli.faults import PARTIAL
from resift.cli.opening import opened
from resift.cli.options import OneOf, option, ranker_options
from resift.cli.reading import FORMATS, read_documents
from resift.cli.terminal import is_person
from resift.cli.writing import FORMATS as OUTPUTS
from resift.cli.writing import resolve, write_ranking
from resift.errors import InvalidInput
from resift.types import Cut, Ranking

_EXAMPLES = """\b
Examples:
  resift rank "what does a panda eat?" documents.txt
  resift rank "pandas" articles.csv --field title --field text --top-n 5
  grep -h panda notes/*.md | resift rank "what does a panda eat?" --threshold 0.2
  resift rank "pandas" documents.jsonl --model BAAI/bge-reranker-v2-m3 -o csv > ranked.csv
"""


_option = partial(option, prefix="RESIFT_RANK_")


@click.command(epilog=_EXAMPLES)
@click.argument("query")
@click.argument("file", required=False, metavar="[FILE|-]")
@_option(
    "--format",
    "kind",
    type=OneOf(FORMATS),
    default="auto",
    show_default=True,
    help="How the documents are written; auto goes by the file's name, or by how it begins.",
)
@_option("--top-n", type=int, metavar="N", help="How many documents are kept.  [default: all]")
@_option("--threshold", type=float, metavar="SCORE", help="The least score that is kept.")
@_option(
    "-o",
    "--output",
    type=OneOf(OUTPUTS),
    default="auto",
    show_default=True,
    help="auto is a table on a terminal, and JSONL in a pipe.",
)
@ranker_options
@click.pass_context
def rank(context: click.Context, /, query: str, file: str | None, **given: Any) -> None:
    """
    Put documents in order of relevance to QUERY.

    FILE holds a document on each line, or JSON, JSONL, CSV or TSV; without it, or for "-", documents come from stdin.
    """
    cut = Cut(given["top_n"], given["threshold"])
    documents = read_documents(file, given["kind"])
    if not documents:
        raise InvalidInput("there are no documents to rank; name a file that has some, or pipe them in")
    with opened(context) as ranker:
        ranking = ranker.rank(query, documents, top_n=cut.top_n, threshold=cut.threshold)
    write_ranking(resolve(given["output"]), query, ranking)
    _tell(ranking, len(documents))
    if ranking.missing:
        context.exit(PARTIAL)


def _tell(ranking: Ranking, count: int) -> None:
    """Say on stderr what the list does not: what was cut, what is missing, and to a person where it comes from."""
    if ranking.truncated:
        click.echo(f"Note: {ranking.truncated} of {count} documents were longer than the model reads", err=True)
    if ranking.missing:
        named = ", ".join(map(str, ranking.missing[:10])) + (", ..." if len(ranking.missing) > 10 else "")
        click.echo(f"Note: {len(ranking.missing)} of {count} documents got no score: {named}", err=True)
    if is_person(sys.stderr) and is_person():
        milliseconds = ranking.elapsed_s * 1000
        click.echo(f"{len(ranking)} of {count} documents, {ranking.model}, {milliseconds:.0f} ms", err=True)
