"""Slopes in the order of layers: degenerate networks of one input in rationals, proofs that there is no room, and planted faults."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from bounds.tiny import network, random_layers, raw
from lipschitz.slopes import steepest
from oracles import Array
from scipy.optimize import linprog

from wdaverify.certify.unbounded import constant_sum, crossing
from wdaverify.engines.cells import layered, polyhedra, slopes
from wdaverify.graph.nodes import Graph
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.lipschitz.result import LipschitzResult
from wdaverify.network.model import ReluNetwork

Layers = list[tuple[Array, Array]]
Line = tuple[Fraction, Fraction]
"""A slope and a constant."""


def seeds(quick: int, complete: int) -> list[object]:
    return [pytest.param(s, marks=() if s < quick else pytest.mark.full) for s in range(complete)]


def degenerate(seed: int, scaled: int = 0) -> Layers:
    """Networks of one input: small integers, pairs, duplicates, dead neurons; neurons times powers of two up to ``2^scaled`` either way."""
    rng = np.random.default_rng(seed)
    widths = [1, *rng.integers(2, 6, size=1 + seed % 3).tolist(), 1]
    layers = []
    for n, m in pairwise(widths):
        weight, bias = rng.integers(-2, 3, (m, n)).astype(float), rng.integers(-3, 4, m) * (rng.random(m) < 0.6)
        kind = rng.integers(0, 4, m)
        for j in range(1, m):
            if kind[j] < 2:
                weight[j], bias[j] = (1 - 2 * kind[j]) * weight[j - 1], (1 - 2 * kind[j]) * bias[j - 1]
        layers.append((weight, bias))
    for k in range(len(layers) - 1):
        power = np.exp2(rng.integers(-scaled, scaled + 1, len(layers[k][1])))
        layers[k] = power[:, None] * layers[k][0], power * layers[k][1]
        layers[k + 1] = layers[k + 1][0] / power, layers[k + 1][1]
    return layers


def in_rationals(layers: Layers, low: Fraction | None, high: Fraction | None) -> Fraction:
    """The steepest slope of a network of one input between two numbers (None: none), cell by cell."""
    cells: list[tuple[Fraction | None, Fraction | None, list[Line]]] = [(low, high, [(Fraction(1), Fraction(0))])]
    for k, (weight, bias) in enumerate(layers):
        made = []
        for start, end, given in cells:
            lines = [affine(row, float(b), given) for row, b in zip(weight, bias, strict=True)]
            if k == len(layers) - 1:
                made.append((start, end, lines))
                continue
            kinks = sorted({-g / s for s, g in lines if s and inside(-g / s, start, end)})
            for a, b in pairwise([start, *kinks, end]):
                x = middle(a, b)
                made.append((a, b, [(s, g) if s * x + g > 0 else (Fraction(0), Fraction(0)) for s, g in lines]))
        cells = made
    return max(abs(lines[0][0]) for _, _, lines in cells)


def affine(row: Array, bias: float, given: list[Line]) -> Line:
    parts = [(Fraction(w) * s, Fraction(w) * g) for w, (s, g) in zip(row.tolist(), given, strict=True)]
    return sum((s for s, _ in parts), Fraction(0)), sum((g for _, g in parts), Fraction(bias))


def inside(x: Fraction, start: Fraction | None, end: Fraction | None) -> bool:
    return (start is None or x > start) and (end is None or x < end)


def middle(start: Fraction | None, end: Fraction | None) -> Fraction:
    if start is None or end is None:
        return Fraction(0) if start is end else end - 1 if start is None else start + 1  # type: ignore[operator]
    return (start + end) / 2


def ask(net: ReluNetwork, support: Support, norm: Norm = Norm.TWO) -> LipschitzResult:
    return lipschitz(LipschitzProblem(net, GroundCost(norm, 1), support, Measure.operator_norm(net)), time_limit=30.0)


@pytest.mark.parametrize("scaled", [0, 20])
@pytest.mark.parametrize("seed", seeds(25, 300))
def test_degenerate_networks_in_rationals(seed: int, scaled: int) -> None:
    layers = degenerate(seed, scaled)
    net = network(*layers)
    for support, ends in (
        (Support.whole(1), (None, None)),
        (Support.box(-1.0, 2.0, 1), (Fraction(-1), Fraction(2))),
    ):
        truth = float(in_rationals(layers, *ends))
        found = ask(net, support)
        assert found.lower <= truth * (1 + 1e-12) + 1e-12
        assert truth * (1 - 1e-12) - 1e-12 <= found.upper
        assert found.status == "exact", (found.notices, found.lower, found.upper, truth)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("seed", seeds(3, 40))
def test_relaxations_of_wide_boxes_agree(seed: int, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """What boxes of many features are searched by, on small ones."""
    monkeypatch.setattr(slopes, "_FEATURES", 0)
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 4, 3, 2))
    truth = steepest(raw(net), np.eye(2), norm.value, np.full(2, -1.0), np.ones(2), together=True)
    found = ask(net, Support.box(-1.0, 1.0, 2), norm)
    assert found.status == "exact"
    assert found.lower - 1e-9 <= truth <= found.upper + 1e-9


def patterns(layers: Layers, x: Array) -> Array:
    """Phases ``[M]`` of all hidden neurons at a point."""
    out = []
    for weight, bias in layers[:-1]:
        z = weight @ x + bias
        out.append(np.where(z > 0, 1, -1))
        x = np.maximum(z, 0.0)
    return np.concatenate(out).astype(np.int8)


def half_spaces(phases: Array, layers: Layers) -> tuple[Array, Array]:
    """The rows ``[M, n + 1]`` of phases in floats, of unit normals, and what they were divided by."""
    n = layers[0][0].shape[1]
    linear, constant, rows, first = np.eye(n), np.zeros(n), list[Array](), 0
    for weight, bias in layers[:-1]:
        linear, constant = weight @ linear, weight @ constant + bias
        side = phases[first : first + len(bias)].astype(float)
        first += len(bias)
        rows.append(side[:, None] * np.column_stack([linear, constant]))
        linear, constant = (side > 0)[:, None] * linear, (side > 0) * constant
    table = np.concatenate(rows)
    size = np.linalg.norm(table[:, :n], axis=1).clip(1e-300)
    return table / size[:, None], size


def impossible(phases: Array, layers: Layers) -> Array | None:
    """Multipliers that a float program finds of phases that no point has; None where some point may have them."""
    table, _ = half_spaces(phases, layers)
    n = table.shape[1] - 1
    equal = np.column_stack([table[:, :n], np.ones(len(table))]).T
    found = linprog(table[:, n], A_eq=equal, b_eq=np.append(np.zeros(n), 1.0), bounds=(0, None), method="highs")
    return None if found.status != 0 or found.fun > -1e-6 else np.asarray(found.x)


def test_half_spaces_that_share_no_point_are_proved_and_others_never() -> None:
    """On R^n: multipliers of programs prove it; of phases that a point has no multipliers do, however they are chosen."""
    rng, at = np.random.default_rng(0), np.arange(13)
    proved = asked = 0
    for seed in range(60):
        layers = random_layers(np.random.default_rng(seed), 3, 7, 6, 1)
        graph = network(*layers).canonical
        if graph.neurons < 13:
            continue  # one that is never on

        def shown(phases: Array, y: Array, layers: Layers = layers, graph: Graph = graph) -> bool:
            table, size = half_spaces(phases, layers)
            loose = 1e-13 * (1 + np.abs(table))
            by_layers = constant_sum(graph, phases.astype(np.int8), at, phases.astype(float), y / size)
            return by_layers or crossing(table[:, :3], table[:, 3], loose, y)

        phases = np.where(rng.random(13) < 0.5, 1, -1)
        found = impossible(phases, layers)
        if found is not None:
            asked += 1
            proved += shown(phases, found)
        real = patterns(layers, rng.normal(size=3) * 2.0 ** rng.uniform(-3, 3))
        for y in (rng.random(13), rng.random(13) * (rng.random(13) < 0.4), *([] if found is None else [found])):
            assert not shown(real, y)
    assert asked >= 20
    assert proved >= 0.9 * asked


def test_a_side_that_is_wrongly_cut_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """``3 relu(x) - 5 relu(w - x)`` is steepest, 8, on (0, w): where sides with room are given up the bracket is below that."""
    first = np.array([[1.0], [-1.0], [1.0], [1.0], [1.0]]), np.array([0.0, 2.0**-30, -1.0, -2.0, -3.0])
    net = network(first, (np.array([[3.0, -5.0, 0.125, 0.125, 0.125]]), np.zeros(1)))
    assert ask(net, Support.whole(1)).upper >= 8
    monkeypatch.setattr(polyhedra.Polyhedra, "empty", lambda *_: True)
    monkeypatch.setattr(polyhedra, "FLAT", 2.0)
    monkeypatch.setattr(layered, "_LEAST", 2.0)
    assert ask(net, Support.whole(1)).upper < 8
