"""The command line: `resift`, or `python -m resift`."""

import sys


def main() -> None:
    """Run the command line, and end the process with its exit status."""
    try:
        from resift.cli.commands import start
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "resift":
            raise
        sys.stderr.write('Error: the command line needs an extra; run: pip install "resift[serve]"\n')
        sys.exit(1)
    sys.exit(start(sys.argv[1:]))
