"""Whatever an endpoint does, a call ends in time, with the right error, after no more requests than allowed."""

import math
import socket
import ssl
import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import resift
from resift.errors import (
    DeadlineExceeded,
    EndpointError,
    EndpointMisbehaved,
    EndpointRefused,
    EndpointUnavailable,
)
from scripted_server import (
    Act,
    Request,
    ScriptedServer,
    after,
    cut_short,
    drop,
    endless_body,
    error,
    gzip_bomb,
    html,
    redirect,
    reply,
    rerank,
    reset,
    stall,
    stall_in_body,
    trickle_body,
    trickle_head,
)

QUERY = "what do pandas eat?"
DOCUMENTS = ["1 Paris", "3 bamboo"]
SCORES = [1.0, 3.0]
KEY = "sk-1234567890abcdef"
CERTIFICATE = Path(__file__).parent / "loopback_certificate.pem"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("resift.remote.exchange.random", lambda: 0.0)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Yield a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def _ask(server: ScriptedServer, **options: Any) -> tuple[EndpointError, float]:
    """Return the error of one call, and how long it took."""
    with resift.connect(server.url, api_key=KEY, **options) as ranker:
        began = time.monotonic()
        with pytest.raises(EndpointError) as caught:
            ranker.score(QUERY, DOCUMENTS)
        return caught.value, time.monotonic() - began


# one row per fault

BAD_RESULTS: dict[str, Any] = {
    "an index that was not sent": [{"index": 2, "relevance_score": 1.0}],
    "a negative index": [{"index": -1, "relevance_score": 1.0}],
    "an index twice": [{"index": 0, "relevance_score": 1.0}, {"index": 0, "relevance_score": 2.0}],
    "an index that is true": [{"index": True, "relevance_score": 1.0}],
    "a fraction as index": [{"index": 0.5, "relevance_score": 1.0}],
    "no index": [{"relevance_score": 1.0}],
    "no score": [{"index": 0}],
    "null as score": [{"index": 0, "relevance_score": None}],
    "words as score": [{"index": 0, "relevance_score": "high"}],
}

