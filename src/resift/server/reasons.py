"""Why the server turns a request away: each reason knows its status, its headers and its name in the metrics."""

from collections.abc import Mapping

from resift.errors import Overloaded, ResiftError


class TurnedAway(ResiftError):
    """The server does not take this request, or gives it up."""

    status = 500
    kind = "server_error"
    """What the reply's `type` says."""

    reason = "internal"
    """What the metrics call it."""

    closes = False
    """Whether the connection is of no more use."""

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> Mapping[str, str]:
        """What the reply's headers say beside its length and type."""
        found: dict[str, str] = {}
        if self.retry_after_s is not None:
            found["retry-after"] = str(max(1, self.retry_after_s))
        if self.closes:
            found["connection"] = "close"
        return found


class KeyRefused(TurnedAway):
    """No key came with the request, or an unknown one."""

    status, kind, reason = 401, "authentication_error", "key"

    @property
    def headers(self) -> Mapping[str, str]:
        """Say which kind of key is wanted, as RFC 9110 asks."""
        return {**super().headers, "www-authenticate": "Bearer"}


class Ambiguous(TurnedAway):
    """The head says twice, and differently, where the body ends; a proxy may have read another request in it."""

    status, kind, reason, closes = 400, "invalid_request_error", "invalid", True


class TooLarge(TurnedAway):
    """The body has more bytes than the server reads."""

    status, kind, reason, closes = 413, "invalid_request_error", "too_large", True


class TooSlow(TurnedAway):
    """The client did not send its request in time."""

    status, kind, reason, closes = 408, "timeout_error", "too_slow", True


class GivenUp(TurnedAway):
    """The answer was not there within `timeout_s`."""

    status, kind, reason = 504, "timeout_error", "timeout"


class Busy(TurnedAway, Overloaded):
    """Too many requests, or too many bytes of them, are in the house already."""

    status, kind, reason = 429, "rate_limit_error", "busy"


class Loading(TurnedAway):
    """The models are not loaded yet."""

    status, kind, reason = 503, "server_error", "loading"


class Leaving(TurnedAway):
    """The server is about to end."""

    status, kind, reason, closes = 503, "server_error", "leaving", True


class Gone(TurnedAway):
    """The client left; nobody reads what would be answered."""

    status, kind, reason, closes = 499, "client_gone", "gone", True


class Fault(TurnedAway):
    """Something in the server itself went wrong; what it was stands in the log, not in the reply."""
