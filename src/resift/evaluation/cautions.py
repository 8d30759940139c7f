"""What a reader of the numbers has to know before believing them."""

from collections.abc import Iterator, Mapping

from resift.evaluation.collection import Collection
from resift.evaluation.record import FIRST_STAGE, ORACLE, Results, Row

_OPEN = 0.005  # ties that leave more of the first measure open than this are told


def cautions(collections: Mapping[str, Collection], results: Mapping[str, Results], *, timed: bool) -> Iterator[str]:
    """Say where ties decide, where documents or answers are missing, and where latencies are of a part only."""
    for name, found in results.items():
        yield from _about_collection(collections[name], found)
        for row, facts in found.rows.items():
            if row not in (FIRST_STAGE, ORACLE):
                yield from (f"{row!r} on {name!r}: {caution}" for caution in _about_row(facts, timed=timed))


def _about_collection(collection: Collection, found: Results) -> Iterator[str]:
    strangers = sum(
        document not in collection.documents for query in found.queries for document in _relevant(collection, query)
    )
    if collection.documents and strangers:
        lost = _count(strangers, "relevant document", "relevant documents")
        yield f"no text for {lost} of {collection.name!r}; nobody can find them"
    if found.rows[FIRST_STAGE].unlisted:
        empty = _count(found.rows[FIRST_STAGE].unlisted, "query", "queries")
        yield f"no candidates for {empty} of {collection.name!r}; all score 0 there"


def _about_row(row: Row, *, timed: bool) -> Iterator[str]:
    open_ = row.ties.best - row.ties.worst
    if open_ > _OPEN:
        yield (
            f"scores tie so often that their order decides {open_:.3f} of the first measure; it is the mean over all "
            "orders. Scores in half precision, or rounded ones, do this"
        )
    if row.unlisted:
        yield f"no list for {_count(row.unlisted, 'query', 'queries')}; each scores 0"
    if row.left_out:
        yield f"no place for {_count(row.left_out, 'document', 'documents')}; each counts as not found"
    told = 0 if row.latency is None else row.latency.queries
    if timed and told < row.answered:
        yield (
            f"its latency is that of {told} of {_count(row.answered, 'query', 'queries')}; the others were answered in "
            "another session, or elsewhere"
        )


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _relevant(collection: Collection, query: str) -> list[str]:
    return [document for document, grade in collection.judgements[query].items() if grade > 0]
