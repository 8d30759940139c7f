"""`resift eval`: rankers on collections, and how sure it is which one is best."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from resift.cli.contestants import read_contestants
from resift.cli.opening import warnings_told
from resift.cli.options import OneOf, Words, option
from resift.cli.terminal import quieten_downloads, redraws
from resift.errors import InvalidInput
from resift.settings import Backend, Dtype

_EXAMPLES = """\b
Examples:
  resift eval data/scifact --model lexical --output first
  resift eval data/scifact data/nfcorpus -m BAAI/bge-reranker-base -m mixedbread-ai/mxbai-rerank-base-v2 --output first
  resift eval questions.jsonl -m BAAI/bge-reranker-base -m BAAI/bge-reranker-base,dtype=bfloat16,name=half
  resift eval data/scifact --endpoint http://127.0.0.1:8000/v1=BAAI/bge-reranker-v2-m3 --first-stage bm25
  resift eval --qrels q.txt --first-stage bm25.trec --query-texts queries.tsv --document-texts corpus.jsonl -m lexical

\b
DIR gets results.json, report.html and runs/COLLECTION/ROW.trec, and the answers as they come: the same command goes on
where it was interrupted. resift compare puts several such directories beside each other.
"""

REPORT = "report.html"
_option = partial(option, prefix="RESIFT_EVAL_")


@click.command(epilog=_EXAMPLES)
@click.argument("data", metavar="[DATA]...", nargs=-1)
@_option(
    "-m", "--model", "models", multiple=True, metavar="MODEL[,OPTION=VALUE]...", help="A contestant that runs here."
)
@_option(
    "--endpoint", "endpoints", multiple=True, metavar="URL=MODEL[,OPTION=VALUE]...", help="One behind an endpoint."
)
@_option("-o", "--output", metavar="DIR", help="Where all is kept.  [default: nothing is kept]")
@_option(
    "--first-stage",
    default="given",
    metavar="given|pool|bm25|RUN|MODEL",
    show_default=True,
    help="Who finds the "
    "documents to put in order: the collection's own run or pool, BM25, a run of yours, or a ranker.",
)
@_option("--depth", type=int, default=100, show_default=True, help="How many documents of each list are put in order.")
@_option("--queries", type=int, metavar="N", help="Take only so many queries of each collection, always the same.")
@_option(
    "--measure",
    "measures",
    multiple=True,
    metavar="NAME[@K]",
    help="nDCG, MAP, MRR, Recall, P; the first one decides.  [default: nDCG@10 and six more]",
)
@_option("--relevant-from", type=int, default=1, show_default=True, help="The grade from which a document is relevant.")
@_option("--baseline", metavar="ROW", help="The row that all are compared with.  [default: each with each]")
@_option("--untimed", is_flag=True, help="Hand over all queries together: faster, and no latencies.")
@_option("--concurrency", type=int, default=1, show_default=True, help="Queries that are asked at one time.")
@_option("--warm-up", type=int, default=3, show_default=True, help="Queries that are asked before the clock runs.")
@_option("--seed", type=int, default=0, show_default=True, help="What chance begins with.")
@_option("--fresh", is_flag=True, help="Ask anew what DIR has answers to.")
@_option("--no-texts", is_flag=True, help="Keep and show no texts of queries and documents.")
@_option("--split", default="test", show_default=True, help="Which judgements of a folder.")
@_option("--subset", metavar="NAME", help="Which subset of a folder in MTEB's layout.")
@_option("--qrels", metavar="FILE", help="Judgements in TREC's format; the run is --first-stage.")
@_option("--query-texts", metavar="FILE", help="The queries of --qrels: JSONL, or id, tab, text.")
@_option("--document-texts", metavar="FILE", help="The documents of --first-stage, written in the same way.")
@option("--backend", type=OneOf(get_args(Backend)), help="What runs the models.  [default: what suits their files]")
@option("--device", type=Words(), multiple=True, metavar="NAME", help="Where: cpu, cuda, cuda:1; repeatable.")
@option("--dtype", type=OneOf(get_args(Dtype)), help="Their number format.  [default: what suits the device]")
@option("--max-length", type=int, metavar="N", help="Tokens that a model reads of one text.")
@option("--instruction", metavar="TEXT", help="What all are told to look for.")
@option("--trust-remote-code", is_flag=True, help="Let code from a model's repository run.")
@option("--local-files-only", is_flag=True, help="Never ask the model hub.")
@option("--cache-dir", metavar="DIR", help="Where hub models are kept.")
@option("--dialect", metavar="NAME", help="How endpoints want to be asked.  [default: known by their host or route]")
@option("--timeout-s", type=float, metavar="S", help="Seconds that a call to an endpoint may take.")
def evaluate(data: tuple[str, ...], **given: Any) -> None:
    """
    Measure rankers on collections: how well they put documents in order, how fast, and how sure that is.

    DATA is a folder in BEIR's or MTEB's layout, or lines of {"query", "positives", "negatives"}; several are measured
    one by one and together. Any number of contestants take part: each --model and each --endpoint. What is said of
    models or endpoints holds for all of them, unless one has options of its own behind commas.
    """
    from resift.evaluation import evaluate as measure
    from resift.evaluation import write_report

    quieten_downloads()
    with warnings_told(), ExitStack() as stack:
        contestants = read_contestants(given["models"], given["endpoints"], here=_here(given), there=_there(given))
        collections, first_stage = _lists(data, given, stack)
        root = None if given["output"] is None else Path(given["output"])
        with _kept(root):
            evaluation = measure(
                collections,
                contestants,
                first_stage=first_stage,
                timed=not given["untimed"],
                directory=root,
                resume=not given["fresh"],
                texts=not given["no_texts"],
                progress=redraws(),
                **({"measures": given["measures"]} if given["measures"] else {}),
                **{name: given[name] for name in _SAME},
            )
        if root is not None:
            write_report(evaluation, root / REPORT, texts=not given["no_texts"])
    click.echo(str(evaluation))
    _say_where(root)


_SAME = ("depth", "relevant_from", "baseline", "concurrency", "warm_up", "seed")
_HERE = ("backend", "dtype", "max_length", "instruction", "trust_remote_code", "local_files_only", "cache_dir")
_THERE = ("dialect", "timeout_s", "instruction")
_SOURCES = ("given", "pool", "bm25")
_FILES = (".run", ".trec", ".txt", ".tsv", ".gz")


def _here(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of models that were given."""
    options = {name: given[name] for name in _HERE if given[name] not in (None, False)}
    devices = list(given["device"])
    return options | ({"device": devices[0] if len(devices) == 1 else devices} if devices else {})


