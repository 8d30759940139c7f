"""The options of `resift.load` and `resift.connect` that a component has no setting of its own for."""

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

from resift import InvalidInput

_SETTINGS = frozenset({"model", "base_url", "api_key", "instruction", "normalize", "on_error", "ranker"})
_UNWRITABLE = frozenset({"headers", "http_client"})


def read_options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return options as they are kept, and refuse what is a setting of its own."""
    if not isinstance(given, Mapping | None):
        raise InvalidInput(f"options must be a dict of names to values, not {type(given).__name__}")
    options = {name: fspath(value) if isinstance(value, PathLike) else value for name, value in (given or {}).items()}
    if own := sorted(_SETTINGS & options.keys()):
        raise InvalidInput(f"options holds {', '.join(own)}; give such settings beside it")
    return options


def require_writable(options: Mapping[str, Any]) -> None:
    """Refuse to write down what is no plain data, or is not for everybody's eyes."""
    if found := sorted(_UNWRITABLE & options.keys()):
        raise InvalidInput(f"{found[0]} cannot be written down; make the component where it is needed")
