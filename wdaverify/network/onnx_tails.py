"""What a file makes of its scores behind the network: probabilities, labels, maps of both. The scores are what is verified.

A tail is the chain of nodes from a tensor of scores to an output: read backward from the output to where the scores end, then
forward with the numbers of the classes in the place of the scores, so that what a node takes for which class is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from wdaverify.errors import NetworkError
from wdaverify.network.model import Head
from wdaverify.network.onnx_batch import check_tail_apart
from wdaverify.network.onnx_linear import CLASSIFIER
from wdaverify.network.onnx_nodes import EVERY, Node, Operator, operator_name, since
from wdaverify.network.onnx_shapes import SHAPES, axis_of
from wdaverify.network.onnx_tensors import FLOATS, Tensor, quoted, type_name

Makers = Mapping[str, tuple[NodeProto, str]]
"""The node that gives a tensor, and its name in messages."""

_SHOWN = 8
"""Of names in a message."""


@dataclass(frozen=True)
class Tail:
    """An output of the file: the scores that it is computed from, and the nodes between them in order."""

    output: str
    scores: str
    nodes: tuple[tuple[NodeProto, str], ...]


@dataclass(frozen=True, eq=False)
class Seen:
    """What stands at a place of a tail: ``at`` has the class of each entry, ``classes`` the file's own names for them."""

    kind: Literal["scores", "probabilities", "label", "map"]
    at: NDArray[np.int64]
    count: int
    head: tuple[str, Head] | None = None
    classes: tuple[int | float | str, ...] | None = None

    @property
    def named(self) -> bool:
        """Whether the file calls the classes otherwise than by their numbers."""
        return self.classes is not None and self.classes != tuple(range(len(self.classes)))

    def of_names(self, node: Node, classes: Sequence[int | float | str]) -> Seen:
        """With names, which tell the classes apart."""
        if len({*classes}) < len(classes):
            raise node.refused(f"two classes have one name, of {len(classes)}; names that tell them apart are accepted")
        return replace(self, classes=tuple(classes))


def tail_of(output: str, makers: Makers, computed: set[str]) -> Tail:
    """The tail that ends in a tensor; without nodes where it is no tail, and the tensor itself is what is verified."""
    nodes, behind = list[tuple[NodeProto, str]](), 0
    at = scores = output
    while at in makers and len(nodes) < len(makers):
        proto, label = makers[at]
        op = operator_name(proto)
        source = _classified(proto, at) if op == CLASSIFIER else _source(proto, op, makers, computed)
        if source is None:
            break
        nodes.append((proto, label))
        at = source
        if op in _HEADS or op == CLASSIFIER:
            scores, behind = at, len(nodes)
        if op == CLASSIFIER:
            break
    return Tail(output, scores, tuple(reversed(nodes[:behind])))


def _classified(proto: NodeProto, name: str) -> str | None:
    """The scores of a LinearClassifier, its second output: behind its label, and behind probabilities."""
    transform = next((a.s for a in proto.attribute if a.name == "post_transform"), b"NONE")
    label = name == proto.output[0]
    return proto.output[1] if len(proto.output) > 1 and (label or transform != b"NONE") else None


def _source(proto: NodeProto, op: str, makers: Makers, computed: set[str]) -> str | None:
    """Of a node that tails have, the input that the chain goes through."""
    if op == "Concat":  # probabilities 1 - p and p
        made = makers.get(proto.input[0]) if len(proto.input) == 2 else None
        pair = made is not None and operator_name(made[0]) == "Sub" and len(made[0].input) == 2
        return proto.input[1] if pair and made is not None and made[0].input[1] == proto.input[1] else None
    if op not in TAILS:
        return None
    k = 1 if op in _NAMED else 0
    moving = [name for name in proto.input if name in computed]
    read = [*proto.input[k : k + 1]]
    return read[0] if read and moving == read else None


