"""Haystack's rankers."""

from typing import Any

from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
from haystack_integrations.components.rankers.jina import JinaRanker
from haystack_integrations.components.rankers.nvidia import NvidiaRanker

from interop.clients.probing import Ask, Endpoint, Hit, place, probe


def rank_cohere(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    ranker = CohereRanker(
        model=ask.model, api_key=Secret.from_token(endpoint.key), api_base_url=endpoint.url, top_k=len(ask.documents)
    )
    return _run(ranker, ask)


def rank_jina(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    ranker = JinaRanker(model=ask.model, api_key=Secret.from_token(endpoint.key), base_url=f"{endpoint.url}/v1/rerank")
    return _run(ranker, ask)


def rank_tei(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    return _run(HuggingFaceTEIRanker(url=endpoint.url, token=Secret.from_token(endpoint.key), max_retries=0), ask)


def rank_nvidia(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    ranker = NvidiaRanker(
        model=ask.model,
        api_url=f"{endpoint.url}/v1",
        api_key=Secret.from_token(endpoint.key),
        top_k=len(ask.documents),
    )
    return _run(ranker, ask)


def _run(ranker: Any, ask: Ask) -> list[Hit]:
    ranker.warm_up() if hasattr(ranker, "warm_up") else None
    documents = [Document(content=text) for text in ask.documents]
    limit = {} if ask.top_n is None else {"top_k": ask.top_n}
    ranked = ranker.run(query=ask.query, documents=documents, **limit)["documents"]
    return [Hit(place(document.content), document.score, document.content) for document in ranked]


if __name__ == "__main__":
    probe(
        {
            "CohereRanker": rank_cohere,
            "JinaRanker": rank_jina,
            "HuggingFaceTEIRanker": rank_tei,
            "NvidiaRanker": rank_nvidia,
        }
    )
