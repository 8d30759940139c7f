"""
Answer questions over a small handbook with LangChain, without and with reranking, and show what changes.

Nothing is downloaded: a rough embedding retrieves, resift's built-in scorer reranks, and a model that only quotes the
first passage it is shown answers. For the real thing:

    python examples/langchain_rag.py --model BAAI/bge-reranker-v2-m3
    python examples/langchain_rag.py --model my-model --base-url http://localhost:8000/v1
"""

import argparse
import math
import re
import zlib
from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from langchain_resift import ResiftRerank, ResiftRetriever

HANDBOOK = {
    "Expenses": "Receipts for travel are handed in within thirty days; the card statement is not a receipt.",
    "Travel": "Trips are booked through the travel desk, and it is the travel desk that changes or cancels a booking.",
    "Sick leave": "Tell your lead on the first day. A doctor's note is needed from the fourth day of the illness on.",
    "Parental leave": "Each parent takes up to fourteen months of leave. Ask for it seven weeks ahead, in writing.",
    "Holidays": "There are thirty days of holiday a year. Days that are left over in December expire in March.",
    "Laptops": "A laptop is replaced after three years, or on the day on which it does not start any more.",
    "Lost devices": "A stolen or lost laptop is reported to security at once, on extension 4711, so as to be wiped.",
    "Passwords": "A password is never shared. What to do if you have forgotten it: ask the service desk to reset it.",
    "Visitors": "Visitors are met at the reception, and it is up to you to bring them back to it when they leave.",
    "Office hours": "The office is open from seven to eight. If you are the last to leave, you have to set the alarm.",
}

QUESTIONS = ("What do I have to do if my laptop is stolen?", "Whom do I tell when I am ill?")


class LetterEmbeddings(Embeddings):
    """Embeds a text as its counted letter triples: roughly right, as a first stage may be, and in need of no model."""

    def embed_query(self, text: str) -> list[float]:
        """Embed one text."""
        vector = [0.0] * 256
        letters = f" {' '.join(re.findall(r'[a-z]+', text.casefold()))} "
        for start in range(len(letters) - 2):
            vector[zlib.crc32(letters[start : start + 3].encode()) % len(vector)] += 1.0
        length = math.hypot(*vector) or 1.0
        return [value / length for value in vector]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed several texts."""
        return [self.embed_query(text) for text in texts]


class QuotingModel(SimpleChatModel):
    """Answers with the first passage it is shown: like a real model, it cannot know better than its passages."""

    @property
    def _llm_type(self) -> str:
        return "quoting"

    def _call(self, messages: list[BaseMessage], *_: Any, **__: Any) -> str:
        return str(messages[-1].content).splitlines()[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask every question, without and with reranking."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--model", help="the reranker, by its hub id or directory; the built-in scorer if not given")
    parser.add_argument("--base-url", help="the endpoint that reranks, if the model is not to run here")
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    given = parser.parse_args(arguments)

    store = InMemoryVectorStore(LetterEmbeddings())
    store.add_documents([Document(text, id=title, metadata={"title": title}) for title, text in HANDBOOK.items()])
    first_stage = store.as_retriever(search_kwargs={"k": 8})
    reranked = ResiftRetriever(
        base_retriever=first_stage,
        reranker=ResiftRerank(model=given.model, base_url=given.base_url, fields=["title"]),
        k=3,
    )
    console = Console()
    for question in given.questions:
        console.print(_table(question, first_stage.invoke(question), reranked.invoke(question)))
        console.print(f"without: {chain(first_stage).invoke(question)}")
        console.print(f"with:    [green]{chain(reranked).invoke(question)}[/]\n")


def chain(retriever: BaseRetriever) -> Runnable[str, str]:
    """Return the chain that answers from what a retriever finds."""
    prompt = ChatPromptTemplate.from_template("Answer from these passages:\n{passages}\n\nQuestion: {question}")
    passages = retriever | (lambda documents: "\n".join(document.page_content for document in documents))
    return {"passages": passages, "question": RunnablePassthrough()} | prompt | QuotingModel() | StrOutputParser()


def _table(question: str, before: Sequence[Document], after: Sequence[Document]) -> Table:
    table = Table(title=f"[bold]{escape(question)}[/]", title_justify="left")
    table.add_column("now", justify="right")
    table.add_column("was", justify="right", style="dim")
    table.add_column("score", justify="right")
    table.add_column("passage")
    was = {document.id: place for place, document in enumerate(before, start=1)}
    for place, document in enumerate(after, start=1):
        score = f"{document.metadata.get('relevance_score', math.nan):.3f}"  # an endpoint may leave a document out
        table.add_row(str(place), str(was[document.id]), score, f"[bold]{document.id}[/]  {document.page_content}")
    for document in before:
        if document.id not in {kept.id for kept in after}:
            table.add_row("", str(was[document.id]), "", f"[dim]{document.id}  {document.page_content}[/]")
    return table


if __name__ == "__main__":
    main()
