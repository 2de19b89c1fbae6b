"""The programs of a question, one for each sample and piece of its loss: for whoever wants to ask another solver.

    pieces      phi_ik = max c_k . z(x) - lam ||x - x_i||^p,   V <= lam radius^p + sum_i w_i max(floor, max_k phi_ik + b_k - lam charge_k)
    zero-one    d_ij = min ||x - x_i||  s.t.  z_j >= z_y,      V = the mass that errors can be bought for, nearest first

At order inf the first has no multiplier, and x stays within the radius. With the best multiplier the first line is an equation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wdaverify.certify.enclosure import functionals_enclosure
from wdaverify.encoding.milp import MilpModel
from wdaverify.encoding.start import start_at
from wdaverify.engines.base import Distance, Inner
from wdaverify.engines.mip import model_of
from wdaverify.engines.screening import Screen
from wdaverify.engines.threads import one_thread
from wdaverify.errors import ProblemError, SolverError
from wdaverify.given import instance, real
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import squares_up
from wdaverify.transport.master import solve_master
from wdaverify.wdro.attacking import budget, launch, nominal_pool, refuse_overflow, valued
from wdaverify.wdro.family import quadratic
from wdaverify.wdro.options import Options
from wdaverify.witness.decide import deciding_until
from wdaverify.witness.evaluate import distances_up, edge_of


@dataclass(frozen=True, eq=False)
class Program:
    """One question: ``model``, where to ``start``, and what is known of the true optimum: ``lower <= optimum <= upper``.

    ``label`` and ``code`` say which piece of the loss of ``sample`` it is: a rival of the label, or a functional's number.
    ``offset`` and ``charge`` are added to, and taken from, a piece's optimum; the true optimum is within ``model.slack`` of the model's.
    """

    name: str
    sample: int
    label: int
    code: int
    model: MilpModel
    start: dict[int, float]
    lower: float
    upper: float
    offset: float
    charge: float


@dataclass(frozen=True, eq=False)
class Programs:
    """All programs of a question; ``multiplier`` is that of its pieces (0 at order inf and for zero-one), ``floor`` the least loss."""

    problem: WdroProblem
    multiplier: float
    floor: float
    quadratic: bool
    programs: tuple[Program, ...]

    def __repr__(self) -> str:
        return (
            f"<Programs: {len(self.programs)} of {len(self.problem.samples)} samples, multiplier {self.multiplier!r}>"
        )


def programs(problem: WdroProblem, *, multiplier: float | None = None, device: str = "auto", seed: int = 0) -> Programs:
    """The programs of a question, each with the best point of the attacks as its start.

    Args:
        problem: the question.
        multiplier: lam >= 0 of the pieces, in units of the loss per ``distance^p``; None: the one that the attacks' atoms make the best.
        device, seed: of the attacks.

    Raises:
        ProblemError: a question that no mixed-integer program states, or a multiplier where there is none.
    """
    options = Options(device=device, seed=seed)
    instance("problem", problem, WdroProblem, "question(model, X, y, ...) makes one")
    lam = (
        None
        if multiplier is None
        else real("multiplier", multiplier, "a finite number >= 0", lambda v: 0 <= v < math.inf)
    )
    _check(problem, lam)
    with one_thread(), deciding_until(math.inf):
        refuse_overflow(problem)
        found = _Found(problem, options, lam)
        try:
            made = tuple(found.distances() if problem.loss.rule.by_distances else found.pieces())
        except SolverError as error:
            raise ProblemError(f"no program can be written: {error}") from error
    return Programs(problem, found.multiplier, problem.loss.rule.floor, quadratic(problem), made)


def _check(problem: WdroProblem, multiplier: float | None) -> None:
    problem.refuse_float32("a mixed-integer program states the network in real arithmetic")
    problem.network.refuse_curved("a mixed-integer program", "ask wdaverify verify, whose cells answer it")
    rule = problem.loss.rule
    if rule.by_levels:
        raise ProblemError(
            f"the {rule.noun} is no one program: its levels are asked for one after the other, each where the last answers leave the "
            "bracket open; export --loss margin, or ask wdaverify verify --solver highs, gurobi or scip"
        )
    if not rule.mip:
        raise ProblemError(
            f"the {rule.noun} is not piecewise linear: no mixed-integer program states it; export another loss"
        )
    if not problem.support.bounded:
        raise ProblemError("programs need a bounded support: give a box (--support LO HI)")
    if multiplier is not None and (rule.by_distances or not math.isfinite(problem.cost.order)):
        why = "distances have none" if rule.by_distances else "at order inf there is none"
        raise ProblemError(f"multiplier {multiplier!r}: {why}; leave it out")


class _Found:
    """What the attacks found, and the programs made around it."""

    def __init__(self, problem: WdroProblem, options: Options, multiplier: float | None) -> None:
        self._problem, self._screen = problem, Screen(problem)
        outcome = launch(problem, device=options.device, seed=options.seed, deadline=math.inf)
        pool = nominal_pool(problem)
        valued(problem, outcome, math.inf, pool)
        sample, point = outcome.points() if problem.loss.rule.by_distances else pool.points()
        self._points = [point[sample == i] for i in range(len(problem.samples))]
        finite = math.isfinite(problem.cost.order) and not problem.loss.rule.by_distances
        self.multiplier = 0.0
        if finite:
            best = solve_master(pool, problem.samples.w, budget(problem)).multiplier
            self.multiplier = best if multiplier is None else multiplier

    def _known(self, sample: int) -> tuple[Array, Array]:
        """The sample and points of the attacks within the support and its reach ``[M, n]``, and their distances rounded up."""
        problem, x = self._problem, self._problem.samples.x[[sample]]
        points = np.concatenate([x, self._points[sample]])
        points = points[problem.support.contains(points)]
        far = distances_up(problem.cost, points, np.broadcast_to(x, points.shape), edge_of(problem))
        near = far <= self._screen.reach[sample]
        return points[near], far[near]

    def pieces(self) -> Iterator[Program]:
        """A program for every piece of every sample with weight."""
        problem, screen, pieces, lam = self._problem, self._screen, self._screen.pieces, self.multiplier
        samples = np.flatnonzero(problem.samples.w > 0)
        screened = screen.inner(samples, lam, np.full(samples.size, -math.inf), 0.0)
        for item, upper in zip(screened.items.tolist(), screened.upper.tolist(), strict=True):
            sample, label, code = int(pieces.sample[item]), int(pieces.label[item]), int(pieces.code[item])
            row = pieces.rows(np.array([item]))[0]
            points, far = self._known(sample)
            paid = squares_up(far) if problem.cost.order == 2 else far
            value = functionals_enclosure(problem.network, points, row, np.zeros((len(points), 1)))[0][:, 0]
            value = np.nextafter(value - lam * paid * (1 + 2.0**-50), -math.inf) if lam else value
            best = int(value.argmax())
            region, bounds, _ = screen.region(sample, 0.0, float(screen.reach[sample]))
            functional = None if problem.functionals is None else row[0]
            question = Inner(sample, label, code, region, bounds, lam, functional)
            graph, model = model_of(problem.network, question)
            yield Program(
                name=f"sample{sample}_label{label}_piece{code}",
                sample=sample,
                label=label,
                code=code,
                model=model,
                start=start_at(model, graph, region, points[best]),
                lower=float(value[best]),
                upper=upper,
                offset=float(pieces.offset[item]),
                charge=pieces.charge if pieces.moved[item] else 0.0,
            )

    def distances(self) -> Iterator[Program]:
        """A program for the distance to every rival of every sample with weight."""
        problem, screen, pieces = self._problem, self._screen, self._screen.pieces
        samples = np.flatnonzero(problem.samples.w > 0)
        items, low = screen.distances(samples, np.full(samples.size, math.inf))
        for item, lower in zip(items.tolist(), low.tolist(), strict=True):
            sample, label, rival = int(pieces.sample[item]), int(pieces.label[item]), int(pieces.code[item])
            row = pieces.rows(np.array([item]))[0]
            points, far = self._known(sample)
            margin = functionals_enclosure(problem.network, points, row, np.zeros((len(points), 1)))[0][:, 0]
            far = np.where(margin >= 0, far, math.inf)
            best = int(far.argmin())
            region, bounds, _ = screen.region(sample, 0.0, float(screen.reach[sample]))
            graph, model = model_of(problem.network, Distance(sample, label, rival, region, bounds))
            known = math.isfinite(far[best])
            yield Program(
                name=f"sample{sample}_label{label}_rival{rival}",
                sample=sample,
                label=label,
                code=rival,
                model=model,
                start=start_at(model, graph, region, points[best]) if known else {},
                lower=lower,
                upper=float(far[best]),
                offset=0.0,
                charge=0.0,
            )