def _there(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of endpoints that were given."""
    return {name: given[name] for name in _THERE if given[name] is not None}


def _lists(data: tuple[str, ...], given: Mapping[str, Any], stack: ExitStack) -> tuple[list[Any], Any]:
    """Return the collections, and who finds the documents that are put in order."""
    from resift.evaluation import read_collection

    if given["subset"] is not None and len(data) != 1:
        raise InvalidInput(f"--subset speaks of one folder, and there are {len(data)}")
    collections = [read_collection(path, split=given["split"], subset=given["subset"]) for path in data]
    first_stage = given["first_stage"]
    if given["qrels"] is not None:
        collections.append(_read_trec(given))
        first_stage = "given"
    elif given["query_texts"] is not None or given["document_texts"] is not None:
        raise InvalidInput("--query-texts and --document-texts belong to --qrels; add it, or leave them out")
    if not collections:
        raise InvalidInput("there is no data; name a folder or a file of JSON lines, or --qrels")
    if given["queries"] is not None:
        collections = [collection.sample(given["queries"]) for collection in collections]
    for one in collections:
        queries = "1 query" if len(one.judged) == 1 else f"{len(one.judged)} queries"
        click.echo(f"{one.name}: {queries}, {len(one.documents)} documents", err=True)
    return collections, _source(first_stage, given, stack)


def _read_trec(given: Mapping[str, Any]) -> Any:
    from resift.evaluation import read_trec

    if given["first_stage"] in _SOURCES:
        raise InvalidInput("--qrels needs the run whose lists are put in order; name it with --first-stage")
    texts = {"queries": given["query_texts"], "documents": given["document_texts"]}
    return read_trec(given["first_stage"], given["qrels"], **texts)


def _source(named: str, given: Mapping[str, Any], stack: ExitStack) -> Any:
    """Return the first stage that a word, a file or a model's name means."""
    from resift.evaluation import read_run

    if named in _SOURCES:
        return named
    if Path(named).is_file():
        return read_run(named)
    if named.endswith(_FILES):
        raise InvalidInput(f"there is no run {named!r}; --first-stage takes a file, a model, or {', '.join(_SOURCES)}")
    opens = read_contestants([named], [], here=_here(given), there={})
    click.echo("the first stage reads every document for every query; meant for embedding models", err=True)
    return stack.enter_context(next(iter(opens.values()))())


@contextmanager
def _kept(root: Path | None) -> Iterator[None]:
    """Say what an interruption leaves, if anything."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        if root is not None and (root / "answers").is_dir():
            click.echo(f"what was answered is kept in {root}; the same command goes on from there", err=True)
        raise


def _say_where(root: Path | None) -> None:
    if root is not None:
        click.echo(f"\nreport: {root / REPORT}", err=True)
    elif sys.stderr.isatty():
        click.echo("\nnothing was kept; --output DIR keeps the record, the runs and a report", err=True)
