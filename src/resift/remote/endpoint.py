"""What `connect` was asked for: validated once, here, then only passed around."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from resift.amounts import seconds, whole
from resift.errors import InvalidInput
from resift.remote.dialects import Dialect, choose, routes
from resift.remote.key import VARIABLE, Secret, read_key
from resift.remote.scales import Conversion, Scores, conversion
from resift.remote.transport import Headers, is_async

_SECRET = ("key", "headers", "http_client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint, and how it is to be asked."""

    base_url: str
    model: str | None = None
    dialect: str = "auto"
    timeout_s: float = 60.0
    """How long a call may take, retries and all waiting included."""

    max_retries: int = 2
    max_documents_per_request: int | None = None
    max_concurrency: int = 8
    normalize: bool | None = None
    scores: Scores | None = None
    """What the endpoint returns where its dialect does not say."""

    instruction: str | None = None
    fields: tuple[str, ...] | None = None
    key: Secret | None = field(default=None, repr=False)
    headers: tuple[tuple[str, Secret], ...] = field(default=(), repr=False)
    http_client: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.model is not None and (not isinstance(self.model, str) or not self.model.strip()):
            raise InvalidInput(f"model must be the name by which the endpoint knows it, not {self.model!r}")
        seconds("timeout_s", self.timeout_s)
        whole("max_retries", self.max_retries, least=0)
        whole("max_concurrency", self.max_concurrency)
        if self.max_documents_per_request is not None:
            whole("max_documents_per_request", self.max_documents_per_request)
        if self.fields is not None and not self.fields:
            raise InvalidInput("fields names no field; leave it out to read all")
        if self.http_client is not None:
            is_async(self.http_client)
        self.conversion  # noqa: B018 - these say what is wrong with the address, the dialect and the scale
        self.urls  # noqa: B018
        if self.instruction is not None and not self.spoken.takes_instruction:
            raise InvalidInput(f"the {self.spoken.name} dialect has no place for an instruction; leave it out")

    def __reduce__(self) -> tuple[Any, ...]:
        if self.http_client is not None or self.headers:
            named = "http_client" if self.http_client is not None else "headers"
            raise InvalidInput(f"a ranker with {named}=... cannot be pickled; connect where it is needed")
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in _SECRET}
        return _restore, (values, self.key is not None)

    def __deepcopy__(self, memo: object) -> "Endpoint":
        return self

    @property
    def name(self) -> str:
        """What the endpoint's model is called; the host where none was named."""
        return self.model or self.host

    @property
    def spoken(self) -> Dialect:
        """The dialect that is really spoken."""
        return choose(self.dialect, self.base_url)

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses to try."""
        return routes(self.spoken, self.base_url, self.model)

    @property
    def conversion(self) -> Conversion:
        """What happens to the endpoint's scores."""
        return conversion(self.spoken, normalize=self.normalize, scores=self.scores, model=self.model)

    @property
    def host(self) -> str:
        """The host, and the port where one is named."""
        return urlsplit(self.base_url).netloc

    def head(self, spoken: Dialect) -> Headers:
        """Return the headers of a request, with all that is secret: for the wire, never to be kept."""
        found = {name.lower(): (name, value) for name, value in (_ours() | dict(spoken.headers)).items()}
        if self.key is not None:
            found[spoken.key_header.lower()] = (spoken.key_header, spoken.key_format.format(key=self.key.reveal()))
        found |= {name.lower(): (name, value.reveal()) for name, value in self.headers}
        return [(name.encode("ascii"), value.encode("latin-1")) for name, value in found.values()]

    def secrets(self) -> list[str]:
        """Return what no message may repeat."""
        return [secret.reveal() for secret in (self.key, *(value for _, value in self.headers)) if secret is not None]


def has_own_key(dialect: Dialect, headers: Mapping[str, str] | None, http_client: Any) -> bool:
    """Whether a caller's headers or client bring a key already, so that none is looked for in the environment."""
    name = dialect.key_header.lower()
    if isinstance(headers, Mapping) and any(isinstance(given, str) and given.lower() == name for given in headers):
        return True
    return http_client is not None and (
        getattr(http_client, "auth", None) is not None or name in getattr(http_client, "headers", ())
    )


@cache
def _ours() -> dict[str, str]:
    from importlib.metadata import version

    return {
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # replies are numbers: packing them costs more than it saves
        "Content-Type": "application/json",
        "User-Agent": f"resift/{version('resift')}",
    }


def _restore(values: Mapping[str, Any], had_key: bool) -> Endpoint:  # noqa: FBT001 - pickles name no arguments
    """Return an endpoint from a pickle, which holds no key: it is taken from the environment."""
    key = read_key(None) if had_key else None
    if had_key and key is None:
        raise InvalidInput(f"this ranker was pickled without its key, as all are; set {VARIABLE} where it is unpickled")
    return Endpoint(**values, key=key)
