"""The options that several commands share, each with the environment variable that stands for it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_args

import click

from resift.settings import Backend, Dtype, LongDocuments, hint

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Command], Command]


class OneOf(click.Choice[str]):
    """One of some words; a word that is nearly one of them is named."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word, or say which one was probably meant."""
        if value not in self.choices:
            self.fail(f"{value!r} is not known; {hint(value, map(str, self.choices))}", param, ctx)
        return super().convert(value, param, ctx)


class Words(click.types.StringParamType):
    """Values that are separated by commas where they stand in an environment variable."""

    def split_envvar_value(self, rv: str) -> list[str]:
        """Return the values between the commas."""
        return [word.strip() for word in rv.split(",") if word.strip()]


def option(*names: str, prefix: str = "RESIFT_", variable: str | None = None, **settings: Any) -> Option[Any]:
    """Declare an option that can come from an environment variable too, and whose help says so."""
    long = next(name for name in names if name.startswith("--"))
    default = prefix + long.partition("/")[0].removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable or default, show_envvar=True, **settings)


# What says which of a model's files are read, and where they come from.
FILE_OPTIONS: tuple[Option[Any], ...] = (
    option("--backend", type=OneOf(get_args(Backend)), help="What runs it.  [default: what suits its files]"),
    option("--device", type=Words(), multiple=True, metavar="NAME", help="Where: cpu, cuda, cuda:1; repeatable."),
    option("--dtype", type=OneOf(get_args(Dtype)), help="Its number format.  [default: what suits the device]"),
    option("--revision", metavar="NAME", help="The branch, tag or commit of a hub model."),
    option("--trust-remote-code", is_flag=True, help="Let code from the model's repository run."),
    option("--local-files-only", is_flag=True, help="Never ask the model hub."),
    option("--cache-dir", metavar="DIR", help="Where hub models are kept."),
)

# What says which ranker there is, but for a model's files.
RANKER_OPTIONS: tuple[Option[Any], ...] = (
    option("-m", "--model", metavar="NAME", help='A hub id, a directory, or "lexical".  [default: lexical]'),
    option("--like", metavar="NAME", help="The catalogued model that this one is a copy or a fine-tune of."),
    option("--base-url", metavar="URL", help="An endpoint that ranks, in place of a model here."),
    option("--api-key", metavar="KEY", help="The key that it asks for; every user of this machine sees it here."),
    option("--dialect", metavar="NAME", help="How it wants to be asked.  [default: known by its host or route]"),
    option("--timeout-s", type=float, metavar="S", help="Seconds that a call to it may take."),
    option("--max-length", type=int, metavar="N", help="Tokens that the model reads of one text."),
    option("--max-batch-tokens", type=int, metavar="N", help="Tokens that run at once."),
    option("--long-documents", type=OneOf(get_args(LongDocuments)), help="What becomes of a document too long."),
    option("--instruction", metavar="TEXT", help="What the model is told to look for, if it was trained with one."),
    option("--normalize/--raw", default=None, help="Scores in [0, 1], or before any sigmoid.  [default: the authors']"),
    option(
        "--field",
        "fields",
        multiple=True,
        type=Words(),
        metavar="NAME",
        help="A key of the documents that is read; repeatable.  [default: all]",
    ),
)


def added(options: Sequence[Option[Any]]) -> Option[Any]:
    """Return what declares some options, in this order."""

    def add(command: Any) -> Any:
        for declare in reversed(options):
            command = declare(command)
        return command

    return add


ranker_options = added((*RANKER_OPTIONS, *FILE_OPTIONS))
"""All that says how a ranker is opened; `opening` takes them."""
