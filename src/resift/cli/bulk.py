"""`resift bulk`: a file of queries with their documents, to a folder of rankings."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from resift.cli.faults import PARTIAL
from resift.cli.opening import misspelling_told, settings_of, warnings_told
from resift.cli.options import OneOf, option, ranker_options
from resift.cli.progress import Meter
from resift.cli.terminal import quieten_downloads
from resift.errors import InvalidInput
from resift.types import Cut

_EXAMPLES = """\b
Examples:
  resift bulk queries.jsonl ranked --model BAAI/bge-reranker-v2-m3 --top-n 10
  resift bulk queries.parquet ranked.parquet --documents-field passages
  cat ranked/part-*.jsonl > ranked.jsonl

\b
A row of IN:   {"id": "q1", "query": "pandas", "documents": ["a bear", {"title": "a car"}]}
A row of OUT:  {"id": "q1", "results": [{"index": 0, "score": 0.98}, ...], "truncated": 0}
"""


_option = partial(option, prefix="RESIFT_BULK_")


@click.command(epilog=_EXAMPLES)
@click.argument("source", metavar="IN")
@click.argument("folder", metavar="OUT")
@_option("--query-field", default="query", show_default=True, metavar="NAME", help="Where a row has its query.")
@_option(
    "--documents-field", default="documents", show_default=True, metavar="NAME", help="Where it has its documents."
)
@_option("--id-field", default="id", show_default=True, metavar="NAME", help="Where it has its id, if it has one.")
@_option("--top-n", type=int, metavar="N", help="How many documents of a row are kept.  [default: all]")
@_option("--threshold", type=float, metavar="SCORE", help="The least score that is kept.")
@_option("--texts", is_flag=True, help="Repeat queries and documents in the output.")
@_option("--to", type=OneOf(("jsonl", "parquet")), help="The output's format.  [default: parquet if OUT ends so]")
@_option("--shard-size", type=int, default=256, show_default=True, metavar="N", help="Rows in one file of the output.")
@_option(
    "--on-bad-row",
    type=OneOf(("stop", "skip")),
    default="stop",
    show_default=True,
    help="skip writes why a row cannot be ranked, goes on, and ends with status 3.",
)
@_option("--fast", is_flag=True, help="Let rows share batches; a second run may then differ in a score's last digits.")
@click.option("--overwrite", is_flag=True, help="Delete the results that OUT holds, and begin anew.")
@_option(
    "--progress",
    type=OneOf(("auto", "plain", "none")),
    default="auto",
    show_default=True,
    help="auto is a bar on a terminal, and now and then a line elsewhere.",
)
@ranker_options
@click.pass_context
def bulk(context: click.Context, /, source: str, folder: str, **given: Any) -> None:
    """
    Rank the documents of each query in IN, and write the results to the folder OUT.

    IN is JSONL or Parquet with a query and its documents in each row. OUT gets a file for some rows at a time, in their
    order, and a manifest. Run the same command again to go on where it was stopped, by whatever: the files will be the
    same to the byte. Another input, model or setting is refused.
    """
    import resift.api
    from resift.bulk import How, Job, Names, Output, run_bulk, source_of

    if source == "-":
        raise InvalidInput("bulk reads its input more than once, which stdin does not let it; save it to a file")
    output: Output = given["to"] or ("parquet" if Path(folder).suffix == ".parquet" else "jsonl")
    settings = settings_of(context)
    opener = resift.api.opener(**settings)
    how = How(
        Cut(given["top_n"], given["threshold"]),
        output=output,
        texts=given["texts"],
        skip=given["on_bad_row"] == "skip",
        together=given["fast"] or settings["base_url"] is not None,
    )
    names = Names(given["query_field"], given["documents_field"], given["id_field"])
    job = Job(source_of(source, names), opener, opener.model, how, given["shard_size"])
    quieten_downloads()
    with warnings_told(), misspelling_told(opener.model), Meter(given["progress"]) as meter:
        tally = run_bulk(job, folder, overwrite=given["overwrite"], told=partial(meter, label=opener.model))
    if given["progress"] != "none":
        click.echo(meter.summary(tally, folder), err=True)
    if tally.partial:
        click.echo(f"Note: {tally.partial} of {tally.rows} rows have not all of their results", err=True)
        context.exit(PARTIAL)
