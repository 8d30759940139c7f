"""Real servers, one tiny model: what our client gets from each is what the model says here."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from interop import servers
from interop.servers import Server, free_port, running
from resift.errors import EndpointRefused, EndpointUnavailable

# Building an environment takes minutes where it is not there yet, and vLLM takes one to start.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(1800)]

KEY = "sk-7Qm2xVb9LtR4wZc8"
OTHER_KEY = "sk-1Fd6yKp3HsN5gJv0"

# Blank texts tie with each other up to a rounding; what does not fit into 512 tokens has a test of its own.
DOCUMENTS = [document for document in tiny.DOCUMENTS[:-1] if document.strip()]
MAPPING: dict[str, Any] = {"title": "Panda", "food": ["bamboo", "fruit"], "sleep_h": 10}
OVERLONG = tiny.DOCUMENTS[-1] * 3


@dataclass(frozen=True)
class Habits:
    """What a server does in its own way."""

    routes: tuple[str, ...]
    """Every base address under which it is found."""

    unknown_key: int
    unknown_model: int | None
    """The status of its refusal; None where it answers whatever the name."""

    cuts: bool
    """Whether a text that is too long is cut; otherwise it is refused."""

    leaves_out: bool = False
    """Whether an empty text is left out of the pair, with the mark behind it, so that another number comes out."""


HABITS = {
    "resift": Habits(
        routes=("", "/", "/v1", "/v1/", "/v1/rerank", "/rerank"), unknown_key=401, unknown_model=404, cuts=True
    ),
    "infinity": Habits(routes=("", "/", "/rerank"), unknown_key=401, unknown_model=None, cuts=True),
    "infinity-v1": Habits(routes=("", "/v1", "/v1/", "/v1/rerank"), unknown_key=401, unknown_model=None, cuts=True),
    "vllm": Habits(
        routes=("", "/v1", "/v1/", "/v1/rerank"), unknown_key=401, unknown_model=404, cuts=False, leaves_out=True
    ),
    # Without a database, no key but the master key can be looked up.
    "litellm": Habits(routes=("", "/", "/v1", "/v1/rerank", "/rerank"), unknown_key=400, unknown_model=400, cuts=True),
}


@dataclass(frozen=True)
class Endpoint:
    """A server under test, and how it is reached."""

    server: Server
    habits: Habits
    key: str = field(default=KEY, repr=False)

    def connect(self, route: str = "", **options: Any) -> resift.Ranker:
        """Return a ranker for the server, as a caller would write it."""
        given: dict[str, Any] = {"model": "tiny", "api_key": self.key, "timeout_s": 60.0}
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
    port = free_port()
    with ExitStack() as stack:
        if name == "resift":
            command = servers.ours(model, port, key=KEY)
        elif name == "vllm":
            command = servers.vllm(model, port, key=KEY)
        elif name == "litellm":
            upstream = stack.enter_context(_serving("infinity", model, folder))
            command = servers.litellm(upstream.url, port, key=KEY, folder=folder)
        else:
            command = servers.infinity(model, port, key=KEY, prefix="/v1" if name == "infinity-v1" else "")
        yield stack.enter_context(running(name, command, port, folder=folder))


@pytest.fixture(scope="module", params=HABITS)
def endpoint(
    request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    """Return one server after the other."""
    with _serving(request.param, model, tmp_path_factory.mktemp(request.param)) as server:
        yield Endpoint(server, HABITS[request.param])


def _order(ranking: resift.Ranking) -> list[int]:
    return [hit.index for hit in ranking]


def test_c35_the_order_is_the_local_one(endpoint: Endpoint, local: resift.Ranker) -> None:
    """A real server puts the documents in the order in which the model puts them here, with the same scores."""
    with endpoint.connect() as ranker:
        ranking = ranker.rank(tiny.QUERY, DOCUMENTS)
    expected = local.rank(tiny.QUERY, DOCUMENTS)

    assert _order(ranking) == _order(expected)
    assert [hit.score for hit in ranking] == pytest.approx([hit.score for hit in expected], abs=1e-3)
    assert all(hit.document is DOCUMENTS[hit.index] for hit in ranking)
    assert (ranking.model, ranking.missing) == ("tiny", ())


def test_c1_every_way_to_write_the_address_reaches_it(endpoint: Endpoint, local: resift.Ranker) -> None:
    """A host, a base address and a full route lead to the same scores."""
    expected = local.score(tiny.QUERY, DOCUMENTS[:3])

    for route in endpoint.habits.routes:
        with endpoint.connect(route) as ranker:
            assert ranker.score(tiny.QUERY, DOCUMENTS[:3]) == pytest.approx(expected, abs=1e-3), route


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
    assert [hit.score for hit in here] == pytest.approx([hit.score for hit in there], abs=1e-5)
    assert scores == pytest.approx([hit.score for hit in sorted(here, key=lambda hit: hit.index)], abs=1e-5)


def test_c14_only_the_best_are_returned(endpoint: Endpoint, local: resift.Ranker) -> None:
    """`top_n` and `threshold` cut a real server's answer as they cut a local one."""
    expected = local.rank(tiny.QUERY, DOCUMENTS)
    with endpoint.connect() as ranker:
        best = ranker.rank(tiny.QUERY, DOCUMENTS, top_n=3)
        above = ranker.rank(tiny.QUERY, DOCUMENTS, threshold=(expected[4].score + expected[5].score) / 2)

    assert _order(best) == _order(expected)[:3]
    assert _order(above) == _order(expected)[:5]


