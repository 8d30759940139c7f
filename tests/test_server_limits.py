"""A server takes no more than it was told to: bytes, time, connections."""

import json
import logging
import socket
import time
from collections.abc import Iterator

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from living import Wire, asking, port_of, request, serve_here, until
from resift.server.connection import patient_protocol
from serving import Serving, scripted

BODY = json.dumps(asking()).encode()
LIMIT = 4096
SHORT_S = 0.5


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    """Run a server that is short of bytes and of patience."""
    with serve_here(scripted(), max_body_bytes=LIMIT, body_timeout_s=SHORT_S) as running:
        yield running


def _wire(server: Serving) -> Wire:
    return Wire(port_of(server))


def _chunked(*parts: bytes) -> bytes:
    head = b"POST /v1/rerank HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


# S24


def test_s24_a_body_that_announces_too_many_bytes_is_refused_unread(server: Serving) -> None:
    """A body over the limit is answered with 413 before a byte of it is sent, and the message names the limit."""
    with _wire(server) as wire:
        wire.send(b"POST /v1/rerank HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000000\r\n\r\n")
        status, headers, body = wire.reply()

        assert (status, headers["connection"]) == (413, "close")
        assert str(LIMIT) in json.loads(body)["error"]["message"]
        assert wire.is_closed()


def test_s24_a_body_that_announces_nothing_is_refused_at_the_limit(server: Serving) -> None:
    """A chunked body is answered with 413 as soon as it has too many bytes, though it never ends."""
    with _wire(server) as wire:
        wire.send(_chunked(*[b" " * 1000] * 5))

        assert wire.reply()[0] == 413
        assert wire.is_closed()


def test_s24_a_client_that_sends_it_all_first_still_reads_the_answer(server: Serving) -> None:
    """Megabytes too many are read and dropped, so that the connection is not reset under the answer."""
    body = b" " * 3_000_000

    with _wire(server) as wire:
        assert wire.ask("/v1/rerank", body)[0] == 413
    with _wire(server) as wire:
        wire.send(_chunked(*[b" " * 100_000] * 30) + b"0\r\n\r\n")
        assert wire.reply()[0] == 413


def test_s24_what_is_dropped_is_not_kept(server: Serving) -> None:
    """No more of a refused body is accounted for than the limit, and nothing afterwards."""
    admission = server.house.admission
    seen = []

    with _wire(server) as wire:
        wire.send(_chunked(b" " * 4000))
        until(lambda: admission.bytes)
        seen.append(admission.bytes)
        wire.send(b"%x\r\n%s\r\n" % (100_000, b" " * 100_000))
        wire.reply()
        seen.append(admission.bytes)

    until(lambda: admission.bytes == 0)
    assert max(seen) <= LIMIT


def test_s24_a_body_of_exactly_the_limit_is_read(server: Serving) -> None:
    """The limit itself is allowed."""
    with _wire(server) as wire:
        assert wire.ask("/v1/rerank", BODY + b" " * (LIMIT - len(BODY)))[0] == 200
        assert wire.ask("/v1/rerank", BODY + b" " * (LIMIT - len(BODY) + 1))[0] == 413


def test_s24_all_bodies_together_are_bounded() -> None:
    """What would not fit beside the bodies already kept gets 429 with Retry-After; alone it always fits."""
    with serve_here(scripted(delay_s=30), max_bytes_at_once=len(BODY) + 50, timeout_s=60) as server:
        with _wire(server) as first, _wire(server) as second:
            first.send(request("/v1/rerank", BODY))
            until(lambda: server.house.admission.bytes)
            status, headers, _ = second.ask("/v1/rerank", BODY)

            assert (status, int(headers["retry-after"])) == (429, 1)
        until(lambda: server.house.admission.bytes == 0)


