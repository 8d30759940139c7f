"""Bulk ranking: shards, files that are whole or not there, and the same bytes whatever happens meanwhile."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resift.api
import tiny
from resift.bulk import How, Job, LocalExecutor, Names, Scored, Shard, ShardScorer, Tally, run_bulk, source_of
from resift.bulk.scoring import Advance
from resift.bulk.sources import JsonlSource, ParquetSource
from resift.errors import InvalidInput, ScoringFailed
from resift.testing import FakeRanker
from resift.types import Cut

WORDS = ("panda", "bamboo", "fox", "bear", "eats", "snow")
PATIENCE_S = 60


def _row(number: int) -> dict[str, Any]:
    documents = [
        " ".join(WORDS[(number * at + at) % 6] for at in range(1, 3 + (number + more) % 5)) for more in range(4)
    ]
    return {"id": f"q{number}", "query": f"{WORDS[number % 6]} {WORDS[number % 5]}", "documents": documents}


def _write(path: Path, rows: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _job(path: str, *, model: Any = "lexical", shard_size: int = 3, how: How | None = None) -> Job:
    opener = resift.api.opener(model)
    return Job(source_of(path, Names()), opener, opener.model, how or How(), shard_size)


def _results(folder: Path) -> list[dict[str, Any]]:
    parts = sorted(folder.glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_bytes().splitlines()]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def rows(tmp_path: Path) -> str:
    return _write(tmp_path / "in.jsonl", [_row(number) for number in range(20)])


# what comes out


def test_each_row_is_ranked_as_alone(rows: str, tmp_path: Path) -> None:
    """The parts together hold each row once, in order, with the ranking that its query has in Python."""
    tally = run_bulk(_job(rows), tmp_path / "out")
    written = _results(tmp_path / "out")

    assert (tally.rows, tally.shards, tally.done, tally.found, tally.partial) == (20, 7, 20, 0, 0)
    assert [row["id"] for row in written] == [f"q{number}" for number in range(20)]
    with resift.api.load() as ranker:
        for number, row in enumerate(written):
            ranking = ranker.rank(_row(number)["query"], _row(number)["documents"])
            assert row["results"] == [{"index": hit.index, "score": hit.score} for hit in ranking]


def test_a_finished_job_opens_no_model(rows: str, tmp_path: Path) -> None:
    """Running a finished job again changes no file, and does not so much as open the ranker."""
    run_bulk(_job(rows), tmp_path / "out")
    before = _files(tmp_path / "out")

    def refuse() -> Any:
        raise AssertionError("opened")

    tally = run_bulk(replace(_job(rows), open_ranker=refuse), tmp_path / "out")
    assert (tally.found, tally.done) == (20, 0)
    assert _files(tmp_path / "out") == before


class Dying(LocalExecutor):
    """Dies after some shards, as a process does that is killed."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def run(self, job: Job, shards: Sequence[Shard], advance: Advance) -> Iterator[Scored]:
        yield from super().run(job, shards[: self._after], advance)
        raise KeyboardInterrupt


@pytest.mark.parametrize("output", ["jsonl", "parquet"])
def test_what_was_stopped_goes_on_to_the_same_bytes(output: Any, rows: str, tmp_path: Path) -> None:
    """A job that is stopped after any number of shards ends with the files of one that was not."""
    job = _job(rows, how=How(output=output, texts=True))
    run_bulk(job, tmp_path / "whole")
    for after in range(7):
        with pytest.raises(KeyboardInterrupt):
            run_bulk(job, tmp_path / "stopped", executor=Dying(after))
        (tmp_path / "stopped" / f".part-0000{after}.{output}.unfinished").write_bytes(b"half")
        if after == 3:
            run_bulk(job, tmp_path / "stopped")
            break

    assert _files(tmp_path / "stopped") == _files(tmp_path / "whole")


