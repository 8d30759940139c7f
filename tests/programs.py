"""Programs for what only a new Python can show: what an import costs, and what it touches."""

import subprocess
import sys


def printed(program: str) -> str:
    """Run a program in a Python of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
