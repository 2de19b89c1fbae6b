"""One sample's MILPs by HiGHS: the package's own big-M encoding (``encoding``) of the whole support with plain interval bounds.

No region is cut off, nothing is screened and nothing tightened; HiGHS runs with the settings of our own back-end, on one thread.
Neurons that pass 0 by less than 1e-9 count as fixed on the other side: with columns of such widths HiGHS's presolve (1.15.1) cut
off the optimum of ``digits_16x16`` and called what was left optimal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import highspy
import numpy as np
from chains import weights
from outcome import RefusedError, Solved

from wdaverify import WdroProblem
from wdaverify.encoding.cost import Region, add_input
from wdaverify.encoding.inner import inner_model
from wdaverify.encoding.milp import MilpModel, ModelBuilder
from wdaverify.encoding.relu import HiddenBounds, add_margins
from wdaverify.solvers.base import MilpLimits, MilpStatus
from wdaverify.solvers.highs import HighsSolver, _read, _translate

_NOTHING = 1e-9
_CLOSED = (MilpStatus.OPTIMAL, MilpStatus.INFEASIBLE)


def interval_bounds(problem: WdroProblem) -> HiddenBounds:
    """Pre-activation bounds over the support by interval arithmetic; a neuron is dead or active from ``_NOTHING`` on."""
    low, high, tiny = problem.support.lower, problem.support.upper, float(np.finfo(np.float64).tiny)
    out = []
    for weight, bias in weights(problem.network)[:-1]:
        up, down = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
        low, high = up @ low + down @ high + bias, up @ high + down @ low + bias
        dead = high <= _NOTHING
        low, high = np.where(~dead & (low >= -_NOTHING), tiny, low), np.where(dead, -_NOTHING, high)
        low = np.minimum(low, high)
        out.append((low, high))
        low, high = np.maximum(low, 0.0), np.maximum(high, 0.0)
    return out


def everywhere(problem: WdroProblem, sample: int) -> Region:
    """The whole support as one region around a sample."""
    support, x = problem.support, problem.samples.x[sample]
    far = float(problem.cost.distance(np.maximum(support.upper - x, x - support.lower))) * (1 + 1e-12)
    return Region(problem.cost, x, support.lower, support.upper, 0.0, far)


class _Session:
    """A model kept in HiGHS, whose costs may change; it starts from its last solution."""

    def __init__(self, model: MilpModel, gap: float) -> None:
        self._model, self._last = model, None
        self._solver = highspy.Highs()
        HighsSolver._configure(self._solver, MilpLimits(gap, math.inf, None, None, 0))
        if self._solver.passModel(_translate(model)) == highspy.HighsStatus.kError:
            raise RefusedError("HiGHS refused the model")

    def solve(self, seconds: float) -> Solved:
        """Solve within so many seconds."""
        count = self._model.n_columns
        self._solver.setOptionValue("time_limit", self._solver.getRunTime() + max(seconds, 0.0))
        if self._last is not None:
            self._solver.setSolution(count, np.arange(count, dtype=np.int32), self._last)
        begun = time.perf_counter()
        self._solver.run()
        outcome = _read(self._solver, self._model, time.perf_counter() - begun)
        self._last = outcome.columns
        point = None if outcome.columns is None else self._model.point(outcome.columns)
        return Solved(outcome.bound, point, outcome.status in _CLOSED)


class HighsInner(_Session):
    """``max z_rival - z_label - lam ||x - x_i||``, built once, the multiplier changed."""

    def __init__(self, problem: WdroProblem, sample: int, rival: int, gap: float) -> None:
        region, bounds = everywhere(problem, sample), interval_bounds(problem)
        label, graph = int(problem.samples.y[sample]), problem.network.canonical
        free, priced = (inner_model(graph, bounds, region, label, rival, lam) for lam in (0.0, 1.0))
        self._margin, self._price = free.objective, priced.objective - free.objective
        super().__init__(priced, gap)

    def at(self, multiplier: float, seconds: float) -> Solved:
        """The answer at a multiplier."""
        cost = self._margin + multiplier * self._price
        self._solver.changeColsCost(cost.size, np.arange(cost.size, dtype=np.int32), cost)
        return self.solve(seconds)


class HighsDistance(_Session):
    """``min ||x - x_i||`` where one of the rivals ties or wins; several rivals share a model with a selector (big-M)."""

    def __init__(self, problem: WdroProblem, sample: int, rivals: Sequence[int], gap: float) -> None:
        builder, region = ModelBuilder(), everywhere(problem, sample)
        encoded = add_input(builder, region)
        label, graph = int(problem.samples.y[sample]), problem.network.canonical
        margins = add_margins(builder, graph, interval_bounds(problem), region, encoded, label, rivals)
        chosen = builder.columns(np.zeros(len(rivals)), np.ones(len(rivals)), integer=True)
        builder.row(chosen, np.ones(chosen.size), 1.0, 1.0)
        for margin, pick in zip(margins, chosen, strict=True):
            index, coefficient = np.append(margin.index, pick), np.append(margin.coefficient, -margin.size)
            builder.row(index, coefficient, -margin.offset - margin.slack - margin.size, math.inf)
        ones, inputs = np.ones(encoded.cost.size), (encoded.inputs, encoded.negative_inputs)
        objective = {"maximise": False, "index": encoded.cost, "coefficient": ones, "offset": 0.0, "slack": 0.0}
        where = {"centre": region.centre, "inputs": inputs[0], "negative_inputs": inputs[1]}
        super().__init__(builder.build(**objective, **where), gap)
