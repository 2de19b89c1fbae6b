"""Gurobi's quadratic rows as a second opinion on the l2 cost: distances (order 1) and point-wise worst cases (order inf).

The model is written here from scratch: big-M rows of every ReLU with bounds from interval arithmetic, and the squared
distance as objective or row. It fits the size-limited licence (200 variables with anything quadratic).
"""

from __future__ import annotations

import math

import gurobipy as gp
import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers

from wdaverify import Loss, Norm, verify
from wdaverify.ground import GroundCost
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.wdro.distances import distances

SEEDS = [pytest.param(seed, marks=[] if seed < 3 else [pytest.mark.full]) for seed in range(10)]
TOLERANCE = 2e-5


def _model(layers: list[tuple[Array, Array]], x: Array, env: gp.Env) -> tuple[gp.Model, list[gp.Var], list[gp.LinExpr]]:
    model = gp.Model(env=env)
    model.Params.MIPGap = model.Params.MIPGapAbs = 1e-9
    model.Params.FeasibilityTol = model.Params.IntFeasTol = 1e-9
    point = [model.addVar(0.0, 1.0) for _ in x]
    low, high = np.zeros(x.size), np.ones(x.size)
    now: list[gp.LinExpr | gp.Var] = list(point)
    for k, (weight, bias) in enumerate(layers):
        up, down = np.maximum(weight, 0), np.minimum(weight, 0)
        low, high = up @ low + down @ high + bias, up @ high + down @ low + bias
        before = [
            gp.quicksum(w * h for w, h in zip(row, now, strict=True)) + b for row, b in zip(weight, bias, strict=True)
        ]
        if k == len(layers) - 1:
            return model, point, before
        now = []
        for z, a, b in zip(before, low, high, strict=True):
            h, on = model.addVar(0.0, max(b, 0.0)), model.addVar(vtype=gp.GRB.BINARY)
            model.addConstr(h >= z)
            model.addConstr(h <= z - min(a, 0.0) * (1 - on))
            model.addConstr(h <= max(b, 0.0) * on)
            now.append(h)
        low, high = np.maximum(low, 0), np.maximum(high, 0)
    raise AssertionError


@pytest.fixture(scope="module")
def env() -> gp.Env:
    env = gp.Env(empty=True)
    env.setParam("OutputFlag", 0)
    env.start()
    return env


def _drawn(seed: int) -> tuple[list[tuple[Array, Array]], WdroProblem]:
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, 3, 5, 4, 3)
    asked = problem(network(*layers), rng.uniform(size=(3, 3)), rng.integers(0, 3, 3), 0.25, norm=Norm.TWO)
    return layers, asked


@pytest.mark.parametrize("seed", SEEDS)
def test_distances(seed: int, env: gp.Env) -> None:
    layers, asked = _drawn(seed)
    asked = WdroProblem(asked.network, asked.samples, asked.cost, asked.support, Loss.ZERO_ONE, asked.radius)
    result = distances(asked, gap=1e-7)
    assert result.exact
    for x, y, bracket in zip(asked.samples.x, asked.samples.y.tolist(), result.brackets, strict=True):
        best = math.inf
        for rival in set(range(3)) - {y}:
            model, point, logits = _model(layers, x, env)
            model.addConstr(logits[rival] - logits[y] >= 0)
            model.setObjective(gp.quicksum((p - v) * (p - v) for p, v in zip(point, x, strict=True)))
            model.optimize()
            if model.Status == gp.GRB.OPTIMAL:
                best = min(best, math.sqrt(max(model.ObjVal, 0.0)))
            else:
                assert model.Status in (gp.GRB.INFEASIBLE, gp.GRB.INF_OR_UNBD)
        if math.isinf(best):
            assert bracket.lower == math.inf
        else:  # the root of a tiny square magnifies the tolerance of the square
            slack = max(TOLERANCE, 3e-4 if best < 1e-2 else 0.0)
            assert bracket.lower - slack <= best <= bracket.upper + slack


@pytest.mark.parametrize("seed", SEEDS)
def test_point_wise_worst_cases(seed: int, env: gp.Env) -> None:
    layers, asked = _drawn(seed)
    cost = GroundCost(Norm.TWO, order=math.inf)
    asked = WdroProblem(asked.network, asked.samples, cost, asked.support, Loss.MARGIN, asked.radius)
    result = verify(asked, gap=1e-6)
    assert result.status == "exact"
    total = 0.0
    for x, y, w in zip(asked.samples.x, asked.samples.y.tolist(), asked.samples.w, strict=True):
        best = -math.inf
        for rival in set(range(3)) - {y}:
            model, point, logits = _model(layers, x, env)
            model.addConstr(gp.quicksum((p - v) * (p - v) for p, v in zip(point, x, strict=True)) <= asked.radius**2)
            model.setObjective(logits[rival] - logits[y], gp.GRB.MAXIMIZE)
            model.optimize()
            assert model.Status == gp.GRB.OPTIMAL
            best = max(best, model.ObjVal)
        total += w * best
    assert result.lower - TOLERANCE <= total <= result.upper + TOLERANCE
