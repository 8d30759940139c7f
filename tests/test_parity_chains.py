"""
Chains of modules score here as they do in sentence-transformers, which saves them.

Every chain is built, saved and loaded again by the reference itself, so that what is read is what it writes.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling
from torch import nn

import exported
import resift
import tiny
from resift.errors import ModelNotFound, ModelUnsupported
from resift.exporting import export

LOGIT, SCORE = 2e-6, 1e-6
WIDTH = 32
DOCUMENTS = list(tiny.DOCUMENTS)
BACKBONES = {"bert": "bert-embedding", "modernbert": "modernbert", "xlmr": "xlmr-embedding"}
# where transformers 5 rebuilds a tokenizer from its class, and reads these differently from tokenizer.json
REBUILT = {"xlmr": {DOCUMENTS[14], DOCUMENTS[19]}}

Modules = Callable[[], list[nn.Module]]


def _identity(width: int = 1, **options: Any) -> Dense:
    return Dense(WIDTH, width, activation_function=nn.Identity(), **options)


def _scores(width: int = WIDTH, **options: Any) -> Dense:
    return Dense(width, 1, activation_function=nn.Identity(), module_output_name="scores", **options)


RERANKERS: dict[str, Modules] = {
    "ettin": lambda: [
        Pooling(WIDTH, "cls"),
        Dense(WIDTH, WIDTH, bias=False, activation_function=nn.GELU()),
        LayerNorm(WIDTH),
        _scores(),
    ],
    "one layer": lambda: [Pooling(WIDTH, "mean"), _scores(bias=False)],
    "deep": lambda: [
        Pooling(WIDTH, ("cls", "max")),
        Dense(2 * WIDTH, 48),
        Dropout(0.5),
        Normalize(),
        Dense(48, 48, activation_function=nn.SiLU(), use_residual=True),
        Dense(48, 16, activation_function=nn.ReLU(), use_residual=True, module_output_name="hidden"),
        Dense(16, 1, activation_function=nn.Tanh(), module_input_name="hidden", module_output_name="scores"),
    ],
}
EMBEDDERS: dict[str, Modules] = {
    "dense": lambda: [Pooling(WIDTH, "mean"), Dense(WIDTH, 16)],
    "dense, normalised": lambda: [Pooling(WIDTH, "cls"), _identity(24, bias=False), Normalize()],
    "normalised between": lambda: [Pooling(WIDTH, "lasttoken"), Normalize(), Dense(WIDTH, 16), Dropout(0.2)],
    "layer norm": lambda: [Pooling(WIDTH, "weightedmean"), Dropout(0.1), LayerNorm(WIDTH), Dense(WIDTH, 16)],
}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a maker of models without a head."""

    def build(name: str) -> Path:
        return tiny.build(BACKBONES[name], tmp_path_factory.mktemp(name))

    return build


def _spread(modules: Sequence[nn.Module], seed: int = 0) -> Sequence[nn.Module]:
    """Give the layers weights that spread, so that scores differ."""
    generator = torch.Generator().manual_seed(seed)
    for module in modules:
        for weight in module.parameters():
            weight.data = torch.randn(weight.shape, generator=generator) / max(1, weight.shape[-1]) ** 0.5
    return modules


def _save_reranker(directory: Path, backbone: Path, modules: Modules, **options: Any) -> Path:
    chain = [_transformer(backbone), *_spread(modules())]
    CrossEncoder(modules=chain, device="cpu", **options).save_pretrained(str(directory))
    return directory


def _save_embedder(directory: Path, backbone: Path, modules: Modules, **options: Any) -> Path:
    chain = [_transformer(backbone), *_spread(modules())]
    SentenceTransformer(modules=chain, device="cpu", **options).save_pretrained(str(directory))
    return directory


def _transformer(backbone: Path) -> Transformer:
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (backbone / name).unlink(missing_ok=True)
    transformer: Transformer = Transformer(str(backbone))
    return transformer


def _documents(name: str) -> list[str]:
    return [document for document in DOCUMENTS if document not in REBUILT.get(name, set())]


def _predict(directory: Path, documents: Sequence[str], **options: Any) -> list[float]:
    reference = CrossEncoder(str(directory), device="cpu", local_files_only=True)
    pairs = [(tiny.QUERY, document) for document in documents]
    return [float(reference.predict([pair], show_progress_bar=False, **options)[0]) for pair in pairs]


