"""`resift doctor`: what this machine has for ranking, what is missing, and what is broken."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from resift.cli.amounts import in_bytes
from resift.cli.options import OneOf, option
from resift.cli.terminal import console
from resift.cli.writing import flush, write_line

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {"good": "green", "missing": "yellow", "old": "red", "broken": "red"}


_option = partial(option, prefix="RESIFT_DOCTOR_")


@click.command()
@_option("-o", "--output", type=OneOf(("table", "json")), default="table", show_default=True, help="How it is written.")
@click.pass_context
def doctor(context: click.Context, /, output: str) -> None:
    """
    Say what this machine has for ranking: processor, GPUs, number formats, packages.

    What is missing comes with the command that installs it. Ends with status 1 if something that is installed does not
    work; what is not installed is no failure.
    """
    from resift.cli.checkup import check_up

    found = check_up()
    if output == "json":
        write_line(found)
    else:
        _write(found)
    flush()
    if not found["healthy"]:
        context.exit(1)


def _write(found: dict[str, Any]) -> None:
    screen = console()
    for part in (_machine(found), "", _packages(found["extras"]), ""):
        screen.print(part)
    for advice in found["advice"]:
        screen.print(f"{advice['why']}:  {advice['run']}", soft_wrap=True)
    if not found["advice"]:
        screen.print("nothing is missing")


def _machine(found: dict[str, Any]) -> "Table":
    from rich.table import Table

    sheet = Table(box=None, show_header=False, pad_edge=False)
    sheet.add_column(style="bold", no_wrap=True)
    sheet.add_column(overflow="fold")
    for name in ("resift", "python", "system"):
        sheet.add_row(name, found[name])
    processor = found["processor"]
    sheet.add_row("processor", f"{processor['name'] or 'unknown'}, {processor['cores']} cores")
    sheet.add_row("", f"has {', '.join(processor['features']) or 'no extensions that are known here'}")
    sheet.add_row("", f"fast in {', '.join(processor['fast_dtypes'])}")
    for card in found["gpus"]:
        memory = f"{in_bytes(card['memory_bytes'])}, {in_bytes(card['free_bytes'])} free"
        sheet.add_row(card["device"], f"{card['name']}, {memory}")
        sheet.add_row("", f"fast in {', '.join(card['fast_dtypes'])}")
    if not found["gpus"]:
        sheet.add_row("gpus", "none that torch can use" if found["backends"]["torch"] else "unknown without torch")
    sheet.add_row("models", f"{found['cache']['directory']} ({found['cache']['models']} models)")
    return sheet


def _packages(extras: dict[str, Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("extra", "package", "installed", "needed", ""):
        table.add_column(head, no_wrap=head != "")
    for extra, listed in extras.items():
        for place, package in enumerate(listed["packages"]):
            state = Text(package["state"], _STYLES[package["state"]])
            if package["reason"]:
                state.append(f": {package['reason']}", style="default")
            known = package["version"] or "-"
            table.add_row(extra if place == 0 else "", package["name"], known, package["needed"], state)
    return table
