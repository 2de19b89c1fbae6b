"""The network in fractions, one number at a time, as the reference of these tests; and random networks."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
from layers import Affine, Diagonal, Layer, Relu, layers_of, network_of

from wdaverify.network.model import ReluNetwork, readonly
from wdaverify.problem import GroundCost, Loss, Norm, Samples, Support, WdroProblem

Vector = list[Fraction]


def fractions(values: np.ndarray) -> Vector:
    return [Fraction(float(v)) for v in values]


def true_logits(network: ReluNetwork, x: np.ndarray) -> Vector:
    h = fractions(x)
    for layer in layers_of(network):
        if isinstance(layer, Affine):
            rows = [fractions(row) for row in layer.weight]
            h = [
                sum(w * v for w, v in zip(row, h, strict=True)) + b
                for row, b in zip(rows, fractions(layer.bias), strict=True)
            ]
        elif isinstance(layer, Diagonal):
            parts = zip(h, fractions(layer.factor), fractions(layer.divisor), fractions(layer.shift), strict=True)
            h = [v * f / d + s for v, f, d, s in parts]
        else:
            h = [max(v, Fraction(0)) for v in h]
    return h


def true_margins(network: ReluNetwork, x: np.ndarray, y: int) -> Vector:
    z = true_logits(network, x)
    return [v - z[y] for v in z]


def true_loss(problem: WdroProblem, x: np.ndarray, y: int) -> Fraction:
    margins = true_margins(problem.network, x, y)
    margin = max(m for j, m in enumerate(margins) if j != y)
    return margin if problem.loss is Loss.MARGIN else Fraction(int(margin >= 0))


def true_distance(norm: Norm, x: np.ndarray, origin: np.ndarray) -> Fraction:
    size = [abs(a - b) for a, b in zip(fractions(x), fractions(origin), strict=True)]
    return max(size) if norm is Norm.INF else sum(size, Fraction(0))


def as_network(layers: list[Layer], n_inputs: int, n_outputs: int) -> ReluNetwork:
    return network_of(tuple(layers), (n_inputs,), (n_outputs,), "", "test", ())


def diagonal(factor: list[float], divisor: list[float], shift: list[float]) -> Diagonal:
    return Diagonal(*(readonly(np.array(v)) for v in (factor, divisor, shift)))


def affine(weight: np.ndarray, bias: np.ndarray) -> Affine:
    return Affine(readonly(weight), readonly(bias))


def linear(weight: list[list[float]], bias: list[float]) -> ReluNetwork:
    return as_network([affine(np.array(weight), np.array(bias))], len(weight[0]), len(weight))


def random_network(rng: np.random.Generator, single: bool = False) -> ReluNetwork:
    """Normalisation by 3 or 255 in front, a diagonal inside, wide ranges of magnitudes, sometimes a last ReLU."""
    widths = [int(v) for v in (rng.integers(1, 6), rng.integers(1, 8), rng.integers(1, 8), rng.integers(2, 5))]
    kind = np.float32 if single else np.float64

    def numbers(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * 10.0 ** rng.integers(-2, 3)).astype(kind).astype(np.float64)

    layers: list[Layer] = []
    if rng.random() < 0.6:
        n = widths[0]
        divisor = rng.choice([3.0, 255.0, 1.0, -7.0], n)
        layers.append(Diagonal(readonly(np.ones(n)), readonly(divisor), readonly(numbers(n))))
    for a, b in pairwise(widths):
        layers += [affine(numbers(b, a), numbers(b))]
        if rng.random() < 0.3:
            layers.append(Diagonal(readonly(numbers(b)), readonly(rng.choice([0.3, 3.0], b)), readonly(np.zeros(b))))
        layers.append(Relu())
    if rng.random() < 0.7:
        layers.pop()
    return as_network(layers, widths[0], widths[-1])


def as_problem(
    network: ReluNetwork,
    x: np.ndarray,
    y: list[int],
    w: list[float],
    radius: float,
    loss: Loss = Loss.MARGIN,
    norm: Norm = Norm.INF,
) -> WdroProblem:
    samples = Samples(readonly(np.array(x)), np.array(y, dtype=np.int64), readonly(np.array(w)), "", "test")
    support = Support.box(0.0, 1.0, network.n_inputs)
    return WdroProblem(network, samples, GroundCost(norm, 1), support, loss, radius)
