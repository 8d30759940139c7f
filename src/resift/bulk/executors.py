"""Who runs the shards: this process, or whatever else can call a function and hand back bytes."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Protocol

from resift.bulk.jobs import Job
from resift.bulk.scoring import Advance, Scored, ShardScorer
from resift.bulk.sources import Shard
from resift.local import place_of
from resift.types import Described, Ranker


class Executor(Protocol):
    """Runs shards of a job, in any order, each at least once: outputs of one shard are equal."""

    def identity(self, job: Job) -> str:
        """Return all that scores depend on besides the texts, as the ranker says it."""

    def runs_on(self, job: Job) -> str | None:
        """Return what runs the model, and where; None if that is not known."""

    def run(self, job: Job, shards: Sequence[Shard], advance: Advance) -> Iterator[Scored]:
        """Yield the outputs as they are there."""

    def close(self) -> None:
        """Let go of what was opened."""


class LocalExecutor:
    """Runs shards one after the other in this process, with one ranker."""

    def __init__(self) -> None:
        self._ranker: Ranker | None = None

    def identity(self, job: Job) -> str:
        """Ask the ranker."""
        ranker = self._opened(job)
        return ranker.identity if isinstance(ranker, Described) else ranker.model

    def runs_on(self, job: Job) -> str | None:
        """Ask the ranker."""
        return place_of(self._opened(job))

    def run(self, job: Job, shards: Sequence[Shard], advance: Advance) -> Iterator[Scored]:
        """Yield the outputs in order."""
        with closing(job.source.reader()) as reader:
            scorer = ShardScorer(reader, self._opened(job), job.how)
            for shard in shards:
                yield scorer(shard, advance)

    def close(self) -> None:
        """Close the ranker."""
        if self._ranker is not None:
            self._ranker.close()
            self._ranker = None

    def _opened(self, job: Job) -> Ranker:
        if self._ranker is None:
            self._ranker = job.open_ranker()
        return self._ranker
