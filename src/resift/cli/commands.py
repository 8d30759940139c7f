"""The commands by name, and how each ends: with its status, and with three short lines on stderr where it fails."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from resift.cli.faults import INTERRUPTED, explain
from resift.cli.lazy import Home, LazyGroup, ReaderLeft, debug_option
from resift.cli.terminal import is_plain

_RANK, _MEASURE, _SERVE, _LOOK = "Rank", "Measure", "Serve", "Models and this machine"

HOMES = {
    "rank": Home("resift.cli.rank:rank", _RANK, "Put documents in order of relevance to a query."),
    "score": Home("resift.cli.score:score", _RANK, "Score pairs of a query and a document, in input order."),
    "bulk": Home("resift.cli.bulk:bulk", _RANK, "Rank files of many queries; what was interrupted goes on."),
    "eval": Home("resift.cli.evaluate:evaluate", _MEASURE, "Measure rankers on collections, and say how sure that is."),
    "compare": Home("resift.cli.compare:compare", _MEASURE, "Put saved evaluations and runs side by side."),
    "bench": Home("resift.cli.bench:bench", _MEASURE, "Time a ranker on this machine."),
    "serve": Home("resift.cli.serve:serve", _SERVE, "Serve models over HTTP, to every rerank client."),
    "models": Home("resift.cli.models:models", _LOOK, "List the models that are known, and what runs here."),
    "export": Home("resift.cli.export:export", _LOOK, "Write a model as an ONNX graph that loads fast."),
    "pull": Home("resift.cli.pull:pull", _LOOK, "Download what loading a model needs."),
    "doctor": Home("resift.cli.doctor:doctor", _LOOK, "Say what this machine has, what is missing, what is broken."),
    "completion": Home("resift.cli.completion:completion", _LOOK, "Let your shell complete commands and options."),
}

_EPILOG = """\b
Examples:
  resift rank "what does a panda eat?" documents.txt
  cat documents.jsonl | resift rank "pandas" --model BAAI/bge-reranker-v2-m3 --top-n 10 -o jsonl
  resift models
"""


@click.group(
    cls=LazyGroup,
    homes=HOMES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=_EPILOG,
)
@click.version_option(version("resift"), prog_name="resift")
@debug_option
@click.pass_context
def resift(context: click.Context) -> None:
    """
    Put documents in order of relevance.

    Data goes to stdout, everything else to stderr. A command ends with 0; with 1 when something failed, 2 when it was
    asked for what cannot be, 3 when some of the results are missing, 130 when it was interrupted.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def start(arguments: Sequence[str]) -> int:
    """Run what the arguments say, and return the exit status."""
    _open_what_is_closed()
    state: dict[str, Any] = {}
    try:
        status = resift.main(
            list(arguments), prog_name="resift", standalone_mode=False, obj=state, color=False if is_plain() else None
        )
        sys.stdout.flush()
    except (BrokenPipeError, ReaderLeft):
        _forget_stdout()
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it was, a person is told
        return _fail(error, debug=state.get("debug", False))
    return status if isinstance(status, int) else 0


def _fail(error: BaseException, *, debug: bool) -> int:
    fault = explain(error)
    if fault.status == INTERRUPTED:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    if debug:
        traceback.print_exception(error)
    color = False if is_plain() else None
    click.secho("Error: ", fg="red", bold=True, err=True, nl=False, color=color)
    click.echo("\n".join(fault.lines), err=True, color=color)
    return fault.status


def _open_what_is_closed() -> None:
    """Let a stream that the process was started without lead nowhere, lest a file opened later takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


def _forget_stdout() -> None:
    """Let nobody complain, when the process ends, that whoever read its output has left."""
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
    except (OSError, ValueError):
        return  # stdout is no file
