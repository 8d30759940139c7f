"""Forks, garbage and the end of the interpreter: whatever is held by whom, nothing waits for ever and nothing stays."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import resift
from resift.forking import Lock
from resift.scoring import loading
from resift.scoring.engine import Engine
from resift.scoring.families.lexical import Lexical
from resift.scoring.families.vectors import VectorCache
from resift.scoring.loading import LoadedModel, SharedModels
from resift.settings import Settings
from test_engine import PATIENCE_S, FakeBackend

QUERY = "what does a panda eat?"
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear"]
NO_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")


def _run_scene(scene: str, *arguments: object, says: str = "") -> None:
    """Play a scene in a Python of its own, which must end soon, in peace, and say nothing else."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, scene, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, says, "")


def _in_child(work: Callable[[], None]) -> None:
    """Fork, do the work in the child, and expect that it ends well and in time."""
    if not (child := os.fork()):
        signal.alarm(int(PATIENCE_S))
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a child must not go on as if it were its parent
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, "the child did not end well"


@contextmanager
def _another_thread(hold: Callable[[threading.Event, threading.Event], None]) -> Iterator[None]:
    """Let another thread hold something for as long as this lasts: it says when it does, and is told when to stop."""
    holding, enough = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold, args=(holding, enough), daemon=True)
    thread.start()
    try:
        assert holding.wait(PATIENCE_S), "the thread does not get hold of it"
        yield
    finally:
        enough.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the thread does not let go"


def _holding(lock: Any) -> "Callable[[threading.Event, threading.Event], None]":
    def hold(holding: threading.Event, enough: threading.Event) -> None:
        with lock:
            holding.set()
            enough.wait(PATIENCE_S)

    return hold


# forks


def test_a_lock_admits_one_at_a_time() -> None:
    """Whoever comes second waits until the first has left, also by an error."""
    lock, entered = Lock(), threading.Event()

    def enter() -> None:
        with lock:
            entered.set()

    with _another_thread(_holding(lock)):
        late = threading.Thread(target=enter, daemon=True)
        late.start()
        assert not entered.wait(0.05)
    late.join(PATIENCE_S)
    assert entered.is_set()
    with pytest.raises(KeyError), lock:
        raise KeyError
    with lock:
        pass


@NO_FORK
def test_a_lock_is_free_in_a_child() -> None:
    """A lock that another thread holds at the fork is free in the child, and stays held in the parent."""
    _run_scene("fork_while_locked")


@NO_FORK
def test_a_child_may_leave_what_it_was_forked_in() -> None:
    """A child forked by the very thread that holds a lock leaves the block as its parent does."""
    _run_scene("fork_inside_a_lock")


@NO_FORK
def test_a_child_forked_amid_loading_and_scoring_works(tmp_path: Path) -> None:
    """A child forked while others keep a vector, or build a model, ranks with the model it has and loads another."""
    import tiny

    embedding = tiny.build("bert-embedding", tmp_path / "embedding")
    other = tiny.build("distilbert-cross", tmp_path / "other")
    _run_scene("fork_amid_work", embedding, other)


def fork_while_locked() -> None:
    """Fork while another thread holds a lock, and while several wait for it."""
    lock = Lock()

    def take() -> None:
        for _ in range(3):
            with lock:
                pass

    with _another_thread(_holding(lock)):
        waiting = threading.Thread(target=take, daemon=True)
        waiting.start()
        for _ in range(3):
            _in_child(take)
        waiting.join(0.05)
        assert waiting.is_alive(), "the parent's lock is not held any more"
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()


def fork_inside_a_lock() -> None:
    """Fork inside the block; both leave it, and can enter it again."""
    lock, code = Lock(), 1
    try:
        with lock:
            child = os.fork()
        with lock:
            code = 0
    except BaseException:  # noqa: BLE001 - a child must not go on as if it were its parent
        traceback.print_exc()
    if not child:
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, "the child did not leave the block"


