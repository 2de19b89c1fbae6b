"""Where a value can still reach a level, against points: none that reaches it is left out, and something is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from wdaverify.certify.backward import Backward, Forms, Shells
from wdaverify.certify.cutoff import Cutoff
from wdaverify.certify.peak import Price
from wdaverify.engines.loops import compiled
from wdaverify.graph.functions import relu
from wdaverify.graph.nodes import Graph, chain
from wdaverify.graph.smooth.gelu import gelu
from wdaverify.graph.smooth.sigmoid import sigmoid
from wdaverify.graph.smooth.silu import silu
from wdaverify.ground import GroundCost, Norm

FUNCTIONS = (silu, gelu, sigmoid, relu)
COUNT = 4000


def narrowed(seed: int, *, quick: bool = False) -> tuple[int, int]:
    """How many of the points that count were kept (all, or it fails), and how many of the others are left out."""
    rng = np.random.default_rng([41, seed])
    make, norm, power = FUNCTIONS[seed % 4], tuple(Norm)[seed % 3], 1 + seed % 2
    sizes = [3, 5, 4, 2]
    layers = [(rng.normal(size=(b, a)), rng.normal(size=b)) for a, b in pairwise(sizes)]
    graph = chain(layers, make())
    backward = Backward(graph, loops=compiled() if quick else None)
    lower, upper = -np.ones(3), np.ones(3)
    centre, near, far = rng.uniform(-0.5, 0.5, (1, 3)), np.array([0.1]), np.array([0.9])
    shells = Shells.around(GroundCost(norm, power), centre, lower, upper, near, far)
    ends = ends_of(backward, shells)
    at = int(rng.integers(graph.neurons))
    ends[0, seed % 2, at] = ends[0, :, at].mean()
    bounds = [(ends[:, 0, a:b], ends[:, 1, a:b]) for a, b in pairwise(graph.edges.tolist())]
    functional, tau = rng.normal(size=(1, 2)), rng.uniform(0.2, 2.0, 1)
    nu = rule(graph, functional, bounds) * rng.uniform(0.8, 1.2, (1, graph.neurons))
    points, distance = points_of(rng, shells, norm)
    values = graph.values(points)
    z = np.concatenate([values[graph.source(k)] for k in graph.elementwise], axis=1)
    here = ((z >= ends[0, 0]) & (z <= ends[0, 1])).all(axis=1)
    points, distance, z = points[here], distance[here], z[here]
    value = (values[-1][here] @ functional.T)[:, 0] - tau * distance**power
    cutoff = Cutoff(graph, backward)
    form = cutoff.asked(functional, shells, bounds, nu)
    assert (points @ form.pull[0, 0] + form.constant[0, 0] >= (values[-1][here] @ functional.T)[:, 0]).all()
    level = np.array([np.quantile(value, 0.97)])
    price = Price(tau, power, None)
    less = cutoff.distances(form, shells, price, level)
    found = cutoff.neurons(form, less, price, level, ends, rng.random((1, graph.neurons)))[0]
    counts = value >= level
    slack = 1e-12
    inside = (distance >= less.near[0] - slack) & (distance <= less.far[0] + slack)
    inside &= ((z >= found[0] - slack) & (z <= found[1] + slack)).all(axis=1)
    assert counts.any()
    assert inside[counts].all()
    by_rule = cutoff.by_rule(shells, ends)[0]
    assert ((z >= by_rule[0] - slack) & (z <= by_rule[1] + slack)).all()
    return int(counts.sum()), int((~inside).sum())


def ends_of(backward: Backward, shells: Shells) -> np.ndarray:
    bounds = backward.pre_activations(shells)
    return np.stack([np.concatenate([pair[side] for pair in bounds], axis=1) for side in (0, 1)], axis=1)


def rule(graph: Graph, functional: np.ndarray, bounds: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The row that lines by rule make, of a chain."""
    out, q = [], functional
    for number in range(len(bounds) - 1, -1, -1):
        place = graph.elementwise[number]
        node = graph.nodes[place + 1]
        q = node.maps[0].back(q)  # type: ignore[union-attr]
        q = graph.function(place).by_rule(q, *bounds[number])
        out.insert(0, q)
    return np.concatenate(out, axis=1)


def points_of(rng: np.random.Generator, shells: Shells, norm: Norm) -> tuple[np.ndarray, np.ndarray]:
    """Points of the shell, many of them at corners of balls, and their distances."""
    order = {Norm.INF: np.inf, Norm.ONE: 1, Norm.TWO: 2}[norm]
    move = rng.normal(size=(COUNT, 3))
    move[: COUNT // 3] = np.sign(move[: COUNT // 3])
    move[COUNT // 3 : COUNT // 2] *= rng.uniform(size=(COUNT // 2 - COUNT // 3, 3)) < 0.4
    length = np.linalg.norm(move, ord=order, axis=1)
    wanted = rng.uniform(shells.near[0], shells.far[0], COUNT)
    move = move / np.maximum(length, 1e-300)[:, None] * wanted[:, None]
    points = np.clip(shells.centre + move, -1, 1)
    distance = np.linalg.norm(points - shells.centre, ord=order, axis=1)
    kept = (distance >= shells.near[0]) & (distance <= shells.far[0])
    return points[kept], distance[kept]


@pytest.mark.parametrize("seed", [pytest.param(k, marks=[] if k < 24 else pytest.mark.full) for k in range(300)])
def test_no_point_that_reaches_the_level_is_left_out(seed: int) -> None:
    narrowed(seed, quick=seed % 5 == 0)


def test_what_cannot_reach_it_is() -> None:
    left_out = [narrowed(seed)[1] for seed in range(12)]
    assert sum(count > COUNT // 40 for count in left_out) >= 6, left_out
    assert max(left_out) > COUNT // 3, left_out


def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A form whose constant is forgotten leaves out points that count."""
    monkeypatch.setattr(
        Forms,
        "beside",
        lambda self, weight, other: Forms(
            weight[..., None] * self.pull + other.pull, 0 * weight + other.constant, self.size
        ),
    )
    with pytest.raises(AssertionError):
        [narrowed(seed) for seed in range(12)]
