"""What every adapter promises, kept by the Haystack ranker."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Unpack

from haystack import Document, Pipeline
from haystack.utils import Secret

from haystack_integrations.components.rankers.resift import ResiftRanker
from resift.testing import AdapterContract, AdapterSettings, Overrides, Places

_NAMES = {
    "base_url": "api_base_url",
    "top_n": "top_k",
    "threshold": "score_threshold",
    "normalize": "scale_score",
}


def _renamed(given: Any) -> dict[str, Any]:
    return {_NAMES.get(name, name): value for name, value in given.items()}


def _documents(texts: Sequence[str]) -> list[Document]:
    return [Document(content=text, meta={"position": position}) for position, text in enumerate(texts)]


def _places(output: dict[str, list[Document]]) -> Places:
    return [(document.meta["position"], document.score) for document in output["documents"]]


class TestResiftRanker(AdapterContract):
    """The ranker, through `run` and `run_async`."""

    package: ClassVar[str] = "haystack_integrations.components.rankers.resift"
    construction: ClassVar[str] = """
from haystack_integrations.components.rankers.resift import ResiftRanker
ResiftRanker("nobody/nothing")
"""
    framework: ClassVar[Sequence[str]] = ("haystack", "haystack.utils")
    overrides: ClassVar[frozenset[str]] = frozenset({"top_n", "threshold", "normalize"})

    def make(self, **settings: Unpack[AdapterSettings]) -> ResiftRanker:
        given = _renamed(settings)
        if isinstance(given.get("api_key"), str):
            given["api_key"] = Secret.from_token(given["api_key"])
        return ResiftRanker(**given)

    def rerank(self, component: Any, query: str, texts: Sequence[str], **overrides: Unpack[Overrides]) -> Places:
        return _places(component.run(query=query, documents=_documents(texts), **_renamed(overrides)))

    async def arerank(self, component: Any, query: str, texts: Sequence[str], **overrides: Unpack[Overrides]) -> Places:
        return _places(await component.run_async(query=query, documents=_documents(texts), **_renamed(overrides)))

    def close(self, component: Any) -> None:
        component.close()

    def written(self, component: Any) -> Iterable[str]:
        yield str(vars(component))
        pipeline = Pipeline()
        pipeline.add_component("ranker", copy.copy(component))  # a component is in one pipeline only
        try:
            yield pipeline.dumps()
        except ValueError as error:  # Haystack writes no token
            yield str(error)
