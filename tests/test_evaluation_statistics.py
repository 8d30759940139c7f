"""How sure the numbers are: drawing queries anew, flipping signs, Holm's steps, and ratings from wins."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resift.evaluation.ratings import ANCHOR, outcomes, pairs_of, ratings, win_rates
from resift.evaluation.resampling import flipped_means, resampled_means
from resift.evaluation.significance import holm, p_values

SHARES = st.floats(0, 1, allow_nan=False)


def _chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# resampling


def test_intervals_hold_what_they_should() -> None:
    """The spread of resampled means is that of a mean of so many queries."""
    columns = _chance(1).normal(0.4, 0.3, (400, 2))

    means = resampled_means(columns, rounds=4000, chance=_chance())

    assert means.shape == (4000, 2)
    assert means.mean(axis=0) == pytest.approx(columns.mean(axis=0), abs=0.002)
    assert means.std(axis=0) == pytest.approx(columns.std(axis=0) / np.sqrt(400), rel=0.06)


def test_columns_are_drawn_together() -> None:
    """Every round draws the same queries for all columns, so that differences are of the same queries."""
    column = _chance(1).normal(size=50)

    means = resampled_means(np.stack([column, column + 1], axis=1), rounds=200, chance=_chance())

    assert means[:, 1] - means[:, 0] == pytest.approx(np.ones(200))


@pytest.mark.parametrize("draw", [resampled_means, flipped_means])
def test_pieces_make_one_whole(draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many queries are worked on in pieces of bounded size; all rounds are there."""
    monkeypatch.setattr("resift.evaluation.resampling._CHUNK", 70)

    assert draw(np.ones((10, 3)), rounds=23, chance=_chance()).shape == (23, 3)


# randomisation


def _exact(differences: list[float]) -> float:
    """Return the share of all ways to give signs that make a mean at least as large."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(differences))))
    means = np.abs(signs @ np.array(differences)) / len(differences)
    return float(np.mean(means >= abs(np.mean(differences)) - 1e-12))


@settings(deadline=None)
@given(differences=st.lists(st.sampled_from([-0.5, -0.2, 0.0, 0.1, 0.3, 0.4]), min_size=1, max_size=9))
def test_p_is_the_share_of_all_signs(differences: list[float]) -> None:
    """Signs by chance come to what trying all of them comes to."""
    column = np.array(differences)[:, None]

    p = p_values(column.mean(axis=0), flipped_means(column, rounds=10_000, chance=_chance()))

    assert p[0] == pytest.approx(_exact(differences), abs=0.03)


def test_no_difference_is_no_evidence() -> None:
    """Two that are equal at every query have p = 1."""
    column = np.zeros((30, 1))

    assert p_values(column.mean(axis=0), flipped_means(column, rounds=100, chance=_chance())) == [1]


def test_p_is_never_0() -> None:
    """Chance may always do it: with n rounds the smallest p is 1 in n + 1."""
    column = np.full((200, 1), 0.3)

    assert p_values(column.mean(axis=0), flipped_means(column, rounds=999, chance=_chance())) == [0.001]


def test_p_is_fair_where_nobody_is_better() -> None:
    """Of comparisons between equals, about one in twenty has p < 0.05."""
    columns = _chance(2).normal(size=(40, 600))

    p = p_values(columns.mean(axis=0), flipped_means(columns, rounds=1000, chance=_chance()))

    assert 0.02 < np.mean(p < 0.05) < 0.085


def test_holm_steps_down() -> None:
    """The smallest p pays for all, the next for all but one, and none becomes smaller than one before it."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.5])) == pytest.approx([1.0, 1.0])


@given(st.lists(SHARES, min_size=1, max_size=8))
def test_holm_keeps_the_order(p: list[float]) -> None:
    """Adjusted p-values are no smaller, at most 1, and in the order of those before."""
    adjusted = holm(np.array(p))

    assert np.all((adjusted >= np.array(p)) & (adjusted <= 1))
    for (one, its), (other, others) in itertools.combinations(zip(p, adjusted, strict=True), 2):
        assert (one <= other) <= (its <= others)


# ratings


def _mm(rates: Any, games: float) -> Any:
    """Return the ratings by the slow, sure way: one player's strength after the other's."""
    players = len(rates)
    wins = games * rates + 0.25
    np.fill_diagonal(wins, 0)
    strengths = np.ones(players)
    for _ in range(20_000):
        met = (wins + wins.T) / (strengths[:, None] + strengths[None, :])
        strengths = wins.sum(axis=1) / met.sum(axis=1)
        strengths /= strengths[0]
    return ANCHOR + 400 / np.log(10) * np.log(strengths)


@settings(deadline=None, max_examples=25)
@given(shares=st.lists(SHARES, min_size=3, max_size=3), games=st.sampled_from([1, 7, 40]))
def test_ratings_are_the_likeliest(shares: list[float], games: int) -> None:
    """Newton's method comes where the classical iteration comes, whoever wins how much."""
    rates = win_rates(np.array(shares), 3)

    assert ratings(rates, games) == pytest.approx(_mm(rates, games), abs=0.01)


@settings(deadline=None)
@given(data=st.data(), players=st.integers(2, 6), games=st.sampled_from([1, 300, 20_000]))
def test_ratings_explain_the_wins(data: st.DataObject, players: int, games: int) -> None:
    """At the ratings each player is expected to win as much as he won, however lopsided it was."""
    count = len(pairs_of(players))
    shares = np.array(data.draw(st.lists(SHARES | st.sampled_from([0.0, 1.0]), min_size=count, max_size=count)))
    rates = win_rates(shares, players)

    rated = ratings(rates, games)

    expected = 1 / (1 + 10 ** ((rated[None, :] - rated[:, None]) / 400))
    others = 1 - np.eye(players)
    won = ((games * rates + 0.25) * others).sum(axis=1)
    assert (expected * others * (games + 0.5)).sum(axis=1) == pytest.approx(won, rel=1e-6, abs=1e-6 * games)


def test_ten_to_one_is_400_points() -> None:
    """The scale is Elo's, and the first player is where it is fixed."""
    rated = ratings(win_rates(np.array([1 / 11]), 2), 1e9)

    assert rated == pytest.approx([1500, 1900], abs=0.01)


def test_equals_have_equal_ratings() -> None:
    """Who plays against the others exactly as somebody else does is rated as he is."""
    rates = win_rates(np.array([0.3, 0.3, 0.4, 0.5, 0.7, 0.7]), 4)

    rated = ratings(rates, 100)

    assert rated[1] == pytest.approx(rated[2], abs=1e-9)


def test_many_sets_of_games_are_rated_as_one_by_one() -> None:
    """A stack of win rates gives the ratings of each."""
    stack = win_rates(_chance(3).random((20, 6)), 4)

    assert ratings(stack, 50) == pytest.approx(np.array([ratings(rates, 50) for rates in stack]), abs=1e-6)


def test_a_single_player_is_the_anchor() -> None:
    """Where nobody plays, the first stage still has its rating."""
    assert ratings(win_rates(np.zeros(0), 1), 10) == [1500]


def test_a_small_lead_is_a_draw() -> None:
    """Who is ahead by no more than a draw has not won."""
    values = np.array([[0.5, 0.505, 0.6], [0.5, 0.3, 0.5]])

    assert outcomes(values, draw_within=0.005).tolist() == [[0.5, 0.0, 0.0], [1.0, 0.5, 0.0]]
