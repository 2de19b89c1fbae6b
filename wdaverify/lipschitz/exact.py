"""Exact Lipschitz constants: the largest slope over full-dimensional activation cells that meet the region, as a bracket.

    max over regions and functionals of  max { ||c J u|| : ||a u|| <= 1, J the Jacobian of a cell with an interior in the region }

For every norm of the ground cost that is the least constant on a convex region (docs/theory.md, section 7). Functionals share the
incumbent of their region, so that most of them are settled by bounds.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from wdaverify.certify.backward import Backward
from wdaverify.certify.halfspaces import shell_of
from wdaverify.certify.jacobian import jacobian, slope_up
from wdaverify.certify.slope import slope_exactly, slopes_at
from wdaverify.certify.slopes import SlopeTree
from wdaverify.encoding.cost import Region
from wdaverify.engines.base import Answer, Effort, Slope
from wdaverify.engines.loops import compiled
from wdaverify.engines.threads import one_thread
from wdaverify.errors import ProblemError
from wdaverify.given import called, flag, instance
from wdaverify.graph.nodes import INPUT, Graph
from wdaverify.ground import Norm
from wdaverify.lipschitz.proven import proven
from wdaverify.lipschitz.question import LipschitzProblem
from wdaverify.lipschitz.result import Bound, Cost, LipschitzResult, Part
from wdaverify.network.model import Array, readonly
from wdaverify.solvers.registry import OWN, Choice, choose
from wdaverify.wdro.dispatch import Dispatch
from wdaverify.wdro.family import check_quadratic
from wdaverify.wdro.options import Options
from wdaverify.wdro.progress import Progress, Report
from wdaverify.wdro.result import UNREPLAYED, Reason, SolverUse, Status, Voucher
from wdaverify.wdro.workers import Task, Workers

_FIRST_SLICE = 5.0
"""Seconds that a question gets on its first try; each further try gets four times as many."""
_CHUNK = 2**22
"""The most doubles of Jacobians held at once."""
_DETAIL = {
    Reason.GAP_CLOSED: "the bracket is closed to the gap asked for",
    Reason.TIME_LIMIT: "the time limit was reached; the bracket holds",
    Reason.INTERRUPTED: "the run was interrupted; the bracket holds",
    Reason.STALLED: "no question is left that would narrow the bracket (see the notices)",
}
_SEARCH_SHARE = 0.8
"""The share of a time limit after which the search ends where the checker's replay comes after it."""
_SHARE = 0.25
"""The share of the gap that a single question may leave."""


@dataclass(eq=False)
class _Item:
    """One functional on one region: what is proven, and how often it was asked."""

    region: int
    name: str
    question: Slope
    upper: float
    tries: int = 0
    closed: bool = False
    busy: bool = False
    tree: SlopeTree = field(default_factory=SlopeTree.bare)


@dataclass(eq=False)
class _State:
    """The brackets as they narrow, and who is asked.

    Items with the same ``region`` share an incumbent; ``samples, lower, points`` are by that.
    """

    graph: Graph
    each: bool
    items: list[_Item]
    samples: list[int | None]
    lower: Array
    points: list[Array | None]
    attained: list[str | None]
    workers: Workers
    deadline: float
    solves: Counter[str] = field(default_factory=Counter)
    nodes: int = 0
    solve_seconds: float = 0.0
    own: bool = True
    failures: list[str] = field(default_factory=list)
    deaths: Counter[int] = field(default_factory=Counter)
    proving: bool = False

    def verdict(self) -> Reason | None:
        """Whether the time is over."""
        return Reason.TIME_LIMIT if time.monotonic() >= self.deadline else None

    def upper(self, region: int) -> float:
        """The largest that is left of a region's functionals."""
        return max(float(self.lower[region]), *(item.upper for item in self.items if item.region == region))

    def whole(self) -> tuple[float, float]:
        """The bracket over all regions."""
        top = max(item.upper for item in self.items)
        return float(self.lower.max()), max(top, float(self.lower.max()))


