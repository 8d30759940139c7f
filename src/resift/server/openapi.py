"""The OpenAPI document: what each route takes and what it answers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from resift.server.dispatch import PATHS
from resift.server.served import Scores
from resift.server.settings import ServerSettings

Json = dict[str, Any]

_REFUSALS: Final = {
    400: "A member of the request cannot mean anything; `param` names it.",
    401: "A valid key is needed.",
    404: "No model of that name is served, or there is no such path.",
    408: "The request's body did not arrive in time.",
    413: "The body has too many bytes.",
    415: "The body says that it is something else than JSON.",
    422: "Too many documents; or, in the dialect of text-embeddings-inference, what is 400 elsewhere.",
    424: "The model failed, in the dialect of text-embeddings-inference.",
    429: "Too much work is waiting; `Retry-After` says when to ask again.",
    500: "The model could not score this request.",
    502: "The endpoint behind this model gave no usable answer.",
    503: "Not ready, about to end, or the endpoint behind this model is away; `Retry-After` says when to ask again.",
    504: "The answer was not there in time.",
}


def describe(settings: ServerSettings, *, version: str) -> Json:
    """Return the document for a server of these settings."""
    others = ", ".join(f"`{path.replace(':path', '')}`" for path in PATHS)
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "resift",
            "version": version,
            "description": (
                "Puts documents in order of relevance. Scores are in [0, 1] unless a request says otherwise; a null "
                "counts as absent, and members that are not described are ignored. A body is read as JSON whatever its "
                "Content-Type, apart from multipart and binary ones. The dialect is told by path and members. "
                f"Rankings are asked for at {others}."
            ),
        },
        "paths": {**_scoring_paths(), **_asking_paths()},
        "components": {"schemas": _schemas(settings)},
    }
    if settings.api_keys:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        for path, item in document["paths"].items():
            for operation in item.values():
                is_open = path in _OPEN or (path == "/metrics" and settings.open_metrics)
                operation["security"] = [] if is_open else [{"bearer": []}, {"header": []}]
    return document


# paths

_OPEN: Final = ("/health", "/ready")
_FLAT_REPLIES: Final = ("Reply", "VoyageReply", "InfinityReply")
_PINECONE: Final = {
    "name": "X-Pinecone-Api-Version",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Pinecone's clients send it; the answer is then in its shape.",
}
_MODEL: Final = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _scoring_paths() -> Json:
    flat, all_flat = ("Request", "TeiRequest"), (*_FLAT_REPLIES, "PineconeReply", "TeiReply")
    return {
        "/v1/rerank": _scoring("rerank", flat, all_flat, parameters=[_PINECONE]),
        "/v2/rerank": _scoring("rerank_v2", flat, all_flat, parameters=[_PINECONE]),
        "/rerank": _scoring(
            "rerank_plain", (*flat, "BedrockRequest"), (*all_flat, "BedrockReply"), parameters=[_PINECONE]
        ),
        "/api/v1/rerank": _scoring("rerank_openrouter", flat, all_flat, parameters=[_PINECONE]),
        "/v1/reranking": _scoring(
            "reranking", (*flat, "MixedbreadRequest"), (*all_flat, "MixedbreadReply"), parameters=[_PINECONE]
        ),
        "/v1/ranking": _scoring("ranking", ("NvidiaRequest",), ("NvidiaReply",)),
        "/v1/retrieval/{model}/reranking": _scoring(
            "ranking_of_model", ("NvidiaRequest",), ("NvidiaReply",), parameters=[_MODEL]
        ),
        "/api/v1/services/rerank/text-rerank/text-rerank": _scoring(
            "text_rerank", ("DashscopeRequest",), ("DashscopeReply",)
        ),
    }


def _scoring(name: str, requests: Sequence[str], replies: Sequence[str], *, parameters: Sequence[Any] = ()) -> Json:
    operation: Json = {
        "operationId": name,
        "summary": "Rank documents for a query",
        "requestBody": {"required": True, "content": _content(_any(requests))},
        "responses": {"200": {"description": "The ranking, best first.", "content": _content(_any(replies))}},
    }
    if parameters:
        operation["parameters"] = list(parameters)
    for status, words in _REFUSALS.items():
        errors = _any(("Error", "TeiError")) if "TeiRequest" in requests else _any(("Error",))
        operation["responses"][str(status)] = {"description": words, "content": _content(errors)}
    return {"post": operation}


def _asking_paths() -> Json:
    return {
        "/v1/models": _asking("models", "List the models", _content(_ref("Models"))),
        "/health": _asking("health", "Say whether the process lives", _content(_ref("Status"))),
        "/ready": _asking("ready", "Say whether requests are answered now", _content(_ref("Status")), 503),
        "/metrics": _asking("metrics", "Show the counters", {"text/plain": {"schema": {"type": "string"}}}),
    }


def _asking(name: str, summary: str, content: Json, *refusals: int) -> Json:
    responses: Json = {"200": {"description": "It is so.", "content": content}}
    for status in (401, *refusals):
        responses[str(status)] = {"description": _REFUSALS[status], "content": _content(_ref("Error"))}
    return {"get": {"operationId": name, "summary": summary, "responses": responses}}


# schemas


def _schemas(settings: ServerSettings) -> Json:
    most = settings.max_documents
    return {**_flat_request(most), **_other_requests(most), **_flat_replies(), **_other_replies(), **_errors()}


def _flat_request(most: int) -> Json:
    members = {
        "model": _or_null({"type": "string", "description": "A served name; the first model if it is left out."}),
        "query": _QUERY,
        "documents": _list(_DOCUMENT, most),
        "top_n": _or_null({**_COUNT, "description": "How many documents to return; all if it is left out."}),
        "top_k": _or_null({**_COUNT, "description": "The same in Voyage's words; the answer is then in its shape."}),
        "return_documents": _or_null(_BOOLEAN),
        "rank_fields": _or_null({"type": "array", "minItems": 1, "items": {"type": "string"}}),
        "instruction": _or_null({"type": "string", "description": "What to look for, where the model takes one."}),
        "scores": _or_null({"enum": list(get_args(Scores)), "description": "Which kind of scores to return."}),
        "raw_scores": _or_null({**_BOOLEAN, "description": "Infinity's word; the answer is then in its shape."}),
        "use_activation": _or_null({**_BOOLEAN, "description": "vLLM's word: false asks for raw scores."}),
        "truncation": _or_null(
            {**_BOOLEAN, "description": "Voyage's word: false refuses documents that are too long."}
        ),
        "truncate": _or_null(_TRUNCATE),
        "max_tokens_per_doc": _or_null({"type": "integer", "minimum": 0, "description": "Read, but not applied."}),
    }
    return {"Request": _object(members, ("query", "documents"))}


def _other_requests(most: int) -> Json:
    texts = {
        "query": _QUERY,
        "texts": _list({"type": "string"}, most),
        "raw_scores": _or_null(_BOOLEAN),
        "return_text": _or_null(_BOOLEAN),
        "truncate": _or_null(_TRUNCATE),
    }
    mixedbread = {
        "model": _or_null({"type": "string"}),
        "query": _QUERY,
        "input": _list(_DOCUMENT, most),
        "top_k": _or_null(_COUNT),
        "return_input": _or_null(_BOOLEAN),
        "rank_fields": _or_null({"type": "array", "minItems": 1, "items": {"type": "string"}}),
    }
    passage = {"anyOf": [{"type": "string"}, _object({"text": {"type": "string"}}, ("text",))]}
    nvidia = {
        "model": _or_null({"type": "string"}),
        "query": _object({"text": _QUERY}, ("text",)),
        "passages": _list(passage, most),
        "truncate": _or_null(_TRUNCATE),
    }
    return {
        "TeiRequest": _object(texts, ("query", "texts")),
        "MixedbreadRequest": _object(mixedbread, ("query", "input")),
        "NvidiaRequest": _object(nvidia, ("query", "passages")),
        "DashscopeRequest": _object(_dashscope(most), ("input",)),
        "BedrockRequest": _object(_bedrock(most), ("queries", "sources")),
    }


def _dashscope(most: int) -> Json:
    knobs = {
        "top_n": _or_null(_COUNT),
        "return_documents": _or_null(_BOOLEAN),
        "instruct": _or_null({"type": "string"}),
    }
    return {
        "model": _or_null({"type": "string"}),
        "input": _object({"query": _QUERY, "documents": _list(_DOCUMENT, most)}, ("query", "documents")),
        "parameters": _or_null(_object(knobs)),
    }


def _bedrock(most: int) -> Json:
    query = _object({"textQuery": _object({"text": _QUERY}, ("text",))}, ("textQuery",))
    text = _object({"textDocument": _object({"text": {"type": "string"}}, ("text",))}, ("textDocument",))
    source = _object({"inlineDocumentSource": text}, ("inlineDocumentSource",))
    model = _object({"modelArn": _or_null({"type": "string"})})
    knobs = _object({"numberOfResults": _or_null(_COUNT), "modelConfiguration": _or_null(model)})
    return {
        "queries": {"type": "array", "minItems": 1, "maxItems": 1, "items": query},
        "sources": _list(source, most),
        "rerankingConfiguration": _or_null(_object({"bedrockRerankingConfiguration": _or_null(knobs)})),
    }


def _flat_replies() -> Json:
    reply = {
        "object": {"const": "rerank"},
        "id": {"type": "string"},
        "model": {"type": "string"},
        "results": _results("relevance_score", document={"type": "object"}),
        "data": _results("relevance_score", document={"type": "string"}),
        "usage": _USAGE,
        "meta": _META,
    }
    infinity = {
        "object": {"const": "rerank"},
        "id": {"type": "string"},
        "model": {"type": "string"},
        "results": _results("relevance_score", document={"type": "string"}),
        "usage": _USAGE,
        "created": {"type": "integer"},
    }
    voyage = {
        "object": {"const": "list"},
        "data": _results("relevance_score", document={"type": "string"}),
        "model": {"type": "string"},
        "usage": _USAGE,
    }
    return {
        "Reply": _object(reply, ("object", "id", "model", "results", "usage", "meta")),
        "InfinityReply": _object(infinity, tuple(infinity)),
        "VoyageReply": _object(voyage, tuple(voyage)),
    }


def _other_replies() -> Json:
    mixedbread = {
        "object": {"const": "list"},
        "data": _results("score", input=_DOCUMENT),
        "model": {"type": "string"},
        "usage": _USAGE,
        "top_k": {"type": "integer"},
        "return_input": _BOOLEAN,
    }
    pinecone = {
        "model": {"type": "string"},
        "data": _results("score", document={"type": "object"}),
        "usage": _object({"rerank_units": {"type": "integer"}}, ("rerank_units",)),
    }
    dashscope = {
        "output": _object({"results": _results("relevance_score", document={"type": "object"})}, ("results",)),
        "usage": _USAGE,
        "request_id": {"type": "string"},
    }
    model = {"id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"}}
    models = {"object": {"const": "list"}, "data": {"type": "array", "items": _object(model, tuple(model))}}
    return {
        "TeiReply": _results("score", text={"type": "string"}),
        "MixedbreadReply": _object(mixedbread, tuple(mixedbread)),
        "NvidiaReply": _object({"rankings": _results("logit"), "usage": _USAGE}, ("rankings", "usage")),
        "PineconeReply": _object(pinecone, tuple(pinecone)),
        "DashscopeReply": _object(dashscope, tuple(dashscope)),
        "BedrockReply": _object({"results": _results("relevanceScore")}, ("results",)),
        "Models": _object(models, tuple(models)),
        "Status": _object({"status": {"type": "string"}}, ("status",)),
    }


def _errors() -> Json:
    inner = {
        "message": {"type": "string"},
        "type": {"type": "string"},
        "param": {"type": ["string", "null"]},
        "code": {"type": ["string", "integer", "null"]},
    }
    error = {
        "error": _object(inner, tuple(inner)),
        "message": {"type": "string"},
        "detail": {"type": "string"},
    }
    kinds = ["unhealthy", "backend", "overloaded", "validation", "tokenizer", "empty"]
    tei = {"error": {"type": "string"}, "error_type": {"enum": kinds}}
    return {"Error": _object(error, tuple(error)), "TeiError": _object(tei, tuple(tei))}


def _object(members: Mapping[str, Any], required: Sequence[str] = ()) -> Json:
    return {"type": "object", "properties": dict(members), **({"required": list(required)} if required else {})}


def _list(item: Json, most: int) -> Json:
    return {"type": "array", "minItems": 1, "maxItems": most, "items": item}


def _results(score: str, **returned: Json) -> Json:
    members = {"index": {"type": "integer", "minimum": 0}, score: {"type": "number"}, **returned}
    return {"type": "array", "items": _object(members, ("index", score))}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _any(names: Sequence[str]) -> Json:
    return _ref(names[0]) if len(names) == 1 else {"anyOf": [_ref(name) for name in names]}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


_BOOLEAN: Final[Json] = {"type": "boolean"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 1}
_QUERY: Final[Json] = {"type": "string", "pattern": r"\S", "description": "What to look for; not blank."}
_DOCUMENT: Final[Json] = {
    "anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1}],
    "description": "A text, or an object: its `text` if it has nothing else, all its fields otherwise.",
}
_TRUNCATE: Final[Json] = {
    "anyOf": [{"type": "boolean"}, {"enum": ["NONE", "START", "END"]}],
    "description": "false or NONE refuses documents that are too long; they are cut otherwise.",
}
_TOKENS: Final[Json] = {"type": "integer", "minimum": 0}
_USAGE: Final[Json] = _object(
    {"prompt_tokens": _TOKENS, "completion_tokens": {"const": 0}, "total_tokens": _TOKENS},
    ("prompt_tokens", "completion_tokens", "total_tokens"),
)
_META: Final[Json] = _object(
    {
        "api_version": _object({"version": {"type": "string"}}, ("version",)),
        "billed_units": _object({"search_units": {"const": 1}}, ("search_units",)),
        "tokens": _object({"input_tokens": _TOKENS, "output_tokens": {"const": 0}}),
        "scores": {"enum": list(get_args(Scores)), "description": "Which kind of scores these are."},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
    ("api_version", "billed_units", "tokens", "scores"),
)