FAULTS: dict[str, tuple[Act, type[EndpointError], int]] = {
    "a page": (html(), EndpointMisbehaved, 1),
    "an empty body": (reply(b""), EndpointMisbehaved, 1),
    "JSON without its end": (reply(b'{"results": [{"index": 0', kind="application/json"), EndpointMisbehaved, 1),
    "NaN": (reply(b'{"results": [{"index": 0, "relevance_score": NaN}]}'), EndpointMisbehaved, 1),
    "a gzip bomb": (gzip_bomb(), EndpointMisbehaved, 1),
    "gzip that is none": (reply(b"{}", headers={"content-encoding": "gzip"}), EndpointMisbehaved, 1),
    "a packing that nobody asked for": (reply(b"{}", headers={"content-encoding": "br"}), EndpointMisbehaved, 1),
    "a body without end": (endless_body, EndpointMisbehaved, 1),
    "an error with status 200": (reply({"error": {"message": "no model"}}), EndpointMisbehaved, 1),
    "no HTTP": (after(0, lambda talk: talk.send(b"SSH-2.0-OpenSSH\r\n\r\n")), EndpointUnavailable, 3),
    "a closed connection": (drop, EndpointUnavailable, 3),
    "a reset connection": (reset, EndpointUnavailable, 3),
    "half a body": (cut_short(), EndpointUnavailable, 3),
    "half a body and a reset": (cut_short(reset=True), EndpointUnavailable, 3),
    "silence": (stall, DeadlineExceeded, 1),
    "silence in the body": (stall_in_body, DeadlineExceeded, 1),
    "a trickled head": (trickle_head(), DeadlineExceeded, 1),
    "a trickled body": (trickle_body(), DeadlineExceeded, 1),
    "a redirect elsewhere": (redirect("http://127.0.0.1:9/v1/rerank"), EndpointRefused, 1),
    "a redirect to itself": (redirect("/v1/rerank"), EndpointMisbehaved, 4),
    "a wrong key": (error("who?", status=401), EndpointRefused, 1),
    "a page with status 500": (html(500), EndpointUnavailable, 2),
    **{what: (reply({"results": results}), EndpointMisbehaved, 1) for what, results in BAD_RESULTS.items()},
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("what", FAULTS)
def test_c19_every_fault_ends_in_time_with_its_error(what: str) -> None:
    """A fault is one error of the tree, after so many requests, before the deadline, and with nothing secret in it."""
    act, kind, requests = FAULTS[what]
    with ScriptedServer([act]) as server:
        found, took = _ask(server, timeout_s=1.0 if kind is DeadlineExceeded else 8.0)
        assert type(found) is kind
        assert len(server.requests) == requests
        assert took < 8.0
        assert server.wait_for(lambda it: it.opened == it.closed)
    assert found.__context__ is None
    assert found.__cause__ is None
    told = traceback.TracebackException.from_exception(found, capture_locals=True)
    assert KEY not in "".join(told.format())
    assert "bamboo" not in str(found)
    assert server.url.removeprefix("http://") in str(found)


@pytest.mark.usefixtures("impatient")
def test_faults_pass() -> None:
    """After a fault the same ranker gets its answer, if the endpoint has one."""
    with (
        ScriptedServer([drop, reset, rerank(), html(), rerank()]) as server,
        resift.connect(server.url) as ranker,
    ):
        assert ranker.score(QUERY, DOCUMENTS) == SCORES
        with pytest.raises(EndpointMisbehaved):
            ranker.score(QUERY, DOCUMENTS)
        assert ranker.score(QUERY, DOCUMENTS) == SCORES


# where redirects lead (C4)


@pytest.mark.parametrize("status", [307, 308])
def test_c4_the_same_server_may_send_a_request_on(status: int) -> None:
    """A redirect to another path of the same server gets the same body and the key again."""

    def answer(request: Request) -> Act:
        return rerank() if request.path.endswith("/") else redirect("/v1/rerank/", status)

    with ScriptedServer(answer) as server, resift.connect(server.url, api_key=KEY) as ranker:
        assert ranker.score(QUERY, DOCUMENTS) == SCORES
    first, second = server.requests
    assert (first.path, second.path) == ("/v1/rerank", "/v1/rerank/")
    assert first.body == second.body
    assert second.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_c4_no_other_server_gets_the_key(status: int) -> None:
    """A redirect to another server is an error that names it; nothing is sent there."""
    with ScriptedServer() as other, ScriptedServer([redirect(f"{other.url}/v1/rerank?token=x", status)]) as server:
        found, _ = _ask(server)
        assert other.opened == 0
    assert isinstance(found, EndpointRefused)
    assert found.status == status
    assert other.url in str(found)
    assert "token" not in str(found)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_c4_a_redirect_that_would_drop_the_body_is_not_followed(status: int) -> None:
    """A redirect that turns a POST into a GET is an error, even on the same server."""
    with ScriptedServer([redirect("/other", status)]) as server:
        found, _ = _ask(server)
        assert len(server.requests) == 1
    assert isinstance(found, EndpointRefused)


@pytest.mark.parametrize("location", ["http://[", "http://:99999/x", "ftp://127.0.0.1/x", "http://u:p@127.0.0.1/"])
def test_c4_a_redirect_to_nowhere_is_an_error(location: str) -> None:
    """An address that is none, or holds a name and a password, is never asked."""
    with ScriptedServer([redirect(location)]) as server:
        found, _ = _ask(server)
        assert len(server.requests) == 1
    assert isinstance(found, EndpointRefused)
    assert "u:p" not in str(found)


# routes


def test_c1_the_flat_shape_is_looked_for_on_both_routes() -> None:
    """404 and 405 both mean another route, and the one that worked is asked first from then on."""
    for missing in (404, 405):

        def answer(request: Request, status: int = missing) -> Act:
            return rerank() if request.path == "/rerank" else reply({"detail": "Not Found"}, status=status)

        with ScriptedServer(answer) as server, resift.connect(server.url) as ranker:
            assert ranker.score(QUERY, DOCUMENTS) == ranker.score(QUERY, DOCUMENTS) == SCORES
        assert [request.path for request in server.requests] == ["/v1/rerank", "/rerank", "/rerank"]


def test_c21_where_no_route_is_the_error_lists_what_was_tried() -> None:
    """The error of an endpoint without the route names every address that was asked."""
    with ScriptedServer([reply({"detail": "Not Found"}, status=404)]) as server:
        found, _ = _ask(server)
        assert len(server.requests) == 2
    assert isinstance(found, EndpointRefused)
    assert f"{server.url}/v1/rerank, {server.url}/rerank" in str(found)


@pytest.mark.parametrize("status", [401, 403])
def test_c21_a_wrong_key_is_not_tried_again(status: int) -> None:
    """An endpoint that wants another key is asked once, and the error says where keys come from."""
    with ScriptedServer([error("Unauthorized", status=status)]) as server:
        found, _ = _ask(server)
        assert len(server.requests) == 1
    assert isinstance(found, EndpointRefused)
    assert found.status == status
    assert "RESIFT_API_KEY" in str(found)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_c22_what_was_wrong_is_not_tried_again(status: int) -> None:
    """A request that the endpoint finds wrong is sent once; the error has its words, status and request id."""
    with ScriptedServer([error("too many documents", status=status, headers={"x-request-id": "r-17"})]) as server:
        found, _ = _ask(server)
        assert len(server.requests) == 1
    assert isinstance(found, EndpointRefused)
    assert (found.status, found.request_id) == (status, "r-17")
    assert "too many documents" in str(found)


# C23 to C25: trying again


def _date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"Retry-After": "1"}, 1.0),
        ({"Retry-After-Ms": "300"}, 0.3),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "date"}, 1.0),
    ],
)
def test_c23_what_the_endpoint_asks_for_is_waited(status: int, headers: dict[str, str], least: float) -> None:
    """The next request comes after the time that the endpoint asked for, in whatever form it said so."""

    def answer(_: Request) -> Act:
        given = {name: _date(2.5) if value == "date" else value for name, value in headers.items()}
        return rerank() if len(server.requests) > 1 else error("later", status=status, headers=given)

    with ScriptedServer(answer) as server, resift.connect(server.url) as ranker:
        assert ranker.score(QUERY, DOCUMENTS) == SCORES
    first, second = server.requests
    assert least <= second.at - first.at < least + 3


