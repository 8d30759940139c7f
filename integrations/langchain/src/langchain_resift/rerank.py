"""A document compressor that puts documents in order of relevance and keeps the best."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import Field, ValidationInfo, field_validator

import resift
from langchain_resift.settings import Count, RankerSettings, wrong
from langchain_resift.tracing import atraced, traced
from resift.adapting import OnError, Placement

logger = logging.getLogger("langchain_resift")

_CONTENT = "text"
"""What the page content is called beside metadata fields."""

_ERROR_KEY = "rerank_error"


class ResiftRerank(RankerSettings, BaseDocumentCompressor):
    """
    Puts documents in order of relevance and keeps the best, with a model that runs here or behind an endpoint.

    It goes wherever LangChain takes a document compressor. Documents come back as copies with their score in
    `metadata["relevance_score"]`; those that were handed in stay as they are. Each rerank is one run in a trace. One
    instance serves any number of threads, tasks and event loops at once.

    >>> from langchain_core.documents import Document
    >>> rerank = ResiftRerank(model="lexical", top_n=1)
    >>> documents = [Document("Paris is in France."), Document("The panda is a bear.")]
    >>> [document.page_content for document in rerank.compress_documents(documents, "what is a panda?")]
    ['The panda is a bear.']
    """

    top_n: Count | None = None
    """How many documents to keep; all if not given."""

    score_threshold: float | None = Field(default=None, allow_inf_nan=False, strict=True)
    """The lowest score to keep, applied before `top_n`; all if not given. Scores mean what `normalize` says."""

    fields: Sequence[str] | None = Field(default=None, min_length=1)
    """Metadata that the model reads before the page content, where a document has it; none if not given."""

    score_key: str = Field(default="relevance_score", min_length=1)
    """Where in the metadata the score goes."""

    keep_retrieval_score: bool | str = False
    """
    Whether a score that is already there moves to `metadata["retrieval_score"]`, or to the key that is named.

    The first that was moved stays, so that documents that are reranked twice keep the score of their retrieval.
    """

    on_error: OnError = Field(default="raise", frozen=True)
    """
    What happens when the ranker fails: "raise", or "pass" to return the first `top_n` documents as they came.

    The failure is logged, and named in `metadata["rerank_error"]` of each. Mistakes, such as a model that does not
    exist, are raised nonetheless.
    """

    @field_validator("fields")
    @classmethod
    def _require_no_content(cls, fields: Sequence[str] | None) -> Sequence[str] | None:
        if _CONTENT in (fields or ()):
            raise wrong(f"{_CONTENT!r} is what the page content is called, which is read anyway; leave it out")
        return None if fields is None else tuple(fields)  # which copies share

    # fields are checked, not the model: pydantic keeps an assigned value that a validator of the model has refused
    @field_validator("score_key", "keep_retrieval_score")
    @classmethod
    def _require_distinct_keys(cls, given: bool | str, info: ValidationInfo) -> bool | str:  # noqa: FBT001 - pydantic's form
        found: dict[str, Any] = {**info.data, str(info.field_name): given}
        keys = [_ERROR_KEY, found.get("score_key"), _retrieval_key(found.get("keep_retrieval_score", False))]
        if "" in keys:
            raise wrong("an empty text is no key; say True for 'retrieval_score'")
        if len(set(keys)) < len(keys):
            raise wrong(f"{', '.join(repr(key) for key in keys if key)} must be different keys; choose another")
        return given

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
        instruction: str | None = None,
    ) -> list[Document]:
        """
        Return copies of the documents, most relevant first.

        Args:
            documents: what a retriever found.
            query: what it was asked.
            callbacks: who is told; those of the surrounding runnable if not given.
            top_n: how many to keep; like the other two, as the reranker says if not given.
            score_threshold: the lowest score to keep.
            instruction: what the model is told to look for.

        Raises:
            InvalidInput: a blank query, a `top_n` below 1, and whatever else cannot mean anything.
            ResiftError: the ranker failed, and `on_error` is "raise".
        """
        given = _read(documents)
        asked = self._asked(top_n=top_n, threshold=score_threshold, instruction=instruction)
        with traced(type(self).__name__, self._inputs(query, given, asked), callbacks) as outputs:
            placement = self._reranker.rank(query, self._texts(given), **asked)
            reranked = self._reranked(given, placement)
            outputs.update(_outputs(reranked, placement))
        return reranked

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
        instruction: str | None = None,
    ) -> list[Document]:
        """Do what `compress_documents` does without blocking the event loop, and without a thread for each call."""
        given = _read(documents)
        asked = self._asked(top_n=top_n, threshold=score_threshold, instruction=instruction)
        async with atraced(type(self).__name__, self._inputs(query, given, asked), callbacks) as outputs:
            placement = await self._reranker.arank(query, self._texts(given), **asked)
            reranked = self._reranked(given, placement)
            outputs.update(_outputs(reranked, placement))
        return reranked

    def _ranker_settings(self) -> dict[str, Any]:
        return {**super()._ranker_settings(), "on_error": self.on_error}

    def _asked(self, **asked: Any) -> dict[str, Any]:
        """Return what one call asks for: as set, where it says nothing itself."""
        as_set = {"top_n": self.top_n, "threshold": self.score_threshold, "instruction": self.instruction}
        return as_set | {name: value for name, value in asked.items() if value is not None}

    def _inputs(self, query: str, documents: Sequence[Document], asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a trace shows of the question; the documents themselves are in the retriever's run."""
        return {
            "query": query,
            "n_in": len(documents),
            "ids": [document.id for document in documents],
            "model": self._reranker.model,
            "top_n": asked["top_n"],
            "score_threshold": asked["threshold"],
            "instruction": asked["instruction"],
        }

    def _texts(self, documents: Sequence[Document]) -> list[resift.Document]:
        texts = [self._text(document) for document in documents]
        if self.fields is not None and texts and all(isinstance(text, str) for text in texts):
            named = ", ".join(map(repr, self.fields))
            logger.warning("none of %d documents has any of the fields %s; check how they are spelt", len(texts), named)
        return texts

    def _text(self, document: Document) -> resift.Document:
        metadata = document.metadata
        found = {name: metadata[name] for name in self.fields or () if metadata.get(name) is not None}
        return found | {_CONTENT: document.page_content} if found else document.page_content

    def _reranked(self, documents: Sequence[Document], placement: Placement) -> list[Document]:
        """Return copies in their new order: ids, types and all else as they were, each with metadata of its own."""
        return [
            documents[place.index].model_copy(
                update={"metadata": self._metadata(documents[place.index].metadata, place.score, placement.error)}
            )
            for place in placement.places
        ]

    def _metadata(self, metadata: Mapping[Any, Any], score: float | None, error: Exception | None) -> dict[Any, Any]:
        marked = {key: value for key, value in metadata.items() if key != _ERROR_KEY}
        if error is not None:
            return marked | {_ERROR_KEY: type(error).__name__}
        earlier = marked.pop(self.score_key, None)  # another's score, also where this ranker gave none
        retrieval_key = _retrieval_key(self.keep_retrieval_score)
        if retrieval_key is not None and earlier is not None:
            marked.setdefault(retrieval_key, earlier)
        return marked if score is None else marked | {self.score_key: score}


def _retrieval_key(keep: bool | str) -> str | None:  # noqa: FBT001 - the setting's own form
    """Return where an earlier score goes, if it is kept."""
    return keep if isinstance(keep, str) else "retrieval_score" if keep else None


def _read(documents: Iterable[Document]) -> list[Document]:
    """Return the documents as a list, or say which of them is none."""
    if isinstance(documents, str | Document) or not isinstance(documents, Iterable):
        kind = type(documents).__name__
        raise resift.InvalidInput(f"documents must be a list of Documents, not {kind}; put a single one into a list")
    given = list(documents)
    for at, document in enumerate(given):
        if not isinstance(document, Document):
            kind = type(document).__name__
            raise resift.InvalidInput(f"documents[{at}] must be a Document of langchain_core, not {kind}")
    return given


def _outputs(documents: Sequence[Document], placement: Placement) -> dict[str, Any]:
    """Return what a trace shows of the answer."""
    outputs: dict[str, Any] = {
        "documents": documents,
        "n_out": len(documents),
        "indices": [place.index for place in placement.places],
        "scores": [place.score for place in placement.places],
        "truncated": placement.truncated,
    }
    return outputs if placement.error is None else outputs | {"error": type(placement.error).__name__}
