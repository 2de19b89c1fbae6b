"""Machines of single precision that a network may be deployed on: any order of summation, products fused or not, subnormals flushed or not.

A program is a list of steps, each known three ways: to these machines, to exact rationals, and as nodes of an ONNX file. None of it
shares code with the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from builders import build_model, write_model
from numpy.typing import NDArray
from onnx import helper

Floats = NDArray[np.float32]
_NORMAL = np.float32(2.0**-126)


@dataclass(frozen=True, eq=False)
class Dense:
    """``W h + b``, b None for none."""

    weight: Floats
    bias: Floats | None = None


@dataclass(frozen=True)
class Relu:
    """``max(h, 0)``."""


@dataclass(frozen=True)
class Leaky:
    """``max(h, 0) + slope min(h, 0)``."""

    slope: float


@dataclass(frozen=True)
class Pairs:
    """The larger of neighbours, two by two."""


Step = Dense | Relu | Leaky | Pairs


class Machine:
    """One way to round: its summation trees, fused products and flushes are drawn."""

    def __init__(self, seed: int, *, flush: bool | None = None, fused: bool | None = None) -> None:
        self._rng = np.random.default_rng(seed)
        self._flush = bool(self._rng.integers(2)) if flush is None else flush
        self._fused = bool(self._rng.integers(2)) if fused is None else fused

    def run(self, steps: Sequence[Step], x: NDArray[np.float64]) -> Floats:
        """The outputs at one point of doubles."""
        h = self._kept(x.astype(np.float32))
        with np.errstate(over="ignore", invalid="ignore"):
            for step in steps:
                h = self._step(step, h)
        return h

    def _step(self, step: Step, h: Floats) -> Floats:
        if isinstance(step, Dense):
            return self._dense(step, h)
        if isinstance(step, Relu):
            return np.maximum(h, np.float32(0))
        if isinstance(step, Pairs):
            return np.maximum(h[::2], h[1::2])
        return np.where(h > 0, h, self._kept(h * np.float32(step.slope)))

    def _kept(self, values: Floats) -> Floats:
        values = np.asarray(values, np.float32)
        return np.where(np.abs(values) < _NORMAL, np.float32(0), values) if self._flush else values

    def _dense(self, step: Dense, h: Floats) -> Floats:
        weight = self._kept(step.weight)
        order = self._rng.permutation(h.size)
        bias = None if step.bias is None else self._kept(step.bias)
        if self._fused or self._rng.integers(2):  # one accumulator, which may begin at the bias
            first = bias is not None and bool(self._rng.integers(2))
            total = bias.copy() if first and bias is not None else np.zeros(len(weight), np.float32)
            for k in order:
                if self._fused:
                    total = self._kept((weight[:, k].astype(np.float64) * h[k] + total).astype(np.float32))
                else:
                    total = self._kept(total + self._kept(weight[:, k] * h[k]))
            return total if first or bias is None else self._kept(total + bias)
        parts = [self._kept(weight[:, k] * h[k]) for k in order] + ([] if bias is None else [bias])
        while len(parts) > 1:  # a tree
            a, b = (parts.pop(int(self._rng.integers(len(parts)))) for _ in range(2))
            parts.append(self._kept(a + b))
        return parts[0]


def exactly(steps: Sequence[Step], x: NDArray[np.float64]) -> list[Fraction]:
    """The outputs in rationals."""
    h = [Fraction(v) for v in x.tolist()]
    for step in steps:
        if isinstance(step, Dense):
            rows = [
                sum((Fraction(w) * v for w, v in zip(row, h, strict=True)), Fraction(0)) for row in step.weight.tolist()
            ]
            bias = [0.0] * len(rows) if step.bias is None else step.bias.tolist()
            h = [row + Fraction(b) for row, b in zip(rows, bias, strict=True)]
        elif isinstance(step, Pairs):
            h = [max(a, b) for a, b in zip(h[::2], h[1::2], strict=True)]
        else:
            slope = Fraction(float(np.float32(step.slope))) if isinstance(step, Leaky) else Fraction(0)
            h = [v if v > 0 else slope * v for v in h]
    return h


def write_steps(path: Path, steps: Sequence[Step], inputs: int) -> Path:
    """The program as a file."""
    nodes, constants, name, width = [], {}, "x", inputs
    for k, step in enumerate(steps):
        out = "y" if k == len(steps) - 1 else f"h{k}"
        if isinstance(step, Dense):
            constants[f"w{k}"], width = step.weight.T.copy(), len(step.weight)
            made = out if step.bias is None else f"p{k}"
            nodes.append(helper.make_node("MatMul", [name, f"w{k}"], [made]))
            if step.bias is not None:
                constants[f"b{k}"] = step.bias
                nodes.append(helper.make_node("Add", [made, f"b{k}"], [out]))
        elif isinstance(step, Pairs):
            constants[f"s{k}"] = np.array([0, width // 2, 2], np.int64)
            nodes.append(helper.make_node("Reshape", [name, f"s{k}"], [f"r{k}"]))
            nodes.append(helper.make_node("ReduceMax", [f"r{k}"], [out], axes=[2], keepdims=0))
            width //= 2
        elif isinstance(step, Leaky):
            nodes.append(helper.make_node("LeakyRelu", [name], [out], alpha=step.slope))
        else:
            nodes.append(helper.make_node("Relu", [name], [out]))
        name = out
    return write_model(path, build_model(nodes, constants, ["N", inputs]))


def drawn(rng: np.random.Generator, depth: int = 3) -> tuple[list[Step], int]:
    """A random program of numbers of all sizes, and how many inputs it has."""
    inputs = int(rng.integers(1, 7))
    size, steps = inputs, list[Step]()
    for k in range(depth):
        width = int(rng.integers(1, 5)) * 2
        scale = 2.0 ** rng.integers(-4, 5, (width, 1)) if rng.integers(3) else 2.0 ** rng.integers(-90, 30, (width, 1))
        weight = (rng.normal(size=(width, size)) * scale).astype(np.float32)
        bias = (rng.normal(size=width) * scale[:, 0]).astype(np.float32) if rng.integers(3) else None
        steps.append(Dense(weight, bias))
        size = width
        if k < depth - 1:
            step: Any = [Relu(), Leaky(0.1), Pairs()][rng.integers(3)]
            steps.append(step)
            size = size // 2 if isinstance(step, Pairs) else size
    return steps, inputs
