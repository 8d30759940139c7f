"""Models that cannot rank as they are, and what is missing on this machine: said early, with what to do."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import resift
import tiny
from resift.errors import InvalidInput, ModelUnsupported
from resift.scoring import loading
from resift.scoring.catalog import UNSUITABLE
from resift.scoring.facts import NON_COMMERCIAL

MXBAI, GEMMA = "mixedbread-ai/mxbai-rerank-base-v2", "BAAI/bge-reranker-v2-gemma"
PROMPT = resift.Prompt(pieces=("Query: {query}\n", "Document: {document}\n", "Relevant?"), positive="yes")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "model"


def _refused(model: Path | str, **options: Any) -> str:
    """Load, expect a refusal that names the model, and return its message."""
    with pytest.raises(ModelUnsupported) as refused:
        resift.load(model, device="cpu", **options)
    assert str(model) in str(refused.value)
    return str(refused.value)


# models that are something else


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma"])
def test_a_language_model_without_a_prompt_is_refused(kind: str, directory: Path) -> None:
    """A language model is never asked in words of our own: the error shows how to declare a prompt."""
    message = _refused(tiny.build(kind, directory))

    assert tiny.KINDS[kind].architecture in message
    for way in ("like=resift.Prompt(", "{query}", "{document}", "positive=", "like='Qwen/Qwen3-Reranker"):
        assert way in message


@pytest.mark.parametrize(
    "architecture", ["BertModel", "BertForMaskedLM", "BertForTokenClassification", "JinaForRanking", "LayerWiseMiniCPM"]
)
def test_a_model_without_a_head_for_pairs_is_refused(architecture: str, directory: Path) -> None:
    """What a model is instead is named, with what could be done with it."""
    message = _refused(tiny.build("bert-cross", directory, architectures=[architecture]))

    assert architecture in message
    assert "choose a reranker" in message


@pytest.mark.parametrize("labels", [2, 3, 28])
def test_a_classifier_with_several_labels_is_refused(labels: int, directory: Path) -> None:
    """Which of several labels means relevance is not guessed."""
    assert f"{labels} labels" in _refused(tiny.build("bert-cross", directory, num_labels=labels))


def test_one_label_may_be_declared_as_a_number(directory: Path) -> None:
    """A configuration that counts its labels instead of naming them is understood, as transformers understands it."""
    tiny.build("bert-cross", directory)
    with resift.load(directory, device="cpu") as ranker:
        expected = ranker.score(tiny.QUERY, tiny.DOCUMENTS)
    config = json.loads((directory / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (directory / "config.json").write_text(json.dumps(config | {"num_labels": 1}))

    with resift.load(directory, device="cpu") as ranker:
        assert ranker.score(tiny.QUERY, tiny.DOCUMENTS) == expected


@pytest.mark.parametrize("architectures", [None, []])
def test_a_model_that_does_not_say_what_it_is_is_refused(architectures: list[str] | None, directory: Path) -> None:
    """Without declared architectures a model is not guessed at; `like` says what it is."""
    tiny.build("bert-cross", directory, architectures=architectures)

    message = _refused(directory)
    assert "architectures" in message
    assert "like=" in message
    with resift.load(directory, like="BAAI/bge-reranker-base", device="cpu") as ranker:
        assert len(ranker.score("panda", ["bamboo"])) == 1


@pytest.mark.parametrize(
    ("kind", "named", "lost"),
    [
        ("bert-cross", "BertForSequenceClassification", "classifier."),
        ("xlmr-cross", "XLMRobertaForSequenceClassification", "classifier."),
        ("bert-cross", "BertForSequenceClassification", "bert.pooler."),
        ("electra-cross", "ElectraForSequenceClassification", "classifier."),
        ("qwen3-cross", "Qwen3ForSequenceClassification", "score."),
    ],
)
def test_a_head_that_was_never_trained_is_refused(kind: str, named: str, lost: str, directory: Path) -> None:
    """A backbone whose configuration claims a head never scores with a random one: the missing weights are named."""
    tiny.build(kind, directory, architectures=[named])
    weights = load_file(directory / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith(lost)}
    assert len(kept) < len(weights)
    save_file(kept, directory / "model.safetensors", {"format": "pt"})

    like = PROMPT if kind == "qwen3-cross" else None
    message = _refused(directory, like=like)

    assert lost in message
    assert "random" in message


@pytest.mark.parametrize(
    ("kind", "like", "added"),
    [
        ("xlmr-cross", "", "roberta.encoder.layer.1.attention.adapter.dense.weight"),
        ("deberta-cross", "", "deberta.encoder.layer.0.attention.self.extra_proj.weight"),
        ("modernbert-cross", "", "model.layers.1.attn.gate.weight"),
        ("qwen2", MXBAI, "model.layers.0.self_attn.o_proj.bias"),
        ("gemma", GEMMA, "model.layers.1.mlp.up_proj.bias"),
    ],
)
def test_more_in_a_layer_than_is_computed_is_refused(kind: str, like: str, added: str, directory: Path) -> None:
    """A layer with one weight more than its architecture has is not run without it, by whose code ever it runs."""
    tiny.build(kind, directory)
    weights = load_file(directory / "model.safetensors")
    save_file(weights | {added: np.ones(4, dtype=np.float32)}, directory / "model.safetensors", {"format": "pt"})

    assert added in _refused(directory, like=like or None)


@pytest.mark.parametrize("name", ["encoder.layer.0.attention.rotary_emb.inv_freq", "encoder.layer.9.output.dense.bias"])
def test_what_no_layer_misses_is_no_matter(name: str, directory: Path) -> None:
    """A table that is computed anew, or a layer beyond those that the configuration counts, changes nothing."""
    tiny.build("bert-cross", directory)
    with resift.load(directory, device="cpu") as ranker:
        expected = ranker.score("panda", ["bamboo"])
    weights = load_file(directory / "model.safetensors")
    save_file(weights | {f"bert.{name}": np.ones(4, np.float32)}, directory / "model.safetensors", {"format": "pt"})

    with resift.load(directory, device="cpu") as ranker:
        assert ranker.score("panda", ["bamboo"]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("named", [None, "BertModel"])
def test_weights_that_nothing_computes_with_are_named(named: str | None, directory: Path) -> None:
    """Layers that hold more than is computed here, as BERT with relative positions does, are refused."""
    config: dict[str, Any] = {} if named is None else {"architectures": [named]}
    tiny.build("bert-cross", directory, position_embedding_type="relative_key", **config)
    weights = load_file(directory / "model.safetensors")
    added = "bert.encoder.layer.1.attention.self.distance_embedding.weight"
    weights[added] = np.ones((15, 8), dtype=np.float32)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})

    assert added.removeprefix("bert.") in _refused(directory, like=None if named is None else "BAAI/bge-base-en")


def test_a_classifier_that_joins_texts_without_a_seam_is_refused(directory: Path) -> None:
    """Query and document with nothing between them would be read as one text; what they were made from is asked for."""
    message = _refused(tiny.build("qwen3-cross", directory))

    assert "nothing between query and document" in message
    assert "like=" in message


def test_a_backbone_that_claims_a_head_is_refused(directory: Path) -> None:
    """The weights of a bare BertModel under the name of a classifier are no classifier."""
    tiny.build("bert-embedding", directory, architectures=["BertForSequenceClassification"], id2label={"0": "relevant"})
    (directory / "modules.json").unlink()

    assert "classifier." in _refused(directory)


def test_a_model_that_transformers_does_not_know_is_refused(directory: Path) -> None:
    """An architecture from elsewhere is named."""
    tiny.build("bert-cross", directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"model_type": "hyena"}))

    assert "'hyena'" in _refused(directory)


# prompts that do not fit


@pytest.mark.parametrize("like", [PROMPT, MXBAI])
@pytest.mark.parametrize("kind", ["bert-cross", "bert-embedding"])
def test_only_a_language_model_is_asked_with_a_prompt(kind: str, like: Any, directory: Path) -> None:
    """A prompt for a model that does not answer is refused, with what the model is."""
    message = _refused(tiny.build(kind, directory), like=like)

    assert tiny.KINDS[kind].architecture in message
    assert "leave `like` out" in message


@pytest.mark.parametrize("answers", [("yes indeed", None), ("yes", "no way"), ("yes", "")])
def test_an_answer_is_one_token(answers: tuple[str, str | None], directory: Path) -> None:
    """An answer of several tokens, or of none, has no logit of its own; it is named and its tokens are counted."""
    positive, negative = answers
    prompt = resift.Prompt(pieces=PROMPT.pieces, positive=positive, negative=negative)

    message = _refused(tiny.build("qwen2", directory), like=prompt)

    assert repr(positive if negative is None else negative) in message
    assert "must be one" in message


# models that are known not to fit


@pytest.mark.parametrize("model", sorted(UNSUITABLE))
@pytest.mark.parametrize("way", ["model", "like"])
def test_models_that_cannot_be_run_are_refused_before_any_download(
    model: str, way: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that only its authors' code computes is refused by name, with what to do."""
    monkeypatch.setattr(loading, "open_checkpoint", None)

    with pytest.raises(ModelUnsupported) as refused:
        resift.load(model) if way == "model" else resift.load(directory, like=model)

    assert model in str(refused.value)
    assert UNSUITABLE[model] in str(refused.value)
    assert "choose another model" in str(refused.value)


