"""Rank a few texts in plain Python and in every framework, here and through an endpoint: one order everywhere."""

import os
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

TEXTS = [
    "Bamboo forests grow on the slopes of Sichuan, where the winters are mild and wet.",
    "A giant panda sleeps for about ten hours a day, in spells of two to four hours between meals.",
    "The red panda is a small mammal. It is no bear, and it naps in trees.",
    "Sleep is a state of reduced activity that recurs every day in most animals.",
    "Giant pandas eat bamboo for most of the day, and rest for the remainder.",
    "The stock of the company fell by ten percent after a long day of trading.",
    "大熊猫每天睡十个小时。",
]

Hits = list[tuple[int, float]]
"""Positions in `TEXTS` with their scores, best first."""

Way = Callable[[str | None], Hits]
"""A way to rank: with a model that runs here, or, given an address, with the one behind it."""


def plainly(address: str | None) -> Hits:
    """Rank with nothing but resift."""
    with resift.open("lexical", address, **_options(address)) as ranker:
        return [(hit.index, hit.score) for hit in ranker.rank(QUERY, TEXTS)]


def in_langchain(address: str | None) -> Hits:
    """Rank LangChain's documents."""
    from langchain_core.documents import Document

    from langchain_resift import ResiftRerank

    rerank = ResiftRerank(model="lexical", base_url=address, options=_options(address))
    documents = [Document(text, id=str(at)) for at, text in enumerate(TEXTS)]
    ranked = rerank.compress_documents(documents, QUERY)
    return [(int(document.id or ""), document.metadata["relevance_score"]) for document in ranked]


def in_llamaindex(address: str | None) -> Hits:
    """Rank LlamaIndex's nodes."""
    from llama_index.core.schema import NodeWithScore, TextNode

    from llama_index.postprocessor.resift import ResiftRerank

    rerank = ResiftRerank("lexical", address, options=_options(address))
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(at))) for at, text in enumerate(TEXTS)]
    ranked = rerank.postprocess_nodes(nodes, query_str=QUERY)
    return [(int(node.node_id), node.score or 0.0) for node in ranked]


def in_haystack(address: str | None) -> Hits:
    """Rank Haystack's documents."""
    os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")  # a demo is nobody's production
    from haystack import Document

    from haystack_integrations.components.rankers.resift import ResiftRanker

    ranker = ResiftRanker("lexical", api_base_url=address, options=_options(address))
    documents = [Document(content=text, id=str(at)) for at, text in enumerate(TEXTS)]
    ranked = ranker.run(query=QUERY, documents=documents)["documents"]
    return [(int(document.id), document.score or 0.0) for document in ranked]


WAYS: Mapping[str, Way] = {
    "plain Python": plainly,
    "LangChain": in_langchain,
    "LlamaIndex": in_llamaindex,
    "Haystack": in_haystack,
}


@dataclass(frozen=True)
class Row:
    """One way to rank, and what came of it."""

    way: str
    here: Hits
    there: Hits
    here_s: float
    there_s: float


def main() -> None:
    """Rank in every way there is; show the ranking, and how far all agree on it."""
    absent = []
    rows = []
    with served("lexical") as address:
        for name, way in WAYS.items():
            try:
                rows.append(_row(name, way, address))
            except ModuleNotFoundError as error:
                absent.append(f"{name} is left out: {error}")
    agree = all(hits == rows[0].here for row in rows for hits in (row.here, row.there))
    said = "the same order and scores everywhere" if agree else "[red]they do not agree[/]"
    console = Console()
    console.print(_ranking(rows[0].here), _agreement(rows), *absent, sep="\n")
    console.print(f"\nlexical, with nothing to download, here and served at {address}: {said}")


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


def _options(address: str | None) -> dict[str, str]:
    """Return what else a ranker is told: to ask our own server for the very scores that the model has here."""
    return {} if address is None else {"dialect": "resift"}


def _row(name: str, way: Way, address: str) -> Row:
    here, here_s = _timed(lambda: way(None))
    there, there_s = _timed(lambda: way(address))
    return Row(name, here, there, here_s=here_s, there_s=there_s)


def _timed(rank: Callable[[], Hits]) -> tuple[Hits, float]:
    rank()  # the first call imports, connects, or waits until a server is ready
    started = time.perf_counter()
    return rank(), time.perf_counter() - started


def _ranking(hits: Hits) -> Table:
    table = Table(title=f"[bold]{QUERY}[/]", title_justify="left")
    table.add_column("now", justify="right")
    table.add_column("was", justify="right", style="dim")
    table.add_column("score", justify="right")
    table.add_column("", width=12)
    table.add_column("text")
    for place, (at, score) in enumerate(hits):
        bar = Bar(size=hits[0][1], begin=0, end=score, color="green" if score else "default")
        table.add_row(str(place + 1), str(at + 1), f"{score:.3f}", bar, TEXTS[at])
    return table


def _agreement(rows: list[Row]) -> Table:
    table = Table(title="[bold]The same ranking, by the places that the texts had[/]", title_justify="left")
    table.add_column("")
    for column in ("here", "through an endpoint"):
        table.add_column(column)
        table.add_column("ms", justify="right", style="dim")
    for row in rows:
        table.add_row(row.way, *_cells(row.here, row.here_s), *_cells(row.there, row.there_s))
    return table


def _cells(hits: Hits, elapsed_s: float) -> tuple[str, str]:
    return " ".join(str(at + 1) for at, _ in hits), f"{elapsed_s * 1000:.1f}"


if __name__ == "__main__":
    main()
