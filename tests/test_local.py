"""The ranker whose model runs here: loading it, what its rankings carry, closing it, taking it elsewhere."""

import asyncio
import copy
import json
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from resift import LocalRanker
from resift.errors import InvalidInput, ModelNotFound, ScoringFailed
from resift.scoring.backends import Outputs
from resift.scoring.backends.torch.running import TorchBackend
from resift.scoring.planning import Batch

QUERY = "what does a panda eat?"
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear", "pandas, pandas"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("bert-cross", tmp_path_factory.mktemp("local") / "model")


@pytest.fixture(scope="session", params=["lexical", "cross-encoder"])
def name(request: pytest.FixtureRequest) -> str:
    return "lexical" if request.param == "lexical" else str(request.getfixturevalue("model"))


@pytest.fixture
def ranker(name: str) -> Iterator[LocalRanker]:
    with resift.load(name) as ranker:
        yield ranker


# loading


def test_the_built_in_scorer_is_the_default() -> None:
    """`load()`, `load(None)` and `load("lexical")` are the same scorer."""
    for arguments in ((), (None,), ("lexical",)):
        for door in (resift.load, resift.open):
            with door(*arguments) as ranker:
                assert ranker.model == "lexical"
                assert ranker.rank("bamboo", DOCUMENTS)[0].index == 0


def test_a_directory_is_named_by_text_or_path(model: Path) -> None:
    """A path object and its text load the same model, and the ranker is called by the text."""
    with resift.load(model) as first, resift.load(str(model)) as second, resift.open(model) as third:
        assert first.model == second.model == third.model == str(model)
        assert first.score(QUERY, DOCUMENTS) == pytest.approx(second.score(QUERY, DOCUMENTS), abs=1e-5)


