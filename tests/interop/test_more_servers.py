"""Xinference, local-reranker and llama.cpp, tiny models: what our client gets from each is what the model says."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from interop import more_servers
from interop.servers import Server, free_port, running
from resift.errors import EndpointMisbehaved, EndpointRefused, EndpointUnavailable

# Building an environment takes minutes where it is not there yet, and compiling llama.cpp a quarter of an hour.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(3600)]

KEY = "sk-3Kp8vZt5YcM1xWq7"
OTHER_KEY = "sk-9Hs4gTn2RbD6uFj1"

# Blank texts tie with each other up to a rounding; what does not fit into 512 tokens has a test of its own.
DOCUMENTS = [document for document in tiny.DOCUMENTS[:-1] if document.strip()]
MAPPING: dict[str, Any] = {"title": "Panda", "food": ["bamboo", "fruit"], "sleep_h": 10}
OVERLONG = tiny.DOCUMENTS[-1] * 3


@dataclass(frozen=True)
class Habits:
    """What a server does in its own way."""

    no_route: int
    """The status by which it says that it has no such route."""

    unknown_model: int | None
    """The status of its refusal; None where it answers whatever the name."""

    drops_empty: bool
    """Whether an empty document is missing from its answer."""


HABITS = {
    # Its web page takes every path, for GET only.
    "xinference": Habits(no_route=405, unknown_model=404, drops_empty=False),
    "local-reranker": Habits(no_route=404, unknown_model=None, drops_empty=True),
}


@dataclass(frozen=True)
class Endpoint:
    """A server under test, and how it is reached."""

    server: Server
    habits: Habits

    def connect(self, route: str = "", **options: Any) -> resift.Ranker:
        """Return a ranker for the server, as a caller would write it."""
        given: dict[str, Any] = {"model": "tiny", "api_key": KEY, "timeout_s": 60.0}
        return resift.connect(self.server.url + route, **given | options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the model that everybody serves."""
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    return tiny.build("bert-cross", tmp_path_factory.mktemp("model") / "tiny", **sizes)


@pytest.fixture(scope="module")
def local(model: Path) -> Iterator[resift.Ranker]:
    """Return the model as it scores here, between 0 and 1."""
    with resift.load(str(model), normalize=True, dtype="float32", device="cpu") as ranker:
        yield ranker


@contextmanager
def _serving(name: str, model: Path, folder: Path) -> Iterator[Server]:
    if name == "xinference":
        with more_servers.xinference(model, folder=folder) as server:
            yield server
    else:
        port = free_port()
        with running(name, more_servers.local_reranker(model, port), port, folder=folder) as server:
            yield server


