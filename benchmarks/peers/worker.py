"""
The process of one contestant: loads a model in the peer's way, then answers each line of JSON on stdin with one.

    python -P worker.py PEER-FOLDER MODEL-FOLDER SETTINGS-AS-JSON

It runs in the peer's environment and needs nothing but Python itself. What there is to ask:

    {"ask": "score", "requests": FILE, "at_most_s": S}      each request timed; those that fit into the time
    {"ask": "callers", "requests": FILE, "callers": N, "together": BOOL}
                                                            N threads, together or one call after the other
    {"ask": "memory"}                                       the most that the process held so far

An answer is an object; one with the key "error" says what went wrong. The end of stdin ends the process.
"""

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

Request = tuple[str, list[str]]
Score = Callable[[str, list[str]], list[float]]

LONGEST_REASON = 500


def main() -> None:
    """Load, say so, and answer until stdin ends."""
    began = time.perf_counter()
    peer, model, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    _end_with_parent()
    _stay_on(settings)
    sys.path.append(str(Path(__file__).resolve().parents[2]))  # at its end: nothing there may hide a library
    try:
        module = _module(peer / "score.py")
        imported = time.perf_counter()
        score: Score = module.load(model, settings)
    except BaseException as error:
        _tell(answers, {"error": _reason(error)})
        raise
    versions = {name: importlib.metadata.version(name) for name in module.PACKAGES}
    _tell(answers, {"import_s": imported - began, "load_s": time.perf_counter() - imported, "versions": versions})
    for line in sys.stdin:
        try:
            answer = ANSWERS[(asked := json.loads(line)).pop("ask")](score, **asked)
        except Exception as error:  # noqa: BLE001 - whatever a peer raises becomes the reason in its row
            answer = {"error": _reason(error)}
        _tell(answers, answer)


def score_requests(score: Score, *, requests: str, at_most_s: float) -> dict[str, object]:
    """Time each request; the first always, the others while there is time."""
    seconds: list[float] = []
    scores: list[list[float]] = []
    began = time.perf_counter()
    for query, documents in _read(requests):
        start = time.perf_counter()
        if seconds and start - began > at_most_s:
            break
        scores.append([float(number) for number in score(query, documents)])
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "scores": scores}


def serve_callers(score: Score, *, requests: str, callers: int, together: bool) -> dict[str, object]:
    """Let threads share the requests; unless they may call together, one call follows the other in order of arrival."""
    waiting, latencies = iter(_read(requests)), []
    lock = threading.Lock()

    def call(ask: Callable[[Request], object]) -> None:
        while True:
            with lock:
                request = next(waiting, None)
            if request is None:
                return
            start = time.perf_counter()
            ask(request)
            latencies.append(time.perf_counter() - start)

    with ThreadPoolExecutor(1) as counter, ThreadPoolExecutor(callers) as threads:
        began = time.perf_counter()
        ask = (
            (lambda request: score(*request))
            if together
            else (lambda request: counter.submit(score, *request).result())
        )
        for done in [threads.submit(call, ask) for _ in range(callers)]:
            done.result()
        return {"seconds": time.perf_counter() - began, "latencies": latencies}


def tell_memory(_: Score) -> dict[str, object]:
    """Return the most that the process held, and the most that its tensors took on a GPU."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    with suppress(OSError):  # where the system tells it, this process's own: ru_maxrss begins with its parent's
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available()
    return {"peak_bytes": peak, "gpu_peak_bytes": torch.cuda.max_memory_allocated() if torch and on_gpu else None}


ANSWERS: dict[str, Callable[..., dict[str, object]]] = {
    "score": score_requests,
    "callers": serve_callers,
    "memory": tell_memory,
}


def _end_with_parent() -> None:
    """Let the system end this process when the benchmark ends, however that is: a stopped one would hear of nothing."""
    if sys.platform == "linux":
        set_signal_of_parents_death = 1
        ctypes.CDLL(None).prctl(set_signal_of_parents_death, signal.SIGKILL)


def _stay_on(settings: dict[str, Any]) -> None:
    """Keep the process on as many processors as it may have threads, where the system can."""
    if settings["device"] == "cpu" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings["threads"]])


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"score_of_{path.parent.name}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read(path: str) -> list[Request]:
    return [(query, documents) for query, documents in json.loads(Path(path).read_text(encoding="utf-8"))]


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:LONGEST_REASON]


def _tell(answers: Any, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
