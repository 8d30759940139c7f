"""Finding a model's files, on this machine and on the hub, and noticing when they are not whole."""

import errno
import json
import logging
import os
import sys
import traceback
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub.errors
import pytest
from huggingface_hub import constants

from fake_hub import FakeHub
from resift.checkpoint import Checkpoint, open_checkpoint
from resift.errors import InvalidInput, MissingDependency, ModelNotFound, ModelUnsupported, ResiftError

pytestmark = pytest.mark.timeout(30)

MODEL = "acme/reranker"
SECRET = "hf_" + "secret" * 5
CONFIG = b'{"model_type": "bert"}'


def _safetensors(data: bytes = b"\0" * 8) -> bytes:
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "weight": {"dtype": "F32", "shape": [len(data) // 4], "data_offsets": [0, len(data)]},
        }
    ).encode()
    return len(header).to_bytes(8, "little") + header + data


def _index(*shards: str) -> bytes:
    return json.dumps({"weight_map": {f"weight.{number}": shard for number, shard in enumerate(shards)}}).encode()


WEIGHTS = _safetensors()
SHARDS = ("model.safetensors-00001-of-00002.safetensors", "model.safetensors-00002-of-00002.safetensors")
SHARDED: Mapping[str, bytes] = {
    "config.json": CONFIG,
    "model.safetensors.index.json": _index(*SHARDS),
    SHARDS[0]: _safetensors(b"\1" * 8),
    SHARDS[1]: _safetensors(b"\2" * 8),
}
FILES: Mapping[str, bytes] = {"config.json": CONFIG, "tokenizer.json": b"{}", "model.safetensors": WEIGHTS}
BULK = {
    "README.md": b"# A card",
    "flax_model.msgpack": b"flax",
    "model.fp16.safetensors": WEIGHTS,
    "model.gguf": b"gguf",
    "onnx/config.json": CONFIG,
    "onnx/model.onnx": b"onnx",
    "openvino/openvino_model.xml": b"openvino",
    "rust_model.ot": b"rust",
    "tf_model.h5": b"tf",
    "training_args.bin": b"arguments",
}
CHAIN = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
]
MODULES: Mapping[str, bytes] = {
    **FILES,
    "modules.json": json.dumps(CHAIN).encode(),
    "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}',
    "2_Dense/config.json": b'{"in_features": 2}',
    "2_Dense/model.safetensors": _safetensors(b"\3" * 8),
    "2_Dense/pytorch_model.bin": b"pickle",
}


def _write(directory: Path, files: Mapping[str, bytes]) -> str:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(directory)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """Run a hub that huggingface_hub takes for the real one."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "default cache"))
    with FakeHub() as hub:
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + template)
        yield hub


@pytest.fixture
def cache(tmp_path: Path) -> str:
    """Name a cache with nothing in it."""
    return str(tmp_path / "cache")


def _refused(kind: type[ResiftError], model: Any, **options: Any) -> str:
    """Open a model that cannot be opened and return everything that is shown of the error."""
    with pytest.raises(kind) as caught:
        open_checkpoint(model, **options)
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    return str(caught.value)


# a directory


def test_a_directory_is_read_where_it_is(tmp_path: Path) -> None:
    """A local model needs no hub: its files, its configuration, no revision."""
    checkpoint = open_checkpoint(_write(tmp_path, FILES))

    assert checkpoint.path == tmp_path
    assert checkpoint.name == str(tmp_path)
    assert checkpoint.revision is None
    assert checkpoint.config == {"model_type": "bert"}
    assert checkpoint.tokenizer_file == tmp_path / "tokenizer.json"
    assert checkpoint.weights() == (tmp_path / "model.safetensors",)


def test_a_directory_named_like_a_hub_id_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> None:
    """What is here is not asked for elsewhere."""
    _write(tmp_path / MODEL, FILES)
    monkeypatch.chdir(tmp_path)

    assert open_checkpoint(MODEL).revision is None
    assert hub.requests == 0


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is understood as a shell would."""
    _write(tmp_path / "models" / "mine", FILES)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert open_checkpoint("~/models/mine").path == tmp_path / "models" / "mine"