def test_s24_bodies_that_nobody_asked_for_take_no_room() -> None:
    """Only a scoring request's body is kept: what is sent to an open path, without a key, takes no room from others."""
    with serve_here(scripted(), api_keys=("secret",), max_bytes_at_once=len(BODY) + 1000) as server:
        for path in ("/health", "/docs", "/nowhere"):
            with _wire(server) as wire, _wire(server) as other:
                wire.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n".encode())
                wire.send(b" " * (len(BODY) + 999))

                assert wire.reply()[0] in (401, 405)
                assert server.house.admission.bytes == 0
                assert other.ask("/v1/rerank", BODY, "Authorization: Bearer secret")[0] == 200
                until(lambda: server.house.admission.bytes == 0)


def test_s24_a_reply_that_is_not_read_keeps_its_room() -> None:
    """Replies go out as they are read, and count until they are gone, so slow readers cannot fill the memory either."""
    body = json.dumps({"query": "panda", "documents": ["panda " * 100_000] * 20, "return_documents": True}).encode()

    with serve_here(scripted(lambda *_: 0.5), max_bytes_at_once=len(body) + 1000) as server, _wire(server) as other:
        with _wire(server) as wire:
            wire.send(request("/v1/rerank", body))
            until(lambda: b'resift_rankings_total{model="scripted"} 1.0' in server.house.metrics.render())
            time.sleep(0.5)

            assert server.house.admission.bytes == len(body)
            assert other.ask("/v1/rerank", body)[0] == 429
            status, _, reply = wire.reply()

            assert status == 200
            assert [hit["index"] for hit in json.loads(reply)["results"]] == list(range(20))
        until(lambda: server.house.admission.bytes == 0)
        assert other.ask("/v1/rerank", BODY)[0] == 200


# S35


def _trickle(wire: Wire, drop: bytes) -> tuple[bytes, float]:
    """Send drop after drop until the server has something to say; return that, and the seconds until then."""
    wire.socket.settimeout(0.05)
    started = time.monotonic()
    while time.monotonic() < started + 30:
        try:
            wire.send(drop)
            return wire.socket.recv(1000), time.monotonic() - started
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return b"", time.monotonic() - started


