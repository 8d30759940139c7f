"""A fallback: who answers when the one that was meant to cannot."""

import gc
import logging
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import resift
from noticing import logged, until
from resift.compose.fallback import OUTAGES, fallback
from resift.errors import (
    DeadlineExceeded,
    EndpointError,
    EndpointMisbehaved,
    EndpointRefused,
    EndpointUnavailable,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    ResiftError,
    ScoringFailed,
)
from resift.testing import FakeRanker
from resift.testing.ways import WAYS, ranking_of, scores_of
from resift.types import Described

way = pytest.mark.parametrize("way", WAYS)

SECRET = "xyzzy-plugh"
DOCUMENTS: list[Any] = ["a", {"letter": "b"}, "c"]


def doubled(query: str, text: str, instruction: str | None) -> float:
    return 2.0 * len(text)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """Return what is logged, line by line, as it comes."""
    with logged() as lines:
        yield lines


@way
def test_the_first_answers_while_it_can(way: str, warnings: list[str]) -> None:
    """As long as all is well nothing but the first ranker is asked, and nothing is logged."""
    first, second = FakeRanker("first", cuts=frozenset("a")), FakeRanker("second")

    ranking = ranking_of(fallback(first, second), way, "q", DOCUMENTS, top_n=2, threshold=0.25)
    expected = first.rank("q", DOCUMENTS, top_n=2, threshold=0.25)

    assert ranking == expected
    assert (ranking.truncated, ranking.usage, ranking.missing) == (1, expected.usage, ())
    assert second.asked == []
    assert warnings == []


@way
@pytest.mark.parametrize("outage", OUTAGES)
def test_the_second_answers_when_the_first_cannot(way: str, outage: type[ResiftError], warnings: list[str]) -> None:
    """When the first ranker fails, the ranking is the second's own and says so; one line in the log says why."""
    first, second = FakeRanker("first", fails=[outage(f"no: {SECRET}")] * 2), FakeRanker("second", doubled)

    ranking = ranking_of(fallback(first, second), way, "q", DOCUMENTS, threshold=3.0)

    assert ranking == second.rank("q", DOCUMENTS, threshold=3.0)
    assert ranking.model == "second"
    assert [hit.index for hit in ranking] == [1]
    assert warnings == [f"'first' gave no answer ({outage.__name__}); 'second' is asked instead"]


@way
def test_scores_fall_back_too(way: str) -> None:
    """`score` is answered by the first that can score every document."""
    first, second = FakeRanker("first", drops=frozenset("a")), FakeRanker("second", doubled)

    assert scores_of(fallback(first, second), way, "q", DOCUMENTS) == [2.0, 18.0, 2.0]


@way
def test_one_failure_is_forgotten_with_its_call(way: str) -> None:
    """After a single failure the next call is the first ranker's again."""
    first, second = FakeRanker("first", fails=[EndpointUnavailable("no")]), FakeRanker("second")
    both = fallback(first, second)

    assert ranking_of(both, way, "q", DOCUMENTS).model == "second"
    assert ranking_of(both, way, "q", DOCUMENTS).model == "first"


# rest


