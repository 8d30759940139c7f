"""The dialects of rerank endpoints as data: one row per dialect, one per known host, and the URLs that follow."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import SplitResult, quote, urlsplit

from resift.errors import InvalidInput
from resift.settings import hint
from resift.wire import shapes
from resift.wire.shapes import Shape

Scale = Literal["probabilities", "logits", "unknown"]

_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?")
_WHOLE = re.compile(  # how a whole route ends; DashScope's has "/services/rerank" in its middle
    r"(?:(?<!/services)/rerank|/reranks|/reranking|/ranking|/text-rerank/text-rerank)\Z"
)
_MODEL_ROUTE = re.compile(r"/v1/inference/.")
_UNFIT = re.compile(r"[\s\\\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of endpoint is spoken to. Places are dotted paths, as in `Shape`."""

    name: str
    shape: Shape
    routes: tuple[str, ...]
    """The paths to try, in this order; "{model}" stands for the model's name."""

    scale: Scale = "unknown"
    """What its scores are when a request asks for nothing else."""

    max_documents: int | None = None
    max_bytes: int | None = None
    """How large the body of one request may be."""

    key_header: str = "Authorization"
    key_format: str = "Bearer {key}"
    headers: tuple[tuple[str, str], ...] = ()
    """What goes into the head of every request."""

    members: tuple[tuple[str, Any], ...] = ()
    """What goes into the body of every request: places and values."""

    cutting: tuple[str, Any] | None = None
    """The place and value that let texts that are too long be cut instead of refused."""

    cuts_unasked: tuple[str, ...] = ()
    """How the names of the models begin that cut by themselves and refuse `cutting`."""

    knob: tuple[tuple[bool | None, tuple[str, Any]], ...] = ()
    """By `normalize`, the place and value that ask for such scores, where the dialect lets one ask."""

    dotless: bool = False
    """Whether a model's name has "_" for each "." in the URL."""

    dead_ends: tuple[str, ...] = ()
    """What a base URL may end in that leads to the vendor's other services, but not to this one."""

    @property
    def takes_instruction(self) -> bool:
        """Whether a request has a place for an instruction."""
        return self.shape.instruction is not None


# Nobody publishes the limits of all who speak it; these are below the smallest known ones of servers that people run.
OPENAI = Dialect("openai", shapes.FLAT, ("/v1/rerank", "/rerank"), max_documents=1000, max_bytes=8_000_000)
COHERE = Dialect("cohere", shapes.COHERE, ("/v2/rerank",), scale="probabilities", max_documents=1000)
VOYAGE = Dialect(
    "voyage",
    shapes.VOYAGE,
    ("/v1/rerank",),
    scale="probabilities",
    max_documents=1000,
    cutting=("truncation", True),
)
MIXEDBREAD = Dialect("mixedbread", shapes.MIXEDBREAD, ("/v1/reranking",))
TEI = Dialect(
    "tei",
    shapes.TEI,
    ("/rerank",),
    scale="probabilities",
    max_documents=32,
    max_bytes=2_000_000,
    cutting=("truncate", True),
    knob=((True, ("raw_scores", False)), (False, ("raw_scores", True))),
)
NVIDIA = Dialect(
    "nvidia", shapes.NVIDIA, ("/v1/ranking",), scale="logits", max_documents=512, cutting=("truncate", "END")
)
PINECONE = Dialect(
    "pinecone",
    shapes.PINECONE,
    ("/rerank",),
    scale="probabilities",
    max_documents=100,
    key_header="Api-Key",
    key_format="{key}",
    headers=(("X-Pinecone-Api-Version", "2026-07"),),
    members=(("return_documents", False),),
    cutting=("parameters.truncate", "END"),
    cuts_unasked=("cohere",),
)
DASHSCOPE = Dialect(
    "dashscope",
    shapes.DASHSCOPE,
    ("/api/v1/services/rerank/text-rerank/text-rerank",),
    scale="probabilities",
    max_documents=500,
)
DEEPINFRA = Dialect(
    "deepinfra", shapes.DEEPINFRA, ("/v1/inference/{model}",), scale="probabilities", dead_ends=("/openai",)
)
RESIFT = Dialect(
    "resift",
    shapes.FLAT,
    ("/v1/rerank",),
    max_documents=1000,
    max_bytes=32 * 2**20,
    knob=((None, ("scores", "own")), (True, ("scores", "normalized")), (False, ("scores", "raw"))),
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            OPENAI,
            COHERE,
            VOYAGE,
            MIXEDBREAD,
            TEI,
            NVIDIA,
            PINECONE,
            DASHSCOPE,
            DEEPINFRA,
            RESIFT,
        )
    }
)


_V1 = replace(OPENAI, routes=("/v1/rerank",))
_DASHSCOPE_FLAT = replace(
    DASHSCOPE,
    name="openai",
    shape=shapes.DASHSCOPE_FLAT,
    routes=("/compatible-api/v1/reranks",),
    dead_ends=("/compatible-mode/v1", "/compatible-mode"),
)


@dataclass(frozen=True, slots=True)
class _Host:
    """A vendor's hosts, and what is spoken there; `under` is what the path has to hold."""

    pattern: str
    dialect: Dialect
    under: str = ""