def test_s35_a_body_that_trickles_gets_408(server: Serving) -> None:
    """A body that is not there in time is answered with 408, however steadily it grows."""
    with _wire(server) as wire:
        wire.send(b"POST /v1/rerank HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        reply, seconds = _trickle(wire, b" ")

    assert reply.startswith(b"HTTP/1.1 408 ")
    assert SHORT_S * 0.9 < seconds < 20


def test_s35_half_a_body_gets_408_and_frees_its_place(server: Serving) -> None:
    """Half a body and then silence: 408 within the limit, nothing kept, and others are answered meanwhile."""
    with _wire(server) as wire, _wire(server) as other:
        wire.send(request("/v1/rerank", BODY)[:-10])
        assert other.ask("/v1/rerank", BODY)[0] == 200
        status, headers, body = wire.reply()

        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(body)["error"]["type"] == "timeout_error"
        assert wire.is_closed()
    until(lambda: server.house.admission.bytes == 0)
    assert server.house.admission.requests == 0


def test_s35_a_head_that_trickles_gets_408(server: Serving) -> None:
    """A head that is not complete in time is answered with 408, however steadily it grows."""
    with _wire(server) as wire:
        wire.send(b"POST /v1/rerank HTTP/1.1\r\n")
        reply, seconds = _trickle(wire, b"X: y\r\n")

    assert reply.startswith(b"HTTP/1.1 408 ")
    assert SHORT_S * 0.9 < seconds < 20


def test_s35_a_head_without_end_is_refused(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """However fast it comes, a head is kept up to a bound only, whatever else is installed beside the server."""
    caplog.set_level(logging.CRITICAL, logger="uvicorn")
    lines = b"".join(b"x-%d: %s\r\n" % (at, b"a" * 2000) for at in range(100))
    sent = 0
    with _wire(server) as wire:
        wire.send(b"POST /v1/rerank HTTP/1.1\r\nHost: h\r\n")
        with pytest.raises(ConnectionError):  # noqa: PT012 - nobody knows which of them is too many
            while sent < 100_000_000:
                wire.send(lines)
                sent += len(lines)

    assert issubclass(patient_protocol(head_timeout_s=1, read_timeout_s=1), H11Protocol)


def test_s35_a_connection_without_a_word_is_closed(server: Serving) -> None:
    """Who connects and says nothing is let go, without an answer to what was not asked."""
    with _wire(server) as wire:
        started = time.monotonic()

        assert wire.is_closed()
        assert SHORT_S * 0.9 < time.monotonic() - started < 20


def test_s35_a_second_head_that_trickles_is_closed(server: Serving) -> None:
    """A connection that was good once is held to the clock again."""
    with _wire(server) as wire:
        assert wire.ask("/v1/rerank", BODY)[0] == 200
        wire.send(b"POST /v1/rer")
        started = time.monotonic()

        assert wire.is_closed()
        assert SHORT_S * 0.9 < time.monotonic() - started < 20


def test_s35_what_follows_a_refusal_may_not_trickle_either(server: Serving) -> None:
    """The unread body of a request that was answered already is held to the clock too."""
    with _wire(server) as wire:
        wire.send(b"GET /health HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        assert wire.reply()[0] == 200
        reply, seconds = _trickle(wire, b" ")

    assert reply == b""
    assert SHORT_S * 0.9 < seconds < 20


def test_s35_many_slow_clients_keep_nobody_out(server: Serving) -> None:
    """A hundred connections that send nothing useful take no place from a client that does, and all are closed."""
    sent = request("/v1/rerank", BODY)
    slow = [_wire(server).send(sent[: 20 + at % 60]) for at in range(100)]
    try:
        with _wire(server) as wire:
            assert wire.ask("/v1/rerank", BODY)[0] == 200
        for wire in slow:
            assert wire.reply()[0] == 408
            assert wire.is_closed()
    finally:
        for wire in slow:
            wire.close()


def test_s35_a_client_that_does_not_read_is_let_go() -> None:
    """A reply that nobody takes is dropped after the time that a request may last."""
    documents = ["panda " * 20_000] * 40
    body = json.dumps({"query": "panda", "documents": documents, "return_documents": True}).encode()

    with serve_here(scripted(), timeout_s=1.0, body_timeout_s=20) as server, _wire(server) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.send(request("/v1/rerank", body))
        time.sleep(2.5)
        got = 0
        with pytest.raises(ConnectionResetError):  # noqa: PT012 - the reset comes behind what was sent before it
            while part := wire.socket.recv(100_000):
                got += len(part)

    assert 0 < got < len(body)


def test_s35_a_reply_that_is_read_in_time_costs_no_connection() -> None:
    """Whoever falls behind with a large reply, but reads it, keeps the connection for longer than a reply may take."""
    body = json.dumps({"query": "panda", "documents": ["panda " * 100_000] * 20, "return_documents": True}).encode()

    with serve_here(scripted(lambda *_: 0.5), timeout_s=4.0) as server, _wire(server) as wire:
        wire.send(request("/v1/rerank", body))
        time.sleep(0.3)
        assert wire.reply()[0] == 200
        time.sleep(4.2)
        assert wire.ask("/v1/rerank", BODY)[0] == 200


def test_s35_a_client_that_reads_drop_by_drop_is_let_go() -> None:
    """A reply has one clock, however steadily a client takes a little of it."""
    body = json.dumps({"query": "panda", "documents": ["panda " * 50_000] * 40, "return_documents": True}).encode()

    with serve_here(scripted(lambda *_: 0.5), timeout_s=4.0) as server, _wire(server) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.send(request("/v1/rerank", body))
        started = time.monotonic()
        with pytest.raises(ConnectionResetError):  # noqa: PT012 - the reset comes behind what was sent before it
            while wire.socket.recv(4000):
                assert time.monotonic() < started + 30
                time.sleep(0.02)


# S42


@pytest.mark.parametrize("path", ["/v1/rerank", "/health"])
def test_s42_a_body_with_two_ends_is_refused(server: Serving, path: str) -> None:
    """Who says both how long a body is and that its chunks will tell gets 400 and no second request in."""
    with _wire(server) as wire:
        head = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire.send(head.encode() + b"0\r\n\r\n" + request("/health", method="GET"))

        assert wire.reply()[0] == 400
        assert wire.is_closed()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/rerank", b"{", 400),
        ("/v1/rerank", b'{"query": "", "documents": ["a"]}', 400),
        ("/v1/rerank", b'{"query": "a", "documents": ["a"], "model": "nobody"}', 404),
        ("/nowhere", BODY, 404),
        ("/health", BODY, 405),
    ],
)
def test_s42_a_connection_lives_on_after_a_refusal(server: Serving, path: str, body: bytes, status: int) -> None:
    """After an answer of 4xx the same connection answers the next request."""
    with _wire(server) as wire:
        for _ in range(3):
            assert wire.ask(path, body)[0] == status
            assert wire.ask("/v1/rerank", BODY)[0] == 200


def test_s42_a_connection_lives_on_after_a_refused_key() -> None:
    """The body behind a refused key is not taken for the next request."""
    with serve_here(scripted(), api_keys=("secret",)) as server, _wire(server) as wire:
        for _ in range(3):
            assert wire.ask("/v1/rerank", BODY * 2000)[0] == 401
            assert wire.ask("/v1/rerank", BODY, "Authorization: Bearer secret")[0] == 200


def test_s42_an_idle_connection_is_kept(server: Serving) -> None:
    """A connection between two requests is not held to the clock of a slow one."""
    with _wire(server) as wire:
        assert wire.ask("/v1/rerank", BODY)[0] == 200
        time.sleep(SHORT_S * 3)

        assert wire.ask("/v1/rerank", BODY)[0] == 200


def test_s42_requests_in_a_row_are_answered_in_order(server: Serving) -> None:
    """Two requests sent at once on one connection are both answered, the first first."""
    with _wire(server) as wire:
        wire.send(request("/health", method="GET") + request("/v1/rerank", BODY) + request("/nowhere", method="GET"))

        assert [wire.reply()[0] for _ in range(3)] == [200, 200, 404]


def test_s42_head_is_answered_without_a_body(server: Serving) -> None:
    """HEAD gets the status and nothing that the next reply could be mistaken for."""
    with _wire(server) as wire:
        assert wire.ask("/health", method="HEAD")[::2] == (200, b"")
        assert wire.ask("/health", method="HEAD")[0] == 200
        assert wire.ask("/v1/rerank", BODY)[0] == 200


def test_s42_pages_of_other_sites_get_no_permission(server: Serving) -> None:
    """A browser's preflight is refused, and no reply allows another origin."""
    origin = "Origin: https://elsewhere.example"
    with _wire(server) as wire:
        asked = wire.ask("/v1/rerank", b"", origin, "Access-Control-Request-Method: POST", method="OPTIONS")
        answered = wire.ask("/v1/rerank", BODY, origin)

    assert (asked[0], answered[0]) == (405, 200)
    assert not [name for _, headers, _ in (asked, answered) for name in headers if name.startswith("access-control")]


def test_s42_a_broken_request_breaks_only_its_own_connection(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """What is no HTTP at all gets 400, and the server lives on."""
    caplog.set_level(logging.CRITICAL, logger="uvicorn")
    with _wire(server) as wire:
        assert wire.send(b"\x16\x03\x01 hello\r\n\r\n").reply()[0] == 400
    with _wire(server) as wire:
        assert wire.ask("/v1/rerank", BODY)[0] == 200
