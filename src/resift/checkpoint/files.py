"""A model directory on this machine: what its files are, and what they say."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from resift.checkpoint.graphs import FOLDERS, data_of, graph_name, no_graph
from resift.checkpoint.wholeness import fault_of
from resift.errors import ModelNotFound, ModelUnsupported

CONFIGS = ("config.json", "modules.json")  # a model directory holds at least one of them

# One file, or the index of its shards: in order of preference, because a pickle can run code when it is read.
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)

_NAMES_SHOWN = 8
_COUNTS_FROM_PADDING = {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm", "xmod"}

Form = Literal["weights", "graph"]
"""In what form a model is kept: weights for the code of its architecture, or an ONNX graph."""


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

    @property
    def first_position(self) -> int:
        """The position of a text's first token: descendants of RoBERTa count from behind the padding id."""
        if self.config.get("model_type") not in _COUNTS_FROM_PADDING:
            return 0
        padding = self.config.get("pad_token_id")
        return (1 if padding is None else int(padding)) + 1

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
                f"pytorch_model.bin, only {_shown(listed(self.path / folder))}; "
                "complete the download, or choose a model that has them"
                + ("; to run its ONNX graph, say backend='onnx'" if self._graphs() else "")
            )
        return tuple(self._whole(name) for name in names)

    def form(self, forms: Sequence[Form]) -> Form:
        """Return the first of some forms that is there, whole or not; the first of all where none is."""
        weights = self.weight_names("", has=lambda name: self.file(name) is not None)
        return first_form(forms, weights=bool(weights), graph=bool(self._graphs()))

    def graph(self, dtype: str) -> Path:
        """Return the ONNX graph in a number format, known to be whole, with the files of weights that it names."""
        name = graph_name(self._graphs(), dtype)
        if name is None:
            raise no_graph(f"{self.name!r} has", self._graphs(), dtype)
        path = self._whole(name)
        for beside, size in data_of(path).items():
            data = self._whole(str(PurePosixPath(name).parent / beside))
            if data.stat().st_size < size:
                raise self.damaged(beside, f"{data.stat().st_size} bytes, where {name} needs {size}")
        return path

    def _graphs(self) -> list[str]:
        return [
            str(PurePosixPath(folder, name))
            for folder in FOLDERS
            for name in listed(self.path / folder)
            if name.endswith(".onnx")
        ]

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
        fault = "is missing, though another file names it" if path is None else fault_of(path)
        if path is None or fault is not None:
            raise ModelNotFound(f"model {self.name!r} is incomplete or damaged: {name!r} {fault}; {self._remedy}")
        return path

    @property
    def _remedy(self) -> str:
        if self.revision is None:
            return "copy or download the directory again"
        # the snapshot alone is not enough: it links to files kept beside it, which would be linked again as they are
        return f"delete {self.path.parent.parent} and load the model again"


def first_form(forms: Sequence[Form], *, weights: bool, graph: bool) -> Form:
    """Return the first of some forms that there is; the first of all where there is none."""
    there = {"weights": weights, "graph": graph}
    return next((form for form in forms if there[form]), forms[0])


def read(model: str, path: Path, revision: str | None) -> Checkpoint:
    """Open a directory that is known to be a model's."""
    config = Checkpoint(model, path, revision, {}).json("config.json")
    checkpoint = Checkpoint(model, path, revision, {} if config is None else config)
    if not isinstance(checkpoint.config, dict):
        raise checkpoint.damaged("config.json", "not a JSON object")
    return checkpoint


def require_config(model: str, names: Sequence[str]) -> None:
    """Make sure that a model's files are those of a model."""
    if not any(name in names for name in CONFIGS):
        raise ModelNotFound(
            f"{model!r} holds neither config.json nor modules.json, only {_shown(names)}; "
            "pass a model in the form that transformers or sentence-transformers save"
        )


def listed(directory: Path) -> list[str]:
    """Return the names in a directory; none where there is no directory."""
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(map(repr, names[:_NAMES_SHOWN])) + more if names else "nothing"
