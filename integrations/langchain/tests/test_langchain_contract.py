"""`ResiftRerank` keeps every promise that resift's contract asks of an adapter."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Unpack

from langchain_core.documents import Document
from langchain_core.load import dumpd, dumps

from langchain_resift import ResiftRerank
from resift.testing import AdapterContract, AdapterSettings, Overrides, Places

_NAMES = {"threshold": "score_threshold"}


class TestResiftRerank(AdapterContract):
    """The contract of adapters, with LangChain's words."""

    package = "langchain_resift"
    construction = 'from langchain_resift import ResiftRerank; ResiftRerank(model="nobody/nothing")'
    framework = (
        "langchain_core.callbacks",
        "langchain_core.documents",
        "langchain_core.retrievers",
        "langchain_core.runnables.config",
    )
    overrides = frozenset({"top_n", "threshold", "instruction"})

    def make(self, **settings: Unpack[AdapterSettings]) -> ResiftRerank:
        return ResiftRerank(**_named(settings))

    def rerank(
        self, component: ResiftRerank, query: str, texts: Sequence[str], **overrides: Unpack[Overrides]
    ) -> Places:
        return _places(component.compress_documents(_documents(texts), query, **_named(overrides)))

    async def arerank(
        self, component: ResiftRerank, query: str, texts: Sequence[str], **overrides: Unpack[Overrides]
    ) -> Places:
        return _places(await component.acompress_documents(_documents(texts), query, **_named(overrides)))

    def close(self, component: ResiftRerank) -> None:
        component.close()

    def written(self, component: ResiftRerank) -> Iterable[str]:
        return (
            component.model_dump_json(),
            str(component.model_dump()),
            json.dumps(dumpd(component)),
            dumps(component),
        )


def _named(settings: Any) -> dict[str, Any]:
    return {_NAMES.get(name, name): value for name, value in settings.items()}


def _documents(texts: Sequence[str]) -> list[Document]:
    return [Document(text, metadata={"at": at}) for at, text in enumerate(texts)]


def _places(documents: Sequence[Document]) -> Places:
    return [(document.metadata["at"], document.metadata.get("relevance_score")) for document in documents]
