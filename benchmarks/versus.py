"""
Time resift beside its peers on the same weights, in one run.

    python benchmarks/versus.py [--model minilm|base|deberta|modernbert|qwen2|...|all] [--device cpu|cuda]
                                [--peers all|none|name,...] [--rounds 5] [--threads 2] [--here] [--quick]

A model of the real size of one that people run gets random weights: speed does not depend on their values, and scores
that agree prove that all did the same work. Every contestant is a process of its own, a peer's in an environment of its
own that is made when it is missing (minutes, and some gigabytes for all). They take turns round by round, so that
whatever else the machine does hits them alike. Everything is printed, and written to benchmarks/results/ unless the run
was a quick one.
"""

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # a script sees only its own folder

from benchmarks.contest import machine  # noqa: E402
from benchmarks.contest.cells import WHOLE, caption, cells, played  # noqa: E402
from benchmarks.contest.checkpoints import Checkpoint, write_model  # noqa: E402
from benchmarks.contest.contestants import contestants  # noqa: E402
from benchmarks.contest.graphs import write_graphs  # noqa: E402
from benchmarks.contest.playing import CALLERS, Requests, Rules, play  # noqa: E402
from benchmarks.contest.record import Work, make_record  # noqa: E402
from benchmarks.contest.sizes import ON_CPU, SIZES  # noqa: E402
from benchmarks.contest.stable import PEERS, Setting  # noqa: E402
from benchmarks.contest.workload import (  # noqa: E402
    Request,
    lengths_of,
    long_requests,
    operations,
    short_requests,
    write_requests,
)

MEDIAN_TOKENS, LONGEST_TOKENS = 120, 512
SHORT_CALLS, SHORT_DOCUMENTS = 40, 5
CROWD_DOCUMENTS = 10
QUICK_DOCUMENTS = 3
SHARE_OF_MEMORY = 0.7
CONSOLE = Console(width=160)


def main() -> None:
    """Measure each model that is asked for."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without ending the contestants
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(arguments.threads))
    for model in ON_CPU if arguments.model == "all" else [arguments.model]:
        with tempfile.TemporaryDirectory() as folder:
            record = _measure(model, Path(folder), arguments)
        _show(record)
        if not arguments.quick:
            path = HERE / "results" / f"{model}-{arguments.device}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _measure(model: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(arguments.threads)
    size = SIZES[model]
    checkpoint = write_model(folder / "model", model, max_length=arguments.longest)
    rows = contestants(size, arguments.device, _peers(arguments.peers))
    graphs = write_graphs(checkpoint.folder, folder / "exported", {row.graph for row in rows})
    gc.collect()
    ceilings = machine.ceilings(arguments.device)
    asked = _requests(checkpoint, arguments)
    files = Requests(**{name: write_requests(folder / f"{name}.json", requests) for name, requests in asked.items()})
    lengths = lengths_of(checkpoint, asked["long"], max_length=arguments.longest)
    told = {
        "device": arguments.device,
        "threads": arguments.threads,
        "max_length": arguments.longest,
        "template": size.template,
    }
    share = int(machine.memory_bytes() * SHARE_OF_MEMORY)
    setting = Setting(folder, graphs, told, memory_bytes=share, here=arguments.here)
    rules = Rules(arguments.rounds, arguments.seconds)
    tallies = play(rows, setting, files, rules=rules, say=lambda words: CONSOLE.print(words, style="dim"))
    again = machine.ceilings(arguments.device)
    work = Work(len(lengths), sum(lengths), operations(checkpoint, lengths), _documents(asked["crowd"]))
    return make_record(
        size,
        arguments.device,
        work,
        rows=rows,
        tallies=tallies,
        told={
            "measured": datetime.now(UTC).isoformat(timespec="minutes"),
            "threads": arguments.threads,
            "rounds": arguments.rounds,
            "vocabulary": checkpoint.vocabulary,
            "longest sequence": arguments.longest,
            "ceilings, operations a second": {dtype: max(top, again[dtype]) for dtype, top in ceilings.items()},
        },
    )


def _requests(checkpoint: Checkpoint, arguments: argparse.Namespace) -> dict[str, list[Request]]:
    rng = np.random.default_rng(0)
    words, usual = checkpoint.words, checkpoint.size.workload
    queries, documents = arguments.queries or usual["queries"], arguments.documents or usual["documents"]
    lengths = {"median": arguments.median, "longest": arguments.longest}
    return {
        "long": long_requests(words, rng, queries=queries, documents=documents, **lengths),
        "warm_up": long_requests(words, rng, queries=1, documents=documents, **lengths),
        "short": short_requests(words, rng, queries=3 if arguments.quick else SHORT_CALLS, documents=SHORT_DOCUMENTS),
        "crowd": long_requests(
            words, rng, queries=CALLERS * usual["calls"], documents=min(CROWD_DOCUMENTS, documents), **lengths
        ),
    }


def _documents(requests: Sequence[Request]) -> int:
    return sum(len(documents) for _, documents in requests)


def _peers(said: str) -> list[str] | None:
    """Return the peers that are asked for, None for all."""
    if said in ("all", "none"):
        return None if said == "all" else []
    known = sorted(path.parent.name for path in PEERS.glob("*/score.py"))
    names = said.split(",")
    if strangers := sorted({*names} - {*known}):
        raise SystemExit(f"no peer is called {', '.join(strangers)}; there are {', '.join(known)}")
    return names


def _show(record: dict[str, Any]) -> None:
    for columns in WHOLE:
        table = Table(title=record["model"])
        table.add_column("contestant", no_wrap=True)
        for column in columns:
            table.add_column(column, justify="right", no_wrap=True)
        for row in played(record):
            table.add_row(*cells(row, columns))
        CONSOLE.print(table)
    CONSOLE.print(caption(record), style="dim")
    for row in record["rows"]:
        if "why not" in row:
            CONSOLE.print(f"{row['name']}: {row['why not']}", style="yellow", markup=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*SIZES, "all"], default="minilm")
    parser.add_argument("--device", choices=machine.DTYPES, default="cpu")
    parser.add_argument("--peers", default="all", help="all, none, or names of folders in benchmarks/peers")
    parser.add_argument("--here", action="store_true", help="run peers in this environment instead of their own")
    parser.add_argument("--quick", action="store_true", help="see that all of it runs; nothing is written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=120, help="who has worked so long has played enough")
    parser.add_argument("--queries", type=int, help="as suits the model, if not given")
    parser.add_argument("--documents", type=int, help="the same")
    parser.add_argument("--median", type=int, default=MEDIAN_TOKENS, help="of the documents' lengths in tokens")
    parser.add_argument("--longest", type=int, default=LONGEST_TOKENS, help="where texts are cut, in tokens")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.queries, arguments.documents = 1, 1, QUICK_DOCUMENTS
    return arguments


if __name__ == "__main__":
    main()
