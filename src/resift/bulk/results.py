"""What became of one row."""

from dataclasses import dataclass

from resift.bulk.rows import Row
from resift.types import Ranking


@dataclass(frozen=True, slots=True)
class Result:
    """The best documents of a row by their places, or why there are none."""

    row: Row
    hits: tuple[tuple[int, float], ...] = ()
    truncated: int = 0
    missing: tuple[int, ...] = ()
    fault: str | None = None

    @property
    def is_partial(self) -> bool:
        """Whether a document got no score, or none did."""
        return bool(self.missing) or self.fault is not None


def of_ranking(row: Row, ranking: Ranking) -> Result:
    """Return the result that a ranking is."""
    hits = tuple((hit.index, float(hit.score)) for hit in ranking)
    return Result(row, hits, ranking.truncated, tuple(ranking.missing))


def of_fault(row: Row, fault: str) -> Result:
    """Return the result of a row that could not be ranked."""
    return Result(row, fault=fault)
