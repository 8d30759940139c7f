"""`resift rank` and `resift score`: documents and pairs in every format, and rankings and scores out."""

import csv
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from resift.cli.commands import start
from resift.cli.rank import rank as rank_command
from resift.cli.writing import bar
from resift.server.served import open_served
from resift.testing import FakeRanker
from scripted_server import ScriptedServer, reply
from serving import serving

TEXTS = ["Paris is in France.", "The giant panda eats bamboo.", "A panda will eat bamboo all day, and little else."]
QUERY = "what does a panda eat?"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what the environment of the tests sets."""
    for parameter in rank_command.params:
        if isinstance(parameter.envvar, str):
            monkeypatch.delenv(parameter.envvar, raising=False)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a test say what comes from stdin."""

    def type_in(text: str | bytes) -> None:
        raw = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))

    return type_in


@pytest.fixture
def ranked(capsysbinary: pytest.CaptureFixture[bytes]) -> Any:
    """Run `resift rank` and give what it wrote, as JSON where it wrote lines of it."""

    def run(*arguments: str) -> list[dict[str, Any]]:
        assert start(["rank", QUERY, *arguments]) == 0
        return [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]

    return run


def _expected(documents: Any = TEXTS, **options: Any) -> list[dict[str, Any]]:
    with resift.load(**options) as ranker:
        return [
            {"rank": rank, "index": hit.index, "score": hit.score, "document": hit.document}
            for rank, hit in enumerate(ranker.rank(QUERY, documents), start=1)
        ]


WRITTEN = {
    "d.txt": "\n".join([TEXTS[0], "", *TEXTS[1:]]) + "\n",
    "dos.txt": "\ufeff" + "\r\n".join(TEXTS),
    "d.json": json.dumps(TEXTS, indent=1),
    "d.jsonl": "\n".join(map(json.dumps, TEXTS)) + "\n\n",
    "d.ndjson": "\n".join(map(json.dumps, TEXTS)),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_texts_are_read_in_every_format(name: str, tmp_path: Path, ranked: Any) -> None:
    """Lines, JSON and JSONL, with whatever ends of lines and marks, rank as the same list does in Python."""
    (tmp_path / name).write_text(WRITTEN[name], encoding="utf-8", newline="")

    assert ranked(str(tmp_path / name)) == _expected()


@pytest.mark.parametrize("name", WRITTEN)
def test_stdin_is_known_by_how_it_begins(name: str, typed: Any, ranked: Any) -> None:
    """A pipe has no name; lines and a JSON array are told apart by how they begin."""
    if name.endswith(("jsonl", "ndjson")):
        pytest.skip("JSON strings on lines are lines, unless --format says otherwise")
    typed(WRITTEN[name])

    assert ranked() == _expected()


def test_lines_that_look_like_json_are_still_lines(typed: Any, ranked: Any) -> None:
    """Text that begins with a bracket and is no JSON is read as lines."""
    typed("[1] a panda\n[2] a car\n")

    assert [hit["document"] for hit in ranked()] == ["[1] a panda", "[2] a car"]


OBJECTS = [
    {"title": "Paris", "text": "In France, they eat."},
    {"title": "Panda", "text": 'It eats "bamboo",\nand little.'},
]


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "tsv"])
def test_objects_are_read_by_their_fields(kind: str, tmp_path: Path, ranked: Any) -> None:
    """Objects and rows of tables are documents with fields, of which --field names those that are read."""
    path = tmp_path / f"documents.{kind}"
    if kind in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["title", "text"], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(OBJECTS)
    else:
        path.write_text(json.dumps(OBJECTS) if kind == "json" else "\n".join(map(json.dumps, OBJECTS)))

    assert ranked(str(path)) == _expected(OBJECTS)
    assert ranked(str(path), "--field", "title") == _expected(OBJECTS, fields=["title"])


