"""Long documents that are read in windows: nothing of them is left out, and the best window counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import exported
import headed
import resift
import tiny
from resift.adapting import Reranker
from resift.checkpoint import open_checkpoint
from resift.errors import InvalidInput
from resift.scoring.families import Prepared
from resift.scoring.families.windows import Windows, best_of, windows_for
from resift.scoring.recognition.saved import refuse_windows
from resift.settings import Settings
from resift.tokenizing import TextEncoder

LIMIT = 64
DOCUMENTS = list(tiny.DOCUMENTS)
QWEN3 = "Qwen/Qwen3-Reranker-0.6B"
SAME = 1e-5


@dataclass(frozen=True)
class Model:
    """A model that reads windows, and how it is loaded for documents of these sizes."""

    build: Callable[[Path], Path]
    options: dict[str, Any]
    embeds: bool = False
    uncounted: int = 0
    """How many tokens `max_length` does not count."""

    long_query: str = tiny.LONG_QUERY


SHORT: dict[str, Any] = {"max_length": LIMIT}
BGE: dict[str, Any] = {"max_length": LIMIT, "like": "BAAI/bge-reranker-base"}
ONNX: dict[str, Any] = {"max_length": LIMIT, "backend": "onnx"}
OPENVINO: dict[str, Any] = {"max_length": LIMIT, "backend": "openvino"}
MODELS: dict[str, Model] = {
    "longest first": Model(partial(tiny.build, "bert-cross"), SHORT),
    "only second": Model(partial(tiny.build, "xlmr-cross"), BGE),
    "prompted": Model(partial(tiny.build, "qwen3"), {"max_length": 128, "like": QWEN3}),
    "piece by piece": Model(
        partial(tiny.build, "qwen2"), {"max_length": 64, "like": "mixedbread-ai/mxbai-rerank-base-v2"}, uncounted=79
    ),
    "embedding": Model(partial(tiny.build, "bert-embedding"), SHORT, embeds=True),
    "chain": Model(partial(headed.chain, output="scores", width=1), SHORT),
    "chain that embeds": Model(partial(headed.chain, output="sentence_embedding", width=16), SHORT, embeds=True),
    "nemotron": Model(headed.nemotron, {"max_length": 128, "like": "nvidia/llama-nemotron-rerank-1b-v2"}),
    "jina-m0": Model(
        headed.jina_m0,
        {"max_length": 128, "like": "jinaai/jina-reranker-m0"},
        long_query=tiny.LONG_QUERY[:150],
    ),
    "minicpm": Model(
        partial(tiny.build, "minicpm"),
        {"max_length": 64, "like": "BAAI/bge-reranker-v2-minicpm-layerwise"},
        uncounted=56,  # what follows the document: once as it stands, and once more as room for the texts
    ),
}
GRAPHS: dict[str, Model] = {
    "onnx": Model(partial(exported.build, "bert-cross"), ONNX),
    "onnx, only second": Model(partial(exported.build, "xlmr-cross"), BGE | ONNX),
    "onnx, embedding": Model(partial(exported.build, "bert-embedding"), ONNX, embeds=True),
    "openvino": Model(partial(exported.build, "bert-cross"), OPENVINO),
    "openvino, only second": Model(partial(exported.build, "xlmr-cross"), BGE | OPENVINO),
    "openvino, embedding": Model(partial(exported.build, "bert-embedding"), OPENVINO, embeds=True),
}
MODELS |= GRAPHS


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    return lambda kind, **config: tiny.build(kind, tmp_path / kind, **config)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a maker of the models above, each of which is made once."""
    folder = tmp_path_factory.mktemp("windows")
    return cache(lambda name: MODELS[name].build(folder / name))


def _prepared(ranker: resift.LocalRanker, query: str, documents: Sequence[str]) -> Prepared:
    return ranker._hold.family.prepare(query, documents, None)  # noqa: SLF001 - what the model is fed


def _whole(prepared: Prepared) -> list[list[int]]:
    return [[*prepared.prefix.tolist(), *sequence.ids.tolist()] for sequence in prepared.sequences]


# the rule


@given(
    length=st.integers(0, 400),
    room=st.integers(1, 60),
    overlap=st.none() | st.integers(0, 100),
)
def test_no_token_is_left_out(length: int, room: int, overlap: int | None) -> None:
    """Windows are pieces of the text in order, all full where there are several, and together they are all of it."""
    ids = np.arange(length, dtype=np.int32)
    windows = Windows(overlap=overlap).spread(ids, room)

    assert {int(token) for window in windows for token in window} == set(range(length))
    for window in windows:
        assert len(window) == min(length, room)
        assert not len(window) or np.array_equal(window, np.arange(window[0], window[-1] + 1))
    starts = [int(window[0]) for window in windows if len(window)]
    assert starts == sorted(set(starts))


