"""From what a person has (a model, points, labels, a few words) to the question: nothing is guessed, nothing read as something else."""

from __future__ import annotations

import math
import os
import sys
from typing import Any

from numpy.typing import NDArray

from wdaverify.errors import NetworkError, ProblemError, SamplesError, SpecificationError
from wdaverify.given import array, entries, flag, number, told
from wdaverify.ground import GroundCost, Support
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import Functionals, Loss, Samples, WdroProblem
from wdaverify.samples import clipped, make_samples
from wdaverify.specification.model import Specification
from wdaverify.specification.unsafe import box_of

_ROWS = 100
"""At most so many rows of X are an example for a model that is exported."""


def question(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    radius: Any,
    support: Any,
    norm: Any = "inf",
    order: Any = 1,
    loss: Any = "margin",
    weights: Any = None,
    cost_weights: Any = None,
    label_cost: Any = math.inf,
    functionals: Any = None,
    specification: Any = None,
    clip: Any = False,
    logits: Any = False,
    arithmetic: Any = "real",
) -> WdroProblem:
    """The question ``V(radius) = sup { E_Q[loss] : Q on the support, W_order(Q, P) <= radius }`` about a model and samples.

    Args:
        model: a ``ReluNetwork``, the path of an ONNX file, an ``onnx.ModelProto`` or its bytes, a ``torch.nn.Module`` in evaluation
            mode, a Keras model, or a fitted scikit-learn estimator or pipeline. The last three are converted by ``from_torch``,
            ``from_keras`` and ``from_sklearn`` with rows of X; call those yourself to convert once and ask often.
        X: points ``[N, ...]`` in the units and the layout that the model takes.
        y: labels ``[N]``: class numbers from 0; for a scikit-learn model its own labels (``classes_``). None for the specification loss.
        radius: of the Wasserstein ball, in units of X.
        support: where inputs can be: ``(lo, hi)``, each one number for all features or one a feature; ``"none"`` for all of R^n;
            ``"specification"`` for the smallest box that holds the specification's; or a ``Support``. There is no default: it is part
            of the question.
        norm: "inf" (also "linf", "Linf", numpy.inf), 1 or 2, of the move of a point.
        order: 1, 2, or "inf": every point by itself within the radius.
        loss: "margin", "zero-one", "hinge", "cross-entropy", "dlr", "linear", which needs ``functionals``, or "specification",
            the probability that ``specification`` is violated.
        weights: of the samples ``[N]``; all equal by default.
        cost_weights: of the features in the cost ``[n]``; inf for one that cannot change.
        label_cost: the price of another label; inf: labels stay.
        functionals: ``Functionals`` or a pair ``(matrix [R, K], offset [R])`` of the linear loss.
        specification: the path of a VNN-LIB file, or what ``load_specification`` made of one: what must not happen.
        clip: move points outside the support onto it, which must be a box.
        logits: leave a final Softmax, LogSoftmax or Sigmoid out (where ``load_network`` asks for that).
        arithmetic: "real", on the weights as stored; or "float32": the network as any runtime of single precision computes it, whatever
            order it adds in; brackets are then wider by its error bounds. Of a model that is converted that is the ONNX file made of it.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    points = points_of(X)
    network = network_of(model, X, points, logits=logits)
    _check_layout(network, points)
    _check_names(network, X)
    specification = _specification(specification)
    box = support_of(support, network, specification)
    samples = _samples(network, points, y, weights, loss)
    if flag("clip", clip):
        if not box.bounded:
            raise ProblemError("clip=True moves points onto a box, and this support has none; leave it out")
        samples = clipped(samples, box)
    if isinstance(functionals, tuple) and len(functionals) == 2:
        functionals = Functionals(*functionals)
    scales = None if cost_weights is None else _flat("cost weights", cost_weights, network)
    cost = GroundCost(norm, order, scales, label_cost)
    return WdroProblem(network, samples, cost, box, loss, radius, functionals, specification, arithmetic)


def network_of(model: Any, X: Any = None, points: NDArray[Any] | None = None, *, logits: Any = False) -> ReluNetwork:
    """The network of whatever stands for one; ``X`` as given, ``points`` as an array, for models that are exported by example.

    Raises:
        NetworkError: it stands for none, or cannot be converted.
    """
    logits = flag("logits", logits, NetworkError)
    if isinstance(model, ReluNetwork):
        if logits:
            raise NetworkError(
                "logits=True says how a model is read, and this network is read already; load_network(path, logits=True)"
            )
        return model
    if isinstance(model, str | os.PathLike | bytes) or _is(model, "onnx", "ModelProto"):
        from wdaverify.doors.onnx_model import from_onnx

        return from_onnx(model, logits=logits)
    if _is(model, "keras", "Model"):
        from wdaverify.doors.keras_model import from_keras

        if points is None:
            raise NetworkError("a Keras model is exported by an example; from_keras(model, example) takes one")
        return from_keras(model, points[:_ROWS], logits=logits)
    if _is(model, "torch.nn", "Module"):
        from wdaverify.doors.torch_module import from_torch

        if points is None:
            raise NetworkError("a torch module is exported by an example; from_torch(module, example) takes one")
        whole = (
            _is(X, "torch", "Tensor") and not X.is_floating_point()
        )  # images of bytes, which the module takes as they are
        return from_torch(model, X[:_ROWS] if whole else points[:_ROWS], logits=logits)
    if _is(model, "sklearn.base", "BaseEstimator"):
        from wdaverify.doors.sklearn_estimator import from_sklearn

        if logits:
            raise NetworkError(
                "logits=True is for files that end in a Softmax; the scores of a scikit-learn model stand in front of it"
            )
        return from_sklearn(model, X)
    raise NetworkError(
        f"model {told(model)}: a ReluNetwork, the path of an ONNX file, an onnx.ModelProto, a torch.nn.Module, a Keras model or a fitted "
        "scikit-learn estimator is accepted; other libraries' models can be exported to ONNX"
    )


def _is(value: object, module: str, name: str) -> bool:
    """Whether something is of a class of a library, which is not imported for that."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def is_module(model: object) -> bool:
    """Whether a model is a ``torch.nn.Module``."""
    return _is(model, "torch.nn", "Module")


