"""From a command's options to a ranker."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import click
from click.core import ParameterSource

from resift.cli.terminal import quieten_downloads
from resift.errors import InvalidInput, ModelNotFound
from resift.types import Ranker

_HERE = (
    *("like", "backend", "device", "dtype", "revision", "trust_remote_code", "local_files_only", "cache_dir"),
    *("max_length", "max_batch_tokens", "long_documents"),
)
_THERE = ("api_key", "dialect", "timeout_s")
_NEARLY = 0.8  # of a name is right, or its owner is left out
_BOTH = ("instruction", "normalize", "fields")


def settings_of(context: click.Context) -> dict[str, Any]:
    """
    Return what `resift.open` takes of a command's options.

    What the environment says for all commands is left out where it does not concern this one: an endpoint and the
    built-in scorer have no device, and a model here no key. On the command line, it is an error that says so.
    """
    given = context.params
    why = _why_strange(given)
    options = {}
    for name in (*_HERE, *_THERE, *_BOTH):
        if not _is_given(name, given.get(name)):
            continue
        if name not in why:
            options[name] = given[name]
        elif not _is_from_environment(context, name):
            raise InvalidInput(f"--{name.replace('_', '-')} {why[name]}")
    if "device" in options:
        options["device"] = options["device"][0] if len(options["device"]) == 1 else list(options["device"])
    if "fields" in options:
        options["fields"] = list(options["fields"])
    return {"model": given.get("model"), "base_url": given.get("base_url"), **options}


@contextmanager
def opened(context: click.Context) -> Iterator[Ranker]:
    """Open the ranker that a command's options mean, and close it in the end; warnings are told on stderr."""
    import resift.api

    settings = settings_of(context)
    quieten_downloads()
    with warnings_told():
        with misspelling_told(settings["model"]):
            ranker = resift.api.open(**settings)
        with ranker:
            yield ranker


@contextmanager
def misspelling_told(model: str | None) -> Iterator[None]:
    """Where a model is not found and one that is known has nearly its name, ask whether that was meant."""
    try:
        yield
    except ModelNotFound as error:
        from resift.scoring.facts import FACTS

        known = ["lexical", *FACTS]
        close = [] if model is None or model in known else get_close_matches(model, known, n=1, cutoff=_NEARLY)
        if not close:
            raise
        why, _, _ = str(error).partition("; ")
        raise ModelNotFound(f"{why}; did you mean {close[0]!r}?") from error


@contextmanager
def warnings_told() -> Iterator[None]:
    """Write what resift warns of to stderr, one line each."""
    handler, logger = _Notes(logging.WARNING), logging.getLogger("resift")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"Note: {record.getMessage()}", err=True)


def _is_given(name: str, value: Any) -> bool:
    return value is not None and value != () and (value is not False or name == "normalize")


def _is_from_environment(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.ENVIRONMENT


def _why_strange(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with each option that does not concern the ranker which the others name."""
    if given.get("base_url") is not None:
        return dict.fromkeys(
            _HERE, "is for models that run here, and --base-url names an endpoint; leave one of them out"
        )
    why = dict.fromkeys(_THERE, "is for endpoints, and no --base-url names one; leave it out, or add --base-url")
    if given.get("model") in (None, "lexical"):
        why |= dict.fromkeys(_HERE, "is for models, and the built-in scorer is none; leave it out, or name a --model")
    return why
