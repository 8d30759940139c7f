"""An evaluation: its record, with the runs and judgements that it was made from, in memory or in a directory."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from resift.errors import InvalidInput
from resift.evaluation.collection import Judgements
from resift.evaluation.collections.judgements import read_judgements
from resift.evaluation.files import discard, write_whole
from resift.evaluation.record import ORACLE, Record
from resift.evaluation.runs import Run, read_run, write_run
from resift.evaluation.table import table
from resift.evaluation.texts import Texts, read_texts, write_texts
from resift.evaluation.typed_json import build
from resift.wire.strict_json import NotJson, read_json, write_json

FORMAT, VERSION = "resift-evaluation", 1
RECORD, RUNS, QRELS, RUN = "results.json", "runs", "qrels.txt", ".trec"
_TEXTS = "texts.json"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the numbers of one collection can be computed from again, by any tool that reads TREC's files."""

    judgements: Judgements
    runs: dict[str, Run]
    texts: Texts = field(default_factory=Texts)
    """None of them where nobody wanted them kept."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Evaluation(Record):
    """
    All that was measured. `print` shows a table of it.

    In a directory it is `results.json`, and `runs/<collection>/` with a `.trec` for each row, `qrels.txt` and, where
    texts are kept, `texts.json`.
    """

    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """By collection; that of a loaded evaluation is read when it is asked for."""

    def __repr__(self) -> str:
        return f"Evaluation({', '.join(self.contestants)} on {', '.join(self.collections)})"

    def __str__(self) -> str:
        return table(self)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the evaluation into a directory; the record comes last, so that where it is, all is."""
        root = Path(directory)
        for collection, evidence in self.evidence.items():
            folder = root / RUNS / file_name(collection)
            write_whole(folder / QRELS, _qrels(evidence.judgements))
            if evidence.texts == Texts():
                discard(folder / _TEXTS)
            else:
                write_texts(evidence.texts, folder / _TEXTS)
            for row, run in evidence.runs.items():
                write_run(run, folder / f"{file_name(row)}{RUN}")
        plain = asdict(Record(**{name: getattr(self, name) for name in _RECORDED}))
        write_whole(root / RECORD, write_json({"format": FORMAT, "version": VERSION, **plain}) + b"\n")

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "Evaluation":
        """
        Read what `save` wrote.

        Raises:
            InvalidInput: a directory that holds no evaluation, one of another version, or a damaged one.
        """
        root = Path(directory)
        record = _read_record(root / RECORD)
        rows = {name: tuple(found.rows) for name, found in record.collections.items()}
        return cls(**{name: getattr(record, name) for name in _RECORDED}, evidence=_Stored(root, rows))


class _Stored(Mapping[str, Evidence]):
    """Evidence in a directory: runs are far larger than the record, and seldom needed beside it."""

    def __init__(self, root: Path, rows: Mapping[str, Sequence[str]]) -> None:
        self._root, self._rows = root, rows
        self._read: dict[str, Evidence] = {}

    def __getitem__(self, collection: str) -> Evidence:
        if collection not in self._read:
            self._read[collection] = _read_evidence(self._root, collection, self._rows[collection])
        return self._read[collection]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


_RECORDED = [field.name for field in fields(Record)]


def file_name(name: str) -> str:
    """Return a name that any file system takes."""
    return re.sub(r"[^\w.-]+|^\.+", "-", name) or "-"


def _read_record(path: Path) -> Record:
    try:
        found = read_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"there is no evaluation at {str(path)!r}: {error.strerror or error}") from None
    except NotJson as error:
        raise InvalidInput(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise InvalidInput(f"{path} is no record of an evaluation")
    version = found.pop("version", None)
    if version != VERSION:
        raise InvalidInput(f"{path} is of version {version!r}; this resift reads {VERSION}: evaluate again")
    try:
        return build(Record, found)
    except ValueError as error:
        raise InvalidInput(f"{path} is damaged: {error}") from None


def _read_evidence(root: Path, collection: str, rows: Sequence[str]) -> Evidence:
    folder = root / RUNS / file_name(collection)
    return Evidence(
        read_judgements(folder / QRELS),
        {row: read_run(folder / f"{file_name(row)}{RUN}", name=row) for row in rows if row != ORACLE},
        read_texts(folder / _TEXTS),
    )


def _qrels(judgements: Judgements) -> bytes:
    lines = (
        f"{query}\t0\t{document}\t{grade}\n" for query, said in judgements.items() for document, grade in said.items()
    )
    return "".join(lines).encode()
