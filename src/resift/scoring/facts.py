"""
What people want to know of a model before they choose it: its size, its languages, its licence.

Nothing here changes a score. One entry per model that is known by name; a test holds this list and the catalogue's
together.
"""

from dataclasses import dataclass, replace
from typing import Literal

Family = Literal["pair", "chain", "prompted", "embedding", "listwise", "late interaction"]
Scale = Literal["logit", "probability", "cosine", "sum of cosines"]


@dataclass(frozen=True, slots=True)
class Facts:
    """One model."""

    family: Family
    """A cross-encoder of pairs, one that is a chain of modules, a language model asked with a prompt, and so on."""

    millions: float
    """Of parameters, as the authors round them."""

    languages: str
    tokens: int
    """How many tokens it can read at most; what is read unless told otherwise may be less."""

    scale: Scale
    """What its scores are as the authors return them."""

    licence: str = "Apache-2.0"
    is_commercial: bool = True
    """Whether the licence lets a business use it."""

    by_files: bool = False
    """Whether its files say all that is needed, so that the catalogue has no row for it."""

    @property
    def runs_as_graph(self) -> bool:
        """Whether models of its family are read from ONNX graphs, where somebody has exported them."""
        return self.family in ("pair", "embedding")


_EN, _MANY = "English", "multilingual"
_NC, _NC_SA = "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"

_BGE = Facts("pair", 278, "Chinese, English", 512, "logit", "MIT")
_BGE_EMBEDDING = Facts("embedding", 335, _EN, 512, "cosine", "MIT")
_MS_MARCO = Facts("pair", 22.7, _EN, 512, "logit", by_files=True)
_MXBAI_V1 = Facts("pair", 184, _EN, 512, "probability")
_MXBAI_V2 = Facts("prompted", 494, "100+", 32768, "logit")
_QWEN3 = Facts("prompted", 600, "100+", 40960, "probability")
_MODERN_BERT = Facts("pair", 149, _EN, 8192, "probability")
_ETTIN = Facts("chain", 17, _EN, 7999, "logit", by_files=True)
_JINA_V2 = Facts("pair", 278, _MANY, 1024, "probability", _NC, is_commercial=False)
_JINA_V3 = Facts("listwise", 597, _MANY, 131072, "cosine", _NC, is_commercial=False)
_ZERANK = Facts("prompted", 4000, _EN, 40960, "logit", _NC, is_commercial=False)
_ZERANK_SMALL = Facts("prompted", 1700, _EN, 40960, "logit")
_CONTEXTUAL = Facts("prompted", 1000, _MANY, 32768, "logit", _NC_SA, is_commercial=False)
_COLBERT = Facts("late interaction", 110, _EN, 512, "sum of cosines", "MIT")

