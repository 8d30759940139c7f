"""The benchmark measures what it says: the contestants' processes, the rounds, the figures and the tables."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the benchmarks are scripts, not a package that is installed

from benchmarks import tables  # noqa: E402
from benchmarks.contest import checkpoints, environments, figures, stable, workload  # noqa: E402
from benchmarks.contest.cells import SHORT, WHOLE, markdown  # noqa: E402
from benchmarks.contest.checkpoints import Checkpoint, write_model  # noqa: E402
from benchmarks.contest.contestants import Contestant, baseline, contestants, exact  # noqa: E402
from benchmarks.contest.figures import Tally, agreement, crowd, latency, rank_correlation, ratio  # noqa: E402
from benchmarks.contest.graphs import Graphs  # noqa: E402
from benchmarks.contest.playing import Requests, Rules, play  # noqa: E402
from benchmarks.contest.prompts import TEMPLATES  # noqa: E402
from benchmarks.contest.record import Work, make_record, without_places  # noqa: E402
from benchmarks.contest.sizes import ON_CPU, SIZES, Size  # noqa: E402
from benchmarks.contest.stable import PEERS, Setting, Stable  # noqa: E402
from benchmarks.contest.workers import Failed, Worker  # noqa: E402

from resift.scoring.catalog import row_of  # noqa: E402
from resift.scoring.catalog.rows import PromptRow  # noqa: E402

PATIENCE_S = 60.0
LENGTHS = (
    "PACKAGES = ('numpy',)\ndef load(model, settings):\n    return lambda query, documents: list(map(len, documents))\n"
)
TOLD = {"device": "cpu", "threads": 1, "max_length": 512, "template": ""}


def peer(folder: Path, program: str, name: str = "fake") -> Path:
    made = folder / name
    made.mkdir(parents=True, exist_ok=True)
    (made / "score.py").write_text(program, encoding="utf-8")
    return made


def requests(path: Path, count: int = 3, documents: int = 2) -> str:
    made = [(f"query {number}", ["x" * (place + 1) for place in range(documents)]) for number in range(count)]
    return str(workload.write_requests(path, made))


def started(folder: Path, program: str, **settings: Any) -> Worker:
    return Worker(
        Path(sys.executable), peer(folder, program), folder, settings=TOLD | settings, log=folder / "worker.log"
    )


# the process of a contestant


def test_a_worker_answers_what_it_is_asked(tmp_path: Path) -> None:
    """A worker says when it is ready and with what, scores every request, and tells its memory."""
    with started(tmp_path, LENGTHS) as worker:
        ready = worker.wait_until_ready(PATIENCE_S)
        played = worker.ask(PATIENCE_S, ask="score", requests=requests(tmp_path / "r.json"), at_most_s=60)
        memory = worker.ask(PATIENCE_S, ask="memory")

    assert ready["versions"] == {"numpy": np.__version__}
    assert 0 < ready["import_s"] + ready["load_s"] <= ready["ready_s"]
    assert played["scores"] == [[1.0, 2.0]] * 3
    assert len(played["seconds"]) == 3
    assert memory["peak_bytes"] > 1_000_000
    assert memory["gpu_peak_bytes"] is None


def test_a_worker_stops_where_the_time_is_up(tmp_path: Path) -> None:
    """However little time there is, one request is timed; the others only while there is some left."""
    with started(tmp_path, LENGTHS) as worker:
        worker.wait_until_ready(PATIENCE_S)
        played = worker.ask(PATIENCE_S, ask="score", requests=requests(tmp_path / "r.json"), at_most_s=0)

    assert played["scores"] == [[1.0, 2.0]]


def test_what_a_library_prints_is_no_answer(tmp_path: Path) -> None:
    """A peer that talks on its standard output disturbs nobody, and its words are kept."""
    program = "print('hello')\nimport os\nos.system('echo shell')\n" + LENGTHS

    with started(tmp_path, program) as worker:
        assert "ready_s" in worker.wait_until_ready(PATIENCE_S)

    assert {"hello", "shell"} <= set((tmp_path / "worker.log").read_text().split())


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import a_peer_that_is_not_there", "No module named 'a_peer_that_is_not_there'"),
        ("PACKAGES = ()\ndef load(model, settings):\n    raise OSError('no such model')", "OSError: no such model"),
        (
            "import os, sys\nprint('out of luck', file=sys.stderr, flush=True)\nos._exit(3)",
            "its process ended: out of luck",
        ),
        ("import time\ntime.sleep(600)", "no answer within 1 s"),
    ],
)
def test_a_peer_that_does_not_load_says_why(program: str, reason: str, tmp_path: Path) -> None:
    """Whatever keeps a peer from loading becomes one error with the reason in it, in bounded time."""
    patience_s = 1.0 if "sleep" in program else PATIENCE_S

    with started(tmp_path, program) as worker, pytest.raises(Failed) as failed:
        worker.wait_until_ready(patience_s)

    assert reason in str(failed.value)


def test_a_failed_request_is_told_and_survived(tmp_path: Path) -> None:
    """A request that fails is an error with its reason; the next one is answered."""
    program = "PACKAGES = ()\ndef load(model, settings):\n    return lambda query, documents: [1 / len(documents)]"

    with started(tmp_path, program) as worker:
        worker.wait_until_ready(PATIENCE_S)
        with pytest.raises(Failed, match="ZeroDivisionError"):
            worker.ask(PATIENCE_S, ask="score", requests=requests(tmp_path / "r.json", documents=0), at_most_s=1)
        played = worker.ask(PATIENCE_S, ask="score", requests=requests(tmp_path / "r.json", 1), at_most_s=1)

    assert played["scores"] == [[0.5]]


COUNTING = """
import threading, time
PACKAGES = ()
def load(model, settings):
    met = threading.Barrier(2)
    busy = threading.Lock()
    def alone(query, documents):
        if not busy.acquire(blocking=False):
            raise RuntimeError("two at once")
        time.sleep(0.01)
        busy.release()
        return [0.0]
    def together(query, documents):
        met.wait(30)
        return [0.0]
    return together if settings["together"] else alone
