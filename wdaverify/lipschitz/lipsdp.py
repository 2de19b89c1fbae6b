"""LipSDP: a semidefinite program per functional, whose multipliers are then repaired and proven (multipliers.py).

The program is the same inequality with dx_0 kept, thinned to ``W_1 = F Q^T`` with orthonormal columns of Q, layers scaled to
norm 1 and both ends balanced: minimise ``(tau + mu) / 2`` over ``tau I`` in the place of dx_0 and ``mu`` of the output, whose
optimum is the constant itself. Solvers only propose: what they return, good or bad, is clipped, repaired and proven.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from wdaverify.errors import ProblemError
from wdaverify.graph.nodes import INPUT, Elementwise, Graph
from wdaverify.graph.smooth.curve import Smooth
from wdaverify.ground import GroundCost, Norm
from wdaverify.lipschitz.layers import Enclosed, cost_layers, functionals
from wdaverify.lipschitz.multipliers import Inequality
from wdaverify.lipschitz.norms import product_of_norms
from wdaverify.network.model import Array, readonly
from wdaverify.rounding import float_up

MOST_RELUS = 256
"""Beyond this many a functional takes minutes: in two layers 1 to 2 s at 64, 5 s at 128, 20 s at 200, 50 s at 256; 20 s at 128 in one."""
_SMALL = 24
"""Up to how many hidden ReLUs the interior-point solver is asked first."""
_PRECISION = 1e-5
"""Of the first-order solver, whose slip the repair pays for."""


@dataclass(frozen=True, eq=False)
class LipSdp:
    """Proven constants ``[R]`` against the cost's norm, inf where there is none.

    ``solved`` counts the finite ones; ``why`` says what went wrong with the others, or what was cut short, "" if nothing.
    """

    constants: Array
    solved: int
    why: str
    seconds: float


def lipsdp(
    graph: Graph, rows: Array, cost: GroundCost, *, deadline: float = math.inf, row_seconds: float = 120.0
) -> LipSdp:
    """Upper bounds of the constants of ``rows . f``, rows ``[R, K]``, on all of R^n against ``||a * (x - x')||``.

    The l2 constant, times the square root of the number of free features for the l-inf norm. ``deadline`` is a
    ``time.monotonic()``; ``row_seconds`` bounds what a solver may take for one functional. Rows that are multiples of
    each other share one program. A network without hidden layers has its dual norm instead.

    Raises:
        ProblemError: the network is no single path of affine maps and ReLUs.
    """
    begun = time.monotonic()
    layers = single_path(graph, cost)
    hidden = layers[:-1]
    relus = sum(layer.mid.shape[0] for layer in hidden)
    if relus > MOST_RELUS:
        out, why = np.full(len(rows), math.inf), f"{relus} hidden ReLUs: at most {MOST_RELUS} are attempted"
        return _result(out, why, begun)
    if not hidden:
        return _result(product_of_norms(graph, rows, cost), "", begun)
    return constants(_Program, layers, rows, cost, Clock(deadline, row_seconds), begun)


def constants(
    program: Callable[[Sequence[Enclosed]], Proposer],
    layers: Sequence[Enclosed],
    rows: Array,
    cost: GroundCost,
    clock: Clock,
    begun: float,
) -> LipSdp:
    """What multipliers of any origin prove of each row, against the cost's norm."""
    out, reasons = _l2_constants(program, layers[:-1], layers[-1], rows, clock)
    if cost.norm is Norm.INF:
        features = layers[0].mid.shape[1]
        with np.errstate(over="ignore"):
            out = np.where(out > 0, np.nextafter(out * np.nextafter(math.sqrt(features), math.inf), math.inf), 0.0)
    return _result(out, "; ".join(f"{reason} ({count} of {len(rows)})" for reason, count in reasons.items()), begun)


class Proposer(Protocol):
    """Multipliers of one network, functional by functional."""

    def solve(self, functional: Array, clock: Clock) -> tuple[list[Array] | None, str]:
        """Multipliers for ``g [m]`` in the network's own scale, and what was wrong; None where there are none."""
        ...


def single_path(graph: Graph, cost: GroundCost) -> list[Enclosed]:
    """The matrices one after the other."""
    layers = cost_layers(graph, cost)
    functions = [node.function for node in graph.nodes if isinstance(node, Elementwise)]
    bent = [f.name for f in functions if isinstance(f, Smooth) or (f.slopes < 0).any() or (f.slopes > 1).any()]
    several = [k for k, layer in enumerate(layers) if list(layer) != [k - 1 if k else INPUT]]
    if bent or several:
        found = (
            f"the function {bent[0]}" if bent else f"layer {several[0] + 1}, which reads more than the layer before it"
        )
        raise ProblemError(
            f"LipSDP of a network with {found}: a single path of affine maps and ReLUs is accepted; ask for the exact constant instead"
        )
    return [layer[k - 1 if k else INPUT] for k, layer in enumerate(layers)]


def _result(constants: Array, why: str, begun: float) -> LipSdp:
    return LipSdp(readonly(constants), int(np.isfinite(constants).sum()), why, time.monotonic() - begun)


@dataclass(frozen=True)
class Clock:
    """What is left of the time."""

    deadline: float
    row_seconds: float

    def left(self) -> float:
        """Seconds for one functional."""
        return min(self.deadline - time.monotonic(), self.row_seconds)


def _l2_constants(
    make: Callable[[Sequence[Enclosed]], Proposer],
    hidden: Sequence[Enclosed],
    last: Enclosed,
    rows: Array,
    clock: Clock,
) -> tuple[Array, dict[str, int]]:
    """Proven l2 constants ``[R]`` and how often each thing went wrong."""
    out, reasons = np.zeros(len(rows)), dict[str, int]()
    if any(layer.zero for layer in hidden):
        return out, reasons
    program: Proposer | None = None
    for members in _alike(rows).values():
        head = members[0][0]
        functional = functionals(rows[head : head + 1], last)
        if functional.zero:
            continue
        constant, why = math.inf, "no time was left"
        if clock.left() > 0:
            program = program or make(hidden)
            constant, why = _constant(program, hidden, Enclosed(functional.mid[0], functional.rad[0]), clock)
        for row, ratio in members:
            out[row] = constant if math.isinf(constant) else float_up(Fraction(constant) * ratio)
        if why:
            reasons[why] = reasons.get(why, 0) + len(members)
    return out, reasons


def _alike(rows: Array) -> dict[tuple[Fraction, ...], list[tuple[int, Fraction]]]:
    """Rows that are multiples of each other, exactly: members with their modulus as a multiple of the first one's."""
    groups: dict[tuple[Fraction, ...], list[tuple[int, Fraction]]] = {}
    first: dict[tuple[Fraction, ...], Fraction] = {}
    for r in np.flatnonzero(rows.any(axis=1)).tolist():
        exact = [Fraction(v) for v in rows[r].tolist()]
        pivot = next(v for v in exact if v)
        key = tuple(v / pivot for v in exact)
        groups.setdefault(key, []).append((r, abs(pivot) / first.setdefault(key, abs(pivot))))
    return groups


def _constant(program: Proposer, hidden: Sequence[Enclosed], functional: Enclosed, clock: Clock) -> tuple[float, str]:
    """One functional's proven l2 constant, scaled by a power of two on the way; inf with the reason."""
    if not (np.isfinite(functional.rad).all() and all(np.isfinite(layer.rad).all() for layer in hidden)):
        return math.inf, "the matrices overflow"
    lift = int(np.frexp(functional.size.max())[1])
    scaled = Enclosed(np.ldexp(functional.mid, -lift), np.nextafter(np.ldexp(functional.rad, -lift), math.inf))
    multipliers, why = program.solve(scaled.mid, clock)
    if multipliers is None:
        return math.inf, why
    rho2 = Inequality.of(hidden, scaled).bound(multipliers)
    if math.isinf(rho2):
        return math.inf, "no multipliers near the solver's could be proven"
    return float_up(Fraction(math.nextafter(math.sqrt(rho2), math.inf)) * Fraction(2) ** lift), why


class _Program:
    """The semidefinite program of one network, compiled once, with the functional as its parameter."""

    def __init__(self, hidden: Sequence[Enclosed]) -> None:
        first = hidden[0].mid
        thin = np.asarray(np.linalg.qr(first.T, mode="r")).T if first.shape[1] > first.shape[0] else first
        mids = [thin, *(layer.mid for layer in hidden[1:])]
        norms = [float(np.linalg.norm(mid, 2)) or 1.0 for mid in mids]
        self._gains = np.cumprod(norms)
        self._scaled = [mid / norm for mid, norm in zip(mids, norms, strict=True)]
        self._relus = sum(mid.shape[0] for mid in mids)
        self._compile()

    def _compile(self) -> None:
        import cvxpy as cp

        sizes = [mid.shape[0] for mid in self._scaled]
        self._g = cp.Parameter((sizes[-1], 1))
        self._t = [cp.Variable(m, nonneg=True) for m in sizes]
        self._tau, self._mu = cp.Variable(), cp.Variable()
        dims = [self._scaled[0].shape[1], *sizes, 1]
        grid: list[list[Any]] = [[np.zeros((a, b)) for b in dims] for a in dims]
        grid[0][0], grid[-1][-1] = self._tau * np.eye(dims[0]), cp.reshape(self._mu, (1, 1), order="C")
        for k, (mid, t) in enumerate(zip(self._scaled, self._t, strict=True)):
            cross = -(cp.diag(t) @ mid)
            grid[k + 1][k], grid[k][k + 1], grid[k + 1][k + 1] = cross, cross.T, 2 * cp.diag(t)
        grid[-2][-1], grid[-1][-2] = self._g, self._g.T
        self._problem = cp.Problem(cp.Minimize((self._tau + self._mu) / 2), [cp.bmat(grid) >> 0])

    def solve(self, functional: Array, clock: Clock) -> tuple[list[Array] | None, str]:
        """Multipliers for ``g [m]`` in the network's own scale, as the solver left them; None and the reason if none did."""
        length = float(np.linalg.norm(functional)) or 1.0
        self._g.value = (functional / length)[:, None]
        failures = []
        order = ("CLARABEL", "SCS") if self._relus <= _SMALL else ("SCS", "CLARABEL")
        for solver in order:
            seconds = clock.left()
            if seconds <= 0:
                failures.append("no time was left")
                break
            for variable in (*self._t, self._mu):
                variable.value = None  # nothing of the row before
            status = self._attempt(solver, seconds)
            if self._mu.value is not None and all(t.value is not None for t in self._t):
                lift = float(self._mu.value) * (length * self._gains[-1]) ** 2
                back = lift / self._gains**2 if lift > 0 else 1 / self._gains**2
                usual = status in ("optimal", "optimal_inaccurate")
                found = [np.asarray(t.value, np.float64) * b for t, b in zip(self._t, back, strict=True)]
                return found, "" if usual else f"{solver} stopped early ({status}), its multipliers were repaired"
            failures.append(f"{solver}: {status}")
        return None, ", ".join(failures)

    def _attempt(self, solver: str, seconds: float) -> str:
        """Ask one solver; its status, or how it broke down, in one line."""
        options: dict[str, float] = {"eps_abs": _PRECISION, "eps_rel": _PRECISION, "time_limit_secs": seconds}
        if solver == "CLARABEL":
            options = {"time_limit": seconds}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._problem.solve(solver=solver, **options)
        except Exception as broken:  # noqa: BLE001  a solver may break down in any way; it only proposes
            return f"{type(broken).__name__} {broken}".splitlines()[0][:120]
        return str(self._problem.status)