@pytest.mark.parametrize("said", ["1000000000", "9" * 40])
def test_c23_nobody_waits_beyond_the_deadline(said: str) -> None:
    """Where the endpoint asks for more time than there is, the call ends at once, with what it said."""
    with ScriptedServer([error("tomorrow", status=429, headers={"Retry-After": said})]) as server:
        found, took = _ask(server, timeout_s=0.4)
    assert took < 2.0
    assert isinstance(found, EndpointUnavailable)
    assert found.status == 429


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_c24_a_busy_endpoint_is_asked_again(status: int) -> None:
    """A request is sent `max_retries` times more, then the call fails with the endpoint's status and words."""
    for retries in (0, 1, 2):
        with ScriptedServer([error("come back later", status=status)]) as server:
            found, _ = _ask(server, max_retries=retries)
            assert len(server.requests) == 1 + retries
        assert isinstance(found, EndpointUnavailable)
        assert found.status == status
        assert "come back later" in str(found)


def test_c24_pauses_grow_and_are_not_all_alike() -> None:
    """Without advice the pauses are drawn at random, from windows that double."""
    with ScriptedServer([error("later", status=503)]) as server:
        _, took = _ask(server)
        times = [request.at for request in server.requests]
    gaps = [second - first for first, second in pairwise(times)]
    assert len(gaps) == 2
    assert gaps[0] < 0.5 + 1.0
    assert gaps[1] < 1.0 + 1.0
    assert took < 5


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("message", "requests", "kind"),
    [
        ("Internal Server Error", 2, EndpointUnavailable),
        ("input is too large to process", 1, EndpointRefused),
        ("[json.exception.parse_error.101] parse error", 1, EndpointRefused),
    ],
)
def test_c25_a_500_is_tried_once_more_unless_it_blames_the_input(
    message: str, requests: int, kind: type[EndpointError]
) -> None:
    """A crash may pass; a server that calls the input wrong will call it wrong again."""
    with ScriptedServer([error(message, status=500)]) as server:
        found, _ = _ask(server, max_retries=5)
        assert len(server.requests) == requests
    assert type(found) is kind


def test_retries_are_told_without_any_text(caplog: pytest.LogCaptureFixture) -> None:
    """A log line says whom the client waits for, why and how long; never what was asked."""
    caplog.set_level("INFO", logger="resift")
    with ScriptedServer([error("bamboo is out", status=503, headers={"retry-after": "0"}), rerank()]) as server:
        with resift.connect(server.url, api_key=KEY) as ranker:
            ranker.score(QUERY, DOCUMENTS)
        host = server.url.removeprefix("http://")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "resift"]
    assert line.startswith(f"{host} answered 503; trying again in ")
    assert "bamboo" not in caplog.text
    assert KEY not in caplog.text


