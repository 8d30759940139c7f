"""From a ranking to the reply, in the shape that the request's dialect wants; scores are written with every digit."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from starlette.responses import Response

from resift.documents import render
from resift.server.dispatch import Way
from resift.server.reading import Asked
from resift.server.served import Scores
from resift.types import Ranked, Ranking
from resift.wire.shapes import (
    BEDROCK,
    DASHSCOPE,
    FLAT,
    INFINITY,
    LISTWISE,
    MIXEDBREAD,
    NVIDIA,
    PINECONE,
    TEI,
    VOYAGE,
    plant,
)
from resift.wire.strict_json import write_json

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What there is to say: who asked how, and what was found."""

    asked: Asked
    way: Way
    model: str
    """The served name."""

    scores: Scores
    """Which kind the scores are."""

    hits: Sequence[Ranked]
    """The ranking as it goes out: best first, ties in the caller's order."""

    ranking: Ranking
    listwise: bool = False
    """Whether the documents were weighed against each other."""

    warnings: Sequence[str] = ()

    @property
    def tokens(self) -> int:
        """How many tokens the model read; 0 where it does not say, because clients want a number."""
        return self.ranking.usage.tokens if self.ranking.usage else 0


def write(answered: Answered) -> Response:
    """Return the reply; it is 200, whatever warnings there are."""
    name = answered.way.shape.name
    tree = _ENVELOPES[name](answered, _results(answered))
    headers = _in_headers(answered) if name == TEI.name else {}
    if answered.listwise:
        headers[LISTWISE] = "true"
    return Response(write_json(tree), headers=headers, media_type="application/json")


def _results(answered: Answered) -> list[Json]:
    shape = answered.way.shape
    results: list[Json] = []
    for hit in answered.hits:
        result: Json = {shape.index: hit.index, shape.score: float(hit.score)}
        if answered.asked.returns_documents:
            plant(result, shape.returned, _returned(answered, hit.index))
        results.append(result)
    return results


def _returned(answered: Answered, index: int) -> Any:
    """Return a document as the dialect gives it back: as it came, as its text alone, or as an object with its text."""
    document = answered.asked.documents[index]
    name = answered.way.shape.name
    if name == MIXEDBREAD.name:
        return document
    if name in _BARE_TEXTS:
        return _plain(document, index)
    if isinstance(document, str):
        return {"text": document}
    return document if "text" in document else {**document, "text": _plain(document, index)}


def _plain(document: Any, index: int) -> str:
    if isinstance(document, Mapping) and isinstance(document.get("text"), str):
        return str(document["text"])
    return render(document, index)


def _flat(answered: Answered, results: list[Json]) -> Json:
    reply: Json = {"object": "rerank", "id": _new_id(), "model": answered.model, "results": results}
    if answered.way.also_data:
        reply["data"] = [_as_voyage(answered, hit) for hit in answered.hits]
    meta: Json = {
        "api_version": {"version": answered.way.version},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": answered.tokens, "output_tokens": 0},
        "scores": answered.scores,
    }
    if answered.warnings:
        meta["warnings"] = list(answered.warnings)
    return {**reply, "usage": _usage(answered), "meta": meta}


def _as_voyage(answered: Answered, hit: Ranked) -> Json:
    found: Json = {"index": hit.index, "relevance_score": float(hit.score)}
    if answered.asked.returns_documents:
        found["document"] = _plain(answered.asked.documents[hit.index], hit.index)
    return found


def _voyage(answered: Answered, results: list[Json]) -> Json:
    return {"object": "list", "data": results, "model": answered.model, "usage": _usage(answered)}


def _mixedbread(answered: Answered, results: list[Json]) -> Json:
    # No `object` in the results: the vendor's older client knows other names for it than the vendor's own server.
    return {
        **_voyage(answered, results),
        "top_k": answered.asked.top_n or len(answered.asked.documents),
        "return_input": answered.asked.returns_documents,
    }


def _tei(answered: Answered, results: list[Json]) -> list[Json]:
    return results


def _nvidia(answered: Answered, results: list[Json]) -> Json:
    return {"rankings": results, "usage": _usage(answered)}


def _pinecone(answered: Answered, results: list[Json]) -> Json:
    return {"model": answered.model, "data": results, "usage": {"rerank_units": 1}}


def _dashscope(answered: Answered, results: list[Json]) -> Json:
    return {"output": {"results": results}, "usage": _usage(answered), "request_id": _new_id()}


def _infinity(answered: Answered, results: list[Json]) -> Json:
    return {
        "object": "rerank",
        "id": _new_id(),
        "model": answered.model,
        "results": results,
        "usage": _usage(answered),
        "created": int(time.time()),
    }


def _bedrock(answered: Answered, results: list[Json]) -> Json:
    return {"results": results}


_BARE_TEXTS: Final = (VOYAGE.name, INFINITY.name, TEI.name)
_ENVELOPES: Final[Mapping[str, Callable[[Answered, list[Json]], Any]]] = MappingProxyType(
    {
        FLAT.name: _flat,
        VOYAGE.name: _voyage,
        MIXEDBREAD.name: _mixedbread,
        TEI.name: _tei,
        NVIDIA.name: _nvidia,
        PINECONE.name: _pinecone,
        DASHSCOPE.name: _dashscope,
        INFINITY.name: _infinity,
        BEDROCK.name: _bedrock,
    }
)


def _usage(answered: Answered) -> Json:
    return {"prompt_tokens": answered.tokens, "completion_tokens": 0, "total_tokens": answered.tokens}


def _in_headers(answered: Answered) -> dict[str, str]:
    """Say in headers what a bare list has no room for."""
    texts = answered.asked.texts
    return {
        "x-compute-tokens": str(answered.tokens),
        "x-compute-characters": str(len(answered.asked.query) * len(texts) + sum(map(len, texts))),
        "x-compute-time": str(round(answered.ranking.elapsed_s * 1000)),
    }


def _new_id() -> str:
    return f"rerank-{uuid.uuid4().hex}"
