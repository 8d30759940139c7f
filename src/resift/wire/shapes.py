"""The shapes of rerank requests and replies as data: one row per shape, read by the client and by the server alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Shape:
    """
    Where one dialect keeps what every dialect says.

    A place is a dotted path into the JSON, with numbers for positions in lists; None where the dialect has no word for
    it, and "" for the whole.
    """

    name: str
    model: str | None = "model"
    query: str = "query"
    query_per_document: bool = False
    """Whether `query` holds a list with the query once for each document."""

    documents: str = "documents"
    text: str = ""
    """Where in each document of the request its text stands."""

    top_n: str | None = "top_n"
    return_documents: str | None = "return_documents"
    instruction: str | None = None
    results: str = "results"
    index: str = "index"
    """Where in each result its document's position stands; "" where the list of results is in the documents' order."""

    score: str = "relevance_score"
    returned: str = "document"
    """Where in each result the document stands, if it was asked for."""

    returned_text: str = "text"
    """Where in a returned document its text stands."""

    tokens: str | None = "usage.total_tokens"
    """Where the reply says how many tokens were read."""


FLAT = Shape("flat", instruction="instruction")
COHERE = Shape("cohere", return_documents=None, tokens="meta.tokens.input_tokens")
VOYAGE = Shape("voyage", top_n="top_k", results="data", returned_text="")
MIXEDBREAD = Shape(
    "mixedbread",
    documents="input",
    top_n="top_k",
    return_documents="return_input",
    results="data",
    score="score",
    returned="input",
    returned_text="",
)
TEI = Shape(
    "tei",
    model=None,
    documents="texts",
    top_n=None,
    return_documents="return_text",
    results="",
    score="score",
    returned="text",
    returned_text="",
    tokens=None,
)
NVIDIA = Shape(
    "nvidia",
    query="query.text",
    documents="passages",
    text="text",
    top_n=None,
    return_documents=None,
    results="rankings",
    score="logit",
)
PINECONE = Shape("pinecone", text="text", results="data", score="score", tokens=None)
DASHSCOPE = Shape(
    "dashscope",
    query="input.query",
    documents="input.documents",
    top_n="parameters.top_n",
    return_documents="parameters.return_documents",
    instruction="parameters.instruct",
    results="output.results",
)
DASHSCOPE_FLAT = Shape("dashscope-flat", instruction="instruct")
DEEPINFRA = Shape(
    "deepinfra",
    model=None,
    query="queries",
    query_per_document=True,
    top_n=None,
    return_documents=None,
    instruction="instruction",
    results="scores",
    index="",
    score="",
    tokens="input_tokens",
)
INFINITY = Shape("infinity", returned_text="")
BEDROCK = Shape(
    "bedrock",
    model="rerankingConfiguration.bedrockRerankingConfiguration.modelConfiguration.modelArn",
    query="queries.0.textQuery.text",
    documents="sources",
    text="inlineDocumentSource.textDocument.text",
    top_n="rerankingConfiguration.bedrockRerankingConfiguration.numberOfResults",
    return_documents=None,
    score="relevanceScore",
    tokens=None,
)

LISTWISE: Final = "x-resift-listwise"
"""The header by which our server says that documents were weighed against each other: such lists are not merged."""

_ABSENT: Final = object()


def dig(tree: Any, place: str, default: Any = None) -> Any:
    """Return what stands at `place`, or `default` where nothing does; a null counts as nothing."""
    for step in place.split(".") if place else ():
        if isinstance(tree, Mapping):
            tree = tree.get(step, _ABSENT)
        elif isinstance(tree, list) and step.isdecimal() and int(step) < len(tree):
            tree = tree[int(step)]
        else:
            return default
        if tree is _ABSENT:
            return default
    return default if tree is None else tree


def plant(tree: dict[str, Any], place: str, value: Any) -> None:
    """Put `value` at `place`, making the objects on the way there."""
    *way, last = place.split(".")
    for step in way:
        tree = tree.setdefault(step, {})
    tree[last] = value


KNOWN: Mapping[str, Shape] = MappingProxyType(
    {
        shape.name: shape
        for shape in (
            FLAT,
            COHERE,
            VOYAGE,
            MIXEDBREAD,
            TEI,
            NVIDIA,
            PINECONE,
            DASHSCOPE,
            DASHSCOPE_FLAT,
            DEEPINFRA,
            INFINITY,
            BEDROCK,
        )
    }
)