def is_callable_alone(model: object) -> bool:
    """Whether a model is a function on tensors and nothing else that stands for a network."""
    known = isinstance(model, ReluNetwork) or is_module(model) or _is(model, "sklearn.base", "BaseEstimator")
    return callable(model) and not known and not isinstance(model, type)


def at_hand(values: Any) -> Any:
    """A tensor of torch where numpy can read it; anything else as it is.

    Raises:
        SamplesError: a tensor that is not dense.
    """
    if not _is(values, "torch", "Tensor"):
        return values
    if str(values.layout) != "torch.strided":
        raise SamplesError(f"a tensor of layout {values.layout}: a dense one is accepted; to_dense() makes one")
    values = values.detach().cpu()
    return values.float() if str(values.dtype) == "torch.bfloat16" else values  # exactly, and numpy has no such type


def points_of(X: Any) -> NDArray[Any]:
    """X as an array ``[N, ...]``."""
    points = entries("X", at_hand(X), SamplesError, bools=True)
    if points.ndim < 2:
        raise SamplesError(
            f"X of shape {list(points.shape)}: points [N, ...] are accepted, one a row (x[None] makes a row of a single point)"
        )
    return points


def _check_layout(network: ReluNetwork, points: NDArray[Any]) -> None:
    """Refuse points whose axes are in another order than the network's: flattened they would be taken for others."""
    given, wanted = points.shape[1:], network.input_shape
    if len(given) < 2 or math.prod(given) != network.n_inputs:
        return
    if [n for n in given if n > 1] != [n for n in wanted if n > 1] and len(wanted) > 1:
        raise SamplesError(
            f"X has points of shape {list(given)}, and {network.name} takes {list(wanted)}: the same numbers in another order; "
            "transpose them (X.transpose(0, 3, 1, 2) makes channels the first axis), or give rows flattened as the network reads them"
        )


def _check_names(network: ReluNetwork, X: Any) -> None:
    """Refuse columns whose names are others, or stand in another order, than those that the model was fitted to."""
    columns = getattr(X, "columns", None)
    if network.features is None or columns is None:
        return
    given = tuple(str(column) for column in columns)
    if given != network.features:
        raise SamplesError(
            f"X has the columns {', '.join(given[:8])}, and {network.name} was fitted to {', '.join(network.features[:8])}: give these, "
            "in this order (X[list(network.features)])"
        )


def _flat(name: str, given: Any, network: ReluNetwork) -> Array:
    """One number a feature ``[n]``, in the layout of the input or flat."""
    values = array(name, given, infinite=True)
    if values.ndim > 1 and [k for k in values.shape if k > 1] != [k for k in network.input_shape if k > 1]:
        raise ProblemError(
            f"{name} of shape {list(values.shape)}, and {network.name} takes {list(network.input_shape)}: a number a feature is "
            "accepted, in this layout or flat"
        )
    return values.reshape(-1)


def _specification(given: Any) -> Specification | None:
    """The specification of a file, or one that was read already."""
    if given is None or isinstance(given, Specification):
        return given
    if isinstance(given, str | os.PathLike):
        from wdaverify.specification.reader import load_specification

        return load_specification(given)
    raise SpecificationError(
        f"specification {told(given)}: the path of a VNN-LIB file is accepted, or what load_specification made of one"
    )


def support_of(given: Any, network: ReluNetwork, specification: Specification | None = None) -> Support:
    """The support that is meant.

    Raises:
        ProblemError: it is none.
    """
    n = network.n_inputs
    if isinstance(given, Support):
        return given
    if isinstance(given, str) and given == "specification":
        if specification is None:
            raise ProblemError(
                "support='specification' is the box of a specification, and none is given; specification=... does"
            )
        return box_of(specification)
    if isinstance(given, str) and given == "none":
        return Support.whole(n)
    listed = isinstance(given, tuple | list) or (hasattr(given, "__array__") and given.ndim > 0)
    if listed and len(given) == 2:
        if not hasattr(given, "__array__") and n == 2 and all(isinstance(side, tuple) for side in given):
            raise ProblemError(
                "support of two pairs for two features: lower and upper sides, or a pair for each feature? give two lists, "
                "([lo, lo], [hi, hi])"
            )
        low, high = (side if number(side) is not None else _flat("support", side, network) for side in given)
        return Support.box(low, high, n)
    raise ProblemError(
        f"support {told(given)}: (lo, hi) is accepted, as (0, 1) for pixels, each a number or one a feature; or 'none' for all of R^n, "
        "'specification' for the box of one, or a Support"
    )


def _samples(network: ReluNetwork, points: NDArray[Any], y: Any, weights: Any, loss: Any) -> Samples:
    """The samples, labels by the model's own classes where it has some."""
    if Loss.of(loss).rule.takes_specification:
        if y is not None:
            raise SamplesError("y beside a specification, which says nothing of labels; leave y out")
        return make_samples(points, None, weights)
    if y is None:
        raise SamplesError(
            f"y is missing, which the {Loss.of(loss)} loss needs: labels [N]; only loss='specification' goes without"
        )
    y = at_hand(y)
    if network.classes:
        from wdaverify.doors.classes import class_numbers

        y = class_numbers(network.classes, y)
    return make_samples(points, y, weights)
