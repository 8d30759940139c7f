"""A cache: the scores of a ranker, remembered; in memory, and whatever both kinds of cache promise."""

import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import resift
from resift.compose.cached import cached
from resift.compose.cascade import cascade
from resift.compose.fallback import fallback
from resift.compose.wrapping import ComposedRanker
from resift.errors import EndpointMisbehaved, EndpointUnavailable, InvalidInput, ScoringFailed
from resift.testing import FakeRanker
from resift.testing.ways import WAYS, ranking_of, scores_of
from resift.types import Described, Ranker, Usage

way = pytest.mark.parametrize("way", WAYS)

Cache = Callable[..., ComposedRanker]
POINTWISE = {"identity": "p", "listwise": False, "takes_instruction": True, "max_length": 512}
LISTWISE = {**POINTWISE, "listwise": True}
DOCUMENTS: list[Any] = ["a", {"letter": "b"}, "c", "a"]


def pointwise(**given_: Any) -> FakeRanker:
    return FakeRanker(says=POINTWISE, **given_)


@pytest.fixture(params=["memory", "file"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    """Return `cached`, in memory or in a new file."""
    made = 0

    def make(ranker: Ranker, **options: Any) -> ComposedRanker:
        nonlocal made
        made += 1
        path = tmp_path / f"{made}.db" if request.param == "file" else None
        composed = cached(ranker, path=path, **options)
        request.addfinalizer(composed.recipe.close)
        return composed

    return make


# what is asked


@way
def test_what_is_known_is_not_asked_again(cache: Cache, way: str) -> None:
    """The same call again is answered from the cache: the same ranking, with nothing read."""
    inner = pointwise()
    ranker = cache(inner)

    first = ranking_of(ranker, way, "q", DOCUMENTS, instruction="i")
    again = ranking_of(ranker, way, "q", DOCUMENTS, instruction="i")

    assert first == again == inner.rank("q", DOCUMENTS, instruction="i")
    assert all(hit.document is DOCUMENTS[hit.index] for hit in again)
    assert (first.usage, again.usage) == (Usage(3), Usage(0))
    assert len(inner.asked) == 2  # once through the cache, once beside it


@way
def test_only_what_is_not_known_is_asked_for(cache: Cache, way: str) -> None:
    """Of a list that is half known the ranker reads the other half, each text once, in one call."""
    inner = pointwise()
    ranker = cache(inner)
    ranking_of(ranker, way, "q", ["a", "c"])

    ranking = ranking_of(ranker, way, "q", ["a", "b", "c", "d", "b"])

    assert ranking == inner.rank("q", ["a", "b", "c", "d", "b"])
    assert inner.texts_asked[:2] == [["a", "c"], ["b", "d"]]
    assert ranking.usage == Usage(2)


@way
def test_scores_and_rankings_share_what_is_known(cache: Cache, way: str) -> None:
    """What `score` asked for `rank` knows, and the other way round."""
    inner = pointwise()
    ranker = cache(inner)

    scores = scores_of(ranker, way, "q", ["a", "b", "a"])
    ranking = ranking_of(ranker, way, "q", ["b", "a"])

    assert scores == inner.score("q", ["a", "b", "a"])
    assert ranking == inner.rank("q", ["b", "a"])
    assert ranking.usage == Usage(0)


def test_the_cut_is_made_here(cache: Cache) -> None:
    """All scores are remembered, whichever of them the caller wanted to see."""
    inner = pointwise()
    ranker = cache(inner)

    best = ranker.rank("q", DOCUMENTS, top_n=1)
    rest = ranker.rank("q", DOCUMENTS, threshold=0.0)

    assert best == inner.rank("q", DOCUMENTS, top_n=1)
    assert rest == inner.rank("q", DOCUMENTS, threshold=0.0)
    assert inner.asked[0]["top_n"] is None
    assert rest.usage == Usage(0)


@pytest.mark.parametrize(
    "other",
    [("q2", ["a"], None), ("q", ["b"], None), ("q", ["a"], "i"), ("q", ["a"], ""), ("q", [{"": "a"}], None)],
)
def test_another_call_is_another_key(cache: Cache, other: tuple[str, list[Any], str | None]) -> None:
    """A score is known by its query, its instruction and its document, all three."""
    inner = pointwise()
    ranker = cache(inner)
    ranker.rank("q", ["a"])

    query, documents, instruction = other

    assert ranker.rank(query, documents, instruction=instruction).usage == Usage(1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "x\nb: y"}, {"a": "x", "b": "y"}),  # the same text, but not if only `a` is read
        ({"a: b": "c"}, {"a": "b: c"}),
        ({"a": "x", "b": "y"}, {"b": "y", "a": "x"}),
        ({}, {"a": None}),
        ({}, "mapping"),
        ("a: x", {"a": "x"}),
        ("\ud800", "\ufffd"),
    ],
)
def test_documents_that_may_be_read_differently_are_kept_apart(cache: Cache, one: Any, other: Any) -> None:
    """Two documents share a score only if every ranker must read them alike."""
    ranker = cache(pointwise())
    ranker.rank("q", [one])

    assert ranker.rank("q", [one]).usage == Usage(0)
    assert ranker.rank("q", [other]).usage == Usage(1)


