"""Evaluations in a directory: kept, read again, and taken up where they ended."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from judging import collection, noisy, numbers, perfect, quick, told
from resift.errors import EndpointUnavailable, InvalidInput
from resift.evaluation import Collection, Evaluation, Listing, Run, read_run, read_trec
from resift.testing import FakeRanker

# keeping it


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    """A saved evaluation comes back equal, with its runs and judgements."""
    evaluation = quick([collection(name="a b"), collection(name="c", seed=1)], {"é/x": noisy(1), "y": noisy(2)})

    evaluation.save(tmp_path / "deep" / "here")

    loaded = Evaluation.load(tmp_path / "deep" / "here")
    assert loaded == evaluation
    assert list(loaded.evidence) == ["a b", "c"]
    assert len(loaded.evidence) == 2
    assert not list(tmp_path.rglob(".*"))


def test_saved_runs_can_be_scored_again(tmp_path: Path) -> None:
    """The runs and judgements on the disk give the numbers of the record, ties included."""
    evaluation = quick(collection(), {"coarse": perfect(), "noisy": noisy(1)}, directory=tmp_path)
    place = tmp_path / "runs" / "small"

    again = quick(
        read_trec(place / "first-stage.trec", place / "qrels.txt", name="small"),
        {"coarse": read_run(place / "coarse.trec"), "noisy": read_run(place / "noisy.trec")},
    )

    assert numbers(again) == numbers(evaluation)


def _spoiled(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def spoil(content: bytes) -> bytes:
        record = json.loads(content)
        change(record)
        return json.dumps(record).encode()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: b"{", "results.json is no JSON"),
        (lambda _: b"[]", "results.json is no record of an evaluation"),
        (lambda _: b"{}", "results.json is no record of an evaluation"),
        (_spoiled(lambda record: record.update(version=99)), "is of version 99; this resift reads 1"),
        (_spoiled(lambda record: record.pop("overall")), r"damaged: it lacks \['overall'\]"),
        (_spoiled(lambda record: record.update(more=1)), r"or has \['more'\]"),
        (_spoiled(lambda record: record.update(warnings=3)), r"damaged: it.warnings must be"),
        (_spoiled(lambda record: record["protocol"].update(depth="x")), "it.protocol.depth must be int, not str"),
        (_spoiled(lambda record: record.update(protocol=[])), "it.protocol must be an object"),
    ],
)
def test_a_damaged_record_is_named(spoil: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    """What is no record, one of another version, or a damaged one is told apart."""
    quick(collection(), {}).save(tmp_path)
    path = tmp_path / "results.json"
    path.write_bytes(spoil(path.read_bytes()))

    with pytest.raises(InvalidInput, match=message):
        Evaluation.load(tmp_path)


def test_an_empty_directory_holds_no_evaluation(tmp_path: Path) -> None:
    """A directory without a record is shown."""
    with pytest.raises(InvalidInput, match=r"there is no evaluation at .*results.json"):
        Evaluation.load(tmp_path)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the directory should be is an error that says so."""
    (tmp_path / "file").write_text("x")

    with pytest.raises(InvalidInput, match="cannot be used"):
        quick(collection(), {"a": perfect()}, directory=tmp_path / "file")


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """Where the record cannot be put in its place, no half of it stays."""
    (tmp_path / "results.json").mkdir()

    with pytest.raises(InvalidInput, match=r"results.json cannot be used"):
        quick(collection(), {}).save(tmp_path)
    assert not list(tmp_path.rglob(".*"))


# going on


class Interrupted(BaseException):
    """Something that ends a program, as Ctrl-C does."""


def _stopping(after: int, error: BaseException) -> FakeRanker:
    asked = iter(range(10**6))

    def score(query: str, text: str, instruction: str | None) -> float:
        if next(asked) >= after:
            raise error
        return told(query, text, instruction)

    return FakeRanker("perfect", score)


@pytest.mark.parametrize("error", [Interrupted(), EndpointUnavailable("down"), KeyboardInterrupt()])
@pytest.mark.parametrize("options", [{}, {"concurrency": 3}, {"timed": False}])
def test_an_interrupted_evaluation_goes_on_where_it_was(
    error: BaseException, options: dict[str, Any], tmp_path: Path
) -> None:
    """What was answered is not asked again, and the result is that of an evaluation that was never interrupted."""
    small, resumed = collection(queries=8), perfect()
    whole = quick(small, {"perfect": perfect()}, **options)

    with pytest.raises(type(error)):
        quick(small, {"perfect": _stopping(50, error)}, directory=tmp_path, **options)
    evaluation = quick(small, {"perfect": resumed}, directory=tmp_path, **options)

    assert 0 < len(resumed.asked) < 8
    assert numbers(evaluation) == numbers(whole)
    assert numbers(Evaluation.load(tmp_path)) == numbers(whole)


