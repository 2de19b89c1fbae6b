"""ONNX files for tests, written with onnx.helper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

FLOAT_CODES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float64): TensorProto.DOUBLE}


def build_model(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, NDArray[np.generic]],
    input_shape: Sequence[int | str | None],
    *,
    dtype: DTypeLike = np.float32,
    output_dtype: DTypeLike | None = None,
    opset: int = 13,
    output: str = "y",
) -> onnx.ModelProto:
    """A model with input ``x`` and one output of undeclared shape."""
    code = FLOAT_CODES[np.dtype(dtype)]
    output_code = code if output_dtype is None else FLOAT_CODES[np.dtype(output_dtype)]
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", code, list(input_shape))],
        [helper.make_tensor_value_info(output, output_code, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def write_model(path: Path, model: onnx.ModelProto) -> Path:
    """Write ``model`` and give its path."""
    path.write_bytes(model.SerializeToString())
    return path


def write_mlp(
    path: Path,
    layers: Sequence[tuple[NDArray[np.generic], NDArray[np.generic]]],
    *,
    dtype: DTypeLike = np.float32,
    batch: int | str | None = "N",
    final_relu: bool = False,
) -> Path:
    """Write ``W_k relu(... relu(W_1 x + b_1) ...) + b_k`` with Gemm and Relu from pairs ``(W [m, n], b [m])``."""
    nodes: list[NodeProto] = []
    constants: dict[str, NDArray[np.generic]] = {}
    current = "x"
    for k, (weight, bias) in enumerate(layers):
        constants |= {f"W{k}": np.asarray(weight, dtype=dtype), f"b{k}": np.asarray(bias, dtype=dtype)}
        last = k == len(layers) - 1
        nodes.append(helper.make_node("Gemm", [current, f"W{k}", f"b{k}"], [f"z{k}"], f"gemm{k}", transB=1))
        current = f"z{k}"
        if not last or final_relu:
            nodes.append(helper.make_node("Relu", [current], [f"h{k}"], f"relu{k}"))
            current = f"h{k}"
    nodes[-1].output[0] = "y"
    return write_model(path, build_model(nodes, constants, [batch, np.shape(layers[0][0])[1]], dtype=dtype))