def fork_amid_work(embedding: str, other: str) -> None:
    """Fork while one thread holds the lock of the vectors, and then while one builds a model."""
    import transformers

    caches: list[VectorCache] = []
    begin = VectorCache.__init__

    def seeing(cache: VectorCache, *arguments: Any) -> None:
        begin(cache, *arguments)
        caches.append(cache)

    setattr(VectorCache, "__init__", seeing)  # noqa: B010 - a type checker allows no other way
    ranker = resift.load(embedding, device="cpu")
    expected = ranker.score(QUERY, DOCUMENTS)
    (cache,) = caches

    def score() -> None:
        assert ranker.score(QUERY, DOCUMENTS) == expected
        assert len(ranker.score(QUERY, ["something new"])) == 1

    with _another_thread(_holding(vars(cache)["_lock"])):
        _in_child(score)
    score()

    resift.load(other, device="cpu").close()  # so that no child has to import what that needs
    build = transformers.AutoModelForSequenceClassification.from_pretrained

    def load() -> None:
        setattr(transformers.AutoModelForSequenceClassification, "from_pretrained", build)  # noqa: B010 - the same
        with resift.load(other, device="cpu") as loaded:
            assert len(loaded.score(QUERY, DOCUMENTS)) == 3
        score()

    def build_slowly(holding: threading.Event, enough: threading.Event) -> None:
        def waiting(*given: Any, **options: Any) -> Any:
            holding.set()
            enough.wait(PATIENCE_S)
            return build(*given, **options)

        setattr(transformers.AutoModelForSequenceClassification, "from_pretrained", waiting)  # noqa: B010 - the same
        resift.load(other, device="cpu").close()

    with _another_thread(build_slowly):
        _in_child(load)
    load()


# garbage


@pytest.fixture(scope="module")
def _quick_collection() -> Iterator[None]:
    """Spare the garbage collector all that was there before, so that it takes no second each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def loads(_quick_collection: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Engine, FakeBackend]]]:
    """Load models that are an engine around a fake device each, return these, and collect nothing by chance."""
    seen: list[tuple[Engine, FakeBackend]] = []

    def load_model(settings: Settings) -> LoadedModel:
        backend = FakeBackend()
        seen.append((Engine([backend]), backend))
        return LoadedModel(Lexical(), seen[-1][0])

    monkeypatch.setattr(loading, "load_model", load_model)
    monkeypatch.setattr(loading, "_SHARED", SharedModels())
    gc.disable()
    yield seen
    gc.enable()


class _Owner:
    """Something that holds a ranker and itself, so that only the garbage collector ends it."""

    def __init__(self, ranker: resift.LocalRanker) -> None:
        self.ranker = ranker
        self.itself = self


def _start(engine: Engine) -> None:
    """Begin the engine's threads, which then wait for work."""
    engine.submit([]).result(PATIENCE_S)


def _collect() -> None:
    """Collect garbage in a thread that may get stuck in it, but must not."""
    collector = threading.Thread(target=gc.collect, daemon=True)
    collector.start()
    collector.join(5)
    assert not collector.is_alive(), "the garbage collector waits for a lock"


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("held", [(), ("models",), ("engine",), ("models", "engine")], ids="+".join)
def test_garbage_waits_for_no_lock(
    held: tuple[str, ...], *, used: bool, loads: list[tuple[Engine, FakeBackend]]
) -> None:
    """A ranker in a reference cycle is collected whoever holds what, and its model is freed by the next load."""
    kept, owner = resift.load("other"), _Owner(resift.load("model"))
    engine, backend = loads.pop()
    if used:
        _start(engine)
    family = weakref.ref(owner.ranker._hold.family)  # noqa: SLF001 - there is no other way to see it go
    device = weakref.ref(backend)
    locks = {"models": vars(vars(loading)["_SHARED"])["_lock"], "engine": vars(engine)["_changed"]}
    del owner

    with ExitStack() as stack:
        for name in held:
            stack.enter_context(_another_thread(_holding(locks[name])))
        _collect()
    resift.load("another").close()

    if used:
        assert backend.closed.wait(2), "the device is never freed"
    del engine, backend, locks
    assert _becomes(lambda: family() is None and device() is None)
    _start(loads[0][0])
    kept.close()


