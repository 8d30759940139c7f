"""Voyage's own client."""

import voyageai

from interop.clients.probing import Ask, Endpoint, Hit, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    client = voyageai.Client(endpoint.key, base_url=f"{endpoint.url}/v1")
    reply = client.rerank(ask.query, list(ask.documents), model=ask.model, top_k=ask.top_n)
    assert reply.total_tokens >= 0
    return [Hit(result.index, result.relevance_score, result.document) for result in reply.results]


if __name__ == "__main__":
    probe({"Client": rank})