def test_fields_are_the_rankers_affair(cache: Cache) -> None:
    """A part of the list that has none of the ranker's fields is no error where the whole has them."""
    known, bare = {"text": "panda"}, {"title": "panda"}
    with resift.load(fields=["text"]) as inner:
        inner_says_pointwise = _Pointwise(inner)
        ranker = cache(inner_says_pointwise)
        ranker.rank("panda", [known])

        assert ranker.rank("panda", [known, bare]) == inner.rank("panda", [known, bare])
        with pytest.raises(InvalidInput, match="none of the documents"):
            ranker.rank("panda", [bare])


class _Pointwise(ComposedRanker):
    """A ranker that is wrong about itself, to see what a cache then does."""

    listwise = False
    identity = "x"

    def __init__(self, inner: Ranker) -> None:
        super().__init__(fallback(inner, inner).recipe)


@way
def test_no_documents_are_no_call_from_memory(cache: Cache, way: str) -> None:
    """An empty list is the ranker's to answer, so that what else is wrong with a call is not hidden."""
    with resift.load() as inner:
        ranker = cache(inner)

        assert len(ranking_of(ranker, way, "q", [])) == 0
        with pytest.raises(InvalidInput, match="takes no instruction"):
            ranking_of(ranker, way, "q", [], instruction="i")


def test_what_cannot_be_known_again_is_asked_every_time(cache: Cache) -> None:
    """A mapping with a value that has no JSON is left to the ranker, which may not even read that value."""
    strange: list[Any] = [{"text": "panda", "raw": b"\xff"}, "bear"]
    with resift.load(fields=["text"]) as inner:
        ranker = cache(inner)

        assert ranker.rank("panda", strange) == ranker.rank("panda", strange) == inner.rank("panda", strange)
    with resift.load() as inner, pytest.raises(InvalidInput, match=r"documents\[1\] is not a JSON object"):
        cache(inner).rank("panda", ["bear", strange[0]])


@way
def test_errors_name_places_in_the_callers_list(cache: Cache, way: str) -> None:
    """A document that is none is named by its place in the whole list, not among those that were asked for."""
    ranker = cache(pointwise())
    ranker.rank("q", ["a"])

    with pytest.raises(InvalidInput, match=r"documents\[2\] must be a str or a mapping, not int"):
        ranking_of(ranker, way, "q", ["a", "b", 7])


@way
def test_errors_are_not_remembered(cache: Cache, way: str) -> None:
    """A ranker that failed is asked again."""
    inner = pointwise(fails=[ScoringFailed("no")])
    ranker = cache(inner)

    with pytest.raises(ScoringFailed):
        ranking_of(ranker, way, "q", ["a"])
    assert ranking_of(ranker, way, "q", ["a"]).usage == Usage(1)


# what is missing, cut and read


@way
def test_missing_documents_are_not_remembered(cache: Cache, way: str) -> None:
    """A document that the ranker dropped is named as missing, every copy of it, and asked for again next time."""
    inner = pointwise(drops=frozenset("b"))
    ranker = cache(inner)
    documents = ["a", "b", "c", "b"]

    for number in range(2):
        ranking = ranking_of(ranker, way, "q", documents)
        assert (ranking, ranking.missing) == (inner.rank("q", documents), (1, 3))
        assert inner.texts_asked[-2] == (["b"] if number else ["a", "b", "c"])
    inner.drops = frozenset()
    assert ranking_of(ranker, way, "q", documents).missing == ()


@way
def test_scores_are_not_made_up(cache: Cache, way: str) -> None:
    """Where a document has no score, `score` raises what the ranker raises, with the caller's own places."""
    ranker = cache(pointwise(drops=frozenset("b")))

    for _ in range(2):
        with pytest.raises(EndpointMisbehaved, match=r"\[1\]"):
            scores_of(ranker, way, "q", ["a", "b"])