"""


@pytest.mark.parametrize("together", [False, True])
def test_callers_are_served_as_they_are_told(together: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Callers in turns are never served two at once; callers together are."""
    with started(tmp_path, COUNTING, together=together) as worker:
        worker.wait_until_ready(PATIENCE_S)
        asked = requests(tmp_path / "r.json", 8)
        crowd = worker.ask(PATIENCE_S, ask="callers", requests=asked, callers=2, together=together)

    assert len(crowd["latencies"]) == 8
    assert 0 < max(crowd["latencies"]) <= crowd["seconds"]


# environments


def test_a_peer_without_requirements_runs_here(tmp_path: Path) -> None:
    """A peer that asks for nothing runs in the benchmark's own environment."""
    assert environments.python_for(tmp_path, tmp_path) == Path(sys.executable)


def test_an_environment_is_made_once_per_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment is made step by step, used again, made anew when its list changes, and never versioned."""
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(environments, "_run", lambda *command: commands.append(command))
    made, place = tmp_path / "peer", tmp_path / "environments"
    made.mkdir()
    (made / "requirements.txt").write_text("torch\n# then\nfastembed\n")

    def make() -> int:
        before = len(commands)
        (place / "peer").mkdir(parents=True, exist_ok=True)
        environments.python_for(made, place)
        return len(commands) - before

    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    assert (make(), make()) == (3, 0)
    assert [(place / "peer" / f"step-{number}.txt").read_text() for number in (0, 1)] == ["torch", "fastembed"]
    assert (place / ".gitignore").read_text() == "*\n"

    (made / "requirements.txt").write_text("numpy\n")
    assert make() == 2


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip said last is in the reason."""
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    (tmp_path / "requirements.txt").write_text("numpy\n")

    with pytest.raises(environments.NotMade, match=r"-m venv .* ended with 1"):
        environments.python_for(tmp_path, tmp_path / "environments")


