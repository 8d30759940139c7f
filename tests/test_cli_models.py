"""`resift models`, `resift pull` and `resift doctor`: what is known, what is here, and what is wrong with it."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import tiny
from fake_hub import FakeHub
from programs import printed
from resift.checkpoint.cache import cache_directory, is_cached
from resift.cli.amounts import in_bytes, in_parameters
from resift.cli.checkup import check_up, processor
from resift.cli.commands import start
from resift.scoring.catalog import ROWS, UNSUITABLE
from resift.scoring.catalog.rows import EmbeddingRow, HeadRow, LateRow, ListwiseRow, PairRow, PromptRow
from resift.scoring.facts import FACTS, NON_COMMERCIAL

MODEL = "acme/reranker"
FAMILIES = {
    "pair cross-encoder": {"pair", "chain"},
    "prompted language model": {"prompted"},
    "embedding model": {"embedding"},
    "late interaction": {"late interaction"},
    "listwise": {"listwise"},
}
SCALES: dict[type, tuple[str, str]] = {
    EmbeddingRow: ("embedding", "cosine"),
    LateRow: ("late interaction", "sum of cosines"),
    ListwiseRow: ("listwise", "cosine"),
}


# the facts behind the list


def test_facts_and_catalogue_know_the_same_models() -> None:
    """Each row of the catalogue has its facts; each model with facts runs, by its row or because its files say all."""
    assert ROWS.keys() - FACTS.keys() == set()
    assert {name for name, facts in FACTS.items() if not facts.by_files} - ROWS.keys() == set()
    assert UNSUITABLE.keys() & FACTS.keys() == set()
    assert {name for name, facts in FACTS.items() if facts.by_files} & ROWS.keys() == set()


def test_the_readme_names_known_models() -> None:
    """The README's table names only models that are known, or begin as theirs do, and somebody's of every author."""
    named = [name for _, name in _named_in_the_readme()]
    for name in named:
        assert any(known.startswith(name) for known in FACTS), name
    for owner in {known.partition("/")[0] for known in FACTS} - {"alibaba-nlp-community"}:
        assert any(name.startswith(f"{owner}/") for name in named), owner


def test_the_readme_and_the_catalogue_agree_on_families() -> None:
    """Each model that the README's table names stands there under the family that `resift models` gives it."""
    for family, name in _named_in_the_readme():
        found = {facts.family for known, facts in FACTS.items() if known.startswith(name)}
        assert found <= FAMILIES[family], name
    assert {family for family, _ in _named_in_the_readme()} == FAMILIES.keys()


def _named_in_the_readme() -> Iterator[tuple[str, str]]:
    """Yield family and name of each model in the README's table; "-large" behind "acme/base" is "acme/large"."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Models, and what")[2].partition("## How fast")[0]
    family = name = ""
    for line in table.splitlines():
        if not line.startswith("|") or "Xenova/" in line:  # the same models, in another form
            continue
        family = line.split("|")[1].strip() or family
        for written in re.findall(r"(?:[\w-]+/|(?<=, )-)[\w.-]*\w", line.split("|")[2]):
            name = written if "/" in written else _in_full(written, name)
            yield family, name


def _in_full(ending: str, before: str) -> str:
    """Return the name that an ending makes with the longest beginning of the one before, where a model is known so."""
    tried = [before[:length] + ending for length in range(len(before), 0, -1)]
    return next((name for name in tried if any(known.startswith(name) for known in FACTS)), ending)


def test_facts_agree_with_the_rows() -> None:
    """Family, longest input and kind of score are those of the catalogue's rows."""
    for name, row in ROWS.items():
        facts = FACTS[name]
        if isinstance(row, PairRow):
            assert facts.family == "pair", name
            assert row.sigmoid is None or facts.scale == ("probability" if row.sigmoid else "logit"), name
        elif isinstance(row, PromptRow | HeadRow):
            asked = row.asked if isinstance(row, HeadRow) else row
            assert (facts.family, facts.scale) == ("prompted", "probability" if asked.sigmoid else "logit"), name
        else:
            assert (facts.family, facts.scale) == SCALES[type(row)], name
        most = getattr(getattr(row, "asked", row), "max_length", None)
        assert most is None or most <= facts.tokens, name


def test_licences_that_forbid_business_are_known() -> None:
    """Exactly the models whose licence is non-commercial are marked so."""
    assert {name for name, facts in FACTS.items() if "-NC" in facts.licence} == NON_COMMERCIAL.keys()


