"""The ONNX reader against onnxruntime, against rational arithmetic, and on files that it must refuse."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from builders import build_model, write_mlp, write_model
from layers import Affine, Block, Diagonal, Layer, Relu, blocks_of, fused_blocks, layers_of
from network.operators import OPERATIONS
from onnx import TensorProto, helper, numpy_helper

from wdaverify.errors import NetworkError
from wdaverify.graph.nodes import Affine as AffineNode
from wdaverify.network.model import ReluNetwork
from wdaverify.network.onnx_curved import CURVED
from wdaverify.network.onnx_linear import LINEAR
from wdaverify.network.onnx_ops import OPERATORS
from wdaverify.network.onnx_reader import load_network
from wdaverify.network.onnx_tensors import rounded_to

Node = Callable[..., onnx.NodeProto]
node: Node = helper.make_node
onnxruntime.set_default_logger_severity(4)


def numbers(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(dtype)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def outside(path: Path, points: np.ndarray) -> np.ndarray:
    """Outputs of onnxruntime, one point at a time."""
    session = onnxruntime.InferenceSession(str(path))
    (source,) = session.get_inputs()
    shape = [d if isinstance(d, int) else 1 for d in source.shape]
    dtype = np.float32 if source.type == "tensor(float)" else np.float64
    return np.array([session.run(None, {source.name: p.reshape(shape).astype(dtype)})[0].ravel() for p in points])


def agrees(path: Path, net: ReluNetwork, *, tolerance: float = 1e-5) -> None:
    points = np.random.default_rng(7).uniform(-2, 2, size=(20, net.n_inputs)).astype(np.float32).astype(np.float64)
    want = outside(path, points)
    assert want.shape == (20, net.n_outputs)
    scale = max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(net.forward(points), want, rtol=0, atol=tolerance * scale)
    h = points
    for k, block in enumerate(blocks_of(net.canonical)):
        h = (np.maximum(h, 0) if k else h) @ block.weight.T + block.bias
    np.testing.assert_allclose(h, want, rtol=0, atol=tolerance * scale)


def loaded(tmp_path: Path, model: onnx.ModelProto) -> ReluNetwork:
    return load_network(write_model(tmp_path / "net.onnx", model))


def refused(tmp_path: Path, model: onnx.ModelProto | bytes, *words: str) -> str:
    path = tmp_path / "net.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(NetworkError) as caught:
        load_network(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    for word in words:
        assert word in text, text
    return text


# --- what is accepted: (nodes, constants, input shape, operator set, input_shape and output_shape of the network)

W, B = numbers(4, 6), numbers(6)
IMAGE = numbers(12, 5)
CASES: dict[str, tuple[Sequence[onnx.NodeProto], Mapping[str, Any], Sequence[Any], int, tuple[Any, Any]]] = {
    "gemm": ([node("Gemm", ["x", "W", "B"], ["y"])], {"W": W, "B": B}, [1, 4], 13, ((4,), (6,))),
    "gemm-transB": ([node("Gemm", ["x", "W", "B"], ["y"], transB=1)], {"W": W.T, "B": B}, ["N", 4], 13, ((4,), (6,))),
    "gemm-square-transB": (
        [node("Gemm", ["x", "W"], ["y"], transB=1)],
        {"W": numbers(4, 4)},
        ["N", 4],
        13,
        ((4,), (4,)),
    ),
    "gemm-transA": (
        [node("Transpose", ["x"], ["t"]), node("Gemm", ["t", "W", "B"], ["y"], transA=1)],
        {"W": W, "B": B},
        [1, 4],
        13,
        ((4,), (6,)),
    ),
    "gemm-alpha-beta": (
        [node("Gemm", ["x", "W", "B"], ["y"], alpha=0.3, beta=-1.7)],
        {"W": W, "B": B},
        [None, 4],
        13,
        ((4,), (6,)),
    ),
    "gemm-beta-0": ([node("Gemm", ["x", "W", "B"], ["y"], beta=0.0)], {"W": W, "B": B}, [1, 4], 13, ((4,), (6,))),
    "gemm-no-C": ([node("Gemm", ["x", "W"], ["y"])], {"W": W}, [1, 4], 11, ((4,), (6,))),
    "gemm-empty-C": ([node("Gemm", ["x", "W", ""], ["y"])], {"W": W}, [1, 4], 13, ((4,), (6,))),
    "gemm-scalar-C": (
        [node("Gemm", ["x", "W", "B"], ["y"])],
        {"W": W, "B": np.float32(0.4)},
        [1, 4],
        13,
        ((4,), (6,)),
    ),
    "gemm-row-C": ([node("Gemm", ["x", "W", "B"], ["y"])], {"W": W, "B": B[None]}, [1, 4], 13, ((4,), (6,))),
    "gemm-1-C": ([node("Gemm", ["x", "W", "B"], ["y"])], {"W": W, "B": numbers(1, 1)}, [1, 4], 13, ((4,), (6,))),
    "gemm-constant-A": (
        [node("Gemm", ["W", "x", "B"], ["y"], transA=1, transB=1, alpha=2.5)],
        {"W": W, "B": B[:, None]},
        [1, 4],
        13,
        ((4,), (6, 1)),
    ),
    "matmul-right": ([node("MatMul", ["x", "W"], ["y"])], {"W": W}, [1, 4], 13, ((4,), (6,))),
    "matmul-right-vector": ([node("MatMul", ["x", "W"], ["y"])], {"W": W[:, 0]}, ["N", 4], 13, ((4,), (1,))),
    "matmul-left-vector": ([node("MatMul", ["W", "x"], ["y"])], {"W": W}, [6], 13, ((6,), (4,))),
    "matmul-left-column": (
        [node("Transpose", ["x"], ["t"]), node("MatMul", ["W", "t"], ["y"])],
        {"W": W},
        [1, 6],
        13,
        ((6,), (4, 1)),
    ),
    "matmul-stacked": (
        [node("MatMul", ["x", "W"], ["y"])],
        {"W": W[None, None]},
        [1, 1, 1, 4],
        13,
        ((1, 1, 4), (1, 1, 6)),
    ),
    "matmul-two-vectors": ([node("MatMul", ["x", "W"], ["y"])], {"W": W[:, 0]}, [4], 13, ((4,), ())),
    "matmul-add": (
        [node("MatMul", ["x", "W"], ["m"]), node("Add", ["B", "m"], ["y"])],
        {"W": W, "B": B},
        [1, 4],
        13,
        ((4,), (6,)),
    ),
    "two-matrices": (
        [node("MatMul", ["x", "W"], ["m"]), node("Gemm", ["m", "V", "B"], ["y"])],
        {"W": W, "V": numbers(6, 3), "B": numbers(3)},
        [1, 4],
        13,
        ((4,), (3,)),
    ),
    "add": ([node("Add", ["x", "c"], ["y"])], {"c": numbers(4)}, ["N", 4], 13, ((4,), (4,))),
    "add-scalar": ([node("Add", ["c", "x"], ["y"])], {"c": np.float32(2.5)}, ["N", 4], 14, ((4,), (4,))),
    "add-raises-rank": ([node("Add", ["x", "c"], ["y"])], {"c": numbers(1, 1, 4)}, [4], 13, ((4,), (1, 4))),
    "add-channel": (
        [node("Add", ["x", "c"], ["y"])],
        {"c": numbers(3, 1, 1)},
        ["N", 3, 2, 2],
        13,
        ((3, 2, 2), (3, 2, 2)),
    ),
    "sub": ([node("Sub", ["x", "c"], ["y"])], {"c": numbers(1, 1, 1, 5)}, [1, 1, 1, 5], 8, ((1, 1, 5), (1, 1, 5))),
    "sub-from": ([node("Sub", ["c", "x"], ["y"])], {"c": numbers(4)}, ["N", 4], 13, ((4,), (4,))),
    "mul": ([node("Mul", ["x", "c"], ["y"])], {"c": numbers(4)}, ["N", 4], 13, ((4,), (4,))),
    "div": ([node("Div", ["x", "c"], ["y"])], {"c": numbers(4)}, ["N", 4], 13, ((4,), (4,))),
    "normalise-inside": (
        [
            node("Sub", ["x", "m"], ["a"]),
            node("Div", ["a", "s"], ["b"]),
            node("Flatten", ["b"], ["f"]),
            node("Gemm", ["f", "W", "B"], ["y"]),
        ],
        {"m": numbers(3, 1, 1), "s": 1 + np.abs(numbers(3, 1, 1, seed=1)), "W": IMAGE, "B": numbers(5)},
        ["N", 3, 2, 2],
        13,
        ((3, 2, 2), (5,)),
    ),
    "relu": ([node("Relu", ["x"], ["y"])], {}, [1, 4], 13, ((4,), (4,))),
    "relu-twice": (
        [node("Gemm", ["x", "W"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])],
        {"W": W},
        [1, 4],
        13,
        ((4,), (6,)),
    ),
    "flatten-0": ([node("Flatten", ["x"], ["y"], axis=0)], {}, ["N", 3, 4], 13, ((3, 4), (12,))),
    "flatten-2": ([node("Flatten", ["x"], ["y"], axis=2)], {}, [1, 3, 4], 13, ((3, 4), (3, 4))),
    "flatten-negative": ([node("Flatten", ["x"], ["y"], axis=-2)], {}, [1, 3, 4], 13, ((3, 4), (12,))),
    "flatten-vector": ([node("Flatten", ["x"], ["y"], axis=0)], {}, [4], 13, ((4,), (4,))),
    "reshape-minus": ([node("Reshape", ["x", "s"], ["y"])], {"s": ints(-1, 12)}, ["N", 3, 4], 13, ((3, 4), (12,))),
    "reshape-copy": ([node("Reshape", ["x", "s"], ["y"])], {"s": ints(0, -1)}, ["N", 3, 4], 13, ((3, 4), (12,))),
    "reshape-allowzero": (
        [node("Reshape", ["x", "s"], ["y"], allowzero=1)],
        {"s": ints(1, -1)},
        [1, 3, 4],
        14,
        ((3, 4), (12,)),
    ),
    "reshape-constant-node": (
        [node("Constant", [], ["s"], value_ints=[-1, 6]), node("Reshape", ["x", "s"], ["y"])],
        {},
        [1, 2, 3],
        13,
        ((2, 3), (6,)),
    ),
    "squeeze-all": ([node("Squeeze", ["x"], ["y"])], {}, [1, 1, 1, 5], 13, ((1, 1, 5), (5,))),
    "squeeze-attribute": ([node("Squeeze", ["x"], ["y"], axes=[1, 2])], {}, [1, 1, 1, 5], 11, ((1, 1, 5), (5,))),
    "squeeze-input": ([node("Squeeze", ["x", "a"], ["y"])], {"a": ints(-1)}, [1, 5, 1], 13, ((5, 1), (5,))),
    "unsqueeze-attribute": ([node("Unsqueeze", ["x"], ["y"], axes=[0, 2])], {}, [5], 11, ((5,), (5, 1))),
    "unsqueeze-input": ([node("Unsqueeze", ["x", "a"], ["y"])], {"a": ints(0, -1)}, [5], 13, ((5,), (5, 1))),
    "identity": ([node("Identity", ["x"], ["y"])], {}, [1, 4], 13, ((4,), (4,))),
    "constant-value": (
        [
            node("Constant", [], ["c"], value=numpy_helper.from_array(numbers(4))),
            node("Add", ["x", "c"], ["y"]),
        ],
        {},
        [1, 4],
        9,
        ((4,), (4,)),
    ),
    "constant-float": (
        [node("Constant", [], ["c"], value_float=0.7), node("Mul", ["x", "c"], ["y"])],
        {},
        [1, 4],
        12,
        ((4,), (4,)),
    ),
    "constant-floats": (
        [node("Constant", [], ["c"], value_floats=[0.7, 1.5]), node("Div", ["x", "c"], ["y"])],
        {},
        [1, 2],
        13,
        ((2,), (2,)),
    ),
    "constant-int": (
        [
            node("Constant", [], ["i"], value_int=3),
            node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
            node("Mul", ["x", "c"], ["y"]),
        ],
        {},
        [1, 2],
        13,
        ((2,), (2,)),
    ),
    "dropout": ([node("Dropout", ["x"], ["y"], ratio=0.5)], {}, [1, 4], 10, ((4,), (4,))),
    "dropout-mask-unused": (
        [node("Dropout", ["x", "r", "t"], ["y", "mask"])],
        {"r": np.float32(0.5), "t": np.array(False)},
        [1, 4],
        13,
        ((4,), (4,)),
    ),
    "batch-normalization": (
        [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=1e-3)],
        {"s": numbers(3), "b": numbers(3, seed=1), "m": numbers(3, seed=2), "v": np.abs(numbers(3, seed=3))},
        ["N", 3, 2, 2],
        15,
        ((3, 2, 2), (3, 2, 2)),
    ),
    "batch-normalization-9": (
        [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"])],
        {"s": numbers(3), "b": numbers(3, seed=1), "m": numbers(3, seed=2), "v": np.abs(numbers(3, seed=3))},
        ["N", 3],
        9,
        ((3,), (3,)),
    ),
    "transpose-flattened": (
        [
            node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
            node("Flatten", ["t"], ["f"]),
            node("Gemm", ["f", "W"], ["y"]),
        ],
        {"W": IMAGE},
        ["N", 3, 2, 2],
        13,
        ((3, 2, 2), (5,)),
    ),
    "transpose-matmul": (
        [
            node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
            node("Reshape", ["t", "s"], ["f"]),
            node("MatMul", ["f", "W"], ["y"]),
        ],
        {"W": IMAGE, "s": ints(1, 12)},
        ["N", 3, 4],
        13,
        ((3, 4), (5,)),
    ),
    "transpose-constants": (
        [
            node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
            node("Mul", ["t", "c"], ["m"]),
            node("Add", ["m", "d"], ["y"]),
        ],
        {"c": numbers(2, 3), "d": numbers(2, 1)},
        [1, 3, 2],
        13,
        ((3, 2), (2, 3)),
    ),
    "transpose-output": (
        [
            node("Gemm", ["x", "W"], ["g"]),
            node("Reshape", ["g", "s"], ["r"]),
            node("Mul", ["r", "c"], ["m"]),
            node("Relu", ["m"], ["n"]),
            node("Transpose", ["n"], ["y"], perm=[0, 2, 1]),
        ],
        {"W": W, "s": ints(1, 2, 3), "c": numbers(2, 3)},
        [1, 4],
        13,
        ((4,), (3, 2)),
    ),
    "transposed-weight": (
        [node("Transpose", ["W"], ["V"]), node("MatMul", ["x", "V"], ["y"])],
        {"W": W.T},
        [1, 4],
        13,
        ((4,), (6,)),
    ),
    "folded-shapes": (
        [
            node("Flatten", ["c"], ["c1"], axis=0),
            node("Squeeze", ["c1", "a0"], ["c2"]),
            node("Unsqueeze", ["c2", "a0"], ["c3"]),
            node("Identity", ["c3"], ["c4"]),
            node("Reshape", ["c4", "s"], ["c5"]),
            node("Add", ["x", "c5"], ["y"]),
        ],
        {"c": numbers(2, 2), "a0": ints(0), "s": ints(4)},
        [1, 4],
        13,
        ((4,), (4,)),
    ),
    "column-input": (
        [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "W", "B"], ["y"])],
        {"W": W, "B": B},
        [1, 4, 1],
        13,
        ((4, 1), (6,)),
    ),
    "vector-input": (
        [node("MatMul", ["x", "W"], ["a"]), node("Relu", ["a"], ["y"])],
        {"W": W},
        [4],
        14,
        ((4,), (6,)),
    ),
    "image-input": (
        [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "W"], ["y"])],
        {"W": numbers(784, 3)},
        ["N", 1, 28, 28],
        13,
        ((1, 28, 28), (3,)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_onnxruntime(tmp_path: Path, name: str) -> None:
    nodes, constants, shape, opset, (inputs, outputs) = CASES[name]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, constants, shape, opset=opset))
    net = load_network(path)
    assert (net.input_shape, net.output_shape) == (inputs, outputs)
    agrees(path, net)


def test_every_accepted_operator_is_compared() -> None:
    seen = {proto.op_type for nodes, *_ in (*CASES.values(), *JOINED.values(), *OPERATIONS.values()) for proto in nodes}
    own = {"com.microsoft.FusedGemm", *LINEAR, *CURVED}  # these have tests of their own
    assert set(OPERATORS) - seen == own


@pytest.mark.parametrize(
    "name", ["gemm-alpha-beta", "gemm-beta-0", "gemm-constant-A", "normalise-inside", "batch-normalization"]
)
def test_float64_graphs(tmp_path: Path, name: str) -> None:
    nodes, constants, shape, opset, _ = CASES[name]
    double = {k: np.random.default_rng(3).uniform(0.5, 2, np.shape(v)) for k, v in constants.items()}
    path = write_model(tmp_path / "net.onnx", build_model(nodes, double, shape, opset=opset, dtype=np.float64))
    agrees(path, load_network(path), tolerance=1e-13)


def test_casts_of_the_activation(tmp_path: Path) -> None:
    nodes = [
        node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        node("MatMul", ["d", "W"], ["m"]),
        node("Cast", ["m"], ["y"], name="narrow", to=TensorProto.FLOAT),
    ]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, {"W": W.astype(np.float64)}, [1, 4]))
    net = load_network(path)
    agrees(path, net)
    assert len(net.notices) == 1
    assert "'narrow' (Cast)" in net.notices[0]


def test_initializers_listed_as_inputs(tmp_path: Path) -> None:
    model = build_model(CASES["gemm"][0], {"W": W, "B": B}, ["N", 4])
    model.graph.input.insert(0, helper.make_tensor_value_info("W", TensorProto.FLOAT, W.shape))
    model.graph.input.append(helper.make_tensor_value_info("B", TensorProto.FLOAT, B.shape))
    net = loaded(tmp_path, model)
    np.testing.assert_array_equal(blocks_of(net.canonical)[0].weight, W.T)


def test_typed_fields_instead_of_raw_bytes(tmp_path: Path) -> None:
    model = build_model(CASES["gemm"][0], {"B": B}, ["N", 4])
    model.graph.initializer.append(helper.make_tensor("W", TensorProto.FLOAT, W.shape, W.ravel().tolist()))
    assert not model.graph.initializer[1].HasField("raw_data")
    np.testing.assert_array_equal(blocks_of(loaded(tmp_path, model).canonical)[0].weight, W.T)


def test_what_is_recorded_about_the_file(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "small net.onnx", [(W.T, B), (numbers(3, 6), numbers(3))])
    net = load_network(str(path))
    assert net.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert net.name == "small net.onnx"
    assert net.notices == ()
    assert (net.n_inputs, net.n_outputs, net.n_relus, net.n_parameters) == (4, 3, 6, 51)
    assert all(block.exact for block in blocks_of(net.canonical))
    assert not blocks_of(net.canonical)[0].weight.flags.writeable
    agrees(path, net)


def test_mlp_in_float64_with_final_relu(tmp_path: Path) -> None:
    layers = [(numbers(5, 4, dtype=np.float64), numbers(5, dtype=np.float64)), (numbers(3, 5), numbers(3))]
    path = write_mlp(tmp_path / "net.onnx", layers, dtype=np.float64, batch=1, final_relu=True)
    net = load_network(path)
    assert isinstance(layers_of(net)[-1], Relu)
    agrees(path, net, tolerance=1e-13)


# --- a final softmax


@pytest.mark.parametrize(("op", "opset", "axis"), [("Softmax", 13, None), ("LogSoftmax", 11, 1), ("Softmax", 9, None)])
def test_final_softmax_is_dropped_with_a_notice(tmp_path: Path, op: str, opset: int, axis: int | None) -> None:
    extra = {} if axis is None else {"axis": axis}
    nodes = [node("Gemm", ["x", "W", "B"], ["g"]), node(op, ["g"], ["y"], name="last", **extra)]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, {"W": W, "B": B}, ["N", 4], opset=opset))
    net = load_network(path)
    assert len(net.notices) == 1
    assert f"'last' ({op})" in net.notices[0]
    points = np.random.default_rng(1).normal(size=(9, 4))
    want = outside(path, points)
    want = np.log(want) if op == "Softmax" else want
    got = net.forward(points)
    np.testing.assert_allclose(got - got[:, :1], want - want[:, :1], atol=1e-4)


def test_softmax_over_another_axis_or_inside_is_refused(tmp_path: Path) -> None:
    nodes = [node("Gemm", ["x", "W"], ["g"]), node("Softmax", ["g"], ["y"], name="s", axis=0)]
    refused(tmp_path, build_model(nodes, {"W": W}, ["N", 4]), "'s' (Softmax)", "class axis")
    nodes = [node("Softmax", ["x"], ["g"], name="s"), node("Gemm", ["g", "W"], ["y"])]
    refused(tmp_path, build_model(nodes, {"W": W}, ["N", 4]), "'s' (Softmax)", "last operator")
    nodes = [node("Softmax", ["x"], ["g"], name="s"), node("Abs", ["g"], ["y"])]
    refused(tmp_path, build_model(nodes, {}, ["N", 4]), "'s' (Softmax)", "last operator")


# --- nothing is rounded


def exact_map(run: Sequence[Layer], width: int) -> tuple[list[list[Fraction]], list[Fraction]]:
    """The composition of affine layers in rational arithmetic: matrix and bias."""
    matrix = [[Fraction(int(i == j)) for j in range(width)] for i in range(width)]
    bias = [Fraction(0)] * width
    for layer in run:
        if isinstance(layer, Affine):
            rows = [[Fraction(float(v)) for v in row] for row in layer.weight]
            shift = [Fraction(float(v)) for v in layer.bias]
        else:
            assert isinstance(layer, Diagonal)
            scale = [Fraction(float(f)) / Fraction(float(g)) for f, g in zip(layer.factor, layer.divisor, strict=True)]
            rows = [[scale[i] if i == j else Fraction(0) for j in range(len(scale))] for i in range(len(scale))]
            shift = [Fraction(float(v)) for v in layer.shift]
        matrix = [[sum((r[k] * matrix[k][j] for k in range(len(r))), Fraction(0)) for j in range(width)] for r in rows]
        bias = [sum((r[k] * bias[k] for k in range(len(r))), s) for r, s in zip(rows, shift, strict=True)]
    return matrix, bias


def runs_of(net: ReluNetwork) -> list[list[Layer]]:
    """The affine layers between ReLUs."""
    out: list[list[Layer]] = [[]]
    for layer in layers_of(net):
        if isinstance(layer, Relu):
            out.append([])
        else:
            out[-1].append(layer)
    return out


def covered(block: Block, run: Sequence[Layer]) -> None:
    matrix, bias = exact_map(run, block.weight.shape[1])
    for i, row in enumerate(matrix):
        for j, want in enumerate(row):
            assert abs(Fraction(float(block.weight[i, j])) - want) <= Fraction(float(block.weight_error[i, j]))
        assert abs(Fraction(float(block.bias[i])) - bias[i]) <= Fraction(float(block.bias_error[i]))


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if name != "image-input" and "twice" not in name]
)
def test_error_terms_cover_the_rational_composition(tmp_path: Path, name: str) -> None:
    nodes, constants, shape, opset, _ = CASES[name]
    net = loaded(tmp_path, build_model(nodes, constants, shape, opset=opset))
    runs = runs_of(net)
    assert len(fused_blocks(net)) == len(runs)
    for block, run in zip(fused_blocks(net), runs, strict=True):
        covered(block, run)


@pytest.mark.parametrize("seed", range(5))
def test_error_terms_on_random_runs(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    constants: dict[str, np.ndarray] = {}
    nodes, current, width = [], "x", 3
    for k in range(8):
        op = str(rng.choice(["Gemm", "Add", "Sub", "Mul", "Div", "Relu"]))
        wide = int(rng.integers(2, 5))
        scale = 10.0 ** rng.integers(-6, 7)
        constants[f"c{k}"] = scale * rng.normal(size=(width, wide) if op == "Gemm" else (width,))
        inputs = [current] if op == "Relu" else [current, f"c{k}"]
        extra = {"alpha": 0.1} if op == "Gemm" else {}
        nodes.append(node(op, inputs, [f"t{k}"], **extra))
        current, width = f"t{k}", wide if op == "Gemm" else width
    nodes.append(node("Identity", [current], ["y"]))
    net = loaded(tmp_path, build_model(nodes, constants, ["N", 3], dtype=np.float64))
    h = [Fraction(v) for v in (0.5, -1.25, 3.0)]
    for k, run in enumerate(runs_of(net)):
        matrix, bias = exact_map(run, len(h))
        h = [max(v, Fraction(0)) for v in h] if k else h
        h = [sum((a * b for a, b in zip(row, h, strict=True)), c) for row, c in zip(matrix, bias, strict=True)]
    got = net.forward(np.array([[0.5, -1.25, 3.0]]))[0]
    np.testing.assert_allclose(got, [float(v) for v in h], rtol=1e-9)
    merged = [run for k, run in enumerate(runs_of(net)) if run or k == 0 or k == len(runs_of(net)) - 1]
    for block, run in zip(fused_blocks(net), merged, strict=True):
        covered(block, run)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gemm_scales_are_exact(tmp_path: Path, dtype: Any) -> None:
    weight, c = numbers(3, 2, dtype=dtype), numbers(2, seed=5, dtype=dtype)
    alpha, beta = float(np.float32(0.1)), float(np.float32(0.3))
    nodes = [node("Gemm", ["x", "W", "C"], ["y"], alpha=alpha, beta=beta)]
    net = loaded(tmp_path, build_model(nodes, {"W": weight, "C": c}, ["N", 3], dtype=dtype))
    matrix, bias = exact_map(layers_of(net), 3)
    for j in range(2):
        assert matrix[j] == [Fraction(alpha) * Fraction(float(weight[i, j])) for i in range(3)]
        assert bias[j] == Fraction(beta) * Fraction(float(c[j]))


def test_division_is_exact(tmp_path: Path) -> None:
    c = np.array([3.0, 7.0, 0.1], dtype=np.float32)
    nodes = [node("Sub", ["x", "c"], ["a"]), node("Div", ["a", "c"], ["y"])]
    net = loaded(tmp_path, build_model(nodes, {"c": c}, ["N", 3]))
    matrix, bias = exact_map(layers_of(net), 3)
    assert [matrix[k][k] for k in range(3)] == [1 / Fraction(float(v)) for v in c]
    assert bias == [Fraction(-1)] * 3


def test_batch_normalization_multiplier_is_the_nearest_double(tmp_path: Path) -> None:
    nodes, constants, shape, opset, _ = CASES["batch-normalization-9"]
    net = loaded(tmp_path, build_model(nodes, constants, shape, opset=opset))
    assert "BatchNormalization" in net.notices[0]
    factor = next(layer for layer in layers_of(net) if isinstance(layer, Diagonal) and (layer.factor != 1).any()).factor
    epsilon = Fraction(float(np.float32(1e-5)))
    for k in range(3):
        spread = Fraction(float(constants["v"][k])) + epsilon
        target = Fraction(float(constants["s"][k])) ** 2 / spread
        below, above = (Fraction(np.nextafter(factor[k], side)) for side in (0.0, np.copysign(np.inf, factor[k])))
        here = Fraction(float(factor[k]))
        assert ((here + below) / 2) ** 2 <= target <= ((here + above) / 2) ** 2


# --- what is refused


def broken(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = build_model([node("Gemm", ["x", "W", "B"], ["y"], name="g")], {"W": W, "B": B}, ["N", 4])
    change(model)
    return model


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def resized(*dims: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].ClearField("dims")
        model.graph.initializer[0].dims.extend(dims)

    return change


def replaced(k: int, array: np.ndarray) -> Callable[[onnx.ModelProto], object]:
    return lambda model: model.graph.initializer[k].CopyFrom(numpy_helper.from_array(array, "WB"[k]))


def tensor_info(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4])


def reshaped_input(*shape: Any) -> Callable[[onnx.ModelProto], object]:
    return lambda model: model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))


MODEL_REFUSALS: dict[str, tuple[Callable[[onnx.ModelProto], object], tuple[str, ...]]] = {
    "external data": (external, ("initializer 'W'", "another file", "not opened unasked", "--external-data")),
    "claims more": (resized(4000, 6), ("initializer 'W'", "24 are stored")),
    "claims too much": (resized(2**40, 6), ("initializer 'W'", "2^31")),
    "zero size": (resized(0, 6), ("initializer 'W'", "[0, 6]")),
    "negative size": (resized(-4, 6), ("initializer 'W'", "[-4, 6]")),
    "many axes": (resized(*[1] * 100), ("initializer 'W'", "100 axes")),
    "nan": (replaced(0, np.where(np.arange(24).reshape(4, 6) == 8, np.nan, W)), ("'W'", "nan", "[1, 2]")),
    "inf": (replaced(1, np.full(6, np.inf, dtype=np.float32)), ("'B'", "inf", "[0]")),
    "float8": (
        lambda m: setattr(m.graph.initializer[0], "data_type", TensorProto.FLOAT8E5M2),
        ("initializer 'W'", "FLOAT8E5M2", "FLOAT, DOUBLE, FLOAT16 and BFLOAT16"),
    ),
    "bfloat16 of four bytes": (
        lambda m: setattr(m.graph.initializer[0], "data_type", TensorProto.BFLOAT16),
        ("'W'", "48 are stored"),
    ),
    "unknown type": (lambda m: setattr(m.graph.initializer[0], "data_type", 999), ("'W'", "number 999")),
    "mixed types": (replaced(0, W.astype(np.float64)), ("'g' (Gemm)", "float64", "float32")),
    "integer weights": (replaced(0, W.astype(np.int64)), ("'g' (Gemm)", "int64")),
    "sparse": (lambda m: m.graph.sparse_initializer.add(), ("sparse",)),
    "functions": (lambda m: m.functions.add(name="f", domain="d"), ("functions",)),
    "second output": (lambda m: m.graph.output.append(tensor_info("g2")), ("2 outputs", "'g2'")),
    "second input": (lambda m: m.graph.input.append(tensor_info("x2")), ("2 inputs", "'x2'")),
    "no input": (lambda m: m.graph.ClearField("input"), ("0 inputs",)),
    "no nodes": (lambda m: m.graph.ClearField("node"), ("empty graph",)),
    "symbolic feature": (reshaped_input("N", "M"), ("input 'x'", "symbolic")),
    "symbolic vector": (reshaped_input("N"), ("input 'x'", "symbolic")),
    "scalar input": (reshaped_input(), ("input 'x'", "axes")),
    "empty input": (reshaped_input("N", 0), ("input 'x'", "features")),
    "huge input": (reshaped_input("N", 2**40), ("input 'x'", "2^20")),
    "no shape": (lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"), ("input 'x'", "shape")),
    "integer input": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 7), ("input 'x'", "INT64")),
    "bytes in arithmetic": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.UINT8),
        ("'g' (Gemm)", "uint8", "a Cast"),
    ),
    "old operators": (lambda m: setattr(m.opset_import[0], "version", 1), ("operator set version 1", "6 to")),
    "new operators": (lambda m: setattr(m.opset_import[0], "version", 99), ("operator set version 99",)),
    "no operator set": (lambda m: m.ClearField("opset_import"), ("operator set version none",)),
    "domain": (lambda m: setattr(m.graph.node[0], "domain", "com.microsoft"), ("'g' (Gemm)", "com.microsoft")),
    "attribute": (lambda m: m.graph.node[0].attribute.add(name="gamma", type=1), ("'g' (Gemm)", "'gamma'", "alpha")),
    "attribute type": (lambda m: m.graph.node[0].attribute.add(name="alpha", type=2), ("'g' (Gemm)", "alpha")),
    "undefined tensor": (lambda m: m.graph.node[0].input.__setitem__(0, "ghost"), ("'g' (Gemm)", "'ghost'")),
    "other output": (lambda m: setattr(m.graph.output[0], "name", "ghost"), ("output 'ghost'", "no node gives")),
    "same initializer twice": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), ("'W'", "twice")),
    "output overwrites": (lambda m: m.graph.node[0].output.__setitem__(0, "W"), ("output 'y'", "no node gives")),
    "wrong width": (reshaped_input("N", 5), ("'g' (Gemm)", "4 numbers", "[1, 5]")),
}


@pytest.mark.parametrize("name", MODEL_REFUSALS)
def test_refused_models(tmp_path: Path, name: str) -> None:
    change, words = MODEL_REFUSALS[name]
    refused(tmp_path, broken(change), *words)


TWO = np.array([1.0, 2.0], dtype=np.float32)
NODE_REFUSALS: dict[str, tuple[Sequence[onnx.NodeProto], Mapping[str, Any], Sequence[Any], int, tuple[str, ...]]] = {
    "curved": (
        [node("Atan", ["x"], ["y"], name="s")],
        {},
        [1, 2],
        13,
        ("'s' (Atan)", "curved", "piecewise-linear functions are answered exactly", "LeakyRelu"),
    ),
    "unknown": (
        [node("Det", ["x"], ["y"], name="s")],
        {},
        [1, 2],
        13,
        ("'s' (Det)", "accepted are Abs, Add, ", "behind the scores ArgMax, LogSoftmax"),
    ),
    "unnamed": ([node("Conv", ["x", "c"], ["y"])], {"c": TWO}, [1, 2], 13, ("node #0 with output 'y' (Conv)",)),
    "line break": ([node("Si\ng", ["x"], ["y"], name="a\nb")], {}, [1, 2], 13, (r"a\nb", r"Si\ng")),
    "subgraph": ([node("If", ["x"], ["y"], name="i")], {}, [1, 2], 13, ("'i' (If)",)),
    "mask used": (
        [node("Dropout", ["x"], ["a", "mask"], name="d"), node("Add", ["a", "mask"], ["y"])],
        {},
        [1, 2],
        13,
        ("'d' (Dropout)", "'mask'"),
    ),
    "training dropout": (
        [node("Dropout", ["x", "", "t"], ["y"], name="d")],
        {"t": np.array(True)},
        [1, 2],
        13,
        ("'d' (Dropout)", "training"),
    ),
    "old dropout": ([node("Dropout", ["x"], ["y"], name="d")], {}, [1, 2], 6, ("'d' (Dropout)", "training")),
    "training batch normalization": (
        [node("BatchNormalization", ["x", "c", "c", "c", "c"], ["y"], name="b", training_mode=1)],
        {"c": TWO},
        [1, 2],
        15,
        ("'b' (BatchNormalization)", "training"),
    ),
    "negative variance": (
        [node("BatchNormalization", ["x", "c", "c", "c", "v"], ["y"], name="b")],
        {"c": TWO, "v": -TWO},
        [1, 2],
        15,
        ("'b' (BatchNormalization)", "channel 0"),
    ),
    "batch normalization channels": (
        [node("BatchNormalization", ["x", "c", "c", "c", "c"], ["y"], name="b")],
        {"c": TWO},
        [1, 3],
        15,
        ("'b' (BatchNormalization)", "[3]"),
    ),
    "enlarged": ([node("Add", ["x", "c"], ["y"], name="a")], {"c": TWO[:, None]}, [1, 2], 13, ("'a' (Add)", "[2, 1]")),
    "enlarged batch": ([node("Mul", ["x", "c"], ["y"], name="m")], {"c": numbers(3, 2)}, [1, 2], 13, ("'m' (Mul)",)),
    "no broadcast": ([node("Add", ["x", "c"], ["y"], name="a")], {"c": numbers(3)}, [1, 2], 13, ("'a' (Add)", "[3]")),
    "division by zero": ([node("Div", ["x", "c"], ["y"], name="d")], {"c": 0 * TWO}, [1, 2], 13, ("'d' (Div)", "zero")),
    "reciprocal": ([node("Div", ["c", "x"], ["y"], name="d")], {"c": TWO}, [1, 2], 13, ("'d' (Div)", "affine")),
    "rows of other numbers": (
        [node("MatMul", ["x", "W"], ["y"], name="m")],
        {"W": W},
        [1, 4, 3],
        13,
        ("'m' (MatMul)", "4 numbers", "[1, 4, 3]"),
    ),
    "stacked": ([node("MatMul", ["x", "W"], ["y"], name="m")], {"W": numbers(2, 4, 3)}, [1, 4], 13, ("'m' (MatMul)",)),
    "gemm rank": ([node("Gemm", ["x", "W"], ["y"], name="g")], {"W": W}, [4], 13, ("'g' (Gemm)", "two axes")),
    "gemm C": ([node("Gemm", ["x", "W", "C"], ["y"], name="g")], {"W": W, "C": W}, [1, 4], 13, ("C of shape [4, 6]",)),
    "gemm active C": (
        [node("Gemm", ["W", "V", "x"], ["y"], name="g")],
        {"W": numbers(1, 4), "V": W},
        [1, 6],
        13,
        ("'g' (Gemm)", "input C"),
    ),
    "flatten axis": ([node("Flatten", ["x"], ["y"], name="f", axis=3)], {}, [1, 4], 13, ("'f' (Flatten)", "axis 3")),
    "reshape size": (
        [node("Reshape", ["x", "s"], ["y"], name="r")],
        {"s": ints(3, -1)},
        [1, 4],
        13,
        ("'r' (Reshape)", "4 numbers"),
    ),
    "reshape zero": (
        [node("Reshape", ["x", "s"], ["y"], name="r", allowzero=1)],
        {"s": ints(0, 4)},
        [1, 4],
        14,
        ("'r' (Reshape)",),
    ),
    "reshape two unknown": (
        [node("Reshape", ["x", "s"], ["y"], name="r")],
        {"s": ints(-1, -1)},
        [1, 4],
        13,
        ("'r' (Reshape)",),
    ),
    "squeeze wide": (
        [node("Squeeze", ["x", "a"], ["y"], name="q")],
        {"a": ints(1)},
        [1, 4],
        13,
        ("'q' (Squeeze)", "size 1"),
    ),
    "squeeze old form": (
        [node("Squeeze", ["x"], ["y"], name="q", axes=[0])],
        {},
        [1, 4],
        13,
        ("'q' (Squeeze)", "'axes'"),
    ),
    "unsqueeze twice": (
        [node("Unsqueeze", ["x", "a"], ["y"], name="u")],
        {"a": ints(0, 0)},
        [4],
        13,
        ("'u' (Unsqueeze)", "twice"),
    ),
    "transpose": ([node("Transpose", ["x"], ["y"], name="t", perm=[0, 0])], {}, [1, 4], 13, ("'t' (Transpose)",)),
    "cast to integer": (
        [node("Cast", ["x"], ["y"], name="c", to=TensorProto.INT64)],
        {},
        [1, 4],
        13,
        ("'c' (Cast)", "INT64"),
    ),
    "cast of parts": (
        [node("Cast", ["d"], ["c"], name="c", to=TensorProto.INT64), node("Add", ["x", "c"], ["y"])],
        {"d": np.array([0.1])},
        [1, 4],
        13,
        ("'c' (Cast)", "changes its numbers"),
    ),
    "constant product": (
        [node("MatMul", ["c", "c"], ["d"], name="k"), node("Add", ["x", "d"], ["y"])],
        {"c": TWO},
        [1, 2],
        13,
        ("'k' (MatMul)", "constants only"),
    ),
    "constant without value": (
        [node("Constant", [], ["c"], name="k"), node("Add", ["x", "c"], ["y"])],
        {},
        [1, 2],
        13,
        ("'k' (Constant)", "value"),
    ),
    "constant text": (
        [node("Constant", [], ["c"], name="k", value_string="a"), node("Add", ["x", "c"], ["y"])],
        {},
        [1, 2],
        13,
        ("'k' (Constant)", "'value_string'"),
    ),
    "constant nan": (
        [node("Constant", [], ["c"], name="k", value_floats=[float("nan")]), node("Add", ["x", "c"], ["y"])],
        {},
        [1, 2],
        13,
        ("'k' (Constant)", "nan"),
    ),
    "too few inputs": ([node("Add", ["x"], ["y"], name="a")], {}, [1, 2], 13, ("'a' (Add)", "1 inputs")),
}


@pytest.mark.parametrize("name", NODE_REFUSALS)
def test_refused_nodes(tmp_path: Path, name: str) -> None:
    nodes, constants, shape, opset, words = NODE_REFUSALS[name]
    refused(tmp_path, build_model(nodes, constants, shape, opset=opset), *words)


JOINED: dict[str, tuple[list[onnx.NodeProto], list[int]]] = {
    "skip": ([node("Relu", ["x"], ["a"]), node("Add", ["a", "x"], ["y"])], [1, 4]),
    "doubled": ([node("Add", ["x", "x"], ["y"])], [1, 4]),
    "nothing": ([node("Relu", ["x"], ["a"]), node("Sub", ["a", "a"], ["b"]), node("Relu", ["b"], ["y"])], [1, 4]),
    "three": ([node("Relu", ["x"], ["a"]), node("Sum", ["a", "x", "a"], ["y"])], [1, 4]),
    "side output": ([node("Relu", ["x"], ["y"]), node("Relu", ["y"], ["z"])], [1, 4]),
    "positive part less": ([node("Relu", ["x"], ["a"]), node("Sub", ["x", "a"], ["y"])], [1, 4]),
    "turned": (
        [
            node("Transpose", ["x"], ["t"]),
            node("Relu", ["x"], ["a"]),
            node("Sub", ["a", "t"], ["b"]),
            node("Relu", ["b"], ["y"]),
        ],
        [1, 1],
    ),
    "square turned": (
        [node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("Relu", ["x"], ["a"]), node("Sub", ["a", "t"], ["y"])],
        [1, 2, 2],
    ),
    "broadcast": (
        [node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("Relu", ["t"], ["a"]), node("Add", ["x", "a"], ["y"])],
        [1, 1, 3],
    ),
    "concatenated": ([node("Relu", ["x"], ["a"]), node("Concat", ["x", "C", "a"], ["y"], axis=1)], [1, 4]),
    "concatenated with itself": ([node("Concat", ["x", "x"], ["a"], axis=-1), node("Relu", ["a"], ["y"])], [1, 2, 2]),
}


@pytest.mark.parametrize("name", JOINED)
def test_several_computed_tensors(tmp_path: Path, name: str) -> None:
    nodes, shape = JOINED[name]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, {"C": numbers(1, 3)}, shape))
    net = load_network(path)
    points = np.random.default_rng(7).normal(size=(20, net.n_inputs)).astype(np.float32).astype(np.float64)
    want = outside(path, points)
    for got in (net.forward(points), net.canonical.forward(points), net.forward_float32(points)):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def test_joined_tensors_have_to_fit(tmp_path: Path) -> None:
    turned = node("Transpose", ["x"], ["t"], perm=[0, 2, 1])
    for last in (node("Concat", ["x", "t"], ["y"], name="j", axis=1), node("Concat", ["x"], ["y"], name="j", axis=3)):
        refused(tmp_path, build_model([turned, last], {}, [1, 2, 3]), "'j' (Concat)", "shapes")
    refused(
        tmp_path,
        build_model([turned, node("Add", ["x", "t"], ["y"], name="j")], {}, [1, 2, 3]),
        "'j' (Add)",
        "broadcast",
    )
    product = [node("Relu", ["x"], ["r"]), node("Mul", ["x", "r"], ["y"], name="j")]
    refused(tmp_path, build_model(product, {}, [1, 2]), "'j' (Mul)", "multiplies two computed tensors")


def test_wide_vectors_need_no_matrix(tmp_path: Path) -> None:
    """A ReLU or a permutation of many numbers is kept as what it is."""
    model = build_model(
        [node("Relu", ["x"], ["h"]), node("Transpose", ["h"], ["y"], perm=[0, 2, 1])], {}, [1, 100, 100]
    )
    net = loaded(tmp_path, model)
    x = np.random.default_rng(0).normal(size=(2, 10000))
    want = np.maximum(x, 0).reshape(2, 100, 100).transpose(0, 2, 1).reshape(2, 10000)
    np.testing.assert_array_equal(net.forward(x), want)
    np.testing.assert_array_equal(net.canonical.forward(x), want)
    assert (
        sum(
            n.size for part in net.canonical.nodes if isinstance(part, AffineNode) for m in part.maps for n in m.numbers
        )
        == 0
    )


def test_nodes_in_any_order(tmp_path: Path) -> None:
    nodes, constants, shape, opset, _ = CASES["normalise-inside"]
    straight, turned = (
        loaded(tmp_path, build_model(some, constants, shape, opset=opset)) for some in (nodes, nodes[::-1])
    )
    points = numbers(5, 12).astype(np.float64)
    np.testing.assert_array_equal(straight.forward(points), turned.forward(points))


@pytest.mark.parametrize("code", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
@pytest.mark.parametrize("raw", [True, False])
def test_weights_of_two_bytes_are_the_real_numbers_they_are(tmp_path: Path, code: int, raw: bool) -> None:
    bits = np.arange(0, 2**15, 1366, dtype=np.uint16)[:16].reshape(4, 4)
    want = bits.view(np.float16).astype(np.float32)
    if code == TensorProto.BFLOAT16:
        want = (bits.astype(np.uint32) << 16).view(np.float32)
    model = build_model([node("MatMul", ["x", "W"], ["y"])], {}, ["N", 4])
    tensor = TensorProto(name="W", data_type=code, dims=[4, 4])
    if raw:
        tensor.raw_data = bits.astype("<u2").tobytes()
    else:
        tensor.int32_data.extend(bits.ravel().tolist())
    model.graph.initializer.append(tensor)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = code
    net = loaded(tmp_path, model)
    (weight,) = [map_ for part in net.graph.nodes if isinstance(part, AffineNode) for map_ in part.maps]
    np.testing.assert_array_equal(weight.numbers[0], want.T)
    assert len(net.notices) == 1
    assert "real numbers they are" in net.notices[0]


def test_half_precision_inside_a_float32_graph(tmp_path: Path) -> None:
    nodes = [
        node("Cast", ["x"], ["h"], name="down", to=TensorProto.FLOAT16),
        node("MatMul", ["h", "W"], ["m"]),
        node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, {"W": W.astype(np.float16)}, [1, 4]))
    net = load_network(path)
    agrees(path, net, tolerance=4e-3)
    assert [word in notice for word, notice in zip(("FLOAT16", "'down'"), net.notices, strict=True)] == [True, True]


def test_numbers_are_rounded_to_two_bytes_to_the_nearest_ties_to_even() -> None:
    near = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-9, 3.0, 0.0], np.float32)
    want = [1, 1 + 2**-6, 1 + 2**-7, -1, 3, 0]
    np.testing.assert_array_equal(rounded_to(near, TensorProto.BFLOAT16), want)
    near = np.array([1 + 2**-11, 1 + 3 * 2**-11, -(2.0**-25), 3 * 2.0**-25], np.float64)
    np.testing.assert_array_equal(rounded_to(near, TensorProto.FLOAT16), [1, 1 + 2**-9, 0, 2.0**-23])


def test_an_input_of_bytes(tmp_path: Path) -> None:
    model = build_model(
        [node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), node("MatMul", ["f", "W"], ["y"])], {"W": W}, [1, 4]
    )
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    path = write_model(tmp_path / "net.onnx", model)
    net = load_network(path)
    points = np.random.default_rng(0).integers(256, size=(9, 4), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(path))
    want = np.array([session.run(None, {"x": p[None]})[0].ravel() for p in points])
    np.testing.assert_allclose(net.forward(points.astype(np.float64)), want, rtol=1e-5, atol=1e-3)
    assert "UINT8" in net.notices[0]


@pytest.mark.parametrize(("activation", "extra"), [("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.25})])
def test_a_gemm_that_onnxruntime_fused(tmp_path: Path, activation: str, extra: dict[str, float]) -> None:
    fused = node("FusedGemm", ["x", "W", "B"], ["y"], domain="com.microsoft", activation=activation, **extra)
    model = build_model([fused], {"W": W, "B": B}, ["N", 4])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    path = write_model(tmp_path / "net.onnx", model)
    points = np.random.default_rng(7).uniform(-2, 2, size=(20, 4)).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(load_network(path).forward(points), outside(path, points), atol=1e-5)


def test_arithmetic_on_constants_is_told_where_it_rounds(tmp_path: Path) -> None:
    def notices(op: str, **constants: np.ndarray) -> tuple[str, ...]:
        nodes = [node(op, list(constants), ["c"], name="k"), node("Mul", ["x", "c"], ["y"])]
        return loaded(tmp_path, build_model(nodes, constants, [1, 2])).notices

    third = np.array([1 / 3, 0.1], np.float32)
    for op, constants in {
        "Add": {"a": third, "b": 1000 * TWO},
        "Sub": {"a": third, "b": 1000 * TWO},
        "Mul": {"a": third, "b": third},
        "Div": {"a": third, "b": np.array([3.0, 7.0], np.float32)},
        "Sqrt": {"a": third},
    }.items():
        (said,) = notices(op, **constants)
        assert "'k'" in said
        assert "float32" in said
    for op, constants in {
        "Add": {"a": TWO, "b": third[::-1] * 0 + 3},
        "Sub": {"a": third, "b": third},
        "Mul": {"a": third, "b": TWO},
        "Div": {"a": third, "b": TWO},
        "Sqrt": {"a": TWO * TWO},
        "Neg": {"a": third},
        "Max": {"a": third, "b": TWO},
    }.items():
        assert notices(op, **constants) == ()


def test_operator_set_6(tmp_path: Path) -> None:
    nodes = [
        node("Dropout", ["x"], ["a"], is_test=1),
        node("Add", ["a", "c"], ["b"], broadcast=1, axis=1),
        node("Mul", ["b", "d"], ["y"], broadcast=1),
    ]
    c, d = numbers(3), numbers(2, seed=4)
    net = loaded(tmp_path, build_model(nodes, {"c": c, "d": d}, [1, 3, 2], opset=6))
    x = numbers(3, 2).astype(np.float64)
    np.testing.assert_array_equal(net.forward(x.reshape(1, 6))[0], ((x + c[:, None]) * d).ravel())
    nodes = [node("Add", ["x", "c"], ["y"], name="a")]
    refused(tmp_path, build_model(nodes, {"c": d}, [1, 3, 2], opset=6), "'a' (Add)", "[2]")


@pytest.mark.parametrize("data", [b"", b"\x00" * 64, b"not a network", b"\xff" * 1000, b"\x08\x08"])
def test_garbage_is_refused(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path, data)


def test_missing_files_and_directories_are_refused(tmp_path: Path) -> None:
    for path, word in ((tmp_path / "none.onnx", "no such file"), (tmp_path, "directory"), ("a\0b", "no such file")):
        with pytest.raises(NetworkError, match=word) as caught:
            load_network(path)
        assert str(caught.value).isprintable()


def attempt(path: Path) -> ReluNetwork | str:
    """The network, or the text of the refusal; any other exception is an error."""
    try:
        return load_network(path)
    except NetworkError as error:
        return str(error)


def test_every_truncation_is_refused_or_read(tmp_path: Path) -> None:
    whole = write_mlp(tmp_path / "whole.onnx", [(W.T, B), (numbers(3, 6), numbers(3))]).read_bytes()
    reference = load_network(tmp_path / "whole.onnx").forward(np.ones((1, 4)))
    path = tmp_path / "cut.onnx"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        got = attempt(path)
        if isinstance(got, str):
            assert got.isprintable()
        else:
            np.testing.assert_array_equal(got.forward(np.ones((1, 4))), reference)


def test_damaged_bytes_never_escape_as_another_exception(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "whole.onnx", build_model(*CASES["normalise-inside"][:3])).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.onnx"
    refusals: list[str] = []
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        path.write_bytes(bytes(data))
        got = attempt(path)
        refusals += [got] if isinstance(got, str) else []
    assert len(refusals) > 50
    assert all(text.isprintable() for text in refusals)


def test_found_by_a_hostile_reading(tmp_path: Path) -> None:
    """A fixed batch that a Flatten mixes, a policy of Resize that is not read, vectors times vectors, a ReLU beside its own."""
    mixed = [
        node("Flatten", ["x"], ["f"], name="m", axis=-2),
        node("ReduceMax", ["f"], ["r"], axes=[1]),
        node("Sub", ["f", "r"], ["y"]),
    ]
    refused(tmp_path, build_model(mixed, {}, [2, 3]), "'m' (Flatten)", "fixed batch")
    keep = node(
        "Resize",
        ["x", "", "", "s"],
        ["y"],
        name="k",
        mode="nearest",
        nearest_mode="floor",
        keep_aspect_ratio_policy="not_larger",
    )
    keep.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
    refused(tmp_path, build_model([keep], {"s": ints(1, 2, 3, 4)}, [1, 2, 3, 2], opset=18), "'k' (Resize)", "stretch")
    vectors = write_model(
        tmp_path / "vectors.onnx", build_model([node("MatMul", ["W", "x"], ["y"])], {"W": numbers(4)}, [4])
    )
    net = load_network(vectors)
    np.testing.assert_allclose(net.forward(np.eye(4))[:, 0], numbers(4), rtol=1e-6)
    beside = [node("Relu", ["x"], ["r"]), node("Relu", ["r"], ["q"]), node("Concat", ["r", "q"], ["y"], axis=1)]
    path = write_model(tmp_path / "beside.onnx", build_model(beside, {}, ["N", 3]))
    points = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(load_network(path).canonical.forward(points), outside(path, points))


def test_tensors_without_end_are_refused(tmp_path: Path) -> None:
    doubled = [node("Concat", [f"a{k}" if k else "x"] * 2, [f"a{k + 1}"], axis=1) for k in range(40)]
    last = node("Slice", ["a40", "from", "to", "axis"], ["y"])
    small = {"from": ints(0), "to": ints(3), "axis": ints(1)}
    refused(tmp_path, build_model([*doubled, last], small, ["N", 3]), "would take more than")
    spread = [node("Expand", ["x", "shape"], ["y"])]
    refused(tmp_path, build_model(spread, {"shape": ints(1, 4096, 4096)}, ["N", 1, 1]), "repeated")
