"""Rank a handful of documents with the built-in scorer, and show which came out on top."""

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
    """Rank, and print one table."""
    with resift.load() as ranker:
        ranking = ranker.rank(QUERY, DOCUMENTS)
    highest = max(hit.score for hit in ranking)

    table = Table(title=f"[bold]{QUERY}[/]", caption=_caption(ranking), title_justify="left", caption_justify="left")
    table.add_column("#", justify="right", style="dim")
    table.add_column("was", justify="right", style="dim")
    table.add_column("score", justify="right")
    table.add_column("", width=16)
    table.add_column("document")
    for place, hit in enumerate(ranking, start=1):
        bar = Bar(size=highest, begin=0, end=hit.score, color="green" if hit.score else "default")
        table.add_row(str(place), str(hit.index + 1), f"{hit.score:.3f}", bar, _line(hit.document))
    Console().print(table)


def _caption(ranking: resift.Ranking) -> str:
    milliseconds = ranking.elapsed_s * 1000
    return f"{ranking.model} ranked {len(ranking)} documents in {milliseconds:.1f} ms, with nothing to download"


def _line(document: resift.Document) -> str:
    return document if isinstance(document, str) else f"[bold]{document['title']}[/]  {document['text']}"


if __name__ == "__main__":
    main()
