"""The commands by name, and how each ends: one line on stderr, and 2 for bad input, 1 for everything else."""

from collections.abc import Sequence
from importlib.metadata import version

import click

from resift.cli.serve import serve
from resift.errors import InvalidInput, ResiftError


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("resift"), prog_name="resift")
@click.pass_context
def resift(context: click.Context) -> None:
    """Put documents in order of relevance."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


resift.add_command(serve)


def start(arguments: Sequence[str]) -> int:
    """Run what the arguments say, and return the exit status."""
    try:
        resift.main(list(arguments), prog_name="resift", standalone_mode=False)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except ResiftError as error:
        return _fail(str(error), 2 if isinstance(error, InvalidInput) else 1)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    return 0


def _fail(message: str, status: int) -> int:
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    return status
