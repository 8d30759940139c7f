"""resift: put documents in order of relevance, with the same scores wherever they are computed."""

from resift.api import load, open  # noqa: A004 - `resift.open` reads as `os.open` does
from resift.errors import (
    InvalidInput,
    MissingDependency,
    ModelNotFound,
    ModelUnsupported,
    Overloaded,
    ResiftError,
    ScoringFailed,
)
from resift.local import LocalRanker
from resift.settings import Prompt
from resift.types import Document, Ranked, Ranker, Ranking, Usage

__all__ = [
    "Document",
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
    "ResiftError",
    "ScoringFailed",
    "Usage",
    "load",
    "open",
]
