"""
Starts rerank servers on loopback, others' and ours, waits until each answers, and ends each by its own handle.

A server's output goes to a file, whose last lines are in the error when it does not come up.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from interop.environments import environment

# Nobody may look for a model anywhere but in its folder, or tell anybody that it was run.
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"}
QUIET |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
START_S = 240.0  # vLLM needs half a minute on a quiet machine
STOP_S = 15.0


@dataclass(frozen=True)
class Command:
    """How one server is started: its words, what it finds in its environment, and where it says that it is ready."""

    words: Sequence[object]
    ready: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path


class NotStarted(Exception):
    """A server did not come up; the message has the last lines of what it said."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def infinity(directory: Path, port: int, *, key: str | None = None, prefix: str = "") -> Command:
    """Return how infinity-emb serves a model as `tiny`."""
    program = environment("servers-infinity").program("infinity_emb")
    words = [program, "v2", "--model-id", directory, "--served-model-name", "tiny"]
    words += ["--engine", "torch", "--device", "cpu", "--dtype", "float32"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--url-prefix", prefix]
    words += ["--api-key", key] if key else []
    return Command(words, "/health")


def vllm(directory: Path, port: int, *, key: str | None = None, max_length: int = 512) -> Command:
    """Return how vLLM's build for processors serves a model as `tiny`."""
    # Eager: a compiled model takes longer to start, and on a processor it is no faster.
    python = environment("servers-vllm").python
    words = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", directory, "--served-model-name", "tiny"]
    words += ["--runner", "pooling", "--dtype", "float32", "--max-model-len", str(max_length), "--enforce-eager"]
    words += ["--host", "127.0.0.1", "--port", str(port)]
    words += ["--api-key", key] if key else []
    return Command(words, "/health", {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"})


def litellm(upstream: str, port: int, *, key: str, folder: Path) -> Command:
    """Return how LiteLLM's proxy serves as `tiny` what an Infinity at `upstream` serves under that name and key."""
    served = {
        "model_name": "tiny",
        "litellm_params": {"model": "infinity/tiny", "api_base": upstream, "api_key": key},
    }
    settings = {
        "model_list": [served],
        "litellm_settings": {"telemetry": False, "drop_params": True},
        "general_settings": {"master_key": key},
    }
    path = folder / "litellm.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    program = environment("servers-litellm").program("litellm")
    words = [program, "--config", path, "--host", "127.0.0.1", "--port", str(port)]
    # Prices of other people's models are otherwise looked up on the network.
    return Command(words, "/health/liveliness", {"LITELLM_LOCAL_MODEL_COST_MAP": "True"})


def ours(directory: Path, port: int, *, key: str | None = None, options: Sequence[str] = ()) -> Command:
    """Return how this project serves a model as `tiny`."""
    words = [sys.executable, "-m", "resift", "serve", directory, "--served-name", "tiny"]
    words += ["--host", "127.0.0.1", "--port", str(port), *options]
    return Command(words, "/ready", {"RESIFT_SERVE_API_KEY": key} if key else {})


@contextmanager
def running(name: str, command: Command, port: int, *, folder: Path, threads: int = 1) -> Iterator[Server]:
    """Start a server, wait until it answers, and end it."""
    log = folder / f"{name}-{port}.log"
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads))
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RESIFT_", "INFINITY_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command.words],
            env=inherited | QUIET | limits | dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,  # so that what it starts itself can be ended with it
        )
    server = Server(name, f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(server, command.ready)
        yield server
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to end, and make it end, with whatever it has started."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_S)


def _wait(server: Server, path: str) -> None:
    deadline = time.monotonic() + START_S
    while not _answers(server.url + path):
        if server.process.poll() is not None or time.monotonic() > deadline:
            said = "\n".join(server.log.read_text(errors="replace").splitlines()[-30:])
            ended = server.process.poll()
            raise NotStarted(f"{server.name} did not come up (exit status {ended}); it said:\n{said}")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
