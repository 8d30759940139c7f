"""A retriever whose documents come in another model's order."""

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from pydantic import AliasChoices, Field

from langchain_resift.rerank import ResiftRerank
from langchain_resift.settings import CheckedSettings, Count
from resift import InvalidInput
from resift.amounts import whole


class ResiftRetriever(CheckedSettings, BaseRetriever):
    """
    Retrieves with one retriever, and has a reranker put what that finds in order.

    Queries that are asked at the same time, by `batch`, `abatch` or any other way, share the reranker's batches. Both
    stages are traced as children of this retriever's run.

    >>> from langchain_core.runnables import RunnableLambda
    >>> found = [Document("Paris is in France."), Document("The giant panda is a bear.")]
    >>> first = RunnableLambda(lambda query: found)
    >>> retriever = ResiftRetriever(base_retriever=first, reranker=ResiftRerank(), k=1)
    >>> [document.page_content for document in retriever.invoke("what is a panda?")]
    ['The giant panda is a bear.']
    """

    base_retriever: RetrieverLike
    """What finds the documents: a retriever, or any runnable from a query to documents. Let it find more than `k`."""

    reranker: ResiftRerank
    """What puts them in order."""

    k: Count | None = Field(default=None, validation_alias=AliasChoices("k", "top_n"))
    """
    How many documents to return; as the reranker's `top_n` says if not given.

    A single call may have its own: `retriever.invoke(query, k=3)`. Whatever else a call is given goes to the
    `base_retriever`, such as a filter for a vector store. Rerankers call this number `top_n`, and so may you.
    """

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        top_n = self._limit(options)
        found = self.base_retriever.invoke(query, {"callbacks": run_manager.get_child()}, **options)
        return self.reranker.compress_documents(found, query, run_manager.get_child(), top_n=top_n)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        top_n = self._limit(options)
        found = await self.base_retriever.ainvoke(query, {"callbacks": run_manager.get_child()}, **options)
        return await self.reranker.acompress_documents(found, query, run_manager.get_child(), top_n=top_n)

    def _limit(self, options: dict[str, Any]) -> int | None:
        """Take this call's own limit out of its options; return it, or else the retriever's."""
        given = {name: options.pop(name) for name in ("k", "top_n") if name in options}
        if len(given) > 1:
            raise InvalidInput("k and top_n are the same number; give one of them")
        for name, limit in given.items():
            if limit is not None:
                return whole(name, limit, advice="leave it out to have as many as the retriever says")
        return self.k

    @classmethod
    def _advice(cls, name: object, known: list[str]) -> str:
        """Say which setting was probably meant, or that it is one of the reranker's."""
        if name in ResiftRerank.model_fields:
            return f"say reranker=ResiftRerank({name}=...)"
        return super()._advice(name, known)
