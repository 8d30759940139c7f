"""`resift eval` and `resift compare` on the command line: what they take, what they leave, and how they end."""

import gzip
import json
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ir_measures
import pytest

import resift
import tiny
from chromium import PROGRAM, browsing
from judging import numbers, write_lines, write_objects
from resift.cli import commands
from resift.cli.commands import start
from resift.cli.compare import compare
from resift.cli.contestants import read_contestants
from resift.cli.evaluate import evaluate
from resift.cli.lazy import Home
from resift.evaluation import Evaluation
from resift.local import LocalRanker
from resift.opening import Opener
from resift.remote.ranker import RemoteRanker
from resift.server.served import open_served
from serving import serving

VERBS = {
    "eval": Home("resift.cli.evaluate:evaluate", "Measure", "Measure rankers."),
    "compare": Home("resift.cli.compare:compare", "Measure", "Compare what was measured."),
}
FILLER = "bamboo bear china forest mountain leaf river zoo cub black white eat sleep climb".split()  # noqa: SIM905


@pytest.fixture(autouse=True)
def verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have both commands, whatever the group lists, and hide what the environment of the tests sets."""
    for name, home in VERBS.items():
        monkeypatch.setitem(commands.HOMES, name, home)
    for parameter in (*evaluate.params, *compare.params):
        if isinstance(parameter.envvar, str):
            monkeypatch.delenv(parameter.envvar, raising=False)


def write_folder(folder: Path, *, queries: int = 12, documents: int = 10, words: int = 6, seed: int = 0) -> Path:
    """Write a folder in BEIR's layout, with a run; no two documents of a query have the same score."""
    chance = random.Random(seed)  # noqa: S311 - only a test's data
    corpus, qrels, run = [], [], []
    for query in range(queries):
        lengths = chance.sample(range(words, words + 3 * documents), documents)
        for at, length in enumerate(lengths):
            name = f"q{query}-d{at}"
            filler = " ".join(chance.choices(FILLER, k=length))
            corpus.append({"_id": name, "title": f"panda{query}", "text": filler})
            qrels.append(f"q{query}\t{name}\t{1 if at == 0 else chance.randint(0, 1)}")
            run.append(f"q{query} Q0 {name} {at + 1} {documents - at} found")
    write_objects(folder / "corpus.jsonl", corpus)
    asked = ({"_id": f"q{query}", "text": f"panda{query} in the {FILLER[query % 14]}"} for query in range(queries))
    write_objects(folder / "queries.jsonl", asked)
    write_lines(folder / "qrels.tsv", ["query-id\tcorpus-id\tscore", *qrels])
    write_lines(folder / "first.run", run)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "pandas")


# eval


