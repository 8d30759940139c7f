"""The onnx backend says what the torch backend says of the same weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import exported
import headed
import resift
import tiny
from resift.errors import ModelUnsupported, ScoringFailed
from resift.scoring.backends.onnx import sessions

SEQUENCES = ["batch", "sequence"]
IDS = {"input_ids": (exported.INT64, SEQUENCES)}
MASK = {"attention_mask": (exported.INT64, SEQUENCES)}
LOGITS = {"logits": ["batch", 1]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a maker of models with graphs, each of which is made once."""
    return exported.maker(tmp_path_factory.mktemp("onnx"))


def _scores(model: Path, documents: Any = tiny.DOCUMENTS, query: str = tiny.QUERY, **how: Any) -> list[float]:
    with resift.load(model, **how) as ranker:
        return ranker.score(query, list(documents))


# the same scores


@pytest.mark.parametrize("kind", ["bert-cross", "xlmr-cross", "deberta-cross", "modernbert-cross", "electra-cross"])
@pytest.mark.parametrize("query", [tiny.QUERY, tiny.LONG_QUERY], ids=["short", "long"])
def test_a_graph_says_what_its_weights_say(kind: str, query: str, made: Callable[[str], Path]) -> None:
    """A cross-encoder gives the same scores from its ONNX graph as from its weights."""
    model = made(kind)

    assert _scores(model, query=query, backend="onnx") == pytest.approx(
        _scores(model, query=query, backend="torch", device="cpu"), abs=1e-5
    )


@pytest.mark.parametrize("pooling", sorted(tiny.POOLING))
def test_hidden_states_are_pooled_as_torch_pools_them(pooling: str, tmp_path: Path) -> None:
    """An embedding model gives the same similarities from its ONNX graph as from its weights."""
    model = exported.build("bert-embedding", tmp_path, pooling=pooling, prompts={"query": "query: "})

    assert _scores(model, backend="onnx") == pytest.approx(_scores(model, backend="torch", device="cpu"), abs=1e-5)


def test_half_a_graph_is_close(made: Callable[[str], Path]) -> None:
    """The float16 graph is read when float16 is asked for, and says nearly the same."""
    model = made("bert-cross")
    exported.halve(model / "onnx" / "model.onnx")
    exact, half = (_scores(model, backend="onnx", dtype=dtype) for dtype in ("float32", "float16"))

    assert half == pytest.approx(exact, abs=2e-2)
    assert half != exact


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_quantised_graph_ranks_alike(backend: str, tmp_path: Path) -> None:
    """The int8 graph of a model of MiniLM's size is read when int8 is asked for, and ranks nearly as the exact one."""
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    model = exported.build("bert-cross", tmp_path, **shape)
    exported.quantize(model / "onnx" / "model.onnx")
    words = " ".join(tiny.DOCUMENTS).split()
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(60)]
    exact, quantised = (_scores(model, documents, backend=backend, dtype=dtype) for dtype in ("float32", "int8"))

    assert exported.agreement(exact, quantised) >= 0.98
    assert quantised != exact


def test_no_cpu_computes_half_a_graph_in_bfloat16(tmp_path: Path) -> None:
    """ONNX Runtime has no product of bfloat16 for a CPU, which is why nobody is promised one: here that would show."""
    ones = helper.make_tensor("ones", TensorProto.BFLOAT16, [4, 4], [1.0] * 16)
    nodes = [
        helper.make_node("Constant", [], ["weights"], value=ones),
        helper.make_node("Cast", ["states"], ["rounded"], to=TensorProto.BFLOAT16),
        helper.make_node("MatMul", ["rounded", "weights"], ["product"]),
        helper.make_node("Cast", ["product"], ["found"], to=TensorProto.FLOAT),
    ]
    states = {"states": (TensorProto.FLOAT, ["tokens", 4])}
    path = exported.write_graph(tmp_path / "graph.onnx", nodes, states, outputs={"found": ["tokens", 4]})
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED.*MatMul"):
        sessions.OnnxRuntime().open(path, "cpu", "bfloat16")


