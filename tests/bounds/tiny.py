"""Tiny networks, exact points around a sample, and linear programs over cells: the references of the tests of bounds.

Coordinates are multiples of 2^-10, so that distances are exact in float64 and every comparison can be rational.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
from layers import Affine, Diagonal, Layer, Relu, blocks_of, fused_blocks, layers_of, network_of
from numpy.typing import NDArray
from oracles import Array, Cell
from scipy.optimize import linprog

from wdaverify.certify.backward import Backward, Shells
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import INPUT, Graph
from wdaverify.graph.nodes import Affine as AffineNode
from wdaverify.network.model import ReluNetwork, readonly
from wdaverify.problem import GroundCost, Loss, Norm, Samples, Support, WdroProblem

GRID = 2.0**-10


def as_network(layers: Sequence[Layer]) -> ReluNetwork:
    """The network of the layers; the first and the last affine map tell its widths."""
    maps = [layer for layer in layers if isinstance(layer, Affine)]
    return network_of(tuple(layers), (maps[0].weight.shape[1],), (maps[-1].weight.shape[0],), "", "tiny", ())


def network(*layers: tuple[Array, Array]) -> ReluNetwork:
    """``W_k relu(... relu(W_1 x + b_1) ...) + b_k`` from pairs ``(W, b)``."""
    parts: list[Layer] = []
    for k, (weight, bias) in enumerate(layers):
        parts += [Relu()] * (k > 0) + [Affine(readonly(np.array(weight)), readonly(np.array(bias)))]
    return as_network(parts)


def factors(net: ReluNetwork) -> list[Fraction]:
    """By how much the outputs of each canonical block are larger than those of the layers it is made of."""
    out, before = list[Fraction](), Fraction(1)
    for got, was in zip(blocks_of(net.layers), fused_blocks(net), strict=True):
        at = np.unravel_index(np.abs(was.weight).argmax(), was.weight.shape)
        if was.weight[at] != 0:
            before *= Fraction(float(got.weight[at])) / Fraction(float(was.weight[at]))
        else:
            at = np.abs(was.bias).argmax()
            before = Fraction(float(got.bias[at])) / Fraction(float(was.bias[at])) if was.bias[at] else Fraction(1)
        out.append(before)
    return out


def raw(net: ReluNetwork) -> list[tuple[Array, Array]]:
    """The pairs ``(W, b)`` of a network of affine maps and ReLUs, for the oracle."""
    return [(layer.weight, layer.bias) for layer in layers_of(net) if isinstance(layer, Affine)]


def random_layers(rng: np.random.Generator, *widths: int) -> list[tuple[Array, Array]]:
    """Random pairs ``(W, b)``, float32 numbers, with kinks inside the unit box."""
    out = []
    for n, m in pairwise(widths):
        weight = (rng.normal(size=(m, n)) * 2 / np.sqrt(n)).astype(np.float32)
        out.append((weight.astype(float), (rng.normal(size=m) * 0.4).astype(np.float32).astype(float)))
    return out


def hard_network(rng: np.random.Generator) -> ReluNetwork:
    """Zero rows, dead and always-active neurons, weights of 1e6 and 1e-6, divisions by 3 and 255 and factors inside."""
    widths = [int(rng.integers(1, 5)), *(int(rng.integers(2, 8)) for _ in range(int(rng.integers(1, 4)))), 3]
    layers: list[Layer] = []
    if rng.random() < 0.6:
        n = widths[0]
        shift = readonly(rng.normal(size=n)) if rng.random() < 0.5 else readonly(np.zeros(n))
        layers.append(Diagonal(readonly(np.ones(n)), readonly(rng.choice([1.0, 3.0, 255.0, -7.0], n)), shift))
    pairs = random_layers(rng, *widths)
    for k, (weight, bias) in enumerate(pairs):
        if k < len(pairs) - 1:
            size = 1e6 if rng.random() < 0.2 else 1e-6 if rng.random() < 0.2 else 1.0
            weight, bias = weight * size, bias * size
            weight[0] = 0.0 if rng.random() < 0.5 else weight[0]
            bias[-1] += float(rng.choice([-100.0, 0.0, 100.0])) * size
        layers.append(Affine(readonly(weight), readonly(bias)))
        if rng.random() < 0.3:
            m = weight.shape[0]
            factor, divisor = readonly(rng.normal(size=m)), readonly(rng.choice([0.3, 3.0], m))
            layers.append(Diagonal(factor, divisor, readonly(rng.normal(size=m) * 0.1)))
        layers.append(Relu())
    if rng.random() < 0.8:
        layers.pop()
    return as_network(layers)


def highest(
    cost: GroundCost,
    a: Array,
    x: Array,
    lower: Array,
    upper: Array,
    near: float,
    far: float,
    lam: float | None,
) -> float:
    """The bound of ``max a.x - lam ||x - centre||^p`` over a shell: that of a network of one row."""
    graph = Graph((AffineNode((INPUT,), (Dense(a[None]),), np.zeros(1)),), a.size)
    shell = Shells.around(cost, x[None], lower, upper, np.array([near]), np.array([far]))
    none = np.zeros((1, 0), np.int8)
    power = 1 if lam is None else cost.power
    return float(Backward(graph).leaves(np.ones((1, 1)), np.array([lam or 0.0]), shell, [], none, None, power=power)[0])


def problem(
    net: ReluNetwork,
    x: Array,
    y: Sequence[int] | NDArray[np.int64],
    radius: float = 0.1,
    *,
    w: Sequence[float] | Array | None = None,
    loss: Loss = Loss.MARGIN,
    norm: Norm = Norm.INF,
    lower: float | Array = 0.0,
    upper: float | Array = 1.0,
) -> WdroProblem:
    """A question on the unit box with equal weights, unless told otherwise."""
    points = readonly(np.atleast_2d(x))
    count, n = points.shape
    mass = np.full(count, 1 / count) if w is None else np.array(w, dtype=np.float64)
    samples = Samples(points, np.array(y, dtype=np.int64), readonly(mass), "", "tiny")
    support = Support(readonly(np.broadcast_to(lower, n)), readonly(np.broadcast_to(upper, n)))
    return WdroProblem(net, samples, GroundCost(norm, 1), support, loss, radius)


def exact_values(net: ReluNetwork, x: Array) -> tuple[list[list[Fraction]], list[Fraction]]:
    """What enters each ReLU of the canonical form, and the logits, at ``x [n]`` in rational arithmetic."""
    h = [Fraction(float(v)) for v in x]
    before: list[list[Fraction]] = []
    for layer in layers_of(net):
        match layer:
            case Affine():
                rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
                h = [sum((Fraction(c) * v for c, v in zip(row, h, strict=True)), Fraction(b)) for row, b in rows]
            case Diagonal():
                parts = zip(h, layer.factor.tolist(), layer.divisor.tolist(), layer.shift.tolist(), strict=True)
                h = [v * Fraction(f) / Fraction(d) + Fraction(s) for v, f, d, s in parts]
            case Relu():
                before.append(h)
                h = [max(v, Fraction(0)) for v in h]
    scale = factors(net)
    if any(factor != 1 for factor in scale):
        before = [[factor * v for v in values] for values, factor in zip(before, scale[:-1], strict=True)]
    return before, h


def exact_distance(norm: Norm, delta: Array) -> Fraction:
    """The norm of a displacement whose doubles are exact."""
    size = [abs(Fraction(float(v))) for v in delta]
    return max(size) if norm is Norm.INF else sum(size, Fraction(0))


def on_grid(values: Array) -> Array:
    """The values rounded to multiples of 2^-10."""
    return np.round(np.asarray(values) / GRID) * GRID


def points_between(
    rng: np.random.Generator, norm: Norm, centre: Array, near: float, far: float, lower: Array, upper: Array, count: int
) -> list[Array]:
    """Points of the grid in the support with distances in ``[near, far]``: many at exactly far, corners among them.

    The centre, near, far and the box must lie on the grid.
    """
    out: list[Array] = []
    for k in range(40 * count):
        wanted = far if k % 2 else float(on_grid(np.array(rng.uniform(near, far))))
        sign = rng.choice([-1.0, 1.0], centre.size)
        if norm is Norm.INF:
            part = np.ones(centre.size) if k % 3 == 0 else rng.uniform(0, 1, centre.size)
            part[rng.integers(centre.size)] = 1.0
            delta = on_grid(sign * part * wanted)
        else:
            shares = rng.multinomial(round(wanted / GRID), rng.dirichlet(np.full(centre.size, 0.4))) * GRID
            delta = sign * shares
        x = np.clip(centre + delta, lower, upper)
        if Fraction(near) <= exact_distance(norm, x - centre) <= Fraction(far):
            out.append(x)
        if len(out) == count:
            break
    return out


def best_in_cells(
    cells: Sequence[Cell],
    functional: Array,
    lam: float,
    norm: Norm,
    centre: Array,
    near: float,
    far: float,
    lower: Array,
    upper: Array,
) -> tuple[float, Array]:
    """``max functional . f(x) - lam t`` over cells, box and ``t >= ||x - centre||, near <= t <= far``, and its point.

    For l1 ``t`` is the sum of a positive and a negative part of each coordinate, which may both be positive.
    """
    n = centre.size
    best, where = -np.inf, centre
    for cell in cells:
        slope, base = functional @ cell.G, float(functional @ (cell.G @ centre + cell.h))
        side = cell.b - cell.A @ centre
        if norm is Norm.INF:
            gain = np.append(slope, -lam)
            eye, ones = np.eye(n), np.ones((n, 1))
            zero = np.zeros((len(cell.A), 1))
            rows = np.vstack([np.hstack([cell.A, zero]), np.hstack([eye, -ones]), np.hstack([-eye, -ones])])
            sides = np.concatenate([side, np.zeros(2 * n)])
            bounds = [*zip(lower - centre, upper - centre, strict=True), (near, far)]
        else:
            gain = np.concatenate([slope - lam, -slope - lam])
            total = np.ones((1, 2 * n))
            rows = np.vstack([np.hstack([cell.A, -cell.A]), total, -total])
            sides = np.concatenate([side, [far, -near]])
            bounds = [(0.0, v) for v in np.concatenate([upper - centre, centre - lower])]
        result = linprog(-gain, A_ub=rows, b_ub=sides, bounds=bounds, method="highs")
        if result.status == 0 and base - result.fun > best:
            delta = result.x[:n] if norm is Norm.INF else result.x[:n] - result.x[n:]
            best, where = base - float(result.fun), centre + delta
    return best, where
