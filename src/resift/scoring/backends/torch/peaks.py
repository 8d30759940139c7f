"""How much memory torch held on GPUs at most."""

import torch


def forget_peak_bytes() -> None:
    """Begin to look for the peak anew, on every GPU that is in use."""
    for device in _in_use():
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes() -> int | None:
    """Return the most that tensors took since then, of all GPUs together; None where none is in use."""
    devices = _in_use()
    return sum(torch.cuda.max_memory_allocated(device) for device in devices) if devices else None


def _in_use() -> list[int]:
    # Asking a GPU that nobody uses would begin to use it, and take some of its memory.
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return [device for device in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(device)]
