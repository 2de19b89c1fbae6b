"""One sample's MILPs by gurobi-machinelearning and Gurobi, as its users write them: the network as a predictor, bounds left to presolve.

The network goes in as a float64 ``torch.nn.Sequential``. x lies in the support, ``t`` bounds its distance from the sample:
``|x_k - x_ik| <= t`` (l-inf), or ``|x_k - x_ik| <= t_k`` and the cost is their sum (l1). One thread; tolerances a hundredth of the
gap, at most Gurobi's own default of 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import gurobipy
import numpy as np
import torch
from chains import weights
from gurobi_ml import add_predictor_constr
from gurobipy import GRB
from outcome import RefusedError, Solved

from wdaverify import Norm, WdroProblem
from wdaverify.network.model import ReluNetwork


@cache
def _environment() -> gurobipy.Env:
    environment = gurobipy.Env(empty=True)
    environment.setParam("OutputFlag", 0)
    environment.start()
    return environment


def sequential(network: ReluNetwork) -> torch.nn.Sequential:
    """The canonical form as torch layers, float64."""
    layers: list[torch.nn.Module] = []
    for weight, bias in weights(network):
        linear = torch.nn.Linear(*weight.shape[::-1], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(weight))
            linear.bias.copy_(torch.tensor(bias))
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


class _Model:
    """What both questions share: the input, its distance from the sample, and the logits."""

    def __init__(self, problem: WdroProblem, sample: int, gap: float) -> None:
        network, centre = problem.network, problem.samples.x[sample]
        self.model = gurobipy.Model(env=_environment())
        tolerance = max(1e-9, min(1e-6, 1e-2 * gap))
        names = ("FeasibilityTol", "IntFeasTol", "OptimalityTol")
        settings = {"Threads": 1, "MIPGap": 0.0, "MIPGapAbs": gap, **dict.fromkeys(names, tolerance)}
        for name, value in settings.items():
            self.model.setParam(name, value)
        support = problem.support
        self.x = self.model.addMVar(network.n_inputs, lb=support.lower, ub=support.upper)
        size = 1 if problem.cost.norm is Norm.INF else network.n_inputs
        distance = self.model.addMVar(size, lb=0.0)
        self.model.addConstr(self.x - distance <= centre)
        self.model.addConstr(-self.x - distance <= -centre)
        self.cost = distance.sum()
        self.z = self.model.addMVar(network.n_outputs, lb=-GRB.INFINITY)
        add_predictor_constr(self.model, sequential(network), self.x, self.z)

    def solve(self, seconds: float) -> Solved:
        """Solve from where the last solve ended.

        Raises:
            RefusedError: the licence does not admit the model.
        """
        self.model.setParam("TimeLimit", max(seconds, 0.0))
        try:
            self.model.optimize()
        except gurobipy.GurobiError as error:
            raise RefusedError(f"Gurobi: {' '.join(str(error).split())}") from None
        sense = self.model.ModelSense
        if self.model.Status == GRB.INFEASIBLE:
            return Solved(sense * math.inf, None, True)
        point = np.array(self.x.X) if self.model.SolCount else None
        return Solved(float(self.model.ObjBound), point, self.model.Status == GRB.OPTIMAL)


class GurobiInner(_Model):
    """``max z_rival - z_label - lam ||x - x_i||``, built once, the multiplier changed: Gurobi starts from its last solution."""

    def __init__(self, problem: WdroProblem, sample: int, rival: int, gap: float) -> None:
        super().__init__(problem, sample, gap)
        self._margin = self.z[rival] - self.z[int(problem.samples.y[sample])]

    def at(self, multiplier: float, seconds: float) -> Solved:
        """The answer at a multiplier."""
        self.model.setObjective(self._margin - multiplier * self.cost, GRB.MAXIMIZE)
        return self.solve(seconds)


class GurobiDistance(_Model):
    """``min ||x - x_i||`` where one of the rivals ties or wins; several rivals share a model with a selector (indicators)."""

    def __init__(self, problem: WdroProblem, sample: int, rivals: Sequence[int], gap: float) -> None:
        super().__init__(problem, sample, gap)
        label = int(problem.samples.y[sample])
        if len(rivals) == 1:
            self.model.addConstr(self.z[rivals[0]] >= self.z[label])
        else:
            chosen = self.model.addMVar(len(rivals), vtype=GRB.BINARY)
            self.model.addConstr(chosen.sum() == 1)
            for k, rival in enumerate(rivals):
                self.model.addGenConstrIndicator(chosen[k].item(), True, (self.z[rival] - self.z[label]).item() >= 0.0)
        self.model.setObjective(self.cost, GRB.MINIMIZE)