def _becomes(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 2
    while not true() and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    return true()


SHARED_CODE = {
    function.__code__
    for function in (
        SharedModels.acquire,
        SharedModels.release,
        *(vars(SharedModels)[at] for at in ("_drain", "_take_out")),
    )
}


@pytest.mark.parametrize("step", ["acquire", "release"])
@pytest.mark.parametrize("moment", range(14))
def test_garbage_may_come_at_any_moment(step: str, moment: int, loads: list[tuple[Engine, FakeBackend]]) -> None:
    """A ranker collected between any two steps of another's load or release leaves that one a model that is open."""
    shared, settings = SharedModels(), Settings(model="model")
    _, garbage = shared.acquire(settings)
    lines = 0

    def at_a_line(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code not in SHARED_CODE:
            return None
        if event == "line":
            lines += 1
            if lines == moment + 1:
                sys.settrace(None)
                shared.forget(garbage)
        return at_a_line

    before = sys.gettrace()
    loaded, key = shared.acquire(settings) if step == "release" else (None, None)
    sys.settrace(at_a_line)
    try:
        if step == "release":
            shared.release(key)
        else:
            loaded, key = shared.acquire(settings)
    finally:
        sys.settrace(before)
    if step == "acquire":
        assert loaded is not None and loaded.engine is not None  # noqa: PT018 - for the type checker
        _start(loaded.engine)
        shared.release(key)
    if lines <= moment:
        shared.forget(garbage)

    assert not vars(shared)["_slots"]
    for engine, _ in loads:
        with pytest.raises(resift.ScoringFailed, match="closed"):
            _start(engine)


# the end of the interpreter


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny

    return tiny.build("bert-cross", tmp_path_factory.mktemp("ending"))


@pytest.mark.parametrize("scene", ["end_with_models", "end_without_threads"])
def test_the_interpreter_ends_in_silence(scene: str, model: Path) -> None:
    """A program that loaded models and never asked them anything ends well, in whatever thread, held or forgotten."""
    _run_scene(scene, model)


def test_a_thread_that_outlives_the_main_one_is_answered(model: Path) -> None:
    """As long as any thread runs, a model answers it, though the main one has come to its end."""
    _run_scene("end_while_a_thread_asks", model, says="answered")


def _load_everywhere(model: str) -> None:
    """Keep a model, forget one, close one, load one in a thread, and leave one to a cycle."""
    kept = [resift.load(model), resift.load(model, max_length=64)]
    resift.load(model, max_length=65)
    kept.pop().close()
    thread = threading.Thread(target=lambda: kept.append(resift.load(model, max_length=66)))
    thread.start()
    thread.join(PATIENCE_S)
    _Owner(resift.load(model, max_length=67))
    globals()["kept"] = kept  # they must live until the end


def end_with_models(model: str) -> None:
    """Leave."""
    _load_everywhere(model)


def end_without_threads(model: str) -> None:
    """Leave, where the end takes no new threads, before resift has heard of it and after."""
    import atexit

    def refuse(_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    atexit.register(lambda: setattr(threading.Thread, "start", refuse))
    _load_everywhere(model)


def end_while_a_thread_asks(model: str) -> None:
    """Leave a thread behind that ranks before and after the end of the main one, on a CPU with several lanes."""
    import torch

    torch.set_num_threads(2)
    ranker = resift.load(model, device="cpu")
    documents = [f"{document} {number}" for number in range(9) for document in DOCUMENTS]

    def ask() -> None:
        expected = ranker.score(QUERY, documents)
        threading.main_thread().join()
        assert list(ranker.score(QUERY, documents)) == list(expected)
        sys.stdout.write("answered")

    threading.Thread(target=ask).start()


SCENES = (
    fork_while_locked,
    fork_inside_a_lock,
    fork_amid_work,
    end_with_models,
    end_without_threads,
    end_while_a_thread_asks,
)

if __name__ == "__main__":
    {scene.__name__: scene for scene in SCENES}[sys.argv[1]](*sys.argv[2:])