@pytest.mark.parametrize("path", ["/no/such", "./no-such", "../no-such", "~/no-such", "a/b/c", ".\\such", "D:such"])
def test_a_missing_path_is_not_taken_for_a_hub_id(path: str, hub: FakeHub) -> None:
    """What can only be a path is looked for here alone."""
    assert f"no directory {path!r}" in _refused(ModelNotFound, path)
    assert hub.requests == 0


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    """Pointing at the weights says to point at their directory."""
    _write(tmp_path, FILES)

    assert "is a file; pass the model's directory" in _refused(ModelNotFound, str(tmp_path / "model.safetensors"))


def test_an_empty_directory_says_so(tmp_path: Path) -> None:
    """Nothing found is said to be nothing."""
    assert "only nothing" in _refused(ModelNotFound, str(tmp_path))


def test_a_directory_of_other_things_says_what_it_holds(tmp_path: Path) -> None:
    """At most eight names show what was found instead."""
    message = _refused(ModelNotFound, _write(tmp_path, {f"{number:02}.txt": b"" for number in range(10)}))

    assert "neither config.json nor modules.json, only '00.txt', '01.txt'" in message
    assert "'07.txt' and 2 more;" in message


def test_modules_alone_are_a_model(tmp_path: Path) -> None:
    """A chain of modules may keep its configurations in its folders."""
    chain = [{"path": "0_Transformer"}, {"path": "1_Pooling"}]
    checkpoint = open_checkpoint(_write(tmp_path, {"modules.json": json.dumps(chain).encode()}))

    assert checkpoint.config == {}
    assert checkpoint.module_folders() == ["0_Transformer", "1_Pooling"]


def test_a_checkpoint_compares_and_shows_without_its_configuration(tmp_path: Path) -> None:
    """Its name, path and revision say what it is."""
    name = _write(tmp_path, FILES)

    assert open_checkpoint(name) == Checkpoint(name, tmp_path, None, {})
    assert len({open_checkpoint(name), open_checkpoint(name)}) == 1
    assert "bert" not in repr(open_checkpoint(name))


# what the files say


def test_json_is_read_from_folders(tmp_path: Path) -> None:
    """A module's configuration is one call away; an absent file is None."""
    checkpoint = open_checkpoint(_write(tmp_path, MODULES))

    assert checkpoint.json("2_Dense", "config.json") == {"in_features": 2}
    assert checkpoint.json("3_Missing", "config.json") is None


@pytest.mark.parametrize("content", [b'{"model_type": ', b"\xff\xfe", b"", b"[" * 100_000, b'["bert"]'])
def test_a_broken_configuration_is_damage(tmp_path: Path, content: bytes) -> None:
    """A configuration that is not a JSON object names the file and what to do."""
    message = _refused(ModelNotFound, _write(tmp_path, {"config.json": content}))

    assert f"{tmp_path / 'config.json'} is damaged" in message
    assert "copy or download the directory again" in message


@pytest.mark.parametrize("content", [b"7", b'["1_Pooling"]', b"[{}]", b'[{"path": 7}]'])
def test_a_chain_without_paths_is_damage(tmp_path: Path, content: bytes) -> None:
    """Modules that name no folder are not guessed."""
    checkpoint = open_checkpoint(_write(tmp_path, {"modules.json": content}))

    with pytest.raises(ModelNotFound, match="not a list of modules with a path"):
        checkpoint.module_folders()


@pytest.mark.parametrize("name", ["../secret.json", "/etc/hostname", "a/../../secret.json", "..\\secret.json", "C:\\x"])
def test_a_model_reads_nothing_outside_itself(tmp_path: Path, name: str) -> None:
    """A model's own files cannot point resift at somebody else's."""
    _write(tmp_path, {"secret.json": b"{}"})
    checkpoint = open_checkpoint(_write(tmp_path / "model", {**FILES, "model.safetensors.index.json": _index(name)}))
    (tmp_path / "model" / "model.safetensors").unlink()

    with pytest.raises(ModelUnsupported, match="outside its own directory"):
        checkpoint.json(name)
    with pytest.raises(ModelUnsupported, match="outside its own directory"):
        checkpoint.weights()


