"""The openvino backend runs int8 graphs as its runtime does best, and their scores stay near the exact ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType  # type: ignore[import-untyped]

import exported
import resift
import tiny
from resift.scoring.backends.openvino import sessions
from resift.scoring.backends.openvino.eight_bit import GROUP, join_chains

AXES = {"second": [1], "last": [2], "all": [1, 2]}
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
FAST = EXACT | {"DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP}
WIDTH, COLUMNS = 256, 3
ROUNDS = "BF16" in sessions.the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a maker of models with graphs, each of which is made once."""
    return exported.maker(tmp_path_factory.mktemp("eight_bit"))


def _read(path: Path) -> Any:
    return sessions.the_core().read_model(path)


def _integer_products(graph: Any) -> int:
    kinds = [(node.get_type_name(), node.get_output_element_type(0).get_type_name()) for node in graph.get_ops()]
    return kinds.count(("MatMul", "i32"))


# which chains


@pytest.mark.parametrize("kind", ["bert-cross", "xlmr-cross", "deberta-cross", "modernbert-cross"])
@pytest.mark.parametrize("weight_type", [QuantType.QInt8, QuantType.QUInt8], ids=["signed", "unsigned"])
@pytest.mark.parametrize("per_channel", [True, False], ids=["by-channel", "by-tensor"])
def test_every_product_that_the_tool_of_the_field_writes_is_joined(
    kind: str, weight_type: QuantType, made: Callable[[str], Path], *, per_channel: bool
) -> None:
    """Whatever its weights, a quantised model keeps no product of integers, and is as near the exact one as before."""
    name = f"model_{weight_type.name}_{per_channel}"
    path = made(kind) / "onnx" / "model.onnx"
    quantised = exported.quantize(path, name, weight_type=weight_type, per_channel=per_channel)
    graph = _read(quantised)

    assert _integer_products(graph) > 0
    assert join_chains(graph)
    assert _integer_products(graph) == 0
    fast, chains, exact = (
        sessions.the_core().compile_model(each, "CPU", how)
        for each, how in ((graph, FAST), (_read(quantised), EXACT), (_read(path), EXACT))
    )
    ids = np.arange(5, 45).reshape(2, 20)
    fed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    fed = {port.any_name: fed[port.any_name] for port in exact.inputs}
    joined, chained, real = (compiled(fed)["logits"] for compiled in (fast, chains, exact))
    assert np.abs(joined - real).max() < np.abs(chained - real).max() + 0.05


def test_a_graph_without_such_products_is_left_alone(made: Callable[[str], Path]) -> None:
    """An exact graph has nothing to join, and stays what it is."""
    graph = _read(made("bert-cross") / "onnx" / "model.onnx")
    before = [node.get_friendly_name() for node in graph.get_ordered_ops()]

    assert not join_chains(graph)
    assert [node.get_friendly_name() for node in graph.get_ordered_ops()] == before


