"""Operators that are not accepted: what keeps each from an exact answer, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from onnx import NodeProto

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_nodes import operator_name
from wdaverify.network.onnx_ops import OPERATORS, check_operator
from wdaverify.network.onnx_tails import HEADS
from wdaverify.network.onnx_tensors import quoted

_SHOWN, _SAID = 4, 12
"""How many nodes of a kind are named, and how many refusals are told."""


class _Kind(NamedTuple):
    """Operators that are refused for one reason, and the way out."""

    operators: frozenset[str]
    reason: str
    way: str


def _kind(operators: str, reason: str, way: str) -> _Kind:
    return _Kind(frozenset(operators.split()), reason, way)


_FUNCTIONS = "Relu, LeakyRelu, PRelu, Clip (ReLU6, Hardtanh), HardSigmoid, Abs, Max and Min"
_CURVED = "Sigmoid, Tanh, Softplus, Elu, Selu, Celu, Erf, Gelu, Swish (SiLU), HardSwish, Mish, Softsign, Exp, Sin and Pow by 2 or 3"
_IN_FRONT = "name the tensor in front of it with --output-name NAME (output_name=NAME)"
_KINDS = (
    _kind(
        "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear com.microsoft.QGemm "
        "com.microsoft.QLinearAdd com.microsoft.QLinearAveragePool com.microsoft.QLinearGlobalAveragePool com.microsoft.QLinearSigmoid",
        "quantised: activations of few bits move in steps, and numbers in floating point are accepted",
        "give the model in floating point from before it was quantised (the input of quantize_static or quantize_dynamic)",
    ),
    _kind(
        "Acos Acosh Asin Asinh Atan Atanh Cos Cosh Log Reciprocal Sinh Tan com.microsoft.FastGelu",
        f"curved, and none whose values are enclosed here; {_CURVED} are, and piecewise-linear functions are answered exactly",
        f"train or distil the network with {_FUNCTIONS}",
    ),
    _kind(
        "GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization MeanVarianceNormalization RMSNormalization "
        "SimplifiedLayerNormalization com.microsoft.SkipLayerNormalization ReduceL2 ReduceSumSquare",
        "divides by, or squares, what it computes of each sample; BatchNormalization, whose statistics are constants, is accepted",
        "train the network with that, or without normalisation",
    ),
    _kind(
        "Attention Hardmax LogSoftmax ReduceLogSumExp Softmax com.microsoft.Attention com.microsoft.MultiHeadAttention",
        "exponentials of what the network computes within; as the last operator, over all classes, a Softmax is accepted",
        f"{_IN_FRONT}, or export the network without it",
    ),
    _kind(
        "Ceil Floor IsInf IsNaN Mod NonMaxSuppression NonZero OneHot Round ScatterElements ScatterND Shrink Sign TopK Unique "
        "ai.onnx.ml.Binarizer ai.onnx.ml.TreeEnsemble ai.onnx.ml.TreeEnsembleClassifier ai.onnx.ml.TreeEnsembleRegressor",
        "moves in steps, or picks by what is computed; continuous functions are accepted",
        f"train the network with {_FUNCTIONS}",
    ),
    _kind(
        "ai.onnx.ml.SVMClassifier ai.onnx.ml.SVMRegressor",
        "a kernel machine, which is curved; linear ones are accepted, as LinearClassifier or LinearRegressor",
        "fit and export LinearSVC, LogisticRegression or MLPClassifier",
    ),
    _kind(
        "ConcatFromSequence GRU If LSTM Loop RNN Scan SequenceAt SequenceConstruct SplitToSequence",
        "recurrent, or a program of its own; graphs whose nodes run once are accepted",
        "unroll it and export the network again, with constant conditions folded",
    ),
    _kind(
        "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
        "random; networks that give one output to an input are accepted",
        "export the network in evaluation mode",
    ),
)


def check_all(nodes: Sequence[tuple[NodeProto, str]], opset: int) -> None:
    """Refuse all nodes of other operators, attributes or numbers of inputs at once, each with what it would need.

    Raises:
        NetworkError: names them by reason, says what is accepted and the way out.
    """
    said = [*_of_operators(nodes), *_of_forms(nodes, opset)]
    if said:
        more = f"; and {len(said) - _SAID} more" if len(said) > _SAID else ""
        raise NetworkError("; and ".join(said[:_SAID]) + more)


def _of_forms(nodes: Sequence[tuple[NodeProto, str]], opset: int) -> Iterator[str]:
    """What is said of nodes of known operators."""
    for proto, label in nodes:
        if operator_name(proto) in OPERATORS:
            try:
                check_operator(proto, label, opset, OPERATORS[operator_name(proto)])
            except NetworkError as error:
                yield str(error)


def _of_operators(nodes: Sequence[tuple[NodeProto, str]]) -> Iterator[str]:
    """What is said of nodes of other operators, by reason."""
    unknown = [(operator_name(proto), proto, label) for proto, label in nodes if operator_name(proto) not in OPERATORS]
    accepted = f"accepted are {', '.join(OPERATORS)}, and behind the scores {', '.join(HEADS)}"
    others = (
        _Kind(
            frozenset(HEADS),
            "accepted as the last operator of the network only, of its scores",
            f"re-export the network with others, or {_IN_FRONT}",
        ),
        _Kind(frozenset(op for op, _, _ in unknown), f"not accepted; {accepted}", "rewrite or re-export it with these"),
    )
    for kind in (*_KINDS, *others):
        some = [(proto, label) for op, proto, label in unknown if op in kind.operators]
        unknown = [node for node in unknown if node[0] not in kind.operators]
        if some:
            yield f"{_named(some)}: {kind.reason}; {kind.way}"


def _named(nodes: Sequence[tuple[NodeProto, str]]) -> str:
    names = [
        label if proto.domain in ("", "ai.onnx") else f"{label} of domain {quoted(proto.domain)}"
        for proto, label in nodes
    ]
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"{len(names)} nodes, {shown}" if len(names) > 1 else shown