def lipschitz(
    problem: LipschitzProblem,
    *,
    solver: str = "auto",
    gap: float = 1e-6,
    time_limit: float | None = None,
    jobs: int | None = None,
    seed: int = 0,
    each: bool = False,
    certificate: bool = False,
    progress: Report | None = None,
) -> LipschitzResult:
    """The exact constant, bracketed to ``gap`` on every region.

    Args:
        problem: the question.
        solver: ``auto`` or ``cells`` (our own branch and bound; bounds are checked), ``gurobi``, ``highs`` or ``scip`` (one mixed-integer
            program a functional, on the solver's word; l2 of single functionals by quadratic rows, not by HiGHS).
        gap: the absolute width at which a region's bracket counts as closed.
        time_limit: seconds of wall clock, or None; the bracket is valid whenever it ends.
        jobs: worker processes; None solves in this process.
        seed: of the points that are tried first.
        each: bracket every functional by itself; else those that cannot be a region's largest are left at what rules them out.
        certificate: keep what proves the brackets, and report those that the checker accepts (``cells`` alone). Boxes of many features
            are searched by cells then, whose bounds can be written.
        progress: called with the bracket so far.

    Raises:
        ProblemError: an option outside what is accepted.

    A KeyboardInterrupt ends the run with the bracket so far; while the checker replays its proof, without a certificate.
    """
    asked = Options(solver=solver, gap=gap, time_limit=time_limit, jobs=jobs, seed=seed)
    instance("problem", problem, LipschitzProblem, "LipschitzProblem(network, cost, support, measure) makes one")
    each, certificate = flag("each", each), flag("certificate", certificate)
    if certificate and asked.solver not in OWN:
        raise ProblemError(
            f"no certificate: {asked.solver} gives its word alone; a certificate needs --solver cells (the default)"
        )
    called("progress", progress)
    if asked.solver not in OWN and problem.cost.norm is Norm.TWO:
        check_quadratic(asked.solver, "l2 slopes are quadratic")
        if any(len(rows) > 1 for _, rows in problem.measure.parts(Norm.TWO)):
            raise ProblemError(
                f"{asked.solver} answers l2 slopes of single functionals, and the l2 norm of the whole Jacobian is not convex: "
                "ask for outputs or margins, or use --solver cells (the default)"
            )
    _refuse_curved(problem, asked.solver, certificate=certificate)
    gap, seed = asked.gap, asked.seed
    choice, begun = choose(asked.solver), time.monotonic()
    deadline = math.inf if asked.time_limit is None else begun + asked.time_limit
    facets = asked.solver not in OWN
    workers = Workers(problem.asked(facets=facets), asked.solver, asked.jobs)
    until = deadline if not certificate or math.isinf(deadline) else begun + _SEARCH_SHARE * (deadline - begun)
    state = _start(problem, workers, until, each=each, facets=facets)
    state.proving = certificate

    def tell(phase: str) -> None:
        if progress is not None:
            low, high = state.whole()
            opened = sum(not _settled(state, item, gap) for item in state.items)
            progress(Progress(phase, low, high, 0, sum(state.solves.values()), opened, time.monotonic() - begun))

    try:
        with one_thread():
            tell("bounds")
            reason = _search(state, gap, seed, tell)
    except KeyboardInterrupt:
        reason = Reason.INTERRUPTED
    finally:
        workers.close()
    seconds = time.monotonic() - begun
    cost = Cost(seconds, state.solve_seconds, sum(state.solves.values()), state.nodes, workers.jobs)
    result = _result(problem, state, choice, reason, gap, cost, seed)
    if not certificate:
        return result
    try:
        return proven(result, tuple(item.tree for item in state.items), deadline)
    except KeyboardInterrupt:
        return replace(result, reason=Reason.INTERRUPTED, detail=UNREPLAYED)


def _refuse_curved(problem: LipschitzProblem, solver: str, *, certificate: bool) -> None:
    """Refuse what is answered of piecewise-linear networks alone.

    Raises:
        NetworkError: the network is none, and the region has no end, or a solver of models or a certificate is asked for.
    """
    if not all(np.isfinite(r.lower).all() and np.isfinite(r.upper).all() for r in problem.regions()):
        problem.network.refuse_curved(
            "a Lipschitz constant on a region without end",
            "give a box (--support LO HI) or balls (--around DATA --within R); compare --rungs norms bounds it on all of R^n",
        )
    if certificate:
        problem.network.refuse_curved(
            "a certificate of a Lipschitz constant",
            "leave it out (--certificate): the bracket then rests on bounds that are checked as they are found",
        )
    if solver not in OWN:
        problem.network.refuse_curved(f"the solver {solver}", "use --solver cells (the default)")


