"""The whole space: how far from a sample anything can matter, and what directions to infinity are worth.

With ``f0`` the network without biases and ``d = x - x_i``, each node differs by ``c +- e`` from what it is without them at d: the input
by ``c = x_i, e = 0``, an affine node by ``c = sum_s M_s c_s + b, e = sum_s |M_s| e_s``, a ReLU by 0 +- (|c| + e). At the output

    |f(x) - f0(d)| <= e := |c| + e,    so  c . f(x) + b  <=  C_i + s ||d||,    C_i = |c| e + b,    s = max_(||u|| <= 1) c . f0(u)

and where ``phi_i(lam) >= L`` is known, only ``C_i + s t - lam t^p > L`` matters (docs/theory.md, section 6).
"""

from __future__ import annotations

import math
import sys

import numpy as np

from wdaverify.certify.enclosure import functionals_enclosure
from wdaverify.certify.faraway import constants, linear_network, slope_problem
from wdaverify.certify.proof import Proof
from wdaverify.encoding.cost import Region
from wdaverify.engines.base import Effort, Inner
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.ground import LARGEST
from wdaverify.network.model import Array, readonly
from wdaverify.pieces import Pieces
from wdaverify.problem import Support, WdroProblem
from wdaverify.transport.ray import Ray
from wdaverify.wdro.run import Run
from wdaverify.witness.evaluate import distances_up

_SLICE = 10.0
_TRIES = 6


