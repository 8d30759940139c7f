"""
Ranking files of many queries, so that whatever happens meanwhile, running it again ends with the same files.

A file is planned as shards; a shard's output is a function of the shard alone, and is written as one file, whole or not
at all. `run_bulk` lets an executor do that for the shards that are not there yet.
"""

from resift.bulk.encoding import Output
from resift.bulk.executors import Executor, LocalExecutor
from resift.bulk.jobs import Job
from resift.bulk.rows import Names
from resift.bulk.running import Tally, run_bulk
from resift.bulk.scoring import How, Scored, ShardScorer
from resift.bulk.sources import Plan, Shard, Source, source_of

__all__ = [
    "Executor",
    "How",
    "Job",
    "LocalExecutor",
    "Names",
    "Output",
    "Plan",
    "Scored",
    "Shard",
    "ShardScorer",
    "Source",
    "Tally",
    "run_bulk",
    "source_of",
]
