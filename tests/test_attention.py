"""Attention over packed tokens: the plain formula, one sequence after the other, and the kernel's way."""

import inspect
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resift.scoring.backends.torch import attention
from resift.scoring.backends.torch.attention import Sight, UnknownAttention, attend, attend_one_by_one, packed_attention
from resift.scoring.backends.torch.packing import Packed, Positions, Segments, pack
from resift.scoring.planning import Batch, Ids, Tokens

CPU = torch.device("cpu")
WIDTH = 16
# bfloat16 rounds logits and values of about 4 to a 64th, and both roundings meet in a sum
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 5e-2, torch.float16: 4e-3}


def _ids(*numbers: int) -> Ids:
    return np.array(numbers, dtype=np.int32)


@dataclass(frozen=True)
class Case:
    """Sequences, some of which continue a prefix, and how each token looks around."""

    tails: tuple[tuple[int, int | None], ...]
    """The length of each sequence, and which prefix it continues."""
    sight: Sight
    prefixes: tuple[int, ...] = ()
    heads: tuple[int, int] = (4, 4)
    dtype: torch.dtype = torch.float32
    width: int = WIDTH
    device: torch.device = CPU

    @property
    def packed(self) -> Packed:
        sequences = [Tokens(_ids(*range(length))) for length, _ in self.tails]
        prefixes = [_ids(*range(length)) for length in self.prefixes]
        return pack(Batch(sequences, prefixes, [at for _, at in self.tails]), Positions(), self.device)

    @property
    def segments(self) -> Segments:
        return self.packed.segments

    def rows(self) -> list[tuple[list[int], list[int]]]:
        """Return which rows each sequence continues and which are its own; a prefix lies before its first sequence."""
        placed: dict[int | None, list[int]] = {None: []}
        rows, free = [], count()
        for length, prefix in self.tails:
            if prefix is not None and prefix not in placed:
                placed[prefix] = list(islice(free, self.prefixes[prefix]))
            rows.append((placed[prefix], list(islice(free, length))))
        return rows

    def states(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the same random queries, keys and values for the same case."""
        tokens = 1 + max(max(own) for _, own in self.rows())
        stream = torch.Generator().manual_seed(tokens)
        query, key, value = (
            torch.randn(tokens, heads, self.width, generator=stream).to(self.device, self.dtype)
            for heads in (self.heads[0], self.heads[1], self.heads[1])
        )
        return query, key, value


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, Any]:
    lengths = st.integers(1, 9) | st.sampled_from([31, 32, 33, 70])
    prefixes = draw(st.lists(lengths, max_size=3))
    tails = st.tuples(lengths, st.sampled_from([None, *range(len(prefixes))]))
    return {"prefixes": tuple(prefixes), "tails": tuple(draw(st.lists(tails, min_size=1, max_size=6)))}


sights = st.builds(
    Sight,
    scaling=st.sampled_from([0.1, 0.25, 0.5]),
    causal=st.booleans(),
    reach=st.none() | st.integers(0, 12),
    softcap=st.none() | st.sampled_from([0.5, 5.0]),
)
cases = st.builds(
    lambda layout, **others: Case(**layout, **others),
    layouts(),
    sight=sights,
    heads=st.sampled_from([(4, 4), (4, 2), (4, 1), (1, 1)]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)


def plain_attention(case: Case) -> torch.Tensor:
    """Write softmax attention out, one sequence at a time, in double precision; prefixes are sequences as well."""
    query, key, value = (states.cpu().double() for states in case.states())
    key, value = (states.repeat_interleave(case.heads[0] // case.heads[1], dim=1) for states in (key, value))
    gathered = torch.empty_like(query)
    rows = case.rows()
    for before, own in [*rows, *(([], before) for before, _ in rows if before)]:
        seen = [*before, *own]
        logits = torch.einsum("qhw,khw->hqk", query[own], key[seen]) * case.sight.scaling
        if case.sight.softcap:
            logits = case.sight.softcap * torch.tanh(logits / case.sight.softcap)
        weights = logits.exp() * _sees(case.sight, before=len(before), count=len(own))
        gathered[own] = torch.einsum("hqk,khw->qhw", weights / weights.sum(-1, keepdim=True), value[seen])
    return gathered


def _sees(sight: Sight, *, before: int, count: int) -> torch.Tensor:
    """Return whether each of `count` tokens sees each token of its sequence, of which `before` stand in front of it."""
    distance = torch.arange(before + count) - torch.arange(before, before + count)[:, None]
    near = distance.abs() <= (len(distance[0]) if sight.reach is None else sight.reach)
    return near & ((distance <= 0) | (not sight.causal))


def _assert_plain(found: torch.Tensor, case: Case) -> None:
    expected = plain_attention(case)
    assert found.dtype == case.dtype
    assert found.shape == expected.shape
    torch.testing.assert_close(found.cpu().double(), expected, rtol=0, atol=TOLERANCE[case.dtype])


# one sequence after the other


@given(cases)
@settings(max_examples=200, deadline=None)
def test_one_by_one_is_softmax_attention(case: Case) -> None:
    """A token gathers what the formula says from its own sequence and what that continues, and from nothing else."""
    _assert_plain(attend_one_by_one(*case.states(), case.segments, case.sight), case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("softcap", [None, 0.5])
@pytest.mark.parametrize("reach", [None, 0, 3, 11, 12, 100])
@pytest.mark.parametrize("causal", [True, False])
def test_a_tail_sees_its_prefix_and_itself(
    causal: bool,  # noqa: FBT001
    reach: int | None,
    softcap: float | None,
    dtype: torch.dtype,
) -> None:
    """Tails of one prefix see it as if it stood right before them, and never each other."""
    sight = Sight(WIDTH**-0.5, causal=causal, reach=reach, softcap=softcap)
    case = Case(((6, 0), (1, 0), (7, None)), sight, prefixes=(6,), heads=(4, 2), dtype=dtype)

    _assert_plain(attend_one_by_one(*case.states(), case.segments, sight), case)


def test_a_causal_tail_is_the_end_of_the_whole() -> None:
    """A prefix and its tail together gather what the sequence gathers in one piece."""
    sight = Sight(WIDTH**-0.5, causal=True)
    cut, whole = Case(((4, 0),), sight, prefixes=(5,)), Case(((9, None),), sight)

    found, expected = (attend_one_by_one(*case.states(), case.segments, sight) for case in (cut, whole))

    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 31, 32, 33])
def test_values_may_be_wider_or_narrower_than_keys(length: int, dtype: torch.dtype) -> None:
    """Each number of a value is gathered for itself, however many there are."""
    case = Case(((length, None), (5, None)), Sight(scaling=0.25, causal=True), heads=(4, 2), dtype=dtype)
    query, key, value = case.states()
    whole = attend_one_by_one(query, key, value, case.segments, case.sight)

    narrow = attend_one_by_one(query, key, value[..., :8].contiguous(), case.segments, case.sight)
    wide = attend_one_by_one(query, key, torch.cat([value, value], dim=-1), case.segments, case.sight)

    torch.testing.assert_close(narrow, whole[..., :8], rtol=0, atol=TOLERANCE[dtype])
    torch.testing.assert_close(wide, torch.cat([whole, whole], dim=-1), rtol=0, atol=TOLERANCE[dtype])


def test_a_token_alone_gathers_its_own_value() -> None:
    """A sequence of one token returns that token's value, exactly."""
    case = Case(((1, None),) * 3, Sight(1.0, causal=True))
    query, key, value = case.states()

    assert torch.equal(attend_one_by_one(query, key, value, case.segments, case.sight), value)


# the kernel's way, with a stand-in that keeps the kernel's contract on any device


def varlen_stand_in(  # noqa: PLR0917 - the kernel's own signature
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor | None,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    num_splits: int | None = None,
) -> torch.Tensor:
    """Do what FlashAttention promises: windows are aligned to the last query and the last key."""
    assert num_splits in (None, 1)
    assert cu_seq_k is not None
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert cu_seq_q[0] == cu_seq_k[0] == 0
    assert (int(cu_seq_q[-1]), int(cu_seq_k[-1])) == (len(query), len(key))
    assert (max_q, max_k) == (int(cu_seq_q.diff().max()), int(cu_seq_k.diff().max()))
    assert isinstance(window_size, tuple)  # a list is not recognised as a causal window
    assert enable_gqa or query.shape[1] == key.shape[1]
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    pieces = []
    for at in range(len(cu_seq_q) - 1):
        own, seen = slice(cu_seq_q[at], cu_seq_q[at + 1]), slice(cu_seq_k[at], cu_seq_k[at + 1])
        weights = torch.einsum("qhw,khw->hqk", query[own].float(), key[seen].float()) * scale
        weights = weights.masked_fill(~_window(weights.shape[1], weights.shape[2], window_size), -torch.inf)
        pieces.append(torch.einsum("hqk,khw->qhw", weights.softmax(-1), value[seen].float()))
    return torch.cat(pieces).to(query.dtype)


def _window(queries: int, keys: int, size: tuple[int, int]) -> torch.Tensor:
    left, right = size
    distance = torch.arange(keys) - (torch.arange(queries)[:, None] + keys - queries)
    return ((distance >= -left) | (left < 0)) & ((distance <= right) | (right < 0))


@given(cases)
@settings(max_examples=200, deadline=None)
def test_the_kernel_is_asked_for_the_same_attention(case: Case) -> None:
    """All sequences in one kernel call, prefixes gathered for each tail, say what one after the other says."""
    case = replace(case, sight=replace(case.sight, softcap=None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "varlen_attn", partial(varlen_stand_in, enable_gqa=True))
        patch.setattr(attention, "_kernel_takes", lambda *_: True)
        found = attend(*case.states(), case.segments, case.sight)

    expected = attend_one_by_one(*case.states(), case.segments, case.sight)

    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[case.dtype])


@given(cases, st.booleans())
@settings(max_examples=80, deadline=None)
def test_first_tokens_may_ask_alone(case: Case, kernel: bool) -> None:  # noqa: FBT001
    """Where only the first token of each sequence is read, it alone asks, and gathers what it gathers among all."""
    case = replace(case, sight=Sight(0.25, causal=False))
    (query, key, value), packed = case.states(), case.packed
    expected = attend_one_by_one(query, key, value, packed.segments, case.sight)[packed.firsts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "varlen_attn", partial(varlen_stand_in, enable_gqa=True))
        patch.setattr(attention, "_kernel_takes", lambda *_: kernel)
        found = attend(query[packed.firsts], key, value, packed.segments.narrowed(packed.owners), case.sight)

    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[case.dtype])