def test_a_missing_tokenizer_says_how_to_make_one(tmp_path: Path) -> None:
    """A model with only a slow tokenizer can be helped."""
    checkpoint = open_checkpoint(_write(tmp_path, {"config.json": CONFIG, "vocab.txt": b"[PAD]"}))

    with pytest.raises(ModelUnsupported, match=r"no tokenizer\.json.*save_pretrained"):
        _ = checkpoint.tokenizer_file


# weights


def test_shards_are_those_the_index_names(tmp_path: Path) -> None:
    """The index decides, whatever the shards are called, and each counts once."""
    index = _index(SHARDS[1], SHARDS[0], SHARDS[1])
    checkpoint = open_checkpoint(_write(tmp_path, {**SHARDED, **BULK, "model.safetensors.index.json": index}))

    assert checkpoint.weights() == tuple(tmp_path / shard for shard in SHARDS)


def test_safetensors_are_preferred_to_pickles(tmp_path: Path) -> None:
    """A pickle is read only where there is nothing else."""
    checkpoint = open_checkpoint(_write(tmp_path, {**FILES, "pytorch_model.bin": b"pickle"}))
    assert checkpoint.weights() == (tmp_path / "model.safetensors",)

    (tmp_path / "model.safetensors").unlink()
    assert checkpoint.weights() == (tmp_path / "pytorch_model.bin",)


def test_a_module_has_weights_of_its_own(tmp_path: Path) -> None:
    """A dense layer's weights are in its folder."""
    checkpoint = open_checkpoint(_write(tmp_path, MODULES))

    assert checkpoint.weights("2_Dense") == (tmp_path / "2_Dense" / "model.safetensors",)


def test_no_weights_says_what_is_there(tmp_path: Path) -> None:
    """A configuration alone opens, and has no weights."""
    checkpoint = open_checkpoint(_write(tmp_path, {"config.json": CONFIG, "onnx/model.onnx": b"onnx"}))

    with pytest.raises(ModelNotFound, match=r"no weights.*only 'config\.json', 'onnx'"):
        checkpoint.weights()
    with pytest.raises(ModelNotFound, match=r"no weights.*only nothing"):
        checkpoint.weights("2_Dense")


def _archive(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"pickle" * 9)
    content = path.read_bytes()
    path.unlink()
    return content


BROKEN = {
    "no byte": (b"", "ends inside its header"),
    "half a length": (WEIGHTS[:4], "ends inside its header"),
    "half a header": (WEIGHTS[:40], "ends inside its header"),
    "half the weights": (WEIGHTS[:-4], "bytes where its header announces"),
    "too much": (WEIGHTS + b"\0", "bytes where its header announces"),
    "no JSON": ((4).to_bytes(8, "little") + b"{{{{", "has a header that cannot be read"),
    "no object": ((2).to_bytes(8, "little") + b"[]", "has a header that cannot be read"),
    "no offsets": ((10).to_bytes(8, "little") + b'{"a": {} }', "has a header that cannot be read"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "is a Git LFS pointer"),
}


@pytest.mark.parametrize(("content", "fault"), BROKEN.values(), ids=BROKEN)
def test_a_cut_safetensors_file_is_noticed(tmp_path: Path, content: bytes, fault: str) -> None:
    """A file that is not whole says so before anything is loaded from it."""
    checkpoint = open_checkpoint(_write(tmp_path, {**FILES, "model.safetensors": content}))

    with pytest.raises(ModelNotFound, match=f"incomplete or damaged: 'model.safetensors' .*{fault}.*again"):
        checkpoint.weights()


def test_a_model_without_tensors_is_whole(tmp_path: Path) -> None:
    """An empty safetensors file is a safetensors file."""
    content = (2).to_bytes(8, "little") + b"{}"

    assert open_checkpoint(_write(tmp_path, {**FILES, "model.safetensors": content})).weights()


