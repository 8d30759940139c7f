"""What a ranker is made with: checked, put into resift's words, written into YAML and read again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from numbers import Real
from os import PathLike, fspath
from typing import Any

from haystack.core.errors import DeserializationError, SerializationError
from haystack.utils import ComponentDevice, Secret
from haystack.utils.auth import EnvVarSecret

from resift import InvalidInput, Prompt
from resift.amounts import whole
from resift.settings import hint
from resift.types import Cut

USUAL_KEY = Secret.from_env_var("RESIFT_API_KEY", strict=False)

_KINDS: dict[str, tuple[Any, str]] = {
    "api_key": (Secret | None, 'a Secret, such as Secret.from_env_var("RESIFT_API_KEY")'),
    "deduplicate": (bool, "True or False"),
    "device": (ComponentDevice | None, 'a ComponentDevice, such as ComponentDevice.from_str("cuda:0")'),
    "document_prefix": (str, "a str"),
    "document_suffix": (str, "a str"),
    "instruction": (str | None, "a str"),
    "keep_retrieval_score": (bool | str, "True, False or the name of a meta field"),
    "meta_data_separator": (str, "a str"),
    "meta_fields_to_embed": (list | tuple | None, "a list of names"),
    "options": (Mapping | None, "a dict of names to values"),
    "query_prefix": (str, "a str"),
    "query_suffix": (str, "a str"),
    "scale_score": (bool | None, "None, True or False"),
    "score_threshold": (Real | None, "a number"),
}
_BESIDE = {
    "api_key": "api_key",
    "base_url": "api_base_url",
    "fields": "meta_fields_to_embed",
    "instruction": "instruction",
    "model": "model",
    "normalize": "scale_score",
    "on_error": "on_error",
    "ranker": "ranker",
}
"""What is no option here, because Haystack's users know it as a parameter; and by which name."""


def require_kinds(settings: Mapping[str, Any]) -> None:
    """Refuse values of the wrong kind, without showing them: one may be a key."""
    for name, given in settings.items():
        kind, wanted = _KINDS.get(name, (object, ""))
        if not isinstance(given, kind):
            raise InvalidInput(f"{name} must be {wanted}, not {type(given).__name__}")


def require_alone(**settings: Any) -> None:
    """Refuse settings beside a ranker, which has its own."""
    beside = [name for name, given in settings.items() if given is not None]
    if beside:
        raise InvalidInput(f"a ranker has settings of its own; leave out {', '.join(beside)}, or the ranker")


def require_known(component: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse parameters in a file that the component does not have."""
    for name in given:
        if name not in known:
            raise DeserializationError(
                f"{component} has no parameter {name!r}; {hint(name, known, otherwise='there are')}"
            )


def read_top_k(given: int | None) -> int | None:
    """Return how many documents to keep, numpy's numbers included."""
    if isinstance(given, int) and given <= 0:  # in the words of Haystack's own rankers
        raise InvalidInput(f"top_k must be > 0, but got {given}; leave it out to keep every document")
    return None if given is None else whole("top_k", given, advice="leave it out to keep every document")


def read_threshold(given: float | None) -> float | None:
    """Return the lowest score to keep, numpy's numbers included."""
    Cut(threshold=given)
    return None if given is None else float(given)


def read_fields(given: list[str] | None) -> list[str]:
    """Return the meta fields to embed."""
    if not all(isinstance(field, str) for field in given or ()):
        raise InvalidInput("meta_fields_to_embed must be a list of names, each a str")
    return list(given or ())


def read_options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return options as YAML can hold them, but for what no file should hold."""
    options = {name: _plain(value) for name, value in (given or {}).items()}
    for name in options:
        if not isinstance(name, str):
            raise InvalidInput(f"options must be named by str, not {type(name).__name__}")
        if name in _BESIDE:
            raise InvalidInput(f"options cannot hold {name!r}; it is the parameter {_BESIDE[name]}")
    return options


def _plain(value: Any) -> Any:
    if isinstance(value, Prompt):
        return {name: _plain(part) for name, part in asdict(value).items()}
    if isinstance(value, tuple):
        return list(value)
    return fspath(value) if isinstance(value, PathLike) else value


def core_options(options: Mapping[str, Any], device: ComponentDevice | None, *, resolve: bool) -> dict[str, Any]:
    """Return options in resift's words; in place of secrets that are not to be resolved yet stand empty texts."""
    told = dict(options)
    if device is not None:
        if "device" in told:
            raise InvalidInput("device is given twice; leave out the parameter, or the one in options")
        if device.has_multiple_devices:
            raise InvalidInput(
                "a model is not divided among devices; leave out device, "
                'and say options={"device": ["cuda:0", "cuda:1"]} for one replica on each'
            )
        told["device"] = device.to_torch_str()
    if isinstance(told.get("headers"), Mapping):
        texts = {name: _text(value, resolve=resolve) for name, value in told["headers"].items()}
        told["headers"] = {name: text for name, text in texts.items() if text is not None}
    return told


def core_key(key: Secret | None, *, resolve: bool) -> str | None:
    """Return the endpoint's key, "" for none; None leaves it to resift, which knows where the usual one is."""
    if resolve and key == USUAL_KEY:
        return None
    return _text(key, resolve=resolve) or ""


def _text(value: Any, *, resolve: bool) -> Any:
    if not isinstance(value, Secret):
        return value
    return value.resolve_value() if resolve else ""


def require_portable(options: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing elsewhere, or that would show a key there."""
    if options.get("http_client") is not None:
        raise SerializationError(
            "options['http_client'] cannot be written down; construct the ranker in code, or leave the client out"
        )
    if not all(isinstance(value, EnvVarSecret) for value in (options.get("headers") or {}).values()):
        raise SerializationError(
            "options['headers'] may hold keys, and is only written down when each value is a Secret.from_env_var(...)"
        )


def write_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as they may stand in a file."""
    require_portable(options)
    if not options.get("headers"):
        return dict(options)
    return {**options, "headers": {name: secret.to_dict() for name, secret in options["headers"].items()}}


def restore_options(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that `write_options` wrote, with the secrets of their headers."""
    headers = written.get("headers")
    if not isinstance(headers, Mapping):
        return dict(written)
    return {**written, "headers": {name: _restored(value) for name, value in headers.items()}}


def _restored(value: Any) -> Any:
    return Secret.from_dict(dict(value)) if isinstance(value, Mapping) and "type" in value else value