# rounds


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of fake peers."""
    folder = tmp_path / "peers"
    peer(folder, LENGTHS, "sentence_transformers")
    peer(folder, LENGTHS, "resift")
    peer(folder, "raise ImportError('not for this machine')", "broken")
    peer(folder, LENGTHS.replace("list(map(len, documents))", "[0.0][: len(documents) - 2]"), "fragile")
    monkeypatch.setattr(stable, "PEERS", folder)
    return folder


def setting(folder: Path, memory_bytes: int = 10**12) -> Setting:
    return Setting(folder, Graphs(folder, folder, {("ours", "float32"): "no graph"}), TOLD, memory_bytes=memory_bytes)


def files(folder: Path) -> Requests:
    counts = {"warm_up": 1, "long": 2, "short": 4, "crowd": 8}
    return Requests(**{name: Path(requests(folder / f"{name}.json", count)) for name, count in counts.items()})


ROWS = [
    Contestant("sentence-transformers, float32", "sentence_transformers", in_turns=True),
    Contestant("resift, float32", "resift", in_turns=True),
    Contestant("broken", "broken"),
    Contestant("without", "resift", graph="ours"),
]


def test_everybody_plays_every_round(tmp_path: Path, fakes: Path) -> None:
    """Each contestant plays all rounds; one that cannot load has the reason in its row, and the others go on."""
    said: list[str] = []

    tallies = play(ROWS, setting(tmp_path), files(tmp_path), rules=Rules(2, 60), say=said.append)

    first, ours, broken, without = (tallies[row.name] for row in ROWS)
    assert list(first.seconds) == list(ours.seconds) == [0, 1]
    assert first.scores == ours.scores == [[1.0, 2.0]] * 2
    assert len(ours.latencies) == 8
    assert {name: len(rounds) for name, rounds in ours.callers.items()} == {"in turns": 2, "together": 2}
    assert list(first.callers) == ["in turns"]
    assert "not for this machine" in broken.why_not
    assert without.why_not == "no graph"
    assert not broken.seconds
    assert [line for line in said if line.startswith("round 2 of 2: ")] == [
        "round 2 of 2: resift, float32",
        "round 2 of 2: broken",
        "round 2 of 2: without",
        "round 2 of 2: sentence-transformers, float32",
    ]


def test_who_took_long_plays_no_more_than_it_must(tmp_path: Path, fakes: Path) -> None:
    """A contestant whose time is spent still plays three rounds, so that a median means something."""
    tallies = play(ROWS[:1], setting(tmp_path), files(tmp_path), rules=Rules(5, 0), say=lambda words: None)

    assert len(tallies[ROWS[0].name].seconds) == 3


def test_who_does_not_fit_makes_room(tmp_path: Path, fakes: Path) -> None:
    """Where memory is short, one process lives at a time and every round is played nevertheless."""
    tallies = play(ROWS[:2], setting(tmp_path, 1), files(tmp_path), rules=Rules(2, 60), say=lambda words: None)

    assert [len(tallies[row.name].seconds) for row in ROWS[:2]] == [2, 2]


def test_the_last_to_play_makes_room(tmp_path: Path, fakes: Path) -> None:
    """Of the living processes the one that played last goes first, because the others are needed sooner."""
    names = ["a", "b", "c"]
    tallies = {name: Tally(peak_bytes=10) for name in names}
    kept = Stable(setting(tmp_path, 20), tallies)
    try:
        for name in names:
            kept.get(Contestant(name, "resift"))

        assert [name in kept for name in names] == [True, False, True]
    finally:
        kept.close()


# figures


def test_ratios_are_taken_round_by_round() -> None:
    """A round that was slow for both leaves the ratio alone, and a round that one missed is not compared."""
    assert ratio({0: 1.0, 1: 10.0, 2: 1.5}, {0: 4.0, 1: 40.0, 3: 9.0}) == 4.0
    assert ratio({0: 1.0}, {}) is None


def test_latencies_were_really_taken() -> None:
    """Median and 99th percentile are seconds of calls, not numbers in between."""
    told = latency([0.1, 0.2, 0.4, 0.8])

    assert (told["median"], told["p99"], told["calls"]) == (0.4, 0.8, 4)


def test_a_crowd_has_throughput_and_latency() -> None:
    """Callers at once are told as documents a second in the median round and the latency of all their calls."""
    told = crowd([(1.0, [0.5]), (2.0, [0.6]), (4.0, [0.7])], 80)

    assert (told["documents a second"], told["median"], told["p99"], told["calls"]) == (40.0, 0.6, 0.7, 3)


def test_agreement_tells_numbers_and_order() -> None:
    """The largest difference is over all requests, the rank correlation the mean of theirs."""
    told = agreement([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], [[1.0, 2.0, 3.5], [1.0, 2.0, 3.0]])

    assert told["largest difference"] == 2.0
    assert told["rank correlation"] == pytest.approx(0.0)


def test_ties_share_their_places() -> None:
    """Spearman's correlation gives equal scores the mean of their places; a list without any order agrees with all."""
    assert rank_correlation([1, 2, 2, 4], [1, 2, 3, 4]) == pytest.approx(0.9486832980505138)
    assert rank_correlation([7, 7], [1, 2]) == 1.0


