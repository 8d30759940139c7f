"""LlamaIndex's node postprocessors."""

from functools import partial
from typing import Any

import dashscope
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.dashscope_rerank import DashScopeRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

from interop.clients.probing import Ask, Endpoint, Hit, place, probe


def cohere(endpoint: Endpoint, model: str, top_n: int) -> Any:
    return CohereRerank(model=model, api_key=endpoint.key, base_url=endpoint.url, top_n=top_n, max_retries=1)


def jina(endpoint: Endpoint, model: str, top_n: int) -> Any:
    return JinaRerank(model=model, api_key=endpoint.key, base_url=f"{endpoint.url}/v1", top_n=top_n)


def tei(endpoint: Endpoint, model: str, top_n: int) -> Any:
    return TextEmbeddingInference(
        model_name=model, base_url=endpoint.url, auth_token=f"Bearer {endpoint.key}", top_n=top_n
    )


def siliconflow(endpoint: Endpoint, model: str, top_n: int) -> Any:
    return SiliconFlowRerank(model=model, api_key=endpoint.key, base_url=f"{endpoint.url}/v1/rerank", top_n=top_n)


def bailian(endpoint: Endpoint, model: str, top_n: int) -> Any:
    dashscope.base_http_api_url = f"{endpoint.url}/api/v1"
    return DashScopeRerank(model=model, api_key=endpoint.key, top_n=top_n)


def rank(endpoint: Endpoint, ask: Ask, *, postprocessor: Any) -> list[Hit]:
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in ask.documents]
    ranker = postprocessor(endpoint, ask.model, ask.top_n or len(nodes))
    ranked = ranker.postprocess_nodes(nodes, QueryBundle(ask.query))
    return [Hit(place(node.text), node.score, node.text) for node in ranked]


if __name__ == "__main__":
    postprocessors = {
        "CohereRerank": cohere,
        "JinaRerank": jina,
        "TextEmbeddingInference": tei,
        "SiliconFlowRerank": siliconflow,
        "DashScopeRerank": bailian,
    }
    probe({name: partial(rank, postprocessor=postprocessor) for name, postprocessor in postprocessors.items()})
