"""Mixedbread's own client."""

from mixedbread import Mixedbread

from interop.clients.probing import Ask, Endpoint, Hit, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    client = Mixedbread(api_key=endpoint.key, base_url=endpoint.url, max_retries=0)
    limit = {} if ask.top_n is None else {"top_k": ask.top_n}
    reply = client.rerank(model=ask.model, query=ask.query, input=list(ask.documents), return_input=True, **limit)
    return [Hit(result.index, result.score, result.input) for result in reply.data]


if __name__ == "__main__":
    probe({"Mixedbread": rank})