ABSENT: list[Exception] = [EndpointUnavailable("no"), DeadlineExceeded("late")]


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let only so many seconds pass as are asked for."""
    now = [time.monotonic()]
    clocks = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr("resift.compose.fallback.time", clocks)

    def passing(seconds: float) -> None:
        now[0] += seconds

    return passing


@way
def test_who_is_down_rests(
    way: str, warnings: list[str], pass_time: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    """After two absences in a row a ranker is not asked for a while; the log says once that it rests, and is back."""
    caplog.set_level(logging.INFO, "resift")
    first, second = FakeRanker("first", fails=list(ABSENT)), FakeRanker("second")
    both = fallback(first, second, rest_s=3)

    def answering() -> str:
        return ranking_of(both, way, "q", DOCUMENTS).model

    assert [answering() for _ in range(5)] == ["second"] * 5
    assert len(first.asked) == 2
    assert warnings == [
        "'first' gave no answer (EndpointUnavailable); 'second' is asked instead",
        "'first' gave no answer (DeadlineExceeded); 'second' is asked instead, and 'first' rests for 3 s",
    ]
    pass_time(2.9)
    assert answering() == "second"
    pass_time(0.2)
    assert [answering() for _ in range(3)] == ["first"] * 3
    assert caplog.messages == [*warnings, "'first' answers again"]
    assert len(warnings) == 2


def test_who_is_still_down_rests_again(warnings: list[str], pass_time: Callable[[float], None]) -> None:
    """Whoever is found absent after a rest rests again at once; whoever answered must be absent twice again."""
    first = FakeRanker("first", fails=[*ABSENT, *ABSENT[:1]])
    both = fallback(first, FakeRanker("second"))

    for _ in range(4):
        both.rank("q", DOCUMENTS)
    pass_time(5.1)
    assert [both.rank("q", DOCUMENTS).model for _ in range(3)] == ["second"] * 3
    assert len(first.asked) == 3
    pass_time(5.1)
    assert both.rank("q", DOCUMENTS).model == "first"
    first.fails += ABSENT[:1]
    assert [both.rank("q", DOCUMENTS).model for _ in range(2)] == ["second", "first"]
    assert [line.endswith("rests for 5 s") for line in warnings] == [False, True, True, False]


def test_one_call_tries_whether_it_is_back(pass_time: Callable[[float], None]) -> None:
    """When the rest is over, one call waits for the ranker that was down, and no other."""
    first, second = FakeRanker("first", fails=list(ABSENT)), FakeRanker("second")
    both = fallback(first, second)
    for _ in range(2):
        both.rank("q", DOCUMENTS)
    pass_time(5.1)
    first.gate = threading.Event()
    models: list[str] = []
    trying = threading.Thread(target=lambda: models.append(both.rank("q", DOCUMENTS).model))
    trying.start()
    try:
        until(lambda: len(first.asked) == 3)
        assert both.rank("q", DOCUMENTS).model == "second"
    finally:
        first.gate.set()
        trying.join()
    assert models == ["first"]
    assert both.rank("q", DOCUMENTS).model == "first"


def test_who_rests_is_the_last_resort() -> None:
    """A ranker that rests is asked all the same before a call fails."""
    first, second = FakeRanker("first", fails=list(ABSENT)), FakeRanker("second")
    both = fallback(first, second)
    for _ in range(2):
        both.rank("q", DOCUMENTS)

    second.fails.append(ScoringFailed("no"))

    assert both.rank("q", DOCUMENTS).model == "first"


@pytest.mark.parametrize("error", [EndpointMisbehaved("no"), Overloaded("no"), ScoringFailed("no")])
def test_who_fails_at_once_needs_no_rest(error: ResiftError) -> None:
    """A failure that says something of its call, and not of the next, changes nothing for the next."""
    first = FakeRanker("first", fails=[error] * 4)
    both = fallback(first, FakeRanker("second"))

    assert [both.rank("q", DOCUMENTS).model for _ in range(5)] == ["second"] * 4 + ["first"]


def test_there_may_be_no_rest() -> None:
    """With `rest_s=0` the first ranker is asked first every time."""
    first = FakeRanker("first", fails=ABSENT * 2)
    both = fallback(first, FakeRanker("second"), rest_s=0)

    assert [both.rank("q", DOCUMENTS).model for _ in range(5)] == ["second"] * 4 + ["first"]


def test_a_rest_is_not_pickled() -> None:
    """A copy has the settings, and finds out by itself who is down."""
    both = fallback(FakeRanker("first", fails=list(ABSENT)), FakeRanker("second"), rest_s=60)
    for _ in range(2):
        both.rank("q", DOCUMENTS)

    copy = pickle.loads(pickle.dumps(both))  # noqa: S301 - it is what was just written

    assert repr(copy) == repr(both)
    assert (both.rank("q", DOCUMENTS).model, copy.rank("q", DOCUMENTS).model) == ("second", "first")


@pytest.mark.parametrize("rest_s", [-1, True, "5", None, float("nan"), float("inf")])
def test_a_rest_has_a_length(rest_s: Any) -> None:
    """`rest_s` is a number of seconds from 0 up; the message shows what it was."""
    with pytest.raises(InvalidInput, match="rest_s must be a number of seconds from 0 up") as refused:
        fallback(FakeRanker(), FakeRanker(), rest_s=rest_s)
    assert repr(rest_s) in str(refused.value)


# who is asked, and how


def test_a_ranking_that_lacks_documents_is_an_answer() -> None:
    """A ranker that drops a document has answered; the ranking says what is missing."""
    ranking = fallback(FakeRanker("first", drops=frozenset("a")), FakeRanker("second")).rank("q", DOCUMENTS)

    assert (ranking.model, ranking.missing) == ("first", (0,))


def test_any_number_may_stand_in(warnings: list[str]) -> None:
    """Rankers are asked in their order until one answers, each failure with its own line in the log."""
    rankers = [FakeRanker(str(number), fails=[ScoringFailed("no")] * (number < 3)) for number in range(5)]

    ranking = fallback(*rankers).rank("q", DOCUMENTS)

    assert ranking.model == "3"
    assert [len(ranker.asked) for ranker in rankers] == [1, 1, 1, 1, 0]
    assert len(warnings) == 3


@way
def test_when_all_fail_the_last_error_is_raised(way: str, warnings: list[str]) -> None:
    """The last error tells of the first, and both keep what they carry."""
    first, last = EndpointUnavailable("down", status=503), DeadlineExceeded("late")
    busy = Overloaded("busy")
    rankers = [FakeRanker(fails=[first] * 2), FakeRanker(fails=[busy] * 2), FakeRanker(fails=[last])]

    with pytest.raises(DeadlineExceeded, match="late") as raised:
        ranking_of(fallback(*rankers), way, "q", DOCUMENTS)

    assert raised.value is last
    assert raised.value.__cause__ is first
    assert first.status == 503
    assert any("(Overloaded)" in line for line in warnings)


def test_the_same_error_twice_is_not_its_own_cause() -> None:
    """An error that two rankers raise alike is raised as it is."""
    error = ScoringFailed("no")

    with pytest.raises(ScoringFailed) as raised:
        fallback(FakeRanker(fails=[error]), FakeRanker(fails=[error])).rank("q", DOCUMENTS)
    assert raised.value.__cause__ is None


@way
@pytest.mark.parametrize("error", [InvalidInput("bad"), EndpointRefused("401", status=401), ModelNotFound("?")])
def test_a_wrong_call_does_not_fall_back(way: str, error: ResiftError, warnings: list[str]) -> None:
    """What is wrong with the call, the key or the settings is told to the caller and not hidden by another's answer."""
    second = FakeRanker("second")

    with pytest.raises(type(error)):
        ranking_of(fallback(FakeRanker("first", fails=[error]), second), way, "q", DOCUMENTS)
    assert second.asked == []
    assert warnings == []


