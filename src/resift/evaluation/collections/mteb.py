"""MTEB's reranking layout on a disk: one folder for each of its configurations, in Parquet or JSON lines."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resift.errors import InvalidInput, MissingDependency
from resift.evaluation.collection import Collection
from resift.evaluation.collections.entries import Rows, entry_id, read_documents, read_queries
from resift.evaluation.collections.judgements import add
from resift.evaluation.collections.lines import read_objects
from resift.evaluation.runs import Listing, Run

_QRELS = ("qrels", "default", "data")


def read_mteb(
    folder: str | os.PathLike[str], *, subset: str | None = None, split: str = "test", name: str | None = None
) -> Collection:
    """
    Read a local copy of one of MTEB's reranking data sets.

    It has the folders `corpus`, `queries`, `qrels` (or `default`) and `top_ranked`, with `subset-` before these names
    where there are subsets. `top_ranked` becomes the pool. Parquet needs the extra `eval`.

    Raises:
        InvalidInput: a folder that is none, or a file that is not what it should be; the message says where and why.
        MissingDependency: there is Parquet to read, and nothing that reads it.
    """
    root, before = Path(folder), "" if subset is None else f"{subset}-"
    if not root.is_dir():
        raise InvalidInput(f"there is no folder {str(folder)!r}")
    pools = _rows(root, f"{before}top_ranked", split=split) if (root / f"{before}top_ranked").is_dir() else None
    return Collection(
        name=name or "-".join(filter(None, (root.resolve().name, subset))),
        queries=read_queries(_rows(root, f"{before}queries", split=split)),
        documents=read_documents(_rows(root, f"{before}corpus", split=split)),
        judgements=_read_judgements(_rows(root, *(f"{before}{kind}" for kind in _QRELS), split=split)),
        pool=None if pools is None else Run("pool", dict(_read_pools(pools))),
    )


def _read_judgements(rows: Rows) -> dict[str, dict[str, int]]:
    grades: dict[str, dict[str, int]] = {}
    for place, row in rows:
        query, document, grade = entry_id(row, place, "query-id"), entry_id(row, place, "corpus-id"), row.get("score")
        if isinstance(grade, bool) or not isinstance(grade, int | float) or not float(grade).is_integer():
            raise InvalidInput(f"{place} has the grade {grade!r}; a grade is a whole number")
        add(grades, place, query=query, document=document, grade=int(grade))
    return grades


def _read_pools(rows: Rows) -> Iterator[tuple[str, Listing]]:
    for place, row in rows:
        pool = row.get("corpus-ids")
        if not isinstance(pool, list) or not all(isinstance(document, str) for document in pool):
            raise InvalidInput(f"{place} must have 'corpus-ids', a list of ids")
        if len(set(pool)) < len(pool):
            raise InvalidInput(f"{place} has a document twice in 'corpus-ids'")
        yield entry_id(row, place, "query-id"), Listing.unordered(pool)


def _rows(root: Path, *names: str, split: str) -> Rows:
    """Return the rows of one configuration: of the split that is asked for, or of the only one there is."""
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        raise InvalidInput(f"{root} has no folder {' or '.join(names)}; is it one of MTEB's reranking layout?")
    files = sorted(path for pattern in ("*.parquet", "*.jsonl", "*.jsonl.gz") for path in folder.glob(pattern))
    splits = {_split(path) for path in files}
    if split not in splits and len(splits) > 1:
        raise InvalidInput(f"{folder} has the splits {', '.join(sorted(splits))}; name one of them with split=...")
    chosen = [path for path in files if _split(path) == split or len(splits) == 1]
    if not chosen:
        raise InvalidInput(f"{folder} has no .parquet and no .jsonl")
    return (row for path in chosen for row in (_parquet(path) if path.suffix == ".parquet" else read_objects(path)))


def _split(path: Path) -> str:
    """Return the split that a file is of: `test-00000-of-00002.parquet` and `test.jsonl.gz` are of `test`."""
    return path.name.split(".")[0].split("-")[0]


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        raise MissingDependency(f'{path} needs a reader of Parquet; install "resift[eval]"') from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"{path} is a broken Parquet file ({type(error).__name__}); fetch it again") from None
