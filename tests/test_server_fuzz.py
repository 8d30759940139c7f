"""Whatever is sent, the server answers as its own document says, and our own reader understands what it answers."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import ignored_auth, status_code_conformance

from resift.remote.dialects import DIALECTS, Dialect
from resift.remote.replies import read_reply
from resift.remote.requests import Ask, split
from resift.server.app import create_app
from resift.server.dispatch import PATHS
from resift.server.openapi import describe
from resift.server.settings import ServerSettings
from resift.testing import FakeRanker
from resift.types import Ranker
from resift.wire.strict_json import read_json
from serving import Serving, scripted, served, serving

KEY = "a-key-that-nobody-guesses"
MOST = 5

open_document = schemathesis.openapi.from_dict(describe(ServerSettings(max_documents=MOST), version="0"))
closed_document = schemathesis.openapi.from_dict(describe(ServerSettings(api_keys=(KEY,)), version="0"))
closed_document.config.phases.coverage.enabled = False  # the keys are asked for on every path, whatever the body

_bounded = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@open_document.hook
def filter_body(context: schemathesis.HookContext, body: Any) -> bool:
    """Leave out the one thing that a schema cannot say: that some document has one of the named fields."""
    fields = body.get("rank_fields") if isinstance(body, dict) else None
    documents = (body.get("documents") or body.get("input")) if isinstance(body, dict) else None
    if not isinstance(fields, list) or not isinstance(documents, list):
        return True
    objects = [document for document in documents if isinstance(document, dict)]
    return not objects or any(isinstance(field, str) and field in each for each in objects for field in fields)


def _scripted() -> FakeRanker:
    return scripted(lambda _query, text, _told: float(len(text)))


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(served(_scripted(), raw=_scripted(), own=_scripted()), max_documents=MOST) as found:
        yield found


@pytest.fixture(scope="module")
def closed_server() -> Iterator[Serving]:
    with serving(_scripted(), api_keys=(KEY,)) as found:
        yield found


class Direct:
    """Asks an application without a network between: thousands of requests take seconds."""

    def __init__(self, ranker: Ranker) -> None:
        app = create_app([served(ranker, raw=ranker, own=ranker)], ServerSettings(max_documents=MOST))
        self._runner = asyncio.Runner()
        self._client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://server")

    def post(self, path: str, content: bytes, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return self._runner.run(self._client.post(path, content=content, headers=headers))

    def close(self) -> None:
        with self._runner:
            self._runner.run(self._client.aclose())


@pytest.fixture(scope="module")
def direct() -> Iterator[Direct]:
    with closing(Direct(_scripted())) as found:
        yield found


@open_document.parametrize()
@settings(_bounded, max_examples=20)
def test_fuzz_the_server_does_as_its_document_says(case: schemathesis.Case[Any], server: Serving) -> None:
    """No request, right or wrong, is answered otherwise than the OpenAPI document says, least of all with a fault."""
    case.call_and_validate(base_url=server.url)


@closed_document.parametrize()
@settings(_bounded, max_examples=3)
def test_fuzz_no_route_forgets_the_key(case: schemathesis.Case[Any], closed_server: Serving) -> None:
    """Every route that the document calls closed asks for the key, and takes no other."""
    case.call_and_validate(
        base_url=closed_server.url,
        headers={"Authorization": f"Bearer {KEY}"},
        checks=[ignored_auth, not_a_server_error, status_code_conformance],
    )


# what no schema would generate

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["NONE", "raw", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
_documents = st.lists(st.text(max_size=5) | st.fixed_dictionaries({"text": st.text(max_size=5)}) | _json, max_size=3)
_members = {
    "query": st.just("q") | st.just({"text": "q"}) | _json,
    "documents": _documents | _json,
    "texts": _documents | _json,
    "passages": _documents | _json,
    "input": _documents | st.fixed_dictionaries({"query": st.just("q"), "documents": _documents}) | _json,
    "queries": st.just([{"textQuery": {"text": "q"}}]) | _json,
    "sources": st.lists(st.fixed_dictionaries({"inlineDocumentSource": _json}), max_size=2) | _json,
    **dict.fromkeys(
        ["model", "top_n", "top_k", "return_documents", "return_text", "return_input", "rank_fields", "instruction"],
        _json,
    ),
    **dict.fromkeys(["scores", "raw_scores", "use_activation", "truncate", "truncation", "parameters"], _json),
    **dict.fromkeys(["max_tokens_per_doc", "rerankingConfiguration"], _json),
}


@given(
    path=st.sampled_from(PATHS), body=st.fixed_dictionaries({}, optional=_members), by=st.sampled_from(["", "pinecone"])
)
@settings(_bounded, max_examples=300)
def test_fuzz_no_mixture_of_members_is_a_fault(direct: Direct, path: str, body: Any, by: str) -> None:
    """Members of all dialects, right and wrong together, are answered or refused, and the answer is JSON."""
    headers = {"x-pinecone-api-version": "1"} if by == "pinecone" else {}

    response = direct.post(path.replace("{model:path}", "m"), json.dumps(body).encode(), headers)

    assert response.status_code in (200, 400, 404, 422)
    assert isinstance(read_json(response.content), dict | list)


@given(body=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
@settings(_bounded, max_examples=100)
def test_fuzz_no_bytes_are_a_fault(direct: Direct, body: bytes) -> None:
    """Bytes that are no request are refused."""
    assert direct.post("/v1/rerank", body).status_code == 400


# there and back

_pairs = st.dictionaries(
    st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=MOST
)
_queries = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
SPOKEN = [
    dialect for dialect in DIALECTS.values() if dialect.name != "deepinfra"
]  # whose shape has no place to be served


@dataclass
class Told:
    """A ranker that gives the scores that it was last told, and how to ask for them."""

    direct: Direct
    ranker: FakeRanker
    scores: dict[str, float]


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    scores: dict[str, float] = {}
    ranker = scripted(lambda _query, text, _told: scores[text])
    with closing(Direct(ranker)) as direct:
        yield Told(direct, ranker, scores)


@pytest.mark.parametrize("dialect", SPOKEN, ids=lambda dialect: dialect.name)
@given(query=_queries, pairs=_pairs)
@settings(_bounded, max_examples=50)
def test_fuzz_what_we_answer_we_understand(told: Told, dialect: Dialect, query: str, pairs: dict[str, float]) -> None:
    """In every dialect that both sides speak, our reader finds each text's score in our reply, to the last digit."""
    told.scores.clear()
    told.scores.update(pairs)
    texts = list(pairs)
    (part,) = split(dialect, Ask(None, query, texts))

    response = told.direct.post(dialect.routes[0], part.body, dict(dialect.headers))
    assert response.status_code == 200, response.text
    reply = read_reply(response.content, response.headers, dialect=dialect, count=len(texts))

    assert {texts[place]: score for place, score in reply.scores.items()} == pairs
    assert told.ranker.asked[-1]["query"] == query
    assert told.ranker.texts_asked[-1] == texts
    if dialect.name != "pinecone":  # it bills by other units
        assert reply.tokens == sum(len(text.split()) for text in texts)
