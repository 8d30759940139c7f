"""How fast a ranker is: what is asked of it, and what is told."""

import json
import threading
import time
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner

import resift
from resift.cli.bench import bench
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


@pytest.mark.parametrize("words", [["--documents", "0"], ["--callers", "0"], ["--seconds", "0"], ["--output", "xml"]])
def test_bench_refuses_what_means_nothing(words: list[str]) -> None:
    """Numbers out of range and unknown formats end with 2."""
    assert CliRunner().invoke(bench, words).exit_code == 2
