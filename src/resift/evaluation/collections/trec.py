"""A TREC run with its qrels, and the texts where they are known."""

import os
from pathlib import Path

from resift.errors import InvalidInput
from resift.evaluation.collection import Collection
from resift.evaluation.collections.entries import read_documents, read_queries, rows_of
from resift.evaluation.collections.judgements import read_judgements
from resift.evaluation.runs import read_run


def read_trec(
    run: str | os.PathLike[str],
    qrels: str | os.PathLike[str],
    *,
    queries: str | os.PathLike[str] | None = None,
    documents: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> Collection:
    """
    Read a first stage's run with its judgements; each file may be gzipped.

    Runs can be measured without any text. A ranker needs `queries` and `documents`: JSON objects on lines, with `_id`
    and `text`, or `id`, tab, `text`.

    Raises:
        InvalidInput: a file that is not what it should be; the message says where and why.
    """
    if (queries is None) is not (documents is None):
        raise InvalidInput("a ranker needs the texts of both, queries=... and documents=...; give both or none")
    judgements = read_judgements(Path(qrels))
    return Collection(
        name=name or Path(qrels).name.split(".")[0],
        queries=dict.fromkeys(judgements, "?") if queries is None else read_queries(rows_of(Path(queries))),
        documents={} if documents is None else read_documents(rows_of(Path(documents))),
        judgements=judgements,
        first_stage=read_run(run),
    )