def test_a_cut_pickle_is_noticed(tmp_path: Path) -> None:
    """A half archive, an empty file and a pointer are not weights; a whole archive is."""
    archive = _archive(tmp_path / "archive.zip")
    broken = {
        "ends before its table of contents": archive[:-30],
        "is empty": b"",
        "is a Git LFS pointer": BROKEN["a pointer"][0],
    }
    checkpoint = open_checkpoint(_write(tmp_path, {"config.json": CONFIG, "pytorch_model.bin": archive}))
    assert checkpoint.weights()

    for fault, content in broken.items():
        _write(tmp_path, {"pytorch_model.bin": content})
        with pytest.raises(ModelNotFound, match=f"'pytorch_model.bin' {fault}"):
            checkpoint.weights()


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    """An index that names a file that is not there is an incomplete model."""
    checkpoint = open_checkpoint(_write(tmp_path, SHARDED))
    (tmp_path / SHARDS[1]).unlink()

    with pytest.raises(ModelNotFound, match=f"incomplete or damaged: '{SHARDS[1]}' is missing.*again"):
        checkpoint.weights()


@pytest.mark.parametrize("content", [b"{}", b"[]", b"[7]", b'{"weight_map": {}}', b'{"weight_map": {"a": 7}}'])
def test_an_index_without_files_is_damage(tmp_path: Path, content: bytes) -> None:
    """An index that names nothing is not taken for a model without weights."""
    checkpoint = open_checkpoint(_write(tmp_path, {"config.json": CONFIG, "model.safetensors.index.json": content}))

    with pytest.raises(ModelNotFound, match=r"model.safetensors.index.json is damaged"):
        checkpoint.weights()


# the hub


def test_only_what_is_needed_is_downloaded(hub: FakeHub, cache: str) -> None:
    """Configuration, tokenizer and one kind of weights come; other formats and cards stay."""
    wanted = {**FILES, "vocab.txt": b"[PAD]", "spiece.model": b"model", "chat_template.jinja": b"{{ messages }}"}
    commit = hub.publish(MODEL, {**wanted, **BULK, "pytorch_model.bin": b"pickle"})

    checkpoint = open_checkpoint(MODEL, cache_dir=cache)

    assert sorted(hub.fetched) == sorted(wanted)
    assert checkpoint.revision == commit
    assert checkpoint.name == MODEL
    assert checkpoint.config == {"model_type": "bert"}
    assert Path(cache) in checkpoint.path.parents
    assert checkpoint.weights() == (checkpoint.path / "model.safetensors",)
    assert f"Bearer {SECRET}" in hub.tokens


def test_shards_are_downloaded_by_the_index(hub: FakeHub, cache: str) -> None:
    """Of many safetensors files only those come that the index names."""
    hub.publish(MODEL, {**SHARDED, **BULK, "consolidated.safetensors": WEIGHTS})

    assert len(open_checkpoint(MODEL, cache_dir=cache).weights()) == 2
    assert sorted(hub.fetched) == sorted(SHARDED)


def test_pickles_come_where_there_is_nothing_else(hub: FakeHub, cache: str) -> None:
    """An old model still loads."""
    hub.publish(MODEL, {"config.json": CONFIG, "pytorch_model.bin": b"pickle", "onnx/model.onnx": b"onnx"})

    assert [path.name for path in open_checkpoint(MODEL, cache_dir=cache).weights()] == ["pytorch_model.bin"]
    assert sorted(hub.fetched) == ["config.json", "pytorch_model.bin"]


def test_modules_come_along(hub: FakeHub, cache: str) -> None:
    """The folders that modules.json chains come with their own weights."""
    hub.publish(MODEL, {**MODULES, **BULK, "eval/config.json": CONFIG})

    checkpoint = open_checkpoint(MODEL, cache_dir=cache)

    assert sorted(hub.fetched) == sorted(set(MODULES) - {"2_Dense/pytorch_model.bin"})
    assert checkpoint.json("1_Pooling", "config.json") == {"pooling_mode_cls_token": True}
    assert checkpoint.weights("2_Dense")


