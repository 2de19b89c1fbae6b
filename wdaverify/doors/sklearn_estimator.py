"""From scikit-learn: linear models and multi-layer perceptrons, with the scalers of a pipeline in front, as one exact network.

What the estimator stores are doubles, and the network is those: ``x - mean``, ``/ scale``, ``W x + b``, ReLU, in real arithmetic.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from wdaverify.doors.compared import difference
from wdaverify.doors.onnx_model import name_of
from wdaverify.errors import NetworkError
from wdaverify.given import told
from wdaverify.network.model import Array, Head, ReluNetwork
from wdaverify.network.onnx_reader import read_network

_OPSET = 18
_ROWS = 100
"""At most so many rows are compared; so many are drawn where none are given."""

_ACTIVATIONS = {"relu": "Relu", "identity": "", "tanh": "Tanh", "logistic": "Sigmoid"}
"""Of a perceptron, with their operators; tanh and logistic are curved, and answered to a gap."""
_ACCEPTED = (
    "MLPClassifier and MLPRegressor, LogisticRegression, LinearSVC, RidgeClassifier, SGDClassifier, Perceptron, "
    "LinearRegression and Ridge are accepted, alone or in a Pipeline behind StandardScaler, MinMaxScaler, MaxAbsScaler and RobustScaler"
)


def from_sklearn(estimator: Any, X: Any = None, *, name: str | None = None) -> ReluNetwork:
    """The network of a fitted scikit-learn estimator or pipeline: its decision function, or a regressor's prediction.

    The scores are those in front of what ``predict_proba`` makes of them, one for each of ``classes_`` (of two classes the one logit of
    the second); ``network.classes`` keeps ``classes_``. The network is compared with the estimator at rows of X, and a notice says
    how far they are apart; ``network.save`` writes it as an ONNX file.

    Args:
        estimator: fitted; the list of those accepted is in the refusal of any other.
        X: rows ``[N, n]`` for the comparison; None: rows drawn around the origin.
        name: what the network is called in reports; the estimator's class by default.

    Raises:
        NetworkError: no estimator of the list, one that is not fitted, or whose outputs are not the network's.
    """
    last, scalers = _steps(estimator)
    name = name_of(name, type(last).__name__)
    kind = _kind(last)
    writer = _Writer(_width(last, scalers))
    for scaler in scalers:
        _scale(writer, scaler)
    kind.layers(writer, last)
    network = read_network(writer.model(), name)
    network = replace(
        network,
        classes=_classes(last, network.n_outputs) if kind.classifies else (),
        features=_names(estimator, last, scalers),
    )
    return _compared(network, estimator, last, X, name)


def _steps(estimator: Any) -> tuple[Any, list[Any]]:
    """The last estimator, and the scalers in front of it."""
    from sklearn.pipeline import Pipeline

    if not isinstance(estimator, Pipeline):
        return estimator, []
    parts = [part for _, part in estimator.steps]
    *front, last = parts
    scalers: list[Any] = []
    for part in front:
        inner, before = _steps(part)
        scalers += [step for step in (*before, inner) if step is not None and not isinstance(step, str)]
    if isinstance(last, Pipeline):
        last, before = _steps(last)
        scalers += before
    return last, scalers


@dataclass
class _Writer:
    """An ONNX graph of doubles that grows by one node at a time; ``at`` is the tensor at its end, of ``width`` features."""

    width: int
    at: str = "input"
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._inputs = self.width

    def add(self, operator: str, *constants: Any) -> None:
        """One operator of the tensor at the end and constants behind it."""
        names = []
        for value in constants:
            names.append(f"c{len(self.tensors)}")
            self.tensors.append(numpy_helper.from_array(np.asarray(value, np.float64), names[-1]))
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [self.at, *names], [out], name=f"{operator}_{len(self.nodes)}"))
        self.at = out

    def affine(self, matrix: Any, bias: Any) -> None:
        """``x @ matrix + bias`` for ``matrix [n, m]``."""
        matrix = np.asarray(matrix, np.float64)
        self.add("MatMul", matrix)
        self.add("Add", np.asarray(bias, np.float64).reshape(-1))
        self.width = matrix.shape[1]

    def model(self) -> bytes:
        """The file."""
        ends = [
            helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["batch", width])
            for name, width in (("input", self._inputs), (self.at, self.width))
        ]
        graph = helper.make_graph(self.nodes, "estimator", ends[:1], ends[1:], self.tensors)
        opset = helper.make_opsetid("", _OPSET)
        return bytes(
            helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString(deterministic=True)
        )


def _scale(writer: _Writer, scaler: Any) -> None:
    """A scaler's subtraction, division, factor and clip, as it applies them."""
    from sklearn import preprocessing as p

    _fitted(scaler)
    if isinstance(scaler, p.StandardScaler):
        steps = [
            ("Sub", scaler.mean_ if scaler.with_mean else None),
            ("Div", scaler.scale_ if scaler.with_std else None),
        ]
    elif isinstance(scaler, p.RobustScaler):
        centre = scaler.center_ if scaler.with_centering else None
        steps = [("Sub", centre), ("Div", scaler.scale_ if scaler.with_scaling else None)]
    elif isinstance(scaler, p.MaxAbsScaler):
        steps = [("Div", scaler.scale_)]
    elif isinstance(scaler, p.MinMaxScaler):
        steps = [("Mul", scaler.scale_), ("Add", scaler.min_)]
    else:
        raise NetworkError(f"a pipeline with a step {told(scaler)}: {_ACCEPTED}")
    for operator, numbers in steps:
        if numbers is not None:
            writer.add(operator, numbers)
    if getattr(scaler, "clip", False):
        low, high = scaler.feature_range if isinstance(scaler, p.MinMaxScaler) else (-1.0, 1.0)
        writer.add("Clip", np.float64(low), np.float64(high))


