"""Reading a network from an ONNX file: a closed list of operators, and nothing rounded on the way that is not told.

Whatever is outside the list is refused by name, with what is accepted (``onnx_ops.OPERATORS``). Importing onnx
happens in ``wdaverify.network.onnx_*`` only.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path as FilePath

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from wdaverify.errors import NetworkError
from wdaverify.given import flag, instance, path_of
from wdaverify.graph.nodes import Graph
from wdaverify.losses.registry import in_words, those
from wdaverify.network.float32 import unsettled
from wdaverify.network.model import Head, ReluNetwork
from wdaverify.network.onnx_batch import check_apart, of_one
from wdaverify.network.onnx_constants import folded, shape_of
from wdaverify.network.onnx_ends import has_halves, input_of, input_shape, input_type, outputs_of, told_of_types
from wdaverify.network.onnx_external import Beside
from wdaverify.network.onnx_file import network_bytes
from wdaverify.network.onnx_linear import CLASSIFIER
from wdaverify.network.onnx_nodes import OPSETS, Node, decode_attributes, operator_name
from wdaverify.network.onnx_ops import OPERATORS, apply, check_operator
from wdaverify.network.onnx_order import computed_from, in_order, labelled, makers_of, needed_for
from wdaverify.network.onnx_path import Allowance, Path, Place, finished
from wdaverify.network.onnx_refused import check_all
from wdaverify.network.onnx_tails import TAILS, Makers, Seen, Tail, followed, head_of, scores_of, tail_of, told
from wdaverify.network.onnx_tensors import Tensor, decode_names, decode_tensor, quoted
from wdaverify.network.onnx_wire import check_structure
from wdaverify.untrusted import UnreadableError, file_name, shown

MAX_NODES = 10_000


def _dropped(head: Head) -> str:
    """What a final operator that is left out means for the losses of the logits."""
    of_logits = those(lambda rule: rule.of_logits)
    of_one = those(lambda rule: rule.of_logits and rule.least_classes <= 2)
    return {
        "softmax": f"zero-one, and the distance to an error, are the same with it; {in_words(of_logits)} are those of the logits, not of "
        "the probabilities; cross-entropy is -log of the label's probability, the Softmax applied once",
        "log-softmax": f"it moves all of them by one number, so that zero-one, {', '.join(of_logits)} and cross-entropy (-log of the "
        "label's probability) are the same with it",
        "sigmoid": "zero-one, and the distance to an error, are those of the probability against 1/2; cross-entropy is -log of the "
        f"label's probability, the Sigmoid applied once; {in_words(of_one)} are those of the logit",
        "argmax": "zero-one, and the distance to an error, are those of the label, where a tie is an error; the other losses are those "
        "of z",
    }[head]


def load_network(
    path: str | os.PathLike[str], *, logits: bool = False, external_data: bool = False, output_name: str | None = None
) -> ReluNetwork:
    """Read a network of affine maps and piecewise-linear functions.

    Its meaning is real arithmetic on the weights as stored (docs/theory.md, section 1).

    Args:
        path: the ONNX file.
        logits: whether the network meant is the one in front of the file's final Softmax, LogSoftmax, Sigmoid or ArgMax. Otherwise
            that is left out too, but the network says so (``head``), and questions about its own outputs are refused.
        external_data: whether weights may be read from other files: plain ones in the folder of the model, nowhere else.
        output_name: the tensor of the file that is meant, an output or any other that a node gives. None: the outputs, all of
            which have to be made of one tensor of scores (labels and probabilities of scikit-learn, say).

    Returns:
        The network with one batch axis left out of its shapes; ``sha256`` is of the file's bytes (of a ``.onnx.gz``: of what it
        unpacks to; then of the files of weights that were read, by name), ``notices`` says what was taken otherwise than written (a
        final Softmax, a batch normalisation's multiplier, a narrowing cast, constants that are computed) and which tensor is verified.

    Raises:
        NetworkError: the file cannot be read, or holds anything but accepted operators, there is no such tensor or several
            are meant, or ``logits`` are asked for where nothing stands behind them; one line of text.
    """
    path, logits = FilePath(path_of("network", path, NetworkError)), flag("logits", logits, NetworkError)
    beside = Beside(path.parent) if flag("external_data", external_data, NetworkError) else None
    if output_name is not None:
        instance(
            "output_name", output_name, str, "the name of a tensor, or None for the outputs of the file", NetworkError
        )
    try:
        data = network_bytes(path)
        return replace(_read(data, file_name(path), logits, beside, output_name), file=(str(path), output_name))
    except (NetworkError, UnreadableError) as error:
        raise NetworkError(f"{shown(path, 4096)}: {error}") from None


def read_network(data: bytes, name: str, *, logits: bool = False, output_name: str | None = None) -> ReluNetwork:
    """The network of an ONNX model in memory, which it keeps for ``ReluNetwork.save``; otherwise as ``load_network``.

    Raises:
        NetworkError: as ``load_network``; ``name`` stands where the path would.
    """
    try:
        return replace(_read(data, name, logits, None, output_name), onnx=data, file=(None, output_name))
    except NetworkError as error:
        raise NetworkError(f"{name}: {error}") from None


def _read(data: bytes, name: str, logits: bool, beside: Beside | None, output_name: str | None) -> ReluNetwork:
    """The network of the bytes of a model."""
    graph, opset = _parse(data)
    features, read, seen = _convert(graph, opset, beside, output_name)
    made = finished(read)
    head = head_of(seen)
    if logits and head is None:
        raise NetworkError(
            "the network does not end in a Softmax, LogSoftmax, Sigmoid or ArgMax: its outputs are its logits; leave --logits "
            "(logits=True) out"
        )
    return ReluNetwork(
        graph=made,
        input_shape=features,
        output_shape=_without_batch(read.layout.shape),
        sha256=hashlib.sha256(data).hexdigest() if beside is None else beside.digest(data),
        name=name,
        notices=(*read.notices, *_told_of_curves(made), *(() if head is None else (_told(head, logits),))),
        head=None if head is None or logits else head[1],
        not_float32=tuple(read.not_float32),
    )


def _told_of_curves(graph: Graph) -> tuple[str, ...]:
    """The notice of functions that are not piecewise linear."""
    if not graph.curved:
        return ()
    what = "is" if len(graph.curved) == 1 else "are"
    return (
        f"{', '.join(graph.curved)} {what} not piecewise linear: values are enclosed, and answers are brackets that are closed "
        "to the gap asked for, never exact",
    )


def _told(head: tuple[str, Head], logits: bool) -> str:
    """The notice of a final operator that is left out."""
    label, kind = head
    if logits:
        return f"{label} at the end of the network is left out, as asked: its outputs z are the logits in front of it"
    return f"{label} at the end of the network is dropped, and z are the logits in front of it: {_dropped(kind)}"


def _parse(data: bytes) -> tuple[GraphProto, int]:
    """The graph and the version of the standard operator set."""
    check_structure(data)
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError):
        raise NetworkError("this is not an ONNX file, or it is cut off") from None
    if not all(isinstance(text, str) for text in _texts(model)):
        raise NetworkError("a name in the file is not UTF-8 text; the file is damaged")
    if not model.HasField("graph") or not model.graph.node:
        raise NetworkError("the file holds no network (an empty graph); is it an ONNX file?")
    if len(model.graph.node) > MAX_NODES:
        raise NetworkError(f"the graph has {len(model.graph.node)} nodes; at most {MAX_NODES} are accepted")
    if model.functions or model.training_info:
        raise NetworkError(
            "the model has functions or a training graph of its own; plain inference graphs are accepted"
        )
    versions = {int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")}
    if len(versions) != 1 or not versions <= set(OPSETS):
        found = ", ".join(str(version) for version in sorted(versions)) or "none"
        raise NetworkError(
            f"operator set version {found}; accepted is one from {OPSETS[0]} to {OPSETS[-1]}: "
            "re-export, or convert with onnx.version_converter"
        )
    return model.graph, versions.pop()


def _texts(model: ModelProto) -> Iterator[object]:
    """Every text that is read later; protobuf gives bytes where one is not UTF-8."""
    for entry in model.opset_import:
        yield entry.domain
    for named in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        yield named.name
    for proto in model.graph.node:
        yield from (proto.name, proto.op_type, proto.domain, *proto.input, *proto.output)
        for attribute in proto.attribute:
            yield from (attribute.name, attribute.ref_attr_name)


def _convert(
    graph: GraphProto, opset: int, beside: Beside | None, wanted: str | None
) -> tuple[tuple[int, ...], Path, list[Seen]]:
    """Input shape, the network up to its scores, and what the outputs are of these."""
    stored = _initializers(graph)
    source = input_of(graph, stored)
    shape, batch = input_shape(source)
    dtype = input_type(source)
    makers, computed = makers_of(graph), computed_from(graph, source.name)
    tails = [tail_of(name, makers, computed) for name in outputs_of(graph, wanted, makers)]
    sink = scores_of(tails)
    needed = needed_for(graph, sink)
    used = [(proto, label) for proto, label in labelled(graph) if any(name in needed for name in proto.output)]
    check_all(used, opset)  # before the weights, which may be of other types
    constants = {name: _decoded(stored[name], beside) for name in stored if name in needed}
    layout = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    path = Path(layout, dtype, layout.size, [], [], Allowance.beside(sum(value.size for value in constants.values())))
    path.batch = batch
    path.notices += told_of_types(graph, source, batch)
    if has_halves(graph):
        path.not_float32.append("it has numbers of two bytes, which runtimes round to; convert them to float32")
    _walk(used, opset, constants, path, source.name, sink, needed)
    seen = [_followed(tail, opset, path, makers, computed, stored, beside) for tail in tails]
    path.notices += told(tails, seen, wanted)
    if sum(size > 1 for size in path.layout.shape) > 1:
        sizes = [*_without_batch(path.layout.shape)]
        path.notices.append(
            f"{quoted(sink)} of shape {sizes} is taken for {path.layout.size} classes, in row-major order"
        )
    return _without_batch(shape), path, seen


def _followed(
    tail: Tail,
    opset: int,
    path: Path,
    makers: Makers,
    computed: set[str],
    stored: dict[str, TensorProto],
    beside: Beside | None,
) -> Seen:
    """What an output is of the scores at hand."""

    def constant(name: str) -> Tensor:
        if name in stored:
            return _decoded(stored[name], beside, decode_names)
        if name in makers and operator_name(makers[name][0]) == "Constant":
            proto, label = makers[name]
            check_operator(proto, label, opset, OPERATORS["Constant"])
            made = Node("Constant", label, opset, (), (), (), tuple(proto.output), decode_attributes(proto, label))
            return folded(made, path.notices)[0]
        raise NetworkError(f"{quoted(name)} is computed behind the scores; a constant is accepted there")

    def node_of(proto: NodeProto, label: str) -> Node:
        op = operator_name(proto)
        if op in TAILS:
            check_operator(proto, label, opset, TAILS[op])
        moving = tuple(k for k, name in enumerate(proto.input) if name in computed)
        operands = tuple(None if name in computed or not name else constant(name) for name in proto.input)
        attributes = decode_attributes(proto, label)
        return of_one(
            Node(op, label, opset, operands, moving, tuple(proto.input), tuple(proto.output), attributes), path.batch
        )

    return followed(tail, path.layout, node_of, makers, constant, path.batch)


def _initializers(graph: GraphProto) -> dict[str, TensorProto]:
    if graph.sparse_initializer:
        raise NetworkError("the graph has sparse initializers; dense ones are accepted")
    stored: dict[str, TensorProto] = {}
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in stored:
            raise NetworkError(f"initializer {quoted(tensor.name)} has no name, or one that occurs twice")
        stored[tensor.name] = tensor
    return stored


def _decoded(
    tensor: TensorProto, beside: Beside | None, decode: Callable[[TensorProto, str], Tensor] = decode_tensor
) -> Tensor:
    what = f"initializer {quoted(tensor.name)}"
    return decode(tensor if beside is None else beside.whole(tensor, what), what)


def _walk(
    used: Sequence[tuple[NodeProto, str]],
    opset: int,
    constants: dict[str, Tensor],
    path: Path,
    source: str,
    sink: str,
    needed: set[str],
) -> None:
    """Append every node that the scores need to ``path``, whose tensor at hand is the scores at the end."""
    tensors = {source: path.place}
    for proto, label in in_order(used, {*constants, *tensors}):
        op = operator_name(proto)
        moving = _moving(proto, label, constants, tensors)
        operands = tuple(constants.get(name) for name in proto.input)
        node = Node(
            op,
            label,
            opset,
            operands,
            moving,
            tuple(proto.input),
            tuple(proto.output),
            decode_attributes(proto, label),
        )
        _check_outputs(node, needed, {*constants, *tensors})
        if not moving or node.op in ("Shape", "Size"):
            shapes = [(path.batch, *tensors[proto.input[k]].layout.shape[1:]) for k in moving if path.batch > 1]
            shapes += [tensors[proto.input[k]].layout.shape for k in moving] + [
                c.shape for c in operands if c is not None
            ]
            if node.op in ("Shape", "Size") and not shapes:
                raise node.refused("its input is left out; a tensor is accepted")
            told_before = len(path.notices)
            parts = [shape_of(node, shapes[0])] if node.op in ("Shape", "Size") else folded(node, path.notices)
            if len(path.notices) > told_before or unsettled(node.op, operands):
                path.not_float32.append(
                    f"{node.label} computes constants, whose rounding in float32 is not bounded; store them when exporting"
                )
            for name, out in zip(node.outputs, parts, strict=False):
                if not name:
                    continue
                if node.op == "Constant":
                    path.allowance.store(out.size)
                else:
                    path.allowance.take(out.size)
                constants[name] = out
            continue
        if node.op == CLASSIFIER and node.outputs[1:2] != (sink,):
            raise node.refused("accepted as the last operator of the network only")
        given = [tensors[proto.input[k]] for k in moving]
        made = apply(path, of_one(node, path.batch), given)
        if path.batch > 1:
            check_apart(node, path.batch, given, made)
        tensors.update({name: place for name, place in zip(node.outputs, made, strict=False) if name})
    if sink not in tensors:
        raise NetworkError(f"output {quoted(sink)} is what no node gives from the input; a computed output is accepted")
    path.take(tensors[sink])
    if path.dtype.kind != "f":
        raise NetworkError(f"output {quoted(sink)} is of type {path.dtype}; one of floating-point numbers is accepted")


def _check_outputs(node: Node, needed: set[str], known: set[str]) -> None:
    """Refuse outputs that are not read, or are named as another tensor."""
    named = [name for name in node.outputs if name]
    for name in named:
        if name in known or named.count(name) > 1:
            raise node.refused(f"output {quoted(name)} is the name of an earlier tensor")
    for name in node.outputs[1:]:
        if name in needed and name and not OPERATORS[node.op].many:
            raise node.refused(f"its second output {quoted(name)} is used; nodes with one output are accepted")


def _moving(proto: NodeProto, label: str, constants: dict[str, Tensor], tensors: dict[str, Place]) -> tuple[int, ...]:
    """The numbers of the inputs that are computed from the network's input.

    Raises:
        NetworkError: the node reads a tensor that nothing gives.
    """
    moving = tuple(k for k, name in enumerate(proto.input) if name and name not in constants)
    for k in moving:
        if proto.input[k] not in tensors:
            raise NetworkError(f"{label}: it reads {quoted(proto.input[k])}, which no earlier node gives")
    return moving


def _without_batch(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
