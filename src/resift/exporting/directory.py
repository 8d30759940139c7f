"""The directory that is written: what of the model's files goes along, and how it appears, whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from resift.checkpoint import Checkpoint
from resift.checkpoint.files import listed
from resift.errors import InvalidInput

_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".tiktoken"}
_LICENCES = ("license", "licence", "notice")


@contextmanager
def written(directory: Path, *, force: bool) -> Iterator[Path]:
    """
    Lend a folder that becomes `directory` when all went well, and vanishes when it did not.

    With `force` a directory that holds something already keeps it, but for files of the same names.
    """
    if directory.exists() and not directory.is_dir():
        raise InvalidInput(f"{str(directory)!r} is a file; name a directory to write to")
    if not force and directory.is_dir() and any(directory.iterdir()):
        raise InvalidInput(
            f"{str(directory)!r} is not empty; name another directory, or say force=True (--force) to write into it"
        )
    beside = directory.absolute().parent
    try:
        beside.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix=f".{directory.name}-", dir=beside)
    except OSError as error:
        raise InvalidInput(
            f"{str(directory)!r} cannot be written ({error.strerror}); name another directory"
        ) from error
    with folder as made:
        content = Path(made) / "content"
        content.mkdir()
        yield content
        _place(content, directory)


def copy_description(checkpoint: Checkpoint, made: Path) -> None:
    """Copy all but weights: configuration, tokenizer, what sentence-transformers reads, the licence."""
    for folder in ("", *checkpoint.module_folders()):
        (made / folder).mkdir(parents=True, exist_ok=True)
        for name in listed(checkpoint.path / folder):
            file = checkpoint.path / folder / name
            if file.is_file() and _describes(name):
                shutil.copyfile(file, made / folder / name)


def _describes(name: str) -> bool:
    lower = name.lower()
    return (Path(lower).suffix in _SUFFIXES and not lower.endswith(".index.json")) or lower.startswith(_LICENCES)


def _place(made: Path, directory: Path) -> None:
    """Move what was made to where it is wanted: at once where nothing is there, else file by file, each whole."""
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
    if not directory.exists():
        made.replace(directory)
        return
    # the graph last, because it names its files of weights
    for file in sorted((path for path in made.rglob("*") if path.is_file()), key=lambda path: path.suffix == ".onnx"):
        target = directory / file.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