@dataclass(frozen=True)
class _Kind:
    """A family of estimators: whether its outputs are classes' scores, and what it writes."""

    classifies: bool
    layers: Callable[[_Writer, Any], None]


def _kind(last: Any) -> _Kind:
    from sklearn import linear_model, neural_network, svm

    classifiers = (
        linear_model.LogisticRegression,
        linear_model.RidgeClassifier,
        linear_model.SGDClassifier,
        linear_model.Perceptron,
        svm.LinearSVC,
    )
    if isinstance(last, neural_network.MLPClassifier | neural_network.MLPRegressor):
        return _Kind(isinstance(last, neural_network.MLPClassifier), _perceptron)
    if isinstance(last, classifiers):
        return _Kind(True, _linear)
    if isinstance(last, linear_model.LinearRegression | linear_model.Ridge):
        return _Kind(False, _linear)
    raise NetworkError(f"estimator {told(last)}: {_ACCEPTED}")


def _perceptron(writer: _Writer, last: Any) -> None:
    if last.activation not in _ACTIVATIONS:
        raise NetworkError(
            f"{type(last).__name__} with activation {last.activation!r}: {', '.join(_ACTIVATIONS)} are accepted; train it with "
            "activation='relu'"
        )
    if last.out_activation_ not in ("identity", "softmax", "logistic"):
        raise NetworkError(
            f"{type(last).__name__} whose outputs are {last.out_activation_!r} of scores: piecewise-linear outputs are accepted; train it "
            "with loss='squared_error'"
        )
    if last.out_activation_ == "logistic" and last.n_outputs_ > 1:
        raise NetworkError(f"{type(last).__name__} fitted to several labels a sample; one label a sample is accepted")
    for k, (matrix, bias) in enumerate(zip(last.coefs_, last.intercepts_, strict=True)):
        operator = _ACTIVATIONS[last.activation]
        if k and operator:
            writer.add(operator)
        writer.affine(matrix, bias)


def _linear(writer: _Writer, last: Any) -> None:
    coefficients = last.coef_.toarray() if hasattr(last.coef_, "toarray") else last.coef_
    matrix = np.atleast_2d(np.asarray(coefficients, np.float64)).T
    writer.affine(matrix, np.broadcast_to(np.asarray(last.intercept_, np.float64), (matrix.shape[1],)))


