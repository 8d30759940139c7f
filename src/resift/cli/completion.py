"""`resift completion`: the lines that teach a shell to complete."""

import click
from click.shell_completion import get_completion_class

from resift.cli.options import OneOf

_EXAMPLES = """\b
Examples:
  resift completion bash >> ~/.bashrc
  resift completion zsh >> ~/.zshrc
  resift completion fish > ~/.config/fish/completions/resift.fish
"""


@click.command(epilog=_EXAMPLES)
@click.argument("shell", type=OneOf(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Write what lets SHELL complete commands and options; append it to the file that your shell reads at its start."""
    kind = get_completion_class(shell)
    assert kind is not None
    root = context.find_root()
    click.echo(kind(root.command, {}, "resift", "_RESIFT_COMPLETE").source())
