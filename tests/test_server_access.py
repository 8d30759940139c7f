"""Who may come in, and what is said about it: keys, request ids, log lines, and never a word of the input."""

import hmac
import json
import logging
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from living import Wire, port_of, serve_here
from resift.errors import InvalidInput
from resift.server import access
from resift.server.dispatch import PATHS
from resift.server.settings import ServerSettings
from serving import DOCUMENTS, QUERY, failing, scripted, serving

KEY, OTHER = "sk-Panda-5f2b", "sk-Other-77aa"
BODY: dict[str, Any] = {"query": QUERY, "documents": DOCUMENTS}


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx2.Client]:
    """Serve with two keys."""
    with serving(scripted(), api_keys=(KEY, OTHER)) as server, server.client() as client:
        yield client


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Hear everything that is logged at the level that `resift serve` has."""
    caplog.set_level(logging.INFO, logger="resift")
    return caplog


def _ask(client: httpx2.Client, path: str = "/v1/rerank", **headers: str) -> httpx2.Response:
    return client.post(path, json=BODY, headers={name.replace("_", "-"): value for name, value in headers.items()})


# S28


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"Bearer {OTHER}"},
        {"Authorization": f"bearer {KEY}"},
        {"Authorization": f"BEARER   {KEY}"},
        {"Authorization": KEY},
        {"X-API-Key": KEY},
        {"Api-Key": KEY},
        {"Authorization": "Bearer wrong", "X-API-Key": KEY},
    ],
)
def test_s28_a_key_opens_however_a_client_sends_it(guarded: httpx2.Client, headers: dict[str, str]) -> None:
    """Bearer in any case, the bare key, and the two headers of their own all open the routes."""
    assert guarded.post("/v1/rerank", json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": f"Bearer {KEY.lower()}"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY} {OTHER}"},
        {"X-API-Key": ""},
        {"Api-Key": f"Bearer {KEY}"},
        {"Cookie": f"key={KEY}"},
    ],
)
def test_s28_anything_else_is_refused(guarded: httpx2.Client, headers: dict[str, str]) -> None:
    """No key and a wrong key get 401, the challenge of RFC 9110, and a body that every client understands."""
    reply = guarded.post("/v1/rerank", json=BODY, headers=headers)

    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert reply.json()["error"]["type"] == "authentication_error"
    assert reply.json()["detail"] == reply.json()["message"] == reply.json()["error"]["message"]


@pytest.mark.parametrize("path", [path.replace("{model:path}", "some/model") for path in PATHS])
def test_s28_every_scoring_route_asks_for_the_key(guarded: httpx2.Client, path: str) -> None:
    """There is no side door: not by another dialect's path, a slash more, or a doubled one."""
    for written in (path, f"{path}/", f"/{path}", path.replace("/", "//")):
        assert guarded.post(written, json=BODY).status_code == 401


def test_s28_every_route_asks_for_the_key_but_those_that_are_named() -> None:
    """A route that is added later is guarded from its first day."""
    with serving(scripted(), api_keys=(KEY,)) as server, server.client() as client:
        for route in server.app.routes:
            path = str(getattr(route, "path", "")).replace("{model:path}", "m")
            for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT"):
                is_refused = client.request(method, path).status_code == 401
                assert is_refused is (path not in access.OPEN_PATHS), (method, path)
        assert client.get("/nowhere").status_code == 401


def test_s28_a_key_in_the_address_is_no_key(guarded: httpx2.Client) -> None:
    """Query strings end up in logs, so they open nothing."""
    assert guarded.post("/v1/rerank", params={"api_key": KEY, "key": KEY}, json=BODY).status_code == 401


def test_s28_without_keys_everybody_may_come_in() -> None:
    """A server without a key asks for none, whatever a client sends."""
    with serving(scripted()) as server, server.client() as client:
        assert _ask(client).status_code == 200
        assert _ask(client, authorization="Bearer whatever").status_code == 200


