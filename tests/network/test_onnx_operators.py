"""Convolutions, pools, piecewise-linear functions, selections, reductions and constants against onnxruntime; what is refused of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from builders import build_model, write_model
from network.operators import IMAGE, OPERATIONS, Case, K, S, ints, make, numbers, one

from wdaverify.errors import NetworkError
from wdaverify.graph.nodes import Affine
from wdaverify.network.onnx_reader import load_network

onnxruntime.set_default_logger_severity(4)


def outside(path: Path, points: np.ndarray) -> np.ndarray:
    """Outputs of onnxruntime, one point at a time, with nothing fused or folded."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    shape = [d if isinstance(d, int) else 1 for d in source.shape]
    return np.array([session.run(None, {source.name: p.reshape(shape).astype(np.float32)})[0].ravel() for p in points])


@pytest.mark.parametrize("name", OPERATIONS)
def test_agrees_with_onnxruntime(tmp_path: Path, name: str) -> None:
    nodes, constants, shape, opset = OPERATIONS[name]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, constants, shape, opset=opset))
    net = load_network(path)
    points = np.random.default_rng(7).uniform(-2, 2, size=(20, net.n_inputs)).astype(np.float32).astype(np.float64)
    want = outside(path, points)
    size = max(1.0, float(np.abs(want).max()))
    for got in (net.forward(points), net.canonical.forward(points), net.forward_float32(points)):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * size)
    assert all(node.function.is_relu for node in (net.canonical.nodes[k] for k in net.canonical.elementwise))