def test_truncation_is_exact_where_it_can_be(cache: Cache) -> None:
    """`truncated` is exact for a list that comes again, and where all or none of what was read at once was cut."""
    inner = pointwise(cuts=frozenset("bx"))
    ranker = cache(inner)

    assert ranker.rank("q", ["a", "b", "c"]).truncated == 1
    assert ranker.rank("q", ["c", "a", "b"]).truncated == 1
    assert ranker.rank("q", ["x"]).truncated == 1
    assert ranker.rank("q", ["y"]).truncated == 0
    assert ranker.rank("q", ["x", "y", "a", "b", "c"]).truncated == 2
    assert ranker.rank("q", ["x", "x"]).truncated == 2


def test_what_is_not_counted_is_not_known(cache: Cache) -> None:
    """Where the ranker does not say what it read, neither does the cache; what was not read at all is nothing."""
    ranker = cache(pointwise(counts=None))

    assert ranker.rank("q", ["a"]).usage is None
    assert ranker.rank("q", ["a"]).usage == Usage(0)


# rankers that look at the whole list


@way
@pytest.mark.parametrize("says", [LISTWISE, {}], ids=["listwise", "silent"])
def test_listwise_scores_are_known_by_the_whole_list(cache: Cache, says: dict[str, Any], way: str) -> None:
    """Where scores depend on the list, or nobody says that they do not, only the very same list is known."""
    inner = FakeRanker(says={"identity": "x", **says}, cuts=frozenset("a"))
    ranker = cache(inner)
    ranking_of(ranker, way, "q", ["a", "b"])

    again = ranking_of(ranker, way, "q", ["a", "b"])
    others = [ranking_of(ranker, way, "q", documents) for documents in (["b", "a"], ["a"], ["a", "b", "b"])]

    assert (again.usage, again.truncated) == (Usage(0), 1)
    assert again == inner.rank("q", ["a", "b"])
    assert [other.usage for other in others] == [Usage(2), Usage(1), Usage(3)]


@way
def test_listwise_scores_are_remembered(cache: Cache, way: str) -> None:
    """`score` of a listwise ranker is asked for once."""
    inner = FakeRanker(says=LISTWISE)
    ranker = cache(inner)

    assert scores_of(ranker, way, "q", ["a", "b"]) == scores_of(ranker, way, "q", ["a", "b"])
    assert len(inner.asked) == 1


def test_a_list_with_missing_documents_is_not_remembered(cache: Cache) -> None:
    """A listwise ranking that lacks a document is asked for again."""
    inner = FakeRanker(says=LISTWISE, drops=frozenset("b"))
    ranker = cache(inner)

    assert [ranker.rank("q", ["a", "b"]).missing for _ in range(2)] == [(1,), (1,)]
    assert len(inner.asked) == 2


def test_a_cascade_is_remembered_with_its_gaps(cache: Cache) -> None:
    """Of a cascade the ranking is remembered as it was, without those it left out; `score` is another question."""
    strong = pointwise()
    ranker = cache(cascade(pointwise(model="cheap"), strong, keep=2))
    documents = ["a", "b", "c", "d"]

    first, again = ranker.rank("q", documents), ranker.rank("q", documents)

    assert first == again
    assert (len(again), again.usage) == (2, Usage(0))
    assert ranker.score("q", documents) == strong.score("q", documents)


# stand-ins


@way
@pytest.mark.parametrize("names", [("first", "second"), ("same", "same")])
def test_a_stand_ins_answers_are_not_remembered(cache: Cache, way: str, names: tuple[str, str]) -> None:
    """When the trouble is over the first ranker's scores come back, even if both are called the same."""
    down = [EndpointUnavailable("no")] * 2
    first, second = pointwise(model=names[0], fails=down), pointwise(model=names[1], scorer=lambda *_: 99.0)
    ranker = cache(fallback(first, second, rest_s=0))

    for _ in range(2):
        assert ranking_of(ranker, way, "q", ["a", "b"])[0].score == 99.0
    assert ranking_of(ranker, way, "q", ["a", "b"]) == first.rank("q", ["a", "b"])
    assert ranking_of(ranker, way, "q", ["a", "b"]).usage == Usage(0)


