"""Rounds in which all contestants take turns, one at work at any time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest.contestants import Contestant
from benchmarks.contest.figures import Tally
from benchmarks.contest.stable import Setting, Stable
from benchmarks.contest.workers import Failed

CALLERS = 8
PATIENCE_S = 900.0
"""How long one answer may take."""

SHORT_S = 20.0
"""How long a round of short requests may take; what does not fit is left out."""

FEWEST = 3
"""So many rounds are played by everybody."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Requests:
    """Files of requests."""

    warm_up: Path
    long: Path
    short: Path
    crowd: Path


@dataclass(frozen=True)
class Rules:
    """How long it is played."""

    rounds: int
    seconds: float
    """Who has worked for so long on the long requests, and in three rounds at least, has played enough."""


def play(
    contestants: Sequence[Contestant], setting: Setting, requests: Requests, *, rules: Rules, say: Say
) -> dict[str, Tally]:
    """Let everybody load and warm up, then take turns, and return what was measured."""
    tallies = {contestant.name: Tally() for contestant in contestants}
    stable = Stable(setting, tallies)
    try:
        for contestant in contestants:
            say(f"loading {contestant.name}")
            _guarded(contestant, tallies, stable, lambda: _prepare(contestant, tallies, stable, requests))  # noqa: B023
        for number in range(rules.rounds):
            began = time.perf_counter()
            turn = number % len(contestants)
            for contestant in (*contestants[turn:], *contestants[:turn]):  # nobody is always behind the same one
                if not _has_played_enough(tallies[contestant.name], number, rules):
                    say(f"round {number + 1} of {rules.rounds}: {contestant.name}")
                    _guarded(
                        contestant,
                        tallies,
                        stable,
                        lambda: _play_round(contestant, tallies, stable, requests, number),  # noqa: B023
                    )
            say(f"round {number + 1} of {rules.rounds} took {time.perf_counter() - began:.0f} s")
    finally:
        stable.close()
    return tallies


def _guarded(contestant: Contestant, tallies: dict[str, Tally], stable: Stable, run: Callable[[], None]) -> None:
    """Write a contestant's failure into its row; it plays no more, the others go on."""
    tally = tallies[contestant.name]
    if tally.why_not:
        return
    try:
        run()
    except Failed as error:
        tally.why_not = str(error)
        stable.drop(contestant.name)


def _has_played_enough(tally: Tally, number: int, rules: Rules) -> bool:
    return number >= FEWEST and sum(tally.seconds.values()) > rules.seconds


def _prepare(contestant: Contestant, tallies: dict[str, Tally], stable: Stable, requests: Requests) -> None:
    """Load, call for the first time, and warm up."""
    worker, tally = stable.get(contestant), tallies[contestant.name]
    first = worker.ask(PATIENCE_S, ask="score", requests=str(requests.short), at_most_s=0)
    tally.first_call_s = first["seconds"][0]
    worker.ask(PATIENCE_S, ask="score", requests=str(requests.warm_up), at_most_s=SHORT_S)
    tally.peak_bytes = worker.ask(PATIENCE_S, ask="memory")["peak_bytes"]


def _play_round(
    contestant: Contestant, tallies: dict[str, Tally], stable: Stable, requests: Requests, number: int
) -> None:
    known = contestant.name in stable
    worker, tally = stable.get(contestant), tallies[contestant.name]
    if not known:  # it had to make room and comes back cold
        worker.ask(PATIENCE_S, ask="score", requests=str(requests.warm_up), at_most_s=SHORT_S)
    played = worker.ask(PATIENCE_S, ask="score", requests=str(requests.long), at_most_s=PATIENCE_S)
    tally.seconds[number], tally.scores = sum(played["seconds"]), played["scores"]
    short = worker.ask(PATIENCE_S, ask="score", requests=str(requests.short), at_most_s=SHORT_S)
    tally.latencies += short["seconds"]
    for together in (False, True)[: 1 + contestant.together] if contestant.in_turns else ():
        crowd = worker.ask(PATIENCE_S, ask="callers", requests=str(requests.crowd), callers=CALLERS, together=together)
        name = "together" if together else "in turns"
        tally.callers.setdefault(name, []).append((crowd["seconds"], crowd["latencies"]))
    memory = worker.ask(PATIENCE_S, ask="memory")
    tally.peak_bytes = max(tally.peak_bytes, memory["peak_bytes"])
    tally.gpu_peak_bytes = memory["gpu_peak_bytes"]
