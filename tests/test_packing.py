"""A batch laid out flat: every token once, each with its position, its type and its sequence."""

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaEmbeddings

from resift.scoring.backends.torch.packing import Packed, Positions, pack
from resift.scoring.planning import Batch, Ids, Tokens

CPU = torch.device("cpu")


def _ids(*numbers: int) -> Ids:
    return np.array(numbers, dtype=np.int32)


def _pieces(packed: Packed, column: torch.Tensor) -> list[list[int]]:
    return [column[start:end].tolist() for start, end in packed.segments.bounds]


def test_sequences_lie_one_after_the_other() -> None:
    """A packed batch holds every token once, counts positions from 0 in each sequence, and has type 0 by default."""
    batch = Batch([Tokens(_ids(5, 6, 7), _ids(0, 0, 1)), Tokens(_ids(8)), Tokens(_ids(5, 6))])

    packed = pack(batch, Positions(), CPU)

    assert _pieces(packed, packed.ids) == [[5, 6, 7], [8], [5, 6]]
    assert _pieces(packed, packed.positions) == [[0, 1, 2], [0], [0, 1]]
    assert _pieces(packed, packed.types) == [[0, 0, 1], [0], [0, 0]]
    assert packed.segments.key_rows is None
    assert (packed.firsts.tolist(), packed.lasts.tolist()) == ([0, 3, 4], [2, 3, 5])


def test_a_prefix_is_laid_out_once() -> None:
    """Sequences that continue one prefix share its tokens, and count on from its end."""
    prefixes = [_ids(1, 2, 3), _ids(4)]
    sequences = [Tokens(_ids(*ids)) for ids in [(10, 11), (20,), (30, 31), (40,)]]
    batch = Batch(sequences, prefixes, prefix_of=[0, None, 0, 1])

    packed = pack(batch, Positions(), CPU)

    assert len(packed.ids) == batch.tokens == 10
    assert _pieces(packed, packed.ids) == [[1, 2, 3], [10, 11], [20], [30, 31], [4], [40]]
    assert _pieces(packed, packed.positions) == [[0, 1, 2], [3, 4], [0], [3, 4], [0], [1]]
    assert packed.ids[packed.lasts].tolist() == [11, 20, 31, 40]
    assert packed.ids[packed.firsts].tolist() == [10, 20, 30, 40]
    assert packed.segments.key_rows is not None
    assert packed.ids[packed.segments.key_rows].tolist() == [1, 2, 3, 1, 2, 3, 10, 11, 20, 1, 2, 3, 30, 31, 4, 4, 40]


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=5))
def test_padding_tokens_inside_a_text_count_as_roberta_counts_them(texts: list[list[int]]) -> None:
    """A literal <pad> in a text takes no position, exactly as in the models that count from behind the padding id."""
    padding_id = 1
    packed = pack(Batch([Tokens(_ids(*text)) for text in texts]), Positions(padding_id), CPU)

    positions_of: Any = XLMRobertaEmbeddings.create_position_ids_from_input_ids
    expected = [positions_of(torch.tensor([text]), padding_id)[0].tolist() for text in texts]

    assert _pieces(packed, packed.positions) == expected


def test_places_that_are_read_are_rows_of_the_batch() -> None:
    """Each sequence's places are found behind whatever lies before it; one that names none is read at its first."""
    prefix = _ids(1, 2, 3)
    sequences = [
        Tokens(_ids(10, 11, 12), read=_ids(2, 0)),
        Tokens(_ids(20)),
        Tokens(_ids(30, 31), read=_ids(1)),
    ]

    packed = pack(Batch(sequences, [prefix], prefix_of=[None, 0, 0]), Positions(), CPU)

    assert packed.ids[packed.places].tolist() == [12, 10, 20, 31]
    assert [len(tokens.behind(prefix).ids) for tokens in sequences] == [6, 4, 5]
    assert [tokens.behind(prefix).rows for tokens in sequences] == [2, 1, 1]


def test_tokens_that_nobody_looks_at_look_at_the_others() -> None:
    """They are a segment of their own behind their sequence, count on from it, and have its tokens as their keys."""
    sequences = [Tokens(_ids(5, 6, 7, 8, 9), read=_ids(0, 4), unseen=2), Tokens(_ids(20, 21))]

    packed = pack(Batch(sequences), Positions(), CPU)

    assert _pieces(packed, packed.ids) == [[5, 6, 7], [8, 9], [20, 21]]
    assert _pieces(packed, packed.positions) == [[0, 1, 2], [3, 4], [0, 1]]
    assert packed.segments.keys == (((0, 3),), ((0, 3),), ((5, 7),))
    assert packed.segments.key_rows is not None
    assert packed.ids[packed.segments.key_rows].tolist() == [5, 6, 7, 5, 6, 7, 20, 21]
    assert packed.ids[packed.places].tolist() == [5, 9, 20]
    assert packed.ids[packed.firsts].tolist() == [5, 20]
    assert packed.ids[packed.lasts].tolist() == [7, 21]
