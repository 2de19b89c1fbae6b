"""Random programs of the operators that move, select, add, multiply and compare numbers, against onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from builders import build_model, write_model
from network.operators import make

from wdaverify.network.onnx_reader import load_network

onnxruntime.set_default_logger_severity(4)
Shape = tuple[int, ...]
MOST = 200
"""Numbers of a tensor."""


class Program:
    """Nodes as they are added, and the shape of every computed tensor, the batch axis first and 1."""

    def __init__(self, rng: np.random.Generator, shape: Shape) -> None:
        self.rng, self.shapes = rng, {"x": shape}
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def whole(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def numbers(self, *shape: int) -> str:
        return self.constant(self.rng.normal(size=shape).astype(np.float32))

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def add(self, op: str, inputs: list[str], shape: Shape, **attributes: Any) -> None:
        name = f"t{len(self.nodes)}"
        self.nodes.append(make(op, inputs, [name], **attributes))
        self.shapes[name] = tuple(int(size) for size in shape)

    def step(self) -> None:
        """One node more of a tensor from before, mostly the last."""
        names = list(self.shapes)
        t = names[-1] if self.rng.random() < 0.7 else str(self.rng.choice(names))
        s = self.shapes[t]
        kinds = [self.moved, self.taken, self.computed, self.joined, self.reduced, self.multiplied, self.windowed]
        kinds[self.whole(0, len(kinds))](t, s)

    def moved(self, t: str, s: Shape) -> None:
        if self.rng.random() < 0.5 and len(s) > 2:
            perm = [0, *(1 + self.rng.permutation(len(s) - 1))]
            self.add("Transpose", [t], tuple(s[k] for k in perm), perm=perm)
            return
        size = int(np.prod(s))
        first = int(self.rng.choice([k for k in range(1, size + 1) if size % k == 0]))
        second = int(self.rng.choice([k for k in range(1, size // first + 1) if size // first % k == 0]))
        shape = (1, first, second, size // first // second)[: None if self.rng.random() < 0.6 else 2]
        shape = (1, size) if len(shape) == 2 else shape
        self.add("Reshape", [t, self.ints(1, *shape[1:-1], -1)], shape)

    def taken(self, t: str, s: Shape) -> None:
        axis = self.whole(1, len(s))
        n = s[axis]

        def with_size(size: int) -> Shape:
            return (*s[:axis], size, *s[axis + 1 :])

        match self.whole(0, 4):
            case 0:
                a, step = self.whole(0, n), int(self.rng.choice([-2, -1, 1, 2]))
                end = n if step > 0 else -(2**40)
                count = len(range(a, n if step > 0 else -1, step))
                self.add("Slice", [t, self.ints(a), self.ints(end), self.ints(axis), self.ints(step)], with_size(count))
            case 1:
                index = [self.whole(-n, n) for _ in range(self.whole(1, 4))]
                self.add("Gather", [t, self.ints(*index)], with_size(len(index)), axis=axis)
            case 2:
                pads = [0] * (2 * len(s))
                pads[axis], pads[len(s) + axis] = self.whole(0, 3), self.whole(0, 3)
                value = self.constant(np.float32(self.rng.normal()))
                self.add("Pad", [t, self.ints(*pads), value], with_size(n + pads[axis] + pads[len(s) + axis]))
            case _:
                repeats = [2 if k == axis else 1 for k in range(len(s))]
                self.add("Tile", [t, self.ints(*repeats)], with_size(2 * n))

    def computed(self, t: str, s: Shape) -> None:
        shape = [n if self.rng.random() < 0.5 else 1 for n in s[1:]]
        op = str(
            self.rng.choice(["Relu", "Abs", "LeakyRelu", "Clip", "PRelu", "Add", "Mul", "Sub", "Max", "Min", "Neg"])
        )
        match op:
            case "Relu" | "Abs" | "LeakyRelu" | "Neg":
                inputs = [t]
            case "Clip":
                inputs = [t, *(self.constant(np.float32(v)) for v in sorted(self.rng.normal(size=2)))]
            case "PRelu":
                inputs = [t, self.numbers(*shape)]
            case _:
                inputs = [t, self.numbers(*shape)][:: int(self.rng.choice([-1, 1]))]
        self.add(op, inputs, s)

    def joined(self, t: str, s: Shape) -> None:
        other = str(self.rng.choice([name for name, shape in self.shapes.items() if shape == s]))
        op = str(self.rng.choice(["Add", "Sub", "Max", "Min", "Concat"]))
        if op == "Concat":
            axis = self.whole(1, len(s))
            self.add(op, [t, other], (*s[:axis], 2 * s[axis], *s[axis + 1 :]), axis=axis)
        else:
            self.add(op, [t, other], s)

    def reduced(self, t: str, s: Shape) -> None:
        axis, keep = self.whole(1, len(s)), int(self.rng.integers(2)) if len(s) > 2 else 1
        op = str(self.rng.choice(["ReduceMean", "ReduceMax", "ReduceMin"]))
        shape = (*s[:axis], *((1,) if keep else ()), *s[axis + 1 :])
        self.add(op, [t], shape, axes=[axis], keepdims=keep)

    def multiplied(self, t: str, s: Shape) -> None:
        m = self.whole(1, 5)
        if len(s) > 2 and self.rng.random() < 0.5:
            self.add("MatMul", [self.numbers(m, s[-2]), t], (*s[:-2], m, s[-1]))
        else:
            self.add("MatMul", [t, self.numbers(s[-1], m)], (*s[:-1], m))

    def windowed(self, t: str, s: Shape) -> None:
        if len(s) not in (3, 4) or min(s[2:]) < 2:
            return self.computed(t, s)
        rank = len(s) - 2
        kernel, stride = [self.whole(1, 3) for _ in range(rank)], [self.whole(1, 3) for _ in range(rank)]
        pads = [self.whole(0, k) for k in kernel * 2]
        out = [(n + pads[k] + pads[rank + k] - kernel[k]) // stride[k] + 1 for k, n in enumerate(s[2:])]
        given = {"strides": stride, "pads": pads}
        if self.rng.random() < 0.5:
            m = self.whole(1, 4)
            return self.add("Conv", [t, self.numbers(m, s[1], *kernel), self.numbers(m)], (1, m, *out), **given)
        op = str(self.rng.choice(["MaxPool", "AveragePool"]))
        return self.add(op, [t], (*s[:2], *out), kernel_shape=kernel, **given)


def programs(seeds: range) -> Iterator[tuple[int, Program]]:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        program = Program(rng, (1, *(int(n) for n in rng.integers(1, 6, size=rng.integers(1, 4)))))
        while len(program.nodes) < 8:
            before = dict(program.shapes), list(program.nodes)
            program.step()
            if np.prod(list(program.shapes.values())[-1]) > MOST:
                program.shapes, program.nodes = before
        yield seed, program


def compare(seeds: range, path: Path) -> None:
    for seed, program in programs(seeds):
        final = make("Identity", [list(program.shapes)[-1]], ["y"])
        model = build_model([*program.nodes, final], program.constants, program.shapes["x"])
        net = load_network(write_model(path, model))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        points = np.random.default_rng(seed).normal(size=(5, net.n_inputs)).astype(np.float32)
        want = np.array([session.run(None, {"x": p.reshape(program.shapes["x"])})[0].ravel() for p in points])
        for got in (net.forward(points.astype(np.float64)), net.canonical.forward(points.astype(np.float64))):
            size = max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * size, err_msg=f"program {seed}")


def test_sixty_programs(tmp_path: Path) -> None:
    compare(range(60), tmp_path / "net.onnx")


@pytest.mark.full
def test_a_thousand_programs(tmp_path: Path) -> None:
    compare(range(60, 1060), tmp_path / "net.onnx")