def test_a_model_gives_the_same_bytes_again(rows: str, tmp_path: Path) -> None:
    """With a model, whose last digits depend on who shares a batch, the bytes of two runs are equal too."""
    job = _job(rows, model=tiny.build("bert-cross", tmp_path / "model"))
    with pytest.raises(KeyboardInterrupt):
        run_bulk(job, tmp_path / "stopped", executor=Dying(2))
    run_bulk(job, tmp_path / "stopped")
    run_bulk(job, tmp_path / "whole")

    assert _files(tmp_path / "stopped") == _files(tmp_path / "whole")


class Elsewhere:
    """Runs shards backwards, each from a pickled job with a reader and a ranker of its own: as other machines might."""

    def identity(self, job: Job) -> str:
        with job.open_ranker() as ranker:
            return str(getattr(ranker, "identity", ""))

    def runs_on(self, job: Job) -> str | None:
        return None

    def run(self, job: Job, shards: Sequence[Shard], advance: Advance) -> Iterator[Scored]:
        for shard in reversed(shards):
            there: Job = pickle.loads(pickle.dumps(job))  # noqa: S301 - our own
            reader = there.source.reader()
            with there.open_ranker() as ranker:
                yield ShardScorer(reader, ranker, there.how)(shard)
            reader.close()

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_another_executor_writes_the_same(kind: str, rows: str, tmp_path: Path) -> None:
    """Whoever runs the shards, in whatever order and from a pickled job, the folder is the same."""
    path = rows if kind == "jsonl" else _parquet(tmp_path / "in.parquet", [_row(number) for number in range(20)])
    run_bulk(_job(path), tmp_path / "here")
    run_bulk(_job(path), tmp_path / "there", executor=Elsewhere())

    assert _files(tmp_path / "there") == _files(tmp_path / "here")


def test_rows_that_share_batches_have_the_same_results(rows: str, tmp_path: Path) -> None:
    """Together or alone, rows have the same results in the same order."""
    run_bulk(_job(rows), tmp_path / "alone")
    run_bulk(_job(rows, how=How(together=True)), tmp_path / "together")

    alone, together = _files(tmp_path / "alone"), _files(tmp_path / "together")
    assert {name: alone[name] for name in alone if name != "_manifest.json"} == {
        name: together[name] for name in together if name != "_manifest.json"
    }


def test_progress_is_told(rows: str, tmp_path: Path) -> None:
    """The tally grows row by row, and counts documents."""
    seen: list[tuple[int, int, int]] = []

    def told(tally: Tally) -> None:
        seen.append((tally.rows, tally.done, tally.documents))

    run_bulk(_job(rows), tmp_path / "out", told=told)
    assert seen == [(20, done, 4 * done) for done in range(21)]


# formats


def _parquet(path: Path, rows: Sequence[Any], **options: Any) -> str:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(rows), path, **options)
    return str(path)


def test_parquet_in_is_read_as_jsonl_is(rows: str, tmp_path: Path) -> None:
    """The same rows give the same parts from Parquet, however they lie in row groups."""
    run_bulk(_job(rows), tmp_path / "lines")
    for size in (1, 4, 100):
        path = _parquet(tmp_path / "in.parquet", [_row(number) for number in range(20)], row_group_size=size)
        run_bulk(_job(path), tmp_path / f"rows-{size}")
        for part in (tmp_path / "lines").glob("part-*"):
            assert (tmp_path / f"rows-{size}" / part.name).read_bytes() == part.read_bytes()


