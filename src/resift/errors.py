"""
Every error resift raises on purpose.

    ResiftError
    ├── InvalidInput (also ValueError)         the caller's argument cannot mean anything
    ├── ModelNotFound                          no such model, or its files are missing or damaged
    ├── ModelUnsupported                       the model is there, but it cannot rank as it is
    ├── MissingDependency (also ImportError)   an extra is needed; the message names it
    ├── ScoringFailed                          the model could not score this call
    ├── Overloaded                             too much work is waiting; try again later
    └── EndpointError                          a rerank endpoint gave no answer to this call
        ├── EndpointUnavailable                it cannot be reached, or takes no more work now
        ├── EndpointRefused                    it will not take this call, whoever asks again (4xx)
        ├── EndpointMisbehaved                 its reply cannot be trusted
        └── DeadlineExceeded (also TimeoutError)   no answer within `timeout_s`

A message says what is wrong, shows the value and says what to do; never a key, never a document's text.
"""


class ResiftError(Exception):
    """Anything resift raises on purpose."""


class InvalidInput(ResiftError, ValueError):
    """An argument that cannot mean anything."""


class ModelNotFound(ResiftError):
    """No such model, or its files are missing or damaged."""


class ModelUnsupported(ResiftError):
    """The model was found, but it cannot rank as it is."""


class MissingDependency(ResiftError, ImportError):
    """An optional dependency is needed; the message names the extra that brings it."""


class ScoringFailed(ResiftError):
    """The model could not score this call."""


class Overloaded(ResiftError):
    """Too much work is waiting already; nothing was accepted."""


class EndpointError(ResiftError):
    """A rerank endpoint gave no answer to this call."""

    def __init__(self, message: str, *, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status of the reply, if there was one."""

        self.request_id = request_id
        """What the endpoint calls this request, for a word with whoever runs it."""


class EndpointUnavailable(EndpointError):
    """The endpoint cannot be reached, or takes no more work now (429, 503, ...); later it may."""


class EndpointRefused(EndpointError):
    """The endpoint will not take this call, however often it is asked: the key, the route, the model or the texts."""


class EndpointMisbehaved(EndpointError):
    """The endpoint's reply cannot be trusted: it is no JSON, or its indices or scores are not what they must be."""


class DeadlineExceeded(EndpointError, TimeoutError):
    """The endpoint gave no answer within `timeout_s`, retries included."""
