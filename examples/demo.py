"""Rank a handful of documents here, through an endpoint and inside frameworks, and show that all agree."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

import resift

QUERY = "How long does a giant panda sleep?"

DOCUMENTS: list[str | dict[str, str]] = [
    "Bamboo forests grow on the slopes of Sichuan, where the winters are mild and wet.",
    "A giant panda sleeps for about ten hours a day, in spells of two to four hours between meals.",
    {"title": "Red panda", "text": "The red panda is a small mammal. It is no bear, and it naps in trees."},
    "Sleep is a state of reduced activity that recurs every day in most animals.",
    {"title": "Giant panda", "text": "Giant pandas eat bamboo for most of the day, and sleep when they do not."},
    "The stock of the company fell by ten percent after a long day of trading.",
    "大熊猫每天睡十个小时。",
]

Hits = list[tuple[int, float]]
"""Positions in `DOCUMENTS` with their scores, best first."""


@dataclass(frozen=True)
class Column:
    """One way to rank, and what came of it."""

    way: str
    hits: Hits
    elapsed_s: float


def plainly(ranker: resift.Ranker) -> Hits:
    """Rank with nothing but resift."""
    return [(hit.index, hit.score) for hit in ranker.rank(QUERY, DOCUMENTS)]


def in_langchain() -> Hits:
    """Rank LangChain's documents, whose titles are metadata."""
    from langchain_core.documents import Document

    from langchain_resift import ResiftRerank

    documents = [
        Document(id=str(at), page_content=text, metadata=metadata)
        for at, (text, metadata) in enumerate(map(_parts, DOCUMENTS))
    ]
    ranked = ResiftRerank(fields=["title"]).compress_documents(documents, QUERY)
    return [(int(document.id or ""), document.metadata["relevance_score"]) for document in ranked]


FRAMEWORKS: Mapping[str, Callable[[], Hits]] = {"LangChain": in_langchain}


def main() -> None:
    """Rank in every way there is, and print one table."""
    with (
        served("lexical") as address,
        resift.connect(address, model="lexical", dialect="resift") as remote,
        resift.load() as local,
    ):
        columns = [_column("here", lambda: plainly(local)), _column("served", lambda: plainly(remote))]
    absent = []
    for framework, way in FRAMEWORKS.items():
        try:
            columns.append(_column(framework, way))
        except ModuleNotFoundError as error:
            absent.append(f"{framework} is left out: {error}")
    console = Console()
    console.print(_table(columns), _caption(columns, address), *absent, sep="\n")


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


def _column(way: str, rank: Callable[[], Hits]) -> Column:
    rank()  # the first call imports, loads, connects or waits until a server is ready
    started = time.perf_counter()
    return Column(way, rank(), time.perf_counter() - started)


def _table(columns: list[Column]) -> Table:
    first = columns[0].hits
    highest = max(score for _, score in first)
    table = Table(title=f"[bold]{QUERY}[/]")
    table.title_justify = "left"
    table.add_column("#", justify="right", style="dim")
    table.add_column("was", justify="right", style="dim")
    for column in columns:
        table.add_column(column.way, justify="right")
    table.add_column("", width=16)
    table.add_column("document")
    for place, (at, score) in enumerate(first):
        cells = [_cell(column.hits[place], at) for column in columns]
        bar = Bar(size=highest, begin=0, end=score, color="green" if score else "default")
        table.add_row(str(place + 1), str(at + 1), *cells, bar, _line(DOCUMENTS[at]))
    return table


def _cell(hit: tuple[int, float], expected: int) -> str:
    at, score = hit
    return f"{score:.3f}" if at == expected else f"[red]{at + 1}: {score:.3f}[/]"


def _caption(columns: list[Column], address: str) -> str:
    times = ", ".join(f"{column.way} in {column.elapsed_s * 1000:.1f} ms" for column in columns)
    agree = all(column.hits == columns[0].hits for column in columns)
    return (
        f"lexical ranked {len(DOCUMENTS)} documents with nothing to download: {times}\n"
        f"(served at {address}), with {'the same result everywhere' if agree else '[red]different results[/]'}"
    )


def _parts(document: str | dict[str, str]) -> tuple[str, dict[str, str]]:
    """Split a document into its text and the rest."""
    if isinstance(document, str):
        return document, {}
    return document["text"], {name: value for name, value in document.items() if name != "text"}


def _line(document: str | dict[str, str]) -> str:
    return document if isinstance(document, str) else f"[bold]{document['title']}[/]  {document['text']}"


if __name__ == "__main__":
    main()
