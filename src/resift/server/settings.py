"""How a server is to behave: validated once, here, then only passed around."""

import ipaddress
from dataclasses import dataclass, field

from resift.amounts import seconds, whole
from resift.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What `resift serve` was asked for, apart from its models."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """Any of these opens the scoring routes; none means that they are open to everybody."""

    public: bool = False
    """Whether a public address may be served without a key."""

    accept_any_model: bool = False
    """Whether a request that names an unknown model is answered by the first one."""

    max_documents: int = 1000
    max_body_bytes: int = 32 * 2**20
    max_requests: int = 256
    """How many scoring requests are in the house at once; one more is refused with 429."""

    max_bytes_at_once: int = 256 * 2**20
    """How many bytes of bodies are kept at once; a request that needs more is refused with 429."""

    open_metrics: bool = False
    """Whether /metrics is shown to everybody although there are keys."""

    timeout_s: float = 60.0
    """How long one request may take before it is given up with 504."""

    body_timeout_s: float = 15.0
    """How long a client may take to send its request."""

    drain_s: float = 30.0
    """How long the answers under way may take after the first SIGTERM."""

    @property
    def is_reachable(self) -> bool:
        """Whether other machines can reach the address."""
        return not is_loopback(self.host)

    def __post_init__(self) -> None:
        for name in ("max_documents", "max_body_bytes", "max_requests", "max_bytes_at_once"):
            whole(name, getattr(self, name))
        for name in ("timeout_s", "body_timeout_s", "drain_s"):
            seconds(name, getattr(self, name))
        _require_keys(self.api_keys)
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise InvalidInput(f"port must be a whole number up to 65535, not {self.port!r}")
        if not self.api_keys and not self.public and self.is_reachable:
            raise InvalidInput(
                f"{self.host!r} can be reached from other machines, and there is no key; "
                "set one (--api-key), listen on 127.0.0.1, or say that it is meant so (--public)"
            )


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a server that listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_keys(keys: tuple[str, ...]) -> None:
    for at, key in enumerate(keys):
        if not key or not all(" " < letter < "\x7f" for letter in key):  # what a header carries unchanged
            raise InvalidInput(f"API key {at + 1} must be visible ASCII without blanks, and not empty")