def test_parquet_out_holds_what_jsonl_holds(rows: str, tmp_path: Path) -> None:
    """Parquet has one schema in all parts, and the results of JSONL."""
    from pyarrow import parquet

    run_bulk(_job(rows, how=How(texts=True)), tmp_path / "lines")
    run_bulk(_job(rows, how=How(texts=True, output="parquet")), tmp_path / "columns")
    lines = b"".join(path.read_bytes() for path in sorted((tmp_path / "lines").glob("part-*"))).splitlines()
    parts = [parquet.read_table(path) for path in sorted((tmp_path / "columns").glob("part-*"))]

    assert len({str(part.schema) for part in parts}) == 1
    found = [{**row, "missing": row["missing"] or []} for part in parts for row in part.to_pylist()]
    assert found == [{**json.loads(line), "missing": [], "error": None} for line in lines]


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.sampled_from(["", "  ", '{"query":"a","documents":["b"]}', "\r", '{"query":"ü","documents":[]}'])
    ),
    size=st.integers(1, 5),
)
def test_shards_hold_every_row_once(lines: list[str], size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Shards of JSONL follow one another, each has the rows that the plan says, and lines are named as they stand."""
    path = tmp_path_factory.mktemp("shards") / "in.jsonl"
    path.write_bytes("\n".join(lines).encode())
    source = JsonlSource(str(path))
    plan, reader = source.plan(size), source.reader()
    found = [list(reader.rows(shard)) for shard in plan.shards]
    reader.close()

    assert [len(rows) for rows in found] == [shard.rows for shard in plan.shards]
    assert all(shard.rows == size for shard in plan.shards[:-1])
    wanted = [f"{path}:{number}" for number, line in enumerate(lines, start=1) if line.strip()]
    assert [row.place for rows in found for row in rows] == wanted
    assert plan.bytes == path.stat().st_size


def test_shards_can_be_read_in_any_order(tmp_path: Path) -> None:
    """A reader gives each shard its own rows whatever was read before."""
    values = [_row(number) for number in range(20)]
    for source in (
        JsonlSource(_write(tmp_path / "in.jsonl", values)),
        ParquetSource(_parquet(tmp_path / "in.parquet", values, row_group_size=6)),
    ):
        shards, reader = source.plan(3).shards, source.reader()
        for at in (6, 0, 1, 2, 5, 0, 6, 3, 4):
            assert [row.id for row in reader.rows(shards[at])] == [f"q{n}" for n in range(at * 3, min(at * 3 + 3, 20))]
        reader.close()


# what is refused


def test_another_job_is_refused(rows: str, tmp_path: Path) -> None:
    """A folder of another input, model, setting or shard size is refused by name, and stays as it is."""
    out = tmp_path / "out"
    run_bulk(_job(rows), out)
    before = _files(out)
    other = _write(tmp_path / "other.jsonl", [_row(number) for number in range(21)])
    jobs = {
        "another input file": _job(other),
        "another shard size": replace(_job(rows), shard_size=20),
        "another model": _job(rows, model=tiny.build("bert-cross", tmp_path / "model")),
        "top_n: it was null, and is 2": _job(rows, how=How(Cut(2))),
    }
    for says, job in jobs.items():
        with pytest.raises(InvalidInput) as caught:
            run_bulk(job, out)
        assert says in str(caught.value)
        assert "--overwrite" in str(caught.value)
    assert _files(out) == before


def test_another_state_of_the_model_is_refused(rows: str, tmp_path: Path) -> None:
    """A model whose files have changed does not go on with the results of the one before."""
    model = tiny.build("bert-cross", tmp_path / "model")
    with pytest.raises(KeyboardInterrupt):
        run_bulk(_job(rows, model=model), tmp_path / "out", executor=Dying(1))
    os.utime(model / "model.safetensors", ns=(1, 1))

    with pytest.raises(InvalidInput, match=r"another state of the model \(state: it was"):
        run_bulk(_job(rows, model=model), tmp_path / "out")


def test_another_place_is_refused(rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What "auto" has become is written down, and a job does not go on where that is another number format."""
    job = _job(rows, model=tiny.build("bert-cross", tmp_path / "model"))
    with pytest.raises(KeyboardInterrupt):
        run_bulk(job, tmp_path / "out", executor=Dying(1))
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["runs_on"] == "torch on cpu in float32"
    monkeypatch.setattr(LocalExecutor, "runs_on", lambda executor, job: "torch on cuda:0 in float16")

    with pytest.raises(InvalidInput, match=r"another backend, device or number format \(it was .*cpu.*, and is .*cuda"):
        run_bulk(job, tmp_path / "out")


def test_a_job_without_results_may_be_corrected(rows: str, tmp_path: Path) -> None:
    """Where a job failed before its first file was written, another one begins as if nothing had been there."""
    wrong = replace(_job(rows), source=source_of(rows, Names(query="question")))
    with pytest.raises(InvalidInput, match="no 'question'"):
        run_bulk(wrong, tmp_path / "out")
    run_bulk(_job(rows), tmp_path / "out")
    run_bulk(_job(rows), tmp_path / "new")

    assert _files(tmp_path / "out") == _files(tmp_path / "new")


def test_a_job_that_a_bad_row_stopped_goes_on_without_it(tmp_path: Path) -> None:
    """Told to skip bad rows, a job goes on where one has stopped it, to the files of a job that was always told so."""
    values = [_row(number) for number in range(8)]
    path = _write(tmp_path / "in.jsonl", [*values, {"query": "a"}, *values])
    with pytest.raises(InvalidInput, match=r"in\.jsonl:9"):
        run_bulk(_job(path), tmp_path / "out")
    tally = run_bulk(_job(path, how=How(skip=True)), tmp_path / "out")
    run_bulk(_job(path, how=How(skip=True)), tmp_path / "new")

    assert (tally.found, tally.done, tally.partial) == (6, 11, 1)
    assert _files(tmp_path / "out") == _files(tmp_path / "new")


def test_an_input_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    """Rows that are gone when their turn comes end the job; no file is written that lacks them."""
    rows = _write(tmp_path / "in.jsonl", [{**_row(number), "documents": ["panda " * 9999]} for number in range(20)])

    def cut(tally: Tally) -> None:
        if tally.done == 3:
            Path(rows).write_text(json.dumps(_row(0)) + "\n")

    with pytest.raises(InvalidInput, match="has changed while it was read"):
        run_bulk(_job(rows, shard_size=3), tmp_path / "out", told=cut)
    written = _results(tmp_path / "out")
    assert [row["id"] for row in written] == [f"q{number}" for number in range(len(written))]
    assert len(written) % 3 == 0


def test_a_full_disk_leaves_no_half_file(rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose bytes did not all reach the disk is not there; with room again, the job ends as any other."""
    synced: list[int] = []

    def sync(handle: int) -> None:
        synced.append(handle)
        if len(synced) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("resift.bulk.folder.os.fsync", sync)
        with pytest.raises(OSError, match="No space"):
            run_bulk(_job(rows), tmp_path / "out")
    run_bulk(_job(rows), tmp_path / "whole")
    left, whole = _files(tmp_path / "out"), _files(tmp_path / "whole")
    finished = {name: content for name, content in left.items() if not name.endswith(".unfinished")}
    assert len(left) == len(finished) + 1
    assert finished.items() < whole.items()

    run_bulk(_job(rows), tmp_path / "out")
    assert _files(tmp_path / "out") == whole


def test_a_threshold_cuts_as_in_python(rows: str, tmp_path: Path) -> None:
    """Whether rows share batches or not, scores below the threshold are left out."""
    run_bulk(_job(rows), tmp_path / "all")
    kept = [[hit for hit in row["results"] if hit["score"] >= 0.5] for row in _results(tmp_path / "all")]
    assert 0 < sum(map(len, kept)) < 80
    for together in (False, True):
        run_bulk(_job(rows, how=How(Cut(threshold=0.5), together=together)), tmp_path / f"cut-{together}")
        assert [row["results"] for row in _results(tmp_path / f"cut-{together}")] == kept


def test_a_score_that_is_no_number_ends_the_job(rows: str, tmp_path: Path) -> None:
    """What a ranker says is not written unless it can be right."""
    job = Job(source_of(rows, Names()), lambda: FakeRanker(scorer=lambda *_: float("nan")), "fake")
    with pytest.raises(ScoringFailed, match=r"in\.jsonl:1"):
        run_bulk(job, tmp_path / "out")
    assert list(_files(tmp_path / "out")) == ["_manifest.json"]


def test_a_mark_and_half_a_character_do_no_harm(tmp_path: Path) -> None:
    """A file may begin with a byte order mark; half a surrogate pair comes out as it went in, in Parquet as a "?"."""
    from pyarrow import parquet

    (tmp_path / "in.jsonl").write_bytes(b'\xef\xbb\xbf{"query": "panda", "documents": ["panda \\ud83d"]}\n')
    path = str(tmp_path / "in.jsonl")
    run_bulk(_job(path, how=How(texts=True)), tmp_path / "lines")
    run_bulk(_job(path, how=How(texts=True, output="parquet")), tmp_path / "columns")

    assert _results(tmp_path / "lines")[0]["results"][0]["document"] == "panda \ud83d"
    assert parquet.read_table(tmp_path / "columns")["results"].to_pylist()[0][0]["document"] == "panda ?"


def test_overwriting_begins_anew(rows: str, tmp_path: Path) -> None:
    """Asked to overwrite, another job's files are deleted, and only files of jobs are."""
    run_bulk(_job(rows), tmp_path / "out")
    job = _job(rows, shard_size=20, how=How(Cut(1)))
    run_bulk(job, tmp_path / "out", overwrite=True)
    run_bulk(job, tmp_path / "new")
    assert _files(tmp_path / "out") == _files(tmp_path / "new")

    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidInput, match=r"thesis\.txt"):
        run_bulk(job, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_a_folder_of_others_is_refused(rows: str, tmp_path: Path) -> None:
    """A folder that holds files and no manifest, a file in its place, or a damaged manifest are refused."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidInput, match=r"thesis\.txt"):
        run_bulk(_job(rows), tmp_path / "mine")
    with pytest.raises(InvalidInput, match="is a file"):
        run_bulk(_job(rows), tmp_path / "in.jsonl")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "_manifest.json").write_text("{")
    with pytest.raises(InvalidInput, match="no manifest"):
        run_bulk(_job(rows), tmp_path / "damaged")


def test_two_processes_do_not_share_a_folder(rows: str, tmp_path: Path) -> None:
    """While one process writes to a folder, another is turned away."""
    pytest.importorskip("fcntl")

    def meanwhile(tally: Tally) -> None:
        with pytest.raises(InvalidInput, match="another process is writing"):
            run_bulk(_job(rows), tmp_path / "out")

    run_bulk(_job(rows), tmp_path / "out", told=meanwhile)


BAD = {
    "no JSON": '{"query": "a"',
    "no JSON object": "[1]",
    "no 'documents'": '{"query": "a"}',
    "blank or no text": '{"query": " ", "documents": []}',
    "are no list": '{"query": "a", "documents": "b"}',
    "neither text nor an object": '{"query": "a", "documents": [1]}',
    "an id that is neither": '{"id": [], "query": "a", "documents": []}',
    "neither text nor a whole number": '{"id": true, "query": "a", "documents": []}',
}


@pytest.mark.parametrize("says", BAD)
def test_a_bad_row_ends_the_job_or_is_written_as_such(says: str, tmp_path: Path) -> None:
    """A row that cannot be ranked is named by its line; told to skip it, the job says so in its place and goes on."""
    good = json.dumps(_row(1))
    (tmp_path / "in.jsonl").write_text(f"{good}\n\n{BAD[says]}\n{good}\n")
    path = str(tmp_path / "in.jsonl")

    with pytest.raises(InvalidInput, match=r"in\.jsonl:3") as caught:
        run_bulk(_job(path), tmp_path / "stopped")
    assert says in str(caught.value)
    for together in (False, True):
        job = _job(path, how=How(skip=True, together=together))
        assert run_bulk(job, tmp_path / f"skipped-{together}").partial == 1
        lines = (tmp_path / f"skipped-{together}" / "part-00000.jsonl").read_text().splitlines()
        assert [("error" in json.loads(line)) for line in lines] == [False, True, False]
        assert run_bulk(job, tmp_path / f"skipped-{together}").partial == 1  # from the files that are there
    for _ in range(2):
        assert run_bulk(_job(path, how=How(skip=True, output="parquet")), tmp_path / "columns").partial == 1


@pytest.mark.parametrize("together", [False, True])
def test_a_row_that_the_ranker_refuses_is_a_bad_row(together: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a case
    """What only the ranker finds wrong is told with its row, whether rows share batches or not."""
    path = _write(tmp_path / "in.jsonl", [_row(1), {"query": "a", "documents": [{"title": "b"}]}, _row(2)])
    source = source_of(path, Names())
    opener = resift.api.opener("lexical", fields=["text"])
    job = Job(source, opener, "lexical", How(skip=True, together=together))

    assert run_bulk(job, tmp_path / "out").partial == 1
    lines = (tmp_path / "out" / "part-00000.jsonl").read_text().splitlines()
    assert "in.jsonl:2: none of the documents has any of the fields" in json.loads(lines[1])["error"]
    with pytest.raises(InvalidInput, match=r"in\.jsonl:2: none of"):
        run_bulk(replace(job, how=How(together=together)), tmp_path / "stopped")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no rows"),
        (b"\n \n", "no rows"),
        (b"\x1f\x8b\x08\x00", "gzipped"),
        (b"PAR1 and no more", "no Parquet that can be read"),
        (None, "there is no file"),
    ],
)
def test_an_input_that_is_none_is_told(content: bytes | None, says: str, tmp_path: Path) -> None:
    """An input that is empty, packed, broken or absent is said to be so before anything is written."""
    if content is not None:
        (tmp_path / "in").write_bytes(content)
    with pytest.raises(InvalidInput, match=says):
        run_bulk(_job(str(tmp_path / "in")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """Parquet without the columns that are asked for names those that it has."""
    path = _parquet(tmp_path / "in.parquet", [{"question": "a", "documents": ["b"]}])
    with pytest.raises(InvalidInput, match="no column 'query', only question, documents"):
        run_bulk(_job(path), tmp_path / "out")


def test_a_ranker_of_yours_can_do_the_work(rows: str, tmp_path: Path) -> None:
    """Any ranker will do, also one that says nothing of itself."""
    job = Job(source_of(rows, Names()), FakeRanker, "fake")

    assert run_bulk(job, tmp_path / "out").done == 20


# killed


def _bulk(rows: str, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "resift", "bulk", rows, str(out), "--shard-size", "4", "--progress", "none"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _await_parts(out: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_S
    while len(list(out.glob("part-*"))) < count and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_killed_process_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL at any moment, and a second run, end with the files of a run that nobody killed."""
    values = [{**_row(number), "documents": _row(number)["documents"] * 8} for number in range(1200)]
    rows = _write(tmp_path / "in.jsonl", values)
    run_bulk(_job(rows, shard_size=4), tmp_path / "whole")
    kills = 0
    for parts in (0, 1, 40, 120, 200, 280):
        process = _bulk(rows, tmp_path / "killed")
        _await_parts(tmp_path / "killed", parts, process)
        process.send_signal(signal.SIGKILL)
        kills += process.wait(PATIENCE_S) == -signal.SIGKILL
    assert kills >= 3
    assert _bulk(rows, tmp_path / "killed").wait(PATIENCE_S) == 0

    assert _files(tmp_path / "killed") == _files(tmp_path / "whole")
