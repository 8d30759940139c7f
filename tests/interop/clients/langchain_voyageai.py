"""LangChain's compressor for Voyage, with the vendor's present client beneath it."""

from langchain_core.documents import Document
from langchain_voyageai import VoyageAIRerank

from interop.clients.probing import Ask, Endpoint, Hit, place, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    ranker = VoyageAIRerank(model=ask.model, api_key=endpoint.key, base_url=f"{endpoint.url}/v1", top_k=ask.top_n)
    documents = [Document(page_content=text) for text in ask.documents]
    ranked = ranker.compress_documents(documents, ask.query)
    return [Hit(place(each.page_content), each.metadata["relevance_score"], each.page_content) for each in ranked]


if __name__ == "__main__":
    probe({"VoyageAIRerank": rank})
