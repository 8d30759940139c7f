"""
Answer questions about a museum with a Haystack pipeline from a file, and show how ranking changes what is found.

Nothing is downloaded: BM25 retrieves, resift's built-in scorer ranks, and a generator that repeats its prompt answers
with the first passage in it. For the real thing:

    python examples/haystack_pipeline.py --model BAAI/bge-reranker-v2-m3
    python examples/haystack_pipeline.py --model my-model --base-url http://localhost:8000/v1
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")  # an example tells nobody that it runs

from haystack import Document, Pipeline
from haystack.core.serialization import DeserializationCallbacks
from rich.console import Console
from rich.table import Table

from haystack_integrations.components.rankers.resift import ResiftRanker

GUIDE = {
    "Opening hours": "We are open from ten to six, on Thursdays until nine, and closed on Mondays.",
    "Tickets": "A ticket is fourteen euros for the museum and all that it shows; who is under eighteen gets in free.",
    "Free admission": "The first Sunday of the month costs nothing; it is also the day on which the museum is fullest.",
    "Getting here": "It is the tram that stops at the museum, line 6; the car is best left outside of the city.",
    "Cloakroom": "Bags that are larger than a sheet of paper stay in a locker, for a coin that you get back.",
    "Photography": "It is allowed without flash and stand, in all the rooms that do not have the sign against it.",
    "Dogs": "They wait outside, in the shade and with water. Only one that guides its owner may come in.",
    "Café": "The museum's own is in the courtyard, with soup until three and cake for as long as there is some.",
    "Guided tours": "One begins at eleven and one at three, at the desk in the hall, in the museum's two languages.",
    "Wheelchairs": "All the rooms of the museum can be reached by lift. We lend chairs at the desk if you ask for one.",
}

QUESTIONS = (
    "Can I bring my dog into the museum?",
    "What are the opening hours of the museum?",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer every question, and print what was found before and after ranking."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument(
        "--model", help="the ranker's model, by its hub id or directory; the built-in scorer if not given"
    )
    parser.add_argument("--base-url", help="the endpoint that ranks, if the model is not to run here")
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    given = parser.parse_args(arguments)

    pipeline = load(model=given.model, api_base_url=given.base_url)
    console = Console()
    for question in given.questions:
        named = {name: {"query": question} for name in ("retriever", "ranker", "prompt", "answer")}
        output = pipeline.run(named, include_outputs_from={"retriever", "ranker"})
        found, ranked = output["retriever"]["documents"], output["ranker"]["documents"]
        console.print(_table(question, found, ranked))
        console.print(f"without: {found[0].content if found else ''}")
        console.print(f"with:    [green]{output['answer']['answers'][0].data}[/]\n")
    pipeline.close()


def load(**settings: Any) -> Pipeline:
    """Return the pipeline of the file beside this one, with these settings for its ranker and a full store."""

    def choose(name: str, kind: type, parameters: dict[str, Any]) -> None:
        if kind is ResiftRanker:
            parameters.update(settings)

    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    pipeline = Pipeline.loads(text, callbacks=DeserializationCallbacks(choose))
    store: Any = pipeline.get_component("retriever")
    store.document_store.write_documents(
        [Document(id=title, content=passage, meta={"title": title}) for title, passage in GUIDE.items()]
    )
    return pipeline


def _table(question: str, before: Sequence[Document], after: Sequence[Document]) -> Table:
    table = Table(title=f"[bold]{question}[/]", title_justify="left")
    for column in ("now", "was", "score", "BM25"):
        table.add_column(column, justify="right", style="dim" if column in ("was", "BM25") else "")
    table.add_column("passage")
    was = {document.id: place for place, document in enumerate(before, start=1)}
    for place, document in enumerate(after, start=1):
        found = f"{document.meta['retrieval_score']:.3f}"
        score = "" if document.score is None else f"{document.score:.3f}"
        table.add_row(str(place), str(was[document.id]), score, found, f"[bold]{document.id}[/]  {document.content}")
    kept = {document.id for document in after}
    for document in (document for document in before if document.id not in kept):
        table.add_row(
            "", str(was[document.id]), "", f"{document.score:.3f}", f"[dim]{document.id}  {document.content}[/]"
        )
    return table


if __name__ == "__main__":
    main()