# models


def test_the_list_says_what_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each model is a line with size, languages, length, scores, licence, what runs it, and whether it is here."""
    (tmp_path / "models--BAAI--bge-reranker-base" / "snapshots" / "abc").mkdir(parents=True)
    assert start(["models", "--cache-dir", str(tmp_path)]) == 0
    found = {entry["model"]: entry for entry in map(json.loads, capsys.readouterr().out.splitlines())}

    assert found.keys() == FACTS.keys()
    assert found["BAAI/bge-reranker-base"]["cached"]
    assert not found["BAAI/bge-reranker-large"]["cached"]
    assert found["BAAI/bge-reranker-v2-m3"]["parameters"] == 568_000_000
    assert (found["BAAI/bge-reranker-v2-m3"]["reads"], found["BAAI/bge-reranker-v2-m3"]["most"]) == (512, 8192)
    assert found["Qwen/Qwen3-Reranker-0.6B"]["runs"] == ["torch"]
    assert found["colbert-ir/colbertv2.0"]["runs"] == found["nvidia/llama-nemotron-rerank-1b-v2"]["runs"] == ["torch"]


def test_a_part_of_a_name_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """NAME keeps the models that hold it, in any case; one that nobody holds is answered with the closest."""
    assert start(["models", "QWEN3", "-o", "json"]) == 0
    assert [entry["model"] for entry in json.loads(capsys.readouterr().out)] == [
        name for name in FACTS if "Qwen3" in name
    ]
    assert start(["models", "bge-rerankr-base"]) == 2
    assert "did you mean 'BAAI/bge-reranker-base'?" in capsys.readouterr().err


def test_what_cannot_be_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A well-known model that cannot be run is not in the list; stderr says why, and NAME finds it too."""
    assert start(["models", "-o", "json"]) == 0
    shown = capsys.readouterr()
    assert not {entry["model"] for entry in json.loads(shown.out)} & UNSUITABLE.keys()
    assert [line for line in shown.err.splitlines() if "cannot be run here" in line] == [
        f"{model} cannot be run here: {reason}" for model, reason in UNSUITABLE.items()
    ]
    assert start(["models", "bge-reranker-base"]) == 0
    assert "cannot be run here" not in capsys.readouterr().err
    assert start(["models", "Lightweight"]) == 1
    said = capsys.readouterr().err
    assert "BAAI/bge-reranker-v2.5-gemma2-lightweight cannot be run here: it leaves out tokens" in said