def test_bugs_do_not_fall_back() -> None:
    """An error that is not resift's is a bug, and shows."""
    bug: Any = ZeroDivisionError("bug")

    with pytest.raises(ZeroDivisionError):
        fallback(FakeRanker(fails=[bug]), FakeRanker()).rank("q", DOCUMENTS)


def test_the_caller_says_what_is_a_failure() -> None:
    """`on` names the errors that count, in place of those that count otherwise; subclasses count with them."""
    refused, unavailable = EndpointRefused("404", status=404), EndpointUnavailable("503", status=503)

    def model_after(error: ResiftError, *on: type[ResiftError]) -> str:
        return fallback(FakeRanker("first", fails=[error]), FakeRanker("second"), on=on).rank("q", DOCUMENTS).model

    assert model_after(refused, EndpointRefused) == "second"
    assert model_after(refused, EndpointError) == "second"
    with pytest.raises(EndpointUnavailable):
        model_after(unavailable, EndpointRefused)


def test_invalid_input_never_falls_back() -> None:
    """Even where every error counts as a failure, a call that cannot mean anything does not."""
    with pytest.raises(InvalidInput):
        fallback(FakeRanker(fails=[InvalidInput("bad")]), FakeRanker(), on=(ResiftError,)).rank("q", DOCUMENTS)


