"""`resift bench`: how fast a ranker is, here and now."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from resift.cli.opening import misspelling_told, settings_of, warnings_told
from resift.cli.options import OneOf, option, ranker_options
from resift.cli.terminal import console, is_person, quieten_downloads
from resift.cli.writing import flush, write_line

if TYPE_CHECKING:
    from resift.evaluation.latency import Latency
    from resift.evaluation.speed import Speed

_EXAMPLES = """\b
Examples:
  resift bench
  resift bench --model BAAI/bge-reranker-v2-m3 --dtype float16 --device cuda
  resift bench --model ./exported --backend openvino --documents 100 --callers 8
  resift bench --base-url http://localhost:8000 --model BAAI/bge-reranker-v2-m3 -o json
"""


_option = partial(option, prefix="RESIFT_BENCH_")


@click.command(epilog=_EXAMPLES)
@_option("--documents", type=int, default=100, show_default=True, metavar="N", help="Documents of a long list.")
@_option("--callers", type=int, default=8, show_default=True, metavar="N", help="Callers that ask at once.")
@_option("--words", type=int, default=90, show_default=True, metavar="N", help="Words of the median document.")
@_option("--seconds", type=float, default=5.0, show_default=True, metavar="S", help="How long each load lasts.")
@_option(
    "-o",
    "--output",
    type=OneOf(("auto", "table", "json")),
    default="auto",
    show_default=True,
    help="auto is a table on a terminal, and JSON in a pipe.",
)
@ranker_options
@click.pass_context
def bench(context: click.Context, /, *, words: int, seconds: float, output: str, **given: Any) -> None:
    """
    Time a model or an endpoint on made-up text.

    Three loads: a list of 5 documents, a list of --documents, and such lists from --callers at once. To time it on
    texts of your own, and to see how good it is, use resift eval.
    """
    import resift.api
    from resift.evaluation.speed import Load, measure_speed

    settings = settings_of(context)
    many, callers = given["documents"], given["callers"]
    loads = dict.fromkeys([Load(5), Load(many), Load(many, callers)])
    quieten_downloads()
    with warnings_told(), misspelling_told(settings["model"]):
        speed = measure_speed(lambda: resift.api.open(**settings), list(loads), words=words, seconds=seconds)
    if output == "json" or (output == "auto" and not is_person()):
        write_line(asdict(speed))
        flush()
    else:
        _show(speed)


def _show(speed: "Speed") -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("load", no_wrap=True)
    for name in ("p50", "p90", "p99", "pairs/s", "tokens/s", "peak memory"):
        table.add_column(name, justify="right")
    for load, latency in speed.latencies.items():
        table.add_row(load, *_cells(latency))
    console().print(table)
    machine = speed.environment.get("gpus") or speed.environment.get("processor", "an unknown machine")
    runs_on = "" if speed.runs_on is None else f", {speed.runs_on}"
    click.echo(f"{speed.model}{runs_on}; {machine}", err=True)
    click.echo(f"open after {_ms(speed.opened_s)}, the first query took {_ms(speed.first_s)}", err=True)


def _cells(latency: "Latency") -> list[str]:
    tokens = "" if latency.tokens_per_s is None else f"{latency.tokens_per_s:,.0f}"
    peak = "" if latency.peak_bytes is None else f"{latency.peak_bytes / 2**20:,.0f} MiB"
    return [*map(_ms, (latency.p50_s, latency.p90_s, latency.p99_s)), f"{latency.pairs_per_s:,.0f}", tokens, peak]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"
