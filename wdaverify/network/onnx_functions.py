"""Piecewise-linear functions of a tensor, entry by entry, and the larger or smaller of several tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wdaverify.graph.functions import absolute, clip, leaky_relu, relu
from wdaverify.network.onnx_joins import broadcast, larger_of
from wdaverify.network.onnx_nodes import EVERY, Node, Operator, before
from wdaverify.network.onnx_path import Path, Place
from wdaverify.network.onnx_reductions import Read

_LARGEST = float(np.finfo(np.float32).max)
"""What exporters write for no bound of single precision."""


def _relu(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``max(z, 0)``; a ThresholdedRelu jumps at its threshold unless that is 0."""
    if node.op == "ThresholdedRelu" and node.number("alpha", 1.0) != 0:
        raise node.refused(f"alpha is {node.number('alpha', 1.0):g}, where the function jumps; accepted is 0, a Relu")
    path.at_hand(given[0])
    path.function(relu())


def _leaky(path: Path, node: Node, given: Sequence[Place]) -> None:
    path.at_hand(given[0])
    path.function(leaky_relu(node.number("alpha", float(np.float32(0.01)))))


def _prelu(path: Path, node: Node, given: Sequence[Place]) -> None:
    """A slope on the left an entry, which broadcasts to the tensor."""
    if len(given) > 1 or node.active != 0:
        raise node.refused("computed slopes; constant ones are accepted")
    path.at_hand(given[0])
    shape, slope = path.layout.shape, path.weight(node, 1)
    if node.opset < 7 and slope.ndim == 1 and len(shape) > 2 and slope.size == shape[1]:
        slope = slope.reshape(-1, *(1,) * (len(shape) - 2))  # one a channel
    slopes = path.scattered(node, slope)
    path.allowance.take(2 * slopes.size)
    path.function(leaky_relu(slopes[0] if (slopes == slopes[0]).all() else slopes))


def _absolute(path: Path, node: Node, given: Sequence[Place]) -> None:
    path.at_hand(given[0])
    path.function(absolute())


def _clip(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``min(max(z, low), high)``: attributes before operator set 11, inputs since then; what is left out is no bound."""
    path.at_hand(given[0])
    if len(given) > 1 or node.active != 0:
        raise node.refused("computed bounds; constant ones are accepted")
    if node.opset < 11 and len(node.constants) > 1:
        raise node.refused(f"min and max are attributes in operator set {node.opset}, not inputs")
    ends = []
    for k, (name, none) in enumerate((("min", -math.inf), ("max", math.inf)), 1):
        if node.opset < 11:
            end = node.attributes.get(name, none)
            end = end if isinstance(end, float) else node.number(name, 0.0)
        elif node.operand(k) is None:
            end = none
        else:
            bound = path.weight(node, k)
            if bound.size != 1:
                raise node.refused(f"{name} of shape {list(bound.shape)}; one number is accepted")
            end = float(bound.reshape(()))
        ends.append(none if path.dtype == np.float32 and end * math.copysign(1, none) >= _LARGEST else end)
    _clipped(path, node, *ends)


def _clipped(path: Path, node: Node, low: float, high: float) -> None:
    if not low < high:
        raise node.refused(f"bounds {low:g} and {high:g}; a lower one below the upper is accepted")
    if math.isfinite(low) or math.isfinite(high):
        path.function(relu() if low == 0 and math.isinf(high) else clip(low, high))


def _hard_sigmoid(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``min(max(alpha z + beta, 0), 1)``."""
    path.at_hand(given[0])
    alpha, beta = node.number("alpha", float(np.float32(0.2))), node.number("beta", 0.5)
    path.diagonal(factor=np.full(path.width, alpha), shift=np.full(path.width, beta))
    path.function(clip(0.0, 1.0))


def _extreme(path: Path, node: Node, given: Sequence[Place]) -> None:
    """Of computed tensors pair by pair, then of constants: ``max(z, c) = c + relu(z - c)``, ``min(z, c) = c - relu(c - z)``."""
    least, places = node.op == "Min", broadcast(node, given)
    path.at_hand(places[0])
    for place in places[1:]:
        larger_of(path, path.place, place, least)
    for k in range(len(node.constants)):
        if k in node.moving:
            continue
        c = path.scattered(node, path.weight(node, k))
        if not c.any() and not least:
            path.function(relu())
            continue
        path.diagonal(shift=-c)
        if least:
            path.negated()
        path.function(relu())
        if least:
            path.negated()
        path.diagonal(shift=c)


FUNCTIONS: dict[str, Operator[Read]] = {
    "Abs": Operator(_absolute, 1, 1),
    "Clip": Operator(_clip, 1, 3, {"min": before(11), "max": before(11)}),
    "HardSigmoid": Operator(_hard_sigmoid, 1, 1, {"alpha": EVERY, "beta": EVERY}),
    "LeakyRelu": Operator(_leaky, 1, 1, {"alpha": EVERY}),
    "Max": Operator(_extreme, 1, 2**10),
    "Min": Operator(_extreme, 1, 2**10),
    "PRelu": Operator(_prelu, 2, 2),
    "Relu": Operator(_relu, 1, 1),
    "ThresholdedRelu": Operator(_relu, 1, 1, {"alpha": EVERY}),
}
