"""One small graph for every operator and form beyond the dense ones: nodes, constants, input shape, operator set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

Case = tuple[Sequence[onnx.NodeProto], Mapping[str, Any], Sequence[Any], int]
make: Callable[..., onnx.NodeProto] = helper.make_node


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def one(
    op: str,
    shape: Sequence[Any],
    opset: int,
    constants: Mapping[str, Any] | None = None,
    first: str = "x",
    **given: Any,
) -> Case:
    """A node of the input and the constants, in the order they are given."""
    constants = constants or {}
    inputs = [first, *constants] if first == "x" else [*constants, "x"]
    return [make(op, inputs, ["y"], **given)], constants, shape, opset


def f(value: float) -> np.ndarray:
    return np.array(value, np.float32)


IMAGE, LINE = ["N", 4, 7, 6], ["N", 4, 9]
K, B = numbers(6, 4, 3, 2), numbers(6)
CONVOLUTIONS: dict[str, Case] = {
    "conv": one("Conv", IMAGE, 13, {"K": K, "B": B}),
    "conv without bias": one("Conv", [1, 4, 7, 6], 22, {"K": K}, kernel_shape=[3, 2]),
    "conv strides and pads": one("Conv", IMAGE, 11, {"K": K, "B": B}, strides=[2, 3], pads=[1, 0, 2, 1]),
    "conv dilations": one("Conv", IMAGE, 7, {"K": K}, dilations=[2, 3], pads=[0, 1, 1, 2]),
    "conv groups": one("Conv", IMAGE, 13, {"K": numbers(6, 2, 3, 2), "B": B}, group=2, pads=[1, 1, 1, 1]),
    "conv depthwise": one("Conv", IMAGE, 13, {"K": numbers(4, 1, 3, 3)}, group=4, strides=[2, 2]),
    "conv valid": one("Conv", IMAGE, 13, {"K": K}, auto_pad="VALID", strides=[2, 2]),
    "conv same upper": one("Conv", IMAGE, 13, {"K": K}, auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv same upper uneven": one("Conv", IMAGE, 13, {"K": numbers(6, 4, 4, 2)}, auto_pad="SAME_UPPER"),
    "conv same lower uneven": one("Conv", IMAGE, 13, {"K": numbers(6, 4, 4, 2)}, auto_pad="SAME_LOWER"),
    "conv same lower": one("Conv", IMAGE, 13, {"K": K}, auto_pad="SAME_LOWER", strides=[1, 3]),
    "conv line": one("Conv", LINE, 13, {"K": numbers(5, 4, 3), "B": numbers(5)}, strides=[2], pads=[2, 1]),
    "conv line same": one("Conv", LINE, 13, {"K": numbers(6, 2, 4)}, auto_pad="SAME_LOWER", group=2),
    "conv one by one": one("Conv", IMAGE, 13, {"K": numbers(3, 4, 1, 1)}),
    "conv turned": (
        [
            make("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
            make("Conv", ["t", "K"], ["c"]),
            make("Relu", ["c"], ["r"]),
            make("Transpose", ["r"], ["y"], perm=[0, 2, 3, 1]),
        ],
        {"K": K},
        ["N", 7, 6, 4],
        13,
    ),
    "conv normalised": (
        [
            make("Conv", ["x", "K", "B"], ["c"], pads=[1, 1, 1, 1]),
            make("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
            make("Relu", ["n"], ["r"]),
            make("Conv", ["r", "L"], ["d"]),
            make("Add", ["d", "x"], ["y"]),
        ],
        {
            "K": numbers(6, 4, 3, 3),
            "B": B,
            "s": numbers(6, seed=1),
            "b": numbers(6, seed=2),
            "m": numbers(6, seed=3),
            "v": np.abs(numbers(6, seed=4)),
            "L": numbers(4, 6, 1, 1),
        },
        IMAGE,
        15,
    ),
    "transposed conv": one("ConvTranspose", ["N", 4, 3, 2], 13, {"K": numbers(4, 5, 3, 2), "B": numbers(5)}),
    "transposed conv strides": one(
        "ConvTranspose",
        ["N", 4, 3, 2],
        11,
        {"K": numbers(4, 5, 3, 2)},
        strides=[2, 3],
        pads=[1, 0, 1, 1],
        output_padding=[1, 2],
    ),
    "transposed conv groups": one(
        "ConvTranspose", ["N", 4, 3, 2], 13, {"K": numbers(4, 3, 2, 2), "B": B}, group=2, dilations=[2, 1]
    ),
    "transposed conv line": one("ConvTranspose", LINE, 13, {"K": numbers(4, 2, 4)}, strides=[2], pads=[1, 1]),
}
POOLS: dict[str, Case] = {
    **{
        f"{op} {name}": one(op, shape, opset, **given)
        for op in ("AveragePool", "MaxPool")
        for name, shape, opset, given in (
            ("plain", IMAGE, 12, {"kernel_shape": [2, 3]}),
            ("strides", IMAGE, 8, {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("pads", IMAGE, 11, {"kernel_shape": [3, 3], "strides": [2, 1], "pads": [1, 2, 2, 1]}),
            ("same upper", IMAGE, 11, {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
            ("same lower", IMAGE, 11, {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"}),
            ("ceil", IMAGE, 12, {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}),
            ("ceil pads", IMAGE, 12, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]}),
            ("ceil far", IMAGE, 12, {"kernel_shape": [1, 2], "strides": [4, 4], "ceil_mode": 1}),
            ("dilated", IMAGE, 19, {"kernel_shape": [2, 2], "dilations": [3, 2], "strides": [1, 2]}),
            ("line", LINE, 13, {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
            ("whole", IMAGE, 13, {"kernel_shape": [7, 6]}),
            ("of one", IMAGE, 13, {"kernel_shape": [1, 1], "strides": [2, 2]}),
        )
    },
    "average with border": one(
        "AveragePool", IMAGE, 11, kernel_shape=[3, 2], pads=[1, 1, 1, 1], strides=[2, 2], count_include_pad=1
    ),
    "average with border same": one(
        "AveragePool", IMAGE, 11, kernel_shape=[3, 2], auto_pad="SAME_UPPER", strides=[2, 2], count_include_pad=1
    ),
    "largest of relu": (
        [
            make("Conv", ["x", "K"], ["c"]),
            make("Relu", ["c"], ["r"]),
            make("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            make("Flatten", ["p"], ["f"]),
            make("Gemm", ["f", "W"], ["y"]),
        ],
        {"K": K, "W": numbers(24, 3)},
        IMAGE,
        13,
    ),
    "global average": one("GlobalAveragePool", IMAGE, 13),
    "global average line": one("GlobalAveragePool", LINE, 13),
    "global largest": one("GlobalMaxPool", IMAGE, 13),
}
S = ["N", 3, 4]
FUNCTIONS: dict[str, Case] = {
    "leaky": one("LeakyRelu", S, 16, alpha=0.3),
    "leaky default": one("LeakyRelu", S, 6),
    "prelu channel": one("PRelu", S, 16, {"a": numbers(3, 1)}),
    "prelu one": one("PRelu", S, 7, {"a": numbers(1)}),
    "prelu all": one("PRelu", S, 9, {"a": numbers(3, 4)}),
    "prelu turned": (
        [make("Transpose", ["x"], ["t"], perm=[0, 2, 1]), make("PRelu", ["t", "a"], ["y"])],
        {"a": numbers(3)},
        S,
        16,
    ),
    "abs": one("Abs", S, 13),
    "neg": one("Neg", S, 13),
    "clip": one("Clip", S, 13, {"a": f(-0.5), "b": f(0.75)}),
    "clip relu6": one("Clip", S, 6, min=0.0, max=6.0),
    "clip low": one("Clip", S, 11, {"a": f(0.25)}),
    "clip zero": one("Clip", S, 11, {"a": f(0.0)}),
    "clip high": ([make("Clip", ["x", "", "b"], ["y"])], {"b": f(0.25)}, S, 12),
    "clip nothing": one("Clip", S, 13),
    "clip high attribute": one("Clip", S, 6, max=0.5),
    "hard sigmoid": one("HardSigmoid", S, 6),
    "hard sigmoid steep": one("HardSigmoid", S, 22, alpha=1.3, beta=-0.25),
    "thresholded at 0": one("ThresholdedRelu", S, 10, alpha=0.0),
    "max zero": one("Max", S, 13, {"a": f(0.0)}),
    "max constant": one("Max", S, 13, {"a": numbers(4)}, first=""),
    "min constant": one("Min", S, 12, {"a": numbers(3, 1)}),
    "max three": (
        [make("Neg", ["x"], ["a"]), make("Abs", ["x"], ["b"]), make("Max", ["a", "c", "b", "x"], ["y"])],
        {"c": numbers(3, 4)},
        S,
        13,
    ),
    "min two": (
        [make("Neg", ["x"], ["a"]), make("Min", ["x", "a"], ["m"]), make("Relu", ["m"], ["y"])],
        {},
        S,
        13,
    ),
    "max broadcast": (
        [make("ReduceMean", ["x"], ["a"], axes=[2]), make("Max", ["x", "a"], ["y"])],
        {},
        S,
        13,
    ),
    "max of one": one("Max", S, 13),
    "sum with constant": ([make("Abs", ["x"], ["a"]), make("Sum", ["x", "c", "a"], ["y"])], {"c": numbers(4)}, S, 13),
}
SELECTIONS: dict[str, Case] = {
    "slice attributes": one("Slice", S, 9, starts=[1, 0], ends=[3, -1], axes=[1, 2]),
    "slice no axes": one("Slice", [1, 3, 4], 9, starts=[0, 1], ends=[1, 2**31]),
    "slice": one("Slice", S, 13, {"s": ints(-3), "e": ints(2**63 - 1), "a": ints(-1)}),
    "slice steps": one("Slice", S, 13, {"s": ints(0, -1), "e": ints(3, -(2**63)), "a": ints(1, 2), "t": ints(2, -1)}),
    "slice back": one("Slice", S, 10, {"s": ints(9), "e": ints(0), "a": ints(2), "t": ints(-2)}),
    "slice relu": (
        [make("Slice", ["x", "s", "e", "a"], ["t"]), make("Relu", ["t"], ["r"]), make("Gemm", ["r", "W"], ["y"])],
        {"s": ints(1), "e": ints(4), "a": ints(1), "W": numbers(3, 2)},
        ["N", 5],
        13,
    ),
    "gather": one("Gather", S, 13, {"i": ints(3, 0, -1, 3)}, axis=2),
    "gather one": one("Gather", S, 13, {"i": np.array(1)}, axis=1),
    "gather table": one("Gather", S, 13, {"i": ints(0, 2, 1, 1).reshape(2, 2)}, axis=1),
    "expand": one("Expand", ["N", 1, 4], 13, {"s": ints(1, 3, 1)}),
    "expand raises": one("Expand", [1, 4], 8, {"s": ints(3, 1, 1)}),
    "depth to space": one("DepthToSpace", ["N", 8, 3, 2], 13, blocksize=2),
    "depth to space by columns": one("DepthToSpace", ["N", 8, 3, 2], 11, blocksize=2, mode="CRD"),
    "depth to space 9": one("DepthToSpace", [1, 9, 2, 2], 9, blocksize=3),
    "space to depth": one("SpaceToDepth", ["N", 2, 4, 6], 13, blocksize=2),
    "an unused region": (
        [
            make(
                "Resize",
                ["x", "region", "s"],
                ["y"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ],
        {"region": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
        ["N", 2, 3, 2],
        11,
    ),
    "tile": one("Tile", S, 13, {"r": ints(1, 2, 3)}),
    "tile relu add": (
        [
            make("Tile", ["x", "r"], ["t"]),
            make("Add", ["t", "c"], ["a"]),
            make("Relu", ["a"], ["b"]),
            make("Add", ["b", "t"], ["y"]),
        ],
        {"r": ints(1, 2, 1), "c": numbers(6, 4)},
        S,
        13,
    ),
    "pad": one("Pad", S, 13, {"p": ints(0, 1, 2, 0, 0, 1)}),
    "pad value": one("Pad", S, 13, {"p": ints(0, 1, 2, 0, 0, 1), "v": f(0.75)}),
    "pad attributes": one("Pad", S, 10, pads=[0, 0, 1, 0, 2, 0], value=-1.5, mode="constant"),
    "pad axes": one("Pad", S, 18, {"p": ints(1, 2), "v": f(0.5), "a": ints(-1)}),
    "pad edge": one("Pad", S, 13, {"p": ints(0, 1, 2, 0, 0, 1)}, mode="edge"),
    "pad reflect": one("Pad", S, 13, {"p": ints(0, 1, 2, 0, 0, 1)}, mode="reflect"),
    "pad conv": (
        [make("Pad", ["x", "p"], ["q"]), make("Conv", ["q", "K"], ["y"])],
        {"p": ints(0, 0, 1, 1, 0, 0, 1, 1), "K": K},
        IMAGE,
        13,
    ),
    "split": (
        [
            make("Split", ["x", "s"], ["a", "b"], axis=1),
            make("Relu", ["a"], ["c"]),
            make("Concat", ["b", "c"], ["y"], axis=1),
        ],
        {"s": ints(1, 2)},
        S,
        13,
    ),
    "split attribute": ([make("Split", ["x"], ["a", "y"], axis=2, split=[3, 1])], {}, S, 11),
    "split alike": (
        [make("Split", ["x"], ["a", "b"], axis=-1), make("Sub", ["a", "b"], ["y"])],
        {},
        S,
        13,
    ),
    "split uneven": ([make("Split", ["x"], ["a", "y"], axis=1, num_outputs=2)], {}, S, 18),
    "resize": (
        [make("Resize", ["x", "", "s"], ["y"], mode="nearest")],
        {"s": np.array([1, 1, 2, 3], np.float32)},
        ["N", 2, 3, 2],
        13,
    ),
    "resize floor": (
        [
            make(
                "Resize",
                ["x", "roi", "s"],
                ["y"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ],
        {"s": np.array([1, 1, 2, 3], np.float32), "roi": np.zeros(8, np.float32)},
        ["N", 2, 3, 2],
        11,
    ),
    "resize sizes": (
        [make("Resize", ["x", "", "", "s"], ["y"], coordinate_transformation_mode="pytorch_half_pixel")],
        {"s": ints(1, 2, 6, 2)},
        ["N", 2, 3, 2],
        13,
    ),
    "resize 10": one("Resize", ["N", 2, 3, 2], 10, {"s": np.array([1, 1, 2, 2], np.float32)}),
    "upsample": one("Upsample", ["N", 2, 3, 2], 9, {"s": np.array([1, 1, 2, 2], np.float32)}, mode="nearest"),
    "upsample attribute": one("Upsample", ["N", 2, 3, 2], 7, mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]),
}
REDUCTIONS: dict[str, Case] = {
    **{
        f"{op} {name}": one(op, S, opset, constants, **given)
        for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
        for name, opset, constants, given in (
            ("last", 18, {"a": ints(-1)}, {}),
            ("middle", 11, None, {"axes": [1], "keepdims": 0}),
            ("both", 12, None, {"axes": [-1, 1]}),
            ("all", 11, None, {"keepdims": 1}),
            ("none", 18, None, {"noop_with_empty_axes": 1}),
            ("batch", 11, None, {"axes": [0]}),
        )
    },
    "sum 13": one("ReduceSum", S, 13, {"a": ints(1)}, keepdims=0),
    "centred": (
        [make("ReduceMean", ["x"], ["m"], axes=[1]), make("Sub", ["x", "m"], ["y"])],
        {},
        ["N", 5],
        13,
    ),
}
PRODUCTS: dict[str, Case] = {
    "rows": one("MatMul", S, 13, {"W": numbers(4, 5)}),
    "rows vector": one("MatMul", S, 13, {"W": numbers(4)}),
    "columns": one("MatMul", S, 13, {"W": numbers(2, 3)}, first=""),
    "columns vector": one("MatMul", S, 13, {"W": numbers(3)}, first=""),
    "outer": one("MatMul", [1, 4], 13, {"W": numbers(3, 1)}, first=""),
    "stacked rows": one("MatMul", [1, 2, 3, 4], 13, {"W": numbers(1, 2, 4, 5)}),
    "stacked columns": one("MatMul", [1, 2, 3, 4], 13, {"W": numbers(1, 2, 5, 3)}, first=""),
    "gemm rows": (
        [make("Reshape", ["x", "s"], ["r"]), make("Gemm", ["r", "W", "C"], ["y"], alpha=0.5, beta=2.0)],
        {"s": ints(3, 4), "W": numbers(4, 5), "C": numbers(3, 1)},
        [1, 12],
        13,
    ),
    "gemm columns": (
        [make("Reshape", ["x", "s"], ["r"]), make("Gemm", ["W", "r", "C"], ["y"], transB=1)],
        {"s": ints(3, 4), "W": numbers(2, 4), "C": numbers(3)},
        [1, 12],
        13,
    ),
    "einsum": one("Einsum", ["N", 4], 12, {"W": numbers(4, 5)}, equation="bi,ij->bj"),
    "einsum turned": one("Einsum", ["N", 4], 12, {"W": numbers(5, 4)}, equation="oi, bi -> bo", first=""),
    "einsum rows": one("Einsum", S, 13, {"W": numbers(4, 5)}, equation="bij,jk->kbi"),
    "einsum groups": one("Einsum", S, 13, {"W": numbers(3, 4, 2)}, equation="bij,ijk->bik"),
    "einsum scale": one("Einsum", S, 13, {"W": numbers(3)}, equation="bij,i->bij"),
    "product of a relu": (
        [make("MatMul", ["x", "W"], ["a"]), make("Relu", ["a"], ["b"]), make("MatMul", ["b", "V"], ["y"])],
        {"W": numbers(4, 5), "V": numbers(5, 2)},
        S,
        13,
    ),
}


def shaped(*nodes: onnx.NodeProto, opset: int = 13, shape: Sequence[Any] = S, **constants: Any) -> Case:
    return nodes, constants, shape, opset


CONSTANTS: dict[str, Case] = {
    "flattened by shape": shaped(
        make("Shape", ["x"], ["s"]),
        make("Gather", ["s", "zero"], ["n"]),
        make("Unsqueeze", ["n", "axes"], ["n1"]),
        make("Concat", ["n1", "rest"], ["to"], axis=0),
        make("Reshape", ["x", "to"], ["y"]),
        zero=np.array(0),
        axes=ints(0),
        rest=ints(-1),
    ),
    "shape from and to": shaped(
        make("Shape", ["x"], ["s"], start=1, end=-1),
        make("ReduceProd", ["s"], ["p"], keepdims=1),
        make("Mul", ["p", "four"], ["q"]),
        make("Concat", ["b", "q"], ["to"], axis=0),
        make("Reshape", ["x", "to"], ["y"]),
        opset=15,
        four=ints(4),
        b=ints(1),
    ),
    "size": shaped(
        make("Size", ["x"], ["n"]),
        make("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
        make("Div", ["x", "f"], ["y"]),
    ),
    "filled": shaped(
        make("Shape", ["x"], ["s"]),
        make("ConstantOfShape", ["s"], ["c"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])),
        make("Add", ["x", "c"], ["y"]),
    ),
    "range": shaped(
        make("Range", ["a", "b", "c"], ["r"]),
        make("Gather", ["x", "r"], ["y"], axis=2),
        a=np.array(3),
        b=np.array(-1),
        c=np.array(-2),
    ),
    "where": shaped(
        make("Shape", ["x"], ["s"]),
        *(make(op, ["s", "t"], [op]) for op in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")),
        make("Or", ["Equal", "Greater"], ["o"]),
        make("And", ["o", "GreaterOrEqual"], ["a"]),
        make("Not", ["a"], ["n"]),
        make("And", ["n", "LessOrEqual"], ["m"]),
        make("And", ["m", "Less"], ["l"]),
        make("Where", ["l", "s", "t"], ["to"]),
        make("Expand", ["x", "to"], ["y"]),
        t=ints(1, 3, 4),
    ),
    "integers": shaped(
        make("Sub", ["a", "b"], ["c"]),
        make("Div", ["c", "b"], ["d"]),
        make("Neg", ["d"], ["e"]),
        make("Abs", ["e"], ["g"]),
        make("Max", ["g", "one"], ["h"]),
        make("Min", ["h", "five"], ["i"]),
        make("Add", ["i", "zero"], ["j"]),
        make("ReduceSum", ["j", "axis"], ["k"], keepdims=1),
        make("ReduceMax", ["j"], ["l"], axes=[0], keepdims=1),
        make("ReduceMin", ["j"], ["m"], axes=[0], keepdims=1),
        make("Concat", ["one", "k", "l", "m"], ["to"], axis=0),
        make("Expand", ["x", "to"], ["y"]),
        a=ints(-7, 9),
        b=ints(2, 4),
        one=ints(1),
        five=ints(5),
        zero=ints(0),
        axis=ints(0),
        shape=[1, 1, 1, 1],
    ),
    "weights": shaped(
        make("Sqrt", ["v"], ["s"]),
        make("Div", ["w", "s"], ["a"]),
        make("Sub", ["a", "w"], ["b"]),
        make("Max", ["b", "w"], ["c"]),
        make("ReduceMean", ["c"], ["m"], axes=[0]),
        make("Split", ["c"], ["p", "q"], axis=1),
        make("Concat", ["q", "p"], ["t"], axis=1),
        make("Pad", ["t", "pads"], ["z"]),
        make("Sum", ["z", "m0"], ["u"]),
        make("Mul", ["u", "m"], ["k"]),
        make("MatMul", ["x", "k"], ["y"]),
        v=np.abs(numbers(4)),
        w=numbers(4, 4, seed=2),
        pads=ints(0, 0, 0, 0),
        m0=numbers(4, 4),
    ),
    "cast to float32": shaped(
        make("Cast", ["c"], ["d"], to=TensorProto.FLOAT), make("Add", ["x", "d"], ["y"]), c=np.array(0.1)
    ),
}
OPERATIONS = CONVOLUTIONS | POOLS | FUNCTIONS | SELECTIONS | REDUCTIONS | PRODUCTS | CONSTANTS
