"""Sequences that are read in several places: to everybody their own rows, whoever shares the batch, whatever fails."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from resift.errors import ScoringFailed
from resift.scoring.backends import Outputs
from resift.scoring.jobs import places
from resift.scoring.planning import NO_IDS, Batch, Ids, Tokens
from test_engine import INF, NAN, PATIENCE_S, POISON, FakeBackend, held, ids, result, running


def _tokens(*values: int, read: Sequence[int] | None = None) -> Tokens:
    return Tokens(ids(*values), read=None if read is None else ids(*read))


def _rows(sequence: Tokens, prefix: Ids = NO_IDS) -> Outputs:
    """Return what a fake model says of each place that is read: where it is, in what, behind what."""
    read = ids(0) if sequence.read is None else sequence.read
    whole = np.concatenate([prefix, sequence.ids]).astype(np.int64)
    places = read.astype(np.int64) + len(prefix)
    of_all = np.full(len(places), whole @ np.arange(1, len(whole) + 1) % 65_521)
    return np.stack([places, whole[places], of_all], axis=1).astype(np.float32)


def _all_rows(sequences: Sequence[Tokens], prefix: Ids = NO_IDS) -> Outputs:
    return np.concatenate([_rows(sequence, prefix) for sequence in sequences])


class ReadingBackend(FakeBackend):
    """A device that reads sequences where they say."""

    def run(self, batch: Batch) -> Outputs:
        super().run(batch)
        rows = [_rows(sequence, batch.prefix(at)) for at, sequence in enumerate(batch.sequences)]
        for sequence, found in zip(batch.sequences, rows, strict=True):
            found[-1, 1] = {NAN: np.nan, INF: -np.inf}.get(int(sequence.ids[-1]), found[-1, 1])
        return np.concatenate(rows)


MANY = [_tokens(4, 5, 6, read=[0, 2]), _tokens(7, read=[0]), _tokens(8, 9, 10, 11, read=[3, 1, 1, 2, 0])]
ONE = [_tokens(12, 13), _tokens(14)]
SHARED = [_tokens(15, 16, read=[1]), _tokens(17, 18, 19, read=[0, 1, 2])]
PREFIX = ids(20, 21, 22)

SEQUENCES = st.lists(
    st.lists(st.integers(3, 500), min_size=1, max_size=12).flatmap(
        lambda values: st.tuples(
            st.just(values), st.none() | st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=15)
        )
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(jobs=st.lists(SEQUENCES, min_size=1, max_size=5), limit=st.sampled_from([1, 8, 64]), padded=st.booleans())
def test_everybody_gets_the_rows_of_their_places(
    *, jobs: list[list[tuple[list[int], list[int] | None]]], limit: int, padded: bool
) -> None:
    """However jobs are cut and merged, each has the rows of its sequences in their order, and of a sequence in its."""
    backend = ReadingBackend(limit, padded=padded)
    asked = [[_tokens(*values, read=read) for values, read in job] for job in jobs]
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit(sequences) for sequences in asked]
        for sequences, future in zip(asked, futures, strict=True):
            assert_array_equal(result(future), _all_rows(sequences))


def test_as_many_rows_as_sequences_are_not_one_each() -> None:
    """A job of as many rows as sequences, but two of one and none of the next, has its rows where they belong."""
    assert_array_equal(places([0, 2, 1], [1]), [0, 1])
    assert_array_equal(places([0, 2, 1], [2, 0]), [2])
    assert_array_equal(places([1, 1, 1], [2, 0]), [2, 0])


def test_many_rows_and_one_share_a_batch() -> None:
    """A job of one row per sequence, one of several, and one behind a prefix run together, and none gets another's."""
    backend = ReadingBackend()
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit(MANY), engine.submit(ONE), engine.submit(SHARED, PREFIX)]
        for sequences, prefix, future in zip((MANY, ONE, SHARED), (NO_IDS, NO_IDS, PREFIX), futures, strict=True):
            assert_array_equal(result(future), _all_rows(sequences, prefix))
        assert max(len(batch.sequences) for batch in backend.batches) == 7, "they did not share a batch"


def test_a_cancelled_job_leaves_no_rows_to_others() -> None:
    """The rows of a job that nobody waits for any more are not read, and shift nobody else's."""
    backend = ReadingBackend()
    with running(backend) as engine:
        with held(engine, backend):
            first, second, third = engine.submit(ONE), engine.submit(MANY), engine.submit(SHARED, PREFIX)
            assert second.cancel()
        assert_array_equal(result(first), _all_rows(ONE))
        assert_array_equal(result(third), _all_rows(SHARED, PREFIX))
        assert not any(tuple(sequence.ids) in backend.seen() for sequence in MANY)


def test_a_poisoned_job_of_many_rows_fails_alone() -> None:
    """Of the jobs of a failed batch each is run again alone, and who is not at fault gets the rows of its places."""
    backend = ReadingBackend()
    poisoned = [_tokens(1, 2, read=[0, 1]), _tokens(3, POISON, read=[1, 0, 1])]
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit(MANY), engine.submit(poisoned), engine.submit(ONE)]
        assert_array_equal(result(futures[0]), _all_rows(MANY))
        assert_array_equal(result(futures[2]), _all_rows(ONE))
        assert isinstance(futures[1].exception(PATIENCE_S), ScoringFailed)


@pytest.mark.parametrize("broken", [NAN, INF])
def test_a_broken_row_fails_its_own_job(broken: int) -> None:
    """A row that is no number fails the job that it is of, counted once per text, and no other."""
    backend = ReadingBackend()
    with running(backend) as engine:
        with held(engine, backend):
            bad = engine.submit([_tokens(5, broken, read=[0, 1, 1]), _tokens(6, 7, read=[1])])
            good = engine.submit(MANY)
        assert_array_equal(result(good), _all_rows(MANY))
        assert "1 of 2 texts" in str(bad.exception(PATIENCE_S))


@pytest.mark.parametrize("capacity", [4, 6, 9])
def test_memory_that_runs_out_costs_no_rows(capacity: int) -> None:
    """Where a batch does not fit it is planned anew, in smaller ones, and everybody still gets their own rows."""
    backend = ReadingBackend(capacity=capacity)
    with running(backend) as engine:
        with held(engine, backend):
            futures = [engine.submit(MANY), engine.submit(ONE)]
        for sequences, future in zip((MANY, ONE), futures, strict=True):
            assert_array_equal(result(future), _all_rows(sequences))


@pytest.mark.parametrize("rows", [9, 11])
def test_a_wrong_number_of_rows_is_a_failure(rows: int) -> None:
    """A backend that returns more or fewer rows than there are places fails the call, and hands nobody's to another."""
    backend = ReadingBackend()
    backend.run = lambda batch: np.zeros((rows, 3), dtype=np.float32)  # type: ignore[method-assign]
    with running(backend) as engine:
        assert "rows are due" in str(engine.submit(MANY + ONE).exception(PATIENCE_S))