REFUSED: dict[str, tuple[Case, tuple[str, ...]]] = {
    "blocks of a row": (one("DepthToSpace", ["N", 8], 13, blocksize=2), ("blocksize 2", "[N, C, H, W]")),
    "blocks of channels": (one("DepthToSpace", ["N", 6, 2, 2], 13, blocksize=2), ("6 channels", "(DepthToSpace)")),
    "blocks of places": (one("SpaceToDepth", ["N", 1, 3, 4], 13, blocksize=2), ("does not divide", "[1, 1, 3, 4]")),
    "blocks in another order": (
        one("DepthToSpace", ["N", 4, 2, 2], 13, blocksize=2, mode="RDC"),
        ("'RDC'", "DCR, CRD"),
    ),
    "the largest of nothing": (
        (
            [make("ReduceMax", ["c"], ["m"], keepdims=0), make("Add", ["x", "m"], ["y"])],
            {"c": np.zeros(0, np.float32)},
            ["N", 3],
            13,
        ),
        ("(ReduceMax)", "a list of nothing"),
    ),
    "nothing resized": (
        (
            [make("Resize", ["c", "", "", "s"], ["m"], mode="nearest"), make("Add", ["x", "m"], ["y"])],
            {"c": np.zeros(0, np.float32), "s": ints(3)},
            ["N", 3],
            13,
        ),
        ("(Resize)", "a list of nothing"),
    ),
    "factors without end": (
        one("Upsample", ["N", 2, 3, 2], 7, scales=[1.0, 1.0, float("inf"), 2.0]),
        ("factors [1.0, 1.0, inf, 2.0]", "a constant whole one"),
    ),
    "the shape of nothing": (
        ([make("Shape", [""], ["s"]), make("Reshape", ["x", "s"], ["y"])], {}, ["N", 3], 13),
        ("(Shape)", "its input is left out"),
    ),
    "a list of nothing": (one("Add", ["N", 3], 13, {"c": np.zeros(0, np.float32)}), ("shape [0]", "broadcast")),
    "conv of a volume": (
        one("Conv", [1, 2, 3, 3, 3], 13, {"K": numbers(1, 2, 2, 2, 2)}),
        ("(Conv)", "[1, 2, 3, 3, 3]"),
    ),
    "conv of a vector": (one("Conv", [1, 4], 13, {"K": numbers(1, 4, 1)}), ("(Conv)", "[1, C, L]")),
    "conv channels": (
        one("Conv", IMAGE, 13, {"K": numbers(6, 3, 2, 2)}),
        ("kernel of shape [6, 3, 2, 2]", "4 channels"),
    ),
    "conv groups": (one("Conv", IMAGE, 13, {"K": numbers(5, 2, 2, 2)}, group=2), ("in 2 groups",)),
    "conv kernel shape": (one("Conv", IMAGE, 13, {"K": K}, kernel_shape=[3, 3]), ("kernel_shape [3, 3]",)),
    "conv bias": (one("Conv", IMAGE, 13, {"K": K, "B": numbers(5)}), ("bias of shape [5]", "[6]")),
    "conv too wide": (one("Conv", IMAGE, 13, {"K": numbers(1, 4, 8, 2)}), ("does not fit",)),
    "conv stride": (one("Conv", IMAGE, 13, {"K": K}, strides=[0, 1]), ("strides [0, 1]",)),
    "conv pads": (one("Conv", IMAGE, 13, {"K": K}, pads=[1, 1]), ("pads [1, 1]", "4 numbers")),
    "conv negative pads": (one("Conv", IMAGE, 13, {"K": K}, pads=[-1, 0, 0, 0]), ("pads [-1, 0, 0, 0]",)),
    "conv auto": (one("Conv", IMAGE, 13, {"K": K}, auto_pad="MOST"), ("'MOST'", "SAME_UPPER")),
    "conv same dilated": (
        one("Conv", IMAGE, 13, {"K": K}, auto_pad="SAME_UPPER", dilations=[2, 2]),
        ("auto_pad SAME_UPPER", "dilations [2, 2]"),
    ),
    "conv by what is computed": (
        ([make("Relu", ["x"], ["k"]), make("Conv", ["x", "k"], ["y"], name="c")], {}, [1, 1, 2, 2], 13),
        ("'c' (Conv)", "2 computed"),
    ),
    "conv of a constant": (
        one("Conv", [1, 1, 2, 2], 13, {"X": numbers(1, 1, 3, 3)}, first=""),
        ("(Conv)", "input 1", "first"),
    ),
    "transposed to a shape": (
        one("ConvTranspose", ["N", 4, 3, 2], 13, {"K": numbers(4, 5, 3, 2)}, output_shape=[6, 6]),
        ("output_shape", "output_padding"),
    ),
    "transposed same": (
        one("ConvTranspose", ["N", 4, 3, 2], 13, {"K": numbers(4, 5, 3, 2)}, auto_pad="SAME_UPPER"),
        ("'SAME_UPPER'", "VALID"),
    ),
    "transposed cut": (
        one("ConvTranspose", ["N", 4, 3, 2], 13, {"K": numbers(4, 5, 3, 2)}, pads=[3, 0, 0, 0]),
        ("pads [3, 0, 0, 0]",),
    ),
    "pool without kernel": (one("MaxPool", IMAGE, 13), ("kernel_shape is left out",)),
    "pool on the border": (
        one("MaxPool", IMAGE, 13, kernel_shape=[2, 2], pads=[2, 0, 0, 0]),
        ("nothing but the border",),
    ),
    "indices": (
        (
            [make("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], name="m"), make("Add", ["p", "i"], ["y"])],
            {},
            IMAGE,
            13,
        ),
        ("'m' (MaxPool)", "second output 'i'"),
    ),
    "dilated mean of old": (
        one("AveragePool", IMAGE, 18, kernel_shape=[2, 2], dilations=[2, 2]),
        ("'dilations' in operator set 18",),
    ),
    "border counted where windows reach over it": (
        one("AveragePool", IMAGE, 19, kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1),
        ("count_include_pad", "ceil_mode"),
    ),
    "global of a vector": (one("GlobalMaxPool", [1, 4], 13), ("[N, C, ...]",)),
    "jump": (one("ThresholdedRelu", S, 10, alpha=0.5), ("alpha is 0.5", "jumps")),
    "jump by default": (one("ThresholdedRelu", S, 10), ("alpha is 1", "jumps")),
    "clip turned": (one("Clip", S, 13, {"a": np.float32(1), "b": np.float32(0)}), ("bounds 1 and 0",)),
    "clip by many": (one("Clip", S, 13, {"a": numbers(4)}), ("min of shape [4]",)),
    "clip by what is computed": (
        ([make("ReduceMax", ["x"], ["m"], keepdims=0), make("Clip", ["x", "m"], ["y"])], {}, S, 13),
        ("(Clip)", "constant ones"),
    ),
    "prelu of what is computed": (
        ([make("Abs", ["x"], ["a"]), make("PRelu", ["x", "a"], ["y"])], {}, S, 13),
        ("(PRelu)", "constant ones"),
    ),
    "prelu slopes": (one("PRelu", S, 13, {"a": numbers(5)}), ("(PRelu)", "[5]")),
    "product of two": (
        ([make("Relu", ["x"], ["r"]), make("Mul", ["x", "r"], ["y"])], {}, S, 13),
        ("(Mul)", "multiplies two computed", "spells one function"),
    ),
    "product with itself": (([make("MatMul", ["x", "x"], ["y"])], {}, [1, 1], 13), ("(MatMul)", "2 computed")),
    "smaller of none that fit": (
        ([make("Transpose", ["x"], ["t"], perm=[0, 2, 1]), make("Min", ["x", "t"], ["y"])], {}, S, 13),
        ("(Min)", "broadcast"),
    ),
    "slice of nothing": (one("Slice", S, 13, {"s": ints(2), "e": ints(1), "a": ints(1)}), ("nothing is left",)),
    "slice by 0": (one("Slice", S, 13, {"s": ints(0), "e": ints(1), "a": ints(1), "t": ints(0)}), ("step of 0",)),
    "slice axis": (one("Slice", S, 13, {"s": ints(0), "e": ints(1), "a": ints(3)}), ("axes [3]",)),
    "slice axis twice": (one("Slice", S, 13, {"s": ints(0, 0), "e": ints(1, 1), "a": ints(1, -2)}), ("at most once",)),
    "slice lengths": (one("Slice", S, 13, {"s": ints(0, 1), "e": ints(1), "a": ints(1)}), ("differ in length",)),
    "slice by what is computed": (
        ([make("Slice", ["c", "x", "x"], ["y"])], {"c": numbers(4)}, S, 13),
        ("(Slice)", "2 computed"),
    ),
    "gather outside": (one("Gather", S, 13, {"i": ints(4)}, axis=2), ("indices outside axis 2",)),
    "gather by what is computed": (one("Gather", S, 13, {"c": numbers(4)}, first=""), ("(Gather)", "constant")),
    "expand to nothing": (one("Expand", S, 13, {"s": ints(1, 0, 4)}), ("shape [1, 0, 4]",)),
    "expand that does not fit": (one("Expand", S, 13, {"s": ints(1, 2, 4)}), ("do not broadcast",)),
    "tile": (one("Tile", S, 13, {"r": ints(1, 2)}), ("repeats [1, 2]",)),
    "negative pad": (one("Pad", S, 13, {"p": ints(0, 0, -1, 0, 0, 0)}), ("pads [0, 0, -1, 0, 0, 0]",)),
    "pad around": (one("Pad", S, 19, {"p": ints(0, 0, 1, 0, 0, 0)}, mode="wrap"), ("'wrap'", "reflect")),
    "pad reflected too far": (
        one("Pad", S, 13, {"p": ints(0, 3, 0, 0, 0, 0)}, mode="reflect"),
        ("more than there is",),
    ),
    "split sizes": (([make("Split", ["x", "s"], ["a", "y"], axis=1)], {"s": ints(1, 1)}, S, 13), ("parts [1, 1]",)),
    "split unequal": (([make("Split", ["x"], ["a", "y"], axis=1)], {}, S, 13), ("2 outputs", "equal parts")),
    "resize linear": (
        ([make("Resize", ["x", "", "s"], ["y"], mode="linear")], {"s": np.ones(3, np.float32)}, S, 13),
        ("'linear'", "nearest"),
    ),
    "resize by parts": (
        ([make("Resize", ["x", "", "s"], ["y"])], {"s": np.array([1, 1.5, 1], np.float32)}, S, 13),
        ("factors [1.0, 1.5, 1.0]", "whole"),
    ),
    "resize places": (
        (
            [make("Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="asymmetric")],
            {"s": np.array([1, 2, 2], np.float32)},
            S,
            13,
        ),
        ("nearest_mode", "'round_prefer_floor'", "floor"),
    ),
    "reduce axis": (one("ReduceSum", S, 13, {"a": ints(3)}), ("axes [3]",)),
    "reduce axis as an input of old": (one("ReduceMean", S, 13, {"a": ints(1)}), ("an attribute in operator set 13",)),
    "einsum trace": (one("Einsum", [1, 4], 12, {"W": numbers(4, 4)}, equation="bi,ii->b"), ("different letters",)),
    "einsum sum alone": (one("Einsum", S, 12, {"W": numbers(4, 5)}, equation="bij,jk->bk"), ("indices of the result",)),
    "einsum sizes": (one("Einsum", [1, 4], 12, {"W": numbers(3, 5)}, equation="bi,ij->bj"), ("sizes that agree",)),
    "einsum dots": (one("Einsum", [1, 4], 12, {"W": numbers(4, 5)}, equation="...i,ij->...j"), ("different letters",)),
    "where on what is computed": (
        (
            [make("Where", ["c", "x", "d"], ["y"])],
            {"c": np.array([True]), "d": numbers(4)},
            S,
            13,
        ),
        ("(Where)", "accepted are constants"),
    ),
    "division of integers by 0": (
        (
            [make("Div", ["a", "b"], ["c"]), make("Expand", ["x", "c"], ["y"])],
            {"a": ints(1, 3, 4), "b": ints(1, 0, 1)},
            S,
            13,
        ),
        ("(Div)", "divided by 0"),
    ),
    "integers too large": (
        ([make("Mul", ["a", "a"], ["c"]), make("Expand", ["x", "c"], ["y"])], {"a": ints(2**40)}, S, 13),
        ("(Mul)", "beyond int64"),
    ),
    "root of a negative": (
        ([make("Sqrt", ["a"], ["c"]), make("Add", ["x", "c"], ["y"])], {"a": -np.ones(4, np.float32)}, S, 13),
        ("(Sqrt)", "below 0"),
    ),
    "constants that overflow": (
        ([make("Mul", ["a", "a"], ["c"]), make("Add", ["x", "c"], ["y"])], {"a": np.full(4, 1e30, np.float32)}, S, 13),
        ("(Mul)", "inf"),
    ),
    "sums of one number too often": (
        ([make("Expand", ["x", "s"], ["e"]), make("Relu", ["e"], ["y"])], {"s": ints(1, 2**15)}, [1, 1], 13),
        ("32768 times", "16384"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_else_they_may_be_is_refused(tmp_path: Path, name: str) -> None:
    (nodes, constants, shape, opset), words = REFUSED[name]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, constants, shape, opset=opset))
    with pytest.raises(NetworkError) as caught:
        load_network(path)
    text = str(caught.value)
    assert text.isprintable()
    for word in words:
        assert word in text, text


def test_all_operators_that_are_not_accepted_are_named_at_once(tmp_path: Path) -> None:
    """Each with what it would need; what the output does not depend on is left out."""
    many = [
        "Tan",
        "Atan",
        "Log",
        "Cos",
        "Cosh",
        "Abs",
        "LayerNormalization",
        "Softmax",
        "Det",
        "LSTM",
        "Floor",
        "ArgMax",
    ]
    nodes = [make(op, [f"h{k}"], [f"h{k + 1}"], name=f"n{k}") for k, op in enumerate(many)]
    nodes += [
        make("Acos", ["x"], ["unused"]),
        make("QGemm", [f"h{len(many)}"], ["y"], name="q", domain="com.microsoft"),
    ]
    nodes[0].input[0] = "x"
    path = write_model(tmp_path / "net.onnx", build_model(nodes, {}, S))
    with pytest.raises(NetworkError) as caught:
        load_network(path)
    text = str(caught.value)
    for words in (
        "5 nodes, node 'n0' (Tan), node 'n1' (Atan), node 'n2' (Log), node 'n3' (Cos) and 1 more: curved",
        "node 'n6' (LayerNormalization): divides by",
        "node 'n7' (Softmax): exponentials",
        "node 'n8' (Det): not accepted; accepted are Abs, Add",
        "node 'n9' (LSTM): recurrent",
        "node 'n10' (Floor): moves in steps",
        "node 'n11' (ArgMax): accepted as the last operator",
        "node 'q' (QGemm) of domain 'com.microsoft': quantised",
    ):
        assert words in text, words
    assert "Acos" not in text
    assert text.isprintable()


def test_nodes_of_other_forms_are_named_beside_them(tmp_path: Path) -> None:
    """Attributes and numbers of inputs that are none of their operators', up to a number of nodes."""
    nodes = [
        make("Relu", ["x"], ["a"], name="odd", alpha=1.0),
        make("Tan", ["a"], ["b"], name="bent"),
        make("Add", ["b"], ["y"], name="lone"),
    ]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, {}, S))
    with pytest.raises(NetworkError) as caught:
        load_network(path)
    text = str(caught.value)
    for words in (
        "'bent' (Tan): curved",
        "'odd' (Relu): attribute 'alpha'",
        "'lone' (Add): 1 inputs; accepted are 2 to 2",
    ):
        assert words in text, text
    many = [make("Relu", [f"h{k}"], [f"h{k + 1}"], name=f"n{k}", alpha=1.0) for k in range(40)]
    many[0].input[0], many[-1].output[0] = "x", "y"
    path = write_model(tmp_path / "net.onnx", build_model(many, {}, S))
    with pytest.raises(NetworkError, match=r"and 28 more$"):
        load_network(path)


def test_a_final_softmax_over_rows_is_refused(tmp_path: Path) -> None:
    nodes = [make("MatMul", ["x", "W"], ["m"]), make("Softmax", ["m"], ["y"])]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, {"W": numbers(4, 5)}, S))
    with pytest.raises(NetworkError, match="class axis"):
        load_network(path)


def batched(*nodes: onnx.NodeProto, shape: Sequence[int] = (3, 4), opset: int = 13, **constants: np.ndarray) -> Case:
    return nodes, constants, shape, opset


BATCHES: dict[str, Case] = {
    "dense": batched(make("Gemm", ["x", "W", "B"], ["a"]), make("Relu", ["a"], ["y"]), W=numbers(4, 5), B=numbers(5)),
    "convolution": batched(
        make("Conv", ["x", "K"], ["c"]),
        make("MaxPool", ["c"], ["p"], kernel_shape=[2, 2]),
        make("Shape", ["p"], ["s"]),
        make("Gather", ["s", "zero"], ["n"]),
        make("Concat", ["n", "rest"], ["to"], axis=0),
        make("Reshape", ["p", "to"], ["f"]),
        make("MatMul", ["f", "W"], ["y"]),
        shape=[2, 4, 7, 6],
        K=K,
        zero=ints(0),
        rest=ints(-1),
        W=numbers(96, 3),
    ),
    "reshapes": batched(
        make("Reshape", ["x", "s"], ["a"]),
        make("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        make("Concat", ["b", "b"], ["c"], axis=2),
        make("ReduceMean", ["c"], ["d"], axes=[2], keepdims=0),
        make("Reshape", ["c", "t"], ["e"]),
        make("Concat", ["d", "e"], ["y"], axis=-1),
        s=ints(3, 2, 2),
        t=ints(-1, 8),
    ),
    "flattened": batched(
        make("Flatten", ["x"], ["a"]), make("Sub", ["a", "c"], ["y"]), shape=[4, 2, 3], c=numbers(1, 6)
    ),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_fixed_batch_is_read_as_one_sample(tmp_path: Path, name: str) -> None:
    nodes, constants, shape, opset = BATCHES[name]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, constants, shape, opset=opset))
    net = load_network(path)
    assert f"batch of {shape[0]}" in net.notices[0]
    x = np.random.default_rng(7).uniform(-2, 2, size=shape).astype(np.float32)
    want = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0].reshape(shape[0], -1)
    np.testing.assert_allclose(net.forward(x.reshape(shape[0], -1).astype(np.float64)), want, atol=1e-5)