def test_c29_split_requests_are_merged(endpoint: Endpoint, local: resift.Ranker) -> None:
    """Documents that were spread over many requests come back as one list."""
    documents = [f"{document} {copy}" for copy in range(3) for document in DOCUMENTS]
    with endpoint.connect(max_documents_per_request=7, max_concurrency=4) as ranker:
        scores = ranker.score(tiny.QUERY, documents)

    assert scores == pytest.approx(local.score(tiny.QUERY, documents), abs=1e-3)


def test_many_requests_are_answered_in_order(endpoint: Endpoint, local: resift.Ranker) -> None:
    """`rank_many` yields what a real server says of each request, in the caller's order."""
    requests = [(f"{tiny.QUERY} {number}", DOCUMENTS[number : number + 5]) for number in range(12)]
    with endpoint.connect() as ranker:
        rankings = list(ranker.rank_many(requests))

    for ranking, (query, documents) in zip(rankings, requests, strict=True):
        expected = local.rank(query, documents)
        assert [hit.score for hit in ranking] == pytest.approx([hit.score for hit in expected], abs=1e-3)


def test_mappings_are_read_as_they_are_here(endpoint: Endpoint, local: resift.Ranker) -> None:
    """A mapping has the same score there as here, whatever the server thinks of objects."""
    documents: list[resift.Document] = [MAPPING, DOCUMENTS[0]]
    with endpoint.connect() as ranker:
        ranking = ranker.rank(tiny.QUERY, documents)

    assert [hit.score for hit in ranking] == pytest.approx(
        [hit.score for hit in local.rank(tiny.QUERY, documents)], abs=1e-3
    )
    assert any(hit.document is MAPPING for hit in ranking)


def test_c13_blank_documents_keep_their_place(endpoint: Endpoint, local: resift.Ranker) -> None:
    """A document without a word is scored like any other, and moves none of the others."""
    documents = [DOCUMENTS[0], "", DOCUMENTS[1]]
    with endpoint.connect() as ranker:
        scores = ranker.score(tiny.QUERY, documents)

    expected = local.score(tiny.QUERY, documents)
    assert len(scores) == len(documents)
    assert scores[::2] == pytest.approx(expected[::2], abs=1e-3)
    assert (scores[1] == pytest.approx(expected[1], abs=1e-3)) is not endpoint.habits.leaves_out


def test_c15_copies_tie_in_the_callers_order(endpoint: Endpoint) -> None:
    """Equal documents have equal scores, and keep their order."""
    with endpoint.connect() as ranker:
        ranking = ranker.rank(tiny.QUERY, [DOCUMENTS[0]] * 40)

    assert _order(ranking) == list(range(40))
    assert len({hit.score for hit in ranking}) == 1


def test_c5_no_documents_need_no_server(endpoint: Endpoint) -> None:
    """An empty list is ranked without a request, so that even a wrong key does not matter."""
    with endpoint.connect(api_key=OTHER_KEY) as ranker:
        assert list(ranker.rank(tiny.QUERY, [])) == []


def test_c21_a_wrong_key_is_refused(endpoint: Endpoint) -> None:
    """A key that the server does not know is refused for good, and the error does not repeat it."""
    with endpoint.connect(api_key=OTHER_KEY) as ranker, pytest.raises(EndpointRefused) as refused:
        ranker.rank(tiny.QUERY, DOCUMENTS[:2])

    assert refused.value.status == endpoint.habits.unknown_key
    assert OTHER_KEY not in str(refused.value)


def test_c22_an_unknown_model_is_refused_where_the_server_cares(endpoint: Endpoint) -> None:
    """A model that is not there is refused for good; a server that does not look at names answers."""
    with endpoint.connect(model="nobody") as ranker:
        if endpoint.habits.unknown_model is None:
            assert len(ranker.rank(tiny.QUERY, DOCUMENTS[:2])) == 2
            return
        with pytest.raises(EndpointRefused) as refused:
            ranker.rank(tiny.QUERY, DOCUMENTS[:2])

    assert refused.value.status == endpoint.habits.unknown_model


