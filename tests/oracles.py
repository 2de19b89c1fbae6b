"""An independent oracle for tiny networks: enumerate every activation cell, then solve one linear program.

It shares no code with the package: raw weights ``[(W [m, n], b [m]), ...]`` with a ReLU between each two, numpy,
scipy and cvxpy only. ``exact_value`` is the perspective program of docs/theory.md (section 9) for order 1;
``exact_distance`` with ``knapsack_value`` is a second route to the zero-one loss, and ``grid_dual_value`` a route of
its own to both losses for d <= 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Weights = Sequence[tuple[Array, Array]]
NormName = Literal["inf", "1"]
LossName = Literal["margin", "zero-one"]

CELL_TOLERANCE = 1e-9
"""A cell is kept if some point violates its scaled rows by at most this; boundary-only cells stay, harmlessly."""
LP_TOLERANCE = 1e-10
BRACKET_TOLERANCE = 1e-7
"""Re-evaluated atoms and the re-evaluated dual of the program must agree to this, relative to ``1 + |value|``."""


class OracleError(RuntimeError):
    """The oracle cannot vouch for its own answer."""


@dataclass(frozen=True, eq=False)
class Cell:
    """``{x in box : A x <= b}``, on which ``f(x) = G x + h``; ``A [r, n]``, ``b [r]``, ``G [K, n]``, ``h [K]``."""

    A: Array
    b: Array
    G: Array
    h: Array


class _Region(NamedTuple):
    """Rows ``A x <= b`` within the box, and a point that leaves each of them at least ``depth`` of slack."""

    A: Array
    b: Array
    point: Array
    depth: float


# Cells


def _deepest(A: Array, b: Array, lower: Array, upper: Array) -> _Region | None:
    """The point of the box with the largest smallest slack, or None if even that violates a row."""
    rows, n = A.shape
    result = linprog(
        np.append(np.zeros(n), -1.0),
        A_ub=np.hstack([A, np.ones((rows, 1))]),
        b_ub=b,
        bounds=[*zip(lower, upper, strict=True), (None, 1.0)],
        method="highs",
        options={"primal_feasibility_tolerance": LP_TOLERANCE, "dual_feasibility_tolerance": LP_TOLERANCE},
    )
    if result.status != 0:
        raise OracleError(f"the feasibility LP of a cell ended with: {result.message}")
    point = np.clip(result.x[:n], lower, upper)
    depth = float((b - A @ point).min())
    return _Region(A, b, point, depth) if depth >= -CELL_TOLERANCE else None


def _split(region: _Region, g: Array, c: float, lower: Array, upper: Array) -> list[tuple[bool, _Region]]:
    """The phases that the neuron ``g x + c`` takes on the region: (active, region cut by the sign row).

    A neuron with one sign on the whole box, a constant one among them, needs no row and no LP: at 0 both phases agree.
    """
    if c + np.maximum(g * lower, g * upper).sum() <= 0:
        return [(False, region)]
    if c + np.minimum(g * lower, g * upper).sum() >= 0:
        return [(True, region)]
    scale = float(np.abs(g).max())
    phases = []
    for active, sign in ((False, 1.0), (True, -1.0)):
        A = np.vstack([region.A, sign * g / scale])
        b = np.append(region.b, -sign * c / scale)
        slack = float(b[-1] - A[-1] @ region.point)
        if slack > CELL_TOLERANCE and region.depth > CELL_TOLERANCE:
            cut: _Region | None = _Region(A, b, region.point, min(region.depth, slack))
        else:
            cut = _deepest(A, b, lower, upper)
        if cut is not None:
            phases.append((active, cut))
    return phases


def enumerate_cells(weights: Weights, lower: Array, upper: Array) -> list[Cell]:
    """Every activation cell that meets the box, by recursion over the phases, neuron by neuron."""
    n = lower.size
    cells: list[Cell] = []

    def neuron(layer: int, index: int, phases: list[bool], G: Array, h: Array, region: _Region) -> None:
        """Branch on neuron ``index`` of ``layer``, whose pre-activations are ``G x + h`` on the region."""
        if index == h.size:
            on = np.array(phases, dtype=np.float64)
            weight, bias = weights[layer + 1]
            affine(layer + 1, weight @ (on[:, None] * G), weight @ (on * h) + bias, region)
            return
        for active, cut in _split(region, G[index], float(h[index]), lower, upper):
            neuron(layer, index + 1, [*phases, active], G, h, cut)

    def affine(layer: int, G: Array, h: Array, region: _Region) -> None:
        if layer == len(weights) - 1:
            cells.append(Cell(region.A, region.b, G, h))
        else:
            neuron(layer, 0, [], G, h, region)

    whole = _Region(np.zeros((0, n)), np.zeros(0), 0.5 * (lower + upper), math.inf)
    first_weight, first_bias = weights[0]
    affine(0, np.asarray(first_weight, dtype=np.float64), np.asarray(first_bias, dtype=np.float64), whole)
    return cells


# Evaluation


def forward(weights: Weights, x: Array) -> Array:
    """Logits ``[B, K]`` of points ``[B, n]`` in float64."""
    h = np.asarray(x, dtype=np.float64)
    for index, (weight, bias) in enumerate(weights):
        h = (np.maximum(h, 0.0) if index else h) @ np.asarray(weight, dtype=np.float64).T + bias
    return h


def margins(logits: Array, y: Labels) -> Array:
    """``max_{j != y} z_j - z_y`` of logits ``[B, K]`` and labels ``[B]``."""
    rows = np.arange(len(y))
    others = logits.copy()
    others[rows, y] = -np.inf
    out: Array = others.max(axis=1) - logits[rows, y]
    return out


def exact_margin(weights: Weights, x: Array, y: int) -> Fraction:
    """The margin at one point in rational arithmetic, so that a tie is exactly 0."""
    h = [Fraction(float(v)) for v in x]
    for index, (weight, bias) in enumerate(weights):
        if index:
            h = [max(v, Fraction(0)) for v in h]
        rows = zip(weight.tolist(), bias.tolist(), strict=True)
        h = [sum((Fraction(c) * v for c, v in zip(row, h, strict=True)), Fraction(b)) for row, b in rows]
    return max(z for j, z in enumerate(h) if j != y) - h[y]


def nominal_loss(weights: Weights, x: Array, y: Labels, w: Array, loss: LossName) -> float:
    """``sum_i w_i l(x_i, y_i)``; for zero-one a tie is an error, decided in rational arithmetic."""
    exact = [exact_margin(weights, point, int(label)) for point, label in zip(x, y, strict=True)]
    values = [float(m) if loss == "margin" else float(m >= 0) for m in exact]
    return math.fsum(float(a) * v for a, v in zip(w, values, strict=True))


def distances_between(x: Array, points: Array, norm: NormName) -> Array:
    """Distances from ``x [n]`` to ``points [B, n]``."""
    delta = np.abs(points - x)
    out: Array = delta.max(axis=1) if norm == "inf" else delta.sum(axis=1)
    return out


# The value, by one linear program


class _Program(NamedTuple):
    """``max gain.v`` with ``rows v <= 0``, ``mass v <= w`` (or ``=``), ``cost.v <= radius`` and ``0 <= v <= most``.

    One block of columns per (sample, cell, rival): mass ``a``, then the displacement of that mass ``r = r+ - r-``
    (so that the mass sits at ``x_i + r / a``), then for norm "inf" its size ``s >= |r_k|``; norm "1" is the sum itself.
    """

    gain: Array
    cost: Array
    most: Array
    rows: sparse.csr_array
    mass: sparse.csr_array
    owner: NDArray[np.int64]
    """The sample of each block."""


def _block_rows(
    cell: Cell, x: Array, c: Array, loss: LossName, norm: NormName, lower: Array, upper: Array
) -> tuple[Array, Array]:
    """Rows ``R v <= 0`` and gains of the block at sample ``x`` on ``cell`` for the functional ``c = e_j - e_y``."""
    n = x.size
    eye, zero = np.eye(n), np.zeros((n, n))
    slope, clean = c @ cell.G, float(c @ (cell.G @ x + cell.h))
    rows = [
        np.hstack([(cell.A @ x - cell.b)[:, None], cell.A, -cell.A]),
        np.hstack([(x - upper)[:, None], eye, zero]),
        np.hstack([(lower - x)[:, None], zero, eye]),
    ]
    if loss == "margin":
        gain = np.concatenate([[clean], slope, -slope])
    else:
        rows.append(-np.concatenate([[clean], slope, -slope])[None, :])
        gain = np.concatenate([[1.0], np.zeros(2 * n)])
    block = np.vstack(rows)
    if norm == "inf":
        size = np.hstack([np.zeros((n, 1)), eye, eye, -np.ones((n, 1))])
        block = np.vstack([np.hstack([block, np.zeros((len(block), 1))]), size])
        gain = np.append(gain, 0.0)
    return block, gain


def _program(
    cells: Sequence[Cell],
    x: Array,
    y: Labels,
    w: Array,
    norm: NormName,
    loss: LossName,
    lower: Array,
    upper: Array,
) -> _Program:
    n, K = x.shape[1], cells[0].h.size
    ball = np.append(np.zeros(1 + 2 * n), 1.0) if norm == "inf" else np.append(0.0, np.ones(2 * n))
    blocks, gains, most, owner = [], [], [], []
    for i, (point, label) in enumerate(zip(x, y, strict=True)):
        reach = np.concatenate([[1.0], upper - point, point - lower])
        if norm == "inf":
            reach = np.append(reach, float((upper - lower).max()))
        for cell in cells:
            for rival in range(K):
                if rival == label:
                    continue
                c = np.zeros(K)
                c[rival], c[label] = 1.0, -1.0
                rows, gain = _block_rows(cell, point, c, loss, norm, lower, upper)
                blocks.append(sparse.coo_array(rows))
                gains.append(gain)
                most.append(w[i] * reach)
                owner.append(i)
    owners = np.array(owner, dtype=np.int64)
    width = ball.size
    columns = np.arange(len(owners)) * width
    mass = sparse.csr_array(
        (np.ones(len(owners)), (owners, columns)),
        shape=(len(x), width * len(owners)),
    )
    rows_all = sparse.csr_array(sparse.block_diag(blocks, format="csr"))
    return _Program(np.concatenate(gains), np.tile(ball, len(owners)), np.concatenate(most), rows_all, mass, owners)


def _dual_bound(program: _Program, w: Array, radius: float, duals: tuple[Array, Array, float], free: bool) -> float:
    """An upper bound that any multipliers prove, whatever the solver's tolerances were."""
    rows, mass, budget = np.maximum(duals[0], 0.0), duals[1], max(duals[2], 0.0)
    if free:
        mass = np.maximum(mass, 0.0)
    reduced = program.gain - program.rows.T @ rows - program.mass.T @ mass - budget * program.cost
    return float(w @ mass + radius * budget + np.maximum(reduced, 0.0) @ program.most)