def test_a_quantised_score_depends_on_nothing_else(made: Callable[[str], Path]) -> None:
    """A quantised graph scales a batch by its largest number, so each text runs alone: no other changes its score."""
    model = made("xlmr-cross")
    exported.quantize(model / "onnx" / "model.onnx")
    with resift.load(model, backend="onnx", dtype="int8") as ranker:
        together = ranker.score(tiny.QUERY, list(tiny.DOCUMENTS))
        apart = [ranker.score(tiny.QUERY, [document])[0] for document in tiny.DOCUMENTS]

    assert together == apart


def test_a_graph_ranks_with_a_prefix(tmp_path: Path) -> None:
    """A language model converted to a classifier reads the prompt's beginning in front of each document."""
    model = exported.build("qwen3-cross", tmp_path)
    asked: dict[str, Any] = {"like": "Qwen/Qwen3-Reranker-0.6B", "normalize": False}

    assert _scores(model, backend="onnx", **asked) == pytest.approx(
        _scores(model, backend="torch", device="cpu", **asked), abs=1e-4
    )


@pytest.mark.parametrize("limit", [1, 64, 4096])
def test_the_limit_of_a_batch_changes_no_score(limit: int, made: Callable[[str], Path]) -> None:
    """Whatever runs together, each document has the same score."""
    model = made("bert-cross")

    assert _scores(model, backend="onnx", max_batch_tokens=limit) == pytest.approx(
        _scores(model, backend="onnx"), abs=1e-5
    )


# what a graph is fed, by graphs written by hand


def _write(path: Path, nodes: list[Any], inputs: Any, outputs: Any = None) -> Path:
    """Write a cross-encoder whose graph is made by hand, and return it."""
    model = tiny.build("bert-cross", path)
    exported.write_graph(model / "onnx" / "model.onnx", nodes, inputs, outputs=outputs or LOGITS)
    return model


def _sum(name: str, output: str = "logits") -> list[Any]:
    """Return nodes that add up the numbers of an input's rows."""
    return [
        helper.make_node("Cast", [name], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["axes"], value_ints=[1]),
        helper.make_node("ReduceSum", ["real", "axes"], [output], keepdims=1),
    ]


@pytest.mark.parametrize("kind", ["INT64", "INT32", "FLOAT", "FLOAT16", "BOOL"])
def test_inputs_have_the_declared_format(kind: str, tmp_path: Path) -> None:
    """A mask goes in as the numbers that the graph declares, and counts the tokens of each text."""
    mask = {"attention_mask": (getattr(TensorProto, kind), SEQUENCES)}
    model = _write(tmp_path, _sum("attention_mask"), {"input_ids": (TensorProto.INT32, SEQUENCES)} | mask)
    with resift.load(model, backend="onnx", normalize=False) as ranker:
        scores = ranker.score("panda", ["bamboo", "bamboo bamboo"])

    assert scores[1] > scores[0] >= 5  # [CLS] panda [SEP] bamboo [SEP]


def test_positions_are_counted_where_they_are_asked_for(tmp_path: Path) -> None:
    """A graph that wants positions gets them, from 0."""
    model = _write(tmp_path, _sum("position_ids"), {"input_ids": IDS["input_ids"], "position_ids": IDS["input_ids"]})
    with resift.load(model, backend="onnx", normalize=False) as ranker:
        (score,) = ranker.score("panda", ["bamboo"])
    count = int((1 + (1 + 8 * score) ** 0.5) / 2)

    assert count >= 5
    assert score == sum(range(count))


