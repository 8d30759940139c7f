"""How much memory this process held at most."""

import re
from pathlib import Path

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> bool:
    """Begin to look for the peak anew; say whether the system can."""
    try:
        _FORGET.write_text("5", encoding="ascii")  # Linux: reset the peak of resident memory
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    """Return the peak since `forget_peak`, where the system tells it."""
    try:
        matched = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return int(matched[1]) * 1024 if matched else None
