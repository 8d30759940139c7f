"""resift: put documents in order of relevance, with the same scores wherever they are computed."""

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