def _assert_close(found: Any, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


# cross-encoders


@pytest.mark.parametrize("chain", RERANKERS)
@pytest.mark.parametrize("name", BACKBONES)
def test_a_chain_that_scores_parity(name: str, chain: str, backbone: Callable[[str], Path], tmp_path: Path) -> None:
    """A cross-encoder whose head is a chain of modules says the logits of the reference, batched or alone."""
    directory = _save_reranker(tmp_path, backbone(name), RERANKERS[chain])
    documents = _documents(name)
    expected = _predict(directory, documents, activation_fn=nn.Identity())

    with resift.load(directory, device="cpu", normalize=False) as ranker:
        _assert_close(ranker.score(tiny.QUERY, documents), expected, LOGIT)
        alone = [ranker.score(tiny.QUERY, [document])[0] for document in documents[::6]]
    _assert_close(alone, expected[::6], LOGIT)


@pytest.mark.parametrize(("activation", "raw"), [(nn.Identity(), True), (nn.Sigmoid(), False), (None, False)])
def test_the_saved_activation_parity(
    activation: nn.Module | None,
    raw: bool,  # noqa: FBT001
    backbone: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """The activation that was saved beside the chain is applied; a sigmoid, where none was chosen."""
    directory = _save_reranker(tmp_path, backbone("bert"), RERANKERS["ettin"], activation_fn=activation)
    expected = _predict(directory, DOCUMENTS)

    with resift.load(directory, device="cpu") as ranker:
        scores = ranker.score(tiny.QUERY, DOCUMENTS)
    _assert_close(scores, expected, LOGIT if raw else SCORE)
    assert (min(scores) < 0 or max(scores) > 1) == raw


def test_a_default_prompt_parity(backbone: Callable[[str], Path], tmp_path: Path) -> None:
    """What was saved to go in front of a query goes there."""
    options: dict[str, Any] = {"prompts": {"ask": "Which text answers this? "}, "default_prompt_name": "ask"}
    directory = _save_reranker(tmp_path, backbone("bert"), RERANKERS["ettin"], **options)
    expected = _predict(directory, DOCUMENTS[:8], activation_fn=nn.Identity())

    with resift.load(directory, device="cpu", normalize=False) as ranker:
        _assert_close(ranker.score(tiny.QUERY, DOCUMENTS[:8]), expected, LOGIT)


def test_weights_of_a_module_may_be_a_pickle(backbone: Callable[[str], Path], tmp_path: Path) -> None:
    """A module whose weights were saved by torch scores as one of safetensors."""
    directory = _save_reranker(tmp_path, backbone("bert"), RERANKERS["ettin"])
    expected = _predict(directory, DOCUMENTS[:4], activation_fn=nn.Identity())
    for file in directory.glob("*_*/model.safetensors"):
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
        file.unlink()

    with resift.load(directory, device="cpu", normalize=False) as ranker:
        _assert_close(ranker.score(tiny.QUERY, DOCUMENTS[:4]), expected, LOGIT)


def test_a_head_stays_in_full_precision(backbone: Callable[[str], Path], tmp_path: Path) -> None:
    """In half precision only the backbone is rounded: scores that are close do not fall on one."""
    directory = _save_reranker(tmp_path, backbone("modernbert"), RERANKERS["ettin"])
    options: dict[str, Any] = {"device": "cpu", "normalize": False}
    with resift.load(directory, **options) as full, resift.load(directory, dtype="bfloat16", **options) as half:
        exact, rounded = (np.array(each.score(tiny.QUERY, DOCUMENTS)) for each in (full, half))

    assert 1e-4 < np.abs(rounded - exact).max() < 0.1
    assert not (rounded.astype(np.float32) == torch.tensor(rounded).bfloat16().float().numpy()).all()


# embedding models


@pytest.mark.parametrize("chain", EMBEDDERS)
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_chain_that_embeds_parity(
    similarity: str, chain: str, backbone: Callable[[str], Path], tmp_path: Path
) -> None:
    """An embedding model with layers behind its pooling finds the likeness that the reference finds."""
    directory = _save_embedder(tmp_path, backbone("bert"), EMBEDDERS[chain], similarity_fn_name=similarity)
    reference = SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    vectors = np.stack([reference.encode_document(document) for document in DOCUMENTS])
    expected = reference.similarity(reference.encode_query(tiny.QUERY), vectors)[0].numpy()

    with resift.load(directory, device="cpu") as ranker:
        found = np.array(ranker.score(tiny.QUERY, DOCUMENTS))
        scale = np.abs(expected).max()
        _assert_close(found / scale, expected / scale, SCORE)


def test_classes_may_have_their_old_names(backbone: Callable[[str], Path], tmp_path: Path) -> None:
    """Modules are known wherever their class lived in the version that saved them."""
    directory = _save_embedder(tmp_path, backbone("bert"), EMBEDDERS["dense, normalised"])
    with resift.load(directory, device="cpu") as ranker:
        expected = ranker.score(tiny.QUERY, DOCUMENTS)
    modules = json.loads((directory / "modules.json").read_text())
    old = [module | {"type": f"sentence_transformers.models.{module['type'].rpartition('.')[2]}"} for module in modules]
    (directory / "modules.json").write_text(json.dumps(old))

    with resift.load(directory, device="cpu") as ranker:
        assert ranker.score(tiny.QUERY, DOCUMENTS) == expected


# what is refused


def _refused(directory: Path, **options: Any) -> str:
    with pytest.raises((ModelUnsupported, ModelNotFound)) as refused:
        resift.load(directory, device="cpu", **options)
    return str(refused.value)


def _change(directory: Path, name: str, **fields: Any) -> None:
    path = directory / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def ettin(backbone: Callable[[str], Path], tmp_path: Path) -> Path:
    return _save_reranker(tmp_path, backbone("modernbert"), RERANKERS["ettin"])


@pytest.mark.parametrize("like", ["BAAI/bge-reranker-base", "Qwen/Qwen3-Reranker-0.6B"])
def test_a_chain_is_never_read_by_another_head(like: str, ettin: Path) -> None:
    """A chain that is said to be like a model with another head is refused: that head would be random."""
    assert str(ettin) in _refused(ettin, like=like)


@pytest.mark.parametrize("like", ["BAAI/bge-reranker-base", None])
def test_a_chain_without_its_list_has_no_head(like: str | None, ettin: Path) -> None:
    """Without modules.json, what is left is a backbone, and no head is made up for it."""
    (ettin / "modules.json").unlink()

    assert str(ettin) in _refused(ettin, like=like)


@pytest.mark.parametrize("lacking", ["linear.weight", "norm.bias"])
def test_a_layer_without_its_weights_is_refused(lacking: str, ettin: Path) -> None:
    """A weight that is not there is named, and never taken from chance."""
    file = ettin / ("2_Dense" if lacking.startswith("linear") else "3_LayerNorm") / "model.safetensors"
    weights = load_file(file)
    del weights[lacking]
    save_file(weights or {"other": torch.zeros(1)}, file)

    message = _refused(ettin)

    assert lacking in message
    assert file.parent.name in message


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_module_without_its_files_is_incomplete(missing: str, ettin: Path) -> None:
    """A module whose folder lacks a file is named with it."""
    (ettin / "2_Dense" / missing).unlink()

    assert "2_Dense" in _refused(ettin)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"activation_function": "acme.layers.Swish"}, "'acme.layers.Swish'"),
        ({"activation_function": "torch.nn.modules.activation.Softmax"}, "Softmax"),
        ({"module_input_name": "token_embeddings"}, "'token_embeddings'"),
        ({"module_output_name": "elsewhere"}, "'elsewhere'"),
    ],
)
def test_a_layer_that_does_something_else_is_refused(fields: dict[str, Any], said: str, ettin: Path) -> None:
    """A layer that reads, writes or computes what is not known is named, not skipped."""
    _change(ettin, "2_Dense/config.json", **fields)

    assert said in _refused(ettin)