def scores_of(tails: Sequence[Tail]) -> str:
    """The one tensor that all outputs are computed from.

    Raises:
        NetworkError: there are several.
    """
    found = {tail.scores for tail in tails}
    if len(found) == 1:
        return found.pop()
    names = ", ".join(
        quoted(tail.output) + ("" if tail.scores == tail.output else f" (from {quoted(tail.scores)})")
        for tail in tails[:_SHOWN]
    )
    raise NetworkError(
        f"the graph has {len(tails)} outputs of {len(found)} different tensors: {names}; one is accepted: say which with "
        "--output-name NAME (in Python load_network(path, output_name=NAME))"
    )


def followed(
    tail: Tail,
    layout: NDArray[np.int64],
    node_of: Callable[[NodeProto, str], Node],
    makers: Makers,
    constant: Callable[[str], Tensor],
    batch: int,
) -> Seen:
    """What the scores of one sample become, whose tensor has the shape of ``layout``; the file takes ``batch`` at once.

    Raises:
        NetworkError: probabilities that are not those of the classes, or something else than a label of the largest.
    """
    seen = Seen("scores", np.arange(layout.size).reshape(layout.shape), layout.size)
    for proto, label in tail.nodes:
        node = node_of(proto, label)
        if batch > 1 and node.op != CLASSIFIER:
            check_tail_apart(node, batch, seen.at.ndim)
        if node.op == "Concat":
            seen = _complement(node, seen, constant(makers[node.inputs[0]][0].input[0]))
        elif node.op == CLASSIFIER:
            seen = _classifier(node, seen, tail)
        else:
            seen = TAILS[node.op].read(node, seen)
    return seen


def told(tails: Sequence[Tail], seen: Sequence[Seen], wanted: str | None) -> list[str]:
    """Which tensor is verified where the outputs are others or one was asked for, and what the file calls the classes."""
    out, shown = list[str](), [tail for tail, what in zip(tails, seen, strict=True) if tail.nodes]
    if shown and (len(tails) > 1 or wanted is not None or any(what.kind in ("label", "map") for what in seen)):
        names = ", ".join(quoted(tail.output) for tail in shown[:_SHOWN])
        made = f"output {names} is" if len(shown) == 1 else f"outputs {names} are"
        out.append(f"{made} made of {quoted(tails[0].scores)}, the scores, which are what is verified")
    elif wanted is not None:
        out.append(f"of the tensors of the file {quoted(wanted)} is verified, as asked")
    named = next((what for what in seen if what.named), None)
    if named is not None and named.classes is not None:
        texts = [*map(str, named.classes)]
        if any(what.classes is not None and [*map(str, what.classes)] != texts for what in seen):
            raise NetworkError(
                "two outputs have different names for the classes; one is accepted: say which with --output-name"
            )
        names = ", ".join(f"{k} is {quoted(str(name))}" for k, name in enumerate(named.classes[:_SHOWN]))
        more = ", ..." if len(named.classes) > _SHOWN else ""
        out.append(f"the file has names for its classes: of the labels of samples, {names}{more}")
    return out


def head_of(seen: Sequence[Seen]) -> tuple[str, Head] | None:
    """What the file ends in and the network leaves out: nothing where the scores are an output too."""
    heads = [what.head for what in seen]
    if None in heads:
        return None
    kinds = [head for head in heads if head is not None]
    return next((head for head in kinds if head[1] != "argmax"), kinds[0])


def _only_scores(node: Node, seen: Seen) -> None:
    if seen.kind != "scores":
        raise node.refused(f"it reads {seen.kind}, not scores; {node.op} is accepted once, of the scores")


def _softmax(node: Node, seen: Seen) -> Seen:
    """Over all classes: it moves no margin's sign, and logits are what margins are defined on."""
    _only_scores(node, seen)
    shape = seen.at.shape
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    lowest = -len(shape) if node.opset >= 11 else 0
    if not lowest <= axis < max(len(shape), 1):
        raise node.refused(f"axis {axis} for shape {list(shape)}; the class axis is accepted")
    start = axis % len(shape) if shape else 0
    over = shape[start : start + 1] if node.opset >= 13 else shape[start:]
    if int(np.prod(over)) != seen.count:
        raise node.refused(
            f"axis {axis} of shape {list(shape)} is not the class axis; accepted is {node.op} over all classes"
        )
    if seen.count == 1:
        raise node.refused("over one output it is constant; two classes at least are accepted")
    return replace(seen, kind="probabilities", head=(node.label, "softmax" if node.op == "Softmax" else "log-softmax"))


