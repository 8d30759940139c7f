"""
Attention over packed sequences: each token sees its own sequence, and what that continues.

On CUDA, in half precision, it is one varlen kernel; elsewhere it is one call per sequence, which is also what the
kernel is tested against.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from resift.scoring.backends.torch.packing import Bounds, Segments

IMPLEMENTATION = "resift_packed"
# Tokens; a softmax over another number of keys takes up to twice as long, and oneDNN makes and keeps code for each.
_STEP = 32
_SHORT = 1024  # tokens; beyond, writing down all weights, or all that is hidden, costs more memory than it saves time

# What models pass along that has no effect here: positions are applied before, nothing is cached, nothing is trained.
_WITHOUT_EFFECT = {
    "deterministic",
    "dropout",
    "output_attentions",
    "output_hidden_states",
    "position_ids",
    "return_dict",
    "use_cache",
}


def _find_kernel() -> Callable[..., Any] | None:
    """Return torch's kernel for packed sequences; None before torch 2.11, where it could not do what is asked."""
    try:
        from torch.nn.attention.varlen import varlen_attn as kernel
    except ImportError:
        return None
    # Heads that share keys, and one split, so that a sequence's result does not depend on what else is in the batch:
    # torch 2.11 gives both unasked, and knows no words for them. AMD's kernel has no choice of splits.
    asked: dict[str, Any] = {"enable_gqa": True, "num_splits": 1}
    needed = {"scale", "window_size"} | (asked.keys() if torch.version.hip else set())
    known = inspect.signature(kernel).parameters.keys()
    if not needed <= known:
        return None
    if torch.version.hip:
        del asked["num_splits"]
    return partial(kernel, **{name: value for name, value in asked.items() if name in known})


varlen_attn = _find_kernel()