@given(room=st.integers(8, 60), overlap=st.none() | st.integers(0, 100), length=st.integers(100, 400))
def test_neighbours_share_tokens(room: int, overlap: int | None, length: int) -> None:
    """A window begins with the end of the one before it: as many tokens as was said, a quarter of it at most."""
    windows = Windows(overlap=overlap).spread(np.arange(length, dtype=np.int32), room)
    wanted = room // 8 if overlap is None else min(overlap, room // 4)

    shared = [int(left[-1] - right[0] + 1) for left, right in pairwise(windows)]
    assert shared[:-1] == [wanted] * (len(shared) - 1)
    assert shared[-1] >= wanted  # the last window is full, and so shares more


@given(prompt=st.integers(0, 80), room=st.integers(1, 60), length=st.integers(0, 200))
def test_a_prompt_takes_half_of_a_window_at_most(prompt: int, room: int, length: int) -> None:
    """Each window begins with the prompt, or with as much of it as half a window holds; the text is read whole."""
    asked = np.arange(prompt, dtype=np.int32)
    ids = np.arange(prompt + length, dtype=np.int32)
    windows = Windows().spread_behind(asked, ids, room)
    head = min(prompt, room // 2)

    assert {int(token) for window in windows for token in window} == set(range(prompt + length))
    assert all(len(window) == min(room, len(ids)) for window in windows)
    assert all(window[:head].tolist() == list(range(head)) for window in windows)


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=4), min_size=1, max_size=8))
def test_the_best_window_counts(documents: list[list[float]]) -> None:
    """A document's number is the largest among its windows'."""
    numbers = np.array([number for several in documents for number in several])

    assert best_of(numbers, [len(several) for several in documents]).tolist() == list(map(max, documents))


def test_the_caller_decides_then_the_authors() -> None:
    """A caller's word goes before what the authors do; where neither says anything, documents are cut."""
    own = Windows(overlap=80)
    assert windows_for(None) is None
    assert windows_for("truncate", own) is None
    assert windows_for("window") == Windows()
    assert windows_for(None, own) is windows_for("window", own) is own


# in every family


@pytest.mark.parametrize("name", MODELS)
def test_a_document_scores_as_its_best_window(name: str, made: Callable[[str], Path]) -> None:
    """A long document's score is the best that the model gives any of its windows alone, whoever stands beside it."""
    model = MODELS[name]
    how: dict[str, Any] = {"long_documents": "window", "device": "cpu", "normalize": False} | model.options
    with resift.load(made(name), **how) as ranker:
        alone = [_best_alone(ranker, document, vectors=model.embeds) for document in DOCUMENTS]
        together = ranker.score(tiny.QUERY, DOCUMENTS)
        one_by_one = [score for document in DOCUMENTS for score in ranker.score(tiny.QUERY, [document])]

    assert together == pytest.approx([best for best, _ in alone], abs=SAME)
    assert together == pytest.approx(one_by_one, abs=SAME)
    assert sum(windows > 1 for _, windows in alone) >= 2


def _best_alone(ranker: resift.LocalRanker, document: str, *, vectors: bool) -> tuple[float, int]:
    """Run each window in a batch of its own; return the best number, and how many windows there are."""
    prepared = _prepared(ranker, tiny.QUERY, [document])
    submit = ranker._hold.submit  # noqa: SLF001 - the windows themselves are nobody's documents
    rows = [submit([sequence], prepared.prefix).result()[0] for sequence in prepared.sequences]
    numbers = [float(row @ rows[0]) for row in rows[1:]] if vectors else [float(row[0]) for row in rows]
    return max(numbers), len(numbers)


@pytest.mark.parametrize("name", MODELS)
def test_every_token_of_a_document_is_read(name: str, made: Callable[[str], Path]) -> None:
    """The windows of a document, one after the other without what they share, are all its tokens."""
    model, directory = MODELS[name], made(name)
    document = " ".join(f"On day {day} the panda ate {day % 7 + 9} kilos." for day in range(90))
    ids = TextEncoder(directory / "tokenizer.json").encode(document).tolist()
    with resift.load(directory, long_documents="window", device="cpu", **model.options) as ranker:
        prepared = _prepared(ranker, tiny.QUERY, [document])
        windows = _whole(prepared)[1 if model.embeds else 0 :]

    assert len(windows) > 4
    assert max(map(len, windows)) <= model.options["max_length"] + model.uncounted
    for at in range(len(ids) - 3):
        run = ids[at : at + 3]
        assert any(run == window[start : start + 3] for window in windows for start in range(len(window) - 2)), at