def test_case_hides_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub finds a model in any case, so one that cannot be run is refused in any case."""
    monkeypatch.setattr(loading, "open_checkpoint", None)

    with pytest.raises(ModelUnsupported, match="choose another model"):
        resift.load("baai/BGE-Reranker-v2.5-Gemma2-lightweight")


def test_an_unknown_like_names_the_closest(directory: Path) -> None:
    """A misspelt catalogue name is answered with the one that was meant."""
    with pytest.raises(InvalidInput, match="did you mean 'BAAI/bge-reranker-base'"):
        resift.load(tiny.build("xlmr-cross", directory), like="BAAI/bge-rerankr-base")


# licences


def test_a_non_commercial_licence_is_said_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each load of a model that may not be used commercially says so, once, however many rankers share it."""
    model = str(tiny.build("bert-cross", directory))
    monkeypatch.setitem(NON_COMMERCIAL, model, "CC-BY-NC-4.0")

    for loads in (1, 2):
        with resift.load(model, device="cpu") as ranker, resift.load(model, device="cpu"):
            ranker.rank("panda", ["bamboo"])
        said = [record for record in caplog.records if "CC-BY-NC-4.0" in record.getMessage()]
        assert len(said) == loads
        assert said[-1].levelno == logging.WARNING
        assert said[-1].name == "resift"
        assert model in said[-1].getMessage()


