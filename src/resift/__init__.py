"""
resift: put documents in order of relevance, with the same scores wherever they are computed.

Each name is imported when it is first asked for, so that a program pays for what it uses and no more.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resift.api import connect, load, open  # noqa: A004 - `resift.open` reads as `os.open` does
    from resift.compose.cached import cached
    from resift.compose.cascade import cascade
    from resift.compose.fallback import fallback
    from resift.compose.wrapping import ComposedRanker
    from resift.errors import (
        DeadlineExceeded,
        EndpointError,
        EndpointMisbehaved,
        EndpointRefused,
        EndpointUnavailable,
        InvalidInput,
        MissingDependency,
        ModelNotFound,
        ModelUnsupported,
        Overloaded,
        ResiftError,
        ScoringFailed,
    )
    from resift.local import LocalRanker
    from resift.remote.ranker import RemoteRanker
    from resift.settings import Prompt
    from resift.types import Described, Document, Ranked, Ranker, Ranking, Usage

__all__ = [
    "ComposedRanker",
    "DeadlineExceeded",
    "Described",
    "Document",
    "EndpointError",
    "EndpointMisbehaved",
    "EndpointRefused",
    "EndpointUnavailable",
    "InvalidInput",
    "LocalRanker",
    "MissingDependency",
    "ModelNotFound",
    "ModelUnsupported",
    "Overloaded",
    "Prompt",
    "Ranked",
    "Ranker",
    "Ranking",
    "RemoteRanker",
    "ResiftError",
    "ScoringFailed",
    "Usage",
    "cached",
    "cascade",
    "connect",
    "fallback",
    "load",
    "open",
]

_ROOMS = {
    "resift.api": ("connect", "load", "open"),
    "resift.compose.cached": ("cached",),
    "resift.compose.cascade": ("cascade",),
    "resift.compose.fallback": ("fallback",),
    "resift.compose.wrapping": ("ComposedRanker",),
    "resift.local": ("LocalRanker",),
    "resift.remote.ranker": ("RemoteRanker",),
    "resift.settings": ("Prompt",),
    "resift.types": ("Described", "Document", "Ranked", "Ranker", "Ranking", "Usage"),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}


if not TYPE_CHECKING:  # a type checker knows all names, and says which are misspelt

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'resift' has no attribute {name!r}")
        found = getattr(import_module(_HOMES.get(name, "resift.errors")), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING", "import_module"})
