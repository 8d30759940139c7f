"""The folder of outputs: files that are there whole or not at all, and a manifest that says whose they are."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from resift.bulk.encoding import Output
from resift.errors import InvalidInput

MANIFEST = "_manifest.json"  # readers of folders of Parquet pass over names that begin so

_FORMAT, _VERSION = "resift-bulk", 1
_OURS = re.compile(r"part-\d{5,}\.(?:jsonl|parquet)|_manifest\.json|\..+\.unfinished")
_SHOWN = 60

_ABOUT = {
    "input": "another input file",
    "identity": "another state of the model",
    "runs_on": "another backend, device or number format",
    "model": "another model",
    "names": "other names of members",
    "how": "other settings",
    "shard_size": "another shard size",
    "shards": "another number of shards",
}


class Folder:
    """One job's folder."""

    def __init__(self, path: Path, output: Output) -> None:
        self.path, self._output = path, output

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep other processes from writing to it meanwhile."""
        if self.path.exists() and not self.path.is_dir():
            raise InvalidInput(f"{self.path} is a file; the output is a folder of files, so name another place")
        with _using(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with _locked(self.path):
            with _using(self.path):
                for leftover in self.path.glob(".*.unfinished"):
                    leftover.unlink()
            yield

    def read_manifest(self) -> dict[str, Any] | None:
        """Return what the manifest says; None where there are no results yet, and no files of others."""
        path = self.path / MANIFEST
        if not path.exists():
            strangers = sorted(entry.name for entry in self.path.iterdir())
            if strangers:
                raise InvalidInput(
                    f"{self.path} holds {strangers[0]!r} and no {MANIFEST}, so it is no job's; choose an empty folder"
                )
            return None
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or (found.get("format"), found.get("version")) != (_FORMAT, _VERSION):
            raise InvalidInput(f"{path} is no manifest that this version knows; choose another folder")
        return found if any(self.path.glob("part-*")) else None

    def write_manifest(self, about: Mapping[str, Any]) -> None:
        """Write down whose results these are."""
        whole = {"format": _FORMAT, "version": _VERSION, **about}
        self.write(MANIFEST, json.dumps(whole, indent=2, ensure_ascii=False).encode() + b"\n")

    def require_same(self, found: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Refuse to go on with another job."""
        for name, value in about.items():
            if found.get(name) != json.loads(json.dumps(value)):
                raise InvalidInput(
                    f"{self.path} holds results of {_ABOUT[name]} ({_difference(found.get(name), value)}); choose "
                    "another folder, or --overwrite this one"
                )

    def part(self, number: int) -> Path:
        """Return where the output of a shard is, or will be."""
        return self.path / f"part-{number:05d}.{self._output}"

    def write(self, name: str, content: bytes) -> None:
        """Write a file; whoever looks meanwhile, or after a crash or a power cut, sees all of it or nothing."""
        unfinished = self.path / f".{name}.unfinished"
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path / name)
        _sync_folder(self.path)

    def clear(self) -> None:
        """Delete a job's files, and refuse where there are others: manifest last, so that a kill leaves a job's."""
        names = sorted(entry.name for entry in self.path.iterdir())
        strangers = [name for name in names if not _OURS.fullmatch(name)]
        if strangers:
            raise InvalidInput(f"{self.path} holds {strangers[0]!r}, which is no file of ours; choose an empty folder")
        for name in sorted(names, key=lambda name: name == MANIFEST):
            (self.path / name).unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows; there, two at a time do the work twice, and write the same
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(f"another process is writing to {path}; wait for it, or choose another folder") from None
        yield
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    with suppress(OSError):  # some systems cannot
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _using(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written to: {error.strerror or error}; choose another folder") from None


def _difference(before: Any, now: Any) -> str:
    """Say what differs, by its name and in few words."""
    if isinstance(before, dict) and isinstance(now, dict):
        name = next((name for name in sorted({*before, *now}) if before.get(name) != now.get(name)), "")
        return f"{name}: {_difference(before.get(name), now.get(name))}"
    return f"it was {_short(before)}, and is {_short(now)}"


def _short(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
