"""From a reply without success to the error that it means: whose fault it was, in the endpoint's own words, masked."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from resift.errors import EndpointError, EndpointRefused, EndpointUnavailable
from resift.remote.dialects import Dialect
from resift.remote.masking import MOST_READ, masked
from resift.wire.faults import error_message
from resift.wire.shapes import dig
from resift.wire.strict_json import NotJson, read_json

BUSY = frozenset({408, 429, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses that say nothing against the request itself: the same one may be answered later."""

NEVER = frozenset({501, 505})
"""Statuses from 500 up that say that the same request will never be answered."""

_REQUEST_IDS = ("x-request-id", "request-id", "x-amzn-requestid", "x-trace-id", "cf-ray")
_MOST_PARSED = 1_000_000  # bytes; an error that says more than this says too much
_BLAME = re.compile(
    r"too (?:large|long|big)\b|too many (?:documents|texts|inputs|passages|tokens)"
    r"|exceed\w* (?:the )?(?:available |max)"
    r"|parse[ _]?error|failed to parse|json\.exception|jsondecodeerror|invalid json|not valid json|malformed"
    r"|invalid (?:input|request|body|type|value|parameter|utf|unicode|string|document|query)|validation ?error"
    r"|(?:missing|required) (?:field|parameter)|field required|is required|\bmust (?:not )?(?:be|have|contain)\b"
    r"|(?:is|are) not supported|unsupported|surrogate|bad request"
)
_LACKS = re.compile(
    r"missing field\W+(?P<a>texts|input|passages|queries)\b|\b(?P<b>texts|input|passages|queries): field required",
    re.IGNORECASE,
)
_SPEAKERS = {"texts": "tei", "input": "mixedbread", "passages": "nvidia", "queries": "deepinfra"}


def read_refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    url: str,
    secrets: Sequence[str] = (),
    texts: Sequence[str] = (),
    dialect: Dialect | None = None,
    tried: Sequence[str] = (),
) -> EndpointError:
    """
    Return the error that a reply without success means, with the endpoint's own words in it.

    `secrets` and `texts` are what the request carried, the query included: an echo of them is masked. `tried` lists the
    URLs that were asked where there was more than `url`.
    """
    heads, tree = lowered(headers), _parsed(body)

    def hidden(words: str) -> str:
        return masked(words, secrets=secrets, texts=texts)

    words = hidden(_words(tree, body))
    hint = _hint(status, words, dialect=dialect, tried=tried or (url,))
    message = f"{url} answered {status}" + (f": {words}" if words else "") + (f"; {hint}" if hint else "")
    request_id = request_id_of(heads, tree)
    return _kind_of_error(status, body)(message, status=status, request_id=hidden(request_id) if request_id else None)


def is_route_missing(status: int, body: bytes) -> bool:
    """Whether a reply says that there is no such route; a 404 that speaks of the model does not."""
    if status != 404:
        return status == 405
    words = _words(_parsed(body), body).lower()
    return words.startswith("cannot post") or not re.search(r"\bmodel\b", words)


def blames_input(body: bytes) -> bool:
    """Whether the body of an error says that the request was wrong, whatever its status says."""
    return bool(_BLAME.search(_words(_parsed(body), body).lower()))


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def request_id_of(heads: Mapping[str, str], tree: Any) -> str | None:
    """Return what the endpoint calls the request, from the head or the parsed body of its reply."""
    said = next((heads[name] for name in _REQUEST_IDS if heads.get(name)), None) or dig(tree, "request_id")
    return said[:128] if isinstance(said, str) and said.isprintable() else None


def is_page(body: bytes) -> bool:
    """Whether a body looks like HTML."""
    return body.lstrip()[:1] == b"<"


def _kind_of_error(status: int, body: bytes) -> type[EndpointError]:
    if status in BUSY or (status >= 500 and status not in NEVER and not blames_input(body)):
        return EndpointUnavailable
    return EndpointRefused


def _parsed(body: bytes) -> Any:
    try:
        return read_json(body) if len(body) <= _MOST_PARSED else None
    except NotJson:
        return None


def _words(tree: Any, body: bytes) -> str:
    if tree is not None:
        return error_message(tree, longest=MOST_READ)
    text = body[: 4 * MOST_READ].decode("utf-8", "replace")
    if is_page(body):
        title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
        return error_message(title[1] if title else "a web page", longest=MOST_READ)
    return error_message(text, longest=MOST_READ)


def _hint(status: int, words: str, *, dialect: Dialect | None, tried: Sequence[str]) -> str:
    if status in (401, 403):
        return "check api_key=... or RESIFT_API_KEY"
    if status in (404, 405):
        return f"tried {', '.join(tried)}; check base_url, dialect and model"
    lacks = _LACKS.search(words)
    wanted = _SPEAKERS[(lacks["a"] or lacks["b"]).lower()] if lacks else None
    if wanted is not None and (dialect is None or dialect.name != wanted):
        return f"try dialect={wanted!r}"
    if "physical batch size" in words:  # llama.cpp means the tokens of one text
        return "send shorter texts, or start the server with a larger --ubatch-size"
    if status == 413 or "batch size" in words:
        return "send less at once with max_documents_per_request=..."
    return ""
