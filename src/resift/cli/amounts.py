"""Amounts as people read them."""

_STEP = 1000.0


def counted(count: int, noun: str) -> str:
    """Return a number of things."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def in_bytes(size: float) -> str:
    """Return a number of bytes with three digits."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < _STEP:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= _STEP
    return f"{size:.3g} TB"


def in_parameters(millions: float) -> str:
    """Return a number of parameters."""
    return f"{millions:g}M" if millions < _STEP else f"{millions / _STEP:g}B"
