"""Rank a handful of documents with the built-in scorer, here and through an endpoint, and show that both agree."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

import resift

QUERY = "How long does a giant panda sleep?"

DOCUMENTS: list[resift.Document] = [
    "Bamboo forests grow on the slopes of Sichuan, where the winters are mild and wet.",
    "A giant panda sleeps for about ten hours a day, in spells of two to four hours between meals.",
    {"title": "Red panda", "text": "The red panda is a small mammal. It is no bear, and it naps in trees."},
    "Sleep is a state of reduced activity that recurs every day in most animals.",
    {"title": "Giant panda", "text": "Giant pandas eat bamboo for most of the day, and sleep when they do not."},
    "The stock of the company fell by ten percent after a long day of trading.",
    "大熊猫每天睡十个小时。",
]


def main() -> None:
    """Rank twice, and print one table."""
    with resift.load() as ranker:
        here = ranker.rank(QUERY, DOCUMENTS)
    with served("lexical") as address, resift.connect(address, model="lexical", dialect="resift") as ranker:
        ranker.rank(QUERY, DOCUMENTS)  # the first call connects, and waits until the server is ready
        there = ranker.rank(QUERY, DOCUMENTS)
    Console().print(_table(here, there, address))


@contextmanager
def served(model: str) -> Iterator[str]:
    """Run `resift serve` on a free port of this machine, and yield its address."""
    command = [sys.executable, "-m", "resift", "serve", model, "--port", "0", "--log-level", "error"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said = server.stderr.readline()
            address = re.search(r"http://\S+", said)
            if address is None:
                raise SystemExit(f"the server did not start: {said}{server.stderr.read()}")
            yield address[0]
        finally:
            server.terminate()


def _table(here: resift.Ranking, there: resift.Ranking, address: str) -> Table:
    highest = max(hit.score for hit in here)
    table = Table(title=f"[bold]{QUERY}[/]", caption=_caption(here, there, address))
    table.title_justify = table.caption_justify = "left"
    table.add_column("#", justify="right", style="dim")
    table.add_column("was", justify="right", style="dim")
    table.add_column("here", justify="right")
    table.add_column("served", justify="right")
    table.add_column("", width=16)
    table.add_column("document")
    for place, (hit, same) in enumerate(zip(here, there, strict=True), start=1):
        bar = Bar(size=highest, begin=0, end=hit.score, color="green" if hit.score else "default")
        table.add_row(str(place), str(hit.index + 1), f"{hit.score:.3f}", f"{same.score:.3f}", bar, _line(hit.document))
    return table


def _caption(here: resift.Ranking, there: resift.Ranking, address: str) -> str:
    times = [f"{ranking.elapsed_s * 1000:.1f} ms" for ranking in (here, there)]
    same = "the same result" if here == there else "[red]another result[/]"
    return (
        f"{here.model} ranked {len(here)} documents here in {times[0]}, with nothing to download;\n"
        f"through {address} in {times[1]}, with {same}"
    )


def _line(document: resift.Document) -> str:
    return document if isinstance(document, str) else f"[bold]{document['title']}[/]  {document['text']}"


if __name__ == "__main__":
    main()
