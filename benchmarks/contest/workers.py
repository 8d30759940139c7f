"""The other end of a contestant's process: starts it, asks it within a time, lets it rest, and ends it."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

WORKER = Path(__file__).resolve().parent.parent / "peers" / "worker.py"
STOP_S = 10.0
LINES_OF_A_LOG = 5
# Nobody may look for a model anywhere but in its folder, or tell anybody that it was run.
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "ORT_DISABLE_TELEMETRY": "1"}


class Failed(Exception):
    """A contestant did not load, did not answer, or answered with an error; the message says which and why."""


class Worker:
    """One contestant's process. Unless it is asked something it is stopped, because idle threads may spin."""

    def __init__(self, python: Path, peer: Path, model: Path, *, settings: Mapping[str, Any], log: Path) -> None:
        threads = str(settings["threads"])
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), threads)
        own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "RESIFT_"))}
        self._log = log
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._began = time.perf_counter()
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                [python, "-P", WORKER, peer, model, json.dumps(dict(settings))],
                env=own | QUIET | limits | {"TOKENIZERS_PARALLELISM": "true"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,  # so that what it starts itself rests and ends with it
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def wait_until_ready(self, within_s: float) -> dict[str, Any]:
        """Return what the worker says once its model is loaded, with the seconds since its process was started."""
        ready = self._answer(within_s)
        seconds = time.perf_counter() - self._began
        self._signal(signal.SIGSTOP)
        return ready | {"ready_s": seconds}

    def ask(self, within_s: float, **asked: object) -> dict[str, Any]:
        """Wake the worker, return its answer, and let it rest again."""
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"its process ended: {self._last_words()}") from None
        answer = self._answer(within_s)
        self._signal(signal.SIGSTOP)
        return answer

    def close(self) -> None:
        """End the process: when it has heard that nothing will be asked any more, or by force."""
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self._signal(signal.SIGKILL)
        self._process.wait(STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                self._lines.put(line)
        self._lines.put("")

    def _answer(self, within_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=within_s)
        except queue.Empty:
            raise Failed(f"no answer within {within_s:.0f} s") from None
        if not line:
            raise Failed(f"its process ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def _last_words(self) -> str:
        said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " / ".join(said[-LINES_OF_A_LOG:]) or "it said nothing"

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
