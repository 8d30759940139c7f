"""Where an exported model goes: any directory that can be written, whole or not at all, never among another's files."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from resift.errors import InvalidInput, ModelNotFound, ResiftError
from resift.exporting import export, exporting


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with weights."""
    return tiny.build("bert-cross", tmp_path_factory.mktemp("one") / "model")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, whose graph would run with the configuration and the tokenizer of the first."""
    return tiny.build("bert-cross", tmp_path_factory.mktemp("other") / "model", seed=1, num_hidden_layers=2)


def _scores(directory: Path, **how: Any) -> list[float]:
    with resift.load(directory, normalize=False, **how) as ranker:
        return ranker.score(tiny.QUERY, list(tiny.DOCUMENTS[:6]))


def _exact(directory: Path) -> Any:
    return pytest.approx(_scores(directory, backend="torch", device="cpu"), abs=1e-5)


def _names(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def _refuse(monkeypatch: pytest.MonkeyPatch, name: str, code: int, refused: Callable[..., bool]) -> None:
    """Let a call of the operating system fail where it is refused."""
    call = getattr(os, name)

    def failing(*arguments: Any, **how: Any) -> Any:
        if refused(*(Path(path).absolute() for path in arguments if isinstance(path, str | Path))):
            raise OSError(code, os.strerror(code))
        return call(*arguments, **how)

    monkeypatch.setattr(os, name, failing)


# where it can be written


def test_the_current_directory_is_written_to(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is exported to where one stands, if nothing is there."""
    monkeypatch.chdir(tmp_path)
    export(model, ".")

    assert _scores(tmp_path) == _exact(model)


def test_a_link_to_a_directory_is_followed(model: Path, tmp_path: Path) -> None:
    """A link to an empty directory stays a link, and the model is where it leads."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    export(model, tmp_path / "link")

    assert (tmp_path / "link").is_symlink()
    assert _scores(tmp_path / "there") == _exact(model)


@pytest.mark.parametrize("force", [False, True])
def test_a_mounted_directory_is_written_to(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, force: bool
) -> None:
    """A directory may be a file system of its own, in a directory that nobody may write to."""
    mounted = tmp_path / "mounted"
    (mounted / "lost+found" if force else mounted).mkdir(parents=True)
    _refuse(monkeypatch, "mkdir", errno.EACCES, lambda path: path.parent == tmp_path)
    _refuse(monkeypatch, "rmdir", errno.EBUSY, lambda path: path == mounted)
    _refuse(
        monkeypatch, "replace", errno.EXDEV, lambda source, to: (mounted in source.parents) != (mounted in to.parents)
    )
    export(model, mounted, force=force)

    assert _scores(mounted) == _exact(model)


# where it cannot, and what is left then


def test_what_cannot_be_written_is_told_before_the_work(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that nobody may write to is refused before the model is looked for."""
    monkeypatch.setattr(exporting, "find_model", None)
    _refuse(monkeypatch, "mkdir", errno.EROFS, lambda path: path.parent == tmp_path)

    with pytest.raises(InvalidInput, match=r"cannot be written \(.*\); name another directory"):
        export(model, tmp_path)


@pytest.mark.parametrize("target", ["", "a/b/c"])
def test_no_directory_is_left_of_a_failure(target: str, tmp_path: Path) -> None:
    """Directories that were made for a model go when it is not exported; one that was there stays, and is empty."""
    there = tmp_path / "there"
    there.mkdir()
    with pytest.raises(ModelNotFound):
        export(tmp_path / "missing", there / target)

    assert list(tmp_path.rglob("*")) == [there]


