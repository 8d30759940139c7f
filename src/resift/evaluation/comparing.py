"""From what each row is worth at each query to how the rows stand to each other, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from resift.evaluation.ratings import outcomes, pairs_of, ratings, win_rates
from resift.evaluation.record import Comparison, Estimate, Protocol, Rating, Standing
from resift.evaluation.resampling import flipped_means, resampled_means
from resift.evaluation.significance import holm, p_values
from resift.evaluation.ties import Floats

_SAME = 1e-6  # ratings that are no further apart are one


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What each row is worth at each query: (queries, rows, measures), the oracle's row last."""

    rows: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Means over the queries of one collection, and what they might have been."""

    games: int
    means: Floats  # (rows, measures)
    shares: Floats  # (pairs,): who wins
    drawn_means: Floats  # (rounds, rows, measures)
    drawn_shares: Floats  # (rounds, pairs)
    flipped: Floats  # (rounds, pairs): differences that chance made


def compare(tables: Mapping[str, Table], protocol: Protocol) -> tuple[dict[str, Standing], Standing]:
    """Return the standing on each collection, and that over all, where each collection counts the same."""
    rows = next(iter(tables.values())).rows
    samples = {name: _sample(name, table.values, protocol) for name, table in tables.items()}
    standings = {name: _standing(rows, sample, protocol) for name, sample in samples.items()}
    return standings, _standing(rows, _overall(list(samples.values())), protocol)


def _sample(name: str, values: Floats, protocol: Protocol) -> _Sample:
    queries, rows, measures = values.shape
    players = values[:, :-1, 0]
    won = outcomes(players, draw_within=protocol.draw_within)
    first, second = np.array(pairs_of(rows - 1), dtype=np.int64).reshape(-1, 2).T
    columns = np.concatenate((values.reshape(queries, -1), won), axis=1)
    # Seeded by name, so that a collection's numbers do not depend on which others are measured beside it.
    chance = np.random.default_rng([protocol.seed, crc32(name.encode())])
    drawn = resampled_means(columns, rounds=protocol.resamples, chance=chance)
    return _Sample(
        games=queries,
        means=values.mean(axis=0),
        shares=won.mean(axis=0),
        drawn_means=drawn[:, : rows * measures].reshape(-1, rows, measures),
        drawn_shares=drawn[:, rows * measures :],
        flipped=flipped_means(players[:, first] - players[:, second], rounds=protocol.flips, chance=chance),
    )


def _overall(samples: Sequence[_Sample]) -> _Sample:
    """Return the mean of samples. What was drawn for each was drawn for itself, so rounds may be paired as they are."""
    return _Sample(
        games=sum(sample.games for sample in samples),
        **{
            part: np.mean([getattr(sample, part) for sample in samples], axis=0)
            for part in ("means", "shares", "drawn_means", "drawn_shares", "flipped")
        },
    )


def _standing(rows: tuple[str, ...], sample: _Sample, protocol: Protocol) -> Standing:
    players = rows[:-1]
    rates = win_rates(sample.shares, len(players))
    drawn = ratings(win_rates(sample.drawn_shares, len(players)), sample.games)
    return Standing(
        measures={
            row: {
                measure: _estimate(sample.means[at, which], sample.drawn_means[:, at, which])
                for which, measure in enumerate(protocol.measures)
            }
            for at, row in enumerate(rows)
        },
        comparisons=_comparisons(players, sample, protocol.baseline),
        ratings=_ratings(players, ratings(rates, sample.games), drawn),
        wins=_matrix(players, rates),
        ahead=_matrix(players, _ahead(drawn)),
    )


def _comparisons(players: Sequence[str], sample: _Sample, baseline: str | None) -> tuple[Comparison, ...]:
    """Compare each two, or all with the baseline, the later one of the rows first."""
    asked = [
        (pair, *ends)
        for pair, ends in enumerate(pairs_of(len(players)))
        if baseline is None or baseline in (players[ends[0]], players[ends[1]])
    ]
    if not asked:
        return ()
    observed = np.array([sample.means[a, 0] - sample.means[b, 0] for _, a, b in asked])
    p = p_values(observed, sample.flipped[:, [pair for pair, _, _ in asked]])
    made = []
    for (_, a, b), alone, among_all in zip(asked, p.tolist(), holm(p).tolist(), strict=True):
        first, second = (a, b) if players[b] == baseline else (b, a)
        drawn = sample.drawn_means[:, first, 0] - sample.drawn_means[:, second, 0]
        difference = _estimate(sample.means[first, 0] - sample.means[second, 0], drawn)
        made.append(Comparison(players[first], players[second], difference, p=alone, p_holm=among_all))
    return tuple(made)


def _ratings(players: Sequence[str], rated: Floats, drawn: Floats) -> tuple[Rating, ...]:
    ranks, drawn_ranks = _ranks(rated), _ranks(drawn)
    low, high = np.percentile(drawn_ranks, (2.5, 97.5), axis=0, method="nearest")
    made = [
        Rating(row, _estimate(rated[at], drawn[:, at]), int(ranks[at]), int(low[at]), int(high[at]))
        for at, row in enumerate(players)
    ]
    return tuple(sorted(made, key=lambda rating: rating.rank))


def _ranks(rated: Floats) -> Floats:
    """Return the place of each player, 1 for the best; equals share the better place."""
    ranks: Floats = 1.0 + (rated[..., None, :] > rated[..., :, None] + _SAME).sum(axis=-1)
    return ranks


def _ahead(drawn: Floats) -> Floats:
    lead = drawn[:, :, None] - drawn[:, None, :]
    won: Floats = np.where(np.abs(lead) <= _SAME, 0.5, lead > 0).mean(axis=0)
    return won


def _matrix(players: Sequence[str], numbers: Floats) -> dict[str, dict[str, float]]:
    return {
        row: {other: float(numbers[at, against]) for against, other in enumerate(players) if against != at}
        for at, row in enumerate(players)
    }


def _estimate(mean: float, drawn: Floats) -> Estimate:
    low, high = np.percentile(drawn, (2.5, 97.5)).tolist()
    return Estimate(float(mean), low, high)
