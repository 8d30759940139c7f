"""A server's life: where it listens, when it is ready, and how it ends."""

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from living import Process, Wire, asking, get, post, request, serve, serve_slowly, until
from resift.errors import InvalidInput
from resift.server.running import _listen
from resift.server.settings import ServerSettings

ENDS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(scope="module")
def lexical() -> Iterator[Process]:
    """Run a real `resift serve lexical`."""
    with serve("lexical") as process:
        yield process.await_ready()


def _at_once(port: int, query: str, count: int = 1) -> list[threading.Thread]:
    """Send requests on connections of their own; each thread's `reply` is there when it has ended."""

    def ask(at: int) -> None:
        try:
            replies[at] = post(port, "/v1/rerank", asking(query))
        except OSError as error:
            replies[at] = error

    replies: list[object] = [None] * count
    threads = [threading.Thread(target=ask, args=(at,)) for at in range(count)]
    for thread in threads:
        thread.replies = replies  # type: ignore[attr-defined]
        thread.start()
    return threads


def _replies(threads: list[threading.Thread]) -> list[object]:
    for thread in threads:
        thread.join(60)
    found: list[object] = threads[0].replies  # type: ignore[attr-defined]
    return found


def _in_flight(process: Process) -> int:
    found = re.search(rb"^resift_requests_in_flight (\d+)", get(process.port, "/metrics")[2], re.MULTILINE)
    assert found
    return int(found[1])


# S29


@pytest.mark.parametrize("path", ["/health", "/healthz", "/livez"])
def test_s29_a_live_server_says_so(lexical: Process, path: str) -> None:
    """Liveness is 200 by each of its names."""
    assert get(lexical.port, path)[0] == 200


def test_s29_a_server_with_keys_says_it_to_everybody() -> None:
    """Probes need no key, a ranking does."""
    with serve("lexical", env={"RESIFT_SERVE_API_KEY": "sk-1,sk-2"}) as process:
        process.await_ready()

        assert [get(process.port, path)[0] for path in ("/health", "/ready")] == [200, 200]
        assert post(process.port, "/v1/rerank", asking())[0] == 401
        assert post(process.port, "/v1/rerank", asking(), "Authorization: Bearer sk-2")[0] == 200
        assert get(process.port, "/metrics")[0] == 401


SLOW_LOADING = """
import sys, threading, time
from resift.server.running import run
from resift.server.running import _listen
from resift.server.settings import ServerSettings
import resift.cli.serve as cli

def load():
    sys.stdin.readline()
    from resift.api import open
    from resift.server.served import open_served
    return [open_served("lexical", lambda normalize: open("lexical", normalize=normalize))]

cli._log_to_stderr("info")
run(load, ServerSettings(port=0), announce=lambda address: sys.stderr.write(f"on {address} (\\n"))
"""


def test_s29_a_server_is_ready_when_its_models_are() -> None:
    """While a model loads, liveness is 200, readiness and rankings 503 with Retry-After; then all are 200."""
    process = Process(["-c", SLOW_LOADING], {}, talks=True)
    try:
        port = process.port
        assert get(port, "/health")[0] == 200
        for status, headers, body in (get(port, "/ready"), post(port, "/v1/rerank", asking())):
            assert status == 503
            assert int(headers["retry-after"]) >= 1
            assert "loaded" in json.loads(body)["message"]
        process.say("go on\n")
        process.await_ready()

        assert post(port, "/v1/rerank", asking())[0] == 200
        assert process.end(signal.SIGTERM)[0] == 0
    finally:
        process.close()


def test_s29_a_server_that_is_loading_ends_when_told() -> None:
    """A signal while a model loads ends the process at once, and well."""
    process = Process(["-c", SLOW_LOADING], {}, talks=True)
    try:
        assert get(process.port, "/health")[0] == 200
        status, seconds = process.end(signal.SIGTERM)

        assert status == 0
        assert seconds < 20
    finally:
        process.close()


def test_s29_liveness_never_waits_for_rankings() -> None:
    """While every place is taken, liveness and readiness are answered at once."""
    with serve_slowly(max_requests=2) as process:
        threads = _at_once(process.port, "3", 2)
        until(lambda: _in_flight(process) == 2)
        started = time.monotonic()

        assert post(process.port, "/v1/rerank", asking("0"))[0] == 429
        assert [get(process.port, path)[0] for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]
        assert time.monotonic() - started < 2.5
        _replies(threads)


