"""`ResiftCrossEncoder`: pairs in, scores out, in place of `HuggingFaceCrossEncoder`."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
from langchain_core.documents import Document
from pydantic import SecretStr, ValidationError

import resift
from langchain_resift import ResiftCrossEncoder
from resift.testing import FakeRanker
from scripted_server import ScriptedServer, reply
from serving import serving
from tiny import DOCUMENTS, QUERY, build

PAIRS = [
    ("what is a panda?", "Paris is in France."),
    ("what is a panda?", "A panda is a bear."),
    ("what is a city?", "A panda is a bear."),
    ("what is a panda?", "A panda is a bear."),
    ("what is a city?", "Paris is a city."),
]
KEY = "sk-not-to-be-seen"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small cross-encoder, in the format of a real one."""
    return build("bert-cross", tmp_path_factory.mktemp("models") / "cross")


def test_it_is_a_cross_encoder_of_langchain() -> None:
    """It fits wherever a `BaseCrossEncoder` is asked for. L22."""
    assert isinstance(ResiftCrossEncoder(), BaseCrossEncoder)


def test_each_pair_gets_its_own_score() -> None:
    """Pairs of several queries, mixed and repeated, come back scored in their order, as resift scores them alone."""
    expected = [FakeRanker().score(query, [text])[0] for query, text in PAIRS]
    scores = ResiftCrossEncoder(ranker=FakeRanker()).score(PAIRS)

    assert scores == expected
    assert len({*expected}) == len({*PAIRS}) == 4  # so that none may stand in another's place
    assert {type(score) for score in scores} == {float}
    assert ResiftCrossEncoder(ranker=FakeRanker()).score(pair for pair in PAIRS) == expected


def test_the_pairs_of_a_query_are_one_call() -> None:
    """A ranker is asked once for each query, whatever the order of the pairs."""
    ranker = FakeRanker()
    ResiftCrossEncoder(ranker=ranker, instruction="Prefer animals.").score(PAIRS)

    assert [(call["query"], len(call["documents"])) for call in ranker.asked] == [
        ("what is a panda?", 3),
        ("what is a city?", 2),
    ]
    assert {call["instruction"] for call in ranker.asked} == {"Prefer animals."}


def test_queries_share_the_models_batches(checkpoint: Path) -> None:
    """Pairs of many queries run together: in fewer batches than there are queries, and scored as alone."""
    pairs = [(f"what does a panda eat on day {day}?", text) for day in range(32) for text in DOCUMENTS[3:5]]
    with resift.load(checkpoint, device="cpu") as ranker:
        together = ResiftCrossEncoder(ranker=ranker).score(pairs)
        batches = ranker.workload.batches
        alone = [ranker.score(query, [text])[0] for query, text in pairs]

    assert batches < 32
    assert together == pytest.approx(alone, abs=1e-5)


def test_no_pairs_are_no_scores() -> None:
    """Without pairs nothing is loaded, sent or returned. L1."""
    assert ResiftCrossEncoder(model="nobody/nothing").score([]) == []
    assert ResiftCrossEncoder(base_url="http://localhost:9").score([]) == []


def test_migration_changes_no_number(checkpoint: Path) -> None:
    """With `HuggingFaceCrossEncoder`'s own arguments, scores are those that it returned."""
    kwargs: dict[str, Any] = {"device": "cpu", "max_length": 64, "local_files_only": True}
    encoder = ResiftCrossEncoder(model_name=str(checkpoint), model_kwargs=kwargs)
    pairs = [(QUERY, text) for text in DOCUMENTS]

    assert encoder.score(pairs) == pytest.approx(_theirs(checkpoint, pairs, **kwargs), abs=1e-5)


def test_migration_changes_no_number_of_bge_models(tmp_path: Path) -> None:
    """Scores of bge-reranker models are those of `HuggingFaceCrossEncoder` where `normalize=True` is said."""
    checkpoint = build("xlmr-cross", tmp_path / "bge")
    kwargs: dict[str, Any] = {"device": "cpu", "max_length": 64}
    options = {**kwargs, "like": "BAAI/bge-reranker-base"}
    pairs = [(QUERY, text) for text in DOCUMENTS[:14]]  # not the accents that transformers reads otherwise
    expected = _theirs(checkpoint, pairs, **kwargs)

    normalized = ResiftCrossEncoder(model=checkpoint, options=options, normalize=True).score(pairs)
    logits = ResiftCrossEncoder(model=checkpoint, options=options).score(pairs)
    assert normalized == pytest.approx(expected, abs=1e-5)
    assert logits != pytest.approx(expected, abs=1e-2)


def test_both_names_mean_the_same() -> None:
    """`model_name` is `model`, `model_kwargs` are `options`; both names at once are refused."""
    given = ResiftCrossEncoder(model_name="lexical", model_kwargs={"max_length": 64})

    assert (given.model, given.options) == ("lexical", {"max_length": 64})
    with pytest.raises(ValidationError, match="model_name"):
        ResiftCrossEncoder(model="lexical", model_name="lexical")
    with pytest.raises(ValidationError, match="cache_dir"):
        ResiftCrossEncoder(model_kwargs={"cache_folder": "models"})


