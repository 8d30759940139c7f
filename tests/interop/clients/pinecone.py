"""Pinecone's own client."""

from pinecone import Pinecone

from interop.clients.probing import Ask, Endpoint, Hit, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    client = Pinecone(api_key=endpoint.key, host=endpoint.url)
    reply = client.inference.rerank(
        model=ask.model, query=ask.query, documents=list(ask.documents), top_n=ask.top_n, return_documents=True
    )
    return [Hit(result.index, result.score, result.document["text"]) for result in reply.data]


if __name__ == "__main__":
    # It refuses a blank query itself, but not a document without the field that is to be ranked.
    probe({"Pinecone": rank}, bad=Ask(documents=[{"title": "Glaciers"}]))
