"""What went wrong, why, and what to do about it: every error as a person reads it, and the status it ends with."""

import errno
from dataclasses import dataclass

import click
from click.core import ParameterSource

from resift.errors import (
    DeadlineExceeded,
    EndpointError,
    EndpointMisbehaved,
    EndpointRefused,
    EndpointUnavailable,
    InvalidInput,
    MissingDependency,
    ModelNotFound,
    ModelUnsupported,
    Overloaded,
    ResiftError,
    ScoringFailed,
)

FAILED, MISUSED, PARTIAL, INTERRUPTED = 1, 2, 3, 130

# What went wrong, by class, the first that fits, and what to do where the message does not say. It always says why.
_WHAT: tuple[tuple[type[ResiftError], str, str], ...] = (
    (InvalidInput, "this cannot be done as it was asked", "correct that, or see what --help shows"),
    (ModelNotFound, "the model is not there", "check its name; `resift models` lists some"),
    (ModelUnsupported, "the model cannot rank", "choose another; `resift models` lists some"),
    (MissingDependency, "something that this needs is not installed", "run `resift doctor` to see what is missing"),
    (ScoringFailed, "the model could not score this", "run it again with --debug to see where it failed"),
    (Overloaded, "too much work is waiting", "run it again later"),
    (DeadlineExceeded, "the endpoint took too long", "give it more with --timeout-s"),
    (EndpointUnavailable, "the endpoint is out of reach", "check that it runs at this address, or wait"),
    (EndpointRefused, "the endpoint does not take this", "check the key, the model's name and the address"),
    (
        EndpointMisbehaved,
        "the endpoint's reply cannot be trusted",
        "check that it is one that ranks, and its --dialect",
    ),
    (EndpointError, "the endpoint gave no answer", "check that it runs at this address, or wait"),
    (ResiftError, "this did not work", "run it again with --debug to see where it failed"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in three parts."""

    what: str
    why: str
    remedy: str
    status: int

    @property
    def lines(self) -> list[str]:
        """The parts that there are, one line each."""
        parts = [("", self.what), ("  why: ", self.why), ("  try: ", self.remedy)]
        return [f"{head}{' '.join(part.split())}" for head, part in parts if part]


def explain(error: BaseException) -> Fault:
    """Return what a person should know of an error."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Fault("interrupted", "", "", INTERRUPTED)
    if isinstance(error, click.ClickException):
        return _misuse(error)
    if isinstance(error, ResiftError):
        what, otherwise = next((what, remedy) for kind, what, remedy in _WHAT if isinstance(error, kind))
        why, _, remedy = str(error).partition("; ")
        return Fault(what, why, remedy or otherwise, MISUSED if isinstance(error, InvalidInput) else FAILED)
    if isinstance(error, OSError) and error.errno is not None:
        return _file_trouble(error)
    return Fault(
        "resift has failed in a way that nobody has thought of",
        # only the class: the message may repeat a text
        f"{type(error).__name__} was raised",
        "run it again with --debug, and report what it shows",
        FAILED,
    )


def _misuse(error: click.ClickException) -> Fault:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "resift"
    message = error.format_message()
    if type(error) is click.BadParameter and error.param is not None:
        message = f"{_written_as(error.param, context)}: {error.message}"
    why, _, remedy = message.rstrip(".").partition("; ")
    if isinstance(error, click.NoSuchOption):
        why = f"there is no option {error.option_name!r}"
        remedy = f"did you mean {error.possibilities[0]!r}?" if error.possibilities else ""
    return Fault(
        f"{command} cannot be run like this", why, remedy or f"{command} --help shows what there is", error.exit_code
    )


def _written_as(parameter: click.Parameter, context: click.Context | None) -> str:
    """Return where a person wrote a value: in an option, or in the variable that stands for it."""
    source = None if context is None else context.get_parameter_source(str(parameter.name))
    if source is ParameterSource.ENVIRONMENT and isinstance(parameter.envvar, str):
        return parameter.envvar
    return max(parameter.opts, key=len)


def _file_trouble(error: OSError) -> Fault:
    name = "" if error.filename is None else f"{error.filename}: "
    remedy = "free some space, or write elsewhere" if error.errno == errno.ENOSPC else "check that it may be used"
    return Fault("a file cannot be used", f"{name}{error.strerror}", remedy, FAILED)