def _primal_bound(
    program: _Program,
    v: Array,
    problem: tuple[Weights, Array, Labels, Array],
    radius: float,
    norm: NormName,
    loss: LossName,
    box: tuple[Array, Array],
) -> float:
    """A lower bound: the program's atoms, re-evaluated by the network itself, and shrunk until they fit the budget.

    For zero-one the program's own feasibility tolerance is granted (``a * margin >= -1e-9``); ties need it.
    """
    weights, x, y, w = problem
    n = x.shape[1]
    table = v.reshape(len(program.owner), -1)
    clean_margin = margins(forward(weights, x), y)
    clean = clean_margin if loss == "margin" else (clean_margin >= -CELL_TOLERANCE).astype(np.float64)
    keep = table[:, 0] > 1e-12
    mass, owner = table[keep, 0], program.owner[keep]
    points = x[owner] + (table[keep, 1 : 1 + n] - table[keep, 1 + n : 1 + 2 * n]) / mass[:, None]
    points = np.clip(points, *box)
    values = margins(forward(weights, points), y[owner])
    if loss == "zero-one":
        values = (mass * values >= -CELL_TOLERANCE).astype(np.float64)
    size = np.abs(points - x[owner])
    spent = float(mass @ (size.max(axis=1) if norm == "inf" else size.sum(axis=1)))
    share = min(1.0, radius / spent) if spent > 0 else 1.0
    # What is not moved stays where it is; a sample's masses are normalised where they exceed its own by rounding.
    total = np.bincount(owner, weights=mass, minlength=len(x))
    mass = mass * np.minimum(1.0, w / np.maximum(total, 1e-300))[owner]
    return float(w @ clean + share * (mass @ (values - clean[owner])))