def test_a_name_with_wildcards_is_only_a_name(hub: FakeHub, cache: str) -> None:
    """A folder that looks like a pattern brings its own files and no others."""
    chain = json.dumps([{"path": ""}, {"path": "[12]_Dense"}]).encode()
    hub.publish(
        MODEL, {**FILES, "modules.json": chain, "[12]_Dense/config.json": b"[12]", "1_Dense/config.json": b"[1]"}
    )

    open_checkpoint(MODEL, cache_dir=cache)

    assert "[12]_Dense/config.json" in hub.fetched
    assert "1_Dense/config.json" not in hub.fetched


def test_a_model_without_configuration_is_not_downloaded(hub: FakeHub, cache: str) -> None:
    """A repository of another kind is refused by its list of files."""
    hub.publish(MODEL, {"model.gguf": b"gguf", "README.md": b"# A card"})

    assert "only 'README.md', 'model.gguf'" in _refused(ModelNotFound, MODEL, cache_dir=cache)
    assert hub.fetched == []


def test_a_revision_is_what_is_read(hub: FakeHub, cache: str) -> None:
    """The newest commit is read unless another one is asked for."""
    old = hub.publish(MODEL, {"config.json": CONFIG, "pytorch_model.bin": b"pickle"})
    open_checkpoint(MODEL, cache_dir=cache)
    new = hub.publish(MODEL, {**FILES, "config.json": b'{"model_type": "xlm-roberta"}'})

    newest = open_checkpoint(MODEL, cache_dir=cache)
    pinned = open_checkpoint(MODEL, revision=old, cache_dir=f"{cache} of the old")

    assert (newest.revision, newest.config) == (new, {"model_type": "xlm-roberta"})
    assert [path.name for path in newest.weights()] == ["model.safetensors"]
    assert (pinned.revision, pinned.config) == (old, {"model_type": "bert"})
    assert [path.name for path in pinned.weights()] == ["pytorch_model.bin"]


def test_the_users_own_cache_is_the_default(hub: FakeHub, tmp_path: Path) -> None:
    """Without cache_dir, models are shared with every other program that uses the hub."""
    hub.publish(MODEL, FILES)

    assert tmp_path / "default cache" in open_checkpoint(MODEL).path.parents


