"""From the words of `--model` and `--endpoint` to contestants that are opened when it is their turn."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from resift.cli.terminal import redraws
from resift.errors import InvalidInput
from resift.types import Ranker

if TYPE_CHECKING:
    from resift.opening import Opener

_WHOLE = (
    *("max_length", "max_batch_tokens", "max_queue_tokens"),
    *("max_retries", "max_documents_per_request", "max_concurrency"),
)
_SWITCHES = ("normalize", "trust_remote_code", "local_files_only")
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")

Opens = Callable[[], Ranker]


def read_contestants(
    models: Sequence[str], endpoints: Sequence[str], *, here: Mapping[str, Any], there: Mapping[str, Any]
) -> dict[str, Opens]:
    """
    Return what opens each contestant, by name, with all settings checked.

    Args:
        models: each a hub id, a directory or "lexical", perhaps with options behind commas: "MODEL,dtype=int8,name=x".
        endpoints: each a URL, a "=" and the name of a model there, with options behind commas too.
        here: the options of all models, where they do not say otherwise.
        there: the options of all endpoints.
    """
    from resift.api import opener

    contestants: dict[str, Opens] = {}
    for written in models:
        model, own = _parted(written)
        name = own.pop("name", None) or _called(model)
        _enter(contestants, name, opener(model, **{**here, **own}))
    for written in endpoints:
        address, own = _parted(written)
        url, there_called = _split_endpoint(address)
        name = own.pop("name", None) or there_called or urlsplit(url).hostname or "endpoint"
        _enter(contestants, name, opener(there_called, url, **{**there, **own}))
    return contestants


def _enter(contestants: dict[str, Opens], name: str, opener: "Opener") -> None:
    if name in contestants:
        raise InvalidInput(f"two contestants are called {name!r}; give one a name of its own: add ,name=... to it")

    def opens() -> Ranker:
        _tell(f"{name}: opening")
        ranker = opener()
        _tell(f"{name}: ranking")
        return ranker

    contestants[name] = opens


def _tell(news: str) -> None:
    """Say how far it is where no bar shows it; a line in between would tear the bar."""
    if not redraws():
        click.echo(news, err=True)


def _parted(written: str) -> tuple[str, dict[str, Any]]:
    """Part what is named from its options; a path that is there is a path, whatever commas are in it."""
    if Path(written).exists():
        return written, {}
    named, *options = written.split(",")
    return named.strip(), dict(_option(option) for option in options)


def _option(written: str) -> tuple[str, Any]:
    name, equals, value = (part.strip() for part in written.partition("="))
    name = name.replace("-", "_")
    if not equals or not name or not value:
        raise InvalidInput(f"{written.strip()!r} is no option; write it as name=value, for example dtype=bfloat16")
    if name in ("api_key", "headers", "http_client", "fields"):
        raise InvalidInput(f"the option {name!r} has no place in a command; a key is read from RESIFT_API_KEY")
    return name, _value(name, value)


def _value(name: str, written: str) -> Any:
    """Return the value that an option takes; what cannot be read is passed on, to be refused by name."""
    if name in _WHOLE:
        return int(written) if written.isdecimal() else written
    if name == "timeout_s":
        try:
            return float(written)
        except ValueError:
            return written
    if name in _SWITCHES and written.lower() in _YES + _NO:
        return written.lower() in _YES
    return written


def _split_endpoint(address: str) -> tuple[str, str | None]:
    """Part a URL, which has no "=", from a model's name."""
    url, _, model = address.partition("=")
    return url, model or None


def _called(model: str) -> str:
    """Return a model's own name: a hub id as it is, of a directory only its last part."""
    path = Path(model)
    return path.resolve().name if path.is_dir() else model