def exact_bracket(
    weights: Weights,
    x: Array,
    y: Labels,
    w: Array,
    radius: float,
    norm: NormName,
    loss: LossName,
    lower: Array,
    upper: Array,
    cells: Sequence[Cell] | None = None,
) -> tuple[float, float]:
    """``(atoms re-evaluated, multipliers re-evaluated)``, which enclose the exact value up to float64 rounding.

    Raises:
        OracleError: if the two differ by more than ``BRACKET_TOLERANCE``.
    """
    live = w > 0
    x, y, w = x[live], y[live], w[live]
    cells = enumerate_cells(weights, lower, upper) if cells is None else cells
    program = _program(cells, x, y, w, norm, loss, lower, upper)
    free = loss == "zero-one"  # mass that errs nowhere has value 0, so a sample's masses may sum to less than w_i
    v = cp.Variable(program.gain.size, nonneg=True)
    signs = program.rows @ v <= 0
    shares = program.mass @ v <= w if free else program.mass @ v == w
    budget = program.cost @ v <= radius
    task = cp.Problem(cp.Minimize(-program.gain @ v), [signs, shares, budget])
    task.solve(solver=cp.HIGHS, primal_feasibility_tolerance=LP_TOLERANCE, dual_feasibility_tolerance=LP_TOLERANCE)
    if task.status != cp.OPTIMAL:
        raise OracleError(f"the perspective program ended with: {task.status}")
    duals = (np.asarray(signs.dual_value), np.asarray(shares.dual_value), float(budget.dual_value))
    high = _dual_bound(program, w, radius, duals, free)
    low = _primal_bound(program, np.asarray(v.value), (weights, x, y, w), radius, norm, loss, (lower, upper))
    if abs(high - low) > BRACKET_TOLERANCE * (1 + abs(high)):
        raise OracleError(f"atoms give {low!r}, multipliers give {high!r}, the program said {-task.value!r}")
    return low, high


