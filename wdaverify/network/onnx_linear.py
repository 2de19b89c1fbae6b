"""Linear models and scalers as scikit-learn's exporters write them: operators of the domain ``ai.onnx.ml``, on rows ``[N, n]``.

Scaler            ``(x - offset) scale``
LinearRegressor   ``A x + b``
LinearClassifier  scores ``A x + b``, its second output; what it makes of them is for ``onnx_tails``
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wdaverify.network.model import Array
from wdaverify.network.onnx_nodes import EVERY, Node, Operator
from wdaverify.network.onnx_path import Path, Place
from wdaverify.network.onnx_reductions import Read

CLASSIFIER = "ai.onnx.ml.LinearClassifier"


def _single(path: Path, node: Node) -> None:
    """The results are of single precision, whatever the rows are."""
    if path.dtype != np.float32:
        path.notices.append(
            f"{node.label}: the rounding of its results to float32 is left out; arithmetic is real, on the numbers as stored"
        )
    path.dtype = np.dtype(np.float32)


def _rows(path: Path, node: Node, given: Sequence[Place]) -> int:
    """Take a tensor of one row: how many features it has."""
    path.at_hand(given[0])
    shape = path.layout.shape
    if not 1 <= len(shape) <= 2 or path.layout.size != shape[-1]:
        raise node.refused(f"shape {list(shape)}; one row [1, n] is accepted")
    return int(shape[-1])


def _scaler(path: Path, node: Node, given: Sequence[Place]) -> None:
    width = _rows(path, node, given)
    offset, scale = (np.array(node.numbers(name, none)) for name, none in (("offset", 0.0), ("scale", 1.0)))
    for name, values in (("offset", offset), ("scale", scale)):
        if values.size not in (1, width):
            raise node.refused(f"{name} of {values.size} numbers for {width} features; one each, or one, is accepted")
    shape = path.layout.shape
    shift, factor = (path.scattered(node, np.broadcast_to(values, shape)) for values in (-offset, scale))
    path.diagonal(shift=shift)
    path.diagonal(factor=factor)
    _single(path, node)


def _model(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``A x + b``; of a logistic model of two classes with scores -z and z, or of one score, z alone."""
    width = _rows(path, node, given)
    weight, bias = _matrix(node, width)
    path.matrix(weight, path.order, bias, (*path.layout.shape[:-1], len(weight)))
    _single(path, node)


def _matrix(node: Node, width: int) -> tuple[Array, Array]:
    """``A [m, n]`` and ``b [m]``."""
    weight = np.array(node.numbers("coefficients"))
    if not weight.size or weight.size % width:
        raise node.refused(f"{weight.size} coefficients for {width} features; as many for each score are accepted")
    weight = weight.reshape(-1, width)
    stated = node.integer("targets", 1) if node.op != CLASSIFIER else len(weight)
    bias = np.array(node.numbers("intercepts")) if "intercepts" in node.attributes else np.zeros(len(weight))
    if len(weight) != stated or bias.shape != (len(weight),):
        raise node.refused(
            f"{weight.size} coefficients and {bias.size} intercepts for {width} features and {stated} scores; "
            "n coefficients and one intercept a score are accepted"
        )
    if node.op != CLASSIFIER:
        node.text("post_transform", "NONE", ("NONE",))
    elif _paired(node, weight, bias):
        return weight[1:], bias[1:]
    elif len(weight) == 1 and node.attributes.get("post_transform") != "LOGISTIC":
        raise node.refused(
            "one score whose post_transform is not LOGISTIC, of which runtimes make 1 - z and z; two scores are accepted"
        )
    return weight, bias


def _paired(node: Node, weight: Array, bias: Array) -> bool:
    """Whether two scores of a logistic model are -z and z: their probabilities are those of the one logit z."""
    two = len(weight) == 2 and np.array_equal(weight[0], -weight[1]) and bias[0] == -bias[1]
    return bool(two and node.attributes.get("post_transform") == "LOGISTIC")


LINEAR: dict[str, Operator[Read]] = {
    CLASSIFIER: Operator(
        _model,
        1,
        1,
        dict.fromkeys(
            ("classlabels_ints", "classlabels_strings", "coefficients", "intercepts", "multi_class", "post_transform"),
            EVERY,
        ),
        many=True,
    ),
    "ai.onnx.ml.LinearRegressor": Operator(
        _model, 1, 1, dict.fromkeys(("coefficients", "intercepts", "post_transform", "targets"), EVERY)
    ),
    "ai.onnx.ml.Scaler": Operator(_scaler, 1, 1, {"offset": EVERY, "scale": EVERY}),
}