def _words(kernel: Any) -> list[str]:
    return list(inspect.signature(kernel).parameters)


def test_the_kernel_knows_the_words_it_is_called_with() -> None:
    """The kernel of the installed torch accepts the very arguments that it is called with."""
    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="needs torch 2.11 or newer")
    bound: list[list[str]] = []

    def record(*given: Any, **named: Any) -> torch.Tensor:
        bound.append(list(inspect.signature(varlen.varlen_attn).bind(*given, **named).arguments))
        return varlen_stand_in(*given, **{"enable_gqa": True, **named})  # what the kernel of torch 2.11 does unasked

    case = Case(((2, 0),), Sight(0.25, causal=True, reach=2), prefixes=(3,), heads=(4, 2))
    with pytest.MonkeyPatch.context() as patch:
        found = attention._find_kernel()  # noqa: SLF001 - the kernel that is called
        if found is None:
            pytest.skip("needs torch 2.11 or newer")
        assert isinstance(found, partial)
        patch.setattr(attention, "varlen_attn", partial(record, **found.keywords))
        patch.setattr(attention, "_kernel_takes", lambda *_: True)
        attend(*case.states(), case.segments, case.sight)

    assert bound == [[word for word in _words(varlen_stand_in) if word in _words(varlen.varlen_attn)]]


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("this way was not to be taken")


