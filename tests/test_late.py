"""Late interaction: how token vectors are read, kept and compared, and what its files must say."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import late_models
import resift
import tiny
from resift.checkpoint import open_checkpoint
from resift.errors import InvalidInput, ModelUnsupported
from resift.scoring.backends import Backend, EmbedEach, Normalize, Outputs
from resift.scoring.backends.torch import open_torch
from resift.scoring.backends.torch.running import TorchBackend
from resift.scoring.families.maxsim import maxsim
from resift.scoring.planning import Batch, Tokens
from resift.testing import RankerContract
from resift.types import Ranker

COLBERT = "colbert-ir/colbertv2.0"
DOCUMENTS = list(tiny.DOCUMENTS)
LONG = " ".join(f"On day {day} the panda ate {day % 7 + 9} kilos of bamboo." for day in range(1, 60))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return late_models.stanford(tmp_path_factory.mktemp("late") / "model")


@pytest.fixture
def ranker(model: Path) -> Iterator[resift.LocalRanker]:
    with resift.load(model, device="cpu") as ranker:
        yield ranker


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many sequences each batch reads from here on."""
    seen: list[int] = []
    run = TorchBackend.run

    def seeing(backend: TorchBackend, batch: Batch) -> Outputs:
        seen.append(len(batch.sequences))
        return run(backend, batch)

    monkeypatch.setattr(TorchBackend, "run", seeing)
    return seen