MIXED: dict[str, Case] = {
    "turned": batched(make("Transpose", ["x"], ["t"]), make("ReduceSum", ["t", "a"], ["y"]), shape=[4, 1], a=ints(1)),
    "flattened": batched(make("Flatten", ["x"], ["y"], axis=0)),
    "reshaped": batched(make("Reshape", ["x", "s"], ["y"]), s=ints(1, -1)),
    "reshaped more": batched(make("Reshape", ["x", "s"], ["y"]), s=ints(-1, 2)),
    "summed": batched(make("ReduceSum", ["x", "a"], ["y"]), a=ints(0)),
    "summed over all": batched(make("ReduceSum", ["x"], ["y"])),
    "multiplied": batched(make("MatMul", ["W", "x"], ["y"]), W=numbers(1, 3)),
    "multiplied in another place": batched(make("MatMul", ["x", "W"], ["y"]), W=numbers(1, 4, 5)),
    "turned and multiplied": batched(make("Gemm", ["x", "W"], ["y"], transA=1), shape=[4, 1], W=numbers(4, 5)),
    "einsum": batched(make("Einsum", ["x", "W"], ["y"], equation="bi,ij->bj"), W=numbers(4, 5)),
    "added in another place": batched(make("Add", ["x", "c"], ["y"]), c=numbers(1, 1, 4)),
    "concatenated": batched(make("Concat", ["x", "x"], ["y"], axis=0)),
    "first alone": batched(make("Gather", ["x", "i"], ["y"], axis=0), i=ints(0)),
    "squeezed": batched(make("Squeeze", ["x"], ["y"]), shape=[3, 1]),
    "a border": batched(make("Pad", ["x", "p"], ["y"]), p=ints(1, 0, 0, 0)),
    "ranks": batched(make("Unsqueeze", ["x", "a"], ["u"]), make("Add", ["u", "x"], ["y"]), shape=[3, 4], a=ints(1)),
}


