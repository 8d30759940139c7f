"""Rankers that are opened later: once, whoever asks, and never before."""

import asyncio
import os
import pickle
import select
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from noticing import until
from resift.api import opener
from resift.opening import Opening

KEY = "sk-opening-0123456789"
URL = "http://127.0.0.1:9/v1"


@dataclass
class SlowOpener:
    """Opens the built-in ranker, but not before it may; fails as often as it has errors."""

    may: threading.Event = field(default_factory=threading.Event)
    opened: int = 0
    fails: list[BaseException] = field(default_factory=list)
    model: str = "slow"

    def __call__(self) -> Any:
        self.opened += 1
        assert self.may.wait(10)
        if self.fails:
            raise self.fails.pop(0)
        return resift.load()


@pytest.fixture
def slow() -> Iterator[SlowOpener]:
    opener = SlowOpener()
    yield opener
    opener.may.set()


def _opening(opener: Any) -> Opening:
    return Opening(opener)


def test_nothing_is_loaded_before_somebody_asks(tmp_path: Path) -> None:
    """Settings of a model that does not exist are fine until it is asked for."""
    opening = Opening(opener(tmp_path / "nowhere"))

    assert opening.model == str(tmp_path / "nowhere")
    with pytest.raises(resift.ModelNotFound):
        opening.get()


def test_settings_are_checked_at_once() -> None:
    """An option that cannot mean anything is refused before anything is opened, with what was probably meant."""
    with pytest.raises(resift.InvalidInput, match="did you mean 'device'"):
        opener("lexical", devise="cpu")
    with pytest.raises(resift.InvalidInput, match="for endpoints only"):
        opener("lexical", timeout_s=3)
    with pytest.raises(resift.InvalidInput, match="max_retries"):
        opener("m", URL, max_retries=-1)


def test_all_who_ask_get_the_same_ranker(slow: SlowOpener) -> None:
    """Threads that ask while the model loads wait for that one."""
    opening = _opening(slow)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(opening.get) for _ in range(8)]
        slow.may.set()
        found = {id(one.result(10)) for one in asked}

    assert len(found) == slow.opened == 1


async def test_the_loop_runs_while_a_model_loads(slow: SlowOpener) -> None:
    """However long loading takes, the event loop goes on, and so do the threads that others need."""
    opening = _opening(slow)
    waiting = [asyncio.create_task(opening.aget()) for _ in range(100)]
    assert await asyncio.to_thread(lambda: "another thread's work") == "another thread's work"
    assert not any(task.done() for task in waiting)

    slow.may.set()
    found = await asyncio.gather(*waiting)

    assert len(set(map(id, found))) == slow.opened == 1


async def test_who_leaves_disturbs_nobody(slow: SlowOpener) -> None:
    """A caller that is cancelled while the model loads takes nothing from the others."""
    opening = _opening(slow)
    leaving, staying = asyncio.create_task(opening.aget()), asyncio.create_task(opening.aget())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    slow.may.set()

    assert await staying is opening.get()
    assert slow.opened == 1


def test_what_failed_is_tried_again(slow: SlowOpener) -> None:
    """A model that could not be loaded once is loaded by the next call."""
    slow.fails.append(resift.ModelNotFound("not yet"))
    slow.may.set()
    opening = _opening(slow)

    with pytest.raises(resift.ModelNotFound, match="not yet"):
        opening.get()
    assert opening.get() is opening.get()
    assert slow.opened == 2


def test_an_interruption_ends_the_wait_of_others(slow: SlowOpener) -> None:
    """Ctrl-C in the thread that loads ends it there, and tells those who waited that they may try again."""
    slow.fails.append(KeyboardInterrupt())
    opening = _opening(slow)
    ended: list[BaseException] = []

    def load() -> None:
        try:
            opening.get()
        except BaseException as error:  # noqa: BLE001 - which one it is, is the question
            ended.append(error)

    first = threading.Thread(target=load)
    first.start()
    until(lambda: slow.opened > 0)
    second = threading.Thread(target=load)
    second.start()
    time.sleep(0.05)
    slow.may.set()
    first.join(10)
    second.join(10)

    assert {type(error) for error in ended} <= {KeyboardInterrupt, resift.ScoringFailed}
    assert sum(isinstance(error, KeyboardInterrupt) for error in ended) == 1
    assert opening.get().model == "lexical"


def test_what_was_taken_is_opened_anew() -> None:
    """Whoever takes the ranker out may close it; the next to ask gets another."""
    opening = Opening(opener("lexical"))
    assert opening.take() is None

    first = opening.get()

    assert opening.take() is first
    assert opening.take() is None
    assert opening.get() is not first


def test_another_meaning_of_scores_costs_no_other_model(tmp_path: Path) -> None:
    """A ranker that differs only in `normalize` shares the loaded model."""
    directory = tiny.build("bert-cross", tmp_path / "model")
    plain = opener(directory, device="cpu", normalize=False)

    with plain() as raw, plain.normalized(normalize=True)() as bounded:
        (logit,), (share,) = raw.score("panda", ["bamboo"]), bounded.score("panda", ["bamboo"])

    assert share == pytest.approx(1 / (1 + 2.718281828459045**-logit), abs=1e-6)


def test_a_pickled_opening_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle has the settings without the key, which is taken from the environment where it is unpickled."""
    opening = Opening(opener("m", URL, api_key=KEY))
    pickled = pickle.dumps(opening)
    assert KEY.encode() not in pickled

    with pytest.raises(resift.InvalidInput, match="RESIFT_API_KEY"):
        pickle.loads(pickled)  # noqa: S301 - our own
    monkeypatch.setenv("RESIFT_API_KEY", "sk-other")

    assert pickle.loads(pickled).model == "m"  # noqa: S301 - our own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_does_not_wait_for_its_parents_thread(slow: SlowOpener) -> None:
    """A process that is forked while the model loads loads it for itself."""
    opening = _opening(slow)
    loading = threading.Thread(target=opening.get)
    loading.start()
    until(lambda: slow.opened > 0)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover - in the child
        slow.may = threading.Event()
        slow.may.set()
        os.write(writing, opening.get().model.encode())
        os._exit(0)
    assert select.select([reading], [], [], 30)[0], "the child waits"
    assert os.read(reading, 100) == b"lexical"
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    slow.may.set()
    loading.join(10)
