"""The ranker for tests does as it is told, and notes what it was asked."""

import asyncio
import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from noticing import until
from resift.errors import EndpointMisbehaved, InvalidInput, Overloaded, ScoringFailed
from resift.testing import FakeRanker
from resift.testing.ways import WAYS, ranking_of, scores_of
from resift.types import Described, Ranking, Usage

DOCUMENTS = ["a", "bb", "ccc"]

way = pytest.mark.parametrize("way", WAYS)


def length(query: str, text: str, instruction: str | None) -> float:
    return float(len(text))


@way
def test_it_notes_what_it_was_asked(way: str) -> None:
    """Each call is noted with all that it was given, in order."""
    ranker = FakeRanker()

    ranking_of(ranker, way, "q", iter(DOCUMENTS), top_n=1, instruction="i")
    scores_of(ranker, way, "r", [])

    assert ranker.asked == [
        {"verb": "rank", "query": "q", "documents": DOCUMENTS, "top_n": 1, "threshold": None, "instruction": "i"},
        {"verb": "score", "query": "r", "documents": [], "instruction": None},
    ]
    assert ranker.texts_asked == [DOCUMENTS, []]


@way
@pytest.mark.parametrize(
    ("query", "documents", "options"),
    [(" ", ["a"], {}), ("q", "a", {}), ("q", ["a"], {"top_n": 0}), ("q", ["a"], {"threshold": float("nan")})],
)
def test_what_means_nothing_is_not_noted(way: str, query: str, documents: Any, options: dict[str, Any]) -> None:
    """A call that cannot mean anything is refused, and uses up no failure."""
    ranker = FakeRanker(fails=[ScoringFailed("no")])

    with pytest.raises(InvalidInput):
        ranking_of(ranker, way, query, documents, **options)
    assert (ranker.asked, len(ranker.fails), ranker.at_once) == ([], 1, 0)


@way
def test_it_fails_as_often_as_it_is_told(way: str) -> None:
    """Errors are raised once each, in their order, then it answers."""
    errors = [ScoringFailed("first"), Overloaded("second")]
    ranker = FakeRanker(fails=list(errors))

    for error in errors:
        with pytest.raises(type(error)) as raised:
            ranking_of(ranker, way, "q", DOCUMENTS)
        assert raised.value is error
    assert len(ranking_of(ranker, way, "q", DOCUMENTS)) == 3
    assert len(ranker.asked) == 3


@way
def test_what_it_drops_is_missing(way: str) -> None:
    """A dropped text gets no score, and is named as missing; to ask for its score is an error."""
    ranker = FakeRanker(scorer=length, drops=frozenset({"bb"}), cuts=frozenset({"bb", "ccc"}))

    ranking = ranking_of(ranker, way, "q", DOCUMENTS)
    assert ([hit.index for hit in ranking], ranking.missing, ranking.truncated) == ([2, 0], (1,), 1)
    with pytest.raises(EndpointMisbehaved):
        scores_of(ranker, way, "q", DOCUMENTS)


def test_it_names_documents_as_it_is_told() -> None:
    """What `renumber` returns stands in the ranking, right or wrong, beside the document itself."""
    ranking = FakeRanker(scorer=length, renumber=lambda index: index + 7).rank("q", DOCUMENTS)

    assert [(hit.index, hit.document) for hit in ranking] == [(9, "ccc"), (8, "bb"), (7, "a")]


def test_it_passes_any_score_on() -> None:
    """What the scorer returns is neither checked nor changed."""
    odd: Any = object()

    assert FakeRanker(scorer=lambda *_: odd).score("q", []) == []
    assert str(FakeRanker(scorer=lambda *_: float("nan")).score("q", ["a"])) == "[nan]"


def test_it_counts_tokens_unless_told_otherwise() -> None:
    """Every document counts as one token, or as many as it is told, where it counts at all."""
    assert FakeRanker().rank("q", DOCUMENTS).usage == Usage(3)
    assert FakeRanker(counts=len).rank("q", DOCUMENTS).usage == Usage(6)
    assert FakeRanker(counts=None).rank("q", DOCUMENTS).usage is None