def test_here_and_there_agree() -> None:
    """Behind an endpoint, the same model gives the same scores."""
    here = ResiftCrossEncoder().score(PAIRS)
    with resift.load() as ranker, serving(ranker) as server:
        there = ResiftCrossEncoder(base_url=server.url, model="lexical").score(PAIRS)

    assert there == here


def test_langchains_own_reranker_works_with_it() -> None:
    """`CrossEncoderReranker` takes it, and returns the documents in its order. L22."""
    rerank = CrossEncoderReranker(model=ResiftCrossEncoder(), top_n=2)
    documents = [Document(text) for text in ("What a day!", "A panda is a bear.", "No panda lives here.")]

    found = rerank.compress_documents(documents, "which panda lives in France?")

    assert [document.page_content for document in found] == ["No panda lives here.", "A panda is a bear."]
    assert rerank.compress_documents([], "which bear?") == []


@pytest.mark.parametrize("pair", ["ab", ("a",), ("a", "b", "c"), ("a", None), (None, "a"), None])
def test_what_is_no_pair_is_refused(pair: object) -> None:
    """The error says which pair is none, and nothing is asked."""
    ranker = FakeRanker()

    with pytest.raises(resift.InvalidInput, match=r"text_pairs\[1\] must be a query and a text"):
        ResiftCrossEncoder(ranker=ranker).score([("a", "b"), pair])  # type: ignore[list-item]
    assert ranker.asked == []


def test_a_blank_query_is_refused() -> None:
    """The error says which pair has it, and holds no text. L13."""
    with pytest.raises(resift.InvalidInput, match=r"text_pairs\[2\] has a blank query") as caught:
        ResiftCrossEncoder().score([("panda", "secret"), ("panda", ""), (" ", "secret")])

    assert "secret" not in str(caught.value)


def test_a_blank_text_has_its_place() -> None:
    """Blank texts are scored like any other, and move nobody else's score. L14."""
    scores = ResiftCrossEncoder().score([("panda", ""), ("panda", "a panda"), ("panda", " ")])

    assert scores[1] > scores[0] == scores[2]


def test_failures_are_raised() -> None:
    """There is nothing to pass on in place of a score: what goes wrong arrives as it is. L19."""
    with pytest.raises(resift.Overloaded, match="busy"):
        ResiftCrossEncoder(ranker=FakeRanker(fails=[resift.Overloaded("busy")])).score(PAIRS)
    with pytest.raises(resift.EndpointMisbehaved, match="no score"):
        ResiftCrossEncoder(ranker=FakeRanker(drops=frozenset({"Paris is a city."}))).score(PAIRS)
    with pytest.raises(resift.ScoringFailed, match="finite"):
        ResiftCrossEncoder(ranker=FakeRanker(scorer=lambda *_: float("nan"))).score(PAIRS)
    with ScriptedServer([reply({"results": []})]) as server, pytest.raises(resift.EndpointMisbehaved):
        ResiftCrossEncoder(base_url=server.url).score(PAIRS)


def test_the_key_is_never_shown() -> None:
    """Neither text nor dump nor pickle nor error holds the endpoint's key. L16."""
    encoder = ResiftCrossEncoder(base_url="http://localhost:9", api_key=SecretStr(KEY), options={"max_retries": 0})

    with pytest.raises(resift.EndpointUnavailable) as caught:
        encoder.score(PAIRS)
    shown = [repr(encoder), str(encoder), str(encoder.model_dump()), encoder.model_dump_json(), str(caught.value)]
    shown.append(repr(CrossEncoderReranker(model=encoder)))
    assert [text for text in shown if KEY in text] == []
    assert KEY.encode() not in pickle.dumps(encoder)


def test_copies_score_the_same() -> None:
    """A copy, a pickle and a dump are settings, and score as before. L17."""
    encoder = ResiftCrossEncoder(normalize=True)
    copies = [
        pickle.loads(pickle.dumps(encoder)),  # noqa: S301 - our own
        copy.deepcopy(encoder),
        ResiftCrossEncoder.model_validate(encoder.model_dump()),
        ResiftCrossEncoder.model_validate_json(encoder.model_dump_json()),
    ]

    assert [copied.score(PAIRS) for copied in copies] == [encoder.score(PAIRS)] * 4


def test_making_one_is_light() -> None:
    """Importing and making it loads no model, no engine and no HTTP, and touches no network. L18."""
    pytest.importorskip("langchain_core.cross_encoders", reason="what stands in for it comes with all of LangChain")
    program = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"the network was touched: {event}")

sys.addaudithook(refuse)
from langchain_resift import ResiftCrossEncoder
encoder = ResiftCrossEncoder(model="nobody/nothing")
print([name for name in ("torch", "transformers", "sentence_transformers", "langchain_classic", "langchain_community")
       if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)

    assert shown.stdout.strip() == "[]"


def _theirs(checkpoint: Path, pairs: list[tuple[str, str]], **model_kwargs: Any) -> list[float]:
    """Return what `HuggingFaceCrossEncoder` does: sentence-transformers' own scores, with its defaults."""
    cross_encoder = pytest.importorskip("sentence_transformers").CrossEncoder
    scores: list[float] = cross_encoder(str(checkpoint), **model_kwargs).predict(pairs).tolist()
    return scores
