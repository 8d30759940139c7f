"""
Answer questions about a garden with a LlamaIndex query engine, without and with reranking, and show what changes.

Nothing is downloaded: an embedding that only counts letters retrieves, resift's built-in scorer reranks, and a model
that only quotes the first source it is shown answers. For the real thing:

    python examples/llamaindex_query_engine.py --model BAAI/bge-reranker-v2-m3
    python examples/llamaindex_query_engine.py --model my-model --base-url http://localhost:8000/v1
"""

import argparse
import math
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.schema import NodeWithScore, TextNode
from rich.console import Console
from rich.table import Table

from llama_index.postprocessor.resift import ResiftRerank

GARDEN = {
    "Tomatoes": "They want sun, warmth and a stake. Water the ground and not the leaves, or they will rot from below.",
    "Potatoes": "They go into the ground in April, a hand deep, and come out of it when the leaves have turned yellow.",
    "Lettuce": "It is sown every three weeks, so that there is always some of it. Snails love it more than we do.",
    "Snails": "They come out at night and when it rains. A board on the ground is where you find them in the morning.",
    "Compost": "Leaves, peel and cut grass turn into soil within a year. Leave out what has been cooked, and any meat.",
    "Roses": "Cut them back in March, when the forsythia is in flower, to an eye that looks outwards.",
    "Apple trees": "Prune them in winter, on a day without frost. What you cut away in summer, they do not grow back.",
    "Lawn": "Mow it every week from April on, and leave it longer when there is no rain for it to live on.",
    "Watering": "Early in the morning is best, seldom and then a lot of it, because roots go to where the water is.",
    "Frost": "The last one comes in the middle of May. What is not hardy stays inside until then, or under a fleece.",
}

QUESTIONS = (
    "When do I prune the apple tree?",
    "Can meat go on the compost?",
)


class LetterEmbedding(BaseEmbedding):
    """Embeds a text as its counted pairs of letters: roughly right, as a first stage may be, and without a model."""

    def _get_text_embedding(self, text: str) -> list[float]:
        vector = [0.0] * 128
        for first, second in zip(text.casefold(), text.casefold()[1:], strict=False):
            vector[crc32(f"{first}{second}".encode()) % len(vector)] += 1.0
        length = math.hypot(*vector) or 1.0
        return [value / length for value in vector]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class QuotingLLM(CustomLLM):
    """Answers with the first source it is shown: like a real model, it cannot know better than its sources."""

    @property
    def metadata(self) -> LLMMetadata:
        """Say what the model is."""
        return LLMMetadata(model_name="quoting")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002 - LlamaIndex's
        """Answer a prompt."""
        return CompletionResponse(text=prompt.partition("-----\n")[2].partition("\n\n")[2].partition("\n")[0])

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: FBT001, FBT002 - the same
        """Answer a prompt, all in one piece."""
        yield self.complete(prompt)


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask every question, without and with reranking."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--model", help="the reranker, by its hub id or directory; the built-in scorer if not given")
    parser.add_argument("--base-url", help="the endpoint that reranks, if the model is not to run here")
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    given = parser.parse_args(arguments)

    nodes = [TextNode(id_=title, text=text, metadata={"title": title}) for title, text in GARDEN.items()]
    index = VectorStoreIndex(nodes, embed_model=LetterEmbedding())
    rerank = ResiftRerank(given.model, given.base_url, top_n=3)
    found = index.as_query_engine(llm=QuotingLLM(), similarity_top_k=8)
    reranked = index.as_query_engine(llm=QuotingLLM(), similarity_top_k=8, node_postprocessors=[rerank])
    console = Console()
    for question in given.questions:
        before, after = found.query(question), reranked.query(question)
        console.print(_table(question, before.source_nodes, after.source_nodes))
        console.print(f"without: {before}", f"with:    [green]{after}[/]\n", sep="\n")


def _table(question: str, before: Sequence[NodeWithScore], after: Sequence[NodeWithScore]) -> Table:
    table = Table(title=f"[bold]{question}[/]", title_justify="left")
    table.add_column("now", justify="right")
    table.add_column("was", justify="right", style="dim")
    table.add_column("score", justify="right")
    table.add_column("node")
    was = {node.node_id: place for place, node in enumerate(before, start=1)}
    for place, node in enumerate(after, start=1):
        score = "" if node.score is None else f"{node.score:.3f}"  # an endpoint may leave one out
        table.add_row(str(place), str(was[node.node_id]), score, f"[bold]{node.node_id}[/]  {node.text}")
    for node in before:
        if node.node_id not in {kept.node_id for kept in after}:
            table.add_row("", str(was[node.node_id]), "", f"[dim]{node.node_id}  {node.text}[/]")
    return table


if __name__ == "__main__":
    main()