def test_a_licence_is_said_of_what_a_model_is_like(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fine-tune carries the licence of what it was tuned from; where both have one, it is said once."""
    model, like = str(tiny.build("xlmr-cross", directory)), "BAAI/bge-reranker-base"
    monkeypatch.setitem(NON_COMMERCIAL, like, "CC-BY-NC-4.0")
    resift.load(model, like=like, device="cpu").close()
    monkeypatch.setitem(NON_COMMERCIAL, model, "CC-BY-NC-SA-4.0")
    resift.load(model, like=like, device="cpu").close()

    said = [record.getMessage() for record in caplog.records if "forbids commercial use" in record.getMessage()]
    assert len(said) == 2
    assert like in said[0]
    assert model in said[1]


def test_a_free_licence_is_not_mentioned(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged above INFO about a model without restrictions."""
    with resift.load(tiny.build("bert-cross", directory), device="cpu") as ranker:
        ranker.rank("panda", ["bamboo"])

    assert not [record for record in caplog.records if record.levelno > logging.INFO]


# what is not installed

WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import resift
try:
    with resift.load(sys.argv[2], like=sys.argv[3] or None, device="cpu") as ranker:
        print("scored", ranker.score("panda", ["bamboo"]))
except resift.MissingDependency as error:
    assert isinstance(error, ImportError)
    print(error)
"""


def _without(library: str, directory: Path, like: str = "") -> str:
    """Load in a Python where a library cannot be imported, and return what is printed."""
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, library, str(directory), like],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    ("library", "kind", "like"),
    [("torch", "bert-cross", ""), ("torch", "qwen2", MXBAI), ("transformers", "gemma2", GEMMA)],
)
def test_a_missing_library_names_the_extra(library: str, kind: str, like: str, directory: Path) -> None:
    """Where a model needs a library that is not installed, the error says what to install."""
    said = _without(library, tiny.build(kind, directory), like)

    assert 'pip install "resift[local]"' in said
    assert library in said


def test_encoders_of_the_bert_kind_run_without_transformers(directory: Path) -> None:
    """The most used encoders need torch alone, and give the same scores."""
    tiny.build("xlmr-cross", directory)
    with resift.load(directory, device="cpu") as ranker:
        expected = ranker.score("panda", ["bamboo"])

    assert json.loads(_without("transformers", directory).removeprefix("scored ")) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kinds", [("WordEmbeddings", "Pooling"), ("Transformer", "Normalize"), ("CLIPModel",)])
@pytest.mark.parametrize("like", [None, "BAAI/bge-large-en-v1.5"])
def test_a_chain_is_known_from_its_first_module_on(kinds: tuple[str, ...], like: str | None, directory: Path) -> None:
    """A chain that does not begin with a transformer, or does not pool behind it, is refused and named."""
    tiny.build("bert-embedding", directory)
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": ""} for kind in kinds]
    (directory / "modules.json").write_text(json.dumps(modules))

    message = _refused(directory, like=like)

    assert " -> ".join(kinds) in message or "BertModel" in message
