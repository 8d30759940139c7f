"""Dify's client for whatever speaks as OpenAI's friends do."""

from dify_plugin.interfaces.model.openai_compatible.rerank import OAICompatRerankModel

from interop.clients.probing import Ask, Endpoint, Hit, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    reply = OAICompatRerankModel([])._invoke(  # noqa: SLF001 - the way in that a plugin is called by
        ask.model,
        {"endpoint_url": f"{endpoint.url}/v1", "api_key": endpoint.key},
        ask.query,
        list(ask.documents),
        top_n=ask.top_n,
    )
    return [Hit(document.index, document.score, document.text) for document in reply.docs]


if __name__ == "__main__":
    probe({"OAICompatRerankModel": rank})