def test_top_n_and_threshold_cut_as_in_python(tmp_path: Path, ranked: Any) -> None:
    """`--top-n` and `--threshold` keep what the same arguments keep of `rank`."""
    (tmp_path / "d.txt").write_text("\n".join(TEXTS))

    assert ranked(str(tmp_path / "d.txt"), "--top-n", "1") == _expected()[:1]
    assert [hit["index"] for hit in ranked(str(tmp_path / "d.txt"), "--threshold", "0.5")] == [1, 2]
    assert ranked(str(tmp_path / "d.txt"), "--threshold", "99") == []


def test_json_says_what_a_ranking_knows(typed: Any, ranked: Any) -> None:
    """`-o json` is one object with query, model, results, and what was cut or is missing."""
    typed("\n".join(TEXTS))
    (found,) = ranked("-o", "json")

    assert found["results"] == _expected()
    assert (found["query"], found["model"], found["truncated"], found["missing"]) == (QUERY, "lexical", 0, [])


def test_csv_keeps_the_columns_of_the_documents(typed: Any, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """`-o csv` has rank, index and score before the documents' own columns; a clash of names is resolved."""
    typed(json.dumps([{"text": "panda, eats", "score": 7}, {"text": "car", "score": None}]))
    assert start(["rank", QUERY, "-o", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode())))

    assert [(row["rank"], row["index"], row["text"], row["document.score"]) for row in rows] == [
        ("1", "0", "panda, eats", "7"),
        ("2", "1", "car", ""),
    ]


