"""Rankers with equal settings share one loaded model, which goes when the last of them lets go."""

import gc
import json
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from resift.errors import InvalidInput, ModelNotFound, ScoringFailed
from resift.scoring import loading
from resift.scoring.backends.torch.running import TorchBackend
from resift.scoring.loading import LoadedModel
from resift.settings import Settings

QUERY = "what does a panda eat?"
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear", "pandas, pandas"]
CALLERS = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("bert-cross", tmp_path_factory.mktemp("sharing") / "model")


@pytest.fixture
def own(model: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may change."""
    return Path(shutil.copytree(model, tmp_path / "model"))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Return the settings of every model that is really loaded from here on."""
    seen: list[Settings] = []
    load_model = loading.load_model

    def counted(settings: Settings) -> LoadedModel:
        seen.append(settings)
        return load_model(settings)

    monkeypatch.setattr(loading, "load_model", counted)
    return seen


@dataclass
class Traces:
    """What is left of the backends that were opened: weak references to them and to their weights."""

    backends: list["weakref.ref[TorchBackend]"] = field(default_factory=list)
    bodies: list["weakref.ref[Any]"] = field(default_factory=list)


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    """Return what is left, at any time, of the backends that are opened from here on."""
    seen = Traces()
    begin = TorchBackend.__init__

    def seeing(backend: TorchBackend, body: Any, *arguments: Any, **options: Any) -> None:
        begin(backend, body, *arguments, **options)
        seen.backends.append(weakref.ref(backend))
        seen.bodies.append(weakref.ref(body))

    monkeypatch.setattr(TorchBackend, "__init__", seeing)
    return seen


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the name of the thread of each backend that is closed from here on."""
    seen: list[str] = []
    close = TorchBackend.close

    def seeing(backend: TorchBackend) -> None:
        close(backend)
        seen.append(threading.current_thread().name)

    monkeypatch.setattr(TorchBackend, "close", seeing)
    return seen


@pytest.fixture(scope="module", autouse=True)
def _quick_collection(model: Path) -> Iterator[None]:
    """Spare the garbage collector all that was there before, so that it takes no second each time."""
    resift.load(model).close()
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _becomes(true: Callable[[], bool], *, within_s: float = 10.0) -> bool:
    """Wait until something is true that another thread brings about."""
    end = time.monotonic() + within_s
    while not true() and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    return true()


# sharing


def test_equal_settings_share_one_model(model: Path, loads: list[Settings]) -> None:
    """A second ranker with the same settings costs nothing, however the model is named."""
    with resift.load(model) as first, resift.load(str(model)) as second, resift.open(model, device="auto") as third:
        scores = [ranker.score(QUERY, DOCUMENTS) for ranker in (first, second, third)]

    assert len(loads) == 1
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert scores[0] == pytest.approx(scores[2], abs=1e-5)


def test_shared_models_share_their_batches(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rankers that share a model are served by one engine, in one thread."""
    threads: set[int] = set()
    run = TorchBackend.run

    def seeing(backend: TorchBackend, batch: Any) -> Any:
        threads.add(threading.get_ident())
        return run(backend, batch)

    monkeypatch.setattr(TorchBackend, "run", seeing)
    with resift.load(model) as first, resift.load(model, normalize=False) as second:
        first.score(QUERY, DOCUMENTS)
        second.score(QUERY, DOCUMENTS)

    assert len(threads) == 1


def test_what_each_ranker_reads_for_itself_is_not_part_of_the_model(model: Path, loads: list[Settings]) -> None:
    """Rankers that differ in `normalize` or `fields` only share a model, and each keeps its own way."""
    document = [{"title": "Panda", "body": "bamboo"}]
    with (
        resift.load(model) as plain,
        resift.load(model, normalize=False) as raw,
        resift.load(model, fields=["title"]) as titles,
        resift.load(model, local_files_only=True) as offline,
    ):
        assert plain.score(QUERY, document) == pytest.approx(offline.score(QUERY, document), abs=1e-5)
        assert titles.score(QUERY, document) == pytest.approx(plain.score(QUERY, ["title: Panda"]), abs=1e-5)
        assert abs(raw.score(QUERY, document)[0] - plain.score(QUERY, document)[0]) > 0.01

    assert len(loads) == 1


def test_an_instruction_is_not_part_of_the_model(tmp_path: Path, loads: list[Settings]) -> None:
    """Rankers that are told different things share a model, and each is told its own."""
    model = tiny.build("bert-embedding", tmp_path)
    with resift.load(model) as plain, resift.load(model, instruction="find the food: ") as told:
        own = told.score(QUERY, DOCUMENTS)

        assert own != pytest.approx(plain.score(QUERY, DOCUMENTS), abs=1e-5)
        assert own == pytest.approx(plain.score(QUERY, DOCUMENTS, instruction="find the food: "), abs=1e-5)
        assert told.score(QUERY, DOCUMENTS, instruction="") == pytest.approx(plain.score(QUERY, DOCUMENTS), abs=1e-5)
    assert len(loads) == 1


@pytest.mark.parametrize(
    "options", [{"max_length": 16}, {"max_batch_tokens": 64}, {"device": ["cpu"]}, {"like": "BAAI/bge-reranker-base"}]
)
def test_what_the_model_depends_on_is_not_shared(model: Path, loads: list[Settings], options: dict[str, Any]) -> None:
    """Rankers that differ in what a model is loaded with have a model each."""
    with resift.load(model), resift.load(model, **options), resift.load(model, **options):
        pass

    assert len(loads) == 2


def test_a_changed_directory_is_loaded_anew(own: Path, loads: list[Settings]) -> None:
    """A model that was saved again since is not the model that is already loaded."""
    with resift.load(own) as before:
        expected = before.score(QUERY, DOCUMENTS)
        tiny.build("bert-cross", own, seed=1)
        with resift.load(own) as after, resift.load(own) as again:
            changed = after.score(QUERY, DOCUMENTS)

            assert changed != pytest.approx(expected, abs=1e-3)
            assert again.score(QUERY, DOCUMENTS) == pytest.approx(changed, abs=1e-5)
        assert before.score(QUERY, DOCUMENTS) == pytest.approx(expected, abs=1e-5)
    assert len(loads) == 2


def test_a_changed_module_is_loaded_anew(tmp_path: Path, loads: list[Settings]) -> None:
    """A change in a folder inside the directory is a change of the model."""
    model = tiny.build("bert-embedding", tmp_path, pooling="cls")
    pooling = model / "1_Pooling" / "config.json"
    with resift.load(model) as before:
        saved = json.loads(pooling.read_text())
        swapped = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
        pooling.write_text(json.dumps(saved | swapped, indent=2) + "\n")
        with resift.load(model) as after:
            assert after.score(QUERY, DOCUMENTS) != pytest.approx(before.score(QUERY, DOCUMENTS), abs=1e-3)
    assert len(loads) == 2


# letting go


def test_closing_one_leaves_the_other(model: Path, closed: list[str]) -> None:
    """A ranker that is closed takes nothing from another that shares its model, however often it is closed."""
    first, second = resift.load(model), resift.load(model)
    expected = second.score(QUERY, DOCUMENTS)
    for _ in range(3):
        first.close()

    assert closed == []
    assert second.score(QUERY, DOCUMENTS) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ScoringFailed):
        first.score(QUERY, DOCUMENTS)
    second.close()