def test_s29_a_model_that_cannot_load_ends_the_server(tmp_path: Path) -> None:
    """A directory without a model ends the server with status 1, and says what, why and what to do."""
    with serve(str(tmp_path)) as process:
        assert process.wait() == 1
    what, why, remedy = process.lines[-3:]
    assert what.startswith("Error: the model")
    assert tmp_path.name in why
    assert remedy.startswith("  try: ")
    assert "Traceback" not in process.log


# S36


@pytest.mark.parametrize("kind", ENDS)
def test_s36_what_is_under_way_is_answered_before_the_end(kind: signal.Signals) -> None:
    """After the signal every accepted request gets its 200, and then the process ends with 0."""
    with serve_slowly(drain_s=30) as process:
        threads = _at_once(process.port, "1.5", 4)
        until(lambda: _in_flight(process) == 4)
        status, seconds = process.end(kind)

        assert status == 0
        assert seconds < 15
    replies = _replies(threads)
    assert [reply[0] for reply in replies if isinstance(reply, tuple)] == [200] * 4
    assert all(reply[1]["connection"] == "close" for reply in replies if isinstance(reply, tuple))
    assert "closed" in process.log


def test_s36_real_rankings_are_answered_before_the_end(lexical: Process) -> None:
    """The built-in scorer's requests that were let in are answered, the others are told to go elsewhere."""
    with serve("lexical", "--drain-s", "30") as process:
        process.await_ready()
        body = json.dumps(asking("panda bamboo", documents=1000)).encode()
        wires = [Wire(process.port).send(request("/v1/rerank", body)) for _ in range(30)]
        until(lambda: _in_flight(process) > 0)
        status, seconds = process.end(signal.SIGTERM)
        replies = []
        for wire in wires:
            with wire:
                try:
                    replies.append(wire.reply())
                except ConnectionError:
                    replies.append((0, {}, b""))

    statuses = [reply[0] for reply in replies]
    assert status == 0
    assert seconds < 30
    assert 200 in statuses
    assert set(statuses) <= {200, 503, 0}
    assert all(len(json.loads(reply[2])["results"]) == 1000 for reply in replies if reply[0] == 200)


def test_s36_new_connections_are_refused_while_leaving() -> None:
    """Nobody is let in after the signal, by a new connection or by one that idled."""
    with serve_slowly(drain_s=30) as process, Wire(process.port) as idle:
        port = process.port
        assert idle.ask("/health", method="GET")[0] == 200
        threads = _at_once(port, "3")
        until(lambda: _in_flight(process) == 1)
        process.popen.send_signal(signal.SIGTERM)

        until(lambda: _is_refused(port))
        assert idle.is_closed()
        assert process.wait() == 0
    assert [reply[0] for reply in _replies(threads) if isinstance(reply, tuple)] == [200]


def _is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_s36_a_request_that_was_half_sent_is_told_to_go_elsewhere() -> None:
    """A request whose body is complete only after the signal gets 503, Retry-After and Connection: close."""
    with serve_slowly(drain_s=30) as process, Wire(process.port) as wire:
        sent = request("/v1/rerank", json.dumps(asking("0")).encode())
        wire.send(sent[:-10])
        time.sleep(0.3)
        process.popen.send_signal(signal.SIGTERM)
        process.await_log("SIGTERM")
        time.sleep(0.5)
        status, headers, body = wire.send(sent[-10:]).reply()

        assert (status, headers["connection"]) == (503, "close")
        assert int(headers["retry-after"]) >= 1
        assert json.loads(body)["error"]["type"] == "server_error"
        assert process.wait() == 0


def test_s36_an_idle_server_ends_at_once(lexical: Process) -> None:
    """Without work, the signal ends the process within moments, idle connections or not."""
    with serve("lexical", "--drain-s", "60") as process, Wire(process.await_ready().port) as wire:
        assert wire.ask("/health", method="GET")[0] == 200
        status, seconds = process.end(signal.SIGTERM)

    assert status == 0
    assert seconds < 15