def _fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        raise NetworkError(
            f"{type(estimator).__name__} is not fitted, and holds no network yet; call fit(X, y) first"
        ) from None


def _width(last: Any, scalers: list[Any]) -> int:
    """The features of the whole, once it is sure that the last estimator is one of ours and that all are fitted."""
    _kind(last)
    for part in (last, *scalers):
        _fitted(part)
    return int((scalers[0] if scalers else last).n_features_in_)


def _names(estimator: Any, last: Any, scalers: list[Any]) -> tuple[str, ...] | None:
    """The names of the columns that it was fitted to, where they had some."""
    first = scalers[0] if scalers else last
    names = getattr(estimator, "feature_names_in_", getattr(first, "feature_names_in_", None))
    return None if names is None else tuple(str(name) for name in names)


def _classes(last: Any, outputs: int) -> tuple[object, ...]:
    """``classes_`` as Python values: one for each output, or two for one logit."""
    classes = last.classes_
    plain = isinstance(classes, np.ndarray) and classes.ndim == 1 and classes.size >= 2
    if not plain or outputs != (1 if classes.size == 2 else classes.size):
        raise NetworkError(
            f"{type(last).__name__} has {outputs} outputs for the classes {told(classes)}: it was fitted to several labels a sample; one "
            "of two or more classes is accepted"
        )
    return tuple(classes.tolist())


def _compared(network: ReluNetwork, estimator: Any, last: Any, X: Any, name: str) -> ReluNetwork:
    """The network with a notice of how far the estimator's outputs are from its own."""
    try:
        if X is None:
            rows: Any = np.random.default_rng(0).standard_normal((_ROWS, network.n_inputs))
        else:
            rows = X[:_ROWS] if not hasattr(X, "iloc") else X.iloc[:_ROWS]
        x = np.asarray(rows, np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of feature names
            outputs, head = _outputs(estimator, last, rows if X is not None else x)
            predicted = estimator.predict(rows) if network.classes else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NetworkError(f"{name} does not take X: {' '.join(str(error).split())[:300]}") from None
    said = difference(replace(network, head=head), x, outputs, name)
    if predicted is not None:
        _check_labels(network, x, np.asarray(predicted), name)
    return replace(network, notices=(*network.notices, said if X is not None else f"{said}, drawn around the origin"))


def _check_labels(network: ReluNetwork, x: Array, predicted: NDArray[Any], name: str) -> None:
    """Refuse an estimator that predicts by something else than its largest score; ties may go either way."""
    scores = network.forward(x)
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    assert network.classes
    at = {label: k for k, label in enumerate(network.classes)}
    chosen = np.array([at.get(label, -1) for label in predicted.tolist()])
    behind = scores.max(axis=1) - np.where(chosen >= 0, scores[np.arange(len(scores)), np.maximum(chosen, 0)], -np.inf)
    wrong = np.flatnonzero(behind > 1e-6 * (1 + np.abs(scores).max(axis=1)))
    if wrong.size:
        raise NetworkError(
            f"{name} predicts {told(predicted[wrong[0]])} in row {int(wrong[0])}, which has not the largest score there: an estimator that "
            "predicts the class of the largest score is accepted"
        )


def _outputs(estimator: Any, last: Any, rows: Any) -> tuple[Array, Head | None]:
    """What the estimator gives ``[B, K]``, and what stands behind the scores there."""
    head: Head | None = None
    if hasattr(last, "decision_function"):
        found = estimator.decision_function(rows)
    elif hasattr(last, "predict_proba"):
        found = estimator.predict_proba(rows)
        head = "softmax" if last.out_activation_ == "softmax" else "sigmoid"
        found = found if head == "softmax" else found[:, 1]
    else:
        found = estimator.predict(rows)
    out = np.asarray(found, np.float64)
    return (out[:, None] if out.ndim == 1 else out), head
