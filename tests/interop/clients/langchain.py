"""LangChain's document compressors, and the vendors' older clients beneath them."""

from functools import partial
from typing import Any

from infinity_client import Client
from langchain_cohere import CohereRerank
from langchain_community.document_compressors import jina_rerank
from langchain_community.document_compressors.infinity_rerank import InfinityRerank
from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIARerank
from langchain_voyageai import VoyageAIRerank

from interop.clients.probing import Ask, Endpoint, Hit, place, probe


def cohere(endpoint: Endpoint, ask: Ask) -> Any:
    return CohereRerank(
        model=ask.model, cohere_api_key=endpoint.key, base_url=endpoint.url, top_n=ask.top_n or len(ask.documents)
    )


def voyageai(endpoint: Endpoint, ask: Ask) -> Any:
    return VoyageAIRerank(model=ask.model, api_key=endpoint.key, base_url=f"{endpoint.url}/v1", top_k=ask.top_n)


def infinity(endpoint: Endpoint, ask: Ask) -> Any:
    client = Client(base_url=endpoint.url, headers={"Authorization": f"Bearer {endpoint.key}"})
    return InfinityRerank(client=client, model=ask.model, top_n=ask.top_n or len(ask.documents))


def jina(endpoint: Endpoint, ask: Ask) -> Any:
    jina_rerank.JINA_API_URL = f"{endpoint.url}/v1/rerank"
    return jina_rerank.JinaRerank(model=ask.model, jina_api_key=endpoint.key, top_n=ask.top_n or len(ask.documents))


def nvidia(endpoint: Endpoint, ask: Ask) -> Any:
    return NVIDIARerank(
        model=ask.model,
        base_url=f"{endpoint.url}/v1",
        api_key=endpoint.key,
        top_n=ask.top_n or len(ask.documents),
        usage_telemetry_enabled=False,
    )


def rank(endpoint: Endpoint, ask: Ask, *, compressor: Any) -> list[Hit]:
    documents = [Document(page_content=text) for text in ask.documents]
    ranked = compressor(endpoint, ask).compress_documents(documents, ask.query)
    return [
        Hit(place(document.page_content), document.metadata["relevance_score"], document.page_content)
        for document in ranked
    ]


if __name__ == "__main__":
    compressors = {
        "CohereRerank": cohere,
        "VoyageAIRerank": voyageai,
        "InfinityRerank": infinity,
        "JinaRerank": jina,
        "NVIDIARerank": nvidia,
    }
    probe({name: partial(rank, compressor=compressor) for name, compressor in compressors.items()})