def test_a_graph_without_a_mask_reads_each_text_alone(tmp_path: Path) -> None:
    """Where padding changes what a graph says, nothing is padded."""
    nodes = [*_sum("input_ids", "sum"), helper.make_node("Shape", ["input_ids"], ["size"], start=1, end=2)]
    nodes += [helper.make_node("Cast", ["size"], ["length"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Add", ["sum", "length"], ["logits"])]
    model = _write(tmp_path, nodes, IDS)
    with resift.load(model, backend="onnx", normalize=False) as ranker:
        together = ranker.score("panda", ["bamboo", "bamboo " * 30])
        assert together == [ranker.score("panda", [document])[0] for document in ("bamboo", "bamboo " * 30)]


def test_logits_need_no_second_dimension(tmp_path: Path) -> None:
    """One number per text is a logit, whatever it is called."""
    nodes = [*_sum("attention_mask", "wide"), helper.make_node("Squeeze", ["wide", "axes"], ["relevance"])]
    model = _write(tmp_path, nodes, IDS | MASK, {"relevance": ["batch"]})
    with resift.load(model, backend="onnx", normalize=False) as ranker:
        scores = ranker.score("panda", ["bamboo", "bamboo bamboo"])

    assert scores[1] > scores[0] >= 5


def _refused(model: Path) -> str:
    with pytest.raises(ModelUnsupported) as refused:
        resift.load(model, backend="onnx")
    return str(refused.value)


def test_an_unknown_input_is_named(tmp_path: Path) -> None:
    """A graph that takes what nobody here can give is refused with the name of it."""
    unknown = {"past_key_values.0.key": (TensorProto.FLOAT, ["batch", 2, "past", 8])}
    message = _refused(_write(tmp_path, _sum("attention_mask"), IDS | MASK | unknown))

    assert "past_key_values.0.key" in message
    assert "input_ids" in message


def test_a_graph_of_one_shape_is_refused(tmp_path: Path) -> None:
    """A graph that takes texts of one length only is refused with its shape."""
    inputs = {"input_ids": (exported.INT64, [1, 128])}

    assert "(1, 128)" in _refused(_write(tmp_path, _sum("input_ids"), inputs))


def test_an_output_of_several_labels_is_named(tmp_path: Path) -> None:
    """A graph that gives several numbers per text is refused with what it gives."""
    nodes = [*_sum("attention_mask", "sum"), helper.make_node("Concat", ["sum"] * 3, ["logits"], axis=1)]
    message = _refused(_write(tmp_path, nodes, IDS | MASK, {"logits": ["batch", 3]}))

    assert "('batch', 3)" in message
    assert "one logit per text" in message


def test_hidden_states_are_no_logits(tmp_path: Path) -> None:
    """A graph without the head that scores is refused with what it gives."""
    nodes = [*_sum("attention_mask", "sum"), helper.make_node("Unsqueeze", ["sum", "axes"], ["last_hidden_state"])]
    message = _refused(_write(tmp_path, nodes, IDS | MASK, {"last_hidden_state": ["batch", 1, 1]}))

    assert "last_hidden_state" in message
    assert "one logit per text" in message


def test_a_model_that_is_asked_with_a_prompt_is_left_to_torch(tmp_path: Path) -> None:
    """A language model's graph is refused, with the backend that runs the model."""
    model = tiny.build("qwen3", tmp_path)
    exported.write_graph(model / "onnx" / "model.onnx", _sum("attention_mask"), IDS | MASK, outputs=LOGITS)
    with pytest.raises(ModelUnsupported, match="backend='torch'"):
        resift.load(model, backend="onnx", like="Qwen/Qwen3-Reranker-0.6B")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_jina_v1_runs_from_its_graph(backend: Any, made: Callable[[str], Path], tmp_path: Path) -> None:
    """Positions that only the authors' code tells apart are the graph's own affair: jina-reranker-v1 runs from one."""
    model = exported.without_weights(made("bert-cross"), tmp_path / "jina-reranker-v1-tiny-en")
    headed.say(
        model,
        architectures=["JinaBertForSequenceClassification"],
        auto_map={"AutoConfig": "jinaai/jina-bert-implementation--configuration_bert.JinaBertConfig"},
        position_embedding_type="alibi",
    )

    assert _scores(model, backend=backend) == pytest.approx(_scores(made("bert-cross"), backend="onnx"), abs=1e-5)


def test_a_tokenizer_of_another_model_is_noticed(made: Callable[[str], Path], tmp_path: Path) -> None:
    """Ids that the model has no row for are an error that says so."""
    model = exported.without_weights(made("bert-cross"), tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 40}))

    with pytest.raises((ModelUnsupported, ScoringFailed), match="do not belong together"):
        _scores(model)


def test_the_number_format_is_part_of_what_scores_depend_on(made: Callable[[str], Path]) -> None:
    """A cache tells a quantised ranker from an exact one, and torch from onnx."""
    model = made("bert-cross")
    exported.quantize(model / "onnx" / "model.onnx")
    identities = set()
    for how in ({"backend": "onnx"}, {"backend": "onnx", "dtype": "int8"}, {"backend": "torch"}):
        with resift.load(model, **how) as ranker:  # type: ignore[arg-type]
            identities.add(ranker.identity)

    assert len(identities) == 3