class TestContract(RankerContract):
    """A late-interaction model keeps the promises of all rankers."""

    model: ClassVar[Path]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _build(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.model = late_models.stanford(tmp_path_factory.mktemp("contract") / "model")

    def make_ranker(self) -> Ranker:
        return resift.load(self.model, device="cpu")


# the sum of the best matches

MATRICES = st.tuples(st.integers(0, 5), st.integers(1, 4), st.lists(st.integers(0, 6), max_size=5))


@given(shape=MATRICES, seed=st.integers(0, 2**16))
def test_every_query_vector_looks_for_its_best_match(shape: tuple[int, int, list[int]], seed: int) -> None:
    """A score is the sum, over the query's vectors, of the largest product with one of the document's; else 0."""
    rows, width, lengths = shape
    stream = np.random.RandomState(seed)
    query, *documents = (stream.standard_normal((size, width)).astype(np.float32) for size in (rows, *lengths))

    expected = [
        sum(max(float(one @ other) for other in document) for one in query) if len(document) else 0.0
        for document in documents
    ]
    np.testing.assert_allclose(maxsim(query, documents), expected, atol=1e-5)


def test_a_score_is_the_same_in_any_list(ranker: resift.LocalRanker) -> None:
    """What a document is compared beside changes nothing, to the last bit, once it has been read."""
    scores = ranker.score(tiny.QUERY, DOCUMENTS)
    with_others = ranker.score(tiny.QUERY, ["other", *DOCUMENTS[::-1], "others"])[1:-1]

    assert not ranker.listwise
    assert ranker.score(tiny.QUERY, [*DOCUMENTS, *DOCUMENTS]) == pytest.approx([*scores, *scores], abs=2e-5)
    assert with_others[::-1] == pytest.approx(scores, abs=2e-5)


def test_sums_become_means_up_to_one(model: Path, ranker: resift.LocalRanker) -> None:
    """Normalised, a score is the mean of the best matches, moved from [-1, 1] to [0, 1]; the order stays."""
    sums = np.array(ranker.score(tiny.QUERY, DOCUMENTS))
    with resift.load(model, device="cpu", normalize=True) as normalized:
        scores = np.array(normalized.score(tiny.QUERY, DOCUMENTS))
    with resift.load(model, device="cpu", normalize=False) as raw:
        assert raw.score(tiny.QUERY, DOCUMENTS) == pytest.approx(sums, abs=2e-5)

    assert scores == pytest.approx((1.0 + sums / 32) / 2.0, abs=1e-6)
    assert 0.0 <= scores.min() < scores.max() <= 1.0


def test_sums_without_bounds_are_not_normalized(tmp_path: Path) -> None:
    """Where the authors do not bring vectors to length 1, sums have no bounds, and normalising them is refused."""
    directory = late_models.chain(tmp_path / "model")
    modules = json.loads((directory / "modules.json").read_text())
    (directory / "modules.json").write_text(json.dumps(modules[:-1]))

    with resift.load(directory, device="cpu") as ranker:
        assert len(ranker.score(tiny.QUERY, DOCUMENTS)) == len(DOCUMENTS)
    with pytest.raises(InvalidInput, match="no bounds"):
        resift.load(directory, device="cpu", normalize=True)


# what is kept


def test_documents_that_come_back_are_not_read_again(ranker: resift.LocalRanker, read: list[int]) -> None:
    """The second query over the same documents reads only itself, and scores as if it had read all."""
    first = ranker.rank("what does a panda eat?", DOCUMENTS)
    again = ranker.rank("where is Paris?", DOCUMENTS)
    mixed = ranker.score("where is Paris?", [*DOCUMENTS[:2], "new"])

    assert sum(read) == (1 + len(DOCUMENTS)) + 1 + (1 + 1)
    assert first.usage is not None
    assert again.usage is not None
    assert again.usage.tokens == 32 < first.usage.tokens
    assert [hit.score for hit in sorted(again, key=lambda hit: hit.index)][:2] == pytest.approx(mixed[:2], abs=2e-5)


def test_an_instruction_means_nothing(ranker: resift.LocalRanker) -> None:
    """Late-interaction models were not trained with instructions, so one is refused."""
    assert not ranker.takes_instruction
    with pytest.raises(InvalidInput, match="instruction"):
        ranker.score("panda", DOCUMENTS, instruction="Look for food.")


def test_requests_share_batches(ranker: resift.LocalRanker) -> None:
    """Queries and documents of many requests run together, and each request has the scores that it has alone."""
    requests = [(f"{tiny.QUERY} {at}", [*DOCUMENTS[at : at + 6], f"document {at}"]) for at in range(8)]
    rankings = list(ranker.rank_many(requests))

    with resift.load(ranker.model, device="cpu", max_batch_tokens=16384) as alone:
        for (query, documents), ranking in zip(requests, rankings, strict=True):
            found = {hit.index: hit.score for hit in ranking}
            expected = alone.score(query, documents)
            assert [found[at] for at in range(len(documents))] == pytest.approx(expected, abs=2e-5)


# lengths and windows


def test_max_length_is_of_documents(model: Path) -> None:
    """`max_length` cuts documents, and leaves queries as long as the authors have them."""
    with resift.load(model, device="cpu", max_length=24) as ranker:
        ranking = ranker.rank(tiny.LONG_QUERY, ["panda", LONG, "bamboo " * 40])
        family = ranker._hold.family  # noqa: SLF001 - there is no other way to see
        query, *documents = family.prepare(tiny.LONG_QUERY, [f"{LONG} And so on."], None).sequences
        assert ranker.max_length == 24

    assert ranking.truncated == 2
    assert len(query) == 32
    assert [len(document) for document in documents] == [24]


def test_a_length_without_room_is_refused(model: Path) -> None:
    """A length that the special tokens and the marker fill alone is refused; one token more is enough."""
    for max_length in (1, 2, 3):
        with pytest.raises(InvalidInput, match="max_length"):
            resift.load(model, device="cpu", max_length=max_length)
    with resift.load(model, device="cpu", max_length=4) as ranker:
        assert len(ranker.score(tiny.QUERY, DOCUMENTS)) == len(DOCUMENTS)


def test_the_best_window_counts(model: Path) -> None:
    """A long document is read in windows with the marker in front of each, and has the score of its best window."""
    with resift.load(model, device="cpu", max_length=40, long_documents="window") as ranker:
        scores = ranker.score(tiny.QUERY, [LONG, "panda"])
        ranking = ranker.rank(tiny.QUERY, [LONG, "panda"])
        fresh = ranker._hold.family.prepare(tiny.QUERY, [f"{LONG} And so on."], None).sequences  # noqa: SLF001
    query, *windows = fresh
    with resift.load(model, device="cpu") as whole:
        prepared = whole._hold.family.prepare(tiny.QUERY, [f"{LONG} And so on."], None)  # noqa: SLF001
        one = _vectors(model, [query, *windows])
        assert len(prepared.sequences) == 2

    marker = windows[0].ids[:2]
    assert len(windows) > 5
    assert all((window.ids[:2] == marker).all() and len(window) <= 40 for window in windows)
    with resift.load(model, device="cpu", max_length=40, long_documents="window") as ranker:
        found = ranker.score(tiny.QUERY, [f"{LONG} And so on."])
    assert found == pytest.approx([max(maxsim(one[0], one[1:]))], abs=2e-5)
    assert [hit.score for hit in sorted(ranking, key=lambda hit: hit.index)] == pytest.approx(scores, abs=2e-5)
    assert ranking.truncated == 0


def test_one_window_is_the_whole_document(model: Path) -> None:
    """Documents that fit score the same with windows and without, to the last digits."""
    fitting = [document for document in DOCUMENTS if len(document) < 100]
    with resift.load(model, device="cpu", long_documents="window") as windows, resift.load(model, device="cpu") as cut:
        assert windows.score(tiny.QUERY, fitting) == pytest.approx(cut.score(tiny.QUERY, fitting), abs=2e-5)
        assert windows.score(tiny.QUERY, [LONG]) != pytest.approx(cut.score(tiny.QUERY, [LONG]), abs=1e-4)


def _numbered(size: int, *, unseen: int = 0) -> Tokens:
    """Return a sequence that is read at every place."""
    return Tokens(np.arange(5, 5 + size, dtype=np.int32), read=np.arange(size, dtype=np.int32), unseen=unseen)


def _open(directory: Path, readout: EmbedEach) -> Backend:
    return open_torch(
        open_checkpoint(str(directory)),
        readout,
        Batch([_numbered(30, unseen=22), _numbered(40)]),
        device="cpu",
        dtype="float32",
        half="bfloat16",
        max_batch_tokens=None,
        trust_remote_code=False,
    )


def _vectors(directory: Path, sequences: list[Tokens]) -> list[Outputs]:
    """Return the vectors of each sequence, as the model's own projection gives them."""
    backend = _open(directory, EmbedEach((late_models.PROJECTION, Normalize())))
    found = np.split(backend.run(Batch(sequences)), np.cumsum([tokens.rows for tokens in sequences[:-1]]))
    backend.close()
    return found


# tokens that nobody looks at, in every way of running

BODIES = {
    "bert-cross": "BertModel",
    "xlmr-cross": "XLMRobertaModel",
    "electra-cross": "ElectraModel",
    "distilbert-cross": "DistilBertModel",
    "deberta-cross": "DebertaV2Model",
    "modernbert-cross": "ModernBertModel",
}


@pytest.mark.parametrize("kind", BODIES)
def test_hidden_tokens_are_hidden_from_all(kind: str, tmp_path: Path) -> None:
    """Packed or padded, tokens at the end that are not looked at read as a mask over them makes transformers read."""
    directory = tiny.build(kind, tmp_path / "model", architectures=[BODIES[kind]])
    stream = np.random.RandomState(0)
    sequences = [
        Tokens(stream.randint(5, 300, size).astype(np.int32), read=np.array(read, dtype=np.int32), unseen=unseen)
        for size, unseen, read in ((12, 5, range(12)), (7, 0, [3, 0]), (30, 29, range(30)), (4, 1, [3]), (50, 0, [49]))
    ]
    reference: Any = transformers.AutoModel.from_pretrained(directory)
    reference.train(mode=False)
    expected = []
    for tokens in sequences:
        ids = torch.from_numpy(tokens.ids.astype(np.int64))[None]
        mask = torch.ones_like(ids)
        mask[0, len(tokens) - tokens.unseen :] = 0
        with torch.inference_mode():
            hidden = reference(input_ids=ids, attention_mask=mask).last_hidden_state[0]
        expected.append(hidden[torch.from_numpy(tokens.read.astype(np.int64))].numpy())  # type: ignore[union-attr]

    backend = _open(directory, EmbedEach(()))
    together, alone = backend.run(Batch(sequences)), [backend.run(Batch([tokens])) for tokens in sequences]
    backend.close()

    np.testing.assert_allclose(together, np.concatenate(expected), atol=2e-5)
    np.testing.assert_allclose(np.concatenate(alone), np.concatenate(expected), atol=2e-5)


def test_wide_queries_of_narrow_windows_run_as_their_authors_have_them(tmp_path: Path) -> None:
    """Where hidden tokens lie beyond a model's sliding windows, it is seen at once, and the model runs padded."""
    directory = late_models.pylate(tmp_path / "wide", kind="modernbert-cross", query_length=64)
    narrow = late_models.pylate(tmp_path / "narrow", kind="modernbert-cross", query_length=8)

    with resift.load(directory, device="cpu") as ranker, resift.load(narrow, device="cpu") as packed:
        engines = [each._hold._held().engine for each in (ranker, packed)]  # noqa: SLF001 - there is no other way to see
        assert [engine._workers[0].backend.padded for engine in engines if engine] == [True, False]  # noqa: SLF001


# what files say


def _saved(directory: Path, name: str, **fields: Any) -> None:
    path = directory / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _modules(directory: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    path = directory / "modules.json"
    modules = json.loads(path.read_text())
    change(modules)
    path.write_text(json.dumps(modules))


def _lose_weight(directory: Path) -> None:
    weights = load_file(directory / "1_Dense" / "model.safetensors")
    save_file({f"lost.{name}": weight for name, weight in weights.items()}, directory / "1_Dense" / "model.safetensors")


def _mark_and_lower(directory: Path) -> None:
    _saved(directory, "sentence_bert_config.json", do_lower_case=True)
    _saved(directory, "config_sentence_transformers.json", query_prefix="[Q] ")


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no projection": (_lose_weight, "linear.weight"),
    "an activation": (
        lambda at: _saved(at, "1_Dense/config.json", activation_function="torch.nn.Softsign"),
        "Softsign",
    ),
    "an activation of somebody": (
        lambda at: _saved(at, "1_Dense/config.json", activation_function="acme.layers.GELU"),
        "'acme.layers.GELU'",
    ),
    "another input": (
        lambda at: _saved(at, "1_Dense/config.json", module_input_name="sentence_embedding"),
        "sentence_",
    ),
    "chosen tokens": (lambda at: _saved(at, "2_MultiVectorMask/config.json", keep_only_token_ids=[5]), "chosen tokens"),
    "a pooling": (lambda at: _modules(at, lambda modules: modules[3].update(type="x.HierarchicalPooling")), "->"),
    "left padding": (lambda at: _saved(at, "tokenizer_config.json", padding_side="left"), "from the left"),
    "no mask token": (lambda at: _saved(at, "tokenizer_config.json", mask_token="[NONE]"), r"\[NONE\]"),
    "lower case": (_mark_and_lower, "lower case"),
    "cut in front": (lambda at: _saved(at, "tokenizer_config.json", truncation_side="left"), "truncation_side"),
    "rotations": (lambda at: _saved(at, "config.json", position_embedding_type="rotary"), "rotary"),
}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    expansion = {"strategy": "fixed", "length": 32}
    return late_models.chain(tmp_path_factory.mktemp("chain") / "model", query_expansion=expansion)


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_known_is_refused(reason: str, chain: Path, tmp_path: Path) -> None:
    """A chain that does something else with the vectors of tokens is refused with what it does, never cut short."""
    change, said = REFUSED[reason]
    directory = Path(shutil.copytree(chain, tmp_path / "model"))
    change(directory)

    with pytest.raises(ModelUnsupported, match=said):
        resift.load(directory, device="cpu")


def test_another_distance_is_refused(tmp_path: Path) -> None:
    """Vectors that their authors compare otherwise than by cosine are not compared by it."""
    directory = late_models.stanford(tmp_path / "model", similarity="l2")

    with pytest.raises(ModelUnsupported, match="'l2'"):
        resift.load(directory, device="cpu")


def test_an_encoder_is_no_late_interaction_model(tmp_path: Path) -> None:
    """A model without the projection is not compared by vectors that nobody trained, whatever it is said to be like."""
    directory = tiny.build("bert-cross", tmp_path / "model", architectures=["BertModel"])

    with pytest.raises(ModelUnsupported, match=r"linear\.weight"):
        resift.load(directory, device="cpu", like=COLBERT)


def test_a_graph_is_not_run(tmp_path: Path) -> None:
    """A graph has no vectors of tokens that could be projected here, so late interaction needs the weights."""
    directory = late_models.stanford(tmp_path / "model")
    (directory / "model.safetensors").unlink()
    shutil.copy(_graph(tmp_path), directory / "model.onnx")

    with pytest.raises(ModelUnsupported, match="backend='torch'"):
        resift.load(directory, device="cpu", backend="onnx")


def _graph(tmp_path: Path) -> Path:
    import exported

    return exported.export(tiny.build("bert-embedding", tmp_path / "embedding"))


def test_settings_that_files_leave_out_are_the_authors(model: Path, tmp_path: Path) -> None:
    """Without a file of settings, queries have 32 tokens, documents what is usual, and punctuation counts nothing."""
    directory = Path(shutil.copytree(model, tmp_path / "model"))
    (directory / "artifact.metadata").unlink()

    with resift.load(directory, device="cpu", like=COLBERT) as bare, resift.load(model, device="cpu") as full:
        assert bare.max_length == full.max_length == 180
        assert bare.score(tiny.QUERY, DOCUMENTS) == pytest.approx(full.score(tiny.QUERY, DOCUMENTS), abs=2e-5)
    with resift.load(directory, device="cpu") as unnamed:
        assert unnamed.max_length == 512