def test_s28_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key that is presented is compared with every key there is, by digests, even behind one that fits."""
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(access, "hmac", SimpleNamespace(compare_digest=compare))
    with serving(scripted(), api_keys=(KEY, OTHER)) as server, server.client() as client:
        for presented in (KEY, KEY[:3], "x" * 5000):
            _ask(client, authorization=f"Bearer {presented}", x_api_key="wrong")

            assert compared == [(32, 32)] * 4
            compared.clear()


def test_s28_bytes_that_are_no_ascii_are_a_wrong_key() -> None:
    """A header of arbitrary bytes gets 401 as well, not a crash."""
    with serve_here(scripted(), api_keys=(KEY,)) as server, Wire(port_of(server)) as wire:
        wire.send(b"POST /v1/rerank HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nX-API-Key: \xff\xfe\xe4\r\n\r\n")

        assert wire.reply()[0] == 401


def test_s28_a_refused_client_is_not_read() -> None:
    """The body of a client without a key is never kept."""
    with serve_here(scripted(), api_keys=(KEY,)) as server, Wire(port_of(server)) as wire:
        wire.send(b"POST /v1/rerank HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + b" " * 1000)

        assert wire.reply()[0] == 401
        assert server.house.admission.bytes == 0


@pytest.mark.parametrize("key", ["", " ", "with blank", "line\nbreak", "käse"])
def test_s28_a_key_that_no_header_can_carry_is_refused_at_start(key: str) -> None:
    """A key that could never be sent is an error of the operator's, told without showing it."""
    with pytest.raises(InvalidInput, match="API key 2") as raised:
        ServerSettings(api_keys=("fine", key))

    assert not key.strip() or key not in str(raised.value)


def test_s28_settings_show_no_key() -> None:
    """The repr of the settings has no key in it."""
    assert KEY not in repr(ServerSettings(api_keys=(KEY,)))


# S41


@pytest.mark.parametrize("given", ["abc-123", "req_A.b:c/d+e=@-", "7" * 128])
def test_s41_a_request_keeps_the_id_that_the_client_gave(given: str) -> None:
    """What comes in as `x-request-id` goes out as it, on answers and on errors."""
    with serving(scripted()) as server, server.client() as client:
        assert _ask(client, x_request_id=given).headers["x-request-id"] == given
        assert client.get("/nowhere", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "7" * 129, "a b", "<script>", "-x", 'a"b'])
def test_s41_an_id_that_is_not_fit_for_a_log_is_replaced(given: str) -> None:
    """What is no plain id does not get into logs and headers; the request gets a new one."""
    with serving(scripted()) as server, server.client() as client:
        answered = _ask(client, x_request_id=given).headers["x-request-id"]

    assert re.fullmatch(r"[0-9a-f]{32}", answered)


def test_s41_every_request_has_an_id_of_its_own() -> None:
    """Requests without an id get different ones, and their replies' `id` differ too."""
    with serving(scripted()) as server, server.client() as client:
        replies = [_ask(client) for _ in range(5)]

    assert len({reply.headers["x-request-id"] for reply in replies}) == 5
    assert len({reply.json()["id"] for reply in replies}) == 5


def test_s41_refusals_have_an_id_too(guarded: httpx2.Client) -> None:
    """401, 404, 405 and 400 carry the id, so that an operator can find their lines."""
    key = {"Authorization": f"Bearer {KEY}", "x-request-id": "mine"}
    replies = [
        guarded.post("/v1/rerank", json=BODY, headers={"x-request-id": "mine"}),
        guarded.get("/nowhere", headers=key),
        guarded.get("/v1/rerank", headers=key),
        guarded.post("/v1/rerank", content=b"{", headers=key),
    ]

    assert [reply.status_code for reply in replies] == [401, 404, 405, 400]
    assert {reply.headers["x-request-id"] for reply in replies} == {"mine"}


# S44


def test_s44_a_request_is_one_line(log: pytest.LogCaptureFixture) -> None:
    """Method, route, status, milliseconds, documents and id: one line for each request but probes that are well."""
    with serving(scripted()) as server, server.client() as client:
        _ask(client, x_request_id="one-scored")
        client.get("/health")
        client.get("/nowhere", headers={"x-request-id": "one-asked"})

    scored, asked = [line for line in log.messages if "id=one-" in line]  # a neighbour's last line may come late
    assert re.fullmatch(r"POST /v1/rerank 200 \d+\.\d ms 3 documents id=one-scored", scored)
    assert re.fullmatch(r"GET other 404 \d+\.\d ms id=one-asked", asked)


SECRETS = (KEY, OTHER, "sk-wrong", "PANDA", "BAMBOO", "whisper")


