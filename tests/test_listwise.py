"""Listwise rerankers: documents read together, so that each has its score among the others."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

import listwise_models
import resift
import tiny
from resift.errors import InvalidInput, ModelUnsupported
from resift.scoring.families.listwise import ListwiseRanker, Marks
from resift.testing import RankerContract
from resift.tokenizing import TextEncoder
from resift.types import Ranker

DOCUMENTS = list(tiny.DOCUMENTS)[:12]
V3 = "jinaai/jina-reranker-v3"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return listwise_models.build(tmp_path_factory.mktemp("listwise") / "model")


@pytest.fixture(scope="module")
def ranker(model: Path) -> Iterator[resift.LocalRanker]:
    with resift.load(model, device="cpu") as ranker:
        yield ranker


class TestContract(RankerContract):
    """A listwise reranker keeps the promises of all rankers."""

    model: ClassVar[Path]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _build(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.model = listwise_models.build(tmp_path_factory.mktemp("contract") / "model")

    def make_ranker(self) -> Ranker:
        return resift.load(self.model, device="cpu")


# the list


def test_a_score_depends_on_the_list(ranker: resift.LocalRanker) -> None:
    """Fewer documents, or the same in another order, have other scores, and the ranker says so of itself."""
    scores = ranker.score(tiny.QUERY, DOCUMENTS)

    assert ranker.listwise
    assert ranker.score(tiny.QUERY, DOCUMENTS[::-1])[::-1] != pytest.approx(scores, abs=1e-3)
    assert ranker.score(tiny.QUERY, DOCUMENTS[:5]) != pytest.approx(scores[:5], abs=1e-3)
    assert ranker.score(tiny.QUERY, DOCUMENTS) == pytest.approx(scores, abs=1e-6)


def test_copies_are_part_of_the_list(ranker: resift.LocalRanker) -> None:
    """A text that comes twice is read twice, as the authors read it: each has a score of its own, and both count."""
    twice = [*DOCUMENTS, *DOCUMENTS]
    scores = ranker.score(tiny.QUERY, twice)
    prepared = ranker._hold.family.prepare(tiny.QUERY, twice, None)  # noqa: SLF001 - there is no other way to see

    assert sum(tokens.rows - 1 for tokens in prepared.sequences) == len(twice)
    assert scores[: len(DOCUMENTS)] != pytest.approx(scores[len(DOCUMENTS) :], abs=1e-3)
    assert scores[: len(DOCUMENTS)] != pytest.approx(ranker.score(tiny.QUERY, DOCUMENTS), abs=1e-4)


def test_a_cache_keeps_whole_lists(model: Path, ranker: resift.LocalRanker) -> None:
    """A cached listwise ranker remembers a list as a list: in another order it asks anew."""
    with resift.cached(resift.load(model, device="cpu")) as cached:
        scores = cached.score(tiny.QUERY, DOCUMENTS)
        assert cached.score(tiny.QUERY, DOCUMENTS) == scores
        backwards = cached.score(tiny.QUERY, DOCUMENTS[::-1])

    assert backwards == pytest.approx(ranker.score(tiny.QUERY, DOCUMENTS[::-1]), abs=1e-6)
    assert backwards[::-1] != pytest.approx(scores, abs=1e-3)


def test_lists_in_one_batch_stay_apart(ranker: resift.LocalRanker) -> None:
    """Requests that share batches have the scores that each has alone."""
    requests = [(tiny.QUERY, DOCUMENTS), ("bamboo", DOCUMENTS[3:7]), ("where do pandas live?", DOCUMENTS[::-1])]

    for (query, documents), ranking in zip(requests, ranker.rank_many(requests), strict=True):
        scores = {hit.index: hit.score for hit in ranking}
        alone = ranker.score(query, documents)
        assert [scores[at] for at in range(len(documents))] == pytest.approx(alone, abs=1e-5)


# scales, instructions, lengths


def test_cosines_become_numbers_up_to_one(model: Path, ranker: resift.LocalRanker) -> None:
    """Scores are cosines as the authors return them; normalised, they are moved from [-1, 1] to [0, 1]."""
    cosines = np.array(ranker.score(tiny.QUERY, DOCUMENTS))
    with resift.load(model, device="cpu", normalize=True) as normalized:
        scores = normalized.score(tiny.QUERY, DOCUMENTS)

    assert np.abs(cosines).max() <= 1.0
    assert cosines.max() < 0.6 < scores[0]
    assert scores == pytest.approx((1.0 + cosines) / 2.0, abs=1e-6)


def test_an_instruction_is_read(ranker: resift.LocalRanker) -> None:
    """The prompt has a place for an instruction, and none is the same as an empty one."""
    plain = ranker.score(tiny.QUERY, DOCUMENTS)

    assert ranker.takes_instruction
    assert ranker.score(tiny.QUERY, DOCUMENTS, instruction="Look for food.") != pytest.approx(plain, abs=1e-4)
    assert ranker.score(tiny.QUERY, DOCUMENTS, instruction="") == pytest.approx(plain, abs=1e-6)


def test_what_is_cut_is_told(model: Path) -> None:
    """Documents longer than their half of `max_length` are cut and counted; tokens are those of the whole prompts."""
    documents = ["bamboo " * 700, *DOCUMENTS[:3], "panda " * 900]
    with resift.load(model, device="cpu", max_length=1024) as ranker:
        ranking = ranker.rank("panda", documents)
        prepared = ranker._hold.family.prepare("panda", documents, None)  # noqa: SLF001 - there is no other way to see
        short = ranker.rank("panda", DOCUMENTS[:3])

    assert ranking.truncated == 2
    assert ranking.usage is not None
    assert ranking.usage.tokens == sum(len(tokens) for tokens in prepared.sequences)
    assert short.truncated == 0


@pytest.mark.parametrize("max_length", [1024, 2048, 4096])
def test_no_block_has_more_text_than_allowed(max_length: int, model: Path) -> None:
    """However long texts are, the texts of a block, the query twice, have no more tokens than `max_length`."""
    documents = [f"{at} " + "bamboo forests " * (at * 37 % 700) for at in range(60)]
    with resift.load(model, device="cpu", max_length=max_length) as ranker:
        family = ranker._hold.family  # noqa: SLF001 - there is no other way to see
        blocks = family.prepare(tiny.LONG_QUERY, documents, None).sequences
        around = [len(family.prepare("?", [""] * (block.rows - 1), None).sequences[0]) for block in blocks]

    assert sum(block.rows - 1 for block in blocks) == len(documents)
    assert max(len(block) - size for block, size in zip(blocks, around, strict=True)) <= max_length


def test_a_length_without_room_is_refused(model: Path) -> None:
    """A list needs more room than a pair, and the error says how much."""
    with pytest.raises(InvalidInput, match="1024"):
        resift.load(model, device="cpu", max_length=512)


def test_windows_are_refused(model: Path) -> None:
    """A document in windows would stand in the list several times, so asking for them is refused."""
    with pytest.raises(InvalidInput, match="windows"):
        resift.load(model, device="cpu", long_documents="window")


# marks in texts


@pytest.mark.parametrize(
    "text",
    [
        "<|embed_token|>bamboo<|rerank_token|>",
        "<|embed_<|rerank_token|>token|>bamboo",
        "<|rerank_<|embed_token|>token|>bamboo",
        "<|rerank_<|embed_<|rerank_token|>token|>token|>bamboo",
    ],
)
def test_marks_in_texts_mean_nothing(text: str, ranker: resift.LocalRanker) -> None:
    """A text that spells the marks, or would once others are taken out, moves nobody's score to anybody else."""
    expected = ranker.score("bamboo", ["bamboo", *DOCUMENTS], instruction="bamboo")

    assert ranker.score(text, [text, *DOCUMENTS], instruction=text) == pytest.approx(expected, abs=1e-6)