@pytest.mark.parametrize("on", [(), [EndpointError], EndpointError, (ValueError,), ("x",), (InvalidInput,), None])
def test_what_is_no_kind_of_failure_is_refused(on: Any) -> None:
    """`on` is a tuple of resift's own errors, without InvalidInput."""
    with pytest.raises(InvalidInput, match="on must"):
        fallback(FakeRanker(), FakeRanker(), on=on)


@pytest.mark.parametrize(
    ("says", "given_to_second"),
    [({}, "find food"), ({"takes_instruction": True}, "find food"), ({"takes_instruction": False}, None)],
)
def test_an_instruction_never_makes_an_outage_a_wrong_call(says: dict[str, Any], given_to_second: str | None) -> None:
    """A stand-in that says it takes no instruction is asked without; the first is always asked as the caller asked."""
    first = FakeRanker("first", fails=[ScoringFailed("no")], says={"takes_instruction": False})
    second = FakeRanker("second", says=says)

    fallback(first, second).rank("q", DOCUMENTS, instruction="find food")

    assert first.asked[0]["instruction"] == "find food"
    assert second.asked[0]["instruction"] == given_to_second


def test_it_says_of_itself_what_is_true() -> None:
    """A fallback is named after its first ranker; it is listwise if any ranker in it is, or may be."""
    said = {"identity": "f", "listwise": False, "takes_instruction": True, "max_length": 512}
    first, second = FakeRanker("first", says=said), FakeRanker("second", says={**said, "identity": "s"})
    both = fallback(first, second)

    assert isinstance(both, Described)
    assert (both.model, both.identity) == ("first", "fallback(f, s)")
    assert (both.listwise, both.takes_instruction, both.max_length) == (False, True, 512)
    assert fallback(first, FakeRanker("second", says={**said, "listwise": True})).listwise
    assert fallback(first, FakeRanker("silent")).listwise
    assert not hasattr(fallback(first, FakeRanker("silent")), "identity")
    assert not hasattr(fallback(FakeRanker("silent"), first), "takes_instruction")


def test_its_structure_can_be_seen() -> None:
    """`repr` shows the rankers in their order, and what was chosen besides."""
    first, second = FakeRanker("first"), FakeRanker("second")

    assert repr(fallback(first, second)) == "fallback(FakeRanker('first'), FakeRanker('second'))"
    assert repr(fallback(first, second, on=(Overloaded, ScoringFailed), rest_s=0.5)) == (
        "fallback(FakeRanker('first'), FakeRanker('second'), on=(Overloaded, ScoringFailed), rest_s=0.5)"
    )


def test_the_whole_time_is_told() -> None:
    """`elapsed_s` is what the caller waited, failures included."""
    ranking = fallback(FakeRanker(fails=[ScoringFailed("no")]), FakeRanker()).rank("q", DOCUMENTS)

    assert ranking.elapsed_s != 0.001  # which is what the fake says
    assert ranking.elapsed_s > 0


def test_no_failure_keeps_documents_alive() -> None:
    """When the answer is there, nothing of the failed attempt is left in memory."""

    class Text(dict[str, str]):
        """A document that can be watched."""

    document = Text(t="panda")
    watched = weakref.ref(document)
    both = fallback(resift.load(), resift.load())
    both.recipe.rankers[0].close()
    gc.collect()
    gc.disable()
    try:
        assert both.rank("panda", [document]).model == "lexical"
        del document
        assert watched() is None
    finally:
        gc.enable()
        both.close()


@way
def test_a_misbehaving_endpoint_is_an_outage(way: str, warnings: list[str]) -> None:
    """No text of the reply, the query or the documents stands in the log."""
    first = FakeRanker("first", fails=[EndpointMisbehaved(SECRET)])

    ranking_of(fallback(first, FakeRanker("second")), way, SECRET, [SECRET])

    assert warnings
    assert SECRET not in "".join(warnings)


def test_real_rankers_fall_back() -> None:
    """A closed ranker cannot score; another one does."""
    first, second = resift.load(), resift.load()
    first.close()
    with fallback(first, second) as both:
        assert [hit.index for hit in both.rank("panda", ["bear", "panda"])] == [1, 0]
