"""Measuring rankers on collections: the one function that does all of it."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
from resift.evaluation.players import Player, on_the_field, read_players, require_files_apart
from resift.evaluation.protocol import read_protocol
from resift.evaluation.record import FIRST_STAGE, Contestant
from resift.evaluation.recording import Heat, describe, sum_up
from resift.evaluation.runs import Run
from resift.progress import progress_bar
from resift.types import Ranker

logger = logging.getLogger("resift")


def evaluate(
    collections: Collection | Iterable[Collection],
    contestants: Mapping[str, Player],
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
    resume: bool = True,
    texts: bool = True,
    progress: bool = False,
) -> Evaluation:
    """
    Let contestants put the lists of a first stage in order, and measure how well and how fast they do.

    The first stage itself and an oracle, which knows the judgements, are always rows beside them.

    Args:
        collections: what to measure on, one or several.
        contestants: rankers by the names that they are to have; functions that open one, which is closed after its
            turn, so that models need not fit beside each other; and runs of others, which are measured as they are.
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
        resume: whether answers in the directory count; without, all are asked anew.
        texts: whether to keep the beginnings of texts, by which a report shows what was found.
        progress: whether to show a bar.

    Raises:
        InvalidInput: an argument that cannot mean anything, or a collection that lacks what is asked of it.
        ResiftError: what a contestant raised; with a directory, what was answered before is kept.
    """
    given = _read_collections(collections)
    players = read_players(contestants)
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
    turns = sum(not isinstance(player, Run | str) for player in (*players.values(), source))
    with progress_bar(turns * sum(len(collection.judged) for collection in given.values()), shown=progress) as advance:
        venue = _Venue(Contest(protocol, advance), source, root=root, resume=resume)
        grounds = {name: venue.prepare(collection) for name, collection in given.items()}
        took_part = {name: venue.play(name, player, grounds.values()) for name, player in players.items()}
    heats = {name: venue.measured(ground) for name, ground in grounds.items()}
    evaluation = sum_up(heats, took_part, protocol, texts=texts)
    for warning in evaluation.warnings:
        logger.warning("%s", warning)
    if root is not None:
        evaluation.save(root)
    return evaluation


@dataclass(eq=False)
class _Ground:
    """One collection with the lists to put in order, and what each made of them so far."""

    collection: Collection
    first: Run
    runs: dict[str, Run]
    performances: dict[str, Performance] = field(default_factory=dict)

    @cached_property
    def questions(self) -> list[Question]:
        return questions_of(self.collection, self.first)

    @cached_property
    def mark(self) -> str:
        return digest(self.questions)


@dataclass(frozen=True, slots=True, eq=False)
class _Venue:
    """Where it is held: first all lists are made, then each contestant takes its turn on all of them."""

    contest: Contest
    source: FirstStage
    root: Path | None
    resume: bool

    def prepare(self, collection: Collection) -> _Ground:
        depth = self.contest.protocol.depth
        if isinstance(self.source, str | Run):
            first = lists_of(collection, self.source, depth=depth)
        else:
            questions = questions_to_all(collection)
            journal = self._journal(FIRST_STAGE, self.source, collection, mark=digest(questions), depth=depth)
            found = self.contest.untimed.perform(FIRST_STAGE, self.source, questions, journal=journal, depth=depth)
            first = Run(self.source.model, found.run.lists)
        return _Ground(collection, first, {FIRST_STAGE: Run(FIRST_STAGE, first.lists)})

    def play(self, name: str, player: Player, grounds: Iterable[_Ground]) -> Contestant:
        with on_the_field(player) as there:
            for ground in grounds:
                if isinstance(there, Run):
                    ground.runs[name] = Run(name, {query: there.of(query) for query in ground.collection.judged})
                    continue
                journal = self._journal(name, there, ground.collection, mark=ground.mark)
                performed = self.contest.perform(name, there, ground.questions, journal=journal)
                ground.performances[name], ground.runs[name] = performed, performed.run
            return describe(there)

    def measured(self, ground: _Ground) -> Heat:
        protocol = self.contest.protocol
        measures, least = read_measures(protocol.measures), protocol.relevant_from
        sheets = measure(ground.collection, ground.runs, measures, relevant_from=least)
        return Heat(ground.collection, ground.first.name, ground.runs, ground.performances, sheets)

    def _journal(
        self, name: str, ranker: Ranker, collection: Collection, *, mark: str, depth: int | None = None
    ) -> Journal:
        place = None
        if self.root is not None:
            place = self.root / "answers" / file_name(collection.name) / f"{file_name(name)}.jsonl"
        return Journal(place, about=f"{_about(ranker)} depth={depth} {mark}", resume=self.resume)


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
    require_files_apart("collections", [collection.name for collection in several])
    return {collection.name: collection for collection in several}