def _everything(client: httpx2.Client) -> list[httpx2.Response]:
    """Send secrets in every place where a client can put words."""
    key = {"Authorization": f"Bearer {KEY}"}
    texts = {"query": "PANDA", "documents": ["BAMBOO", "more BAMBOO"], "model": "whisper"}
    bodies: list[bytes] = [
        json.dumps({**texts, "model": None}).encode(),
        json.dumps(texts).encode(),
        json.dumps({**texts, "model": None, "top_n": "PANDA"}).encode(),
        json.dumps({**texts, "model": None, "documents": ["BAMBOO", 7]}).encode(),
        json.dumps({**texts, "model": None, "documents": "BAMBOO"}).encode(),
        b'{"query": "PANDA", "documents": ["BAMBOO"',
        b'{"query": "PANDA\xff", "documents": ["BAMBOO"]}',
        b"PANDA BAMBOO",
    ]
    return [
        *(client.post("/v1/rerank?q=whisper", content=body, headers=key) for body in bodies),
        client.post("/rerank", json={"query": "PANDA", "texts": ["BAMBOO", 7]}, headers=key),
        client.post("/whisper/PANDA?BAMBOO", content=b"BAMBOO", headers=key),
        client.request("WHISPER", "/v1/rerank", headers=key),
        client.post("/v1/rerank", json=texts, headers={"Authorization": "Bearer sk-wrong"}),
        client.post("/v1/retrieval/whisper/reranking", json={"query": {"text": "PANDA"}, "passages": []}, headers=key),
        client.post("/v1/rerank", json=texts, headers={**key, "x-request-id": "PANDA BAMBOO"}),
    ]


def test_s44_no_line_holds_a_text_or_a_key(log: pytest.LogCaptureFixture) -> None:
    """Whatever a client sends, and wherever, no log line has a word of it."""
    with serving(scripted(), api_keys=(KEY, OTHER)) as server, server.client() as client:
        replies = _everything(client)

    lines = [record.getMessage() for record in log.records if not record.name.startswith("httpx")]
    assert len([line for line in lines if "id=" in line]) == len(replies)
    assert not [line for line in lines for secret in SECRETS if secret.lower() in line.lower()]


# S26


@pytest.mark.parametrize("error", [RuntimeError("PANDA BAMBOO whisper"), ValueError(f"bad key {KEY}")])
def test_s26_a_fault_tells_nobody_what_it_read(log: pytest.LogCaptureFixture, error: Exception) -> None:
    """An error inside the server is 500 without its words or its trace; the log names its class and place only."""
    with serving(failing(error), api_keys=(KEY,)) as server, server.client() as client:
        reply = _ask(client, authorization=f"Bearer {KEY}")

    lines = "\n".join(f"{record.getMessage()} {record.exc_text or ''} {record.exc_info}" for record in log.records)
    assert reply.status_code == 500
    assert "Traceback" not in reply.text
    assert type(error).__name__ in lines
    assert not [secret for secret in SECRETS if secret in reply.text + lines]


def test_s26_a_fault_outside_of_all_routes_is_answered_too(log: pytest.LogCaptureFixture) -> None:
    """What goes wrong where no route's own table catches it is 500 with an id, and logged without its words."""
    error = RuntimeError("PANDA BAMBOO whisper")
    with serving(scripted()) as server, server.client() as client:

        async def fail() -> None:
            raise error

        server.app.add_api_route("/fail", fail)
        reply = client.get("/fail", headers={"x-request-id": "mine"})

    lines = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in log.records)
    assert (reply.status_code, reply.headers["x-request-id"]) == (500, "mine")
    assert reply.json()["error"]["type"] == "server_error"
    assert "request mine failed: RuntimeError" in lines
    assert 'test_server_access.py", line' in lines
    assert not [secret for secret in SECRETS if secret in reply.text + lines]


def test_s26_refusals_are_small_however_large_the_request(log: pytest.LogCaptureFixture) -> None:
    """Three megabytes of nonsense get a short answer that repeats none of it."""
    nonsense = "BAMBOO" * 500_000
    with serving(scripted()) as server, server.client() as client:
        replies = [
            client.post("/v1/rerank", json={"query": 7, "documents": [nonsense]}),
            client.post("/v1/rerank", json={"query": "a", "documents": [{"x": [nonsense]}], "top_n": nonsense}),
            client.post("/v1/rerank", json={"query": "a", "documents": ["b"], "model": nonsense}),
            client.post("/v1/rerank", content=nonsense.encode()),
            client.post("/v1/rerank", json={"query": "a", "texts": nonsense}),
        ]

    assert all(400 <= reply.status_code < 500 and len(reply.content) < 4096 for reply in replies)
    assert "BAMBOO" not in "".join(reply.text for reply in replies) + "".join(log.messages)