def _sigmoid(node: Node, seen: Seen) -> Seen:
    """Of one logit: the probability of class 1."""
    _only_scores(node, seen)
    if seen.count != 1:
        raise node.refused(
            f"of {seen.count} scores, each by itself; of one, the logit of class 1, it is accepted: name the scores in front of it "
            f"with --output-name {node.inputs[0]} if margins of these are meant"
        )
    return replace(seen, kind="probabilities", head=(node.label, "sigmoid"))


def _complement(node: Node, seen: Seen, one: Tensor) -> Seen:
    """``1 - p`` and ``p`` of the probability of class 1, along the class axis."""
    axis = axis_of(node, seen.at.ndim, 1)
    sigmoid = seen.head is not None and seen.head[1] == "sigmoid"
    if not (sigmoid and seen.count == 1) or one.size != 1 or one.ndim > seen.at.ndim or (one != 1).any():
        raise node.refused("it joins what is computed behind the scores; 1 - p and p of a Sigmoid are accepted there")
    shape = [2 if k == axis else size for k, size in enumerate(seen.at.shape)]
    return replace(seen, at=np.arange(2).reshape(shape), count=2)


def _largest(node: Node, seen: Seen) -> Seen:
    """The number of the largest along the class axis; a tie is an error, whichever is taken."""
    if seen.kind not in ("scores", "probabilities"):
        raise node.refused(f"it reads a {seen.kind}; scores or probabilities are accepted")
    axis = axis_of(node, seen.at.ndim, 0)
    if seen.count < 2 or seen.at.shape[axis] != seen.count or (seen.at.ravel() != np.arange(seen.count)).any():
        raise node.refused(
            f"axis {axis} of shape {list(seen.at.shape)} is not the class axis, with two classes at least; that is accepted"
        )
    return replace(seen, kind="label", head=(node.label, "argmax"))


def _classifier(node: Node, seen: Seen, tail: Tail) -> Seen:
    """Probabilities of a LinearClassifier, or its label."""
    seen = seen.of_names(node, _labels(node, max(2, seen.count)))
    label = node.outputs[0]
    if tail.output == label or any(label in proto.input for proto, _ in tail.nodes[1:2]):
        return replace(seen, kind="label", head=(node.label, "argmax"))
    transform = node.text("post_transform", "NONE", ("LOGISTIC", "SOFTMAX"))
    if transform == "LOGISTIC" and seen.count > 1:
        raise node.refused(
            f"post_transform LOGISTIC of {seen.count} scores, each by itself; its label is accepted: --output-name "
            f"{node.outputs[0]}"
        )
    if transform == "LOGISTIC":  # 1 - p and p
        pair = np.arange(2).reshape(*seen.at.shape[:-1], 2)
        return replace(seen, kind="probabilities", at=pair, count=2, head=(node.label, "sigmoid"))
    return replace(seen, kind="probabilities", head=(node.label, "softmax"))


def _labels(node: Node, classes: int) -> tuple[int | float | str, ...]:
    """The names of the classes, as many as there are, in one of the attributes for them."""
    given = [node.attributes[k] for k in _CLASSES if k in node.attributes]
    if len(given) != 1 or not isinstance(given[0], tuple) or len(given[0]) != classes:
        raise node.refused(f"classlabels are not names of {classes} classes; as many are accepted, numbers or texts")
    return given[0]


def _map(node: Node, seen: Seen) -> Seen:
    """A map from the names of the classes to their numbers."""
    if seen.kind == "label" or (seen.at.ravel() != np.arange(seen.count)).any():
        raise node.refused(f"it reads {seen.kind} that are not those of the classes in order; such are accepted")
    return replace(seen.of_names(node, _labels(node, seen.count)), kind="map")