def test_a_path_may_begin_at_home(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory may be named from the home directory."""
    monkeypatch.setenv("HOME", str(model.parent))

    with resift.load(f"~/{model.name}") as ranker:
        assert len(ranker.score(QUERY, DOCUMENTS)) == 4


@pytest.mark.parametrize("missing", ["/no/such/model", "./nothing", "~nobody-lives-here/model"])
def test_a_missing_directory_is_named(missing: str) -> None:
    """A directory that is not there, or the home of nobody, is an error that shows the name."""
    with pytest.raises(ModelNotFound) as refused:
        resift.load(missing)
    assert repr(missing) in str(refused.value)


@pytest.mark.parametrize(
    "impossible", ["x" * 5_000, "a/b" + "c" * 300, "org/\udc00", "org/na\0me", "http://host/model"]
)
def test_a_name_that_cannot_be_is_refused(impossible: str) -> None:
    """A name that neither a directory nor a hub model can have is an error of resift's, not of the file system's."""
    with pytest.raises((InvalidInput, ModelNotFound)):
        resift.load(impossible, local_files_only=True)


def test_an_unknown_keyword_of_load_is_a_type_error() -> None:
    """`load` names its arguments, so that Python and type checkers find a misspelt one."""
    with pytest.raises(TypeError, match="devise"):
        resift.load(devise="cpu")  # type: ignore[call-arg]


def test_an_unknown_option_of_open_is_corrected() -> None:
    """`open` answers a misspelt option with the one that was meant, and a strange one with all there are."""
    with pytest.raises(InvalidInput, match="no option 'devise'; did you mean 'device'"):
        resift.open(devise="cpu")
    with pytest.raises(InvalidInput, match=r"no option 'zzz'; there are .*device.*max_length"):
        resift.open("lexical", zzz=1)


def test_open_takes_every_option_of_load(model: Path) -> None:
    """`open` loads with the options that it is given."""
    with resift.open(model, max_length=8, normalize=False, fields=["title"], device=["cpu"]) as ranker:
        ranking = ranker.rank(QUERY, [{"title": "panda " * 20}])

    assert ranking.truncated == 1


def test_normalize_needs_bounds(tmp_path: Path) -> None:
    """Scores without bounds cannot be brought into [0, 1]; asking for it is refused, and the reason given."""
    model = tiny.build("bert-embedding", tmp_path, normalize=False)
    saved = model / "config_sentence_transformers.json"
    saved.write_text(json.dumps(json.loads(saved.read_text()) | {"similarity_fn_name": "dot"}))

    with pytest.raises(InvalidInput, match="normalize=True"):
        resift.load(model, normalize=True)
    with resift.load(model) as ranker:
        assert len(ranker.score(QUERY, DOCUMENTS)) == 4


# what a ranking carries


def test_a_ranking_tells_what_happened(ranker: LocalRanker) -> None:
    """A ranking says which model ranked, what was cut, what was read and how long it took; nothing is missing."""
    ranking = ranker.rank(QUERY, [*DOCUMENTS, "bamboo " * 600])

    assert ranking.model == ranker.model
    assert ranking.truncated == (ranker.model != "lexical")
    assert ranking.usage is not None
    assert ranking.usage.tokens > 600 - 512 * ranking.truncated
    assert 0 < ranking.elapsed_s < 60
    assert ranking.missing == ()


def test_a_query_that_was_cut_is_no_document_that_was_cut(model: Path) -> None:
    """Documents that the model read to their end do not count as cut, however long the query was."""
    with resift.load(model) as ranker:
        ranking = ranker.rank(tiny.LONG_QUERY * 3, ["panda", "bamboo " * 600, "A bear."])

    assert ranking.truncated == 1


def test_usage_counts_what_the_model_reads(model: Path) -> None:
    """The tokens of a call are all that the model was given: the query once per document, and what frames it."""
    with resift.load(model) as ranker:
        first, second, both = (
            ranker.rank("panda", texts).usage for texts in (["bear"], ["bamboo"], ["bear", "bamboo"])
        )

    assert first is not None
    assert second is not None
    assert both == resift.Usage(first.tokens + second.tokens)
    assert first.tokens > 3 + 1


def test_documents_come_back_as_they_were(ranker: LocalRanker) -> None:
    """`hit.document` is the caller's own object, and `hit.index` its position."""
    documents: list[resift.Document] = [{"text": text} for text in DOCUMENTS]

    ranking = ranker.rank(QUERY, documents)

    assert sorted(hit.index for hit in ranking) == [0, 1, 2, 3]
    assert all(hit.document is documents[hit.index] for hit in ranking)


def test_score_and_rank_agree(ranker: LocalRanker) -> None:
    """A ranking holds the numbers that `score` returns, sorted."""
    scores = ranker.score(QUERY, DOCUMENTS)
    ranking = ranker.rank(QUERY, DOCUMENTS)

    assert [hit.score for hit in ranking] == sorted((hit.score for hit in ranking), reverse=True)
    assert {hit.index: hit.score for hit in ranking} == pytest.approx(dict(enumerate(scores)), abs=1e-5)
    assert all(type(hit.score) is float for hit in ranking)
    assert all(type(score) is float for score in scores)


def test_a_ranker_prints_as_its_model(ranker: LocalRanker) -> None:
    """A ranker shows the name of its model."""
    assert repr(ranker) == f"LocalRanker({ranker.model!r})"


# closing


async def _drained(ranker: LocalRanker) -> list[resift.Ranking]:
    return [ranking async for ranking in ranker.arank_many([(QUERY, DOCUMENTS)])]


USES: dict[str, Callable[[LocalRanker], object]] = {
    "score": lambda ranker: ranker.score(QUERY, DOCUMENTS),
    "rank": lambda ranker: ranker.rank(QUERY, DOCUMENTS),
    "rank nothing": lambda ranker: ranker.rank(QUERY, []),
    "rank_many": lambda ranker: list(ranker.rank_many([(QUERY, DOCUMENTS)])),
    "ascore": lambda ranker: asyncio.run(ranker.ascore(QUERY, DOCUMENTS)),
    "arank": lambda ranker: asyncio.run(ranker.arank(QUERY, DOCUMENTS)),
    "arank_many": lambda ranker: asyncio.run(_drained(ranker)),
}


@pytest.mark.parametrize("use", USES)
def test_a_closed_ranker_says_so(name: str, use: str) -> None:
    """Whoever uses a closed ranker is told that it is closed, and what to do."""
    ranker = resift.load(name)
    USES[use](ranker)
    ranker.close()

    with pytest.raises(ScoringFailed, match="closed; load the model again"):
        USES[use](ranker)


def test_closing_twice_changes_nothing(name: str) -> None:
    """A ranker may be closed again, in either way, and even before it was used."""
    ranker = resift.load(name)
    ranker.close()
    ranker.close()
    asyncio.run(ranker.aclose())


def test_a_with_block_closes(name: str) -> None:
    """A `with` block gives its ranker and closes it at the end, whatever happens inside."""
    with resift.load(name) as ranker:
        assert ranker.rank(QUERY, DOCUMENTS)
    with pytest.raises(ScoringFailed):
        ranker.rank(QUERY, DOCUMENTS)
    with pytest.raises(LookupError), resift.load(name) as ranker:
        raise LookupError
    with pytest.raises(ScoringFailed):
        ranker.rank(QUERY, DOCUMENTS)


async def test_an_async_with_block_closes(name: str) -> None:
    """An `async with` block does the same."""
    async with resift.load(name) as ranker:
        assert await ranker.arank(QUERY, DOCUMENTS)
    with pytest.raises(ScoringFailed):
        await ranker.arank(QUERY, DOCUMENTS)


def test_what_was_accepted_is_answered(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for calls that other threads have begun, and each gets its scores."""
    begun, goes_on, run = threading.Event(), threading.Event(), TorchBackend.run

    def slow(backend: TorchBackend, batch: Batch) -> Outputs:
        begun.set()
        goes_on.wait(10)
        return run(backend, batch)

    ranker = resift.load(model)
    expected = ranker.score(QUERY, DOCUMENTS)
    monkeypatch.setattr(TorchBackend, "run", slow)
    scores: list[float] = []
    caller = threading.Thread(target=lambda: scores.extend(ranker.score(QUERY, DOCUMENTS)))
    caller.start()
    assert begun.wait(10)
    threading.Timer(0.1, goes_on.set).start()
    ranker.close()
    caller.join(10)

    assert scores == pytest.approx(expected, abs=1e-5)


def test_an_interrupted_caller_leaves_no_work(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a call at once, and what it had not yet run is never run."""
    batches: list[Batch] = []
    begun, goes_on, run = threading.Event(), threading.Event(), TorchBackend.run

    def slow(backend: TorchBackend, batch: Batch) -> Outputs:
        batches.append(batch)
        begun.set()
        goes_on.wait(10)
        return run(backend, batch)

    def interrupt() -> None:
        begun.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)  # no other thread may take it

    monkeypatch.setattr(TorchBackend, "run", slow)
    usual = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with resift.load(model, max_batch_tokens=64) as ranker:
            threading.Thread(target=interrupt).start()
            with pytest.raises(KeyboardInterrupt):
                ranker.rank(QUERY, [f"panda {number} " * 20 for number in range(20)])
            goes_on.set()
    finally:
        signal.signal(signal.SIGUSR1, usual)

    assert len(batches) == 1


# elsewhere


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda ranker: pickle.loads(pickle.dumps(ranker))])  # noqa: S301 - it is what was just written
def test_a_ranker_can_be_copied_and_pickled(ranker: LocalRanker, again: Any) -> None:
    """A ranker that went through a pickle or a copy ranks alike, and lives on its own."""
    with again(ranker) as other:
        assert other is not ranker
        assert repr(other) == repr(ranker)
        assert other.score(QUERY, DOCUMENTS) == pytest.approx(ranker.score(QUERY, DOCUMENTS), abs=1e-5)

    assert len(ranker.score(QUERY, DOCUMENTS)) == 4


def test_a_pickle_keeps_every_setting(model: Path) -> None:
    """How a ranker was loaded goes along with it."""
    documents = [{"title": "panda " * 30, "body": "x"}, {"body": "y"}]
    with resift.load(model, fields=["title"], normalize=False, max_length=16) as ranker:
        pickled, expected = pickle.dumps(ranker), ranker.rank(QUERY, documents)
    with pickle.loads(pickled) as other:  # noqa: S301 - it is what was just written
        ranking = other.rank(QUERY, documents)

    assert ranking.truncated == expected.truncated == 1
    assert [hit.score for hit in ranking] == pytest.approx([hit.score for hit in expected], abs=1e-5)


def test_a_ranker_works_in_another_process(ranker: LocalRanker) -> None:
    """A ranker that is handed to a new process loads there and gives the same scores."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        scores = pool.submit(methodcaller("score", QUERY, DOCUMENTS), ranker).result(timeout=60)

    assert scores == pytest.approx(ranker.score(QUERY, DOCUMENTS), abs=1e-5)
