"""Contracts as lists of promises, each of which is kept, broken or not tested."""

from typing import Any
from unittest import SkipTest


def promises(contract: type) -> list[str]:
    """Return the names of a contract's tests."""
    return sorted(name for name in dir(contract) if name.startswith("test_"))


def outcome(contract: Any, promise: str) -> str:
    """Test one promise and say what came of it."""
    try:
        getattr(contract, promise)()
    except SkipTest:
        return "skipped"
    except Exception:  # noqa: BLE001 - what is broken may break a test in any way
        return "broken"
    return "kept"