def _chain(*, factor: float = 1.0, zero: str = "zero", unsigned: bool = False) -> list[Any]:
    """Return a quantised product of `states`; `found` may be scaled otherwise, or another number taken off."""
    rng = np.random.default_rng(0)
    kind, shift = (np.uint8, 100) if unsigned else (np.int8, 0)
    constants: dict[str, Any] = {
        "weights": (rng.integers(-100, 100, (WIDTH, COLUMNS)) + shift).astype(kind),
        "zeros": np.arange(shift, shift + COLUMNS).astype(kind) if unsigned else np.zeros(COLUMNS, kind),
        "scale": np.linspace(0.01, 0.02, COLUMNS).astype(np.float32),
        "factor": np.array(factor, np.float32),
        "another": np.array(7, np.uint8),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in constants.items()
    ]
    return [
        *nodes,
        helper.make_node("DynamicQuantizeLinear", ["states"], ["rounded", "step", "zero"]),
        helper.make_node("MatMulInteger", ["rounded", "weights", zero, "zeros"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["real"], to=TensorProto.FLOAT),
        *([helper.make_node("Mul", ["step", "factor"], ["stepped"])] if factor != 1 else []),
        helper.make_node("Mul", ["stepped" if factor != 1 else "step", "scale"], ["scales"]),
        helper.make_node("Mul", ["real", "scales"], ["found"]),
    ]


def _two_chains(exchanged: str | None) -> list[Any]:
    """Return two quantised products, of which each may have the "zero" or the "step" of the other's rounding."""
    owners = {"states": "doubled", "doubled": "states"}
    nodes = [node for node in _chain() if node.op_type == "Constant"]
    nodes += [helper.make_node("Add", ["states", "states"], ["doubled"])]
    nodes += [
        helper.make_node("DynamicQuantizeLinear", [own], [f"{own}_{part}" for part in ("rounded", "step", "zero")])
        for own in owners
    ]
    for own, other in owners.items():
        zero, step = (f"{other if part == exchanged else own}_{part}" for part in ("zero", "step"))
        nodes += [
            helper.make_node("MatMulInteger", [f"{own}_rounded", "weights", zero, "zeros"], [f"{own}_sums"]),
            helper.make_node("Cast", [f"{own}_sums"], [f"{own}_real"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [step, "scale"], [f"{own}_scales"]),
            helper.make_node("Mul", [f"{own}_real", f"{own}_scales"], [f"{own}_found"]),
        ]
    return [*nodes, helper.make_node("Add", ["states_found", "doubled_found"], ["found"])]


def _by_hand(path: Path, nodes: list[Any], given: str = "states") -> Path:
    """Write a graph that makes `found` of the tokens that it is given, and nothing else."""
    states, found = ["tokens", WIDTH], ["tokens", COLUMNS]
    return exported.write_graph(path, nodes, {given: (TensorProto.FLOAT, states)}, outputs={"found": found})


def _run(graph: Any, states: Any, **how: Any) -> Any:
    return sessions.the_core().compile_model(graph, "CPU", EXACT | how)(states)["found"]


def _states(tokens: int) -> Any:
    return np.random.default_rng(1).standard_normal((tokens, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("unsigned", [False, True], ids=["signed", "unsigned"])
def test_a_joined_product_says_what_its_chain_says(tmp_path: Path, *, unsigned: bool) -> None:
    """A product that was joined gives under the same name what its chain gives, but for the rounding that it spares."""
    path = _by_hand(tmp_path / "graph.onnx", _chain(unsigned=unsigned))
    chain, joined = _read(path), _read(path)

    assert join_chains(joined)
    assert _run(joined, _states(5)) == pytest.approx(_run(chain, _states(5)), abs=1)
    assert np.abs(_run(chain, _states(5))).max() > 10


@pytest.mark.skipif(not ROUNDS, reason="OpenVINO may not round for itself on this processor")
def test_a_joined_product_is_rounded_token_by_token(tmp_path: Path) -> None:
    """OpenVINO rounds what a joined product multiplies, and what it makes of a token depends on no other token."""
    joined = _read(_by_hand(tmp_path / "graph.onnx", _chain()))
    assert join_chains(joined)
    states = _states(8)
    exact, rounded = (_run(joined, states, DYNAMIC_QUANTIZATION_GROUP_SIZE=size) for size in (0, GROUP))
    states[0] *= 100
    beside_large_numbers = _run(joined, states, DYNAMIC_QUANTIZATION_GROUP_SIZE=GROUP)

    assert 0 < np.abs(exact - rounded).max() < 1
    assert (beside_large_numbers[1:] == rounded[1:]).all()


@pytest.mark.parametrize("otherwise", [{"factor": 3.0}, {"zero": "another"}], ids=["scale", "zero"])
def test_a_chain_that_means_something_else_is_left_alone(otherwise: dict[str, Any], tmp_path: Path) -> None:
    """A product whose rounding is not undone by the same numbers stays as it was written."""
    _assert_left_alone(_by_hand(tmp_path / "graph.onnx", _chain(**otherwise)), products=1)


def _assert_left_alone(path: Path, *, products: int) -> None:
    untouched, graph = _read(path), _read(path)

    assert not join_chains(graph)
    assert _integer_products(graph) == products
    assert (_run(graph, _states(5)) == _run(untouched, _states(5))).all()


@pytest.mark.parametrize("exchanged", ["zero", "step"])
def test_chains_that_exchange_their_numbers_are_left_alone(exchanged: str, tmp_path: Path) -> None:
    """Products that undo their rounding by numbers of each other stay as they were; with their own they do not."""
    assert join_chains(_read(_by_hand(tmp_path / "own.onnx", _two_chains(None))))
    _assert_left_alone(_by_hand(tmp_path / "exchanged.onnx", _two_chains(exchanged)), products=2)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_a_chain_beside_other_rounding_is_left_alone(kind: type[np.generic], tmp_path: Path) -> None:
    """Where the batch is rounded to 8 bits by a scale that was found before, too, a product stays as it was written."""
    nodes = [
        helper.make_node("Constant", [], ["fixed_step"], value_float=0.05),
        helper.make_node("Constant", [], ["fixed_zero"], value=numpy_helper.from_array(np.array(7, kind))),
        helper.make_node("QuantizeLinear", ["given", "fixed_step", "fixed_zero"], ["fixed"]),
        helper.make_node("DequantizeLinear", ["fixed", "fixed_step", "fixed_zero"], ["states"]),
        *_chain(),
    ]
    _assert_left_alone(_by_hand(tmp_path / "graph.onnx", nodes, given="given"), products=1)


# what users see of it


def test_texts_of_a_joined_graph_share_batches(made: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    """What rounds each token by itself is padded, and what rounds whole batches runs text by text."""
    model = made("xlmr-cross")
    exported.quantize(model / "onnx" / "model.onnx")
    caplog.set_level("INFO", logger="resift")
    for backend in ("openvino", "onnx"):
        resift.load(model, backend=backend, dtype="int8").close()
    padded, alone = (record.message for record in caplog.records if "loaded from" in record.message)

    assert padded.endswith("int8 by openvino, padded")
    assert alone.endswith("int8 by onnx, one text at a time")


def test_texts_of_a_joined_graph_that_reads_padding_run_alone(tmp_path: Path) -> None:
    """Where more than rounding depends on what else is in a batch, nothing is padded."""
    model = tiny.build("bert-cross", tmp_path)
    row = numpy_helper.from_array(np.linspace(0, 0.1, WIDTH, dtype=np.float32))
    nodes = [
        helper.make_node("Constant", [], ["row"], value=row),
        helper.make_node("Constant", [], ["most"], value_float=100.0),
        *(helper.make_node("Constant", [], [name], value_ints=axes) for name, axes in AXES.items()),
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["most", "ids"], ["counted"]),  # so that padding, which is 0, counts most
        helper.make_node("Unsqueeze", ["counted", "last"], ["column"]),
        helper.make_node("Mul", ["column", "row"], ["states"]),
        *_chain(),
        helper.make_node("ReduceSum", ["found", "all"], ["sum"], keepdims=0),
        helper.make_node("Unsqueeze", ["sum", "second"], ["logits"]),
    ]
    graph = model / "onnx" / "model_quantized.onnx"
    ids = {"input_ids": (exported.INT64, ["batch", "sequence"])}
    exported.write_graph(graph, nodes, ids, outputs={"logits": ["batch", 1]})
    with resift.load(model, backend="openvino", dtype="int8", normalize=False) as ranker:
        together = ranker.score("panda", ["bamboo", "bamboo " * 30])
        apart = [ranker.score("panda", [document])[0] for document in ("bamboo", "bamboo " * 30)]

    assert join_chains(_read(graph))
    assert together == apart
