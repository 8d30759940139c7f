"""The command line: `resift`, or `python -m resift`."""

import sys


def main() -> None:
    """Run the command line, and end the process with its exit status."""
    try:
        from resift.cli.commands import start
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "resift":
            raise
        sys.stderr.write(
            f"Error: the command line cannot start\n  why: {package} is not installed\n  try: pip install resift\n"
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(start(sys.argv[1:]))
