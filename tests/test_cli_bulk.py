"""`resift bulk` on the command line: its words, what it says, and with which status it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet as pq  # type: ignore[import-untyped]

from resift.bulk import Tally
from resift.cli.bulk import bulk as command
from resift.cli.commands import start
from resift.cli.progress import Meter
from scripted_server import ScriptedServer, reply


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide what the environment of the tests sets, and work in a folder of this test's own."""
    for parameter in command.params:
        if isinstance(parameter.envvar, str):
            monkeypatch.delenv(parameter.envvar, raising=False)
    monkeypatch.chdir(tmp_path)


def _write(*rows: Any) -> None:
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _read(folder: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(Path(folder).glob("part-*")) for line in path.read_bytes().splitlines()]


ROW = {"id": 7, "query": "panda", "documents": ["a car", "a panda", {"text": "pandas eat"}]}


def test_a_job_is_done_and_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    """A job writes its folder, says on stderr how much it did, and nothing on stdout; the next run has nothing left."""
    _write(ROW, ROW)

    assert start(["bulk", "in.jsonl", "out", "--top-n", "2", "--shard-size", "1"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "2 rows in 2 files, " in told.err
    assert [[hit["index"] for hit in row["results"]] for row in _read()] == [[1, 2], [1, 2]]
    assert {row["id"] for row in _read()} == {7}

    assert start(["bulk", "in.jsonl", "out", "--top-n", "2", "--shard-size", "1"]) == 0
    assert "nothing was left to do: out has all 2 rows in 2 files" in capsys.readouterr().err


def test_members_may_be_called_otherwise() -> None:
    """Queries, documents and ids are found where the command line says."""
    _write({"q": "panda", "passages": ["a panda"], "key": "k"})

    words = ["--query-field", "q", "--documents-field", "passages", "--id-field", "key", "--texts"]
    assert start(["bulk", "in.jsonl", "out", *words]) == 0
    (row,) = _read()
    assert (row["id"], row["query"], row["results"][0]["document"]) == ("k", "panda", "a panda")


def test_the_folders_name_decides_the_format() -> None:
    """A folder that is called .parquet gets Parquet, unless --to says otherwise."""
    _write(ROW)

    assert start(["bulk", "in.jsonl", "a.parquet"]) == 0
    assert Path("a.parquet/part-00000.parquet").exists()
    assert start(["bulk", "in.jsonl", "b.parquet", "--to", "jsonl"]) == 0
    assert Path("b.parquet/part-00000.jsonl").exists()


def test_partial_results_are_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows that were skipped end the job with 3 and a note, the second time too; else a bad row ends it with 2."""
    _write(ROW, {"query": "panda"})

    for _ in range(2):
        assert start(["bulk", "in.jsonl", "out", "--on-bad-row", "skip"]) == 3
        assert "Note: 1 of 2 rows have not all of their results" in capsys.readouterr().err
    assert start(["bulk", "in.jsonl", "other"]) == 2
    assert "in.jsonl:2 has no 'documents'" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["jsonl", "parquet"])
def test_what_an_endpoint_leaves_out_is_status_3(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A document without a score is named in its row, in every format, and ends the job with 3, the second time too."""
    _write(ROW)
    found = {"results": [{"index": 0, "relevance_score": 0.5}, {"index": 2, "relevance_score": 0.25}]}
    with ScriptedServer([reply(found)]) as server:
        for _ in range(2):
            assert start(["bulk", "in.jsonl", "out", "--base-url", server.url, "--to", output]) == 3
            assert "Note: 1 of 1 rows have not all of their results" in capsys.readouterr().err

    assert json.loads(Path("out/_manifest.json").read_text())["how"]["together"]  # bytes are the endpoint's affair
    (row,) = _read() if output == "jsonl" else pq.read_table("out/part-00000.parquet").to_pylist()
    assert (row["missing"], [hit["index"] for hit in row["results"]]) == ([1], [0, 2])


def test_progress_is_a_rate_and_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rate counts what this run has done, from when the model was there; what is left is told by it."""
    clock = iter([0.0, 30.0, 40.0, 40.0, 40.0, 40.0])
    monkeypatch.setattr("resift.cli.progress.time.monotonic", lambda: next(clock))
    with Meter("plain") as meter:
        meter(Tally(rows=4000, found=1000), label="m")  # 30 s of loading are no part of the rate
        meter(Tally(rows=4000, found=1000, done=10, documents=200), label="m")

    assert capsys.readouterr().err == "1010/4000 rows, 20 documents/s, 0:49:50 left\n"


def test_another_job_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of another job is refused, and overwritten on demand."""
    _write(ROW)
    assert start(["bulk", "in.jsonl", "out"]) == 0
    assert start(["bulk", "in.jsonl", "out", "--top-n", "1"]) == 2
    assert "top_n: it was null, and is 1" in capsys.readouterr().err
    assert start(["bulk", "in.jsonl", "out", "--top-n", "1", "--overwrite"]) == 0
    assert len(_read()[0]["results"]) == 1


def test_a_log_gets_lines_and_no_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody watches, progress is a line with rate and time left now and then; asked for none, there is none."""
    _write(*[ROW] * 40)
    monkeypatch.setattr("resift.cli.progress._EVERY_S", 0.0)

    assert start(["bulk", "in.jsonl", "out"]) == 0
    told = capsys.readouterr().err
    assert "20/40 rows, " in told
    assert "40 rows in 1 file, " in told
    assert "documents/s, 0:00:0" in told
    assert "\r" not in told
    assert start(["bulk", "in.jsonl", "quiet", "--progress", "none"]) == 0
    assert capsys.readouterr().err == ""


def test_a_bar_is_for_a_terminal_outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that moves is drawn only for a person, and not in CI."""
    monkeypatch.setattr("resift.cli.terminal.is_person", lambda stream=None: True)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with Meter("auto") as meter:
        assert meter._bar is not None  # noqa: SLF001
    monkeypatch.setenv("CI", "true")
    with Meter("auto") as meter:
        assert meter._bar is None  # noqa: SLF001
    monkeypatch.setenv("CI", "false")
    with Meter("auto") as meter:
        assert meter._bar is not None  # noqa: SLF001
    monkeypatch.delenv("CI")
    with Meter("plain") as meter:
        assert meter._bar is None  # noqa: SLF001
