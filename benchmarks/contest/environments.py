"""An environment for each peer, made when it is first needed, so that no peer can disturb another or this project."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ENVIRONMENTS = HERE / ".environments"
SLOWEST_S = 1800
"""How long one call of pip may take."""


class NotMade(Exception):
    """An environment could not be made; the message ends with the last lines of what pip said."""


def python_for(peer: Path, environments: Path = ENVIRONMENTS) -> Path:
    """
    Return the Python that has what `peer/requirements.txt` asks for, or this one where a peer has no such file.

    The environment is made anew whenever the file has changed. A line `# then` ends a step of the installation: torch
    goes first, so that a CPU build is taken where one is offered.
    """
    requirements = peer / "requirements.txt"
    if not requirements.is_file():
        return Path(sys.executable)
    wanted = requirements.read_text(encoding="utf-8")
    stamp = hashlib.sha256(f"{sys.version}\n{wanted}".encode()).hexdigest()
    folder = environments / peer.name
    made_from = folder / ".made-from"
    environments.mkdir(exist_ok=True)
    (environments / ".gitignore").write_text("*\n", encoding="utf-8")
    with (environments / f"{peer.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made_from.is_file() or made_from.read_text(encoding="utf-8") != stamp:
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, wanted)
            made_from.write_text(stamp, encoding="utf-8")
    return folder / "bin" / "python"


def _make(folder: Path, wanted: str) -> None:
    _run(sys.executable, "-m", "venv", str(folder))
    for number, step in enumerate(_steps(wanted)):
        path = folder / f"step-{number}.txt"
        path.write_text(step, encoding="utf-8")
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--requirement", str(path))


def _steps(wanted: str) -> Iterator[str]:
    lines: list[str] = []
    for line in wanted.splitlines():
        if line.strip() == "# then":
            yield "\n".join(lines)
            lines = []
        else:
            lines.append(line)
    yield "\n".join(lines)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SLOWEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotMade(f"{' '.join(command[1:4])} took more than {SLOWEST_S} s") from None
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-10:])
        raise NotMade(f"{' '.join(command[1:4])} ended with {done.returncode}:\n{last}")
