"""What stands in `options`: checked, filled in with the secrets of its headers, written into YAML and read again."""

from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike, fspath
from typing import Any

from haystack.core.errors import SerializationError
from haystack.utils import Secret
from haystack.utils.auth import EnvVarSecret

from resift import InvalidInput, Prompt

_TAKEN = {
    "api_key": "api_key",
    "base_url": "api_base_url",
    "fields": "meta_fields_to_embed",
    "instruction": "instruction",
    "model": "model",
    "normalize": "scale_score",
    "on_error": "on_error",
    "ranker": "ranker",
}
"""Options that Haystack's users know as parameters, and by which name."""


def read_options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the caller's options, with a prompt in place of one that is written down; or say what is no option."""
    if not isinstance(given, Mapping | None):
        raise InvalidInput(f"options must be a dict of options of resift, not {type(given).__name__}")
    options = dict(given or {})
    for option in options:
        if not isinstance(option, str):
            raise InvalidInput(f"options must be named by str, not {type(option).__name__}")
        if option in _TAKEN:
            raise InvalidInput(f"options cannot hold {option!r}; it is the parameter {_TAKEN[option]}")
    if isinstance(options.get("like"), Mapping):
        options["like"] = _read_prompt(options["like"])
    return options


def _read_prompt(written: Mapping[str, Any]) -> Prompt:
    try:
        return Prompt(**written)
    except TypeError as error:
        raise InvalidInput(f"options['like'] is no prompt: {error}") from None


def fill_in(options: Mapping[str, Any], *, resolve: bool) -> dict[str, Any]:
    """Return options whose headers are texts; empty ones in place of secrets where they are not to be resolved yet."""
    headers = options.get("headers")
    if not isinstance(headers, Mapping):
        return dict(options)
    texts = {name: _text(value, resolve=resolve) for name, value in headers.items()}
    return {**options, "headers": {name: text for name, text in texts.items() if text is not None}}


def _text(value: Any, *, resolve: bool) -> Any:
    if not isinstance(value, Secret):
        return value
    return value.resolve_value() if resolve else ""


def write_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as they may stand in a file."""
    require_portable(options)
    return {name: _write(value) for name, value in options.items()}


def require_portable(options: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing elsewhere, or that would show a key there."""
    if options.get("http_client") is not None:
        raise SerializationError(
            "options['http_client'] cannot be written down; construct the ranker in code, or leave the client out"
        )
    headers = options.get("headers")
    if isinstance(headers, Mapping) and not all(isinstance(value, EnvVarSecret) for value in headers.values()):
        raise SerializationError(
            "options['headers'] may hold keys, and is only written down when each value is a Secret.from_env_var(...)"
        )


def _write(value: Any) -> Any:
    """Return a value in what YAML has words for."""
    if isinstance(value, Prompt):
        return _write(asdict(value))
    if isinstance(value, Secret):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: _write(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_write(inner) for inner in value]
    return fspath(value) if isinstance(value, PathLike) else value


def restore_options(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that `write_options` wrote, with the secrets of their headers."""
    headers = written.get("headers")
    if not isinstance(headers, Mapping):
        return dict(written)
    restored = {
        name: Secret.from_dict(dict(value)) if isinstance(value, Mapping) else value for name, value in headers.items()
    }
    return {**written, "headers": restored}