@pytest.mark.parametrize("name", MODELS)
def test_what_fits_is_read_as_ever(name: str, made: Callable[[str], Path]) -> None:
    """A document that nobody would cut is fed to the model as it is where long ones are cut."""
    directory, model = made(name), MODELS[name]
    with (
        resift.load(directory, device="cpu", **model.options) as cutting,
        resift.load(directory, long_documents="window", device="cpu", **model.options) as reading,
    ):
        for query in (tiny.QUERY, model.long_query[:300]):
            for document in DOCUMENTS:
                expected = _prepared(cutting, query, [document])
                if not any(expected.cut):
                    assert _whole(_prepared(reading, query, [document])) == _whole(expected)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_cut(name: str, made: Callable[[str], Path]) -> None:
    """No document counts as truncated, the order of the list stays, and the usage counts every window."""
    directory, model = made(name), MODELS[name]
    with (
        resift.load(directory, device="cpu", **model.options) as cutting,
        resift.load(directory, long_documents="window", device="cpu", **model.options) as reading,
    ):
        cut, read = cutting.rank(tiny.QUERY, DOCUMENTS), reading.rank(tiny.QUERY, DOCUMENTS)
        again = reading.rank(tiny.QUERY, DOCUMENTS[::-1])
        many = list(reading.rank_many([(tiny.QUERY, DOCUMENTS), (model.long_query, DOCUMENTS[:3])]))

    assert cut.truncated >= 2
    assert read.truncated == 0
    assert cut.usage is not None
    assert read.usage is not None
    assert read.usage.tokens > cut.usage.tokens
    assert sorted(hit.index for hit in read) == list(range(len(DOCUMENTS)))
    backwards = {len(DOCUMENTS) - 1 - hit.index: hit.score for hit in again}
    for hit in read:
        assert backwards[hit.index] == pytest.approx(hit.score, abs=SAME)
    assert [hit.score for hit in many[0]] == pytest.approx([hit.score for hit in read], abs=SAME)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_reads_the_windows_of_its_weights(name: str, made: Callable[[str], Path]) -> None:
    """Documents that are read in windows have the same scores from a graph as from its weights."""
    how: dict[str, Any] = {"long_documents": "window", "device": "cpu"} | MODELS[name].options
    with resift.load(made(name), **how) as graph, resift.load(made(name), **how | {"backend": "torch"}) as weights:
        for query in (tiny.QUERY, tiny.LONG_QUERY):
            assert graph.score(query, DOCUMENTS) == pytest.approx(weights.score(query, DOCUMENTS), abs=SAME)


def test_a_prompt_is_shared_by_all_windows(build: Callable[..., Path]) -> None:
    """What all prompts of a query begin with is computed once, for all windows of all documents."""
    with resift.load(build("qwen3"), like=QWEN3, max_length=128, long_documents="window", device="cpu") as ranker:
        prepared = _prepared(ranker, tiny.QUERY, DOCUMENTS)
        one_by_one = [score for text in DOCUMENTS for score in ranker.score(tiny.QUERY, [text])]
        together = ranker.score(tiny.QUERY, DOCUMENTS)

    assert len(prepared.prefix) > 60
    assert len(prepared.sequences) > len(DOCUMENTS) + 5
    assert together == pytest.approx(one_by_one, abs=SAME)


def test_a_prompt_ends_as_it_should_behind_every_window(build: Callable[..., Path]) -> None:
    """Whatever stands behind the document in its own piece stands behind each of its windows."""
    prompt = resift.Prompt(pieces=("Q: {query}\n", "Text: {document}!\nRelevant?"), positive="yes")
    directory = build("qwen3")
    encoder = TextEncoder(directory / "tokenizer.json")
    text = " ".join(f"Day {day}: bamboo." for day in range(60))
    with resift.load(directory, like=prompt, max_length=64, long_documents="window", device="cpu") as ranker:
        *others, last = _whole(_prepared(ranker, "panda", [text]))
    tail = encoder.encode("!\nRelevant?").tolist()
    whole = encoder.encode(f"Text: {text}!\nRelevant?").tolist()

    assert len(others) > 3
    assert all(window[-len(tail) :] == tail for window in others)
    assert last[-20:] == whole[-20:]
    assert max(map(len, (*others, last))) <= 64


def test_a_query_that_leaves_no_room_leaves_documents_cut(build: Callable[..., Path]) -> None:
    """Where the query is written in the document's piece and fills it, documents are cut, and the ranking says so."""
    with resift.load(build("qwen3"), like=QWEN3, max_length=256, long_documents="window", device="cpu") as ranker:
        ranking = ranker.rank(tiny.LONG_QUERY, DOCUMENTS)

    assert ranking.truncated > 0


