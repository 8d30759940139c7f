"""Where the files of a model are, on this machine or on the hub, and what they say."""

import glob
import json
import logging
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, cast

from resift.errors import InvalidInput, MissingDependency, ModelNotFound, ModelUnsupported, ResiftError

logger = logging.getLogger("resift")

_CONFIGS = ("config.json", "modules.json")  # a model directory holds at least one of them
_METADATA_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".metadata", ".py"}

# One file, or the index of its shards: in order of preference, because a pickle can run code when it is read.
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)

# What a cached copy must hold where the repository holds it; whether the weights are whole is asked when they are read.
_ESSENTIAL = (*_CONFIGS, "config_sentence_transformers.json", "tokenizer.json")

_NAMES_SHOWN = 8
_LFS_POINTER = b"version https://git-lfs"
_LENGTH_BYTES = 8  # a safetensors file opens with the length of its header


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model directory on this machine, and the id it is known by."""

    name: str
    """What the caller said: a hub id or a directory."""

    path: Path
    revision: str | None
    """The commit that is read, for a hub model."""

    config: Mapping[str, Any] = field(repr=False, compare=False)
    """What config.json says; empty where there is none."""

    def file(self, name: str) -> Path | None:
        """Return the path of a file of this model, None where there is no such file."""
        relative = PurePosixPath(name.replace("\\", "/"))
        if relative.is_absolute() or ".." in relative.parts or PureWindowsPath(name).drive:
            raise ModelUnsupported(
                f"model {self.name!r} names the file {name!r}, outside its own directory; use a model that you trust"
            )
        path = self.path / relative
        return path if path.is_file() else None

    def json(self, *parts: str) -> Any | None:
        """Return the content of a JSON file of this model, None where there is no such file."""
        name = "/".join(parts)
        path = self.file(name)
        if path is None:
            return None
        try:
            return json.loads(path.read_bytes())
        except (ValueError, RecursionError, OSError) as error:
            raise self.damaged(name, f"not readable as JSON, {type(error).__name__}") from error

    def damaged(self, name: str, reason: str) -> ModelNotFound:
        """Return the error for a file that does not hold what it must."""
        return ModelNotFound(f"{self.path / name} is damaged ({reason}); {self._remedy}")

    @property
    def tokenizer_file(self) -> Path:
        """The path of tokenizer.json, the one form of a tokenizer that resift reads."""
        path = self.file("tokenizer.json")
        if path is None:
            raise ModelUnsupported(
                f"model {self.name!r} has no tokenizer.json in {self.path}; write one there with "
                "transformers.AutoTokenizer.from_pretrained(...).save_pretrained(...), or choose a model that ships it"
            )
        return path

    def module_folders(self) -> list[str]:
        """Return the folders of the modules that modules.json chains, without the model's own."""
        modules = self.json("modules.json")
        try:
            folders = [module["path"].strip("/") for module in modules or ()]
        except (TypeError, KeyError, AttributeError) as error:
            raise self.damaged("modules.json", "not a list of modules with a path") from error
        return [folder for folder in dict.fromkeys(folders) if folder]

    def weights(self, folder: str = "") -> tuple[Path, ...]:
        """Return the weight files of this model, or of one module's folder in it, each known to be whole."""
        names = self.weight_names(folder, has=lambda name: self.file(name) is not None)
        if not names:
            raise ModelNotFound(
                f"model {self.name!r} has no weights in {self.path / folder}: neither model.safetensors nor "
                f"pytorch_model.bin, only {_shown(_listed(self.path / folder))}; "
                "complete the download, or choose a model that has them"
            )
        return tuple(self._whole(name) for name in names)

    def weight_names(self, folder: str, *, has: Callable[[str], bool]) -> list[str]:
        """Return which weight files a folder means: one choice for what to download and what to read."""
        for single, index in _WEIGHTS:
            if has(str(PurePosixPath(folder, single))):
                return [str(PurePosixPath(folder, single))]
            if has(str(PurePosixPath(folder, index))):
                return [str(PurePosixPath(folder, shard)) for shard in self._shards(str(PurePosixPath(folder, index)))]
        return []

    def _shards(self, index: str) -> list[str]:
        try:
            shards = sorted(set((self.json(index) or {})["weight_map"].values()))
        except (TypeError, KeyError, AttributeError) as error:
            raise self.damaged(index, "no map of weights to files") from error
        if not shards or not all(isinstance(shard, str) for shard in shards):
            raise self.damaged(index, "it names no files")
        return shards

    def _whole(self, name: str) -> Path:
        path = self.file(name)
        fault = "is missing, though the index names it" if path is None else _fault(path)
        if path is None or fault is not None:
            raise ModelNotFound(f"model {self.name!r} is incomplete or damaged: {name!r} {fault}; {self._remedy}")
        return path

    @property
    def _remedy(self) -> str:
        if self.revision is None:
            return "copy or download the directory again"
        # the snapshot alone is not enough: it links to files kept beside it, which would be linked again as they are
        return f"delete {self.path.parent.parent} and load the model again"