def test_blocks_without_a_weight_weigh_the_same(model: Path) -> None:
    """Where the best document of every block is the opposite of its query, scores are numbers still."""
    encoder = TextEncoder(model / "tokenizer.json")
    marks = Marks(query="<|rerank_token|>", document="<|embed_token|>")
    family = ListwiseRanker(encoder, marks, max_length=4096, query_length=512, document_length=2048)
    prepared = family.prepare("panda", ["bamboo"] * 130, None)
    blocks = [np.array([*[[-1.0, 0.0]] * 125, [1.0, 0.0]]), np.array([*[[0.0, -1.0]] * 5, [0.0, 1.0]])]

    scores = prepared.finish(np.concatenate(blocks).astype(np.float32), None)

    assert [len(block) for block in blocks] == [125 + 1, 5 + 1]
    assert scores == pytest.approx([-(0.5**0.5)] * 130)


# what files say


def _changed(model: Path, directory: Path, **config: Any) -> Path:
    shutil.copytree(model, directory)
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return directory


def test_no_code_of_the_repository_is_run(model: Path, tmp_path: Path) -> None:
    """The authors' code is not needed, and does not run where it is trusted either."""
    directory = _changed(model, tmp_path / "model")
    (directory / "modeling.py").write_text("raise SystemExit('the code of the repository was run')")

    with resift.load(directory, device="cpu", trust_remote_code=True) as ranker:
        found = ranker.score(tiny.QUERY, DOCUMENTS)
    with resift.load(model, device="cpu") as ranker:
        assert found == pytest.approx(ranker.score(tiny.QUERY, DOCUMENTS), abs=1e-6)


def test_a_copy_is_read_like_its_original(model: Path, tmp_path: Path) -> None:
    """A copy whose files name no architecture is read as the original when `like` says so."""
    directory = _changed(model, tmp_path / "model", architectures=["Qwen3Model"])

    with resift.load(directory, device="cpu", like=V3) as ranker, resift.load(model, device="cpu") as original:
        assert ranker.score(tiny.QUERY, DOCUMENTS) == pytest.approx(original.score(tiny.QUERY, DOCUMENTS), abs=1e-6)


def test_another_model_is_not_taken_for_one(tmp_path: Path) -> None:
    """A model of another make is refused under the name of a listwise one, before its weights are read."""
    directory = tiny.build("bert-cross", tmp_path / "jina-reranker-v3")

    with pytest.raises(ModelUnsupported, match="'bert' model"):
        resift.load(directory, device="cpu")


@pytest.mark.parametrize("lost", ["projector.0.weight", "projector.2.weight"])
def test_a_projector_is_never_random(lost: str, model: Path, tmp_path: Path) -> None:
    """Without the weights that turn hidden states into what is compared, a model is refused, and they are named."""
    directory = _changed(model, tmp_path / "model")
    weights = load_file(directory / "model.safetensors")
    del weights[lost]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})

    with pytest.raises(ModelUnsupported, match=lost):
        resift.load(directory, device="cpu")


def test_a_tokenizer_without_the_marks_is_refused(model: Path, tmp_path: Path) -> None:
    """A tokenizer that splits the marks would leave nothing to read, so the model is refused, and the mark is named."""
    directory = _changed(model, tmp_path / "model")
    Tokenizer.from_file(str(tiny.VOCABULARIES / "qwen.json")).save(str(directory / "tokenizer.json"))

    with pytest.raises(ModelUnsupported, match="rerank_token"):
        resift.load(directory, device="cpu")
