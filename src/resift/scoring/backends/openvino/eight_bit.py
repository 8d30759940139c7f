"""
Products of 8-bit numbers, put as OpenVINO runs them fast.

ONNX tools write such a product as a chain of a dozen nodes: find the scale of a whole batch, round the batch by it, add
up integers, scale them back. OpenVINO runs such a chain node by node, slower than the product in full precision. But
where nothing except the weights is in 8 bits, it rounds what they are multiplied with by itself, a few numbers of one
token at a time, and multiplies 8-bit numbers all the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from resift.scoring.backends.openvino.importing import openvino

GROUP = 128
"""So many numbers of a token have a scale of their own."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """The nodes of a chain that matter."""

    states: Any
    """What is rounded and multiplied, as an output of whatever made it."""

    weights: Any
    zeros: Any
    scale: Any
    """The weights' constants: 8-bit numbers, what is taken from them, and what they are multiplied with."""

    rounded: Any
    zero: Any
    """The two steps that make 8-bit numbers of the batch."""

    found: Any
    """The chain's last node."""


class _Unlike(Exception):
    """A chain looks otherwise."""


def join_chains(graph: Any) -> bool:
    """
    Put one product in the place of each chain.

    False, and nothing is changed, where there are no chains, or where anything else rounds the batch to 8 bits.
    """
    nodes = graph.get_ops()
    try:
        chains = [_chain(node) for node in nodes if _is(node, "MatMul", openvino.Type.i32)]
    except _Unlike:
        return False
    known = {name for chain in chains for name in (chain.rounded.get_name(), chain.zero.get_name())}
    eight_bits = (openvino.Type.u8, openvino.Type.i8)
    if known != {node.get_name() for node in nodes if any(_is(node, "Convert", kind) for kind in eight_bits)}:
        return False
    for chain in chains:
        _join(chain)
    return bool(chains)


def _chain(product: Any) -> _Chain:
    """Return the chain around a product of integers."""
    centred, shifted = _above(product, 0, "Subtract"), _above(product, 1, "Subtract")
    rounded = _climb(centred, "Convert", "Convert")
    moved = _climb(rounded, "Clamp", "Add")
    divided = _climb(moved, "Round", "Divide")
    there, back = (_climb(_above(node, 1, "Convert"), "Convert") for node in (moved, centred))
    weights, zeros = (_climb(_above(shifted, at, "Convert"), "Constant") for at in (0, 1))
    found = _below(_below(product, "Convert"), "Multiply")
    scales = _above(found, 1, "Multiply")
    step, scale = _above(scales, 0, "Divide"), _above(scales, 1, "Constant")
    # what was added is taken off again, and the range that the batch was divided by is the one that scales it back
    if there != back or divided.input_value(1) != step.input_value(0):
        raise _Unlike
    if len(weights.shape) != 2 or any(tuple(each.shape) not in _by_column(weights) for each in (zeros, scale)):
        raise _Unlike
    return _Chain(
        states=_above(divided, 0, "Multiply").input_value(0),
        weights=weights,
        zeros=zeros,
        scale=scale,
        rounded=rounded,
        zero=back,
        found=found,
    )


def _join(chain: _Chain) -> None:
    ops = openvino.opset13
    exact = ops.convert(chain.weights, "f32")
    if chain.zeros.data.any():
        zeros = ops.constant(chain.zeros.data.reshape(1, -1), chain.zeros.get_element_type())
        exact = ops.subtract(exact, ops.convert(zeros, "f32"))
    exact = ops.multiply(exact, ops.constant(chain.scale.data.reshape(1, -1)))
    whole = ops.matmul(chain.states, exact, transpose_a=False, transpose_b=False)
    chain.found.output(0).replace(whole.output(0))


def _by_column(weights: Any) -> Iterable[tuple[int, ...]]:
    """Return the shapes of numbers that weights have one of, or one for each column."""
    return (), (1,), (weights.shape[1],)


def _is(node: Any, kind: str, element: Any) -> bool:
    return bool(node.get_type_name() == kind and node.get_output_element_type(0) == element)


def _climb(node: Any, *kinds: str) -> Any:
    """Return the last of the nodes of these kinds that feed each other's first input, and at last this node's."""
    for kind in kinds:
        node = _above(node, 0, kind)
    return node


def _above(node: Any, at: int, kind: str) -> Any:
    found = node.input_value(at).get_node()
    if found.get_type_name() != kind:
        raise _Unlike
    return found


def _below(node: Any, kind: str) -> Any:
    users = [user.get_node() for user in node.output(0).get_target_inputs()]
    if [user.get_type_name() for user in users] != [kind]:
        raise _Unlike
    return users[0]
