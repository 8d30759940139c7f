"""The beginnings of texts, by which people recognise queries and documents."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from resift.documents import render
from resift.errors import InvalidInput
from resift.evaluation.collection import Collection
from resift.evaluation.files import using, write_whole
from resift.evaluation.runs import Run
from resift.evaluation.typed_json import build
from resift.types import Document
from resift.wire.strict_json import NotJson, read_json, write_json

LONGEST = 200  # characters of one text


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by id, each cut to what fits two lines."""

    queries: dict[str, str] = field(default_factory=dict, repr=False)
    documents: dict[str, str] = field(default_factory=dict, repr=False)


def excerpts(collection: Collection, runs: Iterable[Run]) -> Texts:
    """Return the texts of the judged queries, and of the documents that were listed or are relevant to one."""
    if not collection.documents:
        return Texts()  # a run with its qrels: nobody knows any text
    wanted = {document for run in runs for found in run.lists.values() for document in found.documents}
    for query in collection.judged:
        wanted.update(document for document, grade in collection.judgements[query].items() if grade > 0)
    known: Mapping[str, Document] = collection.documents
    return Texts(
        {query: _cut(render(collection.queries[query], 0)) for query in collection.judged},
        {document: _cut(render(known[document], 0)) for document in sorted(wanted & known.keys())},
    )


def write_texts(texts: Texts, path: Path) -> None:
    """Write texts into a file."""
    write_whole(path, write_json({"queries": texts.queries, "documents": texts.documents}) + b"\n")


def read_texts(path: Path) -> Texts:
    """Read what `write_texts` wrote; no texts where there is no file."""
    with using(path):
        content = path.read_bytes() if path.exists() else b'{"queries":{},"documents":{}}'
    try:
        return build(Texts, read_json(content))
    except (NotJson, ValueError) as error:
        raise InvalidInput(f"{path} is damaged: {error}; delete it, and reports have no texts") from None


def _cut(text: str) -> str:
    plain = " ".join(text[: 8 * LONGEST].split())
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1].rstrip() + "…"
