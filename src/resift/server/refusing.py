"""From errors to replies: the one table of what each means to a client, in words that repeat nothing of the request."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from starlette.responses import Response

from resift.errors import (
    DeadlineExceeded,
    EndpointError,
    EndpointRefused,
    EndpointUnavailable,
    InvalidInput,
    Overloaded,
    ScoringFailed,
)
from resift.server.dispatch import error_code
from resift.server.reasons import TurnedAway
from resift.wire.faults import error_body
from resift.wire.strict_json import write_json

logger = logging.getLogger("resift")

_INVALID = "invalid_request_error"
_SERVER = "server_error"
_ABOUT_THE_TEXTS = (400, 413, 422)  # what an endpoint behind us may answer because of what our own caller sent


class Unclear(TurnedAway):
    """The request cannot mean anything; `param` says which part of it."""

    status, kind, reason = 400, _INVALID, "invalid"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = "invalid_value") -> None:
        super().__init__(message)
        self.param, self.code = param, code


class TooMany(Unclear):
    """There are more documents than one request may have."""

    status = 422


class UnknownModel(Unclear):
    """No model of that name is served."""

    status, reason = 404, "model_not_found"


class NoJson(Unclear):
    """The body says of itself that it is something else than JSON."""

    status = 415


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client is told, in the words of no dialect yet."""

    status: int
    kind: str
    message: str
    reason: str
    """What the metrics call it."""

    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def reply(self, *, tei: bool = False, path: str = "") -> Response:
        """Write it so that every client raises its own class; `tei` asks for the words of that dialect."""
        if tei:
            status, kind = _IN_TEI.get(self.status, (self.status, "backend"))
            if self.code == "empty":
                status, kind = 400, "empty"
            body = {"error": self.message, "error_type": kind}
        else:
            status = self.status
            code = error_code(path, self.status, self.code)
            body = error_body(self.message, kind=self.kind, param=self.param, code=code)
        return Response(write_json(body), status, headers=dict(self.headers), media_type="application/json")


# text-embeddings-inference says 424 when its model fails. It says 422 to what others call 400, but LiteLLM's client
# of it has no class for that, and takes it for something to be tried again.
_IN_TEI: Mapping[int, tuple[int, str]] = {
    400: (400, "validation"),
    413: (413, "validation"),
    415: (415, "validation"),
    422: (422, "validation"),
    429: (429, "overloaded"),
    500: (424, "backend"),
    502: (424, "backend"),
    503: (503, "unhealthy"),
}

_NOT_AS_IT_IS = "the model cannot take this request as it is; check its instruction and its documents"
_BEHIND = "the endpoint behind this model"
_UNEXPECTED = Refusal(500, _SERVER, "the server failed; its log says where", "internal", code="internal_error")

# Each error's first row counts. The words are ours: an error's own may hold a text, or say where a model lives.
_TABLE: tuple[tuple[type[BaseException], Refusal], ...] = (
    (InvalidInput, Refusal(400, _INVALID, _NOT_AS_IT_IS, "invalid", code="invalid_value")),
    (Overloaded, Refusal(429, "rate_limit_error", "too much work is waiting; try again later", "busy", code="busy")),
    (DeadlineExceeded, Refusal(504, "timeout_error", f"{_BEHIND} did not answer in time", "timeout", code="timeout")),
    (EndpointUnavailable, Refusal(503, _SERVER, f"{_BEHIND} takes no requests now", "endpoint", code="unavailable")),
    (EndpointError, Refusal(502, _SERVER, f"{_BEHIND} gave no usable answer", "endpoint", code="bad_gateway")),
    (ScoringFailed, Refusal(500, _SERVER, "the model could not score this request", "scoring", code="scoring_failed")),
    (TimeoutError, Refusal(504, "timeout_error", "the answer was not there in time", "timeout", code="timeout")),
)
_MAY_TRY_AGAIN = (429, 503)


def refusal(error: BaseException, *, retry_after_s: int = 1) -> Refusal:
    """
    Return what a client is told about `error`; the log is told when the server or its model is to blame.

    `retry_after_s` is said to those who may try again, where the error does not know better.
    """
    if isinstance(error, TurnedAway):
        param, code = (error.param, error.code) if isinstance(error, Unclear) else (None, error.reason)
        return Refusal(error.status, error.kind, str(error), error.reason, param, code, error.headers)
    if isinstance(error, EndpointRefused) and error.status in _ABOUT_THE_TEXTS:
        return Refusal(400, _INVALID, f"{_BEHIND} refused this request", "invalid", code="invalid_value")
    told = next((row for kind, row in _TABLE if isinstance(error, kind)), _UNEXPECTED)
    if told.status >= 500:
        logger.error("answered %d: %s", told.status, _trace(error))
    if told.status in _MAY_TRY_AGAIN:
        return replace(told, headers={"retry-after": str(max(1, retry_after_s))})
    return told


def not_here(status: int, headers: Mapping[str, str]) -> Response:
    """Answer a request for a path, or for a way to ask for it, that does not exist."""
    if status == 405:
        allowed = headers.get("Allow", "POST")
        told = Refusal(405, _INVALID, f"this path takes {allowed}", "route", None, "method_not_allowed", headers)
    elif status == 404:
        message = "there is no such path here; /openapi.json lists those that there are"
        told = Refusal(404, _INVALID, message, "route", None, "not_found", headers)
    else:
        told = Refusal(status, _INVALID if status < 500 else _SERVER, "the server refused", "route", headers=headers)
    return told.reply()


def _trace(error: BaseException) -> str:
    """Say what went wrong and where, without the errors' words: they may quote a text."""
    return ", because of ".join(f"{type(each).__name__}{_place(each)}" for each in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(4):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" ({trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno})"