@way
def test_one_list_never_has_scores_of_two_rankers(cache: Cache, way: str) -> None:
    """Where some documents are known and a stand-in answers for the rest, it answers for all of them."""
    first, second = pointwise(model="first"), pointwise(model="second", scorer=lambda *_: 99.0)
    ranker = cache(fallback(first, second))
    ranking_of(ranker, way, "q", ["a"])
    first.fails = [EndpointUnavailable("no")] * 2

    ranking = ranking_of(ranker, way, "q", ["a", "b"])

    assert [hit.score for hit in ranking] == [99.0, 99.0]
    assert ranking.model == "second"


def test_what_is_known_needs_nobody(cache: Cache) -> None:
    """While the endpoint is down, what it answered before is still there."""
    first, second = pointwise(model="first"), pointwise(model="second")
    ranker = cache(fallback(first, second))
    before = ranker.rank("q", ["a", "b"])
    first.fails = [EndpointUnavailable("no")]

    assert ranker.rank("q", ["b", "a"]).model == "first"
    assert before.model == "first"
    assert second.asked == []


def test_a_listwise_stand_in_makes_no_whole_lists(cache: Cache) -> None:
    """The first ranker is pointwise and only its scores are remembered, so they are known one by one."""
    with resift.load() as second:
        ranker = cache(fallback(pointwise(), second))
        ranker.rank("q", ["a"])

        assert ranker.rank("q", ["a", "b"]).usage == Usage(1)


def test_a_cascade_that_a_stand_in_chose_for_is_not_remembered(cache: Cache) -> None:
    """Whose choice it was matters as much as whose scores they are."""
    cheap = pointwise(model="cheap", fails=[EndpointUnavailable("no")])
    strong = pointwise(model="strong")
    ranker = cache(cascade(fallback(cheap, pointwise(model="other")), strong, keep=1))

    ranker.rank("q", ["a", "b"])

    assert ranker.rank("q", ["a", "b"]).usage == Usage(3)
    assert ranker.rank("q", ["a", "b"]).usage == Usage(0)


def test_an_answer_under_another_name_is_not_remembered(cache: Cache) -> None:
    """A wrapper of somebody else's may hide a stand-in, but its ranking says who answered."""
    inner = pointwise(model="meant")
    ranker = cache(inner)
    inner.rank, model = (lambda *args, **options: FakeRanker("other").rank(*args, **options)), inner.model  # type: ignore[method-assign]

    assert [ranker.rank("q", ["a"]).usage for _ in range(2)] == [Usage(1), Usage(1)]
    assert model == "meant"


# properties


TEXTS = st.sampled_from(["panda", "bear", "", "bamboo", "a: b", "\ud800"])
ANY_DOCUMENTS = st.lists(TEXTS | st.fixed_dictionaries({"a": TEXTS}), max_size=7)
CALLS = st.lists(
    st.tuples(
        st.sampled_from(["q", "r"]),
        ANY_DOCUMENTS,
        st.fixed_dictionaries(
            {},
            optional={
                "top_n": st.integers(1, 8),
                "threshold": st.sampled_from([0.0, 0.25, 1.0, 2.0]),
                "instruction": st.sampled_from(["", "i"]),
            },
        ),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CALLS, st.integers(1, 9), st.sampled_from([POINTWISE, LISTWISE, {}]), st.sets(TEXTS, max_size=2))
def test_a_cached_ranker_is_the_ranker(
    tmp_path: Path, calls: list[Any], size: int, says: dict[str, Any], drops: set[str]
) -> None:
    """Whatever is asked in whatever order, and however little is remembered, the answers are the ranker's own."""
    inner = FakeRanker(says=says, drops=frozenset(drops))
    path = tmp_path / "scores.db" if "identity" in says and size % 3 == 0 else None
    ranker = cached(inner, size=size, path=path)

    for query, documents, options in calls:
        expected = inner.rank(query, documents, **options)
        ranking = ranker.rank(query, documents, **options)
        assert (ranking, ranking.missing) == (expected, expected.missing)
        if not expected.missing:
            told = options.get("instruction")
            assert ranker.score(query, documents, instruction=told) == inner.score(query, documents, instruction=told)
    ranker.recipe.close()
    if path is not None:
        path.unlink()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(TEXTS, max_size=7), max_size=6), st.sampled_from([None, 1, 2]))
def test_a_cached_real_ranker_is_the_ranker(lists: list[list[str]], keep: int | None) -> None:
    """So it is for the built-in scorer, whose scores depend on the list, and for a cascade of it."""
    with resift.load() as inner:
        real = inner if keep is None else cascade(inner, inner, keep=keep)
        ranker = cached(real, size=20)
        for documents in lists:
            assert ranker.rank("panda bear", documents) == real.rank("panda bear", documents)
            assert ranker.score("panda bear", documents) == real.score("panda bear", documents)


