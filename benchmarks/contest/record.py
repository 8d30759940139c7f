"""What is kept of a run: one JSON file that says what was measured, of what, where, and how it came out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contest import machine
from benchmarks.contest.contestants import Contestant, baseline, exact
from benchmarks.contest.figures import Tally, agreement, crowd, latency, ratio, spread
from benchmarks.contest.sizes import Size


@dataclass(frozen=True)
class Work:
    """How much was asked."""

    pairs: int
    tokens: int
    operations: float
    """Of all layers' products on the real tokens of a round."""

    documents_of_a_crowd: int


def make_record(
    size: Size,
    device: str,
    work: Work,
    *,
    rows: Sequence[Contestant],
    tallies: Mapping[str, Tally],
    told: dict[str, Any],
) -> dict[str, Any]:
    """Return the record of a run; `told` goes in as it is."""
    one, reference = baseline(size, device), exact(size)
    ceilings: Mapping[str, float] = told["ceilings, operations a second"]
    formats = {row.dtype: row.name for row in reversed(rows) if row.peer == _reference_peer(size) and not row.graph}
    return {
        "model": size.title,
        "machine": machine.name_of(device),
        "commit": machine.commit(),
        **told,
        "pairs a round": work.pairs,
        "tokens a round": work.tokens,
        "operations a round": work.operations,
        "ratio to": one,
        "scores compared with": reference,
        "rows": [
            _row(
                row,
                tallies,
                work,
                ceiling=ceilings.get(row.dtype),
                one=one,
                alike=formats.get(row.dtype, ""),
                reference=reference,
            )
            for row in rows
        ],
    }


def without_places(words: str) -> str:
    """Return words without addresses, and without the folders that files lie in."""
    words = re.sub(r"https?://\S+", "...", words)
    return re.sub(r"(?<![\w.])(?:/[\w.+@-]+)+/([\w.+@-]+)", r"\1", words)


def _reference_peer(size: Size) -> str:
    return "transformers" if size.template else "sentence_transformers"


def _row(
    row: Contestant,
    tallies: Mapping[str, Tally],
    work: Work,
    *,
    ceiling: float | None,
    one: str,
    alike: str,
    reference: str,
) -> dict[str, Any]:
    tally = tallies[row.name]
    kept: dict[str, Any] = {"name": row.name, "peer": row.peer, "dtype": row.dtype}
    if tally.why_not:
        kept["why not"] = without_places(tally.why_not)
    if tally.ready:
        loading = {name: tally.ready[name] for name in ("ready_s", "import_s")}
        kept |= {"versions": tally.ready["versions"], "loading": loading, "first call s": tally.first_call_s}
        kept |= {"peak bytes": tally.peak_bytes, "gpu peak bytes": tally.gpu_peak_bytes}
    if not tally.seconds:
        return kept
    seconds = spread(list(tally.seconds.values()))
    kept |= {
        "rounds": len(tally.seconds),
        "seconds a round": list(tally.seconds.values()),
        "pairs a second": spread([work.pairs / second for second in tally.seconds.values()]),
        "ratio": ratio(tally.seconds, tallies[one].seconds) if one in tallies else None,
        "share of the ceiling": work.operations / seconds["median"] / ceiling if ceiling else None,
    }
    if alike in tallies and row.dtype != "int8":
        kept["ratio in its format"] = {"to": alike, "ratio": ratio(tally.seconds, tallies[alike].seconds)}
    if reference in tallies and tallies[reference].scores:
        kept["scores"] = agreement(tally.scores, tallies[reference].scores)
    if tally.latencies:
        kept["short request s"] = latency(tally.latencies)
    if tally.callers:
        kept["callers"] = {name: crowd(rounds, work.documents_of_a_crowd) for name, rounds in tally.callers.items()}
    return kept
