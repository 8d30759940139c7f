"""`resift models`: what is known by name, what it is like, and what of it runs here."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from typing import Any

import click

from resift.cli.amounts import in_parameters
from resift.cli.options import OneOf, option
from resift.cli.terminal import console
from resift.cli.writing import FORMATS, flush, resolve, write_line, write_row
from resift.errors import InvalidInput, ModelUnsupported

_EXAMPLES = """\b
Examples:
  resift models
  resift models bge
  resift models Qwen/Qwen3-Reranker-0.6B -o json
"""

_RUNNERS = {"torch": ("torch", "local"), "onnx": ("onnxruntime", "onnx"), "openvino": ("openvino", "openvino")}
_FIRST_TO_GO = ("scores", "languages", "family", "licence", "reads")  # where a terminal is narrow
_COLUMNS = ("model", "family", "size", "languages", "reads", "scores", "licence", "here")


_option = partial(option, prefix="RESIFT_MODELS_")


@click.command(epilog=_EXAMPLES)
@click.argument("name", required=False)
@option("--cache-dir", metavar="DIR", help="Where hub models are kept.")
@_option(
    "-o",
    "--output",
    type=OneOf(FORMATS),
    default="auto",
    show_default=True,
    help="auto is a table on a terminal, and JSONL in a pipe.",
)
def models(name: str | None, cache_dir: str | None, output: str) -> None:
    """
    List the models that are known: those whose name holds NAME, or all.

    Others run too, if their files say how they are to be read; docs/models.md tells which. Well-known ones that cannot
    be run are named on stderr, with the reason.
    """
    from resift.scoring.catalog import UNSUITABLE
    from resift.scoring.facts import FACTS

    found = [_entry(model, cache_dir) for model in FACTS if _is_meant(model, name)]
    unsuitable = [f"{model} cannot be run here: {UNSUITABLE[model]}" for model in UNSUITABLE if _is_meant(model, name)]
    if not found:
        raise ModelUnsupported(" and ".join(unsuitable)) if unsuitable else _unknown(str(name), FACTS)
    kind = resolve(output)
    if kind == "table":
        _write_table(found)
    elif kind == "json":
        write_line(found)
    elif kind == "jsonl":
        for entry in found:
            write_line(entry)
    else:
        write_row(list(found[0]))
        for entry in found:
            write_row(list({**entry, "runs": " ".join(entry["runs"])}.values()))
    flush()
    for line in unsuitable:
        click.echo(line, err=True)


def _is_meant(model: str, name: str | None) -> bool:
    return name is None or name.casefold() in model.casefold()


def _unknown(name: str, known: Iterable[str]) -> InvalidInput:
    close = get_close_matches(name, list(known), n=1, cutoff=0.4)
    meant = f"did you mean {close[0]!r}?" if close else "`resift models` lists all; others may run as well"
    return InvalidInput(f"no model is known whose name holds {name!r}; {meant}")


def _entry(model: str, cache_dir: str | None) -> dict[str, Any]:
    from resift.checkpoint.cache import is_cached
    from resift.scoring.catalog import find_row
    from resift.scoring.facts import FACTS

    facts = FACTS[model]
    return {
        "model": model,
        "family": facts.family,
        "parameters": round(facts.millions * 1_000_000),
        "languages": facts.languages,
        "reads": _reads(find_row(model)) or facts.tokens,
        "most": facts.tokens,
        "scores": facts.scale,
        "licence": facts.licence,
        "commercial": facts.is_commercial,
        "cached": is_cached(model, cache_dir),
        "runs": _runners(facts),
    }


def _reads(row: Any) -> int | None:
    """Return how many tokens a row of the catalogue has a model read, where it says so."""
    asked = getattr(row, "asked", row)
    found: int | None = getattr(asked, "max_length", None) or getattr(asked, "document_length", None)
    return found


def _runners(facts: Any) -> list[str]:
    """Return the backends that are installed and run a model; a graph is only run where somebody has exported one."""
    suitable = list(_RUNNERS) if facts.runs_as_graph else ["torch"]
    return [runner for runner in suitable if _is_installed(_RUNNERS[runner][0])]


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # blocked, or half imported
        return False


def _write_table(entries: list[dict[str, Any]]) -> None:
    from rich.table import Table

    rows = [dict(zip(_COLUMNS, _cells(entry), strict=True)) for entry in entries]
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in _COLUMNS}
    screen, left_out = console(), []
    for column in _FIRST_TO_GO:
        if sum(widths.values()) + 2 * len(widths) <= screen.width:
            break
        del widths[column]
        left_out.append(column)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, width in widths.items():
        table.add_column(column, justify="right" if column in ("size", "reads") else "left", width=width, no_wrap=True)
    for row in rows:
        table.add_row(*(row[column] for column in widths))
    screen.print(table)
    if left_out:
        click.echo(f"{', '.join(left_out)}: in a wider terminal, or with -o json", err=True)
    if any(not entry["commercial"] for entry in entries):
        click.echo("* the licence forbids commercial use", err=True)
    for runner, (package, extra) in _RUNNERS.items():
        if not _is_installed(package):
            click.echo(f'{runner} is not installed; run: pip install "resift[{extra}]"', err=True)


def _cells(entry: Mapping[str, Any]) -> list[str]:
    reads, most = entry["reads"], entry["most"]
    star = "" if entry["commercial"] else " *"
    here = "runs" if entry["runs"] else "needs an extra"
    return [
        entry["model"],
        entry["family"],
        in_parameters(entry["parameters"] / 1_000_000),
        entry["languages"],
        str(most) if reads == most else f"{reads} of {most}",
        entry["scores"],
        entry["licence"] + star,
        here + (", in the cache" if entry["cached"] else ""),
    ]
