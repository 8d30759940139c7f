"""What the server counts, and that it counts nothing of what callers wrote."""

import re
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

import resift
from resift.errors import Overloaded
from resift.server.served import open_served
from resift.testing import FakeRanker
from resift.types import Workload
from serving import DOCUMENTS, QUERY, scripted, served, serving

BODY: dict[str, Any] = {"query": QUERY, "documents": DOCUMENTS}


class Working(FakeRanker):
    """A ranker that knows of its work, as a model here does."""

    workload = Workload(waiting_tokens=7, batches=3, tokens=600, room=800)


def _read(client: httpx2.Client) -> dict[str, float]:
    """Return each number by its name and labels."""
    reply = client.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(reply.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_s30_requests_are_counted_by_route_and_status() -> None:
    """Every request is counted under its route and status, and its seconds are in the histogram."""
    with serving(scripted()) as server, server.client() as client:
        for _ in range(3):
            client.post("/v1/rerank", json=BODY)
        client.post("/v1/rerank", json={})
        client.get("/health")
        found = _read(client)

    assert found["resift_requests_total{route=/v1/rerank,status=200}"] == 3
    assert found["resift_requests_total{route=/v1/rerank,status=400}"] == 1
    assert found["resift_requests_total{route=/health,status=200}"] == 1
    assert found["resift_request_seconds_count{route=/v1/rerank}"] == 4
    assert found["resift_request_seconds_bucket{le=+Inf,route=/v1/rerank}"] == 4
    assert 0 < found["resift_request_seconds_sum{route=/v1/rerank}"] < 60


def test_s30_work_is_counted_by_model() -> None:
    """Rankings, documents, tokens and documents that were cut are counted under the served name."""
    with (
        serving(served(scripted(cuts=frozenset(DOCUMENTS[:2])), "one"), served(scripted(), "two")) as server,
        server.client() as client,
    ):
        for name in ("one", "one", "two"):
            assert client.post("/v1/rerank", json={**BODY, "model": name}).status_code == 200
        found = _read(client)

    tokens = sum(len(text.split()) for text in DOCUMENTS)
    assert found["resift_rankings_total{model=one}"] == 2
    assert found["resift_documents_total{model=one}"] == 6
    assert found["resift_documents_total{model=two}"] == 3
    assert found["resift_tokens_total{model=one}"] == 2 * tokens
    assert found["resift_truncated_documents_total{model=one}"] == 4
    assert found["resift_truncated_documents_total{model=two}"] == 0


def test_s30_the_queue_and_the_fill_of_batches_are_shown() -> None:
    """What waits for a model, and how full its batches were, is read from its ranker when it is asked for."""
    with serving(Working(model="mine")) as server, server.client() as client:
        found = _read(client)

    assert found["resift_queue_tokens{model=mine}"] == 7
    assert found["resift_batches_total{model=mine}"] == 3
    assert found["resift_batch_tokens_total{model=mine}"] == 600
    assert found["resift_batch_room_tokens_total{model=mine}"] == 800
    assert found["resift_batch_fill{model=mine}"] == 0.75


def test_s30_a_real_ranker_says_so_too() -> None:
    """The rankers of this library have these numbers; the built-in scorer's are all zero."""
    model = open_served("words", lambda normalize: resift.open("lexical", normalize=normalize))
    with serving(model) as server, server.client() as client:
        client.post("/v1/rerank", json=BODY)
        found = _read(client)

    assert found["resift_queue_tokens{model=words}"] == 0
    assert found["resift_batch_fill{model=words}"] == 0
    assert found["resift_documents_total{model=words}"] == 3


def test_s30_a_ranker_without_a_queue_has_no_numbers() -> None:
    """A model that runs elsewhere is left out where only the one who runs it could know."""
    with serving(scripted()) as server, server.client() as client:
        assert not [name for name in _read(client) if name.startswith("resift_queue_tokens")]


@pytest.mark.parametrize(
    ("reason", "status"),
    [("key", 401), ("invalid", 400), ("too_large", 413), ("busy", 429), ("timeout", 504), ("internal", 500)],
)
def test_s30_refusals_are_counted_by_reason(reason: str, status: int) -> None:
    """Whatever turns a request away has a name in the metrics."""
    errors = {"busy": Overloaded("much waits"), "internal": RuntimeError("broken")}
    ranker = scripted(fails=[errors[reason]] if reason in errors else [], delay_s=30 if reason == "timeout" else 0)
    settings: dict[str, Any] = {"api_keys": ("sk-1",), "open_metrics": True, "max_body_bytes": 10_000}
    with serving(ranker, timeout_s=0.2 if reason == "timeout" else 60, **settings) as server, server.client() as client:
        body = {"too_large": b" " * 20_000, "invalid": b"{"}.get(reason)
        client.headers["Authorization"] = "Bearer sk-2" if reason == "key" else "Bearer sk-1"
        reply = client.post("/v1/rerank", content=body) if body else client.post("/v1/rerank", json=BODY)
        found = _read(client)

    assert reply.status_code == status
    assert found[f"resift_refusals_total{{reason={reason}}}"] == 1
    assert sum(count for name, count in found.items() if name.startswith("resift_refusals_total")) == 1
    assert found[f"resift_requests_total{{route=/v1/rerank,status={status}}}"] == 1


def test_s30_what_is_in_flight_is_shown() -> None:
    """Requests that are being answered are a gauge, which falls again."""
    with serving(scripted(delay_s=0.05)) as server, server.client() as client:
        client.post("/v1/rerank", json=BODY)
        with server.house.admission.enter():
            assert _read(client)["resift_requests_in_flight"] == 1
        assert _read(client)["resift_requests_in_flight"] == 0
        assert _read(client)["resift_body_bytes"] == 0


def test_s30_no_label_holds_what_a_caller_wrote() -> None:
    """Paths, models, methods and texts of callers' own become no label, so the number of series is bounded."""
    with serving(scripted()) as server, server.client() as client:
        for at in range(30):
            client.post(f"/panda{at}", json=BODY)
            client.post(
                f"/v1/retrieval/panda{at}/reranking", json={"query": {"text": "a"}, "passages": [{"text": "b"}]}
            )
            client.post("/v1/rerank", json={**BODY, "model": f"panda{at}"})
            client.request(f"PANDA{at}", "/v1/rerank")
        text = client.get("/metrics").text
        found = _read(client)

    assert "panda" not in text.lower()
    assert {name.partition("{")[2] for name in found if name.startswith("resift_requests_total")} == {
        "route=other,status=404}",
        "route=/v1/retrieval/{model:path}/reranking,status=404}",
        "route=/v1/rerank,status=404}",
        "route=/v1/rerank,status=405}",
        "route=/metrics,status=200}",
    }


def test_s30_the_key_guards_the_numbers_unless_told_otherwise() -> None:
    """With keys /metrics asks for one; with `open_metrics` it does not, and nothing else is opened by that."""
    with serving(scripted(), api_keys=("sk-1",)) as server, server.client() as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"X-API-Key": "sk-1"}).status_code == 200
    with serving(scripted(), api_keys=("sk-1",), open_metrics=True) as server, server.client() as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/metrics/").status_code == 200
        assert client.post("/v1/rerank", json=BODY).status_code == 401


def test_s30_the_process_is_measured_too() -> None:
    """Memory, processor time and open files stand under the names that every dashboard knows."""
    with serving(scripted()) as server, server.client() as client:
        found = _read(client)

    assert found["process_resident_memory_bytes"] > 1e6
    assert found["process_open_fds"] > 1


def test_s30_two_servers_count_apart() -> None:
    """Servers in one process do not add to each other's numbers."""
    with serving(scripted()) as one, serving(scripted()) as other, one.client() as client, other.client() as apart:
        client.post("/v1/rerank", json=BODY)

        assert not [name for name in _read(apart) if re.search(r"requests_total.*/v1/rerank", name)]
