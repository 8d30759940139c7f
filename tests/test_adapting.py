"""
What the reranking component of every framework stands on.

What a framework's users see of it is promised by the contract of adapters, in tests/test_adapting_contract.py.
"""

import asyncio
import copy
import logging
import math
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from resift.adapting import Place, Placement, Reranker
from resift.testing import FakeRanker
from serving import serving

QUERY = "what does a panda eat?"
DOCUMENTS = ["Paris is in France.", "A panda will eat bamboo all day.", "a panda"]
KEY = "sk-adapting-0123456789"
NOWHERE = "http://127.0.0.1:9/v1"

WAYS = pytest.mark.parametrize("way", ["rank", "arank"])


def _placement(
    reranker: Reranker, way: str, documents: Any = DOCUMENTS, *, query: str = QUERY, **cut: Any
) -> Placement:
    if way == "rank":
        return reranker.rank(query, documents, **cut)
    return asyncio.run(reranker.arank(query, documents, **cut))


@WAYS
def test_the_order_is_that_of_plain_resift(way: str) -> None:
    """Places are the ranking's hits, with the ranking's own scores."""
    ranking = resift.load().rank(QUERY, DOCUMENTS)

    placement = _placement(Reranker("lexical"), way)

    assert placement.places == tuple(Place(hit.index, hit.score) for hit in ranking)
    assert (placement.model, placement.error, placement.truncated) == ("lexical", None, 0)


@WAYS
def test_nothing_is_opened_for_no_documents(way: str, tmp_path: Path) -> None:
    """Where there is nothing to rank the model is not loaded, and a blank query is nobody's problem."""
    reranker = Reranker(tmp_path / "nowhere")

    assert _placement(reranker, way, [], query=" ").places == ()
    with pytest.raises(resift.ModelNotFound):
        _placement(reranker, way)


@WAYS
@pytest.mark.parametrize("on_error", ["raise", "pass"])
def test_what_cannot_mean_anything_is_refused(way: str, on_error: Any) -> None:
    """A blank query, a `top_n` below 1, a threshold that is no number are mistakes, whoever wants to pass errors."""
    reranker = Reranker("lexical", on_error=on_error)

    for wrong in ({"query": " "}, {"top_n": 0}, {"top_n": -1}, {"threshold": math.nan}):
        with pytest.raises(resift.InvalidInput):
            _placement(reranker, way, **wrong)
    with pytest.raises(resift.InvalidInput, match="documents must be a list"):
        _placement(reranker, way, "one text")


@WAYS
def test_failures_pass_documents_on_when_told_to(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """With `on_error="pass"` the first `top_n` documents pass as they came; the log says why, without a text."""
    error = resift.EndpointUnavailable("it is down", status=503)
    reranker = Reranker(ranker=FakeRanker(fails=[error]), on_error="pass")

    with caplog.at_level(logging.WARNING, logger="resift"):
        placement = _placement(reranker, way, top_n=2, threshold=0.5)

    assert placement == Placement((Place(0, None), Place(1, None)), "fake", error=error)
    assert "EndpointUnavailable: it is down" in caplog.text
    assert not any(text in caplog.text for text in (QUERY, *DOCUMENTS))
    assert _placement(reranker, way).error is None


@WAYS
def test_a_strangers_words_stay_out_of_the_log(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """What a caller's own ranker raises may hold texts: the log has its type only."""
    reranker = Reranker(ranker=FakeRanker(fails=[RuntimeError(f"cannot rank {DOCUMENTS[0]}")]), on_error="pass")

    error = _placement(reranker, way).error

    assert isinstance(error, RuntimeError)
    assert error.__traceback__ is None  # nor does the error keep the frames that hold them
    assert "RuntimeError" in caplog.text
    assert DOCUMENTS[0] not in caplog.text


def test_many_queries_share_one_go() -> None:
    """Scores of many queries come in input order; those without documents cost nothing."""
    ranker = FakeRanker(scorer=lambda query, text, _told: float(f"{query}.{text}"))
    reranker = Reranker(ranker=ranker)

    assert reranker.score_many([("1", ["2", "1"]), ("3", []), ("2", ["5"])]) == [[1.2, 1.1], [], [2.5]]
    assert reranker.score_many([("1", [])]) == [[]]
    assert reranker.score_many([]) == []
    assert len(ranker.asked) == 2


@pytest.mark.parametrize("renumber", [lambda index: 0, lambda index: index + 1, lambda index: index - 1])
def test_many_queries_get_no_score_of_anothers(renumber: Callable[[int], int]) -> None:
    """A ranker that names a document twice, or one that nobody handed in, has failed."""
    with pytest.raises(resift.ScoringFailed, match="named a document twice, or one that is not among the 3"):
        Reranker(ranker=FakeRanker(renumber=renumber)).score_many([(QUERY, DOCUMENTS)])


def test_many_queries_have_every_score_or_none() -> None:
    """A document without a score and a blank query are raised, whatever passes: nothing stands for a score."""
    reranker = Reranker(ranker=FakeRanker(drops=frozenset({"b"})), on_error="pass")

    with pytest.raises(resift.EndpointMisbehaved, match="1 of 2 documents"):
        reranker.score_many([(QUERY, ["a", "b"])])
    with pytest.raises(resift.InvalidInput):
        Reranker("lexical").score_many([(" ", ["a"])])


def test_the_meaning_of_scores_can_change_per_call(tmp_path: Path) -> None:
    """`normalize` asks the same loaded model for another scale; a given ranker has its own."""
    reranker = Reranker(tiny.build("bert-cross", tmp_path / "model"), device="cpu", normalize=False)

    (raw,), (bounded,) = (reranker.rank("panda", ["bamboo"], normalize=wish).places for wish in (None, True))

    assert raw.score is not None
    assert bounded.score == pytest.approx(1 / (1 + math.exp(-raw.score)), abs=1e-6)
    with pytest.raises(resift.InvalidInput, match="given ranker"):
        Reranker(ranker=resift.load()).rank(QUERY, DOCUMENTS, normalize=True)
    reranker.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ranker": 3}, "ranker must be a Ranker"),
        ({"ranker": FakeRanker}, "ranker must be a Ranker"),
        ({"ranker": FakeRanker(), "model": "m", "device": "cpu"}, "leave out device, model"),
        ({"on_error": "ignore"}, "on_error='ignore' is not known"),
        ({"api_key": KEY}, "for endpoints only"),
        ({"devise": "cpu"}, "did you mean 'device'"),
        ({"base_url": "nonsense"}, "base_url"),
    ],
)
def test_settings_are_checked_when_it_is_made(settings: dict[str, Any], said: str) -> None:
    """What cannot mean anything is said at once, and no key is in the words."""
    with pytest.raises(resift.InvalidInput, match=said) as raised:
        Reranker(**settings)
    assert KEY not in str(raised.value)


