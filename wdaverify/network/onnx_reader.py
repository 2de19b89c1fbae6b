"""Reading a network from an ONNX file: a closed list of operators, and nothing rounded on the way that is not told.

Whatever is outside the list is refused by name, with what is accepted (``onnx_ops.OPERATORS``). Importing onnx
happens in ``wdaverify.network.onnx_*`` only.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path as FilePath

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto

from wdaverify.errors import NetworkError
from wdaverify.given import flag, path_of
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Head, ReluNetwork
from wdaverify.network.onnx_batch import check_apart, of_one
from wdaverify.network.onnx_constants import folded, shape_of
from wdaverify.network.onnx_ends import ends_of, input_shape, input_type, told_of_types
from wdaverify.network.onnx_external import Beside
from wdaverify.network.onnx_file import network_bytes
from wdaverify.network.onnx_nodes import OPSETS, Node, decode_attributes, operator_name
from wdaverify.network.onnx_ops import DROPPED_AT_THE_END, OPERATORS, apply, check_operator
from wdaverify.network.onnx_order import check_all, in_order, labelled, needed_for
from wdaverify.network.onnx_path import Allowance, Path, Place, finished
from wdaverify.network.onnx_tensors import Tensor, decode_tensor, quoted
from wdaverify.network.onnx_wire import check_structure
from wdaverify.untrusted import UnreadableError, file_name, shown

MAX_NODES = 10_000


_DROPPED: dict[Head, str] = {
    "softmax": "zero-one, and the distance to an error, are the same with it; margin, hinge and dlr are those of the logits, not of "
    "the probabilities; cross-entropy is -log of the label's probability, the Softmax applied once",
    "log-softmax": "it moves all of them by one number, so that zero-one, margin, hinge, dlr and cross-entropy (-log of the label's "
    "probability) are the same with it",
}
"""What a final operator that is left out means for the losses of the logits."""


def load_network(path: str | os.PathLike[str], *, logits: bool = False, external_data: bool = False) -> ReluNetwork:
    """Read a network of affine maps and piecewise-linear functions.

    Its meaning is real arithmetic on the weights as stored (docs/theory.md, section 1).

    Args:
        path: the ONNX file.
        logits: whether the network meant is the one in front of the file's final Softmax or LogSoftmax. Otherwise that is left
            out too, but the network says so (``head``), and questions about its own outputs are refused.
        external_data: whether weights may be read from other files: plain ones in the folder of the model, nowhere else.

    Returns:
        The network with one batch axis left out of its shapes; ``sha256`` is of the file's bytes (of a ``.onnx.gz``: of what it
        unpacks to; then of the files of weights, by name), ``notices`` says what was taken otherwise than written (a final Softmax,
        a batch normalisation's multiplier, a narrowing cast, constants that are computed).

    Raises:
        NetworkError: the file cannot be read, or holds anything but accepted operators, or ``logits`` are asked for
            where no Softmax stands behind them; one line of text.
    """
    path, logits = FilePath(path_of("network", path, NetworkError)), flag("logits", logits, NetworkError)
    beside = Beside(path.parent) if flag("external_data", external_data, NetworkError) else None
    try:
        data = network_bytes(path)
        graph, opset = _parse(data)
        features, output_shape, read, notices, head = _convert(graph, opset, beside)
        if logits and head is None:
            raise NetworkError(
                "the network does not end in a Softmax or LogSoftmax: its outputs are its logits; leave --logits (logits=True) out"
            )
    except (NetworkError, UnreadableError) as error:
        raise NetworkError(f"{shown(path, 4096)}: {error}") from None
    return ReluNetwork(
        graph=read,
        input_shape=features,
        output_shape=output_shape,
        sha256=hashlib.sha256(data).hexdigest() if beside is None else beside.digest(data),
        name=file_name(path),
        notices=(*notices, *(() if head is None else (_told(head, logits),))),
        head=None if head is None or logits else head[1],
    )


def _told(head: tuple[str, Head], logits: bool) -> str:
    """The notice of a final operator that is left out."""
    label, kind = head
    if logits:
        return f"{label} at the end of the network is left out, as asked: its outputs z are the logits in front of it"
    return f"{label} at the end of the network is dropped, and z are the logits in front of it: {_DROPPED[kind]}"


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
    graph: GraphProto, opset: int, beside: Beside | None
) -> tuple[tuple[int, ...], tuple[int, ...], Graph, tuple[str, ...], tuple[str, Head] | None]:
    """Input shape, output shape, the network, notices, and the final operator that is left out."""
    constants = _initializers(graph, beside)
    source, sink = ends_of(graph, constants)
    shape, batch = input_shape(source)
    dtype = input_type(source)
    layout = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    path = Path(layout, dtype, layout.size, [], [], Allowance.beside(sum(value.size for value in constants.values())))
    path.batch = batch
    path.notices += told_of_types(graph, source, batch)
    _walk(graph, opset, constants, path, source.name, sink.name)
    return _without_batch(shape), _without_batch(path.layout.shape), finished(path), tuple(path.notices), path.head


def _initializers(graph: GraphProto, beside: Beside | None) -> dict[str, Tensor]:
    if graph.sparse_initializer:
        raise NetworkError("the graph has sparse initializers; dense ones are accepted")
    constants: dict[str, Tensor] = {}
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in constants:
            raise NetworkError(f"initializer {quoted(tensor.name)} has no name, or one that occurs twice")
        what = f"initializer {quoted(tensor.name)}"
        constants[tensor.name] = decode_tensor(tensor if beside is None else beside.whole(tensor, what), what)
    return constants


def _walk(graph: GraphProto, opset: int, constants: dict[str, Tensor], path: Path, source: str, sink: str) -> None:
    """Append every node that the output needs to ``path``, whose tensor at hand is the output at the end."""
    tensors = {source: path.place}
    needed = needed_for(graph, sink)
    used = [(proto, label) for proto, label in labelled(graph) if any(name in needed for name in proto.output)]
    check_all(used)
    for proto, label in in_order(used, {*constants, *tensors}):
        check_operator(proto, label, opset)
        moving = _moving(proto, label, constants, tensors)
        operands = tuple(constants.get(name) for name in proto.input)
        node = Node(
            operator_name(proto), label, opset, operands, moving, tuple(proto.output), decode_attributes(proto, label)
        )
        _check_outputs(node, needed, {*constants, *tensors})
        if not moving or node.op in ("Shape", "Size"):
            shapes = [(path.batch, *tensors[proto.input[k]].layout.shape[1:]) for k in moving if path.batch > 1]
            shapes += [tensors[proto.input[k]].layout.shape for k in moving] + [
                c.shape for c in operands if c is not None
            ]
            parts = [shape_of(node, shapes[0])] if node.op in ("Shape", "Size") else folded(node, path.notices)
            for name, out in zip(node.outputs, parts, strict=False):
                if not name:
                    continue
                if node.op == "Constant":
                    path.allowance.store(out.size)
                else:
                    path.allowance.take(out.size)
                constants[name] = out
            continue
        if node.op in DROPPED_AT_THE_END and node.outputs[0] != sink:
            raise node.refused("accepted as the last operator of the network only")
        given = [tensors[proto.input[k]] for k in moving]
        made = apply(path, of_one(node, path.batch), given)
        if path.batch > 1:
            check_apart(node, path.batch, given, made)
        tensors.update({name: place for name, place in zip(node.outputs, made, strict=False) if name})
    if sink not in tensors:
        raise NetworkError(f"output {quoted(sink)} is what no node gives from the input; a computed output is accepted")
    path.take(tensors[sink])


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
