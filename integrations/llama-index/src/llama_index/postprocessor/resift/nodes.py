"""What is read of a node, and what is written beside it: never into the caller's own."""

from collections.abc import Iterable
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle

from resift import InvalidInput

RETRIEVAL_SCORE = "retrieval_score"
"""The metadata key of the score that a node was retrieved with."""

RERANK_ERROR = "rerank_error"
"""The metadata key of the error for which a node was passed on as it came."""

_NOTES = frozenset({RETRIEVAL_SCORE, RERANK_ERROR})


def read_nodes(nodes: Iterable[NodeWithScore]) -> list[NodeWithScore]:
    """Return the nodes that are to be reranked, or say what is none."""
    if isinstance(nodes, str) or not isinstance(nodes, Iterable):
        raise InvalidInput(f"nodes must be a list of NodeWithScore, not {type(nodes).__name__}")
    listed = list(nodes)
    for at, node in enumerate(listed):
        if not isinstance(node, NodeWithScore):
            kind = type(node).__name__
            raise InvalidInput(f"nodes[{at}] must be a NodeWithScore, not {kind}; wrap it in NodeWithScore(node=...)")
    return listed


def read_query(query: QueryBundle | None) -> QueryBundle | None:
    """Return the query, or say what is none; a missing one is a call's own affair."""
    if not isinstance(query, QueryBundle | None):
        raise InvalidInput(f"query_bundle must be a QueryBundle, not {type(query).__name__}; or pass query_str=...")
    return query


def first_of_each(nodes: Iterable[NodeWithScore]) -> list[NodeWithScore]:
    """Return the nodes without those whose id another one before them has."""
    found: dict[str, NodeWithScore] = {}
    for node in nodes:
        found.setdefault(node.node_id, node)
    return list(found.values())


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
            "excluded_embed_metadata_keys": [*dict.fromkeys([*node.excluded_embed_metadata_keys, key])],
            "excluded_llm_metadata_keys": [*dict.fromkeys([*node.excluded_llm_metadata_keys, key])],
        }
    )