@pytest.fixture(scope="module", params=HABITS)
def endpoint(
    request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    """Return one server after the other."""
    with _serving(request.param, model, tmp_path_factory.mktemp(request.param)) as server:
        yield Endpoint(server, HABITS[request.param])


def _order(ranking: resift.Ranking) -> list[int]:
    return [hit.index for hit in ranking]


def _scores(ranking: resift.Ranking) -> list[float]:
    return [hit.score for hit in ranking]


def test_c35_the_order_is_the_local_one(endpoint: Endpoint, local: resift.Ranker) -> None:
    """A real server puts the documents in the order in which the model puts them here, with the same scores."""
    with endpoint.connect() as ranker:
        ranking = ranker.rank(tiny.QUERY, DOCUMENTS)
    expected = local.rank(tiny.QUERY, DOCUMENTS)

    assert _order(ranking) == _order(expected)
    assert _scores(ranking) == pytest.approx(_scores(expected), abs=1e-3)
    assert all(hit.document is DOCUMENTS[hit.index] for hit in ranking)
    assert (ranking.model, ranking.missing) == ("tiny", ())


@pytest.mark.parametrize("route", ["/", "/v1", "/v1/", "/v1/rerank"])
def test_c1_every_way_to_write_the_address_reaches_it(endpoint: Endpoint, local: resift.Ranker, route: str) -> None:
    """A host, a base address and a full route lead to the same scores."""
    with endpoint.connect(route) as ranker:
        scores = ranker.score(tiny.QUERY, DOCUMENTS[:3])

    assert scores == pytest.approx(local.score(tiny.QUERY, DOCUMENTS[:3]), abs=1e-3)


def test_c34_declared_scores_are_taken_as_declared(endpoint: Endpoint, local: resift.Ranker) -> None:
    """What is said to be in [0, 1] is returned as it is under `normalize=True`."""
    with endpoint.connect(scores="probabilities", normalize=True) as ranker:
        scores = ranker.score(tiny.QUERY, DOCUMENTS)

    assert scores == pytest.approx(local.score(tiny.QUERY, DOCUMENTS), abs=1e-3)


async def test_c33_async_calls_say_the_same(endpoint: Endpoint) -> None:
    """`arank` and `ascore` return what `rank` and `score` return."""
    with endpoint.connect() as ranker:
        here, there = ranker.rank(tiny.QUERY, DOCUMENTS), await ranker.arank(tiny.QUERY, DOCUMENTS)
        scores = await ranker.ascore(tiny.QUERY, DOCUMENTS)

    assert _order(here) == _order(there)
    assert _scores(here) == pytest.approx(_scores(there), abs=1e-5)
    assert scores == pytest.approx([hit.score for hit in sorted(here, key=lambda hit: hit.index)], abs=1e-5)


def test_c14_only_the_best_are_returned(endpoint: Endpoint, local: resift.Ranker) -> None:
    """`top_n` cuts a real server's answer as it cuts a local one."""
    with endpoint.connect() as ranker:
        best = ranker.rank(tiny.QUERY, DOCUMENTS, top_n=3)

    assert _order(best) == _order(local.rank(tiny.QUERY, DOCUMENTS, top_n=3))


def test_c29_split_requests_are_merged(endpoint: Endpoint, local: resift.Ranker) -> None:
    """Documents that were spread over many requests come back as one list."""
    documents = [f"{document} {copy}" for copy in range(3) for document in DOCUMENTS]
    with endpoint.connect(max_documents_per_request=7, max_concurrency=4) as ranker:
        scores = ranker.score(tiny.QUERY, documents)

    assert scores == pytest.approx(local.score(tiny.QUERY, documents), abs=1e-3)


def test_mappings_are_read_as_they_are_here(endpoint: Endpoint, local: resift.Ranker) -> None:
    """A mapping has the same score there as here, whatever the server thinks of objects."""
    documents: list[resift.Document] = [MAPPING, DOCUMENTS[0]]
    with endpoint.connect() as ranker:
        ranking = ranker.rank(tiny.QUERY, documents)

    assert _scores(ranking) == pytest.approx(_scores(local.rank(tiny.QUERY, documents)), abs=1e-3)
    assert any(hit.document is MAPPING for hit in ranking)


def test_c13_an_empty_document_is_scored_or_said_to_be_missing(endpoint: Endpoint, local: resift.Ranker) -> None:
    """An empty document has its score, or is named as missing where a server drops it; the others keep their places."""
    documents = [DOCUMENTS[0], "", DOCUMENTS[1]]
    expected = local.score(tiny.QUERY, documents)
    with endpoint.connect() as ranker:
        ranking = ranker.rank(tiny.QUERY, documents)
        if endpoint.habits.drops_empty:
            with pytest.raises(EndpointMisbehaved, match=r"\b1\b"):
                ranker.score(tiny.QUERY, documents)

    assert ranking.missing == ((1,) if endpoint.habits.drops_empty else ())
    assert sorted([*_order(ranking), *ranking.missing]) == [0, 1, 2]
    assert _scores(ranking) == pytest.approx([expected[index] for index in _order(ranking)], abs=1e-3)


def test_c15_copies_tie_in_the_callers_order(endpoint: Endpoint) -> None:
    """Equal documents have equal scores, and keep their order."""
    with endpoint.connect() as ranker:
        ranking = ranker.rank(tiny.QUERY, [DOCUMENTS[0]] * 40)

    assert _order(ranking) == list(range(40))
    assert len(set(_scores(ranking))) == 1


def test_c22_an_unknown_model_is_refused_where_the_server_cares(endpoint: Endpoint) -> None:
    """A model that is not there is refused for good; a server that does not look at names answers."""
    with endpoint.connect(model="nobody") as ranker:
        if endpoint.habits.unknown_model is None:
            assert len(ranker.rank(tiny.QUERY, DOCUMENTS[:2])) == 2
            return
        with pytest.raises(EndpointRefused) as refused:
            ranker.rank(tiny.QUERY, DOCUMENTS[:2])

    assert refused.value.status == endpoint.habits.unknown_model


def test_c21_a_route_that_is_not_there_is_named(endpoint: Endpoint) -> None:
    """A 405 says that there is no such route, as a 404 does: the next one is tried, and the error names both."""
    with endpoint.connect("/nowhere") as ranker, pytest.raises(EndpointRefused) as refused:
        ranker.rank(tiny.QUERY, DOCUMENTS[:2])

    assert refused.value.status == endpoint.habits.no_route
    base = f"{endpoint.server.url}/nowhere"
    assert f"tried {base}/v1/rerank, {base}/rerank;" in str(refused.value)


@pytest.mark.parametrize(("dialect", "route"), [("cohere", "/v2/rerank"), ("tei", "/rerank")])
def test_a_dialect_that_it_does_not_speak_is_refused(endpoint: Endpoint, dialect: str, route: str) -> None:
    """With the wrong dialect, the error names the route that the server does not have."""
    with endpoint.connect(dialect=dialect) as ranker, pytest.raises(EndpointRefused, match=f"tried .*{route};") as no:
        ranker.rank(tiny.QUERY, DOCUMENTS[:2])

    assert no.value.status == endpoint.habits.no_route


def test_overlong_documents_are_cut_as_they_are_here(endpoint: Endpoint, local: resift.Ranker) -> None:
    """A text beyond the model's window is cut there where it is cut here."""
    with endpoint.connect() as ranker:
        scores = ranker.score(tiny.QUERY, [OVERLONG, DOCUMENTS[0]])

    assert scores == pytest.approx(local.score(tiny.QUERY, [OVERLONG, DOCUMENTS[0]]), abs=1e-3)


def test_a_server_that_ended_is_unavailable(model: Path, tmp_path: Path) -> None:
    """After a real server has ended, a ranker that used it says that it cannot be reached."""
    with _serving("local-reranker", model, tmp_path) as server:
        ranker = Endpoint(server, HABITS["local-reranker"]).connect(max_retries=1)
        assert len(ranker.rank(tiny.QUERY, DOCUMENTS[:2])) == 2
    with ranker, pytest.raises(EndpointUnavailable):
        ranker.rank(tiny.QUERY, DOCUMENTS[:2])


# llama.cpp, with a RoBERTa: of a BERT it leaves out the layer before the last


# Where a text spells a special token, llama.cpp reads the text, and the model's own tokenizer the token.
PLAIN = [document for document in DOCUMENTS if "<pad>" not in document and "</s>" not in document]


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the model that llama.cpp serves."""
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    return tiny.build("roberta-cross", tmp_path_factory.mktemp("roberta") / "tiny", **sizes)


@pytest.fixture(scope="module")
def llama(roberta: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of llama.cpp's server."""
    folder, port = tmp_path_factory.mktemp("llama"), free_port()
    converted = more_servers.as_gguf(roberta, folder / "tiny.gguf")
    with running("llama", more_servers.llama(converted, port, key=KEY), port, folder=folder) as server:
        yield server.url


def _connect(url: str, **options: Any) -> resift.Ranker:
    given: dict[str, Any] = {"model": "tiny", "api_key": KEY, "timeout_s": 60.0}
    return resift.connect(url, **given | options)


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


@pytest.mark.parametrize("dialect", ["auto", "tei"])
def test_c35_llamas_order_is_the_local_one(llama: str, roberta: Path, dialect: str) -> None:
    """llama.cpp puts the documents in the order of the model here, with the same scores, in both of its dialects."""
    with (
        _connect(llama, dialect=dialect) as ranker,
        resift.load(str(roberta), normalize=True, dtype="float32", device="cpu") as local,
    ):
        ranking, expected = ranker.rank(tiny.QUERY, PLAIN), local.rank(tiny.QUERY, PLAIN)

    assert _order(ranking) == _order(expected)
    assert [_sigmoid(score) for score in _scores(ranking)] == pytest.approx(_scores(expected), abs=1e-3)
    assert (ranking.model, ranking.missing) == ("tiny", ())


@pytest.mark.parametrize("dialect", ["auto", "tei"])
def test_c35_llama_answers_for_every_document(llama: str, dialect: str) -> None:
    """llama.cpp ranks every document once, blank ones and special tokens too, best first."""
    documents = ["", "   ", *DOCUMENTS]
    with _connect(llama, dialect=dialect) as ranker:
        ranking = ranker.rank(tiny.QUERY, documents)

    assert sorted(_order(ranking)) == list(range(len(documents)))
    assert _scores(ranking) == sorted(_scores(ranking), reverse=True)


def test_c29_llama_says_the_same_in_both_dialects(llama: str) -> None:
    """What llama.cpp returns as TEI does is what it returns as Jina does, however the requests are split."""
    documents = [f"{document} {copy}" for copy in range(3) for document in DOCUMENTS]
    with _connect(llama) as flat, _connect(llama, dialect="tei") as tei:
        assert tei.score(tiny.QUERY, documents) == pytest.approx(flat.score(tiny.QUERY, documents), abs=1e-3)


@pytest.mark.parametrize("route", ["/", "/v1", "/v1/rerank", "/v1/reranking", "/rerank", "/reranking"])
def test_c1_every_route_of_llama_leads_to_the_same_scores(llama: str, route: str) -> None:
    """A base address and each of the full routes reach llama.cpp."""
    with _connect(llama) as ranker, _connect(llama + route) as other:
        expected = ranker.score(tiny.QUERY, DOCUMENTS[:3])
        assert other.score(tiny.QUERY, DOCUMENTS[:3]) == pytest.approx(expected, abs=1e-3)


def test_c34_llamas_logits_become_probabilities_where_they_are_declared(llama: str) -> None:
    """Declared logits pass a sigmoid once, and are left alone under `normalize=False`."""
    with (
        _connect(llama) as as_given,
        _connect(llama, scores="logits", normalize=True) as bounded,
        _connect(llama, scores="logits", normalize=False) as raw,
    ):
        logits = as_given.score(tiny.QUERY, DOCUMENTS)
        assert raw.score(tiny.QUERY, DOCUMENTS) == pytest.approx(logits, abs=1e-3)
        bounds = [_sigmoid(logit) for logit in logits]
        assert bounded.score(tiny.QUERY, DOCUMENTS) == pytest.approx(bounds, abs=1e-3)


def test_c34_llamas_logits_are_no_teis_probabilities(llama: str) -> None:
    """llama.cpp does not heed the wish for scores in [0, 1], which is noticed instead of passed on."""
    with _connect(llama, dialect="tei", normalize=True) as ranker, pytest.raises(EndpointMisbehaved, match="logits"):
        ranker.score(tiny.QUERY, DOCUMENTS)


def test_c15_copies_tie_with_llama(llama: str) -> None:
    """llama.cpp sorts ties as it likes; here they keep the caller's order."""
    with _connect(llama) as ranker:
        ranking = ranker.rank(tiny.QUERY, [DOCUMENTS[0]] * 40)

    assert _order(ranking) == list(range(40))
    assert len(set(_scores(ranking))) == 1


@pytest.mark.parametrize("dialect", ["auto", "tei"])
def test_c21_llama_refuses_a_wrong_key(llama: str, dialect: str) -> None:
    """A key that llama.cpp does not know is refused for good, and the error does not repeat it."""
    with (
        _connect(llama, dialect=dialect, api_key=OTHER_KEY) as ranker,
        pytest.raises(EndpointRefused, match="api_key") as refused,
    ):
        ranker.rank(tiny.QUERY, DOCUMENTS[:2])

    assert refused.value.status == 401
    assert OTHER_KEY not in str(refused.value)


@pytest.mark.parametrize("dialect", ["auto", "tei"])
def test_c25_llamas_500_for_overlong_texts_is_a_refusal(llama: str, dialect: str) -> None:
    """A pair that does not fit is refused for good, though llama.cpp says 500; the error does not repeat it."""
    with _connect(llama, dialect=dialect) as ranker, pytest.raises(EndpointRefused, match="too large") as refused:
        ranker.rank(tiny.QUERY, [OVERLONG, DOCUMENTS[0]])

    assert refused.value.status in (400, 500)
    assert "On day 1 the panda" not in str(refused.value)


def test_c21_llama_has_no_route_of_coheres(llama: str) -> None:
    """With a dialect that llama.cpp does not speak, the error names the route that it does not have."""
    with _connect(llama, dialect="cohere") as ranker, pytest.raises(EndpointRefused, match="/v2/rerank;") as refused:
        ranker.rank(tiny.QUERY, DOCUMENTS[:2])

    assert refused.value.status == 404