def test_a_second_opening_downloads_nothing(hub: FakeHub, cache: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What is in the cache is not fetched again: one request asks for news, and no progress is shown."""
    hub.publish(MODEL, MODULES)
    first = open_checkpoint(MODEL, cache_dir=cache)
    hub.fetched.clear()
    hub.requests = 0
    capfd.readouterr()

    assert open_checkpoint(MODEL, cache_dir=cache) == first
    assert hub.fetched == []
    assert hub.requests == 1
    assert capfd.readouterr() == ("", "")


# without the hub


def _unplug(hub: FakeHub) -> None:
    hub.close()


def _break(hub: FakeHub) -> None:
    hub.fails_with = 503


def _throttle(hub: FakeHub) -> None:
    hub.fails_with = 429


@pytest.mark.parametrize("fail", [_unplug, _break, _throttle])
def test_the_cached_copy_serves_an_outage(
    hub: FakeHub, cache: str, caplog: pytest.LogCaptureFixture, fail: Any
) -> None:
    """A model that was opened once opens without the hub, and the log says so."""
    hub.publish(MODEL, MODULES)
    first = open_checkpoint(MODEL, cache_dir=cache)
    fail(hub)

    with caplog.at_level(logging.WARNING, logger="resift"):
        again = open_checkpoint(MODEL, cache_dir=cache)

    assert again == first
    assert again.weights()
    said = [record.getMessage() for record in caplog.records if record.name == "resift"]
    assert len(said) == 1
    assert f"{MODEL}: no hub" in said[0]
    assert f"cached commit {first.revision}" in said[0]


def test_local_files_only_asks_nobody(hub: FakeHub, cache: str) -> None:
    """A cached model opens without a single request."""
    hub.publish(MODEL, MODULES)
    first = open_checkpoint(MODEL, cache_dir=cache)
    hub.requests = 0

    assert open_checkpoint(MODEL, cache_dir=cache, local_files_only=True) == first
    assert open_checkpoint(MODEL, cache_dir=cache, local_files_only=True, revision=first.revision) == first
    assert hub.requests == 0


def test_local_files_only_without_a_copy(hub: FakeHub, cache: str) -> None:
    """Nothing is downloaded against the caller's will; the message says how to get a copy."""
    hub.publish(MODEL, FILES)

    message = _refused(ModelNotFound, MODEL, cache_dir=cache, local_files_only=True)

    assert "no whole copy is in the cache" in message
    assert f"`hf download {MODEL}`" in message
    assert hub.requests == 0


def test_offline_mode_is_quiet(
    hub: FakeHub, cache: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who switched the hub off is not warned that it is off."""
    hub.publish(MODEL, FILES)
    first = open_checkpoint(MODEL, cache_dir=cache)
    hub.requests = 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with caplog.at_level(logging.INFO, logger="resift"):
        assert open_checkpoint(MODEL, cache_dir=cache) == first

    assert [record.levelname for record in caplog.records if record.name == "resift"] == ["INFO"]
    assert hub.requests == 0
    assert "no whole copy" in _refused(ModelNotFound, "acme/other", cache_dir=cache)


@pytest.mark.skipif(
    not hasattr(huggingface_hub.errors, "IncompleteSnapshotError"),
    reason="this huggingface_hub does not remember what a copy should hold",
)
@pytest.mark.parametrize("absent", ["1_*", "modules.json", "tokenizer.json"])
def test_an_unfinished_copy_is_not_used(hub: FakeHub, cache: str, absent: str) -> None:
    """A download that was interrupted before all of its descriptions came is no model."""
    hub.publish(MODEL, MODULES)
    huggingface_hub.snapshot_download(MODEL, cache_dir=cache, allow_patterns=["*.json"], ignore_patterns=[absent])

    assert "no whole copy" in _refused(ModelNotFound, MODEL, cache_dir=cache, local_files_only=True)

    hub.close()
    assert "no whole copy" in _refused(ModelNotFound, MODEL, cache_dir=cache)


def test_a_broken_download_is_continued(hub: FakeHub, cache: str) -> None:
    """What came before the hub failed is kept, is not taken for the whole model, and the rest comes next time."""
    hub.publish(MODEL, MODULES)
    hub.fails_with, hub.fails_at = 507, "model.safetensors"

    assert "out of reach" in _refused(ModelNotFound, MODEL, cache_dir=cache)
    with pytest.raises(ModelNotFound, match=r"no weights.*complete the download"):
        open_checkpoint(MODEL, cache_dir=cache, local_files_only=True).weights()

    hub.fails_with = None
    hub.fetched.clear()
    assert open_checkpoint(MODEL, cache_dir=cache).weights()
    assert sorted(hub.fetched) == ["2_Dense/model.safetensors", "model.safetensors"]


def test_a_pinned_copy_becomes_the_newest(hub: FakeHub, cache: str) -> None:
    """A copy fetched by its commit is found offline by the branch it was opened as later."""
    commit = hub.publish(MODEL, MODULES)
    open_checkpoint(MODEL, revision=commit, cache_dir=cache)
    open_checkpoint(MODEL, cache_dir=cache)

    assert open_checkpoint(MODEL, cache_dir=cache, local_files_only=True).revision == commit


def test_missing_weights_in_the_cache_say_what_to_delete(hub: FakeHub, cache: str) -> None:
    """What a broken download left is deleted as a whole, or it would be linked again."""
    hub.publish(MODEL, FILES)
    checkpoint = open_checkpoint(MODEL, cache_dir=cache)
    blob = (checkpoint.path / "model.safetensors").resolve()
    blob.write_bytes(WEIGHTS[:20])

    with pytest.raises(ModelNotFound, match=r"delete .*models--acme--reranker and load the model again"):
        checkpoint.weights()


def test_no_network_and_no_copy(hub: FakeHub, cache: str) -> None:
    """The first opening needs the hub, or a copy made elsewhere."""
    hub.close()

    message = _refused(ModelNotFound, MODEL, cache_dir=cache)

    assert f"{MODEL!r} cannot be fetched" in message
    assert "out of reach" in message
    assert "connect to the network" in message


def test_a_failing_hub_and_no_copy(hub: FakeHub, cache: str) -> None:
    """A hub in trouble is told from one that does not know the model."""
    hub.fails_with = 503

    assert "answers with status 503" in _refused(ModelNotFound, MODEL, cache_dir=cache)


# what the hub refuses


def test_an_unknown_model(hub: FakeHub, cache: str) -> None:
    """A wrong name and a private model look the same from outside; both are said."""
    hub.publish(MODEL, FILES)

    message = _refused(ModelNotFound, "acme/rerankr", cache_dir=cache)

    assert "'acme/rerankr' is not on the hub, or is private" in message
    assert "check the spelling, or set HF_TOKEN" in message


def test_a_gated_model(hub: FakeHub, cache: str) -> None:
    """A model with terms says to accept them."""
    hub.publish(MODEL, FILES, gated=True)

    assert "is gated: accept the terms" in _refused(ModelNotFound, MODEL, cache_dir=cache)


def test_an_unknown_revision(hub: FakeHub, cache: str) -> None:
    """A revision that is not there is named."""
    hub.publish(MODEL, FILES)

    assert "has no revision 'v7'" in _refused(ModelNotFound, MODEL, revision="v7", cache_dir=cache)


def test_a_refusal_is_not_an_outage(hub: FakeHub, cache: str) -> None:
    """A copy in the cache does not hide that the hub says no; local_files_only asks for the copy alone."""
    hub.publish(MODEL, FILES)
    open_checkpoint(MODEL, cache_dir=cache)
    hub.fails_with = 401

    assert "refuses access" in _refused(ModelNotFound, MODEL, cache_dir=cache)
    assert open_checkpoint(MODEL, cache_dir=cache, local_files_only=True).weights()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token(hub: FakeHub, cache: str, status: int) -> None:
    """A token that may not read the model is suspected, and not shown."""
    hub.fails_with = status

    assert f"refuses access (status {status})" in _refused(ModelNotFound, MODEL, cache_dir=cache)


@pytest.mark.parametrize("extra", ["\vx", "é"])
def test_a_token_that_cannot_be_sent_is_not_shown(
    hub: FakeHub, cache: str, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    """The HTTP client quotes the header it cannot send; resift does not."""
    monkeypatch.setenv("HF_TOKEN", SECRET + extra)
    hub.publish(MODEL, FILES)

    assert "HF_TOKEN holds characters that cannot be sent" in _refused(ModelNotFound, MODEL, cache_dir=cache)


def test_a_full_disk(hub: FakeHub, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble with the cache is not taken for trouble with the network."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    hub.publish(MODEL, FILES)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)

    assert "the cache cannot be used (No space left" in _refused(ModelNotFound, MODEL, cache_dir=cache)


# arguments


@pytest.mark.parametrize("model", ["", "  ", None, 7, Path("model"), b"model"])
def test_a_model_is_a_string(model: Any) -> None:
    """Nothing and things that are not names are refused with their value."""
    assert f"as a string: {model!r}" in _refused(InvalidInput, model)


@pytest.mark.parametrize("model", ["-acme", "acme/re ranker", "acme..x", "a" * 200, "acme/reranker.git", "x" * 5000])
def test_a_name_the_hub_cannot_have(model: str, hub: FakeHub) -> None:
    """A name that can be no id is refused without a request."""
    assert "cannot be a hub id" in _refused(InvalidInput, model)
    assert hub.requests == 0


def test_an_address_is_not_a_name() -> None:
    """A link copied from the browser is told from a path."""
    assert "not an address" in _refused(InvalidInput, "https://hub.example/acme/reranker")


@pytest.mark.parametrize("name", ["revision", "cache_dir"])
@pytest.mark.parametrize("value", ["", 7])
def test_options_are_strings(name: str, value: Any) -> None:
    """An empty option is not taken for one that was not given."""
    assert f"{name} must be None or text" in _refused(InvalidInput, MODEL, **{name: value})


def test_the_hub_needs_its_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without huggingface_hub directories still open, and hub ids name the extra to install."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    assert 'install "resift[local]"' in _refused(MissingDependency, MODEL)
    assert open_checkpoint(_write(tmp_path, FILES)).weights()
