"""Cohere's own client, both versions of its API."""

import cohere
from cohere.core import RequestOptions

from interop.clients.probing import Ask, Endpoint, Hit, probe

ONCE = RequestOptions(max_retries=0)


def rank_v1(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    reply = cohere.Client(endpoint.key, base_url=endpoint.url).rerank(
        model=ask.model,
        query=ask.query,
        documents=[{"text": text} for text in ask.documents],
        top_n=ask.top_n,
        rank_fields=["text"],
        return_documents=True,
        max_chunks_per_doc=10,
        request_options=ONCE,
    )
    return [Hit(result.index, result.relevance_score, result.document.text) for result in reply.results]


def rank_v2(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    reply = cohere.ClientV2(endpoint.key, base_url=endpoint.url).rerank(
        model=ask.model,
        query=ask.query,
        documents=ask.documents,
        top_n=ask.top_n,
        max_tokens_per_doc=4096,
        request_options=ONCE,
    )
    return [Hit(result.index, result.relevance_score) for result in reply.results]


if __name__ == "__main__":
    probe({"Client": rank_v1, "ClientV2": rank_v2})
