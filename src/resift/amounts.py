"""Numbers that callers give, whole ones and seconds; or the error that says what each should have been."""

import math
import operator
from numbers import Real

from resift.errors import InvalidInput


def whole(name: str, given: object, *, least: int = 1, advice: str = "") -> int:
    """Return a whole number, numpy's included; `advice` says what to do about one that is none, or is too small."""
    try:
        found = None if isinstance(given, bool) else operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        found = None
    if found is None or found < least:
        raise InvalidInput(f"{name} must be a whole number from {least} up, not {given!r}{_and(advice)}")
    return found


def seconds(name: str, given: object, *, may_be_0: bool = False, advice: str = "") -> float:
    """Return a finite number of seconds."""
    is_number = isinstance(given, Real) and not isinstance(given, bool) and math.isfinite(given)
    if not is_number or given < 0 or (given == 0 and not may_be_0):  # type: ignore[operator]  # it is a number here
        bound = "from 0 up" if may_be_0 else "above 0"
        raise InvalidInput(f"{name} must be a number of seconds {bound}, not {given!r}{_and(advice)}")
    return float(given)  # type: ignore[arg-type]  # the same


def _and(advice: str) -> str:
    return f"; {advice}" if advice else ""