def _of_2_10(query: Any, key: Any, value: Any, *, is_causal: bool = False) -> None:
    """Know less than is asked for, as the kernel did at first."""


def _of_2_11(query: Any, key: Any, value: Any, *, scale: Any = None, window_size: Any = (-1, -1)) -> None:
    """Share heads and keep sums whole without a word for either."""


def _of_2_12(*, scale: Any, window_size: Any, enable_gqa: bool = False, num_splits: int | None = None) -> None:
    """Share heads where asked to, and split sums unless told not to."""


@pytest.mark.parametrize("hip", [None, "7.1"])
@pytest.mark.parametrize(
    ("kernel", "told", "told_on_amd"),
    [
        (_of_2_10, None, None),
        (_of_2_11, {}, None),
        (_of_2_12, {"enable_gqa": True, "num_splits": 1}, {"enable_gqa": True}),
    ],
)
def test_a_kernel_is_told_what_it_would_not_do_by_itself(
    kernel: Any,
    told: dict[str, Any] | None,
    told_on_amd: dict[str, Any] | None,
    hip: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel without windows is not called; others share heads and keep a sum whole whatever its neighbours are."""
    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="needs torch 2.10 or newer")
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    monkeypatch.setattr(torch.version, "hip", hip)

    found: Any = attention._find_kernel()  # noqa: SLF001 - the kernel that is called

    assert (found and found.keywords) == (told_on_amd if hip else told)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_cpu_never_calls_the_kernel(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no GPU, attention is computed one sequence after the other, in every precision."""
    monkeypatch.setattr(attention, "varlen_attn", _refuse)
    case = Case(((2, 0),), Sight(0.25, causal=True), prefixes=(3,), dtype=dtype)

    _assert_plain(attend(*case.states(), case.segments, case.sight), case)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("width", [64, 128, 256])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_kernel_on_a_gpu_is_exact(dtype: torch.dtype, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, in half precision, the kernel alone is called, and says what the plain formula says."""
    monkeypatch.setattr(attention, "attend_one_by_one", _refuse)
    layout: dict[str, Any] = {"tails": ((33, 0), (1, 0), (64, 1), (20, None)), "prefixes": (70, 129)}
    for causal, reach, heads in product([True, False], [None, 0, 40], [(4, 4), (4, 2)]):
        sight = Sight(width**-0.5, causal=causal, reach=reach)
        case = Case(**layout, sight=sight, heads=heads, dtype=dtype, width=width, device=torch.device("cuda"))

        _assert_plain(attend(*case.states(), case.segments, sight), case)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "change", [{"dtype": torch.float32}, {"width": 12}, {"sight": Sight(0.25, causal=True, softcap=5.0)}]
)
def test_what_the_kernel_cannot_do_is_done_without_it(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, full precision, odd widths and a softcap go one sequence after the other."""
    monkeypatch.setattr(attention, "varlen_attn", _refuse)
    case = Case(((4, 0),), Sight(0.25, causal=True), prefixes=(9,), dtype=torch.bfloat16, device=torch.device("cuda"))
    case = replace(case, **change)

    _assert_plain(attend(*case.states(), case.segments, case.sight), case)


# what a transformers model may ask for


def _ask(**asked: Any) -> torch.Tensor:
    case = Case(((5, None), (3, None)), Sight(1.0, causal=True))
    query, key, value = (rows.transpose(0, 1)[None] for rows in case.states())
    module = asked.pop("module", torch.nn.Module())
    found, weights = packed_attention(
        module, query, key, value, asked.pop("mask", None), segments=case.segments, **asked
    )
    assert weights is None
    return found


@pytest.mark.parametrize(
    ("asked", "sight"),
    [
        ({}, Sight(WIDTH**-0.5, causal=True)),
        ({"scaling": 0.1, "is_causal": False}, Sight(0.1, causal=False)),
        ({"sliding_window": 3}, Sight(WIDTH**-0.5, causal=True, reach=2)),
        ({"sliding_window": 2, "is_causal": False}, Sight(WIDTH**-0.5, causal=False, reach=1)),
        ({"softcap": 0.5}, Sight(WIDTH**-0.5, causal=True, softcap=0.5)),
    ],
)
def test_a_model_gets_the_attention_it_asks_for(asked: dict[str, Any], sight: Sight) -> None:
    """Scaling, direction, window and softcap arrive; a window of n is oneself and n - 1 neighbours on a side."""
    case = Case(((5, None), (3, None)), sight)

    _assert_plain(_ask(**asked)[0], case)


def test_a_module_says_whether_it_is_causal() -> None:
    """A model that does not say which way it looks is asked through its module."""
    module = torch.nn.Module()
    module.is_causal = False  # type: ignore[assignment]

    assert torch.equal(_ask(module=module), _ask(is_causal=False))
    assert not torch.equal(_ask(module=module), _ask(is_causal=True))


@pytest.mark.parametrize("name", ["s_aux", "position_bias", "head_mask", "something_new"])
def test_an_unknown_argument_is_refused(name: str) -> None:
    """What packed attention does not know it does not ignore: it names it."""
    with pytest.raises(UnknownAttention, match=name):
        _ask(**{name: torch.ones(1)})
    assert torch.equal(_ask(**{name: None}), _ask())


def test_a_mask_is_refused() -> None:
    """Sequences are told apart by their bounds, so a mask has no meaning and is refused."""
    with pytest.raises(UnknownAttention, match="mask"):
        _ask(mask=torch.ones(1, 1, 8, 8))


@pytest.mark.parametrize("name", ["dropout", "use_cache", "output_attentions", "position_ids"])
def test_arguments_without_effect_are_accepted(name: str) -> None:
    """What changes nothing in a forward pass is let through."""
    assert torch.equal(_ask(**{name: 0.0}), _ask())