# who takes part


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("size", SIZES.values(), ids=list(SIZES))
def test_every_model_has_its_reference(size: Size, device: str) -> None:
    """Baseline, reference and resift always take part; names are unique, and every peer has its program."""
    rows = contestants(size, device)
    fewest = {row.name for row in contestants(size, device, [])}

    assert len({row.name for row in rows}) == len(rows)
    assert {baseline(size, device), exact(size), "resift, float32"} <= fewest
    assert all((PEERS / row.peer / "score.py").is_file() for row in rows)
    assert {row.peer for row in rows} - {"resift"} == {
        row.peer for row in rows if (PEERS / row.peer / "requirements.txt").is_file()
    }
    assert json.loads(json.dumps([dict(row.settings) for row in rows]))


def test_peers_can_be_chosen() -> None:
    """Only the peers that are asked for take part, beside the reference and resift."""
    rows = contestants(SIZES["minilm"], "cpu", ["fastembed"])

    assert {row.peer for row in rows} == {"fastembed", "resift", "sentence_transformers"}


def test_what_all_means_is_known() -> None:
    """Every model that `--model all` runs is one of the sizes."""
    assert set(ON_CPU) <= SIZES.keys()


# the work


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """A size that is written in no time, with a made-up vocabulary."""
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    whole = SIZES["minilm"]
    small = Size("tiny", "Bert", "", {**whole.config, **shape}, whole.tokenizer, whole.specials)
    monkeypatch.setitem(SIZES, "tiny", small)
    return "tiny"


def test_a_model_is_written_with_words_of_one_token(tiny: str, tmp_path: Path) -> None:
    """Without real vocabularies a model has made-up words, each of them one token, and its work is counted exactly."""
    made = write_model(tmp_path, tiny)
    asked = workload.short_requests(made.words, np.random.default_rng(0), queries=1, documents=2)
    lengths = workload.lengths_of(made, asked, max_length=512)

    assert made.vocabulary == "made up"
    assert lengths == [3 + 9 + 1 + len(text.split()) + 1 for text in asked[0][1]]  # specials and stops
    assert made.matrix_weights == 2 * (4 * 8 * 8 + 2 * 8 * 32)
    assert workload.operations(made, [3]) == 2 * made.matrix_weights * 3 + 4 * 2 * 8 * 3**2


def test_requests_are_the_same_every_time() -> None:
    """The same seed gives the same requests, with lengths around the median that is asked for."""
    words = [f"w{number}" for number in range(1000)]
    made = [
        workload.long_requests(words, np.random.default_rng(0), queries=2, documents=200, median=120, longest=512)
        for _ in range(2)
    ]

    assert made[0] == made[1]
    lengths = [len(text.split()) for _, documents in made[0] for text in documents]
    assert 100 < np.median(lengths) < 140
    assert max(lengths) <= 615


@pytest.mark.parametrize("name", [name for name, size in SIZES.items() if size.template])
def test_prompts_are_those_of_the_authors(name: str) -> None:
    """Bare transformers is asked in the very words that resift's catalogue has for the model."""
    size = SIZES[name]
    row = row_of(size.like or "")
    assert isinstance(row, PromptRow)
    prompt = row.prompt
    pieces = [prompt.without_instruction or piece if "{instruction}" in piece else piece for piece in prompt.pieces]

    template = TEMPLATES[size.template]

    assert list(template.pieces) == [piece.replace("{instruction}", prompt.instruction or "") for piece in pieces]
    assert (template.positive, template.negative) == (prompt.positive, prompt.negative)


def test_prompts_are_counted_whole(tmp_path: Path) -> None:
    """A prompted model reads its template with every document."""
    template = {"hidden_size": 8, "vocab_size": 1000}
    size = Size("tiny", "Qwen2", "", template, {}, SIZES["qwen2"].specials, template="qwen3")
    (tmp_path / "tokenizer.json").write_text(checkpoints.tokenizer_of(size), encoding="utf-8")
    made = Checkpoint(tmp_path, size, ["aaaa"], 0)

    short, long = workload.lengths_of(made, [("aaaa", ["aaaa", "aaaa aaaa aaaa"])], max_length=512)

    assert short > 50
    assert long - short == 2


