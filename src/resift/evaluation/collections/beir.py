"""Folders as BEIR has them, with what is useful beside: a first stage's run, and the pools that judges saw."""

import os
from pathlib import Path

from resift.errors import InvalidInput
from resift.evaluation.collection import Collection
from resift.evaluation.collections.entries import read_documents, read_queries
from resift.evaluation.collections.judgements import read_judgements
from resift.evaluation.collections.lines import find, read_columns, read_objects, require
from resift.evaluation.runs import Listing, Run, read_run

_RUNS = ("*.run", "*.run.gz", "*.trec", "*.trec.gz")


def read_beir(
    folder: str | os.PathLike[str],
    *,
    split: str = "test",
    run: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> Collection:
    """
    Read a folder in BEIR's layout; each file may be gzipped.

    `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv` or `qrels.tsv` are needed. A single `*.run` is the first
    stage; `run` names it where there are several. `candidates.tsv` is the pool.

    Raises:
        InvalidInput: a folder that is none, or a file that is not what it should be; the message says where and why.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InvalidInput(f"there is no folder {str(folder)!r}")
    pool = find(root, "candidates.tsv")
    first_stage = Path(run) if run is not None else _only_run(root)
    return Collection(
        name=name or root.resolve().name,
        queries=read_queries(read_objects(require(root, "queries.jsonl"))),
        documents=read_documents(read_objects(require(root, "corpus.jsonl"))),
        judgements=read_judgements(require(root, f"qrels/{split}.tsv", "qrels.tsv")),
        first_stage=None if first_stage is None else read_run(first_stage),
        pool=None if pool is None else _read_pool(pool),
    )


def _only_run(folder: Path) -> Path | None:
    found = sorted(path for pattern in _RUNS for path in folder.glob(pattern))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InvalidInput(f"{folder} has several runs ({names}); name the first stage with run=...")
    return found[0] if found else None


def _read_pool(path: Path) -> Run:
    pools: dict[str, dict[str, None]] = {}
    for number, (place, (query, document)) in enumerate(read_columns(path, 2)):
        if number == 0 and query.endswith("query-id"):
            continue  # the titles of the columns
        if document in pools.setdefault(query, {}):
            raise InvalidInput(f"{place} has the document {document!r} for {query!r} a second time")
        pools[query][document] = None
    return Run("pool", {query: Listing.unordered(list(pool)) for query, pool in pools.items()})