def open_checkpoint(
    model: str,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | None = None,
) -> Checkpoint:
    """
    Find a model's directory, downloading a hub model into the cache where needed.

    A directory is read where it is, and `revision` means nothing for it. Of a hub model come its configuration, its
    tokenizer, its modules and one kind of weights. Where the hub cannot be reached, the cached copy is used.
    """
    _require_text("model", model)
    for name, value in (("revision", revision), ("cache_dir", cache_dir)):
        if value is not None:
            _require_text(name, value)
    if "://" in model:
        raise InvalidInput(f"model must be a hub id ('org/name') or a directory, not an address: {model!r}")
    directory = os.path.expanduser(model)  # noqa: PTH111, this and isdir never raise, whatever the text is
    if os.path.isdir(directory) or _looks_like_path(model):  # noqa: PTH112
        return _open_directory(model, Path(directory))
    repository = _Repository(model, revision, None if cache_dir is None else str(Path(cache_dir).expanduser()))
    return repository.open(local_files_only=local_files_only)


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
        names = _listed(directory)
    except OSError as error:
        raise ModelNotFound(f"{model!r} cannot be read ({error.strerror}); check who may read it") from error
    _require_config(model, names)
    return _read(model, directory, None)


def _read(model: str, path: Path, revision: str | None) -> Checkpoint:
    config = Checkpoint(model, path, revision, {}).json("config.json")
    checkpoint = Checkpoint(model, path, revision, {} if config is None else config)
    if not isinstance(checkpoint.config, dict):
        raise checkpoint.damaged("config.json", "not a JSON object")
    return checkpoint


def _require_config(model: str, names: Sequence[str]) -> None:
    if not any(name in names for name in _CONFIGS):
        raise ModelNotFound(
            f"{model!r} holds neither config.json nor modules.json, only {_shown(names)}; "
            "pass a model in the form that transformers or sentence-transformers save"
        )