def test_a_table_shows_no_control_characters(typed: Any, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """A document cannot move the cursor of a terminal, colour it, or be taken for markup."""
    typed("panda \x1b[31mred\x07 [bold]x[/bold] \u202etxt می\u200cخورد\n")
    assert start(["rank", QUERY, "-o", "table"]) == 0
    shown = capsysbinary.readouterr().out

    assert "\ufffdtxt می\u200cخورد" in shown.decode()  # what joins letters moves nothing
    assert b"\x1b" not in shown
    assert b"[bold]x[/bold]" in shown


def test_a_half_character_survives(typed: Any, ranked: Any) -> None:
    """Half of a surrogate pair, which JSON can hold, comes out as it went in."""
    typed('["panda \\ud83d"]')

    assert ranked()[0]["document"] == "panda \ud83d"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("d.json", "{}", "no JSON array"),
        ("d.json", "[1]", "d.json[0] is no document but int"),
        ("d.json", '["a"', "is no JSON"),
        ("d.jsonl", '"a"\n{"b": NaN}\n', "d.jsonl:2"),
        ("d.jsonl", '"a"\n[1]\n', "d.jsonl:2 is no document but list"),
        ("d.csv", "a,b\n1\n", "d.csv:2 has 1 columns, and the first line names 2"),
        ("d.csv", "a,a\n1,2\n", "must name each column, and each only once"),
        ("d.csv", 'a\n"b', "no CSV"),
        ("d.txt", "", "no documents"),
        ("d.csv", "text\n", "no documents"),
        ("d.txt", b"caf\xe9", "not valid UTF-8"),
        ("d.txt", b"\x1f\x8b\x08\x00", "is gzipped"),
    ],
)
def test_bad_files_are_told_with_their_place(
    name: str, content: str | bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with a file is told with its line, without repeating its text, and ends with 2."""
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert start(["rank", QUERY, str(tmp_path / name)]) == 2

    assert says in capsys.readouterr().err


@pytest.mark.parametrize("path", ["none.txt", "."])
def test_what_is_no_file_is_told(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there, or a folder, is said to be so."""
    assert start(["rank", QUERY, path]) == 2
    assert repr(path) in capsys.readouterr().err


def test_nothing_to_read_is_told_to_a_person(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody pipes anything in, a person is told so instead of being waited for."""
    monkeypatch.setattr("resift.cli.reading.is_person", lambda stream: True)

    assert start(["rank", QUERY]) == 2
    assert "pipe documents in" in capsys.readouterr().err


def test_a_model_of_yours_gives_the_scores_of_python(tmp_path: Path, typed: Any, ranked: Any) -> None:
    """Model, length, format of numbers and kind of scores reach the model as they do in Python."""
    directory = tiny.build("bert-cross", tmp_path)
    typed("\n".join(TEXTS))
    options = ("--model", str(directory), "--device", "cpu", "--dtype", "float32", "--max-length", "16", "--normalize")

    assert ranked(*options) == _expected(model=directory, max_length=16, normalize=True)


def test_what_the_command_line_says_is_what_is_opened(
    typed: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each option of a model becomes the setting that it is in Python, and what resift warns of is a note."""
    opened: list[dict[str, Any]] = []

    def opens(**given: Any) -> FakeRanker:
        opened.append(given)
        logging.getLogger("resift.anywhere").warning("mind the licence")
        return FakeRanker()

    monkeypatch.setattr("resift.api.open", opens)
    words = ["--model", "a/b", "--device", "cpu", "--device", "cuda:1", "--raw", "--field", "x", "--local-files-only"]
    typed('[{"x": "panda"}]')
    assert start(["rank", QUERY, *words]) == 0
    assert "Note: mind the licence\n" in capsys.readouterr().err
    assert opened == [
        {
            "model": "a/b",
            "base_url": None,
            "device": ["cpu", "cuda:1"],
            "normalize": False,
            "fields": ["x"],
            "local_files_only": True,
        }
    ]


def test_a_long_field_of_a_table_is_read(tmp_path: Path, ranked: Any) -> None:
    """A field of a table may be as long as a document is, whatever Python's own limit says."""
    (tmp_path / "d.csv").write_text("text\n" + "panda " * 50_000 + "\n")

    assert len(ranked(str(tmp_path / "d.csv"))[0]["document"]["text"]) == 300_000


def test_what_was_cut_is_told(tmp_path: Path, typed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A note on stderr says how many documents were longer than the model reads."""
    directory = tiny.build("bert-cross", tmp_path)
    typed("panda eats bamboo " * 400 + "\na panda\n")

    assert start(["rank", QUERY, "--model", str(directory)]) == 0
    assert "Note: 1 of 2 documents were longer than the model reads" in capsys.readouterr().err


def test_an_endpoint_ranks_as_the_model_behind_it(typed: Any, ranked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --base-url documents are ranked there; what the environment says of models here is no obstacle."""
    monkeypatch.setenv("RESIFT_BACKEND", "torch")
    monkeypatch.setenv("RESIFT_API_KEY", "sk-1")
    typed("\n".join(TEXTS))
    with serving(open_served("lexical", lambda normalize: resift.load(normalize=normalize))) as server:
        found = ranked("--base-url", server.url, "--model", "lexical", "--dialect", "resift")

    assert found == _expected()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--api-key", "sk-secret"], "--api-key is for endpoints"),
        (["--base-url", "http://127.0.0.1:1", "--device", "cpu"], "--device is for models that run here"),
        (["--device", "cpu"], "--device is for models, and the built-in scorer is none"),
        (["--model", "lexical", "--max-length", "7"], "--max-length is for models"),
        (["--top-n", "0"], "top_n"),
        (["--threshold", "nan"], "threshold"),
        (["--instruction", "find bears"], "lexical takes no instruction"),
        (["--field", "nope"], "none of the documents has any of the fields"),
        (["--base-url", "ftp://127.0.0.1"], "ftp"),
    ],
)
def test_options_that_cannot_be_are_told(
    arguments: list[str], says: str, typed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that means nothing here ends with 2 and says what to do; a key is never repeated."""
    typed(json.dumps([{"text": "panda"}]))
    assert start(["rank", QUERY, *arguments]) == 2
    told = capsys.readouterr().err

    assert says in told
    assert "  try: " in told
    assert "sk-secret" not in told


def test_a_missing_score_is_status_3(typed: Any, capsys: pytest.CaptureFixture[str], lacking: str) -> None:
    """Where an endpoint leaves a document out, the others are written, a note names it, and the status is 3."""
    typed("\n".join(TEXTS))

    assert start(["rank", QUERY, "--base-url", lacking]) == 3
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert "1 of 3 documents got no score: 2" in told.err

    typed("\n".join(TEXTS))
    assert start(["score", "--query", QUERY, "--base-url", lacking, "-o", "csv"]) == 3
    told = capsys.readouterr()
    assert told.out.splitlines() == ["index,id,score", "0,,0.5", "1,,0.25", "2,,"]


@pytest.fixture
def lacking() -> Iterator[str]:
    """Give the address of an endpoint that leaves the last document out."""
    found = {"results": [{"index": 0, "relevance_score": 0.5}, {"index": 1, "relevance_score": 0.25}]}
    with ScriptedServer([reply(found)]) as server:
        yield server.url


def test_bars_go_from_empty_to_full() -> None:
    """A bar is as long as its score is high, by eighths of a character, and always as wide."""
    assert [bar(score, 0, 1) for score in (0, 0.5, 1)] == [" " * 10, "█████     ", "█" * 10]
    assert bar(0.05, 0, 1) == "▌         "
    assert bar(7.0, 7.0, 7.0) == "█" * 10
    assert {len(bar(score / 97, 0, 1)) for score in range(98)} == {10}


def test_bars_of_scores_below_zero_begin_at_the_worst(
    typed: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where scores are no probabilities, the worst below zero has no bar, and the best a whole one."""
    monkeypatch.setattr("resift.api.open", lambda **_: FakeRanker(scorer=lambda _query, text, _told: float(text)))
    typed("-4\n4\n0\n")
    assert start(["rank", QUERY, "--model", "a/b", "-o", "table"]) == 0

    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.count("█") for line in lines] == [10, 5, 0]


# pairs


PAIRS = [{"query": "panda", "document": text} for text in TEXTS] + [{"query": "France", "document": TEXTS[0]}]


def _scores() -> list[float]:
    with resift.load() as ranker:
        return [*ranker.score("panda", TEXTS), *ranker.score("France", TEXTS[:1])]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv"])
def test_pairs_are_scored_in_input_order(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each pair gets the score that its query's documents get together, in the order of the file."""
    path = tmp_path / f"pairs.{kind}"
    if kind in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["query", "document"], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(PAIRS)
    else:
        path.write_text(json.dumps(PAIRS) if kind == "json" else "\n".join(map(json.dumps, PAIRS)))
    assert start(["score", str(path)]) == 0

    written = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert written == [{"index": at, "score": score} for at, score in enumerate(_scores())]


def test_lines_are_scored_against_one_query(typed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With --query each line is a document, and `-o scores` is a number on each line."""
    typed("\n".join(TEXTS))
    assert start(["score", "--query", "panda", "-o", "scores"]) == 0

    assert [float(line) for line in capsys.readouterr().out.splitlines()] == _scores()[:3]


def test_ids_and_names_of_members_are_the_callers(typed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Members may be called otherwise, and an id is passed on."""
    typed('{"q": "panda", "d": {"title": "panda"}, "key": "a-1"}\n')
    assert start(["score", "--query-field", "q", "--document-field", "d", "--id-field", "key"]) == 0

    assert json.loads(capsys.readouterr().out)["id"] == "a-1"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"query": "a"}', "has no 'document', only 'query'"),
        ('{"query": " ", "document": "a"}', "blank"),
        ('{"query": "a", "document": 7}', "neither text nor an object"),
        ('"a"', "no JSON object"),
        ("", "no pairs to score"),
    ],
)
def test_bad_pairs_are_told_with_their_place(
    line: str, says: str, typed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with a pair is told with its line."""
    typed(f'{{"query": "a", "document": "b"}}\n{line}\n' if line else "")
    assert start(["score"]) == 2
    told = capsys.readouterr().err

    assert says in told
    assert not line or "stdin:2" in told
