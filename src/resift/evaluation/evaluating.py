"""Measuring rankers on collections: the one function that does all of it."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resift.errors import InvalidInput
from resift.evaluation.asking import Question
from resift.evaluation.collection import Collection
from resift.evaluation.contest import Contest, Performance
from resift.evaluation.evaluation import Evaluation, file_name
from resift.evaluation.first_stage import (
    FirstStage,
    digest,
    lists_of,
    questions_of,
    questions_to_all,
    read_first_stage,
)
from resift.evaluation.journal import Journal
from resift.evaluation.measures import MEASURES, read_measures
from resift.evaluation.measuring import measure
from resift.evaluation.protocol import read_protocol
from resift.evaluation.record import FIRST_STAGE, ORACLE
from resift.evaluation.recording import Heat, describe, sum_up
from resift.evaluation.runs import Run
from resift.progress import progress_bar
from resift.types import Ranker

logger = logging.getLogger("resift")


def evaluate(
    collections: Collection | Iterable[Collection],
    contestants: Mapping[str, Ranker | Run],
    *,
    first_stage: FirstStage = "given",
    depth: int = 100,
    measures: Sequence[str] = MEASURES,
    relevant_from: int = 1,
    baseline: str | None = None,
    timed: bool = True,
    concurrency: int = 1,
    warm_up: int = 3,
    seed: int = 0,
    directory: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Evaluation:
    """
    Let contestants put the lists of a first stage in order, and measure how well and how fast they do.

    The first stage itself and an oracle, which knows the judgements, are always rows beside them.

    Args:
        collections: what to measure on, one or several.
        contestants: rankers by the names that they are to have, and runs of others, which are measured as they are.
        first_stage: "given" is the collection's own run, or else its pool; "pool" is that; "bm25" searches the corpus,
            as does a ranker, which reads all of it for each query; or a run.
        depth: how many documents of each list there are to put in order.
        measures: by name; the first decides about wins, ratings and significance.
        relevant_from: the grade from which a document is relevant to measures that know no grades.
        baseline: the row that all are compared with; each with each if not given.
        timed: whether queries are asked one after the other, to see how long each takes, or all together.
        concurrency: how many are asked at one time while they are timed.
        warm_up: how many queries are asked before, without looking at the time.
        seed: what chance begins with; the same seed gives the same numbers.
        directory: where all is kept. An evaluation that was interrupted goes on where its directory ends; with more
            contestants, only these are asked.
        progress: whether to show a bar.

    Raises:
        InvalidInput: an argument that cannot mean anything, or a collection that lacks what is asked of it.
        ResiftError: what a contestant raised; with a directory, what was answered before is kept.
    """
    given = _read_collections(collections)
    players = _read_contestants(contestants)
    source = read_first_stage(first_stage)
    protocol = read_protocol(
        measures=tuple(map(str, read_measures(measures))),
        first_stage=_name_of(source),
        depth=depth,
        relevant_from=relevant_from,
        baseline=baseline,
        timed=timed,
        concurrency=concurrency,
        warm_up=warm_up,
        seed=seed,
        players=[FIRST_STAGE, *players],
    )
    root = None if directory is None else Path(directory)
    rankers = sum(isinstance(player, Ranker) for player in (*players.values(), source))
    total = rankers * sum(len(collection.judged) for collection in given.values())
    with progress_bar(total, shown=progress) as advance:
        venue = _Venue(Contest(protocol, advance), source, players, root)
        heats = {name: venue.hold(collection) for name, collection in given.items()}
    evaluation = sum_up(heats, players, protocol)
    for warning in evaluation.warnings:
        logger.warning("%s", warning)
    if root is not None:
        evaluation.save(root)
    return evaluation


@dataclass(frozen=True, slots=True, eq=False)
class _Venue:
    """Where one collection after another is held."""

    contest: Contest
    source: FirstStage
    players: Mapping[str, Ranker | Run]
    root: Path | None

    def hold(self, collection: Collection) -> Heat:
        protocol = self.contest.protocol
        first = self._first_stage(collection)
        runs, performances = {FIRST_STAGE: Run(FIRST_STAGE, first.lists)}, {}
        questions = questions_of(collection, first) if self._has_rankers else []
        for name, player in self.players.items():
            if isinstance(player, Run):
                runs[name] = Run(name, {query: player.of(query) for query in collection.judged})
            else:
                performances[name] = self._perform(name, player, collection, questions=questions)
                runs[name] = performances[name].run
        sheets = measure(collection, runs, read_measures(protocol.measures), relevant_from=protocol.relevant_from)
        return Heat(collection, first.name, runs, performances, sheets)

    @property
    def _has_rankers(self) -> bool:
        return any(not isinstance(player, Run) for player in self.players.values())

    def _first_stage(self, collection: Collection) -> Run:
        depth = self.contest.protocol.depth
        if isinstance(self.source, str | Run):
            return lists_of(collection, self.source, depth=depth)
        questions = questions_to_all(collection)
        performed = self._perform(FIRST_STAGE, self.source, collection, questions=questions, depth=depth)
        return Run(self.source.model, performed.run.lists)

    def _perform(
        self,
        name: str,
        ranker: Ranker,
        collection: Collection,
        *,
        questions: Sequence[Question],
        depth: int | None = None,
    ) -> Performance:
        place = None
        if self.root is not None:
            place = self.root / "answers" / file_name(collection.name) / f"{file_name(name)}.jsonl"
        about = f"{_about(ranker)} depth={depth} {digest(questions)}"
        contest = self.contest if depth is None else self.contest.untimed
        return contest.perform(name, ranker, questions, journal=Journal(place, about=about), depth=depth)


def _about(ranker: Ranker) -> str:
    """Return what a ranker's scores depend on, as far as it says; its name and kind where it does not."""
    about = describe(ranker)
    return about.identity or f"{about.kind} {about.model}"


def _name_of(source: FirstStage) -> str:
    return source if isinstance(source, str) else source.name if isinstance(source, Run) else source.model


def _read_collections(given: Collection | Iterable[Collection]) -> dict[str, Collection]:
    several = [given] if isinstance(given, Collection) else list(given)
    if not several or not all(isinstance(one, Collection) for one in several):
        raise InvalidInput("collections must be one or more collections, as read_collection() makes them")
    _require_files_apart("collections", [collection.name for collection in several])
    return {collection.name: collection for collection in several}


def _read_contestants(given: Mapping[str, Ranker | Run]) -> dict[str, Ranker | Run]:
    if not isinstance(given, Mapping):
        raise InvalidInput(f"contestants must be rankers by name, as in {{'mine': ranker}}, not {type(given).__name__}")
    for name, player in given.items():
        if not isinstance(name, str) or not name.strip():
            raise InvalidInput(f"a contestant needs a name, not {name!r}")
        if isinstance(player, type) or not isinstance(player, Run | Ranker):
            raise InvalidInput(f"the contestant {name!r} must be a ranker or a run, not {type(player).__name__}")
    _require_files_apart("contestants", [FIRST_STAGE, ORACLE, *given])
    return dict(given)


def _require_files_apart(what: str, names: Sequence[str]) -> None:
    """Refuse names that some file system takes for one."""
    taken: dict[str, str] = {}
    for name in names:
        as_file = file_name(name).casefold()
        if as_file in taken:
            raise InvalidInput(
                f"the {what} {taken[as_file]!r} and {name!r} need names that differ in letters or digits"
            )
        taken[as_file] = name