class UnknownAttention(Exception):
    """A model asks for something that packed attention does not do."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a token may see of its sequence, and how strongly."""

    scaling: float
    causal: bool
    reach: int | None = None
    """How many tokens away the farthest one is; None is no bound."""
    softcap: float | None = None

    @property
    def window(self) -> tuple[int, int]:
        """The same, as kernels want it: how far to the left, how far to the right; -1 is no bound."""
        reach = -1 if self.reach is None else self.reach
        return reach, 0 if self.causal else reach


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, heads, tokens, width)
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Segments,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Stand in for the attention of a transformers model; return (1, tokens, heads, width)."""
    unknown = sorted(name for name, given in others.items() if given is not None and name not in _WITHOUT_EFFECT)
    if attention_mask is not None or unknown:
        raise UnknownAttention(f"packed attention takes no {', '.join(unknown) or 'mask'}")
    sight = Sight(
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        causal=bool(getattr(module, "is_causal", True) if is_causal is None else is_causal),
        reach=None if sliding_window is None else sliding_window - 1,
        softcap=softcap,
    )
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))
    return attend(query, key, value, segments, sight)[None], None


def attend(
    query: torch.Tensor,  # (tokens, heads, width)
    key: torch.Tensor,  # (tokens, key heads, width); heads share keys where there are fewer
    value: torch.Tensor,
    segments: Segments,
    sight: Sight,
) -> torch.Tensor:
    """Return what each token gathers, (tokens, heads, width)."""
    if _kernel_takes(query, sight):
        return _attend_at_once(query, key, value, segments, sight)
    return attend_one_by_one(query, key, value, segments, sight)


def _kernel_takes(query: torch.Tensor, sight: Sight) -> bool:
    if not query.is_cuda or varlen_attn is None or sight.softcap:
        return False
    width = query.shape[-1]
    half = query.dtype in (torch.float16, torch.bfloat16)
    return half and width <= 256 and width % 8 == 0 and _is_recent(query.device)


@cache
def _is_recent(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _attend_at_once(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, sight: Sight
) -> torch.Tensor:
    if segments.key_rows is not None:
        key, value = key[segments.key_rows], value[segments.key_rows]
    assert varlen_attn is not None
    gathered: torch.Tensor = varlen_attn(
        query,
        key,
        value,
        segments.starts,
        segments.key_starts,
        segments.longest,
        segments.longest_keys,
        scale=sight.scaling,
        window_size=sight.window,
    )
    return gathered


def attend_one_by_one(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, sight: Sight
) -> torch.Tensor:
    """Do what the kernel does, one sequence after the other, on any device and in any precision."""
    gathered = torch.empty(query.shape[:-1] + value.shape[-1:], dtype=query.dtype, device=query.device)
    query, key, value = (states.transpose(0, 1) for states in (query, key, value))  # (heads, tokens, width)
    for (start, end), pieces in zip(segments.bounds, segments.keys, strict=True):
        keys, values = (_joined(states, pieces) for states in (key, value))
        gathered[start:end] = _attend(query[:, start:end], keys, values, sight).transpose(0, 1)
    gathered[segments.bounds[-1][1] :].zero_()  # rows of nobody, which are there to make a round number
    return gathered


def _joined(states: torch.Tensor, pieces: Sequence[Bounds]) -> torch.Tensor:
    parts = [states[:, start:end] for start, end in pieces]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sight: Sight) -> torch.Tensor:
    bounded = sight.reach is not None and sight.reach < key.shape[1] - 1
    causal = sight.causal and query.shape[1] > 1
    if _by_products(query, key, sight):
        return _attend_by_products(query, key, value, _hidden(query, key, sight) if bounded or causal else None, sight)
    if query.shape[0] != key.shape[0]:
        key, value = (states.repeat_interleave(query.shape[0] // states.shape[0], dim=0) for states in (key, value))
    if sight.softcap:
        return _attend_capped(query, key, value, _hidden(query, key, sight), sight)
    continued = causal and query.shape[1] != key.shape[1]
    gathered = scaled_dot_product_attention(
        query[None],  # without this dimension, torch takes a slower way on a CPU
        key[None],
        value[None],
        attn_mask=_hidden(query, key, sight) if bounded or continued else None,
        is_causal=causal and not bounded and not continued,
        scale=sight.scaling,
    )
    return gathered[0]


def _by_products(query: torch.Tensor, key: torch.Tensor, sight: Sight) -> bool:
    """Whether three plain steps are faster than the fused kernel: in bfloat16 on a CPU."""
    return query.dtype == torch.bfloat16 and not query.is_cuda and key.shape[1] <= _SHORT and not sight.softcap


def _attend_by_products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, hidden: torch.Tensor | None, sight: Sight
) -> torch.Tensor:
    (heads, count, width), keys = query.shape, key.shape[1]
    query, key, value = (_rounded_up(states) for states in (query, key, value))
    # heads that share keys ask as one, so no key is copied for them
    together = query.reshape(len(key), -1, width)
    weights = torch.baddbmm(query.new_empty(1), together, key.transpose(1, 2), beta=0, alpha=sight.scaling)
    weights[:, :, keys:].fill_(-torch.inf)
    if hidden is not None:
        weights.view(heads, -1, key.shape[1])[:, :count, :keys].add_(hidden)
    torch.softmax(weights, dim=-1, out=weights)  # in place: fresh memory would cost more than the sums
    return torch.bmm(weights, value).view(heads, query.shape[1], -1)[:, :count]


def _rounded_up(states: torch.Tensor) -> torch.Tensor:
    """Lay heads out one after the other, each with rows of zeros up to a round number; one row stays one."""
    rows = states.shape[1]
    more = -rows % _STEP if rows > 1 else 0
    return pad(states, (0, 0, 0, more)) if more else states.contiguous()


def _hidden(query: torch.Tensor, key: torch.Tensor, sight: Sight) -> torch.Tensor:
    """Return what hides keys from tokens when it is added; the last token and the last key are the same one."""
    count, keys = query.shape[1], key.shape[1]
    if keys > _SHORT:
        return _table(sight.window, query.dtype, query.device, rows=count, keys=keys)
    return _short_table(sight.window, query.dtype, query.device)[keys - count : keys, :keys]


@lru_cache(maxsize=16)
def _short_table(window: tuple[int, int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return one table for all layers and lengths: what is seen depends on distances alone."""
    with torch.inference_mode(mode=False):  # whoever asks first, everybody may use it
        return _table(window, dtype, device, rows=_SHORT, keys=_SHORT)


def _table(window: tuple[int, int], dtype: torch.dtype, device: torch.device, *, rows: int, keys: int) -> torch.Tensor:
    """Return nothing where a token, by rows, sees a key, by columns, and minus infinity elsewhere."""
    ahead = keys - rows
    left, right = window
    seen = torch.ones(rows, keys, dtype=torch.bool, device=device)
    if right >= 0:
        seen = seen.tril(ahead + right)
    if left >= 0:
        seen = seen.triu(ahead - left)
    return torch.zeros(rows, keys, dtype=dtype, device=device).masked_fill_(~seen, -torch.inf)


def _attend_capped(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, hidden: torch.Tensor, sight: Sight
) -> torch.Tensor:
    assert sight.softcap
    weights = query @ key.transpose(1, 2) * sight.scaling
    weights = torch.tanh(weights / sight.softcap) * sight.softcap
    weights = (weights + hidden).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return weights @ value