def _listed(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(map(repr, names[:_NAMES_SHOWN])) + more if names else "nothing"


def _fault(path: Path) -> str | None:
    """Say what keeps a weight file from being whole, without reading the weights."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
        if start == _LFS_POINTER:
            return "is a Git LFS pointer, not the file itself (`git lfs pull` fetches it)"
        return _safetensors_fault(path) if path.suffix == ".safetensors" else _pickle_fault(path, start)
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _safetensors_fault(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if header_size > size - _LENGTH_BYTES:
            return f"ends inside its header, after {size} bytes"
        header = file.read(header_size)
    try:
        tensors = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
        expected = _LENGTH_BYTES + header_size + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return "has a header that cannot be read"
    return None if size == expected else f"has {size} bytes where its header announces {expected}"


def _pickle_fault(path: Path, start: bytes) -> str | None:
    if not start:
        return "is empty"
    # PyTorch has written zip archives since 1.6, and the directory of an archive is at its end
    cut = start.startswith(b"PK") and not zipfile.is_zipfile(path)
    return "ends before its table of contents" if cut else None


@dataclass(frozen=True, slots=True)
class _Repository:
    """One model on the hub, at the revision asked for."""

    model: str
    revision: str | None
    cache_dir: str | None

    def open(self, *, local_files_only: bool) -> Checkpoint:
        errors = _hub_errors()
        try:
            path = self._cached() if local_files_only else self._current()
        except errors as error:
            # a client's complaint about a header quotes the header, and with it the token
            raise _explained(self, error) from (None if _quotes_token(error) else error)
        _require_config(self.model, _listed(path))
        return _read(self.model, path, path.name)

    def _current(self) -> Path:
        from huggingface_hub import HfApi, constants

        errors = _hub_errors()
        api = HfApi(library_name="resift")
        try:
            info = api.model_info(self.model, revision=self.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        except errors as error:
            if not _is_outage(error):
                raise
            return self._cached_instead(error)
        names = sorted(sibling.rfilename for sibling in info.siblings or ())
        _require_config(self.model, names)
        return self._download(names, str(info.sha))

    def _cached_instead(self, error: Exception) -> Path:
        from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

        try:
            path = self._cached()
        except LocalEntryNotFoundError:
            raise error from None
        level = logging.INFO if isinstance(error, OfflineModeIsEnabled) else logging.WARNING
        reason = type(error).__name__
        logger.log(level, "%s: no hub (%s); using the cached commit %s", self.model, reason, path.name)
        return path

    def _download(self, names: Sequence[str], commit: str) -> Path:
        """Fetch in three steps, because the files of each say what to fetch in the next."""
        path = self._fetch(_metadata_names(names, ""), commit)
        checkpoint = Checkpoint(self.model, path, path.name, {})
        folders = checkpoint.module_folders()
        self._fetch([name for folder in folders for name in _metadata_names(names, folder)], commit)
        has = frozenset(names).__contains__
        # weights last: a copy that holds them holds everything
        weights = [name for folder in ("", *folders) for name in checkpoint.weight_names(folder, has=has)]
        return self._fetch(weights, commit)

    def _fetch(self, names: Sequence[str], commit: str) -> Path:
        """Download what the cache does not hold under the revision's own name, so that it is found there offline."""
        from huggingface_hub import try_to_load_from_cache

        missing = []
        for name in names:
            held = try_to_load_from_cache(self.model, name, cache_dir=self.cache_dir, revision=self.revision)
            if not isinstance(held, str) or commit not in Path(held).parts:
                missing.append(name)
        return self._snapshot(missing, local_files_only=not missing)

    def _cached(self) -> Path:
        path = self._snapshot(_ESSENTIAL, local_files_only=True)
        folders = Checkpoint(self.model, path, path.name, {}).module_folders()
        return self._snapshot([f"{folder}/config.json" for folder in folders], local_files_only=True)

    def _snapshot(self, names: Sequence[str], *, local_files_only: bool) -> Path:
        """Return the copy, where it holds each of these files that the repository holds or can be made to."""
        from huggingface_hub import snapshot_download

        path = snapshot_download(
            self.model,
            revision=self.revision,
            cache_dir=self.cache_dir,
            allow_patterns=[glob.escape(name) for name in names],
            local_files_only=local_files_only,
            library_name="resift",
        )
        return Path(path)


def _metadata_names(names: Sequence[str], folder: str) -> list[str]:
    paths = [PurePosixPath(name) for name in names]
    return [str(path) for path in paths if path.parent == PurePosixPath(folder) and path.suffix in _METADATA_SUFFIXES]


def _hub_errors() -> tuple[type[Exception], ...]:
    """Return the classes of everything that huggingface_hub raises on purpose."""
    try:
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise MissingDependency('to use models of the hub install "resift[local]", or pass a directory') from error
    # Its HTTP client was requests, then httpx, then httpx2. Their errors are OSError, or share this class's parent.
    return (OSError, ValueError, *cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__))


def _is_outage(error: Exception) -> bool:
    """Whether the hub could not answer, as opposed to an answer that says no."""
    from huggingface_hub.errors import HFValidationError

    status = _status(error)
    if status is not None:
        return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return not isinstance(error, HFValidationError) and not _quotes_token(error)


def _status(error: Exception) -> int | None:
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


def _quotes_token(error: Exception) -> bool:
    return isinstance(error, UnicodeEncodeError) or (_status(error) is None and "bearer" in str(error).lower())


def _explained(repository: _Repository, error: Exception) -> ResiftError:
    """Turn an error of the hub's client into one that says what to do."""
    from huggingface_hub import errors

    model = repr(repository.model)
    if isinstance(error, errors.HFValidationError):
        return InvalidInput(f"{model} is no directory and cannot be a hub id ('org/name'); check the spelling")
    refusals: list[tuple[type[Exception], str]] = [
        (errors.GatedRepoError, "is gated: accept the terms on the model's page, then set HF_TOKEN"),
        (errors.RepositoryNotFoundError, "is not on the hub, or is private; check the spelling, or set HF_TOKEN"),
        (errors.RevisionNotFoundError, f"has no revision {repository.revision!r}; check it, or leave revision out"),
    ]
    refused = next((reason for kind, reason in refusals if isinstance(error, kind)), None)
    return ModelNotFound(f"{model} {refused or 'cannot be fetched: ' + _hindrance(repository, error)}")


def _hindrance(repository: _Repository, error: Exception) -> str:
    if _quotes_token(error):
        return "HF_TOKEN holds characters that cannot be sent; set it to the token alone, or unset it"
    status = _status(error)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"the hub refuses access (status {status}); check that HF_TOKEN is valid and may read this model"
    if status is not None:
        return f"the hub answers with status {status}, and no whole copy is in the cache; try again later"
    if isinstance(error, OSError) and error.errno is not None:
        return f"the cache cannot be used ({error.strerror}); free some space, or pass another cache_dir"
    return (
        f"no whole copy is in the cache, and the hub is out of reach or may not be asked ({type(error).__name__}); "
        f"connect to the network, or run `hf download {repository.model}` elsewhere and pass the directory or cache_dir"
    )
