"""
The catalogue: what the authors of well-known models decided that no file of theirs says.

One row per model. A model without a row is recognised by its files; a copy or a fine-tune of a model that has one is
read as that row when `like=` names it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from resift.errors import InvalidInput
from resift.scoring.families.pair import Truncation
from resift.settings import Prompt, hint


@dataclass(frozen=True, slots=True)
class PairRow:
    """A pair cross-encoder."""

    max_length: int = 512
    truncation: Truncation = "longest_first"
    sigmoid: bool | None = None
    """What the authors return: a sigmoid, a raw logit, or (None) what the model's configuration says."""


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompted causal language model."""

    prompt: Prompt
    max_length: int
    sigmoid: bool = False
    shift: float = 0.0
    """What is subtracted before a sigmoid."""


@dataclass(frozen=True, slots=True)
class EmbeddingRow:
    """An embedding model."""

    query_instruction: str
    max_length: int = 512


Row = PairRow | PromptRow | EmbeddingRow
Value = TypeVar("Value")


_CHAT_HEAD = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n"
_CHAT_TAIL = "<|im_end|>\n<|im_start|>assistant\n"
_MXBAI_V2_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document "
    "pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
    "(0 for not relevant, 1 for relevant).\nRelevance:"
)
_QWEN3_TASK = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
    'answer can only be "yes" or "no".'
)

_MXBAI_V2 = Prompt(
    pieces=(
        _CHAT_HEAD.format("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
        "instruction: {instruction}\nquery: {query}",
        "\n",
        "document: {document}",
        "\n",
        _MXBAI_V2_TASK,
        _CHAT_TAIL,
    ),
    without_instruction="query: {query}",
    positive="1",
    negative="0",
    max_length_covers="texts",
)

_QWEN3 = Prompt(
    pieces=(
        _CHAT_HEAD.format(_QWEN3_TASK),
        "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
        _CHAT_TAIL + "<think>\n\n</think>\n\n",
    ),
    instruction="Given a web search query, retrieve relevant passages that answer the query",
    positive="yes",
    negative="no",
)

_BGE_GEMMA = Prompt(
    pieces=("A: {query}", "\n", "B: {document}", "\n", "{instruction}"),
    instruction="Given a query A and a passage B, determine whether the passage contains an answer to the query by "
    "providing a prediction of either 'Yes' or 'No'.",
    positive="Yes",
    begins_with_bos=True,
    max_length_covers="texts and tail",
)

_BGE_RERANKER = PairRow(truncation="only_second", sigmoid=False)
_BGE_EMBEDDING = EmbeddingRow("Represent this sentence for searching relevant passages: ")
_QWEN3_RERANKER = PromptRow(_QWEN3, max_length=8192, sigmoid=True)

ROWS: dict[str, Row] = {
    "BAAI/bge-reranker-base": _BGE_RERANKER,
    "BAAI/bge-reranker-large": _BGE_RERANKER,
    "BAAI/bge-reranker-v2-m3": _BGE_RERANKER,
    "BAAI/bge-reranker-v2-gemma": PromptRow(_BGE_GEMMA, max_length=512),
    "mixedbread-ai/mxbai-rerank-base-v2": PromptRow(_MXBAI_V2, max_length=8192, shift=4.5),
    "mixedbread-ai/mxbai-rerank-large-v2": PromptRow(_MXBAI_V2, max_length=8192, shift=6.0),
    "Qwen/Qwen3-Reranker-0.6B": _QWEN3_RERANKER,
    "Qwen/Qwen3-Reranker-4B": _QWEN3_RERANKER,
    "Qwen/Qwen3-Reranker-8B": _QWEN3_RERANKER,
    "BAAI/bge-large-en": _BGE_EMBEDDING,
    "BAAI/bge-base-en": _BGE_EMBEDDING,
    "BAAI/bge-small-en": _BGE_EMBEDDING,
    "BAAI/bge-large-en-v1.5": _BGE_EMBEDDING,
    "BAAI/bge-base-en-v1.5": _BGE_EMBEDDING,
    "BAAI/bge-small-en-v1.5": _BGE_EMBEDDING,
}

# Models that are well known and cannot be read by what is built here, with what to do instead.
_LISTWISE = "it reads all documents at once, so its scores are not per document"
_LAYERWISE = "its layers answer one by one, by code of its own"
UNSUITABLE: dict[str, str] = {
    "jinaai/jina-reranker-v3": _LISTWISE,
    "jinaai/jina-reranker-v3.5": _LISTWISE,
    "jinaai/jina-reranker-m0": "it reads pictures as well, by code of its own",
    "BAAI/bge-reranker-v2-minicpm-layerwise": _LAYERWISE,
    "BAAI/bge-reranker-v2.5-gemma2-lightweight": _LAYERWISE,
}

# Licences that forbid commercial use.
NON_COMMERCIAL: dict[str, str] = {
    "jinaai/jina-reranker-v2-base-multilingual": "CC-BY-NC-4.0",
    "zeroentropy/zerank-1": "CC-BY-NC-4.0",
    "zeroentropy/zerank-2": "CC-BY-NC-4.0",
    "ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b": "CC-BY-NC-SA-4.0",
    "ContextualAI/ctxl-rerank-v2-instruct-multilingual-2b": "CC-BY-NC-SA-4.0",
    "ContextualAI/ctxl-rerank-v2-instruct-multilingual-6b": "CC-BY-NC-SA-4.0",
}


_CACHED = re.compile(r"models--(?P<owner>[^/\\]+?)--(?P<name>[^/\\]+)")


def find_row(model: str) -> Row | None:
    """Return the row of a model: by its id in any case, by its folder in the hub's cache, or of a copy by its name."""
    return _look_up(ROWS, model)


def why_unsuitable(model: str) -> str | None:
    """Return why a well-known model cannot be run here."""
    return _look_up(UNSUITABLE, model)


def restrictive_licence(model: str) -> str | None:
    """Return the licence of a model that must not be used commercially."""
    return _look_up(NON_COMMERCIAL, model)


def _look_up(table: Mapping[str, Value], model: str) -> Value | None:
    cached = _CACHED.search(model)
    wanted = (f"{cached['owner']}/{cached['name']}" if cached else model).casefold().rstrip("/\\")
    own_name = re.split(r"[/\\]", wanted)[-1].removesuffix("-onnx")
    for name, value in table.items():
        # a folder or repository that is called as the model, with or without -ONNX, is taken for a copy of it
        if name.casefold() == wanted or name.casefold().partition("/")[2] == own_name:
            return value
    return None


def row_of(name: str) -> Row:
    """Return the row of a model that the catalogue must know, because a caller named it as `like`."""
    row = find_row(name)
    if row is None:
        meant = hint(name, ROWS, otherwise="it knows", cutoff=0.5)
        raise InvalidInput(f"like={name!r} is no row of the catalogue; {meant}")
    return row