@pytest.mark.parametrize("target", ["", "a/b/c"])
def test_no_file_is_left_of_a_failure(
    target: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file cannot go to its place in the end, those that went before it are taken back."""
    there = tmp_path / "there"
    there.mkdir()
    _refuse(monkeypatch, "replace", errno.ENOSPC, lambda source, to: to.name == "model.onnx")
    with pytest.raises(InvalidInput, match="cannot be written"):
        export(model, there / target)

    assert list(tmp_path.rglob("*")) == [there]


# among what is there already


def test_another_models_graphs_go(model: Path, other: Path, tmp_path: Path) -> None:
    """Where another model was exported to, `force` removes its graphs, and no file that is not read with one."""
    export(model, tmp_path)
    for name in ("notes.json", "onnx/drawn.onnx"):
        (tmp_path / name).write_text("{}")
    export(other, tmp_path, dtype="int8", force=True)

    assert {name for name in _names(tmp_path) if ".onnx" in name} == {"onnx/model_quantized.onnx", "onnx/drawn.onnx"}
    assert "notes.json" in _names(tmp_path)
    with pytest.raises(ModelNotFound, match="float32"):
        resift.load(tmp_path)


def test_another_models_settings_go(other: Path, tmp_path: Path) -> None:
    """Where an embedding model was exported to, a cross-encoder that takes its place is read as one."""
    export(tiny.build("bert-embedding", tmp_path / "model", prompts={"query": "query: "}), tmp_path / "out")
    export(other, tmp_path / "out", force=True)

    assert _scores(tmp_path / "out") == _exact(other)


def test_another_models_weights_are_left_alone(model: Path, other: Path, tmp_path: Path) -> None:
    """A directory with another model's weights is refused before the work, and scores as before."""
    target = tmp_path / "model"
    target.mkdir()
    for file in model.iterdir():
        (target / file.name).write_bytes(file.read_bytes())

    with pytest.raises(InvalidInput, match="holds the weights of another model"):
        export(other, target, force=True)

    assert _names(target) == _names(model)
    assert _scores(target, device="cpu") == _exact(model)


def test_a_graph_that_is_written_anew_leaves_nothing(model: Path, tmp_path: Path) -> None:
    """The files of weights of an older graph go with it; graphs in other number formats stay."""
    export(model, tmp_path)
    for name in ("model.onnx_data", "model_fp16.onnx", "model_fp16.onnx_data"):
        (tmp_path / "onnx" / name).write_text("older")
    export(model, tmp_path, force=True)

    assert {path.name for path in (tmp_path / "onnx").iterdir()} == {
        "model.onnx",
        "model_fp16.onnx",
        "model_fp16.onnx_data",
    }


def test_half_of_a_model_is_never_taken_for_one(
    model: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever an export that replaces another is cut off, what is there scores as one of the two, or is refused."""
    export(model, tmp_path)
    exact = [_exact(directory) for directory in (model, other)]
    seen: list[Any] = []

    def look() -> None:
        try:
            seen.append(_scores(tmp_path))
        except ResiftError as error:
            seen.append(type(error))

    with _watched(monkeypatch, tmp_path, look):
        export(other, tmp_path, force=True)
    look()

    *cut, whole = seen
    assert ModelNotFound in cut
    assert all(found is ModelNotFound or found == exact[0] for found in cut)
    assert whole == exact[1]


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_what_was_there_is_put_back(
    *, place: int, error: BaseException, model: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an export that replaces another fails, whichever file it is at, everything is as it was."""
    export(model, tmp_path)
    for name in ("modules.json", "onnx/model_fp16.onnx", "onnx/model_fp16.onnx_data", "onnx/model.onnx.bak", "notes"):
        (tmp_path / name).write_text("[]")
    before = {name: (tmp_path / name).read_bytes() for name in _names(tmp_path)}
    places: list[Path] = []

    def arrives(source: Path, to: Path) -> bool:
        if source.is_relative_to(tmp_path) and ".resift-" not in str(to):
            places.append(to)
            if len(places) == place + 1:
                raise error
        return False

    with monkeypatch.context() as patched:
        _refuse(patched, "replace", errno.EIO, arrives)
        with pytest.raises((InvalidInput, KeyboardInterrupt)):
            export(other, tmp_path, force=True)

    assert len(places) > place
    assert {name: (tmp_path / name).read_bytes() for name in _names(tmp_path)} == before
    assert not list(tmp_path.glob(".resift-*"))
    assert _scores(tmp_path, dtype="float32") == _exact(model)


def test_files_that_only_resemble_graphs_stay(model: Path, other: Path, tmp_path: Path) -> None:
    """Whoever keeps a copy of a graph by another name keeps it, whatever is exported beside it."""
    export(model, tmp_path)
    (tmp_path / "onnx" / "model.onnx.bak").write_text("kept")
    for each in (model, other):
        export(each, tmp_path, force=True)

    assert (tmp_path / "onnx" / "model.onnx.bak").read_text() == "kept"


def test_a_folder_of_graphs_elsewhere_is_not_written_to(model: Path, tmp_path: Path) -> None:
    """Where the folder of graphs is a link, the export is refused before the work: they may be somebody else's."""
    (tmp_path / "graphs").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "onnx").symlink_to(tmp_path / "graphs")

    with pytest.raises(InvalidInput, match="is a link"):
        export(model, tmp_path / "out", force=True)


@contextmanager
def _watched(monkeypatch: pytest.MonkeyPatch, directory: Path, look: Callable[[], None]) -> Iterator[None]:
    """Look at a directory before each change of a file in it."""
    with monkeypatch.context() as patched:
        for name in ("replace", "unlink"):
            call = getattr(os, name)

            def watched(*arguments: Any, call: Any = call, **how: Any) -> Any:
                if Path(arguments[-1]).is_relative_to(directory):
                    look()
                return call(*arguments, **how)

            patched.setattr(os, name, watched)
        yield
