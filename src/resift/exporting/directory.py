"""The directory that is written: what of the model's files goes along, and how it appears, whole or not at all."""

import filecmp
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from resift.checkpoint import Checkpoint
from resift.checkpoint.files import CONFIGS, listed
from resift.checkpoint.graphs import FOLDERS, is_read
from resift.errors import InvalidInput

_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".tiktoken"}
_LICENCES = ("license", "licence", "notice")

# What is read beside a graph wherever it is there, so that what another model left of it would change scores.
_SETTINGS = (
    *CONFIGS,
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)


@contextmanager
def written(directory: Path, *, force: bool) -> Iterator[Path]:
    """
    Lend a folder whose files move to `directory` when all went well; after a failure that is as it was.

    It lies inside the directory, which may be all that can be written to, or a file system of its own.
    """
    with ExitStack() as undo:
        with _explained(directory):
            _require_room(directory, force=force)
            _make(directory, undo)
            lent = TemporaryDirectory(prefix=".resift-", dir=directory)
        with lent as folder:
            made = Path(folder) / "content"
            made.mkdir()
            yield made
            with _explained(directory), ExitStack() as moved:
                _place(made, directory, moved)
                moved.pop_all()
        undo.pop_all()


def copy_description(checkpoint: Checkpoint, made: Path) -> None:
    """Copy all but weights: configuration, tokenizer, what sentence-transformers reads, the licence."""
    for folder in ("", *checkpoint.module_folders()):
        (made / folder).mkdir(parents=True, exist_ok=True)
        for name in listed(checkpoint.path / folder):
            file = checkpoint.path / folder / name
            if file.is_file() and _describes(name):
                shutil.copyfile(file, made / folder / name)


def refuse_foreign_weights(made: Path, directory: Path) -> None:
    """Refuse a directory with another model's weights, because they would be read with what is made."""
    there = Checkpoint(str(directory), directory, None, {})
    if there.weight_names("", has=lambda name: there.file(name) is not None) and _is_another(made, directory):
        raise InvalidInput(f"{str(directory)!r} holds the weights of another model; name another directory")


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(
            f"{str(directory)!r} cannot be written ({error.strerror}); name another directory"
        ) from error


def _require_room(directory: Path, *, force: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise InvalidInput(f"{str(directory)!r} is a file; name a directory to write to")
    if not force and directory.is_dir() and any(directory.iterdir()):
        raise InvalidInput(
            f"{str(directory)!r} is not empty; name another directory, or say force=True (--force) to write into it"
        )
    if (directory / "onnx").is_symlink():
        raise InvalidInput(f"{str(directory / 'onnx')!r} is a link; name another directory, or remove the link")


def _make(directory: Path, undo: ExitStack) -> None:
    """Make a directory, with those above it that are missing."""
    for folder in reversed((directory, *directory.parents)):
        if not folder.is_dir():
            folder.mkdir()
            undo.callback(_remove, folder)


def _remove(folder: Path) -> None:
    with suppress(OSError):  # somebody else has put something there
        folder.rmdir()


def _place(made: Path, directory: Path, undo: ExitStack) -> None:
    """Move what was made to where it is wanted, so that no graph ever stands beside what is not its own."""
    aside = made.with_name("aside")
    for file in _outdated(made, directory):
        kept = aside / file.relative_to(directory)
        kept.parent.mkdir(parents=True, exist_ok=True)
        undo.callback(_put_back, kept, file)
        file.replace(kept)
    # the graph last: it names its files of weights, and until it is there nothing is taken for a model
    for file in sorted(_files(made), key=lambda file: file.suffix == ".onnx"):
        target = directory / file.relative_to(made)
        _make(target.parent, undo)
        undo.callback(target.unlink, missing_ok=True)
        file.replace(target)


def _put_back(kept: Path, file: Path) -> None:
    if kept.is_symlink() or kept.exists():  # it was moved before all broke off
        kept.replace(file)


def _outdated(made: Path, directory: Path) -> list[Path]:
    """Return what must go, graphs before all: another model's and its settings, and what is written anew."""
    graphs = [directory / folder / name for folder in FOLDERS for name in listed(directory / folder) if is_read(name)]
    anew = [directory / file.relative_to(made) for file in _files(made)]
    if _is_another(made, directory):
        gone = [*graphs, *(directory / name for name in _SETTINGS)]
    else:
        stems = {file.with_suffix("") for file in anew if file.suffix == ".onnx"}
        gone = [file for file in graphs if file.with_name(file.name.partition(".onnx")[0]) in stems]
    return [file for file in dict.fromkeys((*gone, *anew)) if file.is_symlink() or file.is_file()]


def _is_another(made: Path, directory: Path) -> bool:
    """Whether the configuration or the tokenizer of a directory is not the one that was made."""
    described = (file for file in _files(made) if _describes(file.name) and not _is_licence(file.name))
    pairs = ((file, directory / file.relative_to(made)) for file in described)
    return any(not there.is_file() or not filecmp.cmp(file, there, shallow=False) for file, there in pairs)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _describes(name: str) -> bool:
    lower = name.lower()
    return (Path(lower).suffix in _SUFFIXES and not lower.endswith(".index.json")) or _is_licence(name)


def _is_licence(name: str) -> bool:
    return name.lower().startswith(_LICENCES)
