"""One virtual environment per vendor's set of packages, made on first use from a file in `requirements`."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".interop"
SLOWEST_S = 1800
"""How long one call of pip may take, and how long a test that needs an environment may have to wait."""

_not_made: dict[str, "NotMade"] = {}


class NotMade(Exception):
    """An environment could not be made; the message ends with the last lines of what pip said."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment that holds what its requirements ask for."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.program("python")

    def program(self, name: str) -> Path:
        """Return the path of a program that one of the packages brought."""
        return self.folder / "bin" / name


def environment(name: str) -> Environment:
    """
    Return the environment for `requirements/<name>.txt`, made anew whenever that file has changed.

    The file is installed in steps: a line `# then` ends a step, and what stands behind it is passed to pip in the
    next one (`# then --no-deps`).
    """
    return Environment(_folder(name, _install))


def node_environment(name: str) -> Path:
    """Return a folder in which Node finds the packages of `requirements/<name>.txt`, one `name@version` per line."""
    return _folder(name, _install_for_node)


def _folder(name: str, install: Callable[[Path, str], None]) -> Path:
    requirements = (HERE / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    stamp = hashlib.sha256(f"{sys.version}\n{requirements}".encode()).hexdigest()
    folder = ENVIRONMENTS / name
    made_from = folder / ".made-from"
    if name in _not_made:  # it would fail again, and take its time again
        raise _not_made[name]
    with alone(name):
        if not made_from.is_file() or made_from.read_text(encoding="utf-8") != stamp:
            shutil.rmtree(folder, ignore_errors=True)
            try:
                install(folder, requirements)
            except NotMade as error:
                _not_made[name] = error
                raise
            made_from.write_text(stamp, encoding="utf-8")
    return folder


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the others off, in this process and elsewhere, while an environment is looked at or made."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(folder: Path, requirements: str) -> None:
    run([sys.executable, "-m", "venv", str(folder)])
    for number, (options, wanted) in enumerate(_steps(requirements)):
        step = folder / f"step-{number}.txt"
        step.write_text(wanted, encoding="utf-8")
        python = str(Environment(folder).python)
        run([python, "-m", "pip", "install", "--quiet", *options, "--requirement", str(step)])


def _install_for_node(folder: Path, requirements: str) -> None:
    folder.mkdir()
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    run(["npm", "install", "--no-save", *quiet, "--prefix", str(folder), *requirements.split()])


def _steps(requirements: str) -> Iterator[tuple[list[str], str]]:
    """Yield each step's options for pip, and its requirements."""
    options: list[str] = []
    wanted: list[str] = []
    for line in requirements.splitlines():
        if line.startswith("# then"):
            yield options, "\n".join(wanted)
            options, wanted = line.removeprefix("# then").split(), []
        else:
            wanted.append(line)
    yield options, "\n".join(wanted)


def run(command: Sequence[str]) -> None:
    """Run a program to its end; NotMade if it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SLOWEST_S,
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-25:])
        raise NotMade(f"{' '.join(command)} ended with {done.returncode}:\n{last}")
