"""Mixedbread's older client, which shows its key without the word Bearer."""

from mixedbread_ai.client import MixedbreadAI
from mixedbread_ai.core.request_options import RequestOptions

from interop.clients.probing import Ask, Endpoint, Hit, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    client = MixedbreadAI(api_key=endpoint.key, base_url=endpoint.url)
    limit = {} if ask.top_n is None else {"top_k": ask.top_n}
    reply = client.reranking(
        model=ask.model,
        query=ask.query,
        input=list(ask.documents),
        return_input=True,
        request_options=RequestOptions(max_retries=0),
        **limit,
    )
    return [Hit(result.index, result.score, result.input) for result in reply.data]


if __name__ == "__main__":
    probe({"MixedbreadAI": rank})
