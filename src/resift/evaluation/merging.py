"""Several evaluations as one: all contestants of the same collections beside each other."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from resift.errors import InvalidInput
from resift.evaluation.collection import Collection
from resift.evaluation.contest import Performance
from resift.evaluation.environment import Environment
from resift.evaluation.evaluation import Evaluation, Evidence
from resift.evaluation.measures import read_measures
from resift.evaluation.measuring import measure
from resift.evaluation.players import require_files_apart
from resift.evaluation.protocol import with_baseline
from resift.evaluation.record import FIRST_STAGE, ORACLE
from resift.evaluation.recording import Heat, sum_up

logger = logging.getLogger("resift")

_MACHINE = ("system", "processor", "cores", "memory", "gpus", "threads")

Evaluations = Mapping[str, Evaluation]


def merge(evaluations: Evaluations, *, baseline: str | None = None, texts: bool = True) -> Evaluation:
    """
    Put the contestants of several evaluations beside each other, as if they had been evaluated together.

    Only collections that all have in common count, unless the same contestants were measured on different ones. Of two
    contestants of one name, the later is called after its evaluation too, except where it is the very same.

    Args:
        evaluations: by the names by which messages, and contestants of one name, tell them apart.
        baseline: the row that all are compared with; that of the first evaluation if not given.
        texts: whether to keep the beginnings of texts, where they were kept before.

    Raises:
        InvalidInput: evaluations that are not of the same queries, judgements and lists.
    """
    if not evaluations:
        raise InvalidInput("there is nothing to compare; name at least one evaluation")
    first = next(iter(evaluations.values()))
    sources = _sources(evaluations)
    names = _named(sources)
    contestants = {name: evaluations[place].contestants[row] for (place, row), name in names.items()}
    require_files_apart("contestants", [FIRST_STAGE, ORACLE, *contestants])
    protocol = with_baseline(first.protocol, baseline or first.protocol.baseline, [FIRST_STAGE, *contestants])
    heats = {name: _heat(name, found, names) for name, found in sources.items()}
    merged = sum_up(heats, contestants, protocol, texts=texts)
    whole = replace(
        merged,
        created=max(evaluation.created for evaluation in evaluations.values()),
        environment=_environment(evaluations),
        collections={
            name: replace(results, documents=max(one.collections[name].documents for one in sources[name].values()))
            for name, results in merged.collections.items()
        },
        warnings=(*merged.warnings, *_cautions(evaluations, sources)),
    )
    for warning in whole.warnings:
        logger.warning("%s", warning)
    return whole


def _sources(evaluations: Evaluations) -> dict[str, Evaluations]:
    """Return which evaluations tell about which collection."""
    several = list(evaluations.values())
    known = list(dict.fromkeys(name for evaluation in several for name in evaluation.collections))
    owners: dict[str, Evaluations] = {
        name: {place: one for place, one in evaluations.items() if name in one.collections} for name in known
    }
    same_players = all(one.contestants == several[0].contestants for one in several)
    if same_players and all(len(found) == 1 for found in owners.values()):
        return owners
    common = {name: found for name, found in owners.items() if len(found) == len(several)}
    if not common:
        told = "; ".join(f"{place} has {', '.join(one.collections)}" for place, one in evaluations.items())
        raise InvalidInput(f"the evaluations have no collection in common: {told}")
    return common


def _named(sources: Mapping[str, Evaluations]) -> dict[tuple[str, str], str]:
    """Give each contestant of each evaluation a name among all of them."""
    names: dict[tuple[str, str], str] = {}
    owners: dict[str, str] = {}
    places = dict.fromkeys(place for found in sources.values() for place in found)
    evaluations = {place: one for found in sources.values() for place, one in found.items()}
    for place in places:
        for row in evaluations[place].contestants:
            owner = owners.get(row)
            same = owner is not None and _is_same(row, sources, owner=owner, place=place)
            names[place, row] = row if owner is None or same else f"{row} ({place})"
            owners.setdefault(names[place, row], place)
    return names


def _is_same(row: str, sources: Mapping[str, Evaluations], *, owner: str, place: str) -> bool:
    """Whether two evaluations tell the same of a contestant, wherever both tell of it."""
    for name, found in sources.items():
        if owner in found and place in found:
            one, other = found[owner], found[place]
            if one.contestants[row] != other.contestants[row]:
                return False
            if one.evidence[name].runs[row] != other.evidence[name].runs[row]:
                return False
    return True


def _heat(name: str, found: Evaluations, names: Mapping[tuple[str, str], str]) -> Heat:
    """Put together what the evaluations tell about one collection."""
    (place, first), *others = found.items()
    for elsewhere, other in others:
        _require_fit(name, (place, first), (elsewhere, other))
    evidence = first.evidence[name]
    runs, performances = {FIRST_STAGE: evidence.runs[FIRST_STAGE]}, {}
    for where, evaluation in found.items():
        for row, contestant in evaluation.contestants.items():
            called = names[where, row]
            if called in runs:
                continue
            runs[called] = replace(evaluation.evidence[name].runs[row], name=called)
            if contestant.kind != "Run":
                performances[called] = _performance(evaluation, name, row)
    collection = _collection(name, [one.evidence[name] for one in found.values()])
    protocol = first.protocol
    sheets = measure(collection, runs, read_measures(protocol.measures), relevant_from=protocol.relevant_from)
    return Heat(collection, first.collections[name].first_stage, runs, performances, sheets)


def _performance(evaluation: Evaluation, collection: str, row: str) -> Performance:
    told = evaluation.collections[collection].rows[row]
    return Performance(evaluation.evidence[collection].runs[row], told.left_out, told.truncated, told.latency)


def _collection(name: str, evidence: Sequence[Evidence]) -> Collection:
    """Return as much of the collection as was kept: texts are excerpts, where there are any."""
    judgements = evidence[0].judgements
    queries = {query: text for one in evidence for query, text in one.texts.queries.items()}
    documents = {document: text for one in evidence for document, text in one.texts.documents.items()}
    return Collection(name, {**dict.fromkeys(judgements, "?"), **queries}, documents, judgements)


def _require_fit(name: str, first: tuple[str, Evaluation], second: tuple[str, Evaluation]) -> None:
    """Refuse numbers that do not speak of the same thing."""
    (here, one), (there, other) = first, second
    if one.protocol.relevant_from != other.protocol.relevant_from:
        raise InvalidInput(f"{here} and {there} differ in the grade from which a document is relevant; evaluate again")
    ours, theirs = one.evidence[name], other.evidence[name]
    if set(ours.judgements) != set(theirs.judgements):
        raise InvalidInput(
            f"{here} and {there} are not of the same queries of {name!r}: {len(ours.judgements)} and "
            f"{len(theirs.judgements)}, {len(set(ours.judgements) & set(theirs.judgements))} of them in both; evaluate "
            "again, with as many"
        )
    if ours.judgements != theirs.judgements:
        query = next(query for query, said in ours.judgements.items() if theirs.judgements[query] != said)
        raise InvalidInput(
            f"{here} and {there} do not have the same judgements of {name!r}, of the query {query!r} for one"
        )
    if ours.runs[FIRST_STAGE].lists != theirs.runs[FIRST_STAGE].lists:
        raise InvalidInput(
            f"{here} and {there} put different lists of {name!r} in order: their first stages or depths are not the "
            "same; evaluate again, with the same ones"
        )


def _environment(evaluations: Evaluations) -> Environment:
    """Return what all ran in; where that is not the same, all of it."""
    known = dict.fromkeys(name for one in evaluations.values() for name in one.environment)
    return {
        name: " | ".join(dict.fromkeys(one.environment.get(name, "none") for one in evaluations.values()))
        for name in known
    }


def _cautions(evaluations: Evaluations, sources: Mapping[str, Evaluations]) -> list[str]:
    machines = {tuple(one.environment.get(part) for part in _MACHINE) for one in evaluations.values()}
    cautions = []
    if len(machines) > 1:
        cautions.append("latencies were measured on different machines; do not compare those of one with the other's")
    dropped = sorted({name for one in evaluations.values() for name in one.collections} - set(sources))
    if dropped:
        cautions.append(f"not all evaluations have {', '.join(map(repr, dropped))}; left out")
    return cautions
