"""A job from its plan to its last file."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.amounts import whole
from resift.bulk.encoding import count_partial, require_encoder
from resift.bulk.executors import Executor, LocalExecutor
from resift.bulk.folder import Folder
from resift.bulk.jobs import Job
from resift.bulk.sources import Plan
from resift.errors import InvalidInput


@dataclass(slots=True)
class Tally:
    """How far a job is."""

    rows: int = 0
    """How many rows there are."""

    shards: int = 0
    found: int = 0
    """Rows that an earlier run had done."""

    done: int = 0
    """Rows that this run has done."""

    documents: int = 0
    """Documents that this run has ranked."""

    partial: int = 0
    """Rows that have not all of their results, in all files that are finished."""


def run_bulk(
    job: Job,
    folder: str | Path,
    *,
    executor: Executor | None = None,
    overwrite: bool = False,
    told: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """
    Rank what is not ranked yet, and return how far the job is then.

    Args:
        job: what is to be done.
        folder: where the outputs are; made if need be. What an earlier run of the same job left is kept.
        executor: who runs the shards; this process if not given.
        overwrite: delete what another job, or this one, left there.
        told: called with the tally whenever it has changed.

    Raises:
        InvalidInput: the input cannot be read, or the folder is another job's.
    """
    whole("shard_size", job.shard_size)
    require_encoder(job.how.output)
    plan = job.source.plan(job.shard_size)
    if not plan.shards:
        raise InvalidInput("the input has no rows; check that it is the right file")
    target = Folder(Path(folder), job.how.output)
    with target.held(), closing(LocalExecutor() if executor is None else executor) as runner:
        if overwrite:
            target.clear()
        found = target.read_manifest()
        if found is not None:
            target.require_same(found, _about(job, plan))
        return _run(job, plan, target, runner=runner, found=found, told=told)


def _run(
    job: Job,
    plan: Plan,
    target: Folder,
    *,
    runner: Executor,
    found: dict[str, Any] | None,
    told: Callable[[Tally], None],
) -> Tally:
    done = [shard for shard in plan.shards if target.part(shard.number).exists()]
    left = [shard for shard in plan.shards if not target.part(shard.number).exists()]
    tally = Tally(rows=plan.rows, shards=len(plan.shards), found=sum(shard.rows for shard in done))
    tally.partial = sum(count_partial(target.part(shard.number), job.how.output) for shard in done)
    told(tally)
    if not left:
        return tally
    opened = {"identity": _readable(runner.identity(job)), "runs_on": runner.runs_on(job)}
    if found is None:
        target.write_manifest({**_about(job, plan), **opened})
    else:
        target.require_same(found, opened)

    def advance(rows: int, documents: int) -> None:
        tally.done += rows
        tally.documents += documents
        told(tally)

    for scored in runner.run(job, left, advance):
        target.write(target.part(scored.shard.number).name, scored.content)
        tally.partial += scored.partial
    return tally


def _about(job: Job, plan: Plan) -> dict[str, Any]:
    """Return all that the files depend on but for the model's own state, which only a ranker knows."""
    given = {"bytes": plan.bytes, "sha256": plan.sha256, "rows": plan.rows}
    return {"input": given, **job.settings, "shards": len(plan.shards)}


def _readable(identity: str) -> Any:
    """Return an identity that is JSON as the values that it writes, so that a person can compare two."""
    try:
        return json.loads(identity)
    except ValueError:
        return identity
