"""Embedding models whose files do not say what goes in front of a query."""

from resift.scoring.catalog.rows import EmbeddingRow

_BGE_EMBEDDING = EmbeddingRow("Represent this sentence for searching relevant passages: ")

EMBEDDINGS: dict[str, EmbeddingRow] = {
    f"BAAI/bge-{size}-en{version}": _BGE_EMBEDDING for size in ("large", "base", "small") for version in ("", "-v1.5")
}