def test_the_model_is_loaded_on_demand_and_given_back(tmp_path: Path) -> None:
    """`warm_up` loads, `close` gives back, again is fine, and a later call loads anew."""
    reranker = Reranker(tiny.build("bert-cross", tmp_path / "model"), device="cpu")
    before = reranker.rank(QUERY, DOCUMENTS)

    reranker.close()
    reranker.close()
    asyncio.run(reranker.aclose())
    reranker.warm_up()
    asyncio.run(reranker.awarm_up())

    assert reranker.rank(QUERY, DOCUMENTS) == before
    reranker.close()


@WAYS
@pytest.mark.parametrize("kind", [resift.LocalRanker, resift.RemoteRanker])
def test_closing_disturbs_no_call(way: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that has the ranker in hand when somebody closes it is answered by the one that is opened next."""
    begin, begun = vars(kind)["_prepare"], []  # the moment between having a ranker and asking it

    def begin_and_close(ranker: Any, call: Any, instruction: str | None) -> None:
        begun.append(ranker)
        if len(begun) == 1:
            reranker.close()
        begin(ranker, call, instruction)

    with serving(FakeRanker("fake")) as server:
        reranker = Reranker("fake", server.url) if kind is resift.RemoteRanker else Reranker("lexical")
        with monkeypatch.context() as patched:
            patched.setattr(kind, "_prepare", begin_and_close)
            asked = _placement(reranker, way).places

        assert asked == _placement(reranker, way).places
        reranker.close()
    assert len({id(ranker) for ranker in begun if type(ranker) is kind}) == 2


def test_a_given_ranker_is_its_owners_to_close() -> None:
    """A ranker that the caller made stays open when the reranker is closed."""
    ranker = FakeRanker()
    Reranker(ranker=ranker).close()

    assert not ranker.closed


def test_copies_fail_as_the_original_does() -> None:
    """Both a pickle and a deep copy keep the model's name and what is done when it fails."""
    reranker = Reranker("m", NOWHERE, api_key="", on_error="pass")

    for copied in (copy.deepcopy(reranker), pickle.loads(pickle.dumps(reranker))):  # noqa: S301 - our own
        assert (copied.model, copied.on_error) == ("m", "pass")


def test_a_copy_shares_a_given_ranker() -> None:
    """A caller's own ranker is one thing, however often what holds it is copied."""
    ranker = FakeRanker()

    copy.deepcopy(Reranker(ranker=ranker)).rank(QUERY, DOCUMENTS)

    assert len(ranker.asked) == 1


async def test_cancelling_reaches_the_ranker() -> None:
    """Whoever stops waiting is not answered, and neither passed to nor logged as a failure."""
    ranker = FakeRanker(gate=threading.Event())
    call = asyncio.create_task(Reranker(ranker=ranker, on_error="pass").arank(QUERY, DOCUMENTS))
    async with asyncio.timeout(10):
        while not ranker.at_once:  # noqa: ASYNC110 - the fake has no event to wait for
            await asyncio.sleep(0.001)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert ranker.cancelled == 1
