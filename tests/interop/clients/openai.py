"""OpenAI's own client, which has no method for ranking but sends what it is given."""

from openai import OpenAI

from interop.clients.probing import Ask, Endpoint, Hit, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    client = OpenAI(api_key=endpoint.key, base_url=f"{endpoint.url}/v1", max_retries=0)
    body = {"model": ask.model, "query": ask.query, "documents": ask.documents, "top_n": ask.top_n}
    reply = client.post("/rerank", body=body, cast_to=object)
    return [Hit(result["index"], result["relevance_score"]) for result in reply["results"]]


if __name__ == "__main__":
    probe({"post": rank})