def test_a_window_is_an_eighth_at_least(build: Callable[..., Path]) -> None:
    """As the query grows, documents are read in windows until one would be less than an eighth, and are cut then."""
    seen = set()
    with resift.load(build("qwen3"), like=QWEN3, max_length=256, long_documents="window", device="cpu") as ranker:
        for words in range(40, 200):
            query = "panda " * words
            window = 256 - len(_whole(_prepared(ranker, query, [""]))[0])
            if not 24 <= window <= 40:
                continue
            prepared = _prepared(ranker, query, ["bamboo " * 400])
            assert prepared.cut == [window < 32], window
            assert (len(prepared.sequences) > 1) == (window >= 32)
            seen.add(window < 32)

    assert seen == {True, False}


def test_vectors_of_all_windows_are_kept(build: Callable[..., Path]) -> None:
    """A document that comes back is not read again, however many vectors it has; its instruction is in each window."""
    directory = build("bert-embedding", prompts={"query": "find: ", "document": "the text says: "})
    with resift.load(directory, max_length=LIMIT, long_documents="window", device="cpu") as ranker:
        first = ranker.score(tiny.QUERY, DOCUMENTS)
        prepared = _prepared(ranker, tiny.QUERY, [DOCUMENTS[-1]])
        assert len(prepared.sequences) == 1  # the query's
        assert ranker.score(tiny.QUERY, DOCUMENTS) == first
        instruction = TextEncoder(directory / "tokenizer.json").encode("the text says: ").tolist()
        windows = _whole(_prepared(ranker, tiny.QUERY, [DOCUMENTS[-1] + " Indeed."]))[1:]

    assert len(windows) > 2
    assert all(window[1 : 1 + len(instruction)] == instruction for window in windows)


@pytest.mark.parametrize("query", [tiny.QUERY, tiny.LONG_QUERY], ids=["short", "long"])
def test_jina_reads_chunks(query: str, build: Callable[..., Path]) -> None:
    """jina-reranker-v2 is read as its authors rerank: a query of 512 tokens at most, chunks that overlap by 80."""
    directory = build("xlmr-cross", max_position_embeddings=1026)
    document = " ".join(f"On day {day} the panda ate {day % 7 + 9} kilos of bamboo." for day in range(160))
    encoder = TextEncoder(directory / "tokenizer.json")
    asked, body = encoder.encode(query * 3).tolist()[:510], encoder.encode(document).tolist()
    room = 1024 - len(asked) - 4
    chunks, start = [], 0
    while start + room < len(body):
        chunks.append(body[start : start + room])
        start += room - 80
    chunks.append(body[-room:])
    expected = [[0, *asked, 2, 2, *chunk, 2] for chunk in chunks]

    like = "jinaai/jina-reranker-v2-base-multilingual"
    with resift.load(directory, like=like, device="cpu") as ranker:
        found = _whole(_prepared(ranker, query * 3, [document]))
        ranking = ranker.rank(query * 3, [document, "Panda"])
    with resift.load(directory, like=like, device="cpu", long_documents="truncate") as ranker:
        cut = ranker.rank(query * 3, [document, "Panda"])

    assert len(expected) > 1
    assert found == expected
    assert ranking.truncated == 0
    assert cut.truncated == 1
    assert all(0 < hit.score < 1 for hit in ranking)


def test_frameworks_ask_for_windows_too(build: Callable[..., Path]) -> None:
    """The component of a framework passes the option on, and its scores are those of the ranker."""
    directory = build("bert-cross")
    options: dict[str, Any] = {"max_length": LIMIT, "device": "cpu", "long_documents": "window"}
    reranker = Reranker(directory, **options)
    places = {place.index: place.score for place in reranker.rank(tiny.QUERY, DOCUMENTS).places}
    with resift.load(directory, **options) as ranker:
        expected = ranker.score(tiny.QUERY, DOCUMENTS)

    assert [places[index] for index in range(len(DOCUMENTS))] == pytest.approx(expected, abs=SAME)


def test_what_cannot_be_read_in_windows_says_so(build: Callable[..., Path]) -> None:
    """A kind of model that reads no windows refuses them when it is loaded, and is not silently cut."""
    checkpoint = open_checkpoint(str(build("qwen3")))
    refuse_windows(checkpoint, Settings(long_documents="truncate"))
    with pytest.raises(InvalidInput, match="windows"):
        refuse_windows(checkpoint, Settings(long_documents="window"))
