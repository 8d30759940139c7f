"""Real vendors' clients, each in an environment of its own, against our endpoint."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

import resift
from interop.clients.question import DOCUMENTS, KEY, MODEL, QUERY, TOP_N
from interop.environments import HERE, SLOWEST_S, environment, node_environment

pytestmark = [pytest.mark.interop, pytest.mark.timeout(SLOWEST_S)]

Report = Mapping[str, Any]
STATUSES = (400, 401, 429)
OUR_WORDS = {400: "query must not|rank_fields", 401: "key is needed", 429: "try again"}
AROUND = {
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "127.0.0.1",
    "PYTHONPATH": str(HERE.parent),
}


@dataclass(frozen=True, slots=True)
class Client:
    """One client of one vendor, and what it makes of our answers."""

    environment: str
    program: str
    name: str
    errors: Sequence[str]
    """The classes that it raises for 400, 401 and 429."""

    tells: bool = True
    """Whether its errors hand on what we said."""

    scores: str = "normalized"
    """Which of our scores it hands out; "own" if it makes its own of them."""

    shows_key: bool = True

    def __str__(self) -> str:
        return f"{self.program}-{self.name}"


def _clients(environment: str, program: str, *names: str, errors: Sequence[str], **facts: Any) -> list[Client]:
    return [Client(environment, program, name, errors, **facts) for name in names]


def _of(package: str, *kinds: str) -> tuple[str, ...]:
    return tuple(f"{package}.{kind}" for kind in kinds)


def _only(kind: str) -> tuple[str, ...]:
    """Return what a client raises that knows one kind of failure."""
    return (kind,) * len(STATUSES)


STAINLESS = ("BadRequestError", "AuthenticationError", "RateLimitError")  # by the generator of these vendors' clients
COHERE = ("BadRequestError", "UnauthorizedError", "TooManyRequestsError")
OPENROUTER = ("BadRequestResponseError", "UnauthorizedResponseError", "TooManyRequestsResponseError")
VOYAGE = ("InvalidRequestError", "AuthenticationError", "RateLimitError")
PINECONE = ("ApiError", "UnauthorizedError", "RateLimitError")
PROVIDERS = ("cohere", "jina_ai", "hosted_vllm", "huggingface", "infinity", "together_ai", "voyage")

VENDORS = [
    *_clients("clients-vendors", "cohere", "Client", "ClientV2", errors=_of("cohere", *COHERE)),
    *_clients("clients-vendors", "mixedbread", "Mixedbread", errors=_of("mixedbread", *STAINLESS)),
    *_clients("clients-vendors", "mixedbread_ai", "MixedbreadAI", errors=_of("mixedbread_ai", *COHERE)),
    *_clients("clients-vendors", "pinecone", "Pinecone", errors=_of("pinecone", *PINECONE)),
    *_clients("clients-vendors", "together", "Together", errors=_of("together", *STAINLESS)),
    *_clients("clients-vendors", "voyageai", "Client", errors=_of("voyageai", *VOYAGE)),
    *_clients("clients-litellm", "openai", "post", errors=_of("openai", *STAINLESS)),
    *_clients("clients-more", "openrouter", "OpenRouter", errors=_of("openrouter", *OPENROUTER)),
    *_clients("clients-more", "boto3", "bedrock-agent-runtime", errors=_only("botocore.ClientError"), shows_key=False),
]
FRAMEWORKS = [
    *_clients("clients-litellm", "litellm", *PROVIDERS, errors=_of("litellm", *STAINLESS)),
    *_clients("clients-litellm", "litellm", "nvidia_nim", errors=_of("litellm", *STAINLESS), scores="raw"),
    *_clients("clients-haystack", "haystack", "CohereRanker", errors=_of("cohere", *COHERE)),
    *_clients(
        "clients-haystack", "haystack", "JinaRanker", "HuggingFaceTEIRanker", errors=_only("builtins.RuntimeError")
    ),
    *_clients("clients-haystack", "haystack", "NvidiaRanker", errors=_only("builtins.ValueError"), scores="raw"),
    *_clients("clients-frameworks", "langchain", "CohereRerank", errors=_of("cohere", *COHERE)),
    *_clients("clients-frameworks", "langchain", "JinaRerank", errors=_only("builtins.RuntimeError")),
    *_clients("clients-frameworks", "langchain", "NVIDIARerank", errors=_only("builtins.Exception"), scores="raw"),
    *_clients("clients-more", "langchain_voyageai", "VoyageAIRerank", errors=_of("voyageai", *VOYAGE)),
    *_clients("clients-frameworks", "llama_index", "CohereRerank", errors=_of("cohere", *COHERE)),
    *_clients(
        "clients-frameworks", "llama_index", "JinaRerank", "SiliconFlowRerank", errors=_only("builtins.RuntimeError")
    ),
    *_clients(
        "clients-frameworks",
        "llama_index_xinference",
        "XinferenceRerank",
        errors=_only("builtins.Exception"),
        shows_key=False,
    ),
    *_clients(
        "clients-more",
        "dify",
        "OAICompatRerankModel",
        errors=_only("dify_plugin.InvokeServerUnavailableError"),
        tells=False,
        scores="own",
    ),
]
# These look for results in whatever comes back: what they raise is the stumble over a reply that has none.
STUMBLING = [
    *_clients("clients-frameworks", "langchain", "InfinityRerank", errors=_only("builtins.TypeError"), tells=False),
    # This package's version brings the vendor's older client, which stumbles over an error with an object inside.
    *_clients(
        "clients-frameworks", "langchain", "VoyageAIRerank", errors=_only("builtins.AttributeError"), tells=False
    ),
    *_clients(
        "clients-frameworks",
        "llama_index",
        "TextEmbeddingInference",
        errors=_only("builtins.AssertionError"),
        tells=False,
    ),
    *_clients(
        "clients-frameworks", "llama_index", "DashScopeRerank", errors=_only("builtins.AttributeError"), tells=False
    ),
    *_clients(
        "clients-more",
        "rerankers",
        *("cohere", "jina", "voyage", "mixedbread.ai", "pinecone"),
        errors=_only("builtins.KeyError"),
        tells=False,
    ),
    *_clients(
        "clients-more", "rerankers", "text-embeddings-inference", errors=_only("builtins.TypeError"), tells=False
    ),
]
JAVASCRIPT = [
    *_clients("clients-js", "vendors.mjs", "CohereClient", "CohereClientV2", errors=COHERE),
    *_clients("clients-js", "vendors.mjs", "Mixedbread", errors=STAINLESS),
    *_clients("clients-js", "vendors.mjs", "OpenRouter", errors=OPENROUTER),
    *_clients("clients-js", "vendors.mjs", "VoyageAIClient", errors=_only("VoyageAIError")),
    *_clients("clients-js", "vendors.mjs", "ai-sdk-cohere", "ai-sdk-togetherai", errors=_only("APICallError")),
]
CLIENTS = VENDORS + FRAMEWORKS + STUMBLING + JAVASCRIPT


@pytest.fixture(scope="session")
def report_of(
    endpoint: str, open_endpoint: str, full_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Client], Report]:
    """Return what a client's program has to say; each program runs once, whatever number of tests asks for it."""

    @cache
    def run(where: str, program: str, url: str) -> "subprocess.CompletedProcess[str]":
        command = _in_node if where == "clients-js" else _in_python
        return subprocess.run(
            [*command(where, program), url, full_endpoint, KEY],
            env=os.environ | AROUND,
            cwd=tmp_path_factory.mktemp(where),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def report(client: Client) -> Report:
        url = endpoint if client.shows_key else open_endpoint
        done = run(client.environment, client.program, url)
        lines = (json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"client"'))
        found: dict[str, Report] = {each["client"]: each for each in lines}
        assert client.name in found, f"{client} ended with {done.returncode} and said nothing:\n{done.stderr[-4000:]}"
        return found[client.name]

    return report


def _in_python(where: str, program: str) -> Sequence[str]:
    # -P: else a program named after a vendor's package would be found instead of that package.
    return [str(environment(where).python), "-P", "-m", f"interop.clients.{program}"]


def _in_node(where: str, program: str) -> Sequence[str]:
    if shutil.which("npm") is None:
        pytest.skip("needs Node and npm, version 20 or newer")
    # A module finds its packages beside itself, wherever it is called from.
    script = shutil.copy(HERE / "clients" / program, node_environment(where))
    asked = {"query": QUERY, "documents": DOCUMENTS, "top_n": TOP_N, "model": MODEL}
    return ["node", str(script), json.dumps(asked)]


@pytest.fixture(scope="session")
def expected() -> Mapping[str, resift.Ranking]:
    """Return our local rankings, by the kind of scores in them."""
    with resift.load(normalize=True) as normalized, resift.load(normalize=False) as raw:
        return {"normalized": normalized.rank(QUERY, DOCUMENTS), "raw": raw.rank(QUERY, DOCUMENTS)}


@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_s2_a_client_ranks_as_we_do(
    client: Client, report_of: Callable[[Client], Report], expected: Mapping[str, resift.Ranking]
) -> None:
    """A vendor's client hands out our ranking: order, scores and texts."""
    answer = report_of(client)["all"]

    assert "failed" not in answer, answer
    ranking = expected["raw" if client.scores == "raw" else "normalized"]
    assert answer["order"] == [hit.index for hit in ranking]
    if client.scores != "own":
        assert answer["scores"] == pytest.approx([hit.score for hit in ranking], abs=1e-6)
    for index, text in zip(answer["order"], answer["texts"], strict=True):
        assert text in (None, DOCUMENTS[index])


@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_s2_a_client_gets_the_best_few(
    client: Client, report_of: Callable[[Client], Report], expected: Mapping[str, resift.Ranking]
) -> None:
    """A vendor's client that asks for the best few gets them, and no more."""
    answer = report_of(client)["best"]

    assert "failed" not in answer, answer
    assert answer["order"] == [hit.index for hit in expected["normalized"][:TOP_N]]


@pytest.mark.parametrize(
    ("client", "status"),
    [(client, status) for client in CLIENTS for status in STATUSES if client.shows_key or status != 401],
    ids=str,
)
def test_s27_a_client_raises_its_own_error(client: Client, status: int, report_of: Callable[[Client], Report]) -> None:
    """A vendor's client understands our refusals: it raises the class that it has for them, with our words in it."""
    refusal = report_of(client)["errors"][str(status)]

    assert refusal["kind"] == client.errors[STATUSES.index(status)], refusal
    assert not client.tells or re.search(OUR_WORDS[status], refusal["says"]), refusal
