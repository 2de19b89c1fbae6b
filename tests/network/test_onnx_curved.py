"""Curved functions as operators and as exporters spell them equal onnxruntime; products of two tensors are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import build_model, write_model
from network.test_onnx_reader import outside
from onnx import helper

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_reader import load_network

node = helper.make_node
F = np.float32
HALF, ONE, ROOT, SIX = F(0.5), F(1.0), F(np.sqrt(2.0)), F(6.0)
INNER, CUBIC = F(np.sqrt(2.0 / np.pi)), F(0.044715)

OPERATORS: dict[str, tuple[onnx.NodeProto, int, str]] = {
    "celu": (node("Celu", ["x"], ["y"], alpha=0.5), 13, "Elu"),
    "elu": (node("Elu", ["x"], ["y"], alpha=1.5), 13, "Elu"),
    "erf": (node("Erf", ["x"], ["y"]), 13, "Erf"),
    "exp": (node("Exp", ["x"], ["y"]), 13, "Exp"),
    "gelu": (node("Gelu", ["x"], ["y"]), 20, "Gelu"),
    "gelu by tanh": (node("Gelu", ["x"], ["y"], approximate="tanh"), 20, "GeluTanh"),
    "hard swish": (node("HardSwish", ["x"], ["y"]), 14, "HardSwish"),
    "mish": (node("Mish", ["x"], ["y"]), 18, "Mish"),
    "selu": (node("Selu", ["x"], ["y"]), 13, "Selu"),
    "selu of others": (node("Selu", ["x"], ["y"], alpha=2.0, gamma=0.5), 13, "Selu"),
    "sigmoid": (node("Sigmoid", ["x"], ["h"]), 13, "Sigmoid"),
    "sin": (node("Sin", ["x"], ["y"]), 13, "Sin"),
    "softplus": (node("Softplus", ["x"], ["y"]), 13, "Softplus"),
    "softsign": (node("Softsign", ["x"], ["y"]), 13, "Softsign"),
    "tanh": (node("Tanh", ["x"], ["y"]), 13, "Tanh"),
    "gelu of microsoft": (node("Gelu", ["x"], ["y"], domain="com.microsoft"), 13, "Gelu"),
    "quick gelu": (node("QuickGelu", ["x"], ["y"], domain="com.microsoft"), 13, "Silu"),
}
CUBE = [node("Mul", ["x", "x"], ["x2"]), node("Mul", ["x", "x2"], ["x3"])]
SPELLED: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray], tuple[str, ...]]] = {
    "silu": ([node("Sigmoid", ["x"], ["s"]), node("Mul", ["s", "x"], ["y"])], {}, ("Silu",)),
    "silu of a rate": (
        [node("Mul", ["x", "r"], ["t"]), node("Sigmoid", ["t"], ["s"]), node("Mul", ["x", "s"], ["y"])],
        {"r": F(1.702)},
        ("Silu",),
    ),
    "gelu": (
        [
            node("Div", ["x", "root"], ["d"]),
            node("Erf", ["d"], ["e"]),
            node("Add", ["e", "one"], ["a"]),
            node("Mul", ["x", "a"], ["m"]),
            node("Mul", ["m", "half"], ["y"]),
        ],
        {"root": ROOT, "one": ONE, "half": HALF},
        ("Gelu",),
    ),
    "gelu, half first": (
        [
            node("Mul", ["x", "rate"], ["d"]),
            node("Erf", ["d"], ["e"]),
            node("Add", ["one", "e"], ["a"]),
            node("Mul", ["x", "half"], ["h"]),
            node("Mul", ["h", "a"], ["y"]),
        ],
        {"rate": F(np.sqrt(0.5)), "one": ONE, "half": HALF},
        ("Gelu",),
    ),
    "gelu by tanh, powers": (
        [
            node("Pow", ["x", "three"], ["x3"]),
            node("Mul", ["x3", "cubic"], ["c"]),
            node("Add", ["x", "c"], ["s"]),
            node("Mul", ["s", "inner"], ["u"]),
            node("Tanh", ["u"], ["t"]),
            node("Add", ["t", "one"], ["a"]),
            node("Mul", ["x", "a"], ["m"]),
            node("Mul", ["half", "m"], ["y"]),
        ],
        {"three": F(3.0), "cubic": CUBIC, "inner": INNER, "one": ONE, "half": HALF},
        ("GeluTanh",),
    ),
    "mish": (
        [node("Softplus", ["x"], ["s"]), node("Tanh", ["s"], ["t"]), node("Mul", ["x", "t"], ["y"])],
        {},
        ("Mish",),
    ),
    "hard swish": (
        [
            node("Add", ["x", "three"], ["a"]),
            node("Clip", ["a", "zero", "six"], ["c"]),
            node("Mul", ["x", "c"], ["m"]),
            node("Div", ["m", "six"], ["y"]),
        ],
        {"three": F(3.0), "zero": F(0.0), "six": SIX},
        ("Gate",),
    ),
    "hard swish of hard sigmoid": (
        [node("HardSigmoid", ["x"], ["s"], alpha=1 / 6, beta=0.5), node("Mul", ["x", "s"], ["y"])],
        {},
        ("Gate",),
    ),
    "softsign": (
        [node("Abs", ["x"], ["a"]), node("Add", ["a", "one"], ["b"]), node("Div", ["x", "b"], ["y"])],
        {"one": ONE},
        ("Softsign",),
    ),
    "square": ([node("Mul", ["x", "x"], ["y"])], {}, ("Square",)),
    "square by power": ([node("Pow", ["x", "two"], ["y"])], {"two": F(2.0)}, ("Square",)),
    "cube": ([*CUBE[:1], node("Mul", ["x", "x2"], ["y"])], {}, ("Cube",)),
}
REFUSED: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray], str]] = {
    "a gate": (
        [node("Sigmoid", ["x"], ["s"]), node("Relu", ["x"], ["r"]), node("Mul", ["r", "s"], ["y"])],
        {},
        "two computed",
    ),
    "of another place": (
        [
            node("Sigmoid", ["x"], ["s"]),
            node("Transpose", ["s"], ["t"], perm=[0, 2, 1]),
            node("Mul", ["x", "t"], ["y"]),
        ],
        {},
        "two computed",
    ),
    "a shifted gate": (
        [node("Add", ["x", "one"], ["a"]), node("Sigmoid", ["a"], ["s"]), node("Mul", ["x", "s"], ["y"])],
        {"one": ONE},
        "two computed",
    ),
    "a gelu of 2": (
        [node("Erf", ["x"], ["e"]), node("Add", ["e", "two"], ["a"]), node("Mul", ["x", "a"], ["y"])],
        {"two": F(2.0)},
        "two computed",
    ),
    "a quotient": ([node("Exp", ["x"], ["e"]), node("Div", ["x", "e"], ["y"])], {}, "divides two computed"),
    "a fourth power": ([node("Pow", ["x", "four"], ["y"])], {"four": F(4.0)}, "exponents 1, 2 and 3"),
    "a computed power": ([node("Pow", ["x", "x"], ["y"])], {}, "exponents 1, 2 and 3"),
    "other coefficients": (
        [
            *CUBE,
            node("Add", ["x", "x3"], ["s"]),
            node("Tanh", ["s"], ["t"]),
            node("Add", ["t", "one"], ["a"]),
            node("Mul", ["x", "a"], ["y"]),
        ],
        {"one": ONE},
        "GELU's coefficients",
    ),
    "softmax": ([node("Softmax", ["x"], ["s"]), node("Relu", ["s"], ["y"])], {}, "exponentials"),
}


def _agrees(path: Path, names: tuple[str, ...]) -> None:
    net = load_network(path)
    assert net.curved == names
    points = np.random.default_rng(7).uniform(-6, 6, size=(40, net.n_inputs)).astype(np.float32).astype(np.float64)
    want = outside(path, points)
    scale = 1 + np.abs(want)
    for found in (net.forward(points), net.form.forward(points), net.forward_float32(points)):
        assert (np.abs(found - want) / scale).max() < 2e-6


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_equal_onnxruntime(tmp_path: Path, name: str) -> None:
    made, opset, function = OPERATORS[name]
    nodes = [made] if made.output[0] == "y" else [made, node("Neg", made.output, ["y"])]  # a last Sigmoid is a head
    _agrees(write_model(tmp_path / "net.onnx", build_model(nodes, {}, [1, 4, 4], opset=opset)), (function,))


@pytest.mark.parametrize("name", SPELLED)
def test_products_that_spell_a_function_are_read_as_it(tmp_path: Path, name: str) -> None:
    nodes, constants, names = SPELLED[name]
    _agrees(write_model(tmp_path / "net.onnx", build_model(nodes, constants, [1, 4, 4], opset=18)), names)


@pytest.mark.parametrize("name", REFUSED)
def test_other_products_are_refused(tmp_path: Path, name: str) -> None:
    nodes, constants, words = REFUSED[name]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, constants, [1, 4, 4], opset=18))
    with pytest.raises(NetworkError, match=words):
        load_network(path)
