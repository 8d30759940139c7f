"""LiteLLM's `rerank`, by way of the providers that can be told where to ask."""

from functools import partial
from typing import Any

import litellm

from interop.clients.probing import Ask, Endpoint, Hit, probe

PROVIDERS = ("cohere", "jina_ai", "hosted_vllm", "huggingface", "together_ai", "voyage", "nvidia_nim", "infinity")


def rank(endpoint: Endpoint, ask: Ask, *, provider: str) -> list[Hit]:
    reply = litellm.rerank(
        model=f"{provider}/{ask.model}",
        query=ask.query,
        documents=list(ask.documents),
        top_n=ask.top_n,
        # It takes Infinity's documents for bare texts, and cannot say that it is Infinity whom it asks.
        return_documents=provider != "infinity",
        api_base=endpoint.url,
        api_key=endpoint.key,
    )
    return [_hit(result) for result in reply.results]


def _hit(result: dict[str, Any]) -> Hit:
    document = result.get("document")
    text = document.get("text") if isinstance(document, dict) else document
    return Hit(result["index"], result["relevance_score"], text)


if __name__ == "__main__":
    litellm.suppress_debug_info = True
    probe({provider: partial(rank, provider=provider) for provider in PROVIDERS})
