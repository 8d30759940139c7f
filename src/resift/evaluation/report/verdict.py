"""What the numbers say, in two sentences that claim no more than they prove."""

from resift.evaluation.record import FIRST_STAGE
from resift.evaluation.report.scopes import Scope
from resift.evaluation.report.wording import lead, several, share

_CERTAIN = 0.05


def verdict(scope: Scope) -> str:
    """Return who is ahead by the measure that decides, of whom that can be said, and of whom it cannot."""
    players = [rating.row for rating in scope.standing.ratings]
    best = max(players, key=lambda row: scope.quality(row).mean)
    found, first = scope.quality(best), scope.quality(FIRST_STAGE)
    asked = several(scope.queries, "query", "queries")
    if best == FIRST_STAGE:
        said = f"Nobody improves on the first stage: its {scope.measure} is {share(first.mean)} over {asked}."
        return f"{said} {_doubt(scope, best, players)}".strip()
    said = (
        f"{best} is ahead: its {scope.measure} is {share(found.mean)} (95 % {share(found.low)} to {share(found.high)}) "
        f"over {asked}, {lead(found.mean - first.mean)} over the first stage."
    )
    return f"{said} {_doubt(scope, best, players)}".strip()


def _doubt(scope: Scope, best: str, players: list[str]) -> str:
    """Say whose distance to the best may be chance."""
    p = {}
    for one in scope.standing.comparisons:
        if best in (one.first, one.second):
            p[one.second if one.first == best else one.first] = one.p_holm
    near = [row for row in players if row != best and p.get(row, 0.0) >= _CERTAIN]
    untold = [row for row in players if row != best and row not in p]
    if near:
        return f"Its lead over {_and(near)} may be chance."
    if untold:
        return ""
    return "Chance does not explain its lead over any other row." if len(players) > 1 else ""


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
