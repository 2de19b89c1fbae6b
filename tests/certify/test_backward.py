"""The linear bound of a leaf: never below what points of the leaf attain, and exact where every phase is fixed."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from bounds.tiny import best_in_cells, hard_network, network, problem, random_layers, raw
from layers import blocks_of
from oracles import Array, enumerate_cells
from witness.rationals import true_distance, true_logits

from wdaverify import verify
from wdaverify.certify import backward as module
from wdaverify.certify.backward import Backward, Shells
from wdaverify.certify.upper import distance_bounds, margin_bounds
from wdaverify.graph.functions import relu
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import GroundCost, Loss, Norm

NORMS = [Norm.INF, Norm.ONE]
SEEDS = [pytest.param(s, marks=[] if s < 15 else [pytest.mark.full]) for s in range(80)]
GRID = 2.0**-10


def pre_activations(net: ReluNetwork, x: Array) -> Array:
    """All hidden pre-activations of the canonical form at points ``[B, n]``, in float64."""
    out, h = [np.zeros((len(x), 0))], x
    for block in blocks_of(net.layers)[:-1]:
        z = h @ block.weight.T + block.bias
        out.append(z)
        h = np.maximum(z, 0)
    return np.concatenate(out, axis=1)


def shell_with_points(rng: np.random.Generator, n: int, norm: Norm) -> tuple[Shells, Array]:
    """One shell of the unit box around a grid point, and grid points of it."""
    centre = np.round(rng.uniform(size=n) / GRID) * GRID
    centre = np.where(rng.random(n) < 0.3, np.round(centre), centre)
    points = np.round(rng.uniform(size=(400, n)) / GRID) * GRID
    points[:200] = np.clip(centre + np.round((points[:200] - 0.5) * 0.2 / GRID) * GRID, 0, 1)
    distance = np.abs(points - centre).max(axis=1) if norm is Norm.INF else np.abs(points - centre).sum(axis=1)
    near, far = sorted(rng.choice(distance, 2))
    kept = points[(distance >= near) & (distance <= far)]
    return Shells.around(
        GroundCost(norm, 1), centre[None], np.zeros(n), np.ones(n), np.array([near]), np.array([far])
    ), kept


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_point_of_a_leaf_exceeds_its_bound(seed: int, norm: Norm) -> None:
    """Any nu, any phases, networks with dead, duplicate, huge and tiny neurons: compared in rationals at the worst points."""
    rng = np.random.default_rng(seed)
    net = hard_network(rng)
    backward = Backward(net.layers)
    shell, points = shell_with_points(rng, net.n_inputs, norm)
    bounds = backward.pre_activations(shell)
    z = pre_activations(net, points)
    low, high = (np.concatenate([b[k][0] for b in bounds]) if bounds else np.zeros(0) for k in (0, 1))
    slack = 1e-9 * np.maximum(np.abs(low), np.abs(high))
    assert (z >= low - slack).all()
    assert (z <= high + slack).all()
    for trial in range(6):
        phases = np.where(rng.random(backward.neurons) < 0.4, rng.choice([-1, 1], backward.neurons), 0)
        if trial == 0:
            phases[:] = 0
        elif trial < 4:
            phases = phases * np.abs(np.sign(z[0])) if trial == 1 else np.where(phases != 0, np.sign(z[0]), 0)
        phases = phases.astype(np.int8)
        inside = points[((phases[None] * z) >= 0).all(axis=1)]
        functional, tau = rng.normal(size=(1, net.n_outputs)), np.array([abs(rng.normal()) * 3 * (trial % 2)])
        given = None if trial % 3 == 0 else rng.normal(size=(1, backward.neurons)) * 10.0 ** rng.integers(-3, 3)
        top = backward.leaves(functional, tau, shell, bounds, phases[None], given)[0]
        cost = np.abs(inside - shell.centre[0])
        cost = cost.max(axis=1) if norm is Norm.INF else cost.sum(axis=1)
        values = net.forward(inside) @ functional[0] - tau[0] * cost
        for at in np.argsort(-values)[:2]:
            logits = true_logits(net, inside[at])
            value = sum((Fraction(c) * v for c, v in zip(functional[0].tolist(), logits, strict=True)), Fraction(0))
            value -= Fraction(float(tau[0])) * true_distance(norm, inside[at], shell.centre[0])
            assert (math.isinf(top) and top > 0) or Fraction(float(top)) >= value


@pytest.mark.parametrize(
    ("where", "name", "spoil"),
    [
        (type(relu()), "gain", lambda self, q, nu, low, high: (np.zeros_like(q), np.zeros_like(q))),
        (
            module,
            "peak",
            lambda q, slip, shells, price: ((q * shells.centre[:, None, :]).sum(-1), np.zeros(q.shape[:2])),
        ),
    ],
)
def test_a_planted_fault_is_noticed(where: object, name: str, spoil: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, name, spoil)

    def look() -> None:
        for seed in range(10):
            test_no_point_of_a_leaf_exceeds_its_bound(seed, Norm.INF)

    with pytest.raises(AssertionError):
        look()


def test_a_leaf_without_room_is_empty() -> None:
    net = network(([[1.0]], [2.0]), ([[1.0], [0.0]], [0.0, 0.0]))  # z = x + 2 >= 2 on the unit box
    backward = Backward(net.layers)
    shell = Shells.around(GroundCost(Norm.INF, 1), np.array([[0.5]]), np.zeros(1), np.ones(1), np.zeros(1), np.ones(1))
    bounds = backward.pre_activations(shell)
    dead = np.array([[-1]], np.int8)
    assert backward.leaves(np.array([[1.0, -1.0]]), np.zeros(1), shell, bounds, dead, None)[0] == -math.inf
    active = -dead
    top = backward.leaves(np.array([[1.0, -1.0]]), np.zeros(1), shell, bounds, active, None)[0]
    assert 3.0 <= top <= 3.0 + 1e-12


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(s, marks=pytest.mark.full) for s in range(4, 8))])
def test_proofs_of_runs_are_tight_and_true(seed: int, norm: Norm) -> None:
    """phi_ij by every proof of a run, at its own and at other multipliers, against the linear programs of all cells."""
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 6, 4, 3))
    x = rng.uniform(size=(2, 2))
    y = net.forward(x).argmax(axis=1)
    asked = problem(net, x, y, 0.15, norm=norm)
    certificate = verify(asked, certificate=True).certificate
    assert certificate is not None
    cells = enumerate_cells(raw(net), np.zeros(2), np.ones(2))
    for shift in (1.0, 0.5, 2.0):
        lam = certificate.multiplier * shift
        bounds, _ = margin_bounds(asked, certificate.proofs, np.full(len(certificate.proofs), lam))
        best = np.full(2, -math.inf)
        for proof, bound in zip(certificate.proofs, bounds, strict=True):
            c = np.zeros(3)
            c[proof.rival], c[y[proof.sample]] = 1.0, -1.0
            centre = x[proof.sample]
            truth, _ = best_in_cells(cells, c, lam, norm, centre, 0.0, 2.0, np.zeros(2), np.ones(2))
            assert bound >= truth - 1e-12
            best[proof.sample] = max(best[proof.sample], truth)
        if shift == 1.0:
            proven = np.array(
                [max(bounds[k] for k, p in enumerate(certificate.proofs) if p.sample == i) for i in (0, 1)]
            )
            assert (proven >= best - 1e-12).all()
    zero_one = verify(replace(asked, loss=Loss.ZERO_ONE), certificate=True)
    assert zero_one.certificate is not None
    low, _ = distance_bounds(asked, zero_one.certificate.proofs)
    for bracket in zero_one.per_sample:
        own = [low[k] for k, p in enumerate(zero_one.certificate.proofs) if p.sample == bracket.sample]
        assert min(own, default=0.0) <= bracket.upper + 1e-12