def test_the_list_is_a_table_or_csv(capsys: pytest.CaptureFixture[str]) -> None:
    """A person gets a table whose names are whole, a spreadsheet CSV."""
    assert start(["models", "-o", "table"]) == 0
    shown = capsys.readouterr()
    assert all(name in shown.out for name in FACTS)
    assert "forbids commercial use" in shown.err
    assert start(["models", "-o", "csv"]) == 0
    assert [row["model"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == list(FACTS)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"HF_HOME": "/somewhere"},
        {"HF_HUB_CACHE": "~/there"},
        {"HUGGINGFACE_HUB_CACHE": "/old"},
        {"XDG_CACHE_HOME": "/caches"},
        {"HF_HOME": "$HOME/a", "XDG_CACHE_HOME": "/b"},
    ],
)
def test_the_cache_is_where_the_hubs_client_has_it(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is found by the same variables as the hub's own client finds it, without that client."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    assert str(cache_directory()) == printed("from huggingface_hub import constants; print(constants.HF_HUB_CACHE)")


def test_amounts_are_written_as_people_read_them() -> None:
    """Bytes and parameters have three digits and a unit."""
    assert [in_bytes(size) for size in (0, 999, 1000, 1_110_000_000, 3e15)] == [
        *("0 bytes", "999 bytes", "1 kB", "1.11 GB", "3e+03 TB")
    ]
    assert [in_parameters(millions) for millions in (4.4, 568, 1540, 8000)] == ["4.4M", "568M", "1.54B", "8B"]


# pull


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with one model, and an empty cache."""
    from huggingface_hub import _commit_api, file_download, hf_api  # noqa: F401 - so that they take the endpoint below

    with FakeHub() as hub:
        directory = tiny.build("bert-cross", tmp_path / "source")
        hub.publish(MODEL, {path.name: path.read_bytes() for path in directory.iterdir()})
        yield hub


def _pull(hub: FakeHub, cache: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "resift", "pull", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(cache), "HF_HUB_ETAG_TIMEOUT": "5", **env},
    )


def test_a_pulled_model_is_there_offline(hub: FakeHub, tmp_path: Path) -> None:
    """What was pulled is told as a folder on stdout and a size on stderr, and is then found without the hub."""
    done = _pull(hub, tmp_path / "cache", MODEL)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert (folder / "model.safetensors").is_file()
    assert f"{MODEL}: " in done.stderr
    assert "read as weights, commit " in done.stderr
    assert is_cached(MODEL, str(tmp_path / "cache"))

    hub.close()
    again = _pull(hub, tmp_path / "cache", MODEL, "--local-files-only", "-o", "json")
    found = json.loads(again.stdout)
    assert (found["path"], found["form"], found["reads"]) == (str(folder), "weights", ["model.safetensors"])
    assert found["bytes"] == sum(path.stat().st_size for path in folder.iterdir())


def test_what_cannot_be_pulled_is_told(hub: FakeHub, tmp_path: Path) -> None:
    """A model that does not exist, a revision that does not, and a hub out of reach end with 1 and what to do."""
    unknown = _pull(hub, tmp_path / "cache", "acme/nothing")
    revision = _pull(hub, tmp_path / "cache", MODEL, "--revision", "v9")
    hub.close()
    gone = _pull(hub, tmp_path / "cache", MODEL)

    assert [done.returncode for done in (unknown, revision, gone)] == [1, 1, 1]
    assert "is not on the hub, or is private" in unknown.stderr
    assert "no revision 'v9'" in revision.stderr
    assert "out of reach" in gone.stderr
    assert not any(done.stdout for done in (unknown, revision, gone))


def test_a_directory_is_checked_and_lexical_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory is only looked through; a damaged one is told; the built-in scorer has no files."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    directory = tiny.build("bert-cross", tmp_path)
    assert start(["pull", str(directory)]) == 0
    assert capsys.readouterr().out == f"{directory}\n"
    (directory / "model.safetensors").write_bytes(b"half")
    assert start(["pull", str(directory)]) == 1
    assert "incomplete or damaged" in capsys.readouterr().err
    assert start(["pull", "lexical"]) == 2


# doctor


def test_a_whole_machine_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    """Where all works the status is 0, with each extra's packages, the processor and the formats that are fast."""
    assert start(["doctor", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert found["healthy"]
    assert found["extras"]["core"]["complete"]
    assert found["backends"]["torch"]["devices"][0] == "cpu"
    assert "float32" in found["processor"]["fast_dtypes"]


def test_missing_old_and_broken_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing is no failure and what is broken is one; each comes with the command that mends it."""
    needs = ["click>=8.1", "nothing-at-all>=1; extra == 'onnx'", "rich>=99; extra == 'serve'", "ruff; extra == 'dev'"]
    monkeypatch.setattr("resift.cli.checkup.requires", lambda name: needs)
    found = check_up()

    states = {extra: [package["state"] for package in told["packages"]] for extra, told in found["extras"].items()}
    assert states == {"core": ["good"], "onnx": ["missing"], "serve": ["old"]}
    assert [advice["run"] for advice in found["advice"]] == [
        'pip install --upgrade "resift[onnx]"',
        'pip install --upgrade "resift[serve]"',
    ]
    assert not found["healthy"]

    monkeypatch.setattr("resift.cli.checkup._MODULES", {"click": "click.nowhere"})
    assert start(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "broken: ModuleNotFoundError" in shown
    assert "pip install --force-reinstall click" in shown


@pytest.mark.parametrize(
    ("told", "fast"),
    [
        ("model name\t: EPYC\nflags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vnni\n", ["bfloat16", "int8"]),
        (
            "model name\t: Xeon\nflags\t\t: avx2 amx_tile amx_int8 amx_bf16 avx512_fp16\n",
            ["bfloat16", "float16", "int8"],
        ),
        ("model name\t: Core\nflags\t\t: avx2\n", []),
        ("Features\t: asimd asimdhp i8mm bf16\n", ["bfloat16", "float16", "int8"]),
        ("", []),
    ],
)
def test_fast_formats_are_those_that_the_processor_computes(told: str, fast: list[str], tmp_path: Path) -> None:
    """A number format is called fast where the processor has instructions for it."""
    (tmp_path / "cpuinfo").write_text(told)
    found: dict[str, Any] = processor(tmp_path / "cpuinfo")

    assert found["fast_dtypes"] == ["float32", *fast]
