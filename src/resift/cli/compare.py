"""`resift compare`: what was measured before, beside each other."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from resift.cli.evaluate import REPORT
from resift.cli.opening import warnings_told
from resift.cli.options import option
from resift.errors import InvalidInput

_EXAMPLES = """\b
Examples:
  resift compare first
  resift compare first second --output both
  resift compare first/results.json second/results.json --baseline lexical
  resift compare mine.trec theirs.trec --first-stage bm25.trec --qrels qrels.txt --output runs
  resift compare first/runs/scifact/*.trec
"""

_RECORD, _QRELS, _FIRST = "results.json", "qrels.txt", "first-stage.trec"


_option = partial(option, prefix="RESIFT_COMPARE_")


@click.command(epilog=_EXAMPLES)
@click.argument("saved", metavar="DIR|RESULTS|RUN...", nargs=-1, required=True)
@_option("-o", "--output", metavar="DIR", help="Where record, runs and report are written.  [default: only a table]")
@_option("--baseline", metavar="ROW", help="The row that all are compared with.  [default: as it was measured]")
@_option("--no-texts", is_flag=True, help="Show no texts of queries and documents.")
@_option("--qrels", metavar="FILE", help="The judgements of the runs.  [default: qrels.txt beside the first of them]")
@_option(
    "--first-stage",
    metavar="RUN",
    help="The run that was put in order.  [default: first-stage.trec beside the first run, or else the first run]",
)
@_option("--query-texts", metavar="FILE", help="The queries of the runs, to show them: JSONL, or id, tab, text.")
@_option("--document-texts", metavar="FILE", help="Their documents, written in the same way.")
@_option(
    "--measure",
    "measures",
    multiple=True,
    metavar="NAME[@K]",
    help="What runs are measured by; the first one decides.  [default: nDCG@10 and six more]",
)
@_option("--relevant-from", type=int, default=1, show_default=True, help="The grade from which a document is relevant.")
@_option("--seed", type=int, default=0, show_default=True, help="What chance begins with, for runs.")
def compare(saved: tuple[str, ...], **given: Any) -> None:
    """
    Put what was measured before beside each other, and show it as resift eval does.

    Each DIR, or its results.json, is what resift eval wrote; contestants on the same collections are put together. Each
    RUN is a file in TREC's format. Nobody is asked anything again.
    """
    from resift.evaluation import merge, write_report

    with warnings_told():
        evaluations: dict[str, Any] = {}
        runs = [Path(name) for name in saved if _is_run(Path(name))]
        for name in saved:
            path = Path(name)
            if path not in runs:
                _enter(evaluations, path)
        if runs:
            evaluations["runs"] = _measured(runs, given, alone=len(runs) == len(saved))
        if len(runs) == len(saved):
            evaluation = evaluations["runs"]
        else:
            evaluation = merge(evaluations, baseline=given["baseline"], texts=not given["no_texts"])
        if given["output"] is not None:
            root = Path(given["output"])
            evaluation.save(root)
            write_report(evaluation, root / REPORT)
    click.echo(str(evaluation))
    if given["output"] is not None:
        click.echo(f"\nreport: {root / REPORT}", err=True)


def _is_run(path: Path) -> bool:
    return path.name != _RECORD and path.is_file()


def _enter(evaluations: dict[str, Any], path: Path) -> None:
    """Read a saved evaluation, and call it by its directory."""
    from resift.evaluation import Evaluation

    root = path.parent if path.name == _RECORD else path
    name = root.resolve().name
    while name in evaluations:
        name += "'"
    evaluations[name] = Evaluation.load(root)


def _measured(runs: Sequence[Path], given: dict[str, Any], *, alone: bool) -> Any:
    """Measure runs of any origin."""
    from resift.evaluation import evaluate, read_run, read_trec

    folder = runs[0].parent
    qrels = Path(given["qrels"]) if given["qrels"] is not None else folder / _QRELS
    if not qrels.is_file():
        raise InvalidInput(f"runs need judgements, and there is no file {str(qrels)!r}; name it with --qrels")
    if given["first_stage"] is not None:
        first = Path(given["first_stage"])
    else:
        first = folder / _FIRST if (folder / _FIRST).is_file() else runs[0]
    texts = {"queries": given["query_texts"], "documents": given["document_texts"]}
    name = folder.resolve().name if qrels == folder / _QRELS else None
    collection = read_trec(first, qrels, name=name, **texts)
    contestants: dict[str, Any] = {}
    for path in runs:
        if path.resolve() == first.resolve():
            continue
        stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
        if stem in contestants:
            raise InvalidInput(f"two runs are called {stem!r}; give one of the files another name")
        contestants[stem] = read_run(path, name=stem)
    return evaluate(
        collection,
        contestants,
        relevant_from=given["relevant_from"],
        baseline=given["baseline"] if alone else None,
        texts=not given["no_texts"],
        seed=given["seed"],
        **({"measures": given["measures"]} if given["measures"] else {}),
    )