@pytest.mark.parametrize("name", MIXED)
def test_samples_of_a_fixed_batch_see_none_of_each_other(tmp_path: Path, name: str) -> None:
    nodes, constants, shape, opset = MIXED[name]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, constants, shape, opset=opset))
    with pytest.raises(NetworkError, match=r"see each other|rows of as many"):
        load_network(path)


@pytest.mark.parametrize("name", ["global average", "AveragePool pads", "ReduceMean both"])
def test_means_are_sums_over_whole_numbers(tmp_path: Path, name: str) -> None:
    """Nothing is rounded: what is stored are ones, and the counts that are divided by."""
    nodes, constants, shape, opset = OPERATIONS[name]
    net = load_network(write_model(tmp_path / "net.onnx", build_model(nodes, constants, shape, opset=opset)))
    numbers = [part for node in net.graph.nodes if isinstance(node, Affine) for m in node.maps for part in m.numbers]
    assert numbers
    assert all(((part == np.rint(part)) & (part >= 1)).all() for part in numbers)
    assert sum((part > 1).any() for part in numbers) == 1


@pytest.mark.parametrize(("kernel", "pads", "relus"), [([2, 2], [0, 0, 0, 0], 3 * 9 * 4), ([3, 3], [1, 1, 1, 1], 1048)])
def test_a_window_of_k_numbers_takes_k_minus_1_relus(
    tmp_path: Path, kernel: list[int], pads: list[int], relus: int
) -> None:
    case = one("MaxPool", IMAGE, 13, kernel_shape=kernel, pads=pads, strides=[2, 2] if kernel == [2, 2] else [1, 1])
    net = load_network(write_model(tmp_path / "net.onnx", build_model(*case[:3])))
    assert net.n_relus == relus
