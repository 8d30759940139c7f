"""The contestants' processes: started when they are needed, kept while there is memory for all of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest.contestants import Contestant
from benchmarks.contest.environments import NotMade, python_for
from benchmarks.contest.figures import Tally
from benchmarks.contest.graphs import Graphs
from benchmarks.contest.workers import Failed, Worker

PEERS = Path(__file__).resolve().parent.parent / "peers"
LOAD_S = 600.0
"""How long loading may take."""


@dataclass(frozen=True)
class Setting:
    """What is the same for all contestants."""

    folder: Path
    """Where their logs go."""

    graphs: Graphs
    """Which folder a contestant loads."""

    told: Mapping[str, Any]
    """Device, threads, the longest sequence: what every worker is told."""

    memory_bytes: int
    """How much all living processes may hold together."""

    here: bool = False
    """Whether peers run in this environment instead of their own."""


class Stable:
    """One worker per contestant. Where not all fit into memory at once, who has just played makes room."""

    def __init__(self, setting: Setting, tallies: Mapping[str, Tally]) -> None:
        self._setting, self._tallies = setting, tallies
        self._alive: dict[str, Worker] = {}

    def get(self, contestant: Contestant) -> Worker:
        """Return the contestant's worker, loaded; Failed if that cannot be."""
        name = contestant.name
        if name not in self._alive:
            needed = self._tallies[name].peak_bytes
            while self._alive and self._held() + needed > self._setting.memory_bytes:
                self.drop(next(reversed(self._alive)))  # the others are needed sooner
            self._alive[name], ready = self._start(contestant)
            self._tallies[name].ready = self._tallies[name].ready or ready
        return self._alive[name]

    def __contains__(self, name: str) -> bool:
        return name in self._alive

    def drop(self, name: str) -> None:
        """End a contestant's process, if it has one."""
        if name in self._alive:
            self._alive.pop(name).close()

    def close(self) -> None:
        """End all of them."""
        for name in list(self._alive):
            self.drop(name)

    def _held(self) -> int:
        return sum(self._tallies[name].peak_bytes for name in self._alive)

    def _start(self, contestant: Contestant) -> tuple[Worker, dict[str, Any]]:
        setting, peer = self._setting, PEERS / contestant.peer
        if reason := setting.graphs.why_not(contestant.graph, contestant.dtype):
            raise Failed(reason)
        try:
            python = python_for(PEERS / "resift" if setting.here else peer)
        except NotMade as error:
            raise Failed(f"its environment could not be made: {error}") from error
        log = setting.folder / f"{re.sub('[^a-z0-9]+', '-', contestant.name.casefold())}.log"
        model = setting.graphs.folder(contestant.graph)
        worker = Worker(python, peer, model, settings={**setting.told, **contestant.settings}, log=log)
        try:
            return worker, worker.wait_until_ready(LOAD_S)
        except BaseException:
            worker.close()
            raise
