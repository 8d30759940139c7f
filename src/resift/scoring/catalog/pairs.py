"""Pair cross-encoders whose files do not say all."""

from resift.scoring.catalog.rows import PairRow

_BGE_RERANKER = PairRow(truncation="only_second", sigmoid=False)

PAIRS: dict[str, PairRow] = {
    "BAAI/bge-reranker-base": _BGE_RERANKER,
    "BAAI/bge-reranker-large": _BGE_RERANKER,
    "BAAI/bge-reranker-v2-m3": _BGE_RERANKER,
}
