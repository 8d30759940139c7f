"""Where the files of a model are, on this machine or on the hub, and what they say."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from resift.checkpoint.files import Checkpoint, Form, listed, read, require_config
from resift.checkpoint.hub import Repository
from resift.errors import InvalidInput, ModelNotFound

__all__ = ["Checkpoint", "Form", "directory_of", "open_checkpoint"]


def open_checkpoint(
    model: str,
    *,
    forms: Sequence[Form] = ("weights",),
    dtype: str = "float32",
    before: Callable[[Form], None] = lambda form: None,
    revision: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | None = None,
) -> Checkpoint:
    """
    Find a model's directory, downloading a hub model into the cache where needed.

    A directory is read where it is, and `revision` means nothing for it. Of a hub model come its configuration, its
    tokenizer, its modules and the first of `forms` that it has: weights, or its ONNX graph in the format `dtype`.
    `before` is called with the form before it is downloaded. Where the hub cannot be reached, the cached copy is used.
    """
    _require_text("model", model)
    for name, value in (("revision", revision), ("cache_dir", cache_dir)):
        if value is not None:
            _require_text(name, value)
    if "://" in model:
        raise InvalidInput(f"model must be a hub id ('org/name') or a directory, not an address: {model!r}")
    if directory_of(model) is not None or _looks_like_path(model):
        return _open_directory(model, Path(os.path.expanduser(model)))  # noqa: PTH111 - Path's own may raise
    cache = None if cache_dir is None else str(Path(cache_dir).expanduser())
    repository = Repository(model, revision, cache, forms=forms, dtype=dtype, before=before)
    return repository.open(local_files_only=local_files_only)


def directory_of(model: str) -> str | None:
    """Return the directory on this machine that a model's name means; None where there is no such directory."""
    directory = os.path.expanduser(model)  # noqa: PTH111, this and isdir never raise, whatever the text is
    return directory if os.path.isdir(directory) else None  # noqa: PTH112


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        meaning = "a hub id ('org/name') or a directory" if name == "model" else "None or text that is not empty"
        raise InvalidInput(f"{name} must be {meaning}, as a string: {value!r}")


def _looks_like_path(model: str) -> bool:
    # a hub id has one slash at most, and neither a backslash nor a drive
    return re.match(r"\.{0,2}/|~|[A-Za-z]:", model) is not None or model.count("/") > 1 or "\\" in model


def _open_directory(model: str, directory: Path) -> Checkpoint:
    if directory.is_file():
        raise ModelNotFound(f"{model!r} is a file; pass the model's directory, the one that holds its config.json")
    if not directory.is_dir():
        raise ModelNotFound(f"there is no directory {model!r}; check the path, or pass a hub id such as 'org/name'")
    try:
        names = listed(directory)
    except OSError as error:
        raise ModelNotFound(f"{model!r} cannot be read ({error.strerror}); check who may read it") from error
    require_config(model, names)
    return read(model, directory, None)
