"""The onnx backend keeps what every backend owes: threads, devices, memory, forks, and silence about texts."""

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import onnxruntime  # type: ignore[import-untyped]
import pytest

import exported
import resift
from resift.errors import InvalidInput, ScoringFailed
from resift.scoring.backends.onnx import sessions
from resift.testing import RankerContract
from resift.types import Ranker

SCENES = Path(__file__).parent / "onnx_scenes.py"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
QUERY = "what does a panda eat?"
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear", "pandas, pandas, and more of them"]
FULL = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bfc_arena.cc Failed to allocate memory for requested buffer of size 9"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has nothing but its graph."""
    made = tmp_path_factory.mktemp("life")
    return exported.without_weights(exported.build("bert-cross", made / "whole"), made / "model")


class TestOnnxRanker(RankerContract):
    """A model that runs here, from its graph."""

    model: ClassVar[Path]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _build(cls, model: Path) -> None:
        cls.model = model

    def make_ranker(self) -> Ranker:
        return resift.load(self.model, backend="onnx")

    def long_documents(self, ranker: Ranker) -> Sequence[str]:
        return [f"{number} {' '.join(self.documents) * 5}" for number in range(300)]


# memory


class _Session:
    """A session on a device that holds so many tokens at once."""

    def __init__(self, session: Any) -> None:
        self._session, self.room = session, 10**9
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, names: list[str], feed: dict[str, Any]) -> Any:
        self.sizes.append(feed["input_ids"].size)
        if self.sizes[-1] > self.room:
            raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException(FULL)
        return self._session.run(names, feed)


def _sessions(monkeypatch: pytest.MonkeyPatch) -> list[_Session]:
    """Watch every session that is opened; each has room enough until it is told otherwise."""
    opened: list[_Session] = []
    make = onnxruntime.InferenceSession

    def open_session(*given: Any, **options: Any) -> _Session:
        opened.append(_Session(make(*given, **options)))
        return opened[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    return opened


def test_a_batch_that_does_not_fit_is_halved(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a batch does not fit the memory, smaller ones are tried, and scores stay what they are."""
    opened = _sessions(monkeypatch)
    with resift.load(model, backend="onnx") as ranker:
        expected = ranker.score(QUERY, DOCUMENTS * 8)
        opened[0].room = 100
        assert ranker.score(QUERY, DOCUMENTS * 8) == pytest.approx(expected, abs=1e-5)
        longest = opened[0].sizes[-1]

        opened[0].room = 3
        with pytest.raises(ScoringFailed, match="does not fit the device's memory even alone"):
            ranker.score(QUERY, DOCUMENTS)
    assert longest <= 100


def test_closing_frees_the_graph(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the last ranker is closed, the session is gone."""
    opened = _sessions(monkeypatch)
    ranker = resift.load(model, backend="onnx")
    ranker.score(QUERY, DOCUMENTS)
    session = weakref.ref(opened.pop())
    assert session() is not None
    ranker.close()
    gc.collect()

    assert session() is None


# threads and devices


@pytest.mark.parametrize(("said", "threads"), [("3", 3), ("2,1", 2), ("0", None), ("many", None), ("", None)])
def test_threads_are_as_many_as_torch_would_take(
    said: str, threads: int | None, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OMP_NUM_THREADS bounds the threads of a session; else there is one for each processor of this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    opened = _sessions(monkeypatch)
    resift.load(model, backend="onnx").close()
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

    assert opened[0].get_session_options().intra_op_num_threads == (threads or own)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_the_cpu_runs(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU runs graphs where it is named, and where nothing is said and there is no GPU."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])

    assert sessions.providers_of(device) == [CPU]


@pytest.mark.parametrize(("device", "number"), [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_a_gpu_runs_where_there_is_one(device: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU runs graphs where it is named, and where nothing is said."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider", CUDA, CPU])

    assert sessions.providers_of(device) == [(CUDA, {"device_id": number}), CPU]
    assert sessions.providers_of("cpu") == [CPU]


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_offered_is_refused(device: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that this build of ONNX Runtime does not offer is refused with the build that does."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])

    with pytest.raises(InvalidInput, match="onnxruntime-gpu"):
        resift.load(model, backend="onnx", device=device)


@pytest.mark.parametrize("device", ["gpu", "cuda:one", "cuda:-1", "mps"])
def test_an_unknown_device_is_refused(device: str, model: Path) -> None:
    """A device that the backend does not know is refused with those that it does."""
    with pytest.raises(InvalidInput, match="'cuda:0'"):
        resift.load(model, backend="onnx", device=device)


def test_a_gpu_that_does_not_answer_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that ONNX Runtime offers and then leaves to the CPU is refused if it was named, else done without."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    make = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: make(path, options, providers=providers[-1:])
    )

    with pytest.raises(InvalidInput, match="does not answer"):
        resift.load(model, backend="onnx", device="cuda")
    with resift.load(model, backend="onnx") as ranker:
        assert len(ranker.score(QUERY, DOCUMENTS)) == len(DOCUMENTS)


def test_two_sessions_share_a_list(model: Path) -> None:
    """Several devices keep one replica each, and answer one list."""
    documents = [f"{document} {number}" for number in range(40) for document in DOCUMENTS]
    with resift.load(model, backend="onnx", device=["cpu", "cpu"]) as two, resift.load(model, backend="onnx") as one:
        assert two.score(QUERY, documents) == pytest.approx(one.score(QUERY, documents), abs=1e-5)


# processes


def _run_scene(scene: str, model: Path, *, backend: str, home: Path) -> None:
    """Play a scene in a Python of its own, which must end well and say nothing."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCENES), scene, str(model), backend],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={
            **{key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")},
            "OMP_NUM_THREADS": "2",
            "TOKENIZERS_PARALLELISM": "false",
            "HOME": str(home),
        },
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
@pytest.mark.parametrize("scene", ["fork_amid_work", "fork_and_leave"])
def test_a_forked_child_ranks_and_ends(scene: str, model: Path, tmp_path: Path) -> None:
    """A child forked while the parent scores has the parent's scores, and ends, however it ends."""
    _run_scene(scene, model, backend="onnx", home=tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
@pytest.mark.parametrize("scene", ["fork_to_be_refused", "fork_and_leave"])
def test_a_forked_child_is_told_that_openvino_did_not_come_along(scene: str, model: Path, tmp_path: Path) -> None:
    """A forked child never waits for OpenVINO's lost threads: it is told so, and ends."""
    _run_scene(scene, model, backend="openvino", home=tmp_path)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("scene", ["report_to_nobody", "end_amid_work", "be_interrupted"])
def test_a_program_is_left_in_peace(scene: str, backend: str, model: Path, tmp_path: Path) -> None:
    """Nothing reports to the makers of a runtime, no program waits for it to end, and Ctrl-C interrupts a call."""
    _run_scene(scene, model, backend=backend, home=tmp_path)