def test_overlong_documents_are_cut_or_refused(endpoint: Endpoint, local: resift.Ranker) -> None:
    """A text beyond the model's window is cut as it is here, or refused for good; the error does not repeat it."""
    documents = [OVERLONG, DOCUMENTS[0]]
    with endpoint.connect() as ranker:
        if endpoint.habits.cuts:
            assert ranker.score(tiny.QUERY, documents) == pytest.approx(local.score(tiny.QUERY, documents), abs=1e-3)
            return
        with pytest.raises(EndpointRefused) as refused:
            ranker.score(tiny.QUERY, documents)

    assert refused.value.status == 400
    assert "On day 1 the panda" not in str(refused.value)


def test_a_route_that_is_not_there_is_named(endpoint: Endpoint) -> None:
    """Under a wrong address, the error names what was tried."""
    with endpoint.connect("/nowhere") as ranker, pytest.raises(EndpointRefused, match="/nowhere") as refused:
        ranker.rank(tiny.QUERY, DOCUMENTS[:2])

    assert refused.value.status in (401, 404, 405)


# our own server, in every dialect that both ends know


@pytest.fixture(scope="module")
def own(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Return our own server."""
    with _serving("resift", model, tmp_path_factory.mktemp("own")) as server:
        yield Endpoint(server, HABITS["resift"])


@pytest.mark.parametrize("dialect", ["openai", "cohere", "voyage", "mixedbread", "tei", "resift"])
def test_our_server_speaks_our_clients_dialects(own: Endpoint, local: resift.Ranker, dialect: str) -> None:
    """The same scores between 0 and 1 come back in every dialect that both ends know."""
    declared = "probabilities" if dialect in ("openai", "mixedbread") else None  # the others say so themselves
    with own.connect(dialect=dialect, normalize=True, scores=declared) as ranker:
        assert ranker.score(tiny.QUERY, DOCUMENTS) == pytest.approx(local.score(tiny.QUERY, DOCUMENTS), abs=1e-3)


@pytest.mark.parametrize("dialect", ["tei", "resift", "nvidia"])
def test_our_server_gives_logits_where_a_dialect_can_ask(own: Endpoint, model: Path, dialect: str) -> None:
    """`normalize=False` returns the local logits in the dialects that know them."""
    with (
        own.connect(dialect=dialect, normalize=False) as ranker,
        resift.load(str(model), normalize=False, dtype="float32", device="cpu") as local,
    ):
        assert ranker.score(tiny.QUERY, DOCUMENTS) == pytest.approx(local.score(tiny.QUERY, DOCUMENTS), abs=1e-3)


def test_our_server_returns_what_load_returns(own: Endpoint, model: Path) -> None:
    """In our own dialect a connected ranker gives the loaded one's numbers to the last digits."""
    with (
        own.connect(dialect="resift") as ranker,
        resift.load(str(model), dtype="float32", device="cpu") as local,
    ):
        assert ranker.score(tiny.QUERY, DOCUMENTS) == pytest.approx(local.score(tiny.QUERY, DOCUMENTS), abs=1e-5)


# what goes wrong with a real server


def test_a_full_queue_is_said_to_be_temporary(model: Path, tmp_path: Path) -> None:
    """A real server that takes no more work is unavailable, with its 429, and never misunderstood."""
    port = free_port()
    command = servers.infinity(model, port)
    command = replace(command, environment={"INFINITY_QUEUE_SIZE": "1"})
    documents = [f"{document} {copy}" for copy in range(60) for document in DOCUMENTS]
    with (
        running("infinity", command, port, folder=tmp_path) as server,
        Endpoint(server, HABITS["infinity"]).connect(max_documents_per_request=20, max_retries=0) as ranker,
        pytest.raises(EndpointUnavailable) as unavailable,
    ):
        ranker.rank(tiny.QUERY, documents)

    assert unavailable.value.status == 429


def test_a_server_that_ended_is_unavailable(model: Path, tmp_path: Path) -> None:
    """After a real server has ended, a ranker that used it says that it cannot be reached."""
    port = free_port()
    with running("infinity", servers.infinity(model, port), port, folder=tmp_path) as server:
        ranker = Endpoint(server, HABITS["infinity"]).connect(max_retries=1)
        assert len(ranker.rank(tiny.QUERY, DOCUMENTS[:2])) == 2
    with ranker, pytest.raises(EndpointUnavailable):
        ranker.rank(tiny.QUERY, DOCUMENTS[:2])
