"""Results as the bytes of a file: JSONL, or Parquet with one schema for all parts."""

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from resift.bulk.results import Result
from resift.errors import MissingDependency
from resift.types import Document

Output = Literal["jsonl", "parquet"]

_PARTIAL = (b'{"error":', b'{"missing":')  # how the line of a partial result begins


def encode(results: Sequence[Result], output: Output, *, texts: bool) -> bytes:
    """Write results; equal ones give equal bytes."""
    if output == "jsonl":
        return b"".join(_line(_object(result, texts=texts)) for result in results)
    return _parquet([_object(result, texts=texts, plain=True) for result in results], texts=texts)


def require_encoder(output: Output) -> None:
    """Make sure that the format can be written here."""
    if output == "parquet":
        _arrow()


def count_partial(path: Path, output: Output) -> int:
    """Return how many results of a finished file are partial."""
    if output == "jsonl":
        with path.open("rb") as file:
            return sum(line.startswith(_PARTIAL) for line in file)
    _, parquet = _arrow()
    table = parquet.read_table(path, columns=["error", "missing"])
    faults = table.num_rows - table["error"].null_count
    return int(faults + sum(bool(missing) for missing in table["missing"].to_pylist()))


def _object(result: Result, *, texts: bool, plain: bool = False) -> dict[str, Any]:
    """Return what is written of a result; `plain` is for columns, which hold one type each."""
    row = result.row
    entry = row.id if row.id is None or not plain else str(row.id)
    head: dict[str, Any] = {"id": entry, **({"query": row.query} if texts else {})}
    if result.fault is not None:
        return {"error": result.fault, **head}
    hits = [
        {
            "index": index,
            "score": score,
            **({"document": _document(row.documents[index], plain=plain)} if texts else {}),
        }
        for index, score in result.hits
    ]
    missing = {"missing": list(result.missing)} if result.missing else {}
    return {**missing, **head, "results": hits, "truncated": result.truncated}


def _document(document: Document, *, plain: bool) -> Any:
    if isinstance(document, str) or not plain:
        return document
    return json.dumps(document, ensure_ascii=False, default=str)


def _line(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can write
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=str).encode() + b"\n"


def _parquet(rows: list[dict[str, Any]], *, texts: bool) -> bytes:
    arrow, parquet = _arrow()
    content = io.BytesIO()
    table = arrow.Table.from_pylist([_without_surrogates(row) for row in rows], schema=_schema(texts=texts))
    parquet.write_table(table, content)
    return content.getvalue()


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _without_surrogates(inner) for key, inner in value.items()}
    return [_without_surrogates(inner) for inner in value] if isinstance(value, list) else value


@cache
def _schema(*, texts: bool) -> Any:
    arrow, _ = _arrow()
    hit = [arrow.field("index", arrow.int32()), arrow.field("score", arrow.float64())]
    if texts:
        hit.append(arrow.field("document", arrow.string()))
    return arrow.schema(
        [
            arrow.field("id", arrow.string()),
            *([arrow.field("query", arrow.string())] if texts else []),
            arrow.field("results", arrow.list_(arrow.struct(hit))),
            arrow.field("truncated", arrow.int32()),
            arrow.field("missing", arrow.list_(arrow.int32())),
            arrow.field("error", arrow.string()),
        ]
    )


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise MissingDependency('pyarrow, which writes Parquet, is missing; run: pip install "resift[eval]"') from None
    return pa, parquet
