"""The `rerankers` package, whose one client speaks as each vendor does."""

from functools import partial

from rerankers.models.api_rankers import APIRanker

from interop.clients.probing import Ask, Endpoint, Hit, probe

ROUTES = {
    "cohere": "/v1/rerank",
    "jina": "/v1/rerank",
    "voyage": "/v1/rerank",
    "mixedbread.ai": "/v1/reranking",
    "pinecone": "/rerank",
    "text-embeddings-inference": "/rerank",
}


def rank(endpoint: Endpoint, ask: Ask, *, provider: str) -> list[Hit]:
    ranker = APIRanker(ask.model, endpoint.key, provider, verbose=0, url=endpoint.url + ROUTES[provider])
    ranked = ranker.rank(ask.query, list(ask.documents)).top_k(ask.top_n or len(ask.documents))
    return [Hit(result.document.doc_id, result.score, result.document.text) for result in ranked]


if __name__ == "__main__":
    probe({provider: partial(rank, provider=provider) for provider in ROUTES})
