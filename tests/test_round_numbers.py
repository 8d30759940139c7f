"""Rows of zeros, which spare oneDNN shapes: how many there are, and that nothing else changes."""

import pytest
import torch

from resift.scoring.backends.torch.linears import in_steps


@pytest.mark.parametrize(
    ("rows", "rounded"),
    [(0, 0), (1, 8), (8, 8), (9, 16), (255, 256), (256, 256), (257, 264), (1023, 1024), (1024, 1024), (1025, 1056)],
)
def test_rows_are_rounded_up_to_a_few_numbers(rows: int, rounded: int) -> None:
    """There are at most seven rows more, or a 32nd, and the first are what they were."""
    for states in (torch.ones(rows, 3), torch.ones(rows, dtype=torch.int64)):
        found = in_steps(states)

        assert len(found) == rounded
        assert torch.equal(found[:rows], states)
        assert not found[rows:].any()
        assert found.dtype == states.dtype


def test_there_are_few_numbers_to_know() -> None:
    """Between one number and its double there are no more than 32."""
    known = {len(in_steps(torch.empty(rows))) for rows in range(1024, 2048)}

    assert len(known) <= 33


def test_only_a_cpu_needs_them() -> None:
    """Elsewhere, rows stay as many as they are."""
    assert len(in_steps(torch.empty(9, 2, device="meta"))) == 9
