"""How much memory this process held at most, and how much of the GPUs."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Peak:
    """The most bytes that were held at one time; None where nobody tells."""

    process_bytes: int | None = None
    gpu_bytes: int | None = None


NO_PEAK = Peak()


def forget_peak() -> Peak:
    """Begin to look for the peak anew; return what is held now, as far as it can be followed."""
    held = peak_bytes() if _forget_process() else None
    return Peak(held, _gpus(forget=True))


def peak(*, since: Peak) -> Peak:
    """Return the peak since `forget_peak`, which said what can be followed."""
    return Peak(None if since.process_bytes is None else peak_bytes(), _gpus(forget=False))


def peak_bytes() -> int | None:
    """Return the peak of the process, where the system tells it."""
    try:
        matched = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return int(matched[1]) * 1024 if matched else None


def _forget_process() -> bool:
    try:
        _FORGET.write_text("5", encoding="ascii")  # Linux: reset the peak of resident memory
    except OSError:
        return False
    return True


def _gpus(*, forget: bool) -> int | None:
    """Ask torch, if somebody has loaded it: who ranks without it should not wait for its import."""
    if "torch" not in sys.modules:
        return None
    from resift.scoring.backends.torch.peaks import forget_peak_bytes, peak_bytes

    if forget:
        forget_peak_bytes()
    return peak_bytes()
