"""Runs: lists with ties, and the files that hold them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noticing import logged
from resift.evaluation import Listing, Run, read_run, write_run


def test_equal_scores_are_parted_by_rank_and_then_tie(tmp_path: Path) -> None:
    """Scores decide, ranks where scores are equal; what is equal in both is a tie."""
    (tmp_path / "run").write_text("q Q0 a 2 1.0 t\nq Q0 b 1 1.0 t\nq Q0 c 9 3.0 t\nq Q0 d 4 0.5 t\nq Q0 e 4 0.5 t\n")

    with logged() as log:
        found = read_run(tmp_path / "run").of("q")

    assert found == Listing(("c", "b", "a", "d", "e"), (3.0, 1.0, 1.0, 0.5, 0.5), (1, 2, 3, 4, 4))
    assert len(log) == 1
    assert "ranks documents of 1 queries against their scores; scores decide" in log[0]


@settings(deadline=None)
@given(
    lists=st.dictionaries(
        st.text("ab é", min_size=1).filter(lambda text: text == text.strip()),
        st.dictionaries(
            st.text("xyz ü", min_size=1).filter(lambda text: text == text.strip()),
            st.floats(allow_nan=False, allow_infinity=False),
            min_size=1,
        ),
        min_size=1,
    )
)
def test_a_run_that_is_written_is_the_run_that_is_read(
    lists: dict[str, dict[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Scores keep every digit, ties stay ties, and ids may hold blanks."""
    run = Run("my system", {query: Listing.by_score(found, found.values()) for query, found in lists.items()})
    path = tmp_path_factory.mktemp("runs") / "a.run"

    write_run(run, path)

    assert read_run(path, name="my system") == run
    assert read_run(path).name == "my-system"  # a tag with a blank would be two columns to others


def test_a_tie_is_never_cut_in_two() -> None:
    """The best of a list are those whose rank is small enough, so a pool in no order stays whole."""
    listing = Listing.by_score("abcde", [5, 3, 3, 3, 1])

    assert listing.top(1).documents == ("a",)
    assert listing.top(2).documents == listing.top(3).documents == ("a", "b", "c", "d")
    assert Listing.unordered("abc").top(1).documents == ("a", "b", "c")
