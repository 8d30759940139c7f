"""What the server counts, as Prometheus reads it; labels are routes, models and reasons, never what a caller wrote."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from resift.server.admission import Admission
from resift.server.served import Served
from resift.types import Workload

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class _Measure(NamedTuple):
    """One number that an engine knows of its work."""

    family: type[GaugeMetricFamily] | type[CounterMetricFamily]
    name: str
    words: str
    read: Callable[[Workload], float]


_WORK = (
    _Measure(GaugeMetricFamily, "queue_tokens", "Tokens that wait for a device.", lambda work: work.waiting_tokens),
    _Measure(CounterMetricFamily, "batches", "Batches run.", lambda work: work.batches),
    _Measure(CounterMetricFamily, "batch_tokens", "Tokens in the batches that ran.", lambda work: work.tokens),
    _Measure(CounterMetricFamily, "batch_room_tokens", "Tokens they had room for.", lambda work: work.room),
    _Measure(
        GaugeMetricFamily,
        "batch_fill",
        "How full batches were since the start, from 0 to 1.",
        lambda work: work.tokens / work.room if work.room else 0.0,
    ),
)


class Metrics:
    """The counters of one server; several servers in one process count apart."""

    def __init__(self, models: Sequence[Served], admission: Admission) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests answered.", ("route", "status"))
        self._seconds = self._histogram("request_seconds", "From the request's head to the reply's end.", _SECONDS)
        self._refusals = self._counter("refusals", "Requests turned away, by reason.", ("reason",))
        self._rankings = self._counter("rankings", "Rankings computed.", ("model",))
        self._documents = self._counter("documents", "Documents scored.", ("model",))
        self._tokens = self._counter("tokens", "Tokens that the model read.", ("model",))
        self._truncated = self._counter("truncated_documents", "Documents of which the model read a part.", ("model",))
        self._registry.register(_Now(models, admission))
        ProcessCollector(registry=self._registry)  # memory, processor time and open files, under the usual names

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one request and how long it took."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def scored(self, model: str, *, documents: int, tokens: int = 0, truncated: int = 0) -> None:
        """Count one ranking, under its served name."""
        self._rankings.labels(model).inc()
        self._documents.labels(model).inc(documents)
        self._tokens.labels(model).inc(tokens)
        self._truncated.labels(model).inc(truncated)

    def refused(self, reason: str) -> None:
        """Count one request that was turned away."""
        self._refusals.labels(reason).inc()

    def render(self) -> bytes:
        """Return all of it as text; `CONTENT_TYPE` says which."""
        return generate_latest(self._registry)

    def _counter(self, name: str, words: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"resift_{name}", words, labels, registry=self._registry)

    def _histogram(self, name: str, words: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"resift_{name}", words, ("route",), buckets=buckets, registry=self._registry)


class _Now(Collector):
    """What is read at the moment it is asked for: who is in the house, and what the engines say of their work."""

    def __init__(self, models: Sequence[Served], admission: Admission) -> None:
        self._models, self._admission = models, admission

    def collect(self) -> "Iterator[GaugeMetricFamily | CounterMetricFamily]":
        yield _gauge("requests_in_flight", "Scoring requests being answered.", self._admission.requests)
        yield _gauge("body_bytes", "Bytes of request bodies kept.", self._admission.bytes)
        for measure in _WORK:
            family = measure.family(f"resift_{measure.name}", measure.words, labels=["model"])
            for served in self._models:
                work = getattr(served.ranker(None)[0], "workload", None)
                if work is not None:
                    family.add_metric([served.name], measure.read(work))
            yield family


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"resift_{name}", words, value=value)