def test_a_table_on_stdout_and_all_else_in_the_directory(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table, and nothing else, is on stdout; the directory has the record, the runs and the report."""
    assert start(["eval", str(folder), "--model", "lexical", "--output", str(tmp_path / "out")]) == 0

    said = capsys.readouterr()
    evaluation = Evaluation.load(tmp_path / "out")
    assert said.out == f"{evaluation}\n"
    assert "pandas: 12 queries, 120 documents\nlexical: opening\nlexical: ranking\n" in said.err
    assert said.err.endswith(f"report: {tmp_path / 'out' / 'report.html'}\n")
    assert sorted(path.name for path in (tmp_path / "out" / "runs" / "pandas").iterdir()) == [
        *("first-stage.trec", "lexical.trec", "qrels.txt", "texts.json")
    ]
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<!doctype html>" in html
    assert "panda7 in the " in html


def test_others_measure_the_runs_alike(folder: Path, tmp_path: Path) -> None:
    """ir-measures computes from runs/*.trec and qrels.txt the numbers that results.json has."""
    measures = ("--measure", "nDCG@10", "--measure", "MAP")
    assert start(["eval", str(folder), "-m", "lexical", "-o", str(tmp_path), *measures]) == 0

    place = tmp_path / "runs" / "pandas"
    record = json.loads((tmp_path / "results.json").read_bytes())
    read_qrels: Any = ir_measures.read_trec_qrels
    read_run: Any = ir_measures.read_trec_run
    qrels = list(read_qrels(str(place / "qrels.txt")))
    for row in ("lexical", "first stage"):
        run = list(read_run(str(place / f"{row.replace(' ', '-')}.trec")))
        assert len({(one.query_id, one.score) for one in run}) == len(run)
        told = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.AP], qrels, run)
        found = record["overall"]["measures"][row]
        assert found["nDCG@10"]["mean"] == pytest.approx(told[ir_measures.nDCG @ 10], abs=1e-6)
        assert found["MAP"]["mean"] == pytest.approx(told[ir_measures.AP], abs=1e-6)


def test_the_options_are_those_of_the_function(folder: Path, tmp_path: Path) -> None:
    """What is said on the command line is how it is measured, and the record says so."""
    words = "--depth 5 --queries 7 --relevant-from 1 --baseline lexical --concurrency 2 --warm-up 0 --seed 4"
    measures = ("--measure", "MRR@5", "--measure", "P@3")
    output = ("-o", str(tmp_path), "--no-texts", "--first-stage", "bm25")
    assert start(["eval", str(folder), "-m", "lexical", *words.split(), *measures, *output]) == 0

    evaluation = Evaluation.load(tmp_path)
    protocol = evaluation.protocol
    assert (protocol.depth, protocol.baseline, protocol.concurrency, protocol.seed) == (5, "lexical", 2, 4)
    assert (protocol.measures, protocol.first_stage, protocol.warm_up) == (("MRR@5", "P@3"), "bm25", 0)
    assert len(evaluation.collections["pandas"].queries) == 7
    assert not list(tmp_path.rglob("texts.json"))
    assert "panda1 in the " not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_nothing_is_timed_if_nobody_asks(folder: Path, tmp_path: Path) -> None:
    """With --untimed there are no latencies, and the report says so."""
    assert start(["eval", str(folder), "-m", "lexical", "--untimed", "-o", str(tmp_path)]) == 0

    assert Evaluation.load(tmp_path).collections["pandas"].rows["lexical"].latency is None
    assert "Nothing was timed" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_models_endpoints_and_several_collections(folder: Path, tmp_path: Path) -> None:
    """Models of any kind and endpoints take part side by side, each under its name, on all collections."""
    other = write_folder(tmp_path / "others", queries=5, seed=1)
    model = tiny.build("bert-cross", tmp_path / "mine")
    with serving(open_served("lexical", lambda normalize: resift.load(normalize=normalize))) as server:
        words = ["--model", "lexical", "-m", str(model), "-m", f"{model},max-length=32,name=short"]
        endpoint = ["--endpoint", f"{server.url}/v1=lexical,dialect=resift,name=there"]
        output = ["-o", str(tmp_path / "out"), "--device", "cpu"]
        assert start(["eval", str(folder), str(other), *words, *endpoint, *output]) == 0

    evaluation = Evaluation.load(tmp_path / "out")
    assert list(evaluation.collections) == ["pandas", "others"]
    assert list(evaluation.contestants) == ["lexical", "mine", "short", "there"]
    assert evaluation.contestants["short"].max_length == 32
    assert evaluation.overall.wins["lexical"]["there"] == 0.5


def test_a_run_or_a_model_finds_the_documents(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--first-stage takes a file in TREC's format, or a model, which reads all documents for each query."""
    run = [
        "eval",
        str(folder),
        "-m",
        "lexical",
        "--first-stage",
        str(folder / "first.run"),
        "-o",
        str(tmp_path / "run"),
    ]
    model = ["eval", str(folder), "--first-stage", "lexical", "--depth", "4", "-o", str(tmp_path / "model")]
    assert start(run) == start(model) == 0

    assert Evaluation.load(tmp_path / "run").protocol.first_stage == "found"
    assert Evaluation.load(tmp_path / "model").collections["pandas"].pairs == 48
    assert "reads every document for every query" in capsys.readouterr().err


def test_a_run_with_its_judgements_is_data_too(folder: Path, tmp_path: Path) -> None:
    """TREC's files make a collection, with texts in JSON lines or behind tabs."""
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    write_lines(tmp_path / "queries.tsv", [f"{one['_id']}\t{one['text']}" for one in queries])
    given = ["--qrels", str(folder / "qrels.tsv"), "--first-stage", str(folder / "first.run")]
    texts = ["--query-texts", str(tmp_path / "queries.tsv"), "--document-texts", str(folder / "corpus.jsonl")]
    assert start(["eval", *given, *texts, "-m", "lexical", "-o", str(tmp_path / "trec")]) == 0
    assert start(["eval", str(folder), "-m", "lexical", "-o", str(tmp_path / "beir")]) == 0

    trec, beir = Evaluation.load(tmp_path / "trec"), Evaluation.load(tmp_path / "beir")
    assert trec.collections["qrels"].rows["lexical"].values == beir.collections["pandas"].rows["lexical"].values


def test_another_split_or_subset_can_be_measured(tmp_path: Path) -> None:
    """--split names the judgements of a folder, and --subset a part of one in MTEB's layout."""
    folder = write_folder(tmp_path / "pandas")
    write_lines(folder / "qrels" / "train.tsv", ["q1\tq1-d3\t1"])
    parts: dict[str, list[dict[str, Any]]] = {
        "corpus": [{"_id": "d1", "text": "a panda"}, {"_id": "d2", "text": "a fox"}],
        "queries": [{"_id": "q1", "text": "panda"}],
        "qrels": [{"query-id": "q1", "corpus-id": "d1", "score": 1}],
        "top_ranked": [{"query-id": "q1", "corpus-ids": ["d1", "d2"]}],
    }
    for kind, rows in parts.items():
        write_objects(tmp_path / "mteb" / f"en-{kind}" / "dev.jsonl", rows)
        write_objects(tmp_path / "mteb" / kind / "dev.jsonl", rows)
    assert start(["eval", str(folder), "--split", "train", "-o", str(tmp_path / "train")]) == 0
    assert start(["eval", str(tmp_path / "mteb"), "--subset", "en", "-m", "lexical", "-o", str(tmp_path / "en")]) == 0

    assert Evaluation.load(tmp_path / "train").collections["pandas"].queries == ("q1",)
    assert Evaluation.load(tmp_path / "en").collections["mteb-en"].rows["lexical"].values["nDCG@10"] == (1.0,)


def test_a_first_stage_alone_is_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a contestant the first stage and the oracle are what there is to see."""
    assert start(["eval", str(folder)]) == 0
    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert rows == ["pandas", "oracle", "first stage"]


def test_the_environment_says_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Options can come from their variables: those of models from the variables that all commands share."""
    for name, value in {
        "EVAL_OUTPUT": str(tmp_path),
        "EVAL_DEPTH": "3",
        "EVAL_MODEL": "lexical",
        "DEVICE": "cpu",
    }.items():
        monkeypatch.setenv(f"RESIFT_{name}", value)

    assert start(["eval", str(folder)]) == 0
    assert Evaluation.load(tmp_path).protocol.depth == 3


# contestants


def test_contestants_have_options_of_their_own() -> None:
    """Behind commas stand options of one contestant; they win over those of all, and are read as what they are."""
    made = read_contestants(
        ["lexical,name=a", "org/model,dtype=bfloat16,max_length=64,trust-remote-code=yes,normalize=no"],
        ["http://127.0.0.1:9/v1=there,timeout_s=3", "http://127.0.0.1:9/v1"],
        here={"dtype": "float32"},
        there={"timeout_s": 9.0},
    )

    assert list(made) == ["a", "org/model", "there", "127.0.0.1"]


def test_a_contestant_is_opened_when_it_is_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are checked at once, and a model is loaded when it is asked for."""
    opened: list[Any] = []
    monkeypatch.setattr(Opener, "__call__", lambda self: opened.append(self.settings))
    made = read_contestants(
        ["org/model,max_length=64,normalize=no,dtype=float16"],
        ["http://127.0.0.1:9/v1=there,timeout_s=3"],
        here={"dtype": "float32", "device": "cpu"},
        there={"timeout_s": 9.0},
    )
    assert opened == []
    for opens in made.values():
        opens()

    here, there = opened
    assert (here.model, here.max_length, here.normalize, here.dtype, here.device) == (
        *("org/model", 64, False, "float16", "cpu"),
    )
    assert (there.name, there.timeout_s) == ("there", 3.0)


def test_contestants_are_closed_after_their_turn(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One model after the other is loaded: none is held while another one ranks."""
    events: list[str] = []
    for kind in (LocalRanker, RemoteRanker):
        monkeypatch.setattr(kind, "close", _noting(events, "close", kind.close))
    monkeypatch.setattr(Opener, "__call__", _noting(events, "open", Opener.__call__))

    assert start(["eval", str(folder), "-m", "lexical", "-m", "lexical,name=b", "-o", str(tmp_path)]) == 0
    assert events == ["open", "close", "open", "close"]


def _noting(events: list[str], event: str, real: Any) -> Any:
    def note(self: Any) -> Any:
        events.append(event)
        return real(self)

    return note


# going on


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


_PROGRAM = f"""
import sys
from resift.cli import commands
from resift.cli.lazy import Home
commands.HOMES["eval"] = {VERBS["eval"]!r}
sys.exit(commands.start(sys.argv[1:]))
"""


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_goes_on(seed: int, tmp_path: Path) -> None:
    """A process that is killed while it asks leaves what was answered; the same command makes the same record of it."""
    large = write_folder(tmp_path / "large", queries=60, documents=40, words=200)
    command = [sys.executable, "-c", _PROGRAM, "eval", str(large), "-m", "lexical", "-m", "lexical,name=again"]
    journals = [tmp_path / "out" / "answers" / "large" / f"{name}.jsonl" for name in ("lexical", "again")]
    moment = random.Random(seed).randint(5, 100)  # noqa: S311 - only a test's moment
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while sum(map(_lines, journals)) < moment and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert not (tmp_path / "out" / "results.json").exists()
    kept = [path.read_bytes().rpartition(b"\n")[0] for path in journals if path.exists()]

    words = ["eval", str(large), "-m", "lexical", "-m", "lexical,name=again"]
    assert start([*words, "-o", str(tmp_path / "out")]) == 0
    assert start([*words, "-o", str(tmp_path / "whole")]) == 0

    assert all(journal.read_bytes().startswith(before) for journal, before in zip(journals, kept, strict=False))
    assert numbers(Evaluation.load(tmp_path / "out")) == numbers(Evaluation.load(tmp_path / "whole"))


def test_fresh_asks_anew(folder: Path, tmp_path: Path) -> None:
    """Answers count the next time, unless --fresh says that they do not."""
    words = ["eval", str(folder), "-m", "lexical", "-o", str(tmp_path)]
    journal = tmp_path / "answers" / "pandas" / "lexical.jsonl"
    assert start(words) == 0
    first = journal.read_bytes()
    assert start(words) == 0
    assert journal.read_bytes() == first
    assert start([*words, "--fresh"]) == 0
    assert journal.read_bytes() != first
    assert _lines(journal) == first.count(b"\n")


def test_fresh_destroys_nothing_of_others(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no journal is not written over."""
    journal = write_lines(tmp_path / "answers" / "pandas" / "lexical.jsonl", ["my notes"])

    assert start(["eval", str(folder), "-m", "lexical", "-o", str(tmp_path), "--fresh"]) == 2
    assert journal.read_text() == "my notes\n"
    assert "lexical.jsonl:1 is damaged" in capsys.readouterr().err


def test_an_interruption_says_what_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends with 130 and says that the same command goes on."""
    real, asked = LocalRanker.rank, iter(range(99))

    def rank(self: LocalRanker, *words: Any, **options: Any) -> Any:
        if next(asked) == 8:
            raise KeyboardInterrupt
        return real(self, *words, **options)

    monkeypatch.setattr(LocalRanker, "rank", rank)

    assert start(["eval", str(folder), "-m", "lexical", "-o", str(tmp_path)]) == 130
    assert f"what was answered is kept in {tmp_path}; the same command goes on from there" in capsys.readouterr().err
    assert _lines(tmp_path / "answers" / "pandas" / "lexical.jsonl") > 2


# compare


def _evaluated(folder: Path, output: Path, *words: str) -> Path:
    assert start(["eval", str(folder), *words, "-o", str(output)]) == 0
    return output


def test_saved_evaluations_stand_side_by_side(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Contestants that were measured apart make one table, one record and one report."""
    one = _evaluated(folder, tmp_path / "one", "-m", "lexical")
    two = _evaluated(folder, tmp_path / "two", "-m", "lexical,name=b")
    capsys.readouterr()

    words = ["compare", str(one), str(two / "results.json"), "--baseline", "lexical", "-o", str(tmp_path / "both")]
    assert start(words) == 0

    said, both = capsys.readouterr(), Evaluation.load(tmp_path / "both")
    assert said.out == f"{both}\n"
    assert list(both.contestants) == ["lexical", "b"]
    assert both.protocol.baseline == "lexical"
    assert both.collections["pandas"].rows["b"].latency == Evaluation.load(two).collections["pandas"].rows["b"].latency
    assert "panda3 in the " in (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    assert start(["compare", str(one), "--no-texts", "-o", str(tmp_path / "bare")]) == 0
    assert "panda3 in the " not in (tmp_path / "bare" / "report.html").read_text(encoding="utf-8")


def test_the_runs_of_a_directory_give_its_numbers(folder: Path, tmp_path: Path) -> None:
    """Runs with the judgements beside them are measured as they were."""
    one = _evaluated(folder, tmp_path / "one", "-m", "lexical")

    assert start(["compare", *map(str, sorted(one.rglob("*.trec"))), "-o", str(tmp_path / "again")]) == 0
    assert numbers(Evaluation.load(tmp_path / "again")) == numbers(Evaluation.load(one))


def test_runs_of_any_origin_are_compared(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs and judgements from anywhere are enough; the first run is the first stage where nobody names one."""
    lines = (folder / "first.run").read_text().splitlines()
    turned = [f"{one[0]} Q0 {one[2]} {one[3]} {-float(one[4])} turned" for one in map(str.split, lines)]
    write_lines(tmp_path / "a.run", lines)
    write_lines(tmp_path / "b.run.gz", turned)
    words = ["compare", str(tmp_path / "a.run"), str(tmp_path / "b.run.gz"), "--qrels", str(folder / "qrels.tsv")]

    assert start([*words, "--measure", "MRR@10"]) == 0
    rows = {line.split("  ")[0] for line in capsys.readouterr().out.splitlines()}
    assert rows == {"qrels", "oracle", "first stage", "b"}
    assert start([*words, "--first-stage", str(folder / "first.run")]) == 0
    rows = {line.split("  ")[0] for line in capsys.readouterr().out.splitlines()}
    assert rows == {"qrels", "oracle", "first stage", "a", "b"}


def test_a_directory_and_runs_are_compared(folder: Path, tmp_path: Path) -> None:
    """Runs of the same collection join what was evaluated."""
    one = _evaluated(folder, tmp_path / "one", "-m", "lexical")
    place = one / "runs" / "pandas"
    shutil.copy(place / "lexical.trec", place / "copy.trec")

    assert start(["compare", str(one), str(place / "copy.trec"), "-o", str(tmp_path / "both")]) == 0
    both = Evaluation.load(tmp_path / "both")
    assert both.overall.wins["lexical"]["copy"] == 0.5
    assert both.collections["pandas"].rows["lexical"].latency is not None


def test_what_does_not_fit_is_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other queries or other lists are not compared."""
    one = _evaluated(folder, tmp_path / "one", "-m", "lexical")
    few = _evaluated(folder, tmp_path / "few", "-m", "lexical", "--queries", "5")
    shallow = _evaluated(folder, tmp_path / "shallow", "-m", "lexical", "--depth", "3")
    capsys.readouterr()

    assert start(["compare", str(one), str(few)]) == 2
    assert "one and few are not of the same queries of 'pandas': 12 and 5, 5 of them in both" in capsys.readouterr().err
    assert start(["compare", str(one), str(shallow)]) == 2
    assert "put different lists of 'pandas' in order" in capsys.readouterr().err


# bad input


def _break_gzip(folder: Path) -> None:
    whole = gzip.compress((folder / "corpus.jsonl").read_bytes())
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(whole[: len(whole) // 2])


def _change(name: str, old: str, new: str) -> Any:
    def spoil(folder: Path) -> None:
        content = (folder / name).read_text()
        assert old in content
        (folder / name).write_text(content.replace(old, new, 1))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_change("corpus.jsonl", '"_id": "q0-d0", ', ""), "corpus.jsonl:1 has no _id or id that is a str"),
        (_change("corpus.jsonl", "q0-d1", "q0-d0"), "corpus.jsonl:2 has the id 'q0-d0' a second time"),
        (_change("queries.jsonl", '"q3"', '"q2"'), "has the id 'q2' a second time"),
        (_change("corpus.jsonl", "{", "{{"), "corpus.jsonl:1 is no JSON"),
        (lambda folder: (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n"), "holds no judgements"),
        (lambda folder: (folder / "qrels.tsv").write_text("q0\tq0-d0\t0\n"), "has a relevant document"),
        (lambda folder: (folder / "qrels.tsv").write_text("x\tq0-d0\t1\n"), "the ids of the two files do not match"),
        (_change("qrels.tsv", "q0-d0\t1", "q0-d0\tnan"), "has the grade 'nan'"),
        (_change("first.run", " 1 10 ", " 1 nan "), "first.run:1 has the score 'nan'; a score is a finite number"),
        (_change("first.run", "q0-d1", "q0-d0"), "first.run:2 has the document 'q0-d0' for 'q0' a second time"),
        (_change("first.run", "q0-d0", "nobody"), "has no text of 1 of the documents to rank for the query 'q0'"),
        (lambda folder: (folder / "first.run").write_text(""), "holds no run"),
        (_break_gzip, "is a broken gzip file"),
        (lambda folder: (folder / "corpus.jsonl").write_bytes(b"\xff\xfe{}\n"), "is not valid UTF-8"),
        (lambda folder: (folder / "queries.jsonl").unlink(), "has no queries.jsonl, plain or gzipped"),
        (lambda folder: shutil.copy(folder / "first.run", folder / "second.run"), "has several runs"),
    ],
)
def test_bad_data_is_status_2(spoil: Any, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Data that is not what it should be ends with 2, and the message says which file, where and why."""
    folder = write_folder(tmp_path / "pandas")
    spoil(folder)

    assert start(["eval", str(folder), "-m", "lexical"]) == 2
    said = capsys.readouterr()
    assert says in " ".join(said.err.replace("\n  try:", ";").split())
    assert "Traceback" not in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "there is no data; name a folder"),
        (("nowhere",), "there is no file or folder 'nowhere'"),
        (("DATA", "-m", "lexical", "-m", "lexical"), "two contestants are called 'lexical'"),
        (("DATA", "-m", "lexical,dtpe=int8"), "did you mean 'dtype'?"),
        (("DATA", "-m", "lexical,dtype"), "'dtype' is no option"),
        (("DATA", "-m", "lexical,max_length=many"), "max_length must be a whole number"),
        (("DATA", "-m", "lexical,api_key=sk-Panda"), "a key is read from RESIFT_API_KEY"),
        (("DATA", "-m", "lexical,timeout_s=3"), "the option 'timeout_s' is for endpoints only"),
        (("DATA", "-m", "first stage"), "'first stage' and 'first stage' need names that differ"),
        (("DATA", "--endpoint", "ftp://127.0.0.1=x"), "ftp"),
        (("DATA", "--endpoint", "http://127.0.0.1=x,timeout_s=soon"), "timeout_s"),
        (("DATA", "--first-stage", "bm42.run"), "there is no run 'bm42.run'"),
        (("DATA", "--first-stage", "pool"), "has no pool of candidates"),
        (("DATA", "--measure", "ndcg@10"), "did you mean 'nDCG@10'?"),
        (("DATA", "--depth", "0"), "depth must be a whole number"),
        (("DATA", "--depth", "many"), "many"),
        (("DATA", "--queries", "0"), "count must be a whole number"),
        (("DATA", "--baseline", "lexicl", "-m", "lexical"), "did you mean 'lexical'?"),
        (("DATA", "--dtype", "float7"), "float7"),
        (("DATA", "DATA"), "need names that differ"),
        (("DATA", "nowhere", "--subset", "x"), "--subset speaks of one folder, and there are 2"),
        (("--qrels", "q.txt"), "--qrels needs the run whose lists are put in order"),
        (("DATA", "--query-texts", "q.tsv"), "belong to --qrels"),
    ],
)
def test_bad_words_are_status_2(
    words: tuple[str, ...], says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot mean anything ends with 2 before anybody is asked, and a key is never repeated."""
    status = start(["eval", *(str(folder) if word == "DATA" else word for word in words)])

    said = capsys.readouterr()
    assert status == 2
    assert says in " ".join(said.err.replace("\n  try:", ";").split())
    assert "sk-Panda" not in said.err
    assert said.out == ""


@pytest.fixture
def runs(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work where there are some runs and judgements."""
    (tmp_path / "x").mkdir()
    for name in ("a.run", "x/a.run", "f.run"):
        shutil.copy(folder / "first.run", tmp_path / name)
    shutil.copy(folder / "qrels.tsv", tmp_path / "q.tsv")
    monkeypatch.chdir(tmp_path)


def test_a_model_that_is_not_there_is_status_1(folder: Path, tmp_path: Path) -> None:
    """Trouble that is not the caller's ends with 1, and what others answered is kept."""
    words = ["-m", "lexical", "-m", "nobody/nothing-here", "--local-files-only", "-o", str(tmp_path)]

    assert start(["eval", str(folder), *words]) == 1
    assert _lines(tmp_path / "answers" / "pandas" / "lexical.jsonl") == 15


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Missing argument"),
        (("nowhere",), "there is no evaluation at "),
        (("a.run",), "name it with --qrels"),
        (("a.run", "--qrels", "none.txt"), "there is no file 'none.txt'"),
        (("a.run", "x/a.run", "--qrels", "q.tsv", "--first-stage", "f.run"), "two runs are called 'a'"),
    ],
)
@pytest.mark.usefixtures("runs")
def test_bad_comparisons_are_status_2(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be compared ends with 2 and says why."""
    assert start(["compare", *words]) == 2
    assert says in capsys.readouterr().err


# help


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_every_option_with_its_variable(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the help knows every option, its environment variable and examples of use."""
    assert start([verb, "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())

    for parameter in {"eval": evaluate, "compare": compare}[verb].params:
        if parameter.param_type_name == "option" and parameter.name not in ("help", "debug"):
            assert f"env var: {parameter.envvar}" in words
            assert parameter.opts[-1] in words
    assert f"resift {verb} " in words


def test_help_loads_nothing_heavy() -> None:
    """Help is there without numpy and without anything that measures."""
    heavy = ("numpy", "torch", "rich", "resift.evaluation")
    program = _PROGRAM.replace("sys.exit(", "print(") + f"print([one for one in {heavy} if one in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program, "eval", "--help"], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(PROGRAM is None, reason="needs Chromium, and there is none here")
def test_the_report_of_a_command_opens_in_a_browser(folder: Path, tmp_path: Path) -> None:
    """What the command wrote is drawn by a browser, without a complaint."""
    _evaluated(folder, tmp_path, "-m", "lexical")
    with browsing() as tab:
        tab.open(tmp_path / "report.html")
        assert tab.ask("document.querySelectorAll('table.queries tbody tr').length") == 12
        assert tab.complaints == []


# the documentation


def _documented() -> list[str]:
    page = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
    return re.findall(r"(?:\$ |`)(resift (?:eval|compare) [^`\n]+(?:\n[^`\n$]+)?)(?=`|\n)", page)


def test_documented_commands_are_understood() -> None:
    """Every command that the page about evaluation shows has options that there are."""
    found = [" ".join(command.split()) for command in _documented()]

    assert len(found) > 7
    for command in found:
        _, verb, *words = shlex.split(command)
        {"eval": evaluate, "compare": compare}[verb].make_context(verb, words)


def test_documented_examples_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The examples of the page about evaluation run, one after the other."""
    monkeypatch.chdir(tmp_path)
    line = {"query": "what does a panda eat?", "positives": ["Bamboo is what a panda eats."], "negatives": ["Fish."]}
    write_objects(tmp_path / "pandas.jsonl", [line])
    page = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
    commands_shown = re.findall(r"^\$ resift (.+)$", page, re.MULTILINE)
    assert start(["eval", "pandas.jsonl", "-m", "lexical,name=cascade", "-o", "first"]) == 0

    assert len(commands_shown) == 3
    assert [start(shlex.split(command)) for command in commands_shown] == [0, 0, 0]
    assert Path("both/report.html").is_file()
