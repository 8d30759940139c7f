"""From a shard to the bytes of its output: what any executor runs, and all that it runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from resift.bulk.encoding import Output, encode
from resift.bulk.results import Result, of_fault, of_ranking
from resift.bulk.rows import Row
from resift.bulk.sources import Reader, Shard
from resift.errors import InvalidInput
from resift.soundness import sound_scores
from resift.types import Cut, Ranker, Ranking

Advance = Callable[[int, int], None]
"""Told of rows and documents as they are done."""


@dataclass(frozen=True, slots=True)
class How:
    """What is made of a row."""

    cut: Cut = field(default_factory=Cut)
    output: Output = "jsonl"
    texts: bool = False
    """Whether the output repeats queries and documents."""

    skip: bool = False
    """Whether a row that cannot be ranked is written as such; else it ends the work."""

    together: bool = False
    """
    Whether rows share batches, for speed. The last digits of a score then depend on which rows were neighbours of a
    moment, so only rows that are ranked one after the other give the same bytes again.
    """


@dataclass(frozen=True, slots=True)
class Scored:
    """The output of a shard."""

    shard: Shard
    content: bytes
    partial: int
    """How many rows have not all of their results."""


class ShardScorer:
    """Makes of a shard the bytes of its output."""

    def __init__(self, reader: Reader, ranker: Ranker, how: How) -> None:
        self._reader, self._ranker, self._how = reader, ranker, how

    def __call__(self, shard: Shard, advance: Advance = lambda rows, documents: None) -> Scored:
        """Rank the rows of a shard."""
        rows = list(self._reader.rows(shard))
        if len(rows) != shard.rows:
            raise InvalidInput("the input has changed while it was read; run it again, with --overwrite or elsewhere")
        for row in rows:
            self._judge(row)
        results = self._together(rows, advance) if self._how.together else list(self._alone(rows, advance))
        partial = sum(result.is_partial for result in results)
        return Scored(shard, encode(results, self._how.output, texts=self._how.texts), partial)

    def _judge(self, row: Row) -> None:
        if row.fault is not None and not self._how.skip:
            raise InvalidInput(row.fault)

    def _alone(self, rows: Sequence[Row], advance: Advance) -> Iterator[Result]:
        for row in rows:
            yield of_fault(row, row.fault) if row.fault is not None else self._ranked(row)
            advance(1, len(row.documents))

    def _ranked(self, row: Row) -> Result:
        cut = self._how.cut
        try:
            ranking = self._ranker.rank(row.query, row.documents, top_n=cut.top_n, threshold=cut.threshold)
        except InvalidInput as error:
            fault = f"{row.place}: {error}"
            if not self._how.skip:
                raise InvalidInput(fault) from None
            return of_fault(row, fault)
        return self._sound(row, ranking)

    def _together(self, rows: Sequence[Row], advance: Advance) -> list[Result]:
        cut, good = self._how.cut, [row for row in rows if row.fault is None]
        requests = [(row.query, row.documents) for row in good]
        found: dict[str, Result] = {}
        try:
            rankings = self._ranker.rank_many(requests, top_n=cut.top_n, threshold=cut.threshold)
            for row, ranking in zip(good, rankings, strict=True):
                found[row.place] = self._sound(row, ranking)
                advance(1, len(row.documents))
        except InvalidInput:  # which of the rows it was is found by asking for each
            late = [row for row in good if row.place not in found]
            found.update({row.place: result for row, result in zip(late, self._alone(late, advance), strict=True)})
        return [of_fault(row, row.fault) if row.fault is not None else found[row.place] for row in rows]

    def _sound(self, row: Row, ranking: Ranking) -> Result:
        sound_scores(ranking, len(row.documents), of=f" of {row.place}")
        return of_ranking(row, ranking)
