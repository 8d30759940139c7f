"""Which dialect a request is written in: told by its path, its headers and the names of its members."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from resift.wire.shapes import BEDROCK, DASHSCOPE, FLAT, INFINITY, MIXEDBREAD, NVIDIA, PINECONE, TEI, VOYAGE, Shape

FLAT_PATHS: Final = (
    "/v1/rerank",
    "/rerank",
    "/v2/rerank",
    "/v1/reranks",
    "/reranks",
    "/v1/v1/rerank",  # Together's client under a base that ends in /v1 already
    "/v1/v2/rerank",  # Cohere's client under such a base
    "/api/v1/rerank",
    "/inference/v1/rerank",
    "/compatible-api/v1/reranks",
)
RERANKING_PATHS: Final = ("/v1/reranking", "/reranking")
RANKING_PATHS: Final = ("/v1/ranking", "/ranking", "/v1/retrieval/{model:path}/reranking")
DASHSCOPE_PATHS: Final = ("/api/v1/services/rerank/text-rerank/text-rerank",)
PATHS: Final = (*FLAT_PATHS, *RERANKING_PATHS, *RANKING_PATHS, *DASHSCOPE_PATHS)

_OPENROUTER: Final = "/api/v1/rerank"
_VOYAGE_ASKS: Final = ("/v1/rerank", "/v1/v1/rerank")
_VOYAGE_SAYS: Final = frozenset({"query", "documents", "model", "return_documents"})


@dataclass(frozen=True, slots=True)
class Way:
    """How a request is to be read and answered."""

    shape: Shape
    returns_documents: bool = False
    """Whether documents go back where the request does not say."""

    also_data: bool = False
    """Whether the reply has Voyage's list beside the usual one, because its client could have sent this request."""

    version: str = "1"
    """Which of Cohere's two versions the path belongs to."""


def choose(path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Way:
    """Return how to read `body`; `headers` finds names whatever their case."""
    by_path = _by_path(path)
    if by_path is not None:
        return Way(by_path)
    if path.endswith("/reranking") and body.get("input") is not None:
        return Way(MIXEDBREAD)
    if _has(body, "queries") and _has(body, "sources"):
        return Way(BEDROCK)
    if _has(body, "texts"):
        return Way(TEI)
    if "x-pinecone-api-version" in headers:
        return Way(PINECONE, returns_documents=True)
    return _flat(path, body)


def error_code(path: str, status: int, code: str | None) -> str | int | None:
    """Return what an error's `code` says: a word, or the status on the path whose clients read a number."""
    return status if path == _OPENROUTER else code


def _by_path(path: str) -> Shape | None:
    if path.endswith("/ranking") or "/retrieval/" in path:
        return NVIDIA
    return DASHSCOPE if path.endswith("/text-rerank/text-rerank") else None


def _flat(path: str, body: Mapping[str, Any]) -> Way:
    # Voyage's client sends `top_k` as null where none is given, so it is the name that tells, not the value.
    if "truncation" in body or ("top_k" in body and "top_n" not in body):
        return Way(VOYAGE)
    if "raw_scores" in body:
        return Way(INFINITY)
    return Way(
        FLAT,
        returns_documents=path == _OPENROUTER,
        also_data=path in _VOYAGE_ASKS and body.keys() <= _VOYAGE_SAYS,
        version="2" if "/v2/" in path else "1",
    )


def _has(body: Mapping[str, Any], name: str) -> bool:
    return body.get(name) is not None
