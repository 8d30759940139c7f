"""
Ratings from wins: one query is one game between each two rankers, and all games count at once.

A Bradley-Terry model gives the strengths under which the wins are most likely. Unlike a rating that is updated game by
game, it does not depend on the order of the games. The scale is Elo's: 400 points more are odds of ten to one.
"""

from itertools import combinations

import numpy as np

from resift.evaluation.ties import Floats

ANCHOR = 1500.0  # the rating of the first player
_ELO = 400 / np.log(10)
_VIRTUAL_DRAWS = 0.5  # between each two, so that who wins every game has a rating too
_STEPS, _LONGEST, _CLOSE = 200, 1.0, 1e-10


def pairs_of(players: int) -> list[tuple[int, int]]:
    """Return each two players once."""
    return list(combinations(range(players), 2))


def outcomes(values: Floats, *, draw_within: float) -> Floats:
    """
    Return the outcome of each query, (queries, pairs), from its values, (queries, players).

    1 where the first of the pair wins, 0 where the second does, a half where they are no further apart than a draw.
    """
    first, second = np.array(pairs_of(values.shape[1]), dtype=np.int64).reshape(-1, 2).T
    lead = values[:, first] - values[:, second]
    return np.where(np.abs(lead) <= draw_within + 1e-12, 0.5, (lead > 0).astype(np.float64))


def win_rates(shares: Floats, players: int) -> Floats:
    """Return who wins how much of the games against whom, (..., players, players), from the pairs' shares."""
    first, second = np.array(pairs_of(players), dtype=np.int64).reshape(-1, 2).T
    rates = np.full((*shares.shape[:-1], players, players), 0.5)
    rates[..., first, second], rates[..., second, first] = shares, 1 - shares
    return rates


def ratings(rates: Floats, games: float) -> Floats:
    """
    Return the ratings, (..., players), of win rates, (..., players, players), after so many games of each pair.

    The first player is the anchor. Newton's method climbs the likelihood, which has one summit.
    """
    players = rates.shape[-1]
    played = (games + _VIRTUAL_DRAWS) * (1 - np.eye(players))
    wins = ((games * rates + _VIRTUAL_DRAWS / 2) * (1 - np.eye(players))).sum(axis=-1)
    strengths = np.zeros(rates.shape[:-1])
    for _ in range(_STEPS if players > 1 else 0):
        expected = 1 / (1 + np.exp(strengths[..., None, :] - strengths[..., :, None]))
        steepness = played * expected * (1 - expected)
        slope = wins - (played * expected).sum(axis=-1)
        bend = np.eye(players) * steepness.sum(axis=-1)[..., None] - steepness
        step = np.linalg.solve(bend[..., 1:, 1:], slope[..., 1:, None])[..., 0]
        strengths[..., 1:] += np.clip(step, -_LONGEST, _LONGEST)
        if np.abs(step).max() < _CLOSE:
            break
    rated: Floats = ANCHOR + _ELO * strengths
    return rated