FACTS: dict[str, Facts] = {
    "BAAI/bge-reranker-base": _BGE,
    "BAAI/bge-reranker-large": replace(_BGE, millions=560),
    "BAAI/bge-reranker-v2-m3": Facts("pair", 568, _MANY, 8192, "logit"),
    "BAAI/bge-reranker-v2-gemma": Facts("prompted", 2510, _MANY, 8192, "logit"),
    "BAAI/bge-reranker-v2-minicpm-layerwise": Facts("prompted", 2720, _MANY, 2048, "logit"),
    "mixedbread-ai/mxbai-rerank-xsmall-v1": replace(_MXBAI_V1, millions=71),
    "mixedbread-ai/mxbai-rerank-base-v1": _MXBAI_V1,
    "mixedbread-ai/mxbai-rerank-large-v1": replace(_MXBAI_V1, millions=435),
    "mixedbread-ai/mxbai-rerank-base-v2": _MXBAI_V2,
    "mixedbread-ai/mxbai-rerank-large-v2": replace(_MXBAI_V2, millions=1540),
    "Qwen/Qwen3-Reranker-0.6B": _QWEN3,
    "Qwen/Qwen3-Reranker-4B": replace(_QWEN3, millions=4000),
    "Qwen/Qwen3-Reranker-8B": replace(_QWEN3, millions=8000),
    "cross-encoder/ms-marco-TinyBERT-L2-v2": replace(_MS_MARCO, millions=4.4),
    "cross-encoder/ms-marco-MiniLM-L2-v2": replace(_MS_MARCO, millions=15.6),
    "cross-encoder/ms-marco-MiniLM-L4-v2": replace(_MS_MARCO, millions=19.2),
    "cross-encoder/ms-marco-MiniLM-L6-v2": _MS_MARCO,
    "cross-encoder/ms-marco-MiniLM-L12-v2": replace(_MS_MARCO, millions=33.4),
    "cross-encoder/ms-marco-electra-base": replace(_MS_MARCO, millions=109),
    "Alibaba-NLP/gte-reranker-modernbert-base": _MODERN_BERT,
    "ibm-granite/granite-embedding-reranker-english-r2": _MODERN_BERT,
    "alibaba-nlp-community/gte-multilingual-reranker-base": Facts("pair", 306, "70+", 8192, "logit"),
    "Alibaba-NLP/gte-multilingual-reranker-base": Facts("pair", 306, "70+", 8192, "logit"),
    "jinaai/jina-reranker-v2-base-multilingual": _JINA_V2,
    "jinaai/jina-reranker-m0": Facts("prompted", 2440, _MANY, 10240, "probability", _NC, is_commercial=False),
    "jinaai/jina-reranker-v3": _JINA_V3,
    "jinaai/jina-reranker-v3.5": _JINA_V3,
    "cross-encoder/ettin-reranker-17m-v1": _ETTIN,
    "cross-encoder/ettin-reranker-32m-v1": replace(_ETTIN, millions=32),
    "cross-encoder/ettin-reranker-68m-v1": replace(_ETTIN, millions=68),
    "cross-encoder/ettin-reranker-150m-v1": replace(_ETTIN, millions=150),
    "cross-encoder/ettin-reranker-400m-v1": replace(_ETTIN, millions=400),
    "cross-encoder/ettin-reranker-1b-v1": replace(_ETTIN, millions=1000),
    "nvidia/llama-nemotron-rerank-1b-v2": Facts("prompted", 1240, "26", 8192, "logit", "NVIDIA Open Model"),
    "zeroentropy/zerank-1": _ZERANK,
    "zeroentropy/zerank-1-reranker": _ZERANK,
    "zeroentropy/zerank-1-small": _ZERANK_SMALL,
    "zeroentropy/zerank-1-small-reranker": _ZERANK_SMALL,
    "zeroentropy/zerank-2": _ZERANK,
    "zeroentropy/zerank-2-reranker": _ZERANK,
    "ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b": _CONTEXTUAL,
    "ContextualAI/ctxl-rerank-v2-instruct-multilingual-2b": replace(_CONTEXTUAL, millions=2000),
    "ContextualAI/ctxl-rerank-v2-instruct-multilingual-6b": replace(_CONTEXTUAL, millions=6000),
    "BAAI/bge-large-en": _BGE_EMBEDDING,
    "BAAI/bge-base-en": replace(_BGE_EMBEDDING, millions=109),
    "BAAI/bge-small-en": replace(_BGE_EMBEDDING, millions=33.4),
    "BAAI/bge-large-en-v1.5": _BGE_EMBEDDING,
    "BAAI/bge-base-en-v1.5": replace(_BGE_EMBEDDING, millions=109),
    "BAAI/bge-small-en-v1.5": replace(_BGE_EMBEDDING, millions=33.4),
    "colbert-ir/colbertv2.0": _COLBERT,
    "answerdotai/answerai-colbert-small-v1": replace(_COLBERT, millions=33, licence="Apache-2.0"),
    "lightonai/GTE-ModernColBERT-v1": replace(_COLBERT, millions=149, tokens=8192, licence="Apache-2.0"),
}

NON_COMMERCIAL: dict[str, str] = {name: facts.licence for name, facts in FACTS.items() if not facts.is_commercial}
"""The licences that forbid commercial use, by model."""