def test_latencies_of_two_sessions_are_not_mixed(tmp_path: Path) -> None:
    """After an interruption the latency is that of the longer session, and a warning says of how many queries."""
    small = collection(queries=8)
    with pytest.raises(EndpointUnavailable) as caught:
        quick(small, {"a": _stopping(12 * 2, EndpointUnavailable("down"))}, directory=tmp_path)

    evaluation = quick(small, {"a": perfect()}, directory=tmp_path)

    latency = evaluation.collections["small"].rows["a"].latency
    assert latency is not None
    assert latency.queries == 6
    (warning,) = evaluation.warnings
    assert warning.startswith(
        "'a' on 'small': its latency is that of 6 of 8 queries; the others were answered in another"
    )
    assert "while 'a' was asked" in caught.value.__notes__[0]


def test_latencies_of_another_machine_are_not_taken(tmp_path: Path) -> None:
    """Answers from elsewhere are taken, how long they took is not, and a warning says so."""
    small = collection()
    whole = quick(small, {"a": perfect()}, directory=tmp_path)
    (journal,) = tmp_path.rglob("*.jsonl")
    cores = f'"cores":"{whole.environment["cores"]}"'
    assert cores in journal.read_text()
    journal.write_text(journal.read_text().replace(cores, '"cores":"4096"'))

    evaluation = quick(small, {"a": perfect()}, directory=tmp_path)

    assert numbers(evaluation) == numbers(whole)
    assert evaluation.collections["small"].rows["a"].latency is None
    assert "its latency is that of 0 of 6 queries" in evaluation.warnings[0]


def test_another_contestant_joins_without_asking_the_others_again(tmp_path: Path) -> None:
    """An evaluation in a directory can be taken up with more contestants."""
    small, first, second = collection(), perfect(), noisy(1)
    quick(small, {"perfect": first}, directory=tmp_path)

    evaluation = quick(small, {"perfect": first, "noisy": second}, directory=tmp_path)

    assert (len(first.asked), len(second.asked)) == (6, 6)
    assert evaluation.collections["small"].rows["perfect"].latency is not None
    assert list(Evaluation.load(tmp_path).contestants) == ["perfect", "noisy"]


def test_a_crash_in_the_middle_of_a_line_loses_that_line_only(tmp_path: Path) -> None:
    """A journal whose last line was not finished is read up to there, and goes on from there."""
    small, again = collection(), perfect()
    whole = quick(small, {"a": perfect()}, directory=tmp_path)
    (journal,) = tmp_path.rglob("*.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:5]) + lines[5][:20])

    assert numbers(quick(small, {"a": again}, directory=tmp_path)) == numbers(whole)
    assert len(again.asked) == 3
    assert numbers(quick(small, {"a": again}, directory=tmp_path)) == numbers(whole)
    assert len(again.asked) == 3


CHANGES: dict[str, Callable[[Collection], tuple[Collection, FakeRanker]]] = {
    "another model": lambda small: (small, FakeRanker("other", told)),
    "other settings": lambda small: (small, perfect(says={"identity": "perfect, but otherwise"})),
    "another text": lambda small: (replace(small, documents={**small.documents, "q0-d0": "new 2"}), perfect()),
    "another query": lambda small: (replace(small, queries={**small.queries, "q0": "new"}), perfect()),
    "another order": lambda small: (
        replace(
            small,
            first_stage=Run(
                "r",
                {
                    query: Listing.in_order(found.documents[::-1])
                    for query, found in small.first_stage.lists.items()  # type: ignore[union-attr]
                },
            ),
        ),
        perfect(),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_answers_to_other_questions_are_never_taken(change: str, tmp_path: Path) -> None:
    """Where the ranker, a text or a list has changed, the directory is refused, and left as it was."""
    small = collection()
    quick(small, {"a": perfect()}, directory=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    changed, ranker = CHANGES[change](small)

    with pytest.raises(InvalidInput, match="answers to other questions, or of a ranker with other settings"):
        quick(changed, {"a": ranker}, directory=tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"format": "other"}\n', "is no journal of answers"),
        (b"[]\n", "is no journal of answers"),
        (b"\xff\n", "jsonl:1 is damaged"),
        (b'{"format": "resift-answers", "version": 0}\n', "another version of resift"),
    ],
)
def test_a_file_of_something_else_is_no_journal(content: bytes, message: str, tmp_path: Path) -> None:
    """What stands where the answers should be is read with care."""
    path = tmp_path / "answers" / "small" / "a.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    with pytest.raises(InvalidInput, match=message):
        quick(collection(), {"a": perfect()}, directory=tmp_path)


@pytest.mark.parametrize("line", [b'{"query": "q0"}', b"[1]", b"7", b'{"session": 1}', b'{"peak_bytes"'])
def test_a_damaged_journal_is_named(line: bytes, tmp_path: Path) -> None:
    """A line in the middle that is none is an error, not a lost answer."""
    quick(collection(), {"a": perfect()}, directory=tmp_path)
    (journal,) = tmp_path.rglob("*.jsonl")
    head, *rest = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(head + line + b"\n" + b"".join(rest))

    with pytest.raises(InvalidInput, match=r"a.jsonl.* is damaged"):
        quick(collection(), {"a": perfect()}, directory=tmp_path)
