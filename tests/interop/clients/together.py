"""Together's own client."""

from together import Together

from interop.clients.probing import Ask, Endpoint, Hit, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    client = Together(api_key=endpoint.key, base_url=f"{endpoint.url}/v1", max_retries=0)
    limit = {} if ask.top_n is None else {"top_n": ask.top_n}
    reply = client.rerank.create(
        model=ask.model, query=ask.query, documents=list(ask.documents), return_documents=True, **limit
    )
    return [Hit(result.index, result.relevance_score, result.document.text) for result in reply.results]


if __name__ == "__main__":
    probe({"Together": rank})
