"""How it is measured: what a caller said about that, checked, and what the house decides."""

from collections.abc import Sequence
from dataclasses import replace

from resift.amounts import whole
from resift.errors import InvalidInput
from resift.evaluation.record import Protocol
from resift.settings import hint

DRAW_WITHIN = 0.005  # of the first measure: who is ahead by less on a query has not won it
RESAMPLES, FLIPS = 1000, 10_000


def read_protocol(
    *,
    measures: tuple[str, ...],
    first_stage: str,
    depth: int,
    relevant_from: int,
    baseline: str | None,
    timed: bool,
    concurrency: int,
    warm_up: int,
    seed: int,
    players: Sequence[str],
) -> Protocol:
    """Return the protocol, or say what of it cannot mean anything."""
    return Protocol(
        measures=measures,
        first_stage=first_stage,
        depth=whole("depth", depth, advice="it is how many documents of each list are put in order"),
        relevant_from=whole("relevant_from", relevant_from, advice="it is the lowest grade that is relevant"),
        baseline=_read_baseline(baseline, players),
        draw_within=DRAW_WITHIN,
        resamples=RESAMPLES,
        flips=FLIPS,
        seed=whole("seed", seed, least=0),
        timed=bool(timed),
        concurrency=whole("concurrency", concurrency, advice="it is how many queries are asked at one time"),
        warm_up=whole("warm_up", warm_up, least=0, advice="it is how many queries are asked before the clock runs"),
    )


def with_baseline(protocol: Protocol, baseline: str | None, players: Sequence[str]) -> Protocol:
    """Return the protocol with another row to compare with."""
    return replace(protocol, baseline=_read_baseline(baseline, players))


def _read_baseline(baseline: str | None, players: Sequence[str]) -> str | None:
    if baseline is not None and baseline not in players:
        raise InvalidInput(f"baseline={baseline!r} is none of the rows; {hint(baseline, players)}")
    return baseline