def test_closing_the_last_frees_the_model(model: Path, closed: list[str], traces: Traces) -> None:
    """The last to close has freed the device when `close` returns, and nothing of the backend stays."""
    first, second = resift.load(model), resift.load(model)
    first.score(QUERY, DOCUMENTS)
    first.close()
    second.close()

    assert closed == ["resift-engine"]
    del first, second
    assert _becomes(lambda: traces.backends[0]() is None)


def test_a_closed_ranker_holds_no_weights(model: Path, traces: Traces) -> None:
    """Memory is given back by closing, not by forgetting: a closed ranker may be kept."""
    ranker = resift.load(model)
    ranker.score(QUERY, DOCUMENTS)
    assert traces.bodies[0]() is not None
    ranker.close()

    assert _becomes(lambda: traces.bodies[0]() is None)
    assert ranker.model == str(model)


def test_a_forgotten_ranker_lets_go(model: Path, closed: list[str], traces: Traces) -> None:
    """A ranker that nobody closed frees its model when it is collected."""
    ranker = resift.load(model)
    ranker.score(QUERY, DOCUMENTS)
    del ranker
    gc.collect()

    assert _becomes(lambda: closed == ["resift-engine"])
    assert _becomes(lambda: traces.backends[0]() is None)


def test_a_forgotten_ranker_leaves_the_others(model: Path, closed: list[str]) -> None:
    """Forgetting a ranker takes nothing from another that shares its model."""
    with resift.load(model) as kept:
        forgotten = resift.load(model)
        forgotten.close()
        del forgotten
        resift.load(model).score(QUERY, DOCUMENTS)
        gc.collect()

        assert len(kept.score(QUERY, DOCUMENTS)) == 4
        assert closed == []