class Horizon:
    """The slopes at infinity of one problem on the whole space."""

    def __init__(self, problem: WdroProblem, *, proving: bool = False) -> None:
        """``proving``: whether proofs of the slopes are kept."""
        self._problem = problem
        self._pieces = Pieces.of(problem)
        network = problem.network
        self._linear, self._whole = linear_network(network), proving
        self._proofs: dict[bytes, tuple[float, Proof]] = {}
        self.upper = math.inf
        self.lower = 0.0
        self.rays: tuple[Ray, ...] = ()
        self._constant = self._constants()

    def _constants(self) -> Array:
        """``C_i``, the largest over the pieces of each sample, rounded up, ``[N]``."""
        pieces, count = self._pieces, len(self._problem.samples)
        each = np.nextafter(constants(self._problem, pieces) + pieces.offset, np.inf)
        out = np.nextafter(each.reshape(count, -1).max(axis=1), np.inf)
        return np.asarray(np.maximum(out, pieces.floor))

    def look(self, run: Run) -> None:
        """Bracket the slopes, one question for every distinct functional; those that the time leaves over are unknown above."""
        problem, pieces = self._problem, self._pieces
        used = np.flatnonzero(problem.samples.w[pieces.sample] > 0)
        keys = pieces.label[used] * (problem.network.n_outputs + 1) + pieces.code[used]
        if problem.functionals is not None:
            keys = pieces.code[used]
        elif pieces.entropy:  # the slopes of all margins of a label
            keys = pieces.label[used]
        _, chosen = np.unique(keys, return_index=True)
        upper = 0.0
        rays: dict[int, Ray] = {}
        for item in used[chosen].tolist():
            for row in pieces.rows(np.array([item]))[0]:
                if run.remaining() <= 0:
                    upper = math.inf
                    break
                bound, ray = self._slope(row, int(pieces.label[item]), run)
                upper = max(upper, bound)
                if ray is not None and (ray.label not in rays or ray.value > rays[ray.label].value):
                    rays[ray.label] = ray
        self.upper, self.rays = upper, tuple(sorted(rays.values(), key=lambda ray: -ray.value))
        self.lower = max((ray.value for ray in self.rays), default=0.0)

    def _slope(self, row: Array, label: int, run: Run) -> tuple[float, Ray | None]:
        """An upper bound of ``max row . f0(u)`` over the unit ball, and the best direction found."""
        problem = self._problem
        n = problem.network.n_inputs
        everywhere = Support.whole(n)
        region = Region(problem.cost, np.zeros(n), everywhere.lower, everywhere.upper, 0.0, 1.0)
        question = Inner(0, label, 0, region, (), 0.0, row)
        engine = CellEngine(self._linear)
        upper, ray = math.inf, None
        for tries in range(_TRIES):
            seconds = min(_SLICE * 4.0**tries, run.remaining())
            effort = Effort(1e-9, seconds, 0, 0.0, None, proof=self._whole, whole=self._whole)
            answer = engine.answer(question, effort)
            upper = min(upper, max(answer.bound, 0.0))
            if answer.proof is not None and answer.bound < self._proofs.get(row.tobytes(), (math.inf, None))[0]:
                self._proofs[row.tobytes()] = answer.bound, answer.proof
            for point in answer.points:
                ray = self._ray(row, label, point) or ray
            if answer.closed or run.remaining() <= 0:
                break
        return upper, ray

    def _ray(self, row: Array, label: int, point: Array) -> Ray | None:
        """A direction re-evaluated."""
        length = float(distances_up(self._problem.cost, point[None, :], np.zeros((1, point.size)))[0])
        if not length > 0:
            return None
        value = float(functionals_enclosure(self._linear, point[None, :], row[None, :], np.zeros((1, 1)))[0][0, 0])
        worth = math.nextafter(value / length, -math.inf) if value > 0 else 0.0
        return Ray(label, worth, readonly(point / length)) if worth > 0 else None

    def proofs(self) -> tuple[Proof, ...]:
        """What proves the slopes, functional by functional of the question that they are (``certify.faraway``)."""
        asked = slope_problem(self._problem, self._linear).functionals
        assert asked is not None
        found = [(k, self._proofs.get(row.tobytes())) for k, row in enumerate(asked.matrix)]
        return tuple(Proof(0, k, 0.0, kept[1].trees) for k, kept in found if kept is not None)

    def admitted(self, multiplier: float, gap: float) -> float:
        """The multiplier itself, or the least one above the slopes (order 2: above 0) that is worth pricing at."""
        if not math.isfinite(self.upper):
            return multiplier
        power = self._problem.cost.power
        least = gap / (4 * max(self._problem.radius**power, 1e-300))
        return min(max(multiplier, least + (self.upper if power == 1 else 0.0)), sys.float_info.max)

    def reach(self, multiplier: float, lower: Array) -> Array:
        """How far from each sample anything matters at a multiplier, rounded up, ``[N]``."""
        room = np.maximum(self._constant - lower, 0.0) * (1 + 1e-12) + 1e-300
        s = self.upper
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self._problem.cost.order == 1:
                spare = (multiplier - s) * (1 - 1e-12)
                out = room / spare if spare > 0 else np.full(room.size, math.inf)
            else:
                out = 0.5 * ((s + np.hypot(s, 2 * math.sqrt(multiplier) * np.sqrt(room))) / multiplier)
        return np.where(np.isfinite(out), out * (1 + 1e-9), math.inf)

    def far_points(self, gap: float) -> list[tuple[int, Array]]:
        """Points along the rays, so far out that what they are worth is within the gap of the ray's; order 1 only."""
        problem = self._problem
        out: list[tuple[int, Array]] = []
        if problem.cost.order != 1:
            return out
        for ray in self.rays:
            own = np.flatnonzero((problem.samples.y == ray.label) & (problem.samples.w > 0))
            if problem.cost.moves_labels or problem.functionals is not None:
                own = np.flatnonzero(problem.samples.w > 0)
            if not own.size:
                continue
            at = int(own[problem.samples.w[own].argmax()])
            far = min(32 * max(problem.radius, 1e-9) * (1 + abs(float(self._constant[at]))) / gap, LARGEST)
            for share in (1e-6, 1e-4, 1e-2, 1.0):
                out.append((at, problem.samples.x[at] + share * far * ray.direction))
        return out
