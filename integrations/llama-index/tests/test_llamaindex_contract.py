"""What every adapter of resift promises, promised by LlamaIndex's."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Unpack

from llama_index.core.schema import NodeWithScore, TextNode

from llama_index.postprocessor.resift import ResiftRerank
from resift.testing import AdapterContract, AdapterSettings, Overrides, Places


class TestResiftRerank(AdapterContract):
    """LlamaIndex's node postprocessor."""

    package = "llama_index.postprocessor.resift"
    construction = """
from llama_index.postprocessor.resift import ResiftRerank
ResiftRerank(model="nobody/nothing")
"""
    framework: ClassVar[Sequence[str]] = ("llama_index.core.postprocessor", "llama_index.core.prompts")

    def make(self, **settings: Unpack[AdapterSettings]) -> ResiftRerank:
        given: dict[str, Any] = dict(settings)
        if "threshold" in given:
            given["score_threshold"] = given.pop("threshold")
        return ResiftRerank(**given)

    def rerank(self, component: Any, query: str, texts: Sequence[str], **overrides: Unpack[Overrides]) -> Places:
        return _places(component.postprocess_nodes(_nodes(texts), query_str=query))

    async def arerank(self, component: Any, query: str, texts: Sequence[str], **overrides: Unpack[Overrides]) -> Places:
        return _places(await component.apostprocess_nodes(_nodes(texts), query_str=query))

    def close(self, component: Any) -> None:
        component.close()

    def written(self, component: Any) -> Iterable[str | bytes]:
        return (component.to_json(), str(component.to_dict()), component.model_dump_json(), str(component.dict()))


def _nodes(texts: Sequence[str]) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(id_=str(at), text=text)) for at, text in enumerate(texts)]


def _places(nodes: Sequence[NodeWithScore]) -> Places:
    return [(int(node.node_id), node.score) for node in nodes]