# the record and its tables


def a_record() -> dict[str, Any]:
    size = SIZES["minilm"]
    rows = [*contestants(size, "cpu", []), Contestant("broken", "broken", graph="plain")]
    tallies = {row.name: Tally(why_not="no graph | at all") for row in rows}
    for name, second in ((exact(size), 4.0), ("resift, float32", 1.0)):
        tallies[name] = Tally(
            ready={"ready_s": 2.0, "import_s": 1.0, "versions": {}},
            seconds={0: second, 1: second},
            latencies=[0.01],
            callers={"in turns": [(second, [0.5])]},
            scores=[[1.0, 2.0]],
            peak_bytes=10**8,
        )
    told = {"ceilings, operations a second": {"float32": 1e9}, "threads": 2, "rounds": 2, "vocabulary": "made up"}
    return make_record(size, "cpu", Work(100, 15000, 5e8, 160), rows=rows, tallies=tallies, told=told)


def test_a_record_tells_speed_agreement_and_share() -> None:
    """A row has its ratio, also to the reference in its own format, its difference, and its share of the ceiling."""
    record = json.loads(json.dumps(a_record()))
    rows = {row["name"]: row for row in record["rows"]}
    ours = rows["resift, float32"]

    assert ours["ratio"] == ours["ratio in its format"]["ratio"] == 4.0
    assert ours["pairs a second"] == {"median": 100.0, "least": 100.0, "most": 100.0}
    assert ours["share of the ceiling"] == 0.5
    assert ours["scores"] == pytest.approx({"largest difference": 0.0, "rank correlation": 1.0})
    assert ours["callers"]["in turns"]["documents a second"] == 160.0
    assert rows["broken"]["why not"] == "no graph | at all"
    assert "ratio" not in rows["broken"]


def test_a_record_names_no_place() -> None:
    """Why somebody did not play is told without addresses and folders of the machine it happened on."""
    told = without_places("no /home/me/a.b/model.onnx, see https://somewhere.org/simple/x and 1/2")

    assert told == "no model.onnx, see ... and 1/2"


def test_a_table_is_whole() -> None:
    """Every row has as many cells as the head, what was not measured is a dash, and who is missing is named."""
    for tables_of_columns in (WHOLE, SHORT):
        text = markdown(a_record(), tables_of_columns)
        lines = [line for line in text.splitlines() if line.startswith("|")]

        assert [line.count("|") for line in lines] == [
            len(columns) + 2 for columns in tables_of_columns for _ in range(4)
        ]
        assert "4.00" in text
        assert "broken (no graph" in text


def test_pages_get_their_tables(tmp_path: Path) -> None:
    """A table goes between its two lines, again and again, and the rest of the page is left alone."""
    (tmp_path / "minilm-cpu.json").write_text(json.dumps(a_record()))
    page = "# Speed\n\n<!-- figures: minilm-cpu -->\nold\n<!-- end of figures -->\n\nwords\n"

    written = tables.with_tables(page, tmp_path)

    assert tables.with_tables(written, tmp_path) == written
    assert written.startswith("# Speed\n\n<!-- figures: minilm-cpu -->\n\n| ")
    assert written.endswith("<!-- end of figures -->\n\nwords\n")
    assert "old" not in written
    assert "resift, float32" in written


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_pages_show_what_was_measured(page: Path) -> None:
    """The tables of the project's own pages are those of the newest figures, and none of a CPU is missing."""
    text = page.read_text(encoding="utf-8")

    assert tables.with_tables(text) == text
    assert not re.search(r"Not measured yet: `.*-cpu`", text)


def test_a_run_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    """A page asks for figures that were never taken, and says so instead of showing none."""
    page = "<!-- figures: large-cuda, short -->\n<!-- end of figures -->"

    assert "Not measured yet: `large-cuda`." in tables.with_tables(page, tmp_path)


def test_figures_are_kept_as_they_were_measured() -> None:
    """A spread is the median, the least and the most."""
    assert figures.spread([3.0, 1.0, 2.0]) == {"median": 2.0, "least": 1.0, "most": 3.0}
