"""What is read of a node, and what is written beside it: never into the caller's own."""

from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode

RETRIEVAL_SCORE = "retrieval_score"
"""The metadata key of the score that a node was retrieved with."""

RERANK_ERROR = "rerank_error"
"""The metadata key of the error for which a node was passed on as it came."""

_NOTES = frozenset({RETRIEVAL_SCORE, RERANK_ERROR})


def text_of(node: BaseNode, mode: MetadataMode) -> str:
    """Return the text that a node is ranked by: notes on its ranking are no part of it, whoever wrote them."""
    if not _NOTES.isdisjoint(node.metadata):
        told = {key: value for key, value in node.metadata.items() if key not in _NOTES}
        node = node.model_copy(update={"metadata": told})
    return node.get_content(metadata_mode=mode)


def noted(node: BaseNode, key: str, value: Any) -> BaseNode:
    """Return a copy of a node with a note in its metadata that neither embeddings nor language models get to read."""
    return node.model_copy(
        update={
            "metadata": {**node.metadata, key: value},
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, key],
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, key],
        }
    )
