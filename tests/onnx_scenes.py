"""
What a program does with a backend of graphs, played in a Python of its own: it forks, it ends.

Nothing but resift may import ONNX Runtime or OpenVINO here, as in the programs of others.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import resift

QUERY = "what does a panda eat?"
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear"]


def _in_child(work: Any, *, leave: Any) -> None:
    if not (child := os.fork()):
        signal.alarm(20)
        try:
            work()
        except BaseException:  # noqa: BLE001 - a child must not go on as if it were its parent
            traceback.print_exc()
            os._exit(1)
        leave(0)
    assert os.waitpid(child, 0)[1] == 0, "the child did not end well"


@contextmanager
def _kept_busy(ranker: Any) -> Iterator[None]:
    """Have another thread score for as long as this lasts."""
    enough = threading.Event()

    def score() -> None:
        while not enough.is_set():
            ranker.score(QUERY, DOCUMENTS * 50)

    busy = threading.Thread(target=score)
    busy.start()
    try:
        yield
    finally:
        enough.set()
        busy.join(20)


def fork_amid_work(model: str, backend: Any) -> None:
    """Fork while another thread scores, and score in the child, twice, and in the parent."""
    ranker = resift.load(model, backend=backend)
    expected = ranker.score(QUERY, DOCUMENTS)

    def score() -> None:
        for _ in range(2):
            np.testing.assert_allclose(ranker.score(QUERY, DOCUMENTS), expected, atol=1e-5)
        ranker.close()

    with _kept_busy(ranker):
        for _ in range(3):
            _in_child(score, leave=os._exit)
    np.testing.assert_allclose(ranker.score(QUERY, DOCUMENTS), expected, atol=1e-5)


def fork_and_leave(model: str, backend: Any) -> None:
    """Fork, and let the child end as a program does, with a ranker that it used, closed unused, or never touched."""
    ranker = resift.load(model, backend=backend)
    ranker.score(QUERY, DOCUMENTS)
    # a child of OpenVINO's ranker would be refused
    uses: list[Any] = [] if backend == "openvino" else [lambda: ranker.score(QUERY, DOCUMENTS)]
    for work in (*uses, ranker.close, lambda: None):
        child = os.fork()
        if not child:
            signal.alarm(20)
            work()
            return  # and with it the program
        assert os.waitpid(child, 0)[1] == 0, "the child did not end well"


def fork_to_be_refused(model: str, backend: Any) -> None:
    """Fork while another thread scores; neither the ranker nor a new one answers in the child, and both say why."""
    ranker = resift.load(model, backend=backend)

    def ask() -> None:
        for work in (lambda: ranker.score(QUERY, DOCUMENTS), lambda: resift.load(model, backend=backend, dtype="int8")):
            try:
                work()
            except (resift.ScoringFailed, resift.ModelUnsupported) as error:
                assert "start processes by spawn" in str(error)  # noqa: PT017 - there is no pytest here
            else:
                raise AssertionError("it answered")
        ranker.close()

    with _kept_busy(ranker):
        for _ in range(3):
            _in_child(ask, leave=os._exit)
    assert ranker.score(QUERY, DOCUMENTS)


def be_interrupted(model: str, backend: Any) -> None:
    """Use a ranker, close it, and press Ctrl-C."""
    for _ in range(3):
        with resift.load(model, backend=backend) as ranker:
            ranker.score(QUERY, DOCUMENTS)
        time.sleep(0.1)
        try:
            signal.raise_signal(signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            continue
        raise AssertionError("nobody noticed")


def report_to_nobody(model: str, backend: Any) -> None:
    """Look for what loading leaves behind: threads beside those that compute, files, the package that reports."""
    tasks, home = Path("/proc/self/task"), Path.home()
    before = len(list(tasks.iterdir())) if tasks.exists() else 0
    resift.load(model, backend=backend).close()
    if before and backend == "onnx":  # a session of two threads has one beside the caller's
        assert len(list(tasks.iterdir())) - before <= 1
    assert threading.active_count() <= 2
    assert not list(home.iterdir())
    if backend == "onnx":
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert "openvino_telemetry" not in sys.modules


def end_amid_work(model: str, backend: Any) -> None:
    """Leave while a long list is being scored."""
    ranker = resift.load(model, backend=backend)
    hold = threading.Thread(target=_score_until_the_end, args=(ranker,), daemon=True)
    hold.start()
    hold.join(0.3)


def _score_until_the_end(ranker: Any) -> None:
    try:
        ranker.score(QUERY, DOCUMENTS * 5000)
    except BaseException:  # noqa: BLE001 - the program ends; there is nobody to tell
        return


SCENES = (fork_amid_work, fork_and_leave, fork_to_be_refused, be_interrupted, report_to_nobody, end_amid_work)

if __name__ == "__main__":
    {scene.__name__: scene for scene in SCENES}[sys.argv[1]](*sys.argv[2:])
