"""OpenRouter's own client."""

from openrouter import OpenRouter

from interop.clients.probing import Ask, Endpoint, Hit, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    with OpenRouter(api_key=endpoint.key, server_url=f"{endpoint.url}/api/v1") as client:
        reply = client.rerank.rerank(model=ask.model, query=ask.query, documents=list(ask.documents), top_n=ask.top_n)
    return [Hit(result.index, result.relevance_score, result.document.text) for result in reply.results]


if __name__ == "__main__":
    probe({"OpenRouter": rank})
