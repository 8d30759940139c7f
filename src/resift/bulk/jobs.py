"""A job: all that a worker, wherever it is, needs to know."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from resift.bulk.scoring import How
from resift.bulk.sources import Source
from resift.types import Ranker


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be ranked, by what, and how. It can be pickled if what opens the ranker can."""

    source: Source
    open_ranker: Callable[[], Ranker]
    model: str
    """What the model is called, known without opening it."""

    how: How = field(default_factory=How)
    shard_size: int = 256
    """Rows of a shard: what is lost, at most, when the work is killed."""

    @property
    def settings(self) -> dict[str, Any]:
        """
        All that the output depends on besides input and model, as plain values.

        Whether bad rows are skipped is not in it: files that are finished are the same, so that a job which a bad row
        has stopped can go on without it.
        """
        how = {name: value for name, value in asdict(self.how).items() if name != "skip"}
        names = asdict(self.source.names)
        return {"names": names, "how": how, "shard_size": self.shard_size, "model": self.model}