@pytest.fixture(params=["scores", "embeds"])
def layered(request: pytest.FixtureRequest, backbone: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model with layers behind its pooling, of either kind."""
    if request.param == "scores":
        return _save_reranker(tmp_path / "model", backbone("bert"), RERANKERS["ettin"])
    return _save_embedder(tmp_path / "model", backbone("bert"), EMBEDDERS["dense"])


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_layers_behind_pooling_are_left_to_torch(backend: Any, layered: Path) -> None:
    """A graph that ends before layers which the model's files name is refused, with the backend that runs them."""
    exported.export(layered)

    assert "backend='torch'" in _refused(layered, backend=backend)


def test_layers_behind_pooling_are_not_exported(layered: Path, tmp_path: Path) -> None:
    """A model with layers behind its pooling is not written as a graph that would lack them."""
    with pytest.raises(ModelUnsupported, match=r"cannot be exported: .*backend='torch'"):
        export(layered, tmp_path / "graph")

    assert not (tmp_path / "graph").exists()


def test_several_scores_are_refused(backbone: Callable[[str], Path], tmp_path: Path) -> None:
    """A chain that gives several numbers for a pair is a classifier, not a reranker."""
    chain: Modules = lambda: [Pooling(WIDTH, "cls"), _identity(3, module_output_name="scores")]  # noqa: E731
    directory = _save_reranker(tmp_path, backbone("bert"), chain)

    assert "3 scores" in _refused(directory)
