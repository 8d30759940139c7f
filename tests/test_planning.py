"""Planning: every sequence in one batch, no batch over the limit, whatever the lengths."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from resift.scoring.planning import Batch, Ids, Item, Tokens, batch_cost, plan_batches, share_out

LIMITS = st.integers(1, 150)
# A group is the prefix that it shares, 0 for none, and the length of each of its sequences.
GROUPS = st.lists(
    st.tuples(st.one_of(st.just(0), st.integers(1, 40)), st.lists(st.integers(0, 50), min_size=1, max_size=12)),
    max_size=6,
)


@st.composite
def _works(draw: st.DrawFn) -> list[Item]:
    """Sequences of several groups in any order."""
    groups = enumerate(draw(GROUPS))
    items = [Item(length, group, shared) for group, (shared, lengths) in groups for length in lengths]
    return draw(st.permutations(items))


def _cost(items: Sequence[Item], *, padded: bool) -> int:
    """Count what a batch costs, straight from the definition."""
    if padded:
        return max(item.length + item.shared for item in items) * len(items)
    return sum(item.length for item in items) + sum({item.group: item.shared for item in items}.values())


def _planned(items: Sequence[Item], limit: int, *, padded: bool) -> list[list[Item]]:
    return [[items[at] for at in batch] for batch in plan_batches(items, limit, padded=padded)]


def _ids(length: int) -> Ids:
    return np.arange(length, dtype=np.int32)


# what always holds


@given(items=_works(), limit=LIMITS, padded=st.booleans())
def test_batches_partition_the_work(*, items: list[Item], limit: int, padded: bool) -> None:
    """Every sequence is in exactly one batch, and no batch is empty."""
    plan = plan_batches(items, limit, padded=padded)

    assert sorted(at for batch in plan for at in batch) == list(range(len(items)))
    assert all(plan)


@given(_works(), LIMITS)
def test_a_packed_batch_respects_the_limit(items: list[Item], limit: int) -> None:
    """Neither lengths nor prefixes of a packed batch exceed the limit, unless it is one sequence, or one group."""
    for batch in _planned(items, limit, padded=False):
        groups = {item.group: item.shared for item in batch}
        assert len(batch) == 1 or sum(item.length for item in batch) <= limit
        assert len(groups) == 1 or sum(groups.values()) <= limit


def test_a_long_prefix_is_not_computed_for_every_few() -> None:
    """A prefix that almost fills a batch is joined by as many as fit a batch without it."""
    items = [Item(100, 7, 1900)] * 40

    assert [len(batch) for batch in plan_batches(items, 2048)] == [20, 20]


@given(_works(), LIMITS)
def test_a_padded_batch_respects_the_limit(items: list[Item], limit: int) -> None:
    """The longest whole sequence of a padded batch times their number is the limit at most, unless it is single."""
    for batch in _planned(items, limit, padded=True):
        assert len(batch) == 1 or _cost(batch, padded=True) <= limit


@given(items=_works(), limit=LIMITS, padded=st.booleans())
def test_a_batch_ends_only_where_it_is_full(*, items: list[Item], limit: int, padded: bool) -> None:
    """A batch ends only before a sequence that would exceed the limit."""
    for batch, following in pairwise(_planned(items, limit, padded=padded)):
        assert _cost([*batch, following[0]], padded=padded) > limit


@given(items=_works(), limit=LIMITS, padded=st.booleans())
def test_sequences_that_share_a_prefix_stay_together(*, items: list[Item], limit: int, padded: bool) -> None:
    """Nothing comes between the sequences of a shared prefix, and what fits one batch is in no more than two."""
    plan = _planned(items, limit, padded=padded)
    in_a_row = [group for group, _ in groupby(item.group for batch in plan for item in batch if item.shared)]
    batches_of = Counter(group for batch in plan for group in {item.group for item in batch if item.shared})

    assert len(in_a_row) == len(set(in_a_row))
    for group, batches in batches_of.items():
        whole = [item for item in items if item.group == group]
        assert batches <= 2 or _cost(whole, padded=padded) > limit


@given(items=_works(), limit=LIMITS, padded=st.booleans())
def test_the_longest_run_first(*, items: list[Item], limit: int, padded: bool) -> None:
    """Within a group lengths only fall; all sequences without a prefix are one group in this."""
    lengths: dict[int | None, list[int]] = {}
    for batch in _planned(items, limit, padded=padded):
        for item in batch:
            lengths.setdefault(item.group if item.shared else None, []).append(item.length)

    assert all(falling == sorted(falling, reverse=True) for falling in lengths.values())


@given(items=_works(), limit=LIMITS, padded=st.booleans())
def test_a_plan_is_deterministic(*, items: list[Item], limit: int, padded: bool) -> None:
    """The same work gives the same plan."""
    assert plan_batches(items, limit, padded=padded) == plan_batches(tuple(items), limit, padded=padded)


@given(items=_works(), limit=LIMITS, padded=st.booleans(), data=st.data())
def test_the_order_of_the_input_does_not_matter(
    *, items: list[Item], limit: int, padded: bool, data: st.DataObject
) -> None:
    """Batches of the same lengths come out, in whatever order the work comes in."""
    shuffled = data.draw(st.permutations(items))

    def shape(work: list[Item]) -> list[list[tuple[int, int]]]:
        return [[(item.length, item.shared) for item in batch] for batch in _planned(work, limit, padded=padded)]

    assert shape(shuffled) == shape(items)


@settings(max_examples=50)
@given(_works(), LIMITS)
def test_a_batch_knows_what_the_plan_reckoned(items: list[Item], limit: int) -> None:
    """`Batch.tokens` is the cost that the planner held against the limit."""
    for planned in _planned(items, limit, padded=False):
        prefixes = {item.group: _ids(item.shared) for item in planned if item.shared}
        places = {group: place for place, group in enumerate(prefixes)}
        batch = Batch(
            [Tokens(_ids(item.length)) for item in planned],
            list(prefixes.values()),
            [places[item.group] if item.shared else None for item in planned],
        )

        assert batch.tokens == _cost(planned, padded=False)


# to the token


def test_no_work_is_no_batch() -> None:
    """Where there is nothing to run, nothing is planned."""
    assert plan_batches([], 10) == []
    assert plan_batches([], 10, padded=True) == []


def test_a_batch_is_filled_to_the_last_token() -> None:
    """What costs exactly the limit is one batch, packed and padded; one token less makes it two."""
    items = [Item(3), Item(5), Item(2)]

    assert plan_batches(items, 10) == [[1, 0, 2]]
    assert plan_batches(items, 9) == [[1, 0], [2]]
    assert plan_batches(items, 15, padded=True) == [[1, 0, 2]]
    assert plan_batches(items, 14, padded=True) == [[1, 0], [2]]


def test_a_prefix_counts_once_a_batch() -> None:
    """Packed, sequences that share a prefix pay for it together, in each batch anew."""
    items = [Item(2, 7, 4)] * 5

    assert plan_batches(items, 4) == [[0, 1], [2, 3], [4]]
    assert plan_batches(items, 8) == [[0, 1, 2, 3], [4]]
    assert plan_batches(items, 14) == [[0, 1, 2, 3, 4]]


def test_padding_repeats_the_prefix() -> None:
    """Padded, each sequence pays for the whole of what it continues."""
    items = [Item(2, 7, 4)] * 5

    assert plan_batches(items, 14, padded=True) == [[0, 1], [2, 3], [4]]


def test_padding_is_up_to_the_longest_of_all() -> None:
    """A short sequence that continues a long prefix makes a padded batch as long as both together."""
    items = [Item(5), Item(2, 1, 50)]

    assert plan_batches(items, 103, padded=True) == [[0], [1]]
    assert plan_batches(items, 104, padded=True) == [[0, 1]]


def test_two_groups_pay_for_two_prefixes() -> None:
    """Groups share a batch where both prefixes fit it."""
    items = [Item(1, 0, 4), Item(1, 1, 4)]

    assert plan_batches(items, 10) == [[0, 1]]
    assert plan_batches(items, 9) == [[0], [1]]


def test_what_is_longer_than_the_limit_runs_alone() -> None:
    """No neighbour makes a batch larger that is too large already."""
    items = [Item(1), Item(50), Item(1), Item(40)]

    assert plan_batches(items, 10) == [[1], [3], [0, 2]]
    assert plan_batches(items, 10, padded=True) == [[1], [3], [0, 2]]


def test_equal_lengths_run_in_input_order() -> None:
    """Ties stay as they came."""
    assert plan_batches([Item(2), Item(3), Item(2), Item(3)], 100) == [[1, 3, 0, 2]]


# a batch


def test_a_batch_says_what_each_sequence_continues() -> None:
    """A sequence continues the prefix that is named for it, or nothing."""
    batch = Batch([Tokens(_ids(2)), Tokens(_ids(3)), Tokens(_ids(1))], [_ids(5), _ids(7)], [1, None, 0])

    assert [len(batch.prefix(position)) for position in range(3)] == [7, 0, 5]


def test_a_batch_without_prefixes_needs_no_more_than_sequences() -> None:
    """Where nothing is shared, every sequence continues nothing."""
    batch = Batch([Tokens(_ids(2)), Tokens(_ids(3))])

    assert [len(batch.prefix(position)) for position in range(2)] == [0, 0]
    assert batch.tokens == 5


def test_a_batch_counts_each_prefix_once() -> None:
    """`tokens` is what the pass computes: every sequence, and every prefix once for all who continue it."""
    batch = Batch([Tokens(_ids(2))] * 3, [_ids(10)], [0, 0, None])

    assert batch.tokens == 16


def test_tokens_are_as_long_as_their_ids() -> None:
    """Token types make a sequence no longer."""
    assert len(Tokens(_ids(4), types=np.zeros(4, dtype=np.int32))) == 4


# shares


@given(items=_works(), ways=st.integers(1, 6))
def test_shares_partition_the_work(items: list[Item], ways: int) -> None:
    """Every sequence is in exactly one share, there are no more shares than asked for, and none is empty."""
    shares = share_out(items, ways)

    assert sorted(at for share in shares for at in share) == list(range(len(items)))
    assert len(shares) <= ways
    assert all(shares)


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40), ways=st.integers(1, 6))
def test_shares_cost_about_the_same(lengths: list[int], ways: int) -> None:
    """No share costs more than an even one and the longest sequence together."""
    items = [Item(length) for length in lengths]
    costs = [batch_cost([items[at] for at in share]) for share in share_out(items, ways)]

    assert max(costs) <= sum(lengths) / ways + max(lengths)


def test_two_prefixes_that_are_long_are_computed_once_each() -> None:
    """Sequences go where their prefix is, if that is less work than to compute it twice."""
    items = [Item(10, group, 100) for group in (0, 1, 0, 1)]

    assert sorted(share_out(items, 2)) == [[0, 2], [1, 3]]


# a part of a batch


def test_a_part_of_a_batch_keeps_what_its_sequences_continue() -> None:
    """The sequences come in the order that is asked for, and only their own prefixes come with them."""
    batch = Batch([Tokens(_ids(length)) for length in (1, 2, 3)], [_ids(10), _ids(20), _ids(30)], [2, None, 0])

    part = batch.only([2, 1])

    assert [len(tokens) for tokens in part.sequences] == [3, 2]
    assert [len(part.prefix(at)) for at in range(2)] == [10, 0]
    assert part.tokens == 15
