"""A group of commands that are imported when they are run, so that help and mistakes cost nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from resift.settings import hint

Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)


@dataclass(frozen=True, slots=True)
class Home:
    """Where a command lives, and what the group says of it without looking."""

    place: str
    """Its module and its name there, as "module:name"."""

    section: str
    help: str


class LazyGroup(click.Group):
    """A group that knows its commands by where they live."""

    def __init__(self, *args: Any, homes: Mapping[str, Home], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.homes = homes

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.homes:
            return None
        module, _, name = self.homes[cmd_name].place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        if not any(parameter.name == "debug" for parameter in command.params):
            debug_option(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant, or say which one it might have been."""
        name = args[0]
        if name not in self.homes and not name.startswith("-"):
            known = hint(name, self.homes, otherwise="there are")
            raise click.UsageError(f"there is no command {name!r}; {known}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that has had enough of its output is no failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderLeft from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line for each command, by sections."""
        for section in dict.fromkeys(home.section for home in self.homes.values()):
            rows = [(name, home.help) for name, home in self.homes.items() if home.section == section]
            with formatter.section(section):
                formatter.write_dl(rows, col_max=12, col_spacing=12 - max(len(name) for name, _ in rows))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin like this, and the options."""
        names = [name for name in self.homes if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=self.homes[name].help) for name in names]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]


class ReaderLeft(Exception):
    """Whoever read stdout has closed it."""


def debug_option(command: Command) -> Command:
    """Add the option that shows where in the code an error came from."""
    option = click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=_note_debug,
        is_eager=True,
        envvar="RESIFT_DEBUG",
        show_envvar=True,
        help="Show where in the code an error came from.",
    )
    if isinstance(command, click.Command):
        command.params.append(option)
        return command
    command.__dict__.setdefault("__click_params__", []).append(option)
    return command


def _note_debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click calls it
    state = context.find_root().obj
    if isinstance(state, dict):
        state["debug"] = state.get("debug", False) or value