_HOSTS = (
    _Host("api.cohere.com", COHERE),
    _Host("api.cohere.ai", COHERE),
    _Host("api.jina.ai", replace(_V1, scale="probabilities")),
    _Host("api.voyageai.com", VOYAGE),
    _Host("ai.mongodb.com", VOYAGE),
    _Host("api.mixedbread.com", MIXEDBREAD),
    _Host("api.mixedbread.ai", MIXEDBREAD),
    _Host("api.pinecone.io", PINECONE),
    _Host("dashscope*.aliyuncs.com", _DASHSCOPE_FLAT, under="/compatible-"),
    _Host("dashscope*.aliyuncs.com", DASHSCOPE),
    _Host("*.maas.aliyuncs.com", _DASHSCOPE_FLAT, under="/compatible-"),
    _Host("*.maas.aliyuncs.com", DASHSCOPE),
    _Host("api.deepinfra.com", DEEPINFRA),
    _Host("ai.api.nvidia.com", replace(NVIDIA, routes=("/v1/retrieval/{model}/reranking",), dotless=True)),
    _Host("integrate.api.nvidia.com", NVIDIA),
    _Host("api.siliconflow.cn", _V1),
    _Host("api*.siliconflow.com", _V1),
    _Host("api.together.xyz", _V1),
    _Host("api.together.ai", _V1),
    _Host("openrouter.ai", replace(OPENAI, routes=("/api/v1/rerank",))),
    _Host("api.fireworks.ai", replace(OPENAI, routes=("/inference/v1/rerank",))),
    _Host("api.novita.ai", replace(OPENAI, routes=("/openai/v1/rerank",))),
    _Host("ai-gateway.vercel.sh", _V1),
    _Host("api.scaleway.ai", _V1),
)


def choose(name: str, base_url: str) -> Dialect:
    """
    Return the dialect called `name`, with what is known of the host; "auto" is what the host or the route is known for.

    Where nothing is known, "auto" is `openai`, the flat shape that most servers speak.
    """
    if not isinstance(name, str) or (name != "auto" and name not in DIALECTS):
        names = ("auto", *DIALECTS)
        raise InvalidInput(f"dialect={name!r} is not known; {hint(name, names)}")
    base = _Base.read(base_url)
    for host in _HOSTS:
        if fnmatchcase(base.host, host.pattern) and host.under in base.path and name in ("auto", host.dialect.name):
            return host.dialect
    return DIALECTS[_of_route(base.path) if name == "auto" else name]


def routes(dialect: Dialect, base_url: str, model: str | None) -> tuple[str, ...]:
    """Return the full URLs to try, in order; only the base itself where it is a whole route already."""
    base = _Base.read(base_url)
    whole = _MODEL_ROUTE if dialect is DEEPINFRA else _WHOLE
    if whole.search(base.path):
        return (base.origin + base.path,)
    known = [_named(route, dialect, model) for route in dialect.routes if model is not None or "{model}" not in route]
    if not known:
        raise InvalidInput(f"the {dialect.name} dialect puts the model into the URL; say which with model=...")
    path = _without_dead_end(base.path, dialect.dead_ends)
    return tuple(dict.fromkeys(base.origin + _joined(path, route) for route in known))


@dataclass(frozen=True, slots=True)
class _Base:
    """A base URL, taken apart and found fit to carry a key."""

    origin: str
    host: str
    path: str
    """Empty, or beginning with a slash; never ending in one."""

    @classmethod
    def read(cls, base_url: str) -> "_Base":
        """Take `base_url` apart, or say why it is none; what may be a secret in it is never shown."""
        if not isinstance(base_url, str):
            raise InvalidInput(f"base_url must be a str, not {type(base_url).__name__}")
        if not base_url or _UNFIT.search(base_url):
            raise InvalidInput("base_url must be a URL without blanks, such as 'http://127.0.0.1:8000'")
        parts = _split(base_url)
        path = "".join("/" + part for part in parts.path.split("/") if part)
        return cls(f"{parts.scheme}://{parts.netloc.rstrip(':')}", (parts.hostname or "").rstrip("."), path)


def _split(base_url: str) -> SplitResult:
    is_address = "@" not in base_url and (":" in base_url or "/" in base_url)
    shown = f"base_url={base_url!r}" if is_address else "base_url"  # it may hold a password, or be a key by mistake
    if "?" in base_url or "#" in base_url:
        raise InvalidInput("base_url must have no query and no fragment; pass the key as api_key=...")
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput(f"{shown} is no URL; check its host and port") from None
    if "@" in parts.netloc:
        raise InvalidInput("base_url must have no user name and no password; pass the key as api_key=...")
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidInput(f"{shown} must begin with http:// or https:// and a host")
    return parts


def _of_route(path: str) -> str:
    if path.endswith("/v1/ranking") or "/retrieval/" in path:
        return "nvidia"
    if path.endswith("/text-rerank/text-rerank"):
        return "dashscope"
    return "deepinfra" if _MODEL_ROUTE.search(path) else "openai"


def _without_dead_end(path: str, dead_ends: tuple[str, ...]) -> str:
    for ending in dead_ends:
        if path.endswith(ending):
            return path.removesuffix(ending)
    return path


def _named(route: str, dialect: Dialect, model: str | None) -> str:
    if model is None or "{model}" not in route:
        return route
    if any(part in ("", ".", "..") for part in model.split("/")):
        raise InvalidInput(f"model={model!r} cannot stand in a URL; check how it is spelt")
    return route.replace("{model}", quote(model.replace(".", "_") if dialect.dotless else model, safe="/:"))


def _joined(path: str, route: str) -> str:
    """
    Continue `path` with what it lacks of `route`.

    A path that ends as the route begins is not said twice, and one that ends in a version keeps its own.
    """
    have, want = path.split("/")[1:], route.split("/")[1:]
    for shared in range(min(len(have), len(want)), 0, -1):
        if have[-shared:] == want[:shared]:
            return "/".join(["", *have, *want[shared:]])
    if have and _VERSION.fullmatch(have[-1]):
        versions = [at for at, part in enumerate(want) if _VERSION.fullmatch(part)]
        want = want[versions[0] + 1 :] if versions else want
    return "/".join(["", *have, *want])
