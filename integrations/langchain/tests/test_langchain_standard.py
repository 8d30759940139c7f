"""What LangChain itself asks of every retriever."""

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from langchain_resift import ResiftRerank, ResiftRetriever

pytest.importorskip("langchain_tests", reason="LangChain's tests are for the newest versions")

from langchain_tests.integration_tests import RetrieversIntegrationTests

TEXTS = (
    "Paris is in France.",
    "A panda is a bear.",
    "A panda will eat bamboo all day.",
    "Bamboo grows.",
    "What a day!",
)


class StandardTests(RetrieversIntegrationTests):
    """What LangChain expects of every retriever."""

    @property
    def retriever_constructor(self) -> type[ResiftRetriever]:
        return ResiftRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        found = [Document(text, id=str(at)) for at, text in enumerate(TEXTS)]
        return {"base_retriever": RunnableLambda(lambda query: found), "reranker": ResiftRerank()}

    @property
    def retriever_query_example(self) -> str:
        return "what does a panda eat?"


class TestStandardWithK(StandardTests):
    """With the number's name among retrievers. L22."""


class TestStandardWithTopN(StandardTests):
    """With the number's name among rerankers. L22."""

    @property
    def num_results_arg_name(self) -> str:
        return "top_n"