# C26: broken connections


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("act", "phase"),
    [
        (drop, "before it replied"),
        (reset, "before it replied"),
        (cut_short(), "in the middle of its reply"),
        (cut_short(reset=True), "in the middle of its reply"),
    ],
)
def test_c26_a_broken_connection_is_tried_again_and_told(act: Act, phase: str) -> None:
    """A dropped or reset connection costs a retry; if it stays so, the error says when it broke."""
    with ScriptedServer([act, rerank()]) as server, resift.connect(server.url) as ranker:
        assert ranker.score(QUERY, DOCUMENTS) == SCORES
    with ScriptedServer([act]) as server:
        found, _ = _ask(server)
        assert len(server.requests) == 3
    assert phase in str(found)


@pytest.mark.usefixtures("impatient")
def test_c26_an_endpoint_that_is_not_there_is_told(closed_port: int) -> None:
    """A refused connection and a host without an address are errors that say so."""
    for url, reason in ((f"http://127.0.0.1:{closed_port}", ": Connection refused"), ("http://endpoint.invalid", "")):
        with (
            resift.connect(url, timeout_s=8) as ranker,
            pytest.raises(EndpointUnavailable, match=f"could not be reached{reason}"),
        ):
            ranker.score(QUERY, DOCUMENTS)


# how long it takes (C27)


@pytest.mark.parametrize("act", [stall, stall_in_body, trickle_head(), trickle_body()])
def test_c27_the_deadline_is_kept(act: Act) -> None:
    """A call ends when its time is up, not noticeably later, and its connection with it."""
    with ScriptedServer([act]) as server:
        found, took = _ask(server, timeout_s=1.0)
        assert isinstance(found, DeadlineExceeded)
        assert isinstance(found, TimeoutError)
        assert 1.0 <= took < 1.2 + 0.5
        assert "timeout_s=1" in str(found)
        assert server.wait_for(lambda it: it.left == 1)


def test_c27_the_deadline_covers_retries_and_waiting_for_a_turn() -> None:
    """A call that tries again, or waits behind others, has no more time than any."""
    with ScriptedServer([after(0.3, error("later", status=503, headers={"retry-after-ms": "300"}))]) as server:
        found, took = _ask(server, timeout_s=0.8, max_retries=50)
        assert took < 1.6
        assert len(server.requests) <= 3
    assert isinstance(found, DeadlineExceeded | EndpointUnavailable)
    with ScriptedServer([stall]) as server:
        found, took = _ask(server, timeout_s=0.5, max_concurrency=1, max_documents_per_request=1)
        assert took < 1.5
        assert len(server.requests) == 1
    assert isinstance(found, DeadlineExceeded)


def test_c27_a_call_may_have_another_deadline() -> None:
    """A ranker's own patience can be overridden, both ways."""
    with ScriptedServer([after(0.4, rerank())]) as server, resift.connect(server.url, timeout_s=0.1) as ranker:
        assert ranker.with_timeout(20).score(QUERY, DOCUMENTS) == SCORES
        with pytest.raises(DeadlineExceeded):
            ranker.score(QUERY, DOCUMENTS)


def test_c27_no_answer_to_the_handshake_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting has a shorter time of its own, and the error says that it was connecting."""
    monkeypatch.setattr("resift.remote.transport.CONNECT_S", 0.3)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # behind these the kernel answers nobody
            waiting.settimeout(0)
            waiting.connect_ex(full.getsockname())
        with resift.connect(f"http://127.0.0.1:{full.getsockname()[1]}", max_retries=0, timeout_s=20) as ranker:
            began = time.monotonic()
            with pytest.raises(EndpointUnavailable, match="could not be reached: it took too long"):
                ranker.score(QUERY, DOCUMENTS)
            assert time.monotonic() - began < 5


def test_c27_a_sync_client_of_the_callers_is_held_to_the_deadline() -> None:
    """A client that would wait for ever is not waited for."""
    import httpx2

    for act in (stall, trickle_body(), stall_in_body):
        with ScriptedServer([act]) as server, httpx2.Client(timeout=None) as client:
            found, took = _ask(server, timeout_s=0.5, http_client=client)
            assert isinstance(found, DeadlineExceeded)
            assert took < 1.5
            assert server.wait_for(lambda it: it.opened == it.closed)


def test_a_client_of_the_callers_may_fail_in_its_own_way() -> None:
    """Whatever a caller's client raises, with the request and its key inside, becomes an error of ours without it."""
    import httpx2

    def handle(request: httpx2.Request) -> httpx2.Response:
        raise LookupError(str(request.headers))

    with (
        httpx2.Client(transport=httpx2.MockTransport(handle)) as client,
        resift.connect("http://endpoint.invalid", api_key=KEY, http_client=client) as ranker,
        pytest.raises(EndpointUnavailable, match="before it replied: LookupError") as caught,
    ):
        ranker.score(QUERY, DOCUMENTS)
    assert caught.value.__context__ is None
    assert KEY not in "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())