def test_it_says_of_itself_what_it_is_told() -> None:
    """It is described as far as `says` goes, and silent about all else."""
    says = {"identity": "i", "listwise": True, "takes_instruction": False, "max_length": None}
    described, silent = FakeRanker(says=says), FakeRanker(says={"identity": "i"})

    assert isinstance(described, Described)
    assert (described.identity, described.listwise, described.max_length) == ("i", True, None)
    assert not isinstance(silent, Described)
    assert not hasattr(silent, "listwise")


# waiting


def test_a_gate_holds_threads_back() -> None:
    """Threads wait until the gate is set, and are counted meanwhile."""
    gate = threading.Event()
    ranker = FakeRanker(gate=gate)
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(ranker.rank, "q", DOCUMENTS) for _ in range(3)]
        until(lambda: ranker.at_once == 3)
        assert not any(call.done() for call in calls)
        gate.set()

    assert all(len(call.result()) == 3 for call in calls)
    assert (ranker.at_once, ranker.most_at_once) == (0, 3)


async def test_a_gate_holds_coroutines_back() -> None:
    """Coroutines wait until the gate is set, and the event loop goes on."""
    gate = threading.Event()
    ranker = FakeRanker(gate=gate)
    calls = [asyncio.create_task(ranker.arank("q", DOCUMENTS)) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert not any(call.done() for call in calls)
    assert ranker.at_once == 3
    gate.set()

    assert [len(ranking) for ranking in await asyncio.gather(*calls)] == [3, 3, 3]


@pytest.mark.parametrize("way", ["rank", "arank"])
def test_a_gate_that_is_never_set_is_an_error(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten gate ends a test with an error that says so, not with a hang or an answer."""
    monkeypatch.setattr("resift.testing.fake_ranker._PATIENCE_S", 0.05)

    with pytest.raises(TimeoutError, match="nobody set its gate"):
        ranking_of(FakeRanker(gate=threading.Event()), way, "q", DOCUMENTS)


@way
def test_a_delay_takes_that_long(way: str) -> None:
    """Every call takes the time that it is told to take."""
    ranker = FakeRanker(delay_s=0.1)
    started = time.perf_counter()

    ranking = ranking_of(ranker, way, "q", DOCUMENTS)
    assert time.perf_counter() - started >= 0.1
    assert ranking.elapsed_s >= 0.1


async def test_a_coroutine_may_be_cancelled() -> None:
    """A cancelled call ends at once, and is counted."""
    ranker = FakeRanker(delay_s=60)
    call = asyncio.create_task(ranker.arank("q", DOCUMENTS))
    await asyncio.sleep(0.02)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert (ranker.cancelled, ranker.at_once, len(ranker.asked)) == (1, 0, 1)


# copies and the end


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda ranker: pickle.loads(pickle.dumps(ranker))],  # noqa: S301 - pickled right here
    ids=["copy", "deep", "pickle"],
)
def test_a_copy_does_the_same_and_was_asked_nothing(copied: Any) -> None:
    """A copy scores, drops, fails and says the same; calls, their counts and the gate stay where they are."""
    ranker = FakeRanker("m", length, drops=frozenset("a"), says={"identity": "i"})
    ranker.rank("q", DOCUMENTS)
    ranker.close()
    ranker.fails.append(ScoringFailed("no"))
    ranker.gate = threading.Event()

    again = copied(ranker)
    assert (again.asked, again.most_at_once, again.closed) == ([], 0, 0)
    with pytest.raises(ScoringFailed):
        again.rank("q", DOCUMENTS)
    ranking: Ranking = again.rank("q", DOCUMENTS)
    assert (ranking.model, [hit.index for hit in ranking], again.identity) == ("m", [2, 1], "i")
    assert (len(ranker.fails), len(ranker.asked), len(again.asked)) == (1, 1, 2)


async def test_closing_is_counted() -> None:
    """Each time it is closed counts, and changes nothing else."""
    ranker = FakeRanker()
    with ranker:
        async with ranker:
            pass
    ranker.close()
    await ranker.aclose()

    assert ranker.closed == 4
    assert len(ranker.rank("q", DOCUMENTS)) == 3