def _start(problem: LipschitzProblem, workers: Workers, deadline: float, *, each: bool, facets: bool) -> _State:
    """Every item with its interval-Jacobian bound, every region with the slope at its centre.

    Items of a region (of all facets of R^n) share an incumbent, unless each stands for itself. Regions that the deadline leaves
    over share the bound of the box around them.
    """
    graph = problem.asked(facets=facets).form
    backward = Backward(graph, loops=compiled())
    items: list[_Item] = []
    regions = problem.regions(facets=facets)
    samples, lower = list[int | None](), list[float]()
    points, attained = list[Array | None](), list[str | None]()
    parts = problem.measure.parts(problem.cost.norm)
    shared: list[float] | None = None
    groups: dict[tuple[int | None, str | None], int] = {}
    for k, region in enumerate(regions):
        still = problem.still(region)
        if shared is None and time.monotonic() > deadline:
            hull = _hull(regions[k:])
            shared = _uppers(graph, backward, hull, problem.still(hull), parts)
        uppers = shared or _uppers(graph, backward, region, still, parts)
        inside = region.rows is None or bool(region.rows.hold(region.centre[None, :])[0])
        for (name, rows), upper in zip(parts, uppers, strict=True):
            group = (None if problem.around is None else k, name if each else None)
            at = groups.setdefault(group, len(groups))
            if at == len(lower):
                samples.append(group[0])
                lower.append(0.0)
                points.append(None)
                attained.append(group[1])
            items.append(_Item(at, name, Slope(len(items), rows, region, still), upper))
            if shared is None and inside:
                low = float(slopes_at(graph, region.centre[None, :], rows, region.cost, still)[0][0])
                if low > lower[at]:
                    lower[at], points[at], attained[at] = low, region.centre, name
    return _State(graph, each, items, samples, np.array(lower), points, attained, workers, deadline)


def interval_constants(problem: LipschitzProblem) -> Array:
    """What interval Jacobians alone prove of each row on the whole region, ``[R]`` (as FastLip, arXiv 1804.09699)."""
    graph = problem.asked(facets=True).form
    backward, rows = Backward(graph, loops=compiled()), [("", row[None, :]) for row in problem.measure.rows]
    each = [_uppers(graph, backward, region, problem.still(region), rows) for region in problem.regions(facets=True)]
    out: Array = np.array(each).max(axis=0)
    return out


