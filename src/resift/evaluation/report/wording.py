"""Numbers as people read them."""

import math


def share(value: float, places: int = 3) -> str:
    """Write a measure."""
    return f"{value:.{places}f}"


def lead(value: float) -> str:
    """Write a difference, with its sign."""
    return f"{value:+.3f}".replace("-", "−")  # noqa: RUF001 - a minus, as wide as the plus


def chance(p: float) -> str:
    """Write a p-value: how small it is beyond a thousandth says nothing."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """Write a time with two or three figures that count."""
    if seconds >= 60:
        return f"{seconds / 60:.1f} min"
    if seconds >= 1:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    milliseconds = seconds * 1000
    places = 0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2
    return f"{milliseconds:.{places}f} ms"


def tick(seconds: float) -> str:
    """Write a round time on an axis."""
    return (
        f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:g} µs"
    )


def count(number: float) -> str:
    """Write a count, or a rate, as a whole number with its thousands apart."""
    if 0 < number < 10 and not float(number).is_integer():
        return f"{number:.1f}"
    return f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def size(number: int) -> str:
    """Write a number of bytes."""
    exponent = min(int(math.log(number, 1024)), 4) if number else 0
    return f"{number / 1024**exponent:.{0 if exponent < 3 else 2}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[exponent]}"


def several(number: int, one: str, more: str) -> str:
    """Write a count with its noun."""
    return f"{count(number)} {one if number == 1 else more}"


def short(name: str, longest: int = 28) -> str:
    """Shorten a name in its middle; of a hub id the owner goes first."""
    if len(name) > longest:
        name = name.rpartition("/")[2] or name
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 3
    return f"{name[: longest - 1 - tail].rstrip()}…{name[-tail:].lstrip()}"