def exact_value(
    weights: Weights,
    x: Array,
    y: Labels,
    w: Array,
    radius: float,
    norm: NormName,
    loss: LossName,
    lower: Array,
    upper: Array,
    cells: Sequence[Cell] | None = None,
) -> float:
    """``sup { E_Q[loss] : Q on the box, W_1(Q, P) <= radius }``, order 1, fixed labels; a tie is a zero-one error."""
    low, high = exact_bracket(weights, x, y, w, radius, norm, loss, lower, upper, cells)
    return 0.5 * (low + high)


# The zero-one value, by distances


def exact_distance(
    weights: Weights,
    x: Array,
    y: int,
    norm: NormName,
    lower: Array,
    upper: Array,
    cells: Sequence[Cell] | None = None,
) -> float:
    """``min { ||u - x|| : u in the box, some z_j(u) >= z_y(u) }``, one LP per cell and rival; inf if there is none."""
    if exact_margin(weights, x, y) >= 0:
        return 0.0
    n = x.size
    best = math.inf
    extra = 1 if norm == "inf" else n
    sizes = np.ones((n, 1)) if norm == "inf" else np.eye(n)
    bounds = [*zip(lower, upper, strict=True), *([(0.0, None)] * extra)]
    for cell in enumerate_cells(weights, lower, upper) if cells is None else cells:
        for rival in range(cell.h.size):
            slope, offset = cell.G[y] - cell.G[rival], cell.h[rival] - cell.h[y]
            if rival == y or np.minimum(slope * lower, slope * upper).sum() > offset + CELL_TOLERANCE:
                continue
            rows = np.vstack([cell.A, slope])
            table = np.block([[rows, np.zeros((len(rows), extra))], [np.eye(n), -sizes], [-np.eye(n), -sizes]])
            result = linprog(
                np.concatenate([np.zeros(n), np.ones(extra)]),
                A_ub=table,
                b_ub=np.concatenate([cell.b, [offset], x, -x]),
                bounds=bounds,
                method="highs",
                options={"primal_feasibility_tolerance": LP_TOLERANCE, "dual_feasibility_tolerance": LP_TOLERANCE},
            )
            if result.status == 0:
                best = min(best, float(result.fun))
            elif result.status != 2:
                raise OracleError(f"a distance LP ended with: {result.message}")
    return best