# C28: the budget


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("act", [error("down", status=503), drop])
def test_c28_an_outage_is_not_made_worse(act: Act) -> None:
    """When every request fails, retries are at most a tenth of the requests, beyond the first few."""
    calls = 80
    with ScriptedServer([act]) as server, resift.connect(server.url, max_retries=3) as ranker:
        for _ in range(calls):
            with pytest.raises(EndpointUnavailable):
                ranker.score(QUERY, DOCUMENTS)
        retries = len(server.requests) - calls
    assert 10 <= retries <= math.ceil(10 + calls * 0.1)


@pytest.mark.usefixtures("impatient")
def test_c28_a_ranker_recovers_with_its_endpoint() -> None:
    """Calls that are answered earn retries anew."""
    acts: Sequence[Act] = [error("down", status=503)] * 40 + [rerank()]
    with ScriptedServer(acts) as server, resift.connect(server.url) as ranker:
        failed = 0
        while len(server.requests) < 40:
            with pytest.raises(EndpointUnavailable):
                ranker.score(QUERY, DOCUMENTS)
            failed += 1
        assert failed > 20
        assert ranker.score(QUERY, DOCUMENTS) == SCORES


# C36: proxies, certificates, addresses


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the proxies of whoever runs this."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.usefixtures("no_proxies")
def test_c36_the_environments_proxy_is_used_but_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to another host go through the proxy, those to this machine never do."""
    with ScriptedServer() as proxy, ScriptedServer() as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        with resift.connect("http://endpoint.invalid:8000") as ranker:
            assert ranker.score(QUERY, DOCUMENTS) == SCORES
        for host in ("127.0.0.1", "localhost"):
            with resift.connect(f"http://{host}:{server.port}") as ranker:
                assert ranker.score(QUERY, DOCUMENTS) == SCORES
    assert [request.path for request in proxy.requests] == ["http://endpoint.invalid:8000/v1/rerank"]
    assert len(server.requests) == 2


@pytest.mark.usefixtures("no_proxies")
def test_c36_a_proxy_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy setting that cannot be used is an error that names the variables, and not their values."""
    monkeypatch.setenv("ALL_PROXY", "gopher://user:hunter2@nowhere")
    with resift.connect("http://endpoint.invalid") as ranker, pytest.raises(resift.InvalidInput) as caught:
        ranker.score(QUERY, DOCUMENTS)
    assert "ALL_PROXY" in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_c36_certificates_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that nobody vouches for ends the call before the key is sent; one that is trusted does not."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with ScriptedServer(tls=tls) as server:
        found, _ = _ask(server)
        assert isinstance(found, EndpointUnavailable)
        assert "certificate" in str(found)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        with resift.connect(server.url) as ranker:
            assert ranker.score(QUERY, DOCUMENTS) == SCORES


def test_c36_https_is_not_left_for_http() -> None:
    """A redirect from TLS to plain HTTP on the same machine is another server, and gets nothing."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with ScriptedServer() as plain, ScriptedServer([redirect(f"{plain.url}/v1/rerank")], tls=tls) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
            found, _ = _ask(server)
        assert plain.opened == 0
    assert isinstance(found, EndpointRefused)


def test_c36_an_ipv6_address_is_an_address() -> None:
    """A literal IPv6 host works, and is told apart from its port."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with ScriptedServer(host="::1") as server, resift.connect(f"{server.url}/v1") as ranker:
        assert ranker.score(QUERY, DOCUMENTS) == SCORES
        assert ranker.model == f"[::1]:{server.port}"
    assert server.requests[0].headers["host"] == f"[::1]:{server.port}"
