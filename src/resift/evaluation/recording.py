"""From what happened on each collection to the evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from resift.evaluation.cautions import cautions
from resift.evaluation.collection import Collection
from resift.evaluation.comparing import Table, compare
from resift.evaluation.contest import Performance
from resift.evaluation.environment import environment
from resift.evaluation.evaluation import Evaluation, Evidence
from resift.evaluation.measuring import Sheet
from resift.evaluation.record import FIRST_STAGE, Contestant, Protocol, Results, Row
from resift.evaluation.runs import Run
from resift.evaluation.texts import Texts, excerpts
from resift.local import place_of
from resift.types import Ranker


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """What happened on one collection."""

    collection: Collection
    first_stage: str
    runs: Mapping[str, Run]
    performances: Mapping[str, Performance]
    sheets: Mapping[str, Sheet]

    @property
    def table(self) -> Table:
        """What each row is worth at each query."""
        return Table(tuple(self.sheets), np.stack([sheet.values for sheet in self.sheets.values()], axis=1))


def sum_up(
    heats: Mapping[str, Heat], contestants: Mapping[str, Contestant], protocol: Protocol, *, texts: bool = True
) -> Evaluation:
    """Put all rows beside each other."""
    standings, overall = compare({name: heat.table for name, heat in heats.items()}, protocol)
    results = {
        name: Results(
            documents=len(heat.collection.documents),
            judgements=sum(len(heat.collection.judgements[query]) for query in heat.collection.judged),
            queries=tuple(heat.collection.judged),
            first_stage=heat.first_stage,
            pairs=sum(map(len, heat.runs[FIRST_STAGE].lists.values())),
            rows={row: _row(heat, row, protocol) for row in heat.sheets},
            standing=standings[name],
        )
        for name, heat in heats.items()
    }
    return Evaluation(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=dict(environment()),
        protocol=protocol,
        contestants=dict(contestants),
        collections=results,
        overall=overall,
        warnings=tuple(
            cautions({name: heat.collection for name, heat in heats.items()}, results, timed=protocol.timed)
        ),
        evidence={name: _evidence(heat, texts=texts) for name, heat in heats.items()},
    )


def _row(heat: Heat, row: str, protocol: Protocol) -> Row:
    sheet, performance, run = heat.sheets[row], heat.performances.get(row), heat.runs.get(row)
    first = heat.runs[FIRST_STAGE]
    asked = [query for query in heat.collection.judged if row == FIRST_STAGE or len(first.of(query))]
    values = {name: tuple(np.round(sheet.values[:, at], 6).tolist()) for at, name in enumerate(protocol.measures)}
    plain = Row(
        values=values,
        ties=sheet.ties,
        unlisted=0 if run is None else sum(len(run.of(query)) == 0 for query in asked),
    )
    if performance is None:
        return plain
    return replace(
        plain,
        answered=len(performance.run.lists),
        left_out=performance.left_out,
        truncated=performance.truncated,
        latency=performance.latency,
    )


def _evidence(heat: Heat, *, texts: bool) -> Evidence:
    collection = heat.collection
    judgements = {query: dict(collection.judgements[query]) for query in collection.judged}
    runs = {
        row: Run(row, {query: found for query, found in run.lists.items() if len(found)})
        for row, run in heat.runs.items()
    }
    return Evidence(judgements, runs, excerpts(collection, runs.values()) if texts else Texts())


def describe(player: Ranker | Run) -> Contestant:
    """Say who it is, as far as it says itself."""
    if isinstance(player, Run):
        return Contestant("Run", player.name)
    identity, longest = getattr(player, "identity", None), getattr(player, "max_length", None)
    return Contestant(
        type(player).__name__,
        player.model,
        identity=identity if isinstance(identity, str) else None,
        max_length=longest if isinstance(longest, int) else None,
        runs_on=place_of(player),
    )