# in memory


def test_what_was_not_used_for_longest_is_forgotten_first(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """`size` scores are remembered; a score that is used stays."""
    monkeypatch.setattr("resift.compose.database.TOUCH_NS", 0)
    inner = pointwise()
    ranker = cache(inner, size=3)

    for documents in (["a"], ["b"], ["c"], ["a"], ["d"]):
        ranker.rank("q", documents)

    assert [ranker.rank("q", [text]).usage for text in "acd"] == [Usage(0)] * 3
    assert ranker.rank("q", ["b"]).usage == Usage(1)


def test_a_list_weighs_as_many_scores_as_it_has(cache: Cache) -> None:
    """A listwise ranking takes the room of its documents; one that is larger than the cache leaves all in place."""
    ranker = cache(FakeRanker(says=LISTWISE), size=4)

    for documents in ("abc", "d", "abcde"):
        ranker.rank("q", list(documents))
    assert [ranker.rank("q", list(documents)).usage for documents in ("abc", "d")] == [Usage(0)] * 2
    assert ranker.rank("q", list("abcde")).usage == Usage(5)
    ranker.rank("q", ["e"])
    assert ranker.rank("q", list("abc")).usage == Usage(3)


def test_threads_share_a_cache(cache: Cache) -> None:
    """Any number of threads may ask at once; every answer is right."""
    inner = pointwise()
    ranker = cache(inner, size=10)
    wrong: list[Any] = []

    def ask(number: int) -> None:
        for turn in range(25):
            documents = [str((number + turn + at) % 14) for at in range(5)]
            if ranker.rank("q", documents) != FakeRanker().rank("q", documents):
                wrong.append(documents)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_memory_is_not_pickled() -> None:
    """A pickled cache is its ranker and its size; what was remembered stays behind."""
    ranker = cached(pointwise(), size=7)
    ranker.rank("q", ["a"])

    again = pickle.loads(pickle.dumps(ranker))  # noqa: S301 - it is what was just written

    assert repr(again) == "cached(FakeRanker('fake'), size=7)"
    assert again.rank("q", ["a"]).usage == Usage(1)
    assert again.rank("q", ["a"]).usage == Usage(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # it is what is tried
def test_memory_survives_a_fork() -> None:
    """A forked child knows what its parent knew, whoever was using the cache at that moment."""
    ranker = cached(pointwise())
    ranker.rank("q", ["a"])
    store: Any = ranker.recipe
    inside, goes_on = threading.Event(), threading.Event()

    class Keys(list[bytes]):
        """Keys that take their time."""

        def __iter__(self) -> Any:
            inside.set()
            goes_on.wait(10)
            return super().__iter__()

    using = threading.Thread(target=store.store.get, args=(Keys(),))
    using.start()
    assert inside.wait(10)
    child = os.fork()
    if not child:
        os._exit(0 if ranker.rank("q", ["a"]).usage == Usage(0) else 1)
    goes_on.set()
    using.join()
    assert os.waitpid(child, 0)[1] == 0


def test_a_closed_cache_knows_nothing(cache: Cache) -> None:
    """Closing a cache closes its ranker, so calls fail as that ranker's do, known or not."""
    inner = resift.load()
    ranker = cache(inner)
    ranker.rank("panda", ["panda"])
    ranker.close()
    ranker.close()

    with pytest.raises(ScoringFailed, match="closed"):
        ranker.rank("panda", ["panda"])


# what is refused and what is said


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "3", None])
def test_a_size_is_a_whole_number(size: Any) -> None:
    """A `size` that is no whole number from 1 up is refused; the message shows it."""
    with pytest.raises(InvalidInput, match="size must be a whole number from 1 up") as refused:
        cached(FakeRanker(), size=size)
    assert repr(size) in str(refused.value)


def test_it_says_of_itself_what_its_ranker_says(cache: Cache) -> None:
    """To be cached changes nothing about a ranker but its speed."""
    ranker = cache(pointwise(model="m"))

    assert isinstance(ranker, Described)
    assert (ranker.model, ranker.identity, ranker.listwise) == ("m", "p", False)
    assert (ranker.takes_instruction, ranker.max_length) == (True, 512)
    assert cached(FakeRanker()).listwise
    assert not hasattr(cached(FakeRanker()), "identity")
