"""A model on the hub: what of it comes into the cache, and what its client's errors mean."""

import glob
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import cast

from resift.checkpoint.files import CONFIGS, Checkpoint, Form, first_form, listed, read, require_config
from resift.checkpoint.graphs import data_of, graph_name, no_graph
from resift.errors import InvalidInput, MissingDependency, ModelNotFound, ResiftError

logger = logging.getLogger("resift")

_METADATA_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".metadata", ".py"}

# What a cached copy must hold where the repository holds it; whether the weights are whole is asked when they are read.
_ESSENTIAL = (*CONFIGS, "config_sentence_transformers.json", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class Repository:
    """One model on the hub, at the revision asked for."""

    model: str
    revision: str | None
    cache_dir: str | None
    forms: Sequence[Form] = ("weights",)
    """In what forms the model is wanted, the best first."""

    dtype: str = "float32"
    """The number format of a graph."""

    before: Callable[[Form], None] = lambda form: None
    """What is done before a form is fetched: it may refuse to."""

    def open(self, *, local_files_only: bool) -> Checkpoint:
        """Return the newest copy that can be had."""
        errors = _hub_errors()
        try:
            path = self._cached() if local_files_only else self._current()
        except ResiftError:
            raise
        except errors as error:
            # a client's complaint about a header quotes the header, and with it the token
            raise _explained(self, error) from (None if _quotes_token(error) else error)
        require_config(self.model, listed(path))
        return read(self.model, path, path.name)

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
        require_config(self.model, names)
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
        own = checkpoint.weight_names("", has=has)
        form = first_form(self.forms, weights=bool(own), graph=any(name.endswith(".onnx") for name in names))
        self.before(form)
        # last: a copy that holds them holds everything
        if form == "graph":
            return self._fetch_graph(names, commit)
        return self._fetch([*own, *(name for at in folders for name in checkpoint.weight_names(at, has=has))], commit)

    def _fetch_graph(self, names: Sequence[str], commit: str) -> Path:
        """Fetch a graph, and then the files of weights that it names."""
        graph = graph_name(names, self.dtype)
        if graph is None:
            raise no_graph(f"{self.model!r} has", names, self.dtype)
        path = self._fetch([graph], commit)
        try:
            beside = data_of(path / graph)
        except ValueError:  # a damaged file is told of when it is read
            beside = {}
        return self._fetch([str(PurePosixPath(graph).parent / name) for name in beside], commit) if beside else path

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
        raise MissingDependency(
            'to use models of the hub install "resift[local]" or "resift[onnx]", or pass a directory'
        ) from error
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


def _explained(repository: Repository, error: Exception) -> ResiftError:
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


def _hindrance(repository: Repository, error: Exception) -> str:
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
