"""Embedding models: what their modules say about pooling, similarity and prompts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resift
import tiny
from resift.checkpoint import open_checkpoint
from resift.errors import InvalidInput, ModelNotFound, ModelUnsupported
from resift.scoring.backends import Embed
from resift.scoring.recognition import Recognised, recognise
from resift.settings import Settings
from resift.tokenizing import TextEncoder

OWN = "config_sentence_transformers.json"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "model"


def _write(directory: Path, name: str, content: Any) -> None:
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text(json.dumps(content))


def _chain(directory: Path, **folders: str) -> None:
    """Write a modules.json that chains modules of these types, each with its folder."""
    types = {"Transformer": "", **folders}
    modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for name, path in types.items()]
    _write(directory, "modules.json", modules)


def _recognise(directory: Path, **options: Any) -> Recognised:
    return recognise(open_checkpoint(str(directory)), Settings(model=str(directory), **options))


def _refused(directory: Path) -> str:
    with pytest.raises((ModelUnsupported, ModelNotFound)) as refused:
        resift.load(directory, device="cpu")
    assert str(directory) in str(refused.value)
    return str(refused.value)


# pooling


@pytest.mark.parametrize(
    ("pooling", "read"),
    [
        ("cls", "cls"),
        ("mean", "mean"),
        ("max", "max"),
        ("mean_sqrt_len", "mean_sqrt_len_tokens"),
        ("weightedmean", "weightedmean"),
        ("lasttoken", "lasttoken"),
    ],
)
def test_the_old_keys_of_pooling_are_read(pooling: str, read: str, directory: Path) -> None:
    """One switch for each way to pool, as sentence-transformers saved them until version 5."""
    recognised = _recognise(tiny.build("bert-embedding", directory, pooling=pooling))

    assert recognised.readout == Embed((read,), normalize=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("saved", "pooling"),
    [
        ({"pooling_mode": "mean"}, ("mean",)),
        ({"pooling_mode": "lasttoken", "include_prompt": True}, ("lasttoken",)),
        ({"pooling_mode": ["cls", "max"]}, ("cls", "max")),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ("cls", "mean")),
        ({"word_embedding_dimension": 32}, ("mean",)),
    ],
)
def test_the_new_key_of_pooling_is_read(saved: dict[str, Any], pooling: Any, directory: Path) -> None:
    """One name, or several side by side; the mean, where a pooling module says nothing more."""
    tiny.build("bert-embedding", directory)
    _write(directory, "1_Pooling/config.json", saved)

    assert _recognise(directory).readout == Embed(pooling, normalize=True)


def test_several_poolings_make_one_longer_vector(directory: Path) -> None:
    """A model that pools in two ways compares both halves at once."""
    tiny.build("bert-embedding", directory, normalize=False)
    scores = {}
    for pooling in ("cls", "mean", ["cls", "mean"]):
        _write(directory, "1_Pooling/config.json", {"pooling_mode": pooling})
        _write(directory, OWN, {"similarity_fn_name": "dot"})
        with resift.load(directory, device="cpu") as ranker:
            scores[str(pooling)] = np.array(ranker.score(tiny.QUERY, tiny.DOCUMENTS))

    np.testing.assert_allclose(scores["['cls', 'mean']"], scores["cls"] + scores["mean"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("folder", ["1_Pooling", "2_Pooling", "pooler"])
def test_pooling_is_read_from_the_folder_that_the_chain_names(folder: str, directory: Path) -> None:
    """Where modules.json says the pooling is, there it is read, whatever lies elsewhere."""
    tiny.build("bert-embedding", directory)
    _write(directory, "1_Pooling/config.json", {"pooling_mode": "cls"})
    _write(directory, f"{folder}/config.json", {"pooling_mode": "max"})
    _chain(directory, Pooling=folder)

    assert _recognise(directory).readout == Embed(("max",), normalize=True)


def test_an_unknown_pooling_is_refused(directory: Path) -> None:
    """A way to pool that is not known is named, with those that are."""
    tiny.build("bert-embedding", directory)
    _write(directory, "1_Pooling/config.json", {"pooling_mode": "attention"})

    message = _refused(directory)

    assert "'attention'" in message
    assert "lasttoken" in message


def test_a_chain_without_its_pooling_is_incomplete(directory: Path) -> None:
    """A chain that names a pooling whose file is missing is not read in a way of our choice."""
    tiny.build("bert-embedding", directory)
    (directory / "1_Pooling" / "config.json").unlink()

    assert "1_Pooling" in _refused(directory)


def test_a_prompt_that_is_left_out_of_the_pooling_is_refused(directory: Path) -> None:
    """What the pooling would have to skip is not pooled along silently."""
    tiny.build("bert-embedding", directory, prompts={"query": "query: "})
    _write(directory, "1_Pooling/config.json", {"pooling_mode": "mean", "include_prompt": False})

    assert "prompt" in _refused(directory)


def test_a_chain_of_unknown_modules_is_refused(directory: Path) -> None:
    """A chain with a module that is not known is shown as it is; half of it is never run."""
    tiny.build("bert-embedding", directory)
    _chain(directory, Pooling="1_Pooling", WordWeights="2_WordWeights", Normalize="3_Normalize")

    message = _refused(directory)

    assert "Transformer -> Pooling -> WordWeights -> Normalize" in message
    assert "choose" in message


# similarity


@pytest.mark.parametrize(
    ("similarity", "normalized", "cosine"),
    [("cosine", True, True), ("cosine", False, True), ("dot", True, True), ("dot", False, False), (None, False, True)],
)
def test_similarity_is_what_the_model_was_saved_with(
    similarity: str | None,
    normalized: bool,  # noqa: FBT001
    cosine: bool,  # noqa: FBT001
    directory: Path,
) -> None:
    """Vectors have length 1 for a cosine, or where the model makes them so; a dot product takes them as they are."""
    tiny.build("bert-embedding", directory, normalize=normalized)
    _write(directory, OWN, {"similarity_fn_name": similarity})

    recognised = _recognise(directory)

    assert recognised.readout == Embed(("cls",), normalize=cosine)
    assert recognised.family.bounded is cosine


def test_a_dot_product_has_no_bounds(directory: Path) -> None:
    """Scores that may be any number are not squeezed into [0, 1]: asking for it is an error."""
    tiny.build("bert-embedding", directory, normalize=False)
    _write(directory, OWN, {"similarity_fn_name": "dot"})

    with pytest.raises(InvalidInput, match="normalize=True"):
        resift.load(directory, device="cpu", normalize=True)
    with resift.load(directory, device="cpu") as ranker:
        assert max(ranker.score(tiny.QUERY, tiny.DOCUMENTS)) > 1


def test_an_unknown_similarity_is_refused(directory: Path) -> None:
    """A distance is not taken for a similarity."""
    tiny.build("bert-embedding", directory)
    _write(directory, OWN, {"similarity_fn_name": "euclidean"})

    assert "'euclidean'" in _refused(directory)


# prompts


def _texts(directory: Path, recognised: Recognised, instruction: str | None = None) -> tuple[list[int], list[int]]:
    """Return the ids of the query and of the document, without the special tokens around them."""
    sequences = recognised.family.prepare("panda", ["bamboo"], instruction).sequences
    query, document = (sequence.ids.tolist()[1:-1] for sequence in sequences)
    return query, document


@pytest.mark.parametrize(
    ("prompts", "query", "document"),
    [
        ({}, "panda", "bamboo"),
        ({"query": "query: "}, "query: panda", "bamboo"),
        ({"query": "query: ", "document": "text: "}, "query: panda", "text: bamboo"),
        ({"query": "query: ", "passage": "passage: "}, "query: panda", "bamboo"),
        ({"corpus": "corpus: "}, "panda", "bamboo"),
        ({"passage": "no: ", "document": "yes: "}, "panda", "yes: bamboo"),
        ({"classification": "classify: "}, "panda", "bamboo"),
    ],
)
def test_prompts_go_in_front(prompts: dict[str, str], query: str, document: str, directory: Path) -> None:
    """The prompts saved as query and document go in front, as sentence-transformers 6 does it; no others do."""
    tiny.build("bert-embedding", directory, prompts=prompts)
    encoder = TextEncoder(directory / "tokenizer.json")

    found = _texts(directory, _recognise(directory))

    assert found == (encoder.encode(query).tolist(), encoder.encode(document).tolist())


def test_an_instruction_takes_the_place_of_the_query_prompt(directory: Path) -> None:
    """A caller's instruction stands where the authors' own stood, before the query alone."""
    tiny.build("bert-embedding", directory)
    encoder = TextEncoder(directory / "tokenizer.json")
    recognised = _recognise(directory, like="BAAI/bge-large-en")
    own = "Represent this sentence for searching relevant passages: "

    assert _texts(directory, recognised)[0] == encoder.encode(own + "panda").tolist()
    assert _texts(directory, recognised, "Find bears: ")[0] == encoder.encode("Find bears: panda").tolist()
    assert _texts(directory, recognised, "Find bears: ")[1] == encoder.encode("bamboo").tolist()


def test_a_bare_backbone_may_be_read_as_an_embedding_model(directory: Path) -> None:
    """A BERT without a head is no reranker by itself; `like` makes it the embedding model that it was trained as."""
    tiny.build("bert-embedding", directory)
    with resift.load(directory, like="BAAI/bge-small-en", device="cpu") as ranker:
        expected = ranker.score(tiny.QUERY, tiny.DOCUMENTS)
    for file in ("modules.json", "sentence_bert_config.json", OWN):
        (directory / file).unlink()

    assert "like=" in _refused(directory)
    with resift.load(directory, like="BAAI/bge-small-en", device="cpu") as ranker:
        assert ranker.score(tiny.QUERY, tiny.DOCUMENTS) == pytest.approx(expected, abs=1e-6)