def test_a_model_that_was_let_go_is_loaded_again(model: Path, loads: list[Settings]) -> None:
    """After the last ranker was closed, the next one loads."""
    for _ in range(2):
        with resift.load(model) as ranker:
            assert len(ranker.score(QUERY, DOCUMENTS)) == 4

    assert len(loads) == 2


# many at once, and failures


def _at_once(work: Callable[[], Any]) -> list[Any]:
    """Do the same in many threads at the same moment; return what each returned or raised."""
    start = threading.Barrier(CALLERS)

    def one() -> Any:
        start.wait(10)
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - the caller looks at it
            return error

    with ThreadPoolExecutor(CALLERS) as pool:
        return [future.result(timeout=60) for future in [pool.submit(one) for _ in range(CALLERS)]]


def test_threads_that_load_at_once_load_once(model: Path, loads: list[Settings], closed: list[str]) -> None:
    """Eight threads that ask for one model at the same moment wait for one load and share it."""
    rankers = _at_once(lambda: resift.load(model))
    expected = rankers[0].score(QUERY, DOCUMENTS)

    assert len(loads) == 1
    assert all(ranker.score(QUERY, DOCUMENTS) == pytest.approx(expected, abs=1e-5) for ranker in rankers)
    for ranker in rankers:
        ranker.close()
    assert len(closed) == 1


def test_threads_that_come_and_go_never_meet_a_closed_model(model: Path, closed: list[str]) -> None:
    """A model that one thread lets go while another asks for it is either kept or loaded again."""

    def work() -> int:
        count = 0
        for _ in range(10):
            with resift.load(model, max_batch_tokens=256) as ranker:
                count += len(ranker.score(QUERY, DOCUMENTS))
        return count

    assert _at_once(work) == [40] * CALLERS
    assert len(closed) >= 1


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Make each load fail with the next of these errors, and succeed when there are none."""
    errors: list[BaseException] = []
    load_model = loading.load_model

    def failing(settings: Settings) -> LoadedModel:
        if errors:
            raise errors.pop()
        return load_model(settings)

    monkeypatch.setattr(loading, "load_model", failing)
    return errors


@pytest.mark.parametrize("error", [ModelNotFound("gone"), MemoryError("full"), KeyboardInterrupt()])
def test_a_failed_load_can_be_tried_again(
    model: Path, broken: list[BaseException], closed: list[str], error: BaseException
) -> None:
    """A load that fails or is interrupted leaves nothing behind; the next attempt begins anew."""
    broken.append(error)

    with pytest.raises(type(error)):
        resift.load(model)
    with resift.load(model) as ranker:
        assert len(ranker.score(QUERY, DOCUMENTS)) == 4
    assert len(closed) == 1


def test_threads_that_fail_at_once_fail_apart(model: Path, broken: list[BaseException], closed: list[str]) -> None:
    """A load that fails fails for one; those who waited for it try for themselves."""
    broken.extend([ModelNotFound("gone"), ModelNotFound("gone")])

    outcomes = _at_once(lambda: resift.load(model))
    rankers = [outcome for outcome in outcomes if isinstance(outcome, resift.LocalRanker)]

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LocalRanker"] * 6 + ["ModelNotFound"] * 2
    for ranker in rankers:
        ranker.close()
    assert len(closed) >= 1
    with resift.load(model) as ranker:
        assert len(ranker.score(QUERY, DOCUMENTS)) == 4


def test_a_repaired_model_loads(own: Path) -> None:
    """A model whose files were incomplete loads as soon as they are whole."""
    weights = (own / "model.safetensors").read_bytes()
    (own / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound):
        resift.load(own)
    (own / "model.safetensors").write_bytes(weights)

    with resift.load(own) as ranker:
        assert len(ranker.score(QUERY, DOCUMENTS)) == 4


def test_a_refused_ranker_holds_nothing(model: Path, closed: list[str]) -> None:
    """Settings that do not suit the model are refused after loading, and the model is let go."""
    with pytest.raises(InvalidInput):
        resift.load(model, instruction="find animals")

    assert len(closed) == 1
