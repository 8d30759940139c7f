"""LlamaIndex's node postprocessor for Xinference, which shows no key."""

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.xinference_rerank import XinferenceRerank

from interop.clients.probing import Ask, Endpoint, Hit, place, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in ask.documents]
    ranker = XinferenceRerank(model=ask.model, base_url=endpoint.url, top_n=ask.top_n or len(nodes))
    ranked = ranker.postprocess_nodes(nodes, QueryBundle(ask.query))
    return [Hit(place(node.text), node.score, node.text) for node in ranked]


if __name__ == "__main__":
    probe({"XinferenceRerank": rank})
