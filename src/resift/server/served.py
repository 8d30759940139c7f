"""A model behind the endpoint: its name, and the rankers that answer for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from resift.errors import InvalidInput
from resift.types import Ranker

Scores = Literal["normalized", "raw", "own"]
"""In [0, 1]; before any sigmoid; or as the ranker was loaded to return them."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One model, and a ranker for each kind of scores that it can give; all of them share what is loaded."""

    name: str
    rankers: dict[Scores, Ranker]
    default: Scores
    """The kind that is meant where a request does not say."""

    def ranker(self, scores: Scores | None) -> tuple[Ranker, Scores]:
        """Return the ranker for a kind of scores, and which kind it really gives."""
        kind = scores if scores in self.rankers else self.default
        return self.rankers[kind], kind


_KINDS: dict[Scores, bool | None] = {"own": None, "normalized": True, "raw": False}


def open_served(name: str, opened: Callable[[bool | None], Ranker], *, default: Scores = "normalized") -> Served:
    """
    Open a ranker for each kind of scores, and serve them under one name; `opened` is given the `normalize` of each.

    Where a model has no such scores, they are its own.
    """
    rankers: dict[Scores, Ranker] = {}
    try:
        for kind, normalize in _KINDS.items():
            try:
                rankers[kind] = opened(normalize)
            except InvalidInput:
                if normalize is None:
                    raise
    except BaseException:
        close_all(rankers.values())
        raise
    return Served(name, rankers, default if default in rankers else "own")


def close_all(rankers: Iterable[Ranker]) -> None:
    """Close each ranker once."""
    for ranker in {id(ranker): ranker for ranker in rankers}.values():
        ranker.close()
