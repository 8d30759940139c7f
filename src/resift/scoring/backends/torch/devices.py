"""Which device and number format a model runs in, how much fits it, and what its errors mean."""

from collections.abc import Mapping
from typing import Any

import torch

from resift.errors import InvalidInput

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# on a CPU, and for each lane: activations of small batches stay in the cache, and large ones gain nothing
_CPU_BATCH_TOKENS, _LANE_TOKENS = 4096, 2048
_LEAST_GPU_BATCH_TOKENS, _MOST_GPU_BATCH_TOKENS = 4096, 16384
_FULL = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is the first GPU, or the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        known = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise InvalidInput(f"device {name!r} cannot be used here; there are: {', '.join(known)}") from error
    return device


def pick_dtype(name: str, device: torch.device, half: str) -> torch.dtype:
    """Return the number format called `name`; "auto" is `half` on a GPU that computes in it, else full precision."""
    if name != "auto":
        return _DTYPES[name]
    if device.type == "cpu" or (half == "bfloat16" and not _computes_bfloat16(device)):
        return torch.float32
    return _DTYPES[half]


def _computes_bfloat16(device: torch.device) -> bool:
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 0)


def default_batch_tokens(device: torch.device, config: Mapping[str, Any], dtype: torch.dtype, *, lanes: int) -> int:
    """Return how many tokens a batch should hold: what stays in a CPU's cache, or what fits beside a GPU's weights."""
    if device.type != "cuda":
        return max(_CPU_BATCH_TOKENS, _LANE_TOKENS * lanes)
    hidden = int(config.get("hidden_size", 1024))
    widest = 12 * hidden + 4 * int(config.get("intermediate_size", 4 * hidden))  # a layer at its widest, with room
    free, _ = torch.cuda.mem_get_info(device)
    return max(_LEAST_GPU_BATCH_TOKENS, min(_MOST_GPU_BATCH_TOKENS, free // 2 // (widest * dtype.itemsize)))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that something did not fit, in any of the ways in which torch says so."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _FULL)