def _uppers(
    graph: Graph, backward: Backward, region: Region, still: Array, parts: list[tuple[str, Array]]
) -> list[float]:
    """What the interval Jacobian of a region proves of each part."""
    if np.isfinite(region.lower).all() and np.isfinite(region.upper).all():
        bounds = backward.pre_activations(shell_of(region))
    else:
        bounds = [
            (np.full((1, graph.width(k)), -np.inf), np.full((1, graph.width(k)), np.inf)) for k in graph.elementwise
        ]
    rows = np.concatenate([part[1] for part in parts])
    count = parts[0][1].shape[0]  # one row a part, or one part of all rows
    out: list[float] = []
    widest = max(graph.width(k) for k in range(INPUT, len(graph.nodes)))
    step = max(1, _CHUNK // (widest * count)) * count
    for first in range(0, len(rows), step):
        centre, radius = jacobian(graph, bounds, rows[None, first : first + step])
        shape = (-1, count, centre.shape[2])
        out += slope_up(centre.reshape(shape), radius.reshape(shape), region.cost, still).tolist()
    return out


def _hull(regions: list[Region]) -> Region:
    """The box around regions."""
    lower = np.min([region.lower for region in regions], axis=0)
    upper = np.max([region.upper for region in regions], axis=0)
    with np.errstate(invalid="ignore"):
        middle = 0.5 * lower + 0.5 * upper
    middle = np.where(np.isfinite(middle), middle, np.clip(0.0, lower, upper))
    return Region(regions[0].cost, middle, lower, upper, 0.0, math.inf)


def _settled(state: _State, item: _Item, gap: float) -> bool:
    return item.closed or item.upper <= state.lower[item.region] + gap


def _search(state: _State, gap: float, seed: int, tell: Callable[[str], None]) -> Reason:
    """Ask about the item with the largest bound, least tried first, until every region is closed."""

    def draw() -> Task | None:
        waiting = [item for item in state.items if not item.busy and not _settled(state, item, gap)]
        if not waiting or state.verdict() is not None:
            return None
        return _task(state, min(waiting, key=lambda item: (item.tries, -item.upper)), gap, seed)

    for task, answer in Dispatch(state, draw).answers(lambda: tell("solve")):
        _take(state, state.items[task.item], answer, gap)
    if all(state.upper(k) - state.lower[k] <= gap for k in range(state.lower.size)):
        return Reason.GAP_CLOSED
    return state.verdict() or Reason.STALLED


def _task(state: _State, item: _Item, gap: float, seed: int) -> Task:
    left = max(state.deadline - time.monotonic(), 0.0)
    seconds = left if len(state.items) == 1 else min(_FIRST_SLICE * 4.0**item.tries, left)
    effort = Effort(_SHARE * gap, seconds, seed, float(state.lower[item.region]), None, proof=state.proving)
    item.tries += 1
    item.busy = True
    return Task(item.question.item, item.question, effort)


def _take(state: _State, item: _Item, answer: Answer, gap: float) -> None:
    """Learn from an answer; its points are evaluated again before they count."""
    question, region = item.question, item.region
    item.busy = False
    if answer.bound < item.upper:
        item.upper = max(answer.bound, min(item.upper, float(state.lower[region])))
        item.tree = answer.slopes or item.tree
    state.nodes += answer.nodes
    state.solve_seconds += answer.seconds
    if answer.vouched_by == "none":
        state.failures.append(f"a question went unanswered: {answer.detail}")
    else:
        state.solves[answer.vouched_by] += 1
        state.own = state.own and answer.checked
    for point in answer.points:
        asked = question.rows, question.region.cost, question.still
        low = float(slopes_at(state.graph, point[None, :], *asked)[0][0])
        low = low if low > -math.inf else slope_exactly(state.graph, point, *asked)
        if low > state.lower[region]:
            state.lower[region], state.points[region], state.attained[region] = low, point, item.name
    if answer.closed and answer.vouched_by != "none" and not _settled(state, item, gap):
        state.failures.append(f"{item.name}: {answer.detail}")
    item.closed = answer.closed


def _bounds(state: _State) -> tuple[Bound, ...]:
    """What is proven of each functional by sample: the largest over all facets where the region has several."""
    most: dict[tuple[str, int | None], float] = {}
    for item in state.items:
        key = item.name, state.samples[item.region]
        most[key] = max(item.upper, most.get(key, -math.inf))
    return tuple(Bound(name, sample, upper) for (name, sample), upper in most.items())


def _result(
    problem: LipschitzProblem, state: _State, choice: Choice, reason: Reason, gap: float, statistics: Cost, seed: int
) -> LipschitzResult:
    low, high = state.whole()
    parts = []
    for k in range(state.lower.size):
        point = state.points[k]
        shown = None if point is None else readonly(problem.point(point))
        parts.append(Part(state.samples[k], state.attained[k], float(state.lower[k]), state.upper(k), shown))
    closed = all(part.upper - part.lower <= gap for part in parts)
    return LipschitzResult(
        problem=problem,
        status=Status.of(problem.network, closed=closed),
        reason=Reason.GAP_CLOSED if closed else reason,
        detail=_DETAIL[Reason.GAP_CLOSED if closed else reason],
        lower=low,
        upper=high,
        parts=tuple(parts),
        functionals=_bounds(state),
        vouched_lower=Voucher.CHECKED,
        vouched_upper=Voucher.CHECKED if state.own else Voucher.SOLVER,
        solver=SolverUse(choice.asked, dict(state.solves), choice.licence, choice.why),
        statistics=statistics,
        gap_asked=gap,
        seed=seed,
        each=state.each,
        notices=(
            *problem.network.notices,
            *((choice.notice,) if choice.notice else ()),
            *dict.fromkeys(state.failures),
        ),
    )