# S37


@pytest.mark.parametrize("second", ENDS)
def test_s37_a_second_signal_ends_it_at_once(second: signal.Signals) -> None:
    """Told twice, the server leaves its work, says so, and ends with 1."""
    with serve_slowly(drain_s=60) as process:
        threads = _at_once(process.port, "50")
        until(lambda: _in_flight(process) == 1)
        process.popen.send_signal(signal.SIGTERM)
        process.await_log("SIGTERM")
        status, seconds = process.end(second)

    assert status == 1
    assert seconds < 15
    assert f"{second.name} came a second time; ending at once" in process.log
    assert isinstance(_replies(threads)[0], OSError)


def test_s37_the_deadline_ends_it() -> None:
    """What is not answered within the time to leave is left, with a line that says how many, and exit status 1."""
    with serve_slowly(drain_s=1.0) as process:
        threads = _at_once(process.port, "50", 3)
        until(lambda: _in_flight(process) == 3)
        status, seconds = process.end(signal.SIGTERM)

    assert status == 1
    assert 0.9 < seconds < 15
    assert "3 requests were not answered when the time to leave was over" in process.log
    assert all(isinstance(reply, OSError) for reply in _replies(threads))


def test_s37_a_deadline_holds_whatever_the_event_loop_does() -> None:
    """The process ends in time even when nothing on its loop runs any more."""
    with serve_slowly(drain_s=1.0) as process:
        threads = _at_once(process.port, "-1")
        process.await_log("stuck")
        status, seconds = process.end(signal.SIGTERM)

    assert status == 1
    assert seconds < 15
    _replies(threads)


@pytest.mark.parametrize("signals", [1, 2])
def test_s37_a_log_that_nobody_reads_keeps_nothing_alive(signals: int) -> None:
    """The process ends in time even when every line that it writes waits for a reader who is gone."""
    with serve("lexical", "--drain-s", "1" if signals == 1 else "60") as process:
        port = process.await_ready().port
        process.is_deaf = True
        with pytest.raises(TimeoutError), Wire(port, patience_s=2) as wire:  # noqa: PT012 - whichever line fills it
            for _ in range(20_000):
                wire.ask("/nowhere", method="GET")
        for _ in range(signals - 1):
            process.popen.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        status, seconds = process.end(signal.SIGTERM)

    assert status == 1
    assert seconds < 15


# S43


def test_s43_only_this_machine_can_reach_it_by_default(lexical: Process) -> None:
    """Without a host the server listens on 127.0.0.1."""
    assert f"http://127.0.0.1:{lexical.port} " in lexical.log
    assert ServerSettings().host == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.test"])  # noqa: S104 - to be refused
def test_s43_a_public_address_needs_a_key(host: str) -> None:
    """An address that others can reach is refused at start without a key; the message says what to do."""
    with pytest.raises(InvalidInput, match=r"--api-key.*--public"):
        ServerSettings(host=host)

    assert ServerSettings(host=host, api_keys=("sk-1",)).host == host
    assert ServerSettings(host=host, public=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_s43_loopback_needs_none(host: str) -> None:
    """Every address of this machine alone may be served openly."""
    assert ServerSettings(host=host).api_keys == ()


def test_s43_the_process_refuses_before_it_listens() -> None:
    """`resift serve` on every address without a key ends with status 2, and says what to do."""
    with serve("lexical", "--host", "0.0.0.0") as process:  # noqa: S104 - to be refused
        assert process.wait() == 2
    assert len(process.lines) == 3
    assert re.search(r"why: '0\.0\.0\.0' can be reached from other machines", process.log)


def test_s43_a_public_server_may_be_meant() -> None:
    """With `--public` the address is served without a key, under a warning."""
    with serve("lexical", "--host", "0.0.0.0", "--public") as process:  # noqa: S104 - said to be meant
        process.await_ready()

        assert "no key" in process.log
        assert post(process.port, "/v1/rerank", asking())[0] == 200


def test_replies_do_not_wait_to_be_acknowledged() -> None:
    """A reply's last piece is sent at once, on every connection: waiting costs 40 ms a request."""
    listener = _listen(ServerSettings(port=0))
    with listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            assert client.getpeername() == accepted.getsockname()
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