def knapsack_value(distances: Sequence[float], w: Sequence[float] | Array, radius: float) -> float:
    """Zero-one: the mass that can be made wrong for a budget, nearest first, the last sample in part."""
    left, value = float(radius), 0.0
    for distance, weight in sorted(zip(map(float, distances), map(float, w), strict=True)):
        if math.isinf(distance):
            break
        price = weight * distance
        if price > left:
            return value + left / distance
        left -= price
        value += weight
    return value


# Both values, by a grid


def _staircase(distance: Array, value: Array) -> tuple[Array, Array]:
    """The points that no other point beats in both distance and value."""
    order = np.lexsort((-value, distance))
    distance, value = distance[order], value[order]
    best = np.maximum.accumulate(value)
    keep = np.append(True, value[1:] > best[:-1])
    return distance[keep], value[keep]


def _smallest_dual(stairs: Sequence[tuple[Array, Array]], w: Array, radius: float) -> float:
    """``min_{lam >= 0} lam radius + sum_i w_i max_k (value_ik - lam distance_ik)``: convex in lam, ternary search."""

    def dual(lam: float) -> float:
        inner = (float(a) * float((v - lam * d).max()) for a, (d, v) in zip(w, stairs, strict=True))
        return lam * radius + math.fsum(inner)

    # From a multiplier at which every sample's clean point wins, the dual only grows (its slope is the radius).
    steepest = [float(((v - v[0]) / np.maximum(d, 1e-300))[1:].max(initial=0.0)) for d, v in stairs]
    low, high = 0.0, 1.0 + max(steepest)
    for _ in range(300):
        third = (high - low) / 3
        if dual(low + third) <= dual(high - third):
            high -= third
        else:
            low += third
    return min(dual(low), dual(high), dual(0.5 * (low + high)))


def grid_dual_value(
    weights: Weights,
    x: Array,
    y: Labels,
    w: Array,
    radius: float,
    norm: NormName,
    loss: LossName,
    lower: Array,
    upper: Array,
    points: int,
) -> tuple[float, float]:
    """A bracket of the value from the dual on a grid of ``points`` per axis, ``d <= 2``; numpy only, no cells.

    The grid with the samples is a smaller support, so its dual is a lower bound. Every point is within ``delta`` of
    the grid and the margin has a Lipschitz constant at most ``L`` (a product of absolute values of the weights), so the
    dual at ``radius + delta``, with margins raised by ``L delta`` (before the comparison with 0 for zero-one), is an
    upper bound.
    """
    axes = [np.linspace(a, b, points if b > a else 1) for a, b in zip(lower, upper, strict=True)]
    mesh = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    mesh = np.vstack([x, mesh])
    steps = 0.5 * (upper - lower) / (points - 1)
    delta = float(steps.max()) if norm == "inf" else float(steps.sum())
    reach = np.eye(lower.size)
    for weight, _ in weights[:-1]:
        reach = np.abs(weight) @ reach
    last = weights[-1][0]
    logits = forward(weights, mesh)
    low_stairs, high_stairs = [], []
    for point, label in zip(x, y, strict=True):
        distance = distances_between(point, mesh, norm)
        margin = margins(logits, np.full(len(mesh), label, dtype=np.int64))
        gradients = np.abs(last - last[label]) @ reach
        steepest = float((gradients.sum(axis=1) if norm == "inf" else gradients.max(axis=1)).max())
        low, high = margin, margin + steepest * delta
        if loss == "zero-one":
            low, high = (low >= 0).astype(np.float64), (high >= 0).astype(np.float64)
        low_stairs.append(_staircase(distance, low))
        high_stairs.append(_staircase(distance, high))
    return _smallest_dual(low_stairs, w, radius), _smallest_dual(high_stairs, w, radius + delta)