def _normalised(node: Node, seen: Seen) -> Seen:
    """Over their sum, which is 1 already for probabilities of classes that exclude each other."""
    norm = node.text("norm", "MAX", ("L1", "L2", "MAX"))
    if norm != "L1" or seen.kind != "probabilities" or seen.count < 2 or (seen.head or ("", ""))[1] == "log-softmax":
        raise node.refused(f"norm {norm} of {seen.kind}; L1 of probabilities that add up to 1 is accepted")
    return seen


def _name(node: Node, seen: Seen) -> Seen:
    """The file's name of the class."""
    names = node.operand(0)
    shapes = ((seen.count,),) if node.op == "Gather" else ((seen.count,), (1, seen.count))
    if seen.kind != "label" or seen.named or names is None or names.shape not in shapes:
        raise node.refused(
            f"it takes entries of {seen.kind}; of a constant list of {seen.count} classes, by the number of the class, it is accepted"
        )
    return seen.of_names(node, names.ravel().tolist())


def _moved(node: Node, seen: Seen) -> Seen:
    if seen.kind in ("label", "map"):
        return seen
    return replace(seen, at=SHAPES[node.op].read(node, seen.at))


def _cast(node: Node, seen: Seen) -> Seen:
    code = node.integer("to", 0)
    if seen.kind != "label":
        if code not in FLOATS:
            raise node.refused(f"a cast of {seen.kind} to {type_name(code)}; accepted are floating-point types")
        return seen
    names = [*range(seen.count)] if seen.classes is None else seen.classes
    whole = [int(v) for v in names if isinstance(v, int | float) and v == int(v) and abs(v) <= _WHOLE]
    texts = code == TensorProto.STRING and all(isinstance(v, str) for v in names)
    if not texts and (len(whole) < len(names) or code not in _NUMBERS):
        raise node.refused(
            f"a cast of the label to {type_name(code)}, which need not tell the classes apart; whole numbers up to 2^24 as FLOAT, "
            "DOUBLE, INT32 or INT64 are accepted"
        )
    return seen if texts or seen.classes is None else replace(seen, classes=tuple(whole))


_CLASSES = "classlabels_int64s", "classlabels_ints", "classlabels_strings"
_NUMBERS, _WHOLE = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64), 2**24
_NAMED = "Gather", "ai.onnx.ml.ArrayFeatureExtractor"
"""Operators that take an entry of a constant list by the label, their second input."""
_HEADS: dict[str, Operator[Callable[[Node, Seen], Seen]]] = {
    "ArgMax": Operator(_largest, 1, 1, {"axis": EVERY, "keepdims": EVERY, "select_last_index": since(12)}),
    "LogSoftmax": Operator(_softmax, 1, 1, {"axis": EVERY}),
    "Sigmoid": Operator(_sigmoid, 1, 1),
    "Softmax": Operator(_softmax, 1, 1, {"axis": EVERY}),
    "ai.onnx.ml.ZipMap": Operator(_map, 1, 1, dict.fromkeys(("classlabels_int64s", "classlabels_strings"), EVERY)),
}
TAILS: dict[str, Operator[Callable[[Node, Seen], Seen]]] = {
    **_HEADS,
    "Cast": Operator(_cast, 1, 1, {"to": EVERY, "saturate": since(19), "round_mode": since(24)}),
    "Gather": Operator(_name, 2, 2, {"axis": EVERY}),
    "ai.onnx.ml.Normalizer": Operator(_normalised, 1, 1, {"norm": EVERY}),
    "ai.onnx.ml.ArrayFeatureExtractor": Operator(_name, 2, 2),
    **{
        name: Operator(_moved, SHAPES[name].least, SHAPES[name].most, SHAPES[name].attributes)
        for name in ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
    },
}
"""Operators behind the scores, each an accepted one of its place."""
HEADS = tuple(sorted({*_HEADS, *_NAMED[1:]}))
"""Those that are accepted behind the scores only."""
