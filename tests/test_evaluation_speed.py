"""How fast a ranker is: what is asked of it, and what is told."""

import json
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import resift
import tiny
from resift.cli.bench import bench
from resift.cli.commands import start
from resift.evaluation.speed import Load, measure_speed
from resift.testing import FakeRanker

BRIEF: dict[str, Any] = {"seconds": 0.05, "words": 5}


def test_each_load_is_asked() -> None:
    """Every load is timed with as many documents as it has, and with nothing else."""
    ranker = FakeRanker()
    speed = measure_speed(lambda: ranker, [Load(5), Load(20)], **BRIEF)
    assert set(map(len, ranker.texts_asked)) == {5, 20}
    assert list(speed.latencies) == ["5 documents", "20 documents"]
    assert all(latency.queries >= 10 for latency in speed.latencies.values())
    assert ranker.closed == 1


def test_callers_ask_at_once() -> None:
    """Several callers have their questions under way at the same time."""
    ranker = FakeRanker(delay_s=0.01)
    speed = measure_speed(lambda: ranker, [Load(2, callers=4)], **BRIEF)
    assert ranker.most_at_once == 4
    assert speed.latencies["2 documents, 4 callers"].concurrency == 4


def test_what_is_told_was_measured() -> None:
    """Opening, the first query and each query take at least as long as the ranker does."""

    def opened() -> FakeRanker:
        time.sleep(0.02)
        return FakeRanker(delay_s=0.005)

    speed = measure_speed(opened, [Load(3)], **BRIEF)
    assert speed.opened_s >= 0.02
    assert speed.first_s >= 0.005
    assert speed.latencies["3 documents"].p50_s >= 0.005
    assert speed.latencies["3 documents"].pairs_per_s <= 3 / 0.005


def test_the_same_seed_asks_the_same() -> None:
    """The texts are always the same, so that two rankers can be compared."""
    first, second, other = FakeRanker(), FakeRanker(), FakeRanker()
    for ranker, seed in ((first, 0), (second, 0), (other, 1)):
        measure_speed(partial(iter([ranker]).__next__), [Load(3)], seed=seed, **BRIEF)
    assert first.asked[0] == second.asked[0] != other.asked[0]


def test_a_failure_closes_the_ranker() -> None:
    """What a ranker raises comes out, and the ranker is closed."""
    ranker = FakeRanker(fails=[resift.ScoringFailed("no")])
    with pytest.raises(resift.ScoringFailed):
        measure_speed(lambda: ranker, [Load(3)], **BRIEF)
    assert ranker.closed == 1


def test_a_slow_ranker_is_not_asked_for_ever() -> None:
    """A ranker that takes longer than a load lasts is asked ten times, and no more."""
    ranker = FakeRanker(delay_s=0.02)
    speed = measure_speed(lambda: ranker, [Load(2)], words=5, seconds=0.01)
    assert speed.latencies["2 documents"].queries == 10
    assert threading.active_count() < 50


def test_bench_prints_json_into_a_pipe() -> None:
    """`resift bench` tells a program all that was measured, as one line of JSON."""
    done = CliRunner().invoke(bench, ["--seconds", "0.1", "--documents", "8", "--callers", "2", "--words", "5"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["model"] == "lexical"
    assert list(told["latencies"]) == ["5 documents", "8 documents", "8 documents, 2 callers"]


def test_bench_prints_a_table() -> None:
    """With `-o table` there is a row for each load."""
    done = CliRunner().invoke(bench, ["--seconds", "0.1", "--documents", "5", "--callers", "1", "-o", "table"])
    assert done.exit_code == 0, done.output
    assert done.stdout.count("5 documents") == 1
    assert "tokens/s" in done.stdout
    assert "lexical; " in done.stderr


def test_what_runs_a_model_is_told(tmp_path: Path) -> None:
    """The backend, the device and the number format that were decided are part of what was measured."""
    model = tiny.build("bert-cross", tmp_path)
    speed = measure_speed(lambda: resift.load(model, device="cpu"), [Load(2)], seconds=0.01, words=5)
    assert speed.runs_on == "torch on cpu in float32"
    assert measure_speed(FakeRanker, [Load(2)], **BRIEF).runs_on is None


def test_a_variable_stands_for_each_option_of_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is bench's own is read from RESIFT_BENCH_..., the command line first."""
    for name, value in {"DOCUMENTS": "7", "CALLERS": "3", "WORDS": "5", "SECONDS": "0.1", "OUTPUT": "json"}.items():
        monkeypatch.setenv(f"RESIFT_BENCH_{name}", value)
    done = CliRunner().invoke(bench, ["--callers", "2"])
    assert done.exit_code == 0, done.output
    assert list(json.loads(done.stdout)["latencies"]) == ["5 documents", "7 documents", "7 documents, 2 callers"]


@pytest.mark.parametrize(
    "words",
    [
        *(["--documents", "0"], ["--callers", "0"], ["--words", "0"], ["--output", "xml"]),
        *(["--seconds", "0"], ["--seconds", "nan"], ["--seconds", "inf"]),
    ],
)
def test_bench_refuses_what_means_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers that are none and unknown formats end with 2, and say which option it was."""
    assert start(["bench", *words]) == 2
    assert words[0].removeprefix("--") in capsys.readouterr().err
