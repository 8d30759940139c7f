"""Listwise rerankers, and how much of each text they are given."""

from resift.scoring.catalog.rows import ListwiseRow

LISTWISE: dict[str, ListwiseRow] = {
    "jinaai/jina-reranker-v3": ListwiseRow(),
    "jinaai/jina-reranker-v3.5": ListwiseRow(query_length=1024, document_length=8192),
}
