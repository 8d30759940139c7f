"""Pair cross-encoders whose files do not say all."""

from resift.scoring.catalog.rows import PairRow
from resift.scoring.families.windows import Windows

_BGE_RERANKER = PairRow(truncation="only_second", sigmoid=False)
_MXBAI_V1 = PairRow(sigmoid=True)
_GTE_MULTILINGUAL = PairRow(sigmoid=False)
_MODERN_BERT = PairRow(max_length=8192)

PAIRS: dict[str, PairRow] = {
    "BAAI/bge-reranker-base": _BGE_RERANKER,
    "BAAI/bge-reranker-large": _BGE_RERANKER,
    "BAAI/bge-reranker-v2-m3": _BGE_RERANKER,
    "mixedbread-ai/mxbai-rerank-xsmall-v1": _MXBAI_V1,
    "mixedbread-ai/mxbai-rerank-base-v1": _MXBAI_V1,
    "mixedbread-ai/mxbai-rerank-large-v1": _MXBAI_V1,
    "Alibaba-NLP/gte-reranker-modernbert-base": _MODERN_BERT,
    "ibm-granite/granite-embedding-reranker-english-r2": _MODERN_BERT,
    "Alibaba-NLP/gte-multilingual-reranker-base": _GTE_MULTILINGUAL,
    "alibaba-nlp-community/gte-multilingual-reranker-base": _GTE_MULTILINGUAL,
    "jinaai/jina-reranker-v2-base-multilingual": PairRow(
        max_length=1024, sigmoid=True, windows=Windows(overlap=80, longest_query=512)
    ),
}
