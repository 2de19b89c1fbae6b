"""An independent oracle for tiny networks and the whole family of questions: orders, norms, losses, label costs, supports.

It shares no code with the package (of a graph it takes the numbers). ``exact`` is the perspective program of
docs/theory.md (section 9): one block of columns per (sample, label, activation cell, piece of the loss), a linear
program where the cost is linear and a cone program elsewhere. ``by_simplices`` is a second route for one or two
features, a branch and bound over simplices of the cells, and the only route for cross-entropy, which is not concave
in perspective; ``by_knapsack`` is a second route for zero-one.
"""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cvxpy as cp
import numpy as np
from graph.cells import enumerate_graph, forward_graph
from numpy.typing import NDArray
from oracles import Cell, OracleError, enumerate_cells, forward
from scipy import sparse
from scipy.optimize import linprog, nnls
from scipy.special import logsumexp

from wdaverify.graph.nodes import Graph

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Labels = NDArray[np.int64]
Weights = Sequence[tuple[Array, Array]]
Norm = Literal["1", "2", "inf"]
Order = float
"""1, 2 or ``math.inf``."""
Loss = Literal["margin", "zero-one", "hinge", "cw", "cross-entropy", "linear"]

LP_TOLERANCE = 1e-10
CONE_TOLERANCE = 1e-10
LP_GAP = 1e-6
"""Largest difference of the two ends of a linear program's answer, relative to ``1 + |value|``."""
CONE_GAP = 5e-6
"""The same for cone programs."""
SIMPLEX_GAP = 2e-5
"""Largest absolute difference of the two ends that ``by_simplices`` returns."""
TIE_TOLERANCE = 1e-7
"""An atom of the program is a zero-one error from this much below a tie; rows may be violated by as much."""
MASS_TOLERANCE = 1e-8
"""Blocks with less mass than this give no atom."""


@dataclass(frozen=True, eq=False)
class Question:
    """``sup { E_Q[loss] : Q on the support, W_p(Q, P) <= radius }`` with ``P = sum_i w_i delta_(x_i, y_i)``."""

    weights: Weights | Graph
    """``[(W [m, n], b [m]), ...]`` with a ReLU between each two, or a graph, of which the numbers alone are used."""
    x: Array
    y: Labels
    w: Array
    radius: float
    norm: Norm
    order: Order
    loss: Loss
    lower: Array
    upper: Array
    cost_weights: Array | None = None
    """``c_k > 0``, or inf for a feature that may not move: the cost is ``||c * (x' - x)||``."""
    label_cost: float = math.inf
    """Cost kappa of another label: ``cost^p + kappa^p``, or the larger of the two for order inf."""
    rows: tuple[Array, Array, Array] | None = None
    """``(A [r, n], lo [r], hi [r])``: the support's rows ``lo <= A x <= hi``; a side may be infinite."""
    integer: Bools | None = None
    """Features that take integers only."""
    functionals: tuple[Array, Array] | None = None
    """``(F [R, K], offset [R])`` of the loss "linear": ``max_r F_r.z + offset_r``."""


class _Piece(NamedTuple):
    """``c.z + offset``, one of the functions whose maximum is the loss for ``label``."""

    label: int
    c: Array
    offset: float


class _Part(NamedTuple):
    """A non-empty part of the support: ``{x in [lower, upper] : A x <= b}``, on which ``f(x) = G x + h``."""

    base: Array
    """The sample, with each fixed feature (``lower == upper``) at its value in this part."""
    lower: Array
    upper: Array
    A: Array
    b: Array
    G: Array
    h: Array


# The question


def _check(question: Question) -> None:
    q = question
    if q.order not in (1, 2, math.inf) or q.norm not in ("1", "2", "inf"):
        raise ValueError(f"no such order or norm: {q.order!r}, {q.norm!r}")
    if (q.loss == "linear") != (q.functionals is not None):
        raise ValueError("functionals belong to the linear loss, and to it alone")
    if np.any(q.x < q.lower) or np.any(q.x > q.upper) or np.any(q.w < 0):
        raise ValueError("a sample outside the box, or a negative weight")
    if q.rows is not None:
        A, lo, hi = q.rows
        if np.any(lo >= hi):
            raise ValueError("rows with equal or crossing sides are not supported")
        if np.any(q.x @ A.T < lo - 1e-12) or np.any(q.x @ A.T > hi + 1e-12):
            raise ValueError("a sample violates a row of the support")
    if q.integer is not None and np.any(q.x[:, q.integer] % 1):
        raise ValueError("a sample with a fraction in an integer feature")


def _classes(question: Question) -> int:
    return question.weights.outputs if isinstance(question.weights, Graph) else question.weights[-1][1].size


def _outputs(question: Question, points: Array) -> Array:
    if isinstance(question.weights, Graph):
        return forward_graph(question.weights, points)
    return forward(question.weights, points)


def _scale(question: Question) -> Array:
    """The cost weights, 0 for features that may not move."""
    if question.cost_weights is None:
        return np.ones(question.lower.size)
    out: Array = np.where(np.isinf(question.cost_weights), 0.0, question.cost_weights)
    return out


def _fixed(question: Question) -> Bools:
    if question.cost_weights is None:
        return np.zeros(question.lower.size, dtype=np.bool_)
    return np.isinf(question.cost_weights)


def _labels(question: Question, i: int) -> list[int]:
    """The labels that sample ``i`` may take, its own first."""
    own, kappa = int(question.y[i]), question.label_cost
    if question.loss == "linear" or math.isinf(kappa) or (math.isinf(question.order) and kappa > question.radius):
        return [own]
    return [own, *(j for j in range(_classes(question)) if j != own)]


def _pieces(question: Question, label: int) -> list[_Piece]:
    if question.functionals is not None:
        return [_Piece(label, c, float(offset)) for c, offset in zip(*question.functionals, strict=True)]
    eye = np.eye(_classes(question))
    offset = 1.0 if question.loss == "hinge" else 0.0
    return [_Piece(label, eye[j] - eye[label], offset) for j in range(len(eye)) if j != label]


def _values(question: Question, points: Array, label: int) -> Array:
    """The loss at points ``[B, n]`` with one label."""
    z = _outputs(question, points)
    if question.functionals is not None:
        F, offset = question.functionals
        out: Array = (z @ F.T + offset).max(axis=1)
        return out
    z = z - z[:, [label]]
    if question.loss == "cross-entropy":
        return np.asarray(logsumexp(z, axis=1), dtype=np.float64)
    margin: Array = np.delete(z, label, axis=1).max(axis=1)
    if question.loss == "margin":
        return margin
    if question.loss == "hinge":
        return np.maximum(0.0, 1.0 + margin)
    if question.loss == "cw":
        return np.where(margin > 0, margin, 0.0)
    return (margin >= -TIE_TOLERANCE).astype(np.float64)


def _norms(question: Question, points: Array, x: Array) -> Array:
    """``||c * (points - x)||`` of points ``[..., n]``."""
    size = np.abs(points - x) * _scale(question)
    if question.norm == "inf":
        out: Array = size.max(axis=-1)
    else:
        out = size.sum(axis=-1) if question.norm == "1" else np.sqrt((size * size).sum(axis=-1))
    return out


def _budget(question: Question) -> float:
    return float(question.radius**question.order)


def _extra(question: Question, i: int, label: int) -> float:
    """``kappa^p`` if ``label`` is not the sample's own; order inf charges nothing where the label is allowed."""
    if label == question.y[i] or math.isinf(question.order):
        return 0.0
    return float(question.label_cost**question.order)


# Parts of the support


def _shortest(A: Array, b: Array) -> float:
    """``min { ||u||_2 : A u <= b }`` by non-negative least squares (Lawson and Hanson), inf if there is no such u."""
    size = np.abs(A).max(axis=1, initial=0.0)
    if np.any(b[size == 0] < -1e-9):
        return math.inf
    A, b = A[size > 0] / size[size > 0, None], b[size > 0] / size[size > 0]
    if np.all(b >= 0):
        return 0.0
    target = np.append(np.zeros(A.shape[1]), 1.0)
    try:
        multipliers, rest = nnls(np.vstack([-A.T, -b]), target, maxiter=1000)
    except RuntimeError as error:
        raise OracleError(f"least squares did not converge: {error}") from error
    if rest < 1e-7:
        return math.inf
    residual = np.vstack([-A.T, -b]) @ multipliers - target
    u = -residual[:-1] / residual[-1]
    if np.any(A @ u > b + 1e-8 * (1 + np.abs(b))):
        raise OracleError("least squares left a violated row")
    return float(np.sqrt(u @ u))


def _nearest(part: _Part, x: Array, scale: Array) -> float:
    """``min ||scale * (x' - x)||_2`` over a part, inf if it is empty."""
    free = part.upper > part.lower
    A, b = _half_spaces(part)
    still = float(np.linalg.norm((scale * (part.base - x))[~free]))
    moving = _shortest(A[:, free] / scale[free], b - A @ part.base)
    return math.hypot(still, moving)


def _half_spaces(part: _Part) -> tuple[Array, Array]:
    """All rows of a part, those of its box among them; fixed features have none."""
    free = part.upper > part.lower
    eye = np.eye(part.base.size)[free]
    return np.vstack([part.A, eye, -eye]), np.concatenate([part.b, part.upper[free], -part.lower[free]])


@functools.lru_cache(maxsize=4096)
def _cells(question: Question, lower: tuple[float, ...], upper: tuple[float, ...]) -> list[Cell]:
    if isinstance(question.weights, Graph):
        return enumerate_graph(question.weights, np.array(lower), np.array(upper))
    return enumerate_cells(question.weights, np.array(lower), np.array(upper))


def _slices(question: Question, i: int, reach: float) -> Iterator[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Boxes that cover what the support holds within ``reach`` of sample ``i``, each integer feature at one value."""
    scale, fixed = _scale(question), _fixed(question)
    axes: list[list[tuple[float, float]]] = []
    for k, at in enumerate(question.x[i].tolist()):
        lower, upper = float(question.lower[k]), float(question.upper[k])
        if fixed[k]:
            axes.append([(at, at)])
            continue
        lower, upper = max(lower, at - reach / scale[k]), min(upper, at + reach / scale[k])
        if question.integer is not None and question.integer[k]:
            axes.append([(float(v), float(v)) for v in range(math.ceil(lower - 1e-12), math.floor(upper + 1e-12) + 1)])
        else:
            axes.append([(lower, upper)])
    for sides in itertools.product(*axes):
        yield tuple(a for a, _ in sides), tuple(b for _, b in sides)


def _parts(question: Question, i: int, reach: float = math.inf) -> list[_Part]:
    """The non-empty parts of the support seen from sample ``i``; with a reach, those that may lie within it."""
    x, scale = question.x[i], _scale(question)
    A, b = np.zeros((0, x.size)), np.zeros(0)
    if question.rows is not None:
        rows, lo, hi = question.rows
        A = np.vstack([rows[np.isfinite(hi)], -rows[np.isfinite(lo)]])
        b = np.concatenate([hi[np.isfinite(hi)], -lo[np.isfinite(lo)]])
    parts = []
    for lower, upper in _slices(question, i, reach):
        for cell in _cells(question, lower, upper):
            low, high = np.array(lower), np.array(upper)
            part = _Part(np.clip(x, low, high), low, high, np.vstack([cell.A, A]), np.append(cell.b, b), cell.G, cell.h)
            nearest = _nearest(part, x, scale)
            # The Euclidean length is at most the 1-norm; the box has dealt with the norm inf.
            if nearest <= reach or (question.norm == "inf" and math.isfinite(nearest)):
                parts.append(part)
    return parts


def _with_error(part: _Part, c: Array) -> _Part:
    """The part where ``c.z >= 0``."""
    return part._replace(A=np.vstack([part.A, -(c @ part.G)]), b=np.append(part.b, c @ part.h))


# The perspective program


class _Program(NamedTuple):
    """``max gain.v``, ``rows v <= 0``, ``mass v <= w`` (or ``=``), ``cost.v <= budget``, ``||body v|| <= head v``.

    A block's columns: mass ``a``, displacement ``r [n]`` (the mass sits at ``base + r / a``), coordinate sizes
    ``t [n]``, size ``T``, squared size ``s``. ``keep`` says which exist; the matrices have those columns only.
    """

    gain: Array
    cost: Array
    rows: sparse.csr_array
    mass: sparse.csr_array
    head: sparse.csr_array | None
    body: sparse.csr_array | None
    keep: Bools
    blocks: list[tuple[int, int, Array]]
    """Sample, label and base of each block."""


def _block(question: Question, x: Array, part: _Part, piece: _Piece) -> tuple[Array, Array, Array, Array]:
    """Gains, rows ``R v <= 0`` and the cone's head and body (no rows if linear) of one block."""
    n, eye = x.size, np.eye(x.size)
    scale, width = _scale(question), 2 * x.size + 3
    norm, order = question.norm, question.order
    T, S = 2 * n + 1, 2 * n + 2

    def table(count: int) -> Array:
        return np.zeros((count, width))

    A, b = _half_spaces(part)
    inside = table(len(A))
    inside[:, 0], inside[:, 1 : 1 + n] = A @ part.base - b, A
    inside = inside[np.any(A[:, part.upper > part.lower] != 0, axis=1)]
    gain = np.zeros(width)
    gain[0] = piece.c @ (part.G @ part.base + part.h) + piece.offset
    gain[1 : 1 + n] = piece.c @ part.G
    if question.loss == "zero-one":
        gain = np.zeros(width)
        gain[0] = 1.0
    moved = table(n)  # scale * a * (x' - x)
    moved[:, 0], moved[:, 1 : 1 + n] = scale * (part.base - x), scale[:, None] * eye
    rows, limit = [inside], table(1)
    if norm == "1":
        sizes = table(n)
        sizes[:, 1 + n : 1 + 2 * n] = eye
        rows += [moved - sizes, -moved - sizes]
        limit[0, 1 + n : 1 + 2 * n] = 1.0
        limit[0, T] = -1.0
        rows.append(limit)
    elif norm == "inf":
        sizes = table(n)
        sizes[:, T] = 1.0
        rows += [moved - sizes, -moved - sizes]
    head, body = table(0), table(0)
    if math.isinf(order):
        head = table(1)
        head[0, 0] = question.radius
        body = moved
        if norm != "2":
            within = -head
            within[0, T] = 1.0
            rows.append(within)
            head, body = table(0), table(0)
    elif order == 1:
        if norm == "2":
            head, body = table(1), moved
            head[0, T] = 1.0
    else:
        head, last, middle = table(1), table(1), table(1)
        head[0, 0] = head[0, S] = 1.0
        last[0, 0], last[0, S] = -1.0, 1.0
        middle[0, T] = 2.0
        body = np.vstack([2.0 * moved if norm == "2" else middle, last])
    return gain, np.vstack(rows), head, body


def _excluded(part: _Part) -> bool:
    """Whether the fixed features alone violate a row of the part."""
    A, b = _half_spaces(part)
    still = ~np.any(A[:, part.upper > part.lower] != 0, axis=1)
    return bool(np.any(A[still] @ part.base > b[still] + TIE_TOLERANCE))


def _columns(question: Question, part: _Part) -> Bools:
    n = part.base.size
    sized = question.norm != "2" or question.order == 1
    return np.concatenate(
        [[True], part.upper > part.lower, np.full(n, question.norm == "1"), [sized, question.order == 2]]
    )


def _stack(blocks: Sequence[Array], keep: Bools) -> sparse.csr_array:
    stacked = sparse.csr_array(sparse.block_diag([sparse.coo_array(block) for block in blocks], format="csc")[:, keep])
    stacked.eliminate_zeros()
    return stacked


def _program(question: Question) -> _Program:
    reach = question.radius if math.isinf(question.order) else math.inf
    gains, costs, tables, heads, bodies, keep = [], [], [], [], [], []
    blocks: list[tuple[int, int, Array]] = []
    for i, x in enumerate(question.x):
        parts = _parts(question, i, reach)
        for label in _labels(question, i):
            for part, piece in itertools.product(parts, _pieces(question, label)):
                use = part
                if question.loss == "zero-one":
                    use = _with_error(part, piece.c)
                    if math.isinf(_nearest(use, x, _scale(question))):
                        continue
                if _excluded(use):
                    continue
                gain, rows, head, body = _block(question, x, use, piece)
                cost = np.zeros(gain.size)
                if math.isfinite(question.order):
                    cost[0] = _extra(question, i, label)
                    cost[-1 if question.order == 2 else -2] = 1.0
                gains.append(gain)
                costs.append(cost)
                tables.append(rows)
                heads.append(head)
                bodies.append(body)
                keep.append(_columns(question, use))
                blocks.append((i, label, use.base))
    width = 2 * question.lower.size + 3
    owner = [i for i, _, _ in blocks]
    mass = sparse.csr_array(
        (np.ones(len(owner)), (owner, np.arange(len(owner)) * width)), shape=(len(question.x), width * len(owner))
    )
    if not blocks:
        empty = sparse.csr_array((0, 0))
        return _Program(np.zeros(0), np.zeros(0), empty, mass, None, None, np.zeros(0, dtype=np.bool_), [])
    kept = np.concatenate(keep)
    cone = len(heads[0]) > 0
    return _Program(
        np.concatenate(gains)[kept],
        np.concatenate(costs)[kept],
        _stack(tables, kept),
        sparse.csr_array(mass.tocsc()[:, kept]),
        _stack(heads, kept) if cone else None,
        _stack(bodies, kept) if cone else None,
        kept,
        blocks,
    )


def _solve_linear(question: Question, program: _Program, w: Array, free: bool) -> tuple[Array, float]:
    """The optimal columns and the dual objective."""
    budgeted = math.isfinite(question.order)
    tables, sides = [program.rows], [np.zeros(program.rows.shape[0])]
    if budgeted:
        tables.append(sparse.csr_array(program.cost[None, :]))
        sides.append(np.array([_budget(question)]))
    if free:
        tables.append(program.mass)
        sides.append(w)
    nonneg = np.zeros(program.keep.size, dtype=np.bool_)
    nonneg.reshape(len(program.blocks), -1)[:, 0] = True
    result = linprog(
        -program.gain,
        A_ub=sparse.vstack(tables, format="csr"),
        b_ub=np.concatenate(sides),
        A_eq=None if free else program.mass,
        b_eq=None if free else w,
        bounds=[(0.0 if positive else None, None) for positive in nonneg[program.keep]],
        method="highs",
        options={"primal_feasibility_tolerance": LP_TOLERANCE, "dual_feasibility_tolerance": LP_TOLERANCE},
    )
    if result.status != 0:
        raise OracleError(f"the perspective program ended with: {result.message}")
    high = -float(result.ineqlin.marginals @ np.concatenate(sides))
    if not free:
        high -= float(result.eqlin.marginals @ w)
    return np.asarray(result.x), high


def _solve_cone(question: Question, program: _Program, w: Array, free: bool) -> tuple[Array, float]:
    """The optimal columns and the dual objective."""
    v = cp.Variable(program.gain.size)
    nonneg = np.zeros(program.keep.size, dtype=np.bool_)
    nonneg.reshape(len(program.blocks), -1)[:, 0] = True
    masses = sparse.csr_array(sparse.eye_array(program.gain.size, format="csr")[nonneg[program.keep]])
    assert program.head is not None
    assert program.body is not None
    count = len(program.blocks)
    body = cp.reshape(program.body @ v, (program.body.shape[0] // count, count), order="F")
    shares = program.mass @ v <= w if free else program.mass @ v == w
    constraints = [program.rows @ v <= 0, masses @ v >= 0, cp.SOC(program.head @ v, body, axis=0), shares]
    if math.isfinite(question.order):
        budget = program.cost @ v <= _budget(question)
        constraints.append(budget)
    task = cp.Problem(cp.Minimize(-program.gain @ v), constraints)
    failure = ""
    for tolerance in (CONE_TOLERANCE, 100 * CONE_TOLERANCE):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an inaccurate answer is told by its status
                task.solve(
                    solver=cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance, max_iter=500
                )
        except cp.error.SolverError as error:
            failure = str(error)
            continue
        if task.status == cp.OPTIMAL or (task.status == cp.OPTIMAL_INACCURATE and tolerance > CONE_TOLERANCE):
            break
        failure = str(task.status)
    else:
        raise OracleError(f"the perspective program ended with: {failure}")
    high = float(w @ np.asarray(shares.dual_value))
    if math.isfinite(question.order):
        high += _budget(question) * float(budget.dual_value)
    return np.asarray(v.value), high


def _atoms(question: Question, program: _Program, columns: Array) -> list[tuple[int, int, Array]]:
    """Sample, label and point of each block that carries mass, if the point lies in the support."""
    n = question.lower.size
    full = np.zeros(program.keep.size)
    full[program.keep] = columns
    table = full.reshape(len(program.blocks), -1)
    atoms = []
    for (i, label, base), v in zip(program.blocks, table, strict=True):
        if v[0] < MASS_TOLERANCE:
            continue
        point = np.clip(base + v[1 : 1 + n] / v[0], question.lower, question.upper)
        if question.rows is not None:
            A, lo, hi = question.rows
            if np.any(A @ point < lo - TIE_TOLERANCE) or np.any(A @ point > hi + TIE_TOLERANCE):
                continue
        atoms.append((i, label, point))
    return atoms


class _Atoms:
    """Values and costs of points per sample, the clean points among them, and the linear program over their masses."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.value: list[list[Array]] = [[] for _ in question.x]
        self.cost: list[list[Array]] = [[] for _ in question.x]
        for i, x in enumerate(question.x):
            for label in _labels(question, i):
                self.add(i, label, x[None, :])

    def add(self, i: int, label: int, points: Array) -> None:
        question = self.question
        size = _norms(question, points, question.x[i])
        value = _values(question, points, label)
        if math.isinf(question.order):
            value = value[size <= question.radius * (1 + TIE_TOLERANCE)]
            size = np.zeros(value.size)
        else:
            size = size**question.order + _extra(question, i, label)
        self.value[i].append(value)
        self.cost[i].append(size)

    def master(self) -> tuple[float, float]:
        """The largest value of masses that fit the budget, and the budget's multiplier."""
        w = self.question.w
        values = [np.concatenate(v) for v in self.value]
        if math.isinf(self.question.order):
            return math.fsum(float(a) * float(v.max()) for a, v in zip(w, values, strict=True)), 0.0
        costs = [np.concatenate(c) for c in self.cost]
        for i, (value, cost) in enumerate(zip(values, costs, strict=True)):
            order = np.lexsort((-value, cost))
            best = np.maximum.accumulate(value[order])
            keep = order[np.append(True, value[order][1:] > best[:-1])]
            values[i], costs[i] = value[keep], cost[keep]
            self.value[i], self.cost[i] = [values[i]], [costs[i]]
        owner = np.repeat(np.arange(len(w)), [v.size for v in values])
        cost = np.concatenate(costs) * w[owner]
        result = linprog(
            -np.concatenate(values) * w[owner],
            A_ub=cost[None, :],
            b_ub=[_budget(self.question)],
            A_eq=sparse.csr_array((np.ones(owner.size), (owner, np.arange(owner.size)))),
            b_eq=np.ones(len(w)),
            method="highs",
            options={"primal_feasibility_tolerance": LP_TOLERANCE, "dual_feasibility_tolerance": LP_TOLERANCE},
        )
        if result.status != 0:
            raise OracleError(f"the program over atoms ended with: {result.message}")
        return -float(result.fun), max(0.0, -float(result.ineqlin.marginals[0]))


# Answers


def exact(question: Question) -> tuple[float, float]:
    """``(atoms re-evaluated by the network, dual objective)``: they enclose the value up to the solver's accuracy.

    Raises:
        OracleError: if the two differ by more than the route's tolerance, or a zero-one tie cannot be decided.
    """
    _check(question)
    if question.loss == "cross-entropy":
        return by_simplices(question)
    if question.loss == "zero-one" and math.isinf(question.order):
        value = _reachable(question)
        return value, value
    if question.radius == 0:
        value = _Atoms(question).master()[0]
        return value, value
    # Mass without a block has value 0: it errs nowhere, or stays where hinge and cw are at least 0.
    free = question.loss in ("zero-one", "hinge", "cw")
    atoms, program = _Atoms(question), _program(question)
    if not program.blocks:
        value = atoms.master()[0]
        return value, value
    solve = _solve_linear if program.head is None else _solve_cone
    columns, high = solve(question, program, question.w, free)
    for i, label, point in _atoms(question, program, columns):
        atoms.add(i, label, point[None, :])
    low = atoms.master()[0]
    gap = LP_GAP if program.head is None else CONE_GAP
    if abs(high - low) > gap * (1 + abs(high)):
        raise OracleError(f"atoms give {low!r}, multipliers give {high!r}")
    return low, max(low, high)


def distance(question: Question, i: int) -> float:
    """``min ||c * (x - x_i)||`` over points of the support with some ``z_j >= z_y``; 0 at an error, inf if none."""
    x, label = question.x[i], int(question.y[i])
    z = _outputs(question, x[None, :])[0]
    if np.delete(z, label).max() >= z[label]:
        return 0.0
    best, eye = math.inf, np.eye(z.size)
    for part in _parts(question, i):
        for rival in range(z.size):
            if rival == label:
                continue
            error = _with_error(part, eye[rival] - eye[label])
            # The Euclidean distance decides emptiness, and bounds the two other norms from one side each.
            near = _nearest(error, x, _scale(question))
            lowest = near / math.sqrt(x.size) if question.norm == "inf" else near
            if lowest < best:
                best = min(best, near if question.norm == "2" else _linear_distance(question, error, x))
    return best


def _linear_distance(question: Question, part: _Part, x: Array) -> float:
    """The distance to a non-empty part in the norm 1 or inf, by a linear program."""
    n, scale = x.size, np.diag(_scale(question))
    extra = 1 if question.norm == "inf" else n
    sizes = np.ones((n, 1)) if question.norm == "inf" else np.eye(n)
    result = linprog(
        np.concatenate([np.zeros(n), np.ones(extra)]),
        A_ub=np.block([[part.A, np.zeros((len(part.A), extra))], [scale, -sizes], [-scale, -sizes]]),
        b_ub=np.concatenate([part.b, scale @ x, -scale @ x]),
        bounds=[*zip(part.lower, part.upper, strict=True), *([(0.0, None)] * extra)],
        method="highs",
        options={"primal_feasibility_tolerance": LP_TOLERANCE, "dual_feasibility_tolerance": LP_TOLERANCE},
    )
    if result.status != 0:
        raise OracleError(f"a distance program ended with: {result.message}")
    return float(result.fun)


def _distances(question: Question) -> list[float]:
    """Distances to an error, by a point or by a label."""
    return [min(distance(question, i), question.label_cost) for i in range(len(question.x))]


def _reachable(question: Question) -> float:
    """Zero-one, order inf: the mass with an error within the radius."""
    value = 0.0
    for weight, length in zip(question.w.tolist(), _distances(question), strict=True):
        by_label = length == question.label_cost
        if length > 0 and not by_label and abs(length - question.radius) < 1e-7:
            raise OracleError(f"the distance {length!r} is too close to the radius {question.radius!r}")
        value += weight if length <= question.radius else 0.0
    return value


def by_knapsack(question: Question) -> float:
    """Zero-one: the mass that can be made wrong for the budget, nearest first, the last sample in part."""
    _check(question)
    if question.loss != "zero-one":
        raise ValueError("a knapsack answers zero-one only")
    if math.isinf(question.order):
        return _reachable(question)
    left, value = _budget(question), 0.0
    for length, weight in sorted(zip(_distances(question), question.w.tolist(), strict=True)):
        if math.isinf(length):
            break
        price = float(length**question.order)
        if weight * price > left:
            return value + left / price
        left -= weight * price
        value += weight
    return value


# One or two features: a branch and bound over simplices


def _clip(corners: Array, g: Array, c: float) -> Array | None:
    """``g.x <= c`` of a point, a segment or a convex polygon (corners in order); None if nothing or a face is left."""
    excess = corners @ g - c
    tolerance = 1e-13 * (1 + abs(c))
    if len(corners) == 1:
        return corners if excess[0] <= 1e-9 else None
    if np.all(excess <= tolerance):
        return corners
    if np.all(excess >= -tolerance):
        return None
    out = []
    count = len(corners)
    for at, value, then, after in zip(corners, excess, np.roll(corners, -1, 0), np.roll(excess, -1), strict=True):
        if value <= 0:
            out.append(at)
        if (value < 0 < after) or (after < 0 < value):
            out.append(at + (then - at) * (value / (value - after)))
    return np.array(out[:2] if count == 2 else out)


def _kinks(question: Question, x: Array) -> list[tuple[Array, float]]:
    """Lines ``g.x = c`` through a sample along which the cost is not smooth."""
    scale, eye = _scale(question), np.eye(x.size)
    lines = list(eye)
    if x.size == 2 and question.norm == "inf":
        lines += [scale * [1.0, 1.0], scale * [1.0, -1.0]]
    return [(g, float(g @ x)) for g in lines]


def _ball(question: Question, part: _Part, x: Array) -> list[tuple[Array, float]] | None:
    """Half-planes of the ball of order inf on a part, None where it misses; a full disc in the plane gives none."""
    scale, free = _scale(question), part.upper > part.lower
    still = scale * np.where(free, 0.0, part.base - x)
    if not free.any():
        return [] if _norms(question, part.base, x) <= question.radius * (1 + 1e-12) else None
    if question.norm == "1":
        signs = itertools.product((-1.0, 1.0), repeat=x.size)
        return [(scale * s, float(scale * s @ x) + question.radius) for s in signs]
    if question.norm == "2" and not free.all():
        room = question.radius**2 - float(still @ still)
        if room < 0:
            return None
        k = int(np.flatnonzero(free)[0])
        g = np.eye(x.size)[k] * scale[k]
        return [(s * g, float(s * g @ x) + math.sqrt(room)) for s in (-1.0, 1.0)]
    return []


def _simplices(question: Question, i: int) -> Array:
    """Simplices ``[T, m, n]`` that cover the support seen from sample ``i``, each in one cell, none across a kink."""
    x, ball = question.x[i], math.isinf(question.order)
    out: list[Array] = []
    for part in _parts(question, i, question.radius if ball else math.inf):
        free = np.flatnonzero(part.upper > part.lower)
        lower, upper = part.lower, part.upper
        shape = part.base[None, :].copy()
        if free.size == 1:
            shape = np.array([lower, upper])
        elif free.size == 2:
            shape = np.array([lower, [upper[0], lower[1]], upper, [lower[0], upper[1]]])
        halves = _ball(question, part, x) if ball else []
        if halves is None:
            continue
        left: Array | None = shape
        for g, c in [*zip(part.A, part.b.tolist(), strict=True), *halves]:
            left = _clip(left, g, c) if left is not None else None
        shapes = [] if left is None else [left]
        for g, c in _kinks(question, x) if free.size else []:
            cut = (_clip(piece, s * g, s * c) for piece in shapes for s in (1.0, -1.0))
            shapes = [piece for piece in cut if piece is not None]
        for piece in shapes:
            if free.size < 2:
                out.append(piece)
            else:
                out.extend(piece[[0, k, k + 1]] for k in range(1, len(piece) - 1))
    if not out:
        raise OracleError(f"no simplex covers sample {i}")
    return np.array(out)


def _slopes(question: Question, points: Array, x: Array) -> tuple[Array, Array]:
    """Cost (its power for finite orders) and a gradient of it at points ``[T, n]``."""
    scale = _scale(question)
    moved = scale * (points - x)
    size = _norms(question, points, x)
    if question.norm == "1":
        gradient = np.sign(moved)
    elif question.norm == "2":
        gradient = moved / np.maximum(size, 1e-300)[:, None]
    else:
        gradient = np.zeros_like(moved)
        at = np.abs(moved).argmax(axis=1)
        rows = np.arange(len(moved))
        gradient[rows, at] = np.sign(moved[rows, at])
    gradient = gradient * scale
    if question.order == 2:
        return size * size, 2.0 * size[:, None] * gradient
    return size, gradient


def _bisect(simplices: Array) -> Array:
    """Both halves of each simplex, cut at the middle of its longest edge."""
    pairs = list(itertools.combinations(range(simplices.shape[1]), 2))
    lengths = np.stack([np.linalg.norm(simplices[:, a] - simplices[:, b], axis=1) for a, b in pairs], axis=1)
    a, b = np.array(pairs)[lengths.argmax(axis=1)].T
    rows = np.arange(len(simplices))
    middle = 0.5 * (simplices[rows, a] + simplices[rows, b])
    one, two = simplices.copy(), simplices.copy()
    one[rows, a] = middle
    two[rows, b] = middle
    return np.concatenate([one, two])


def _peak(
    question: Question, i: int, label: int, simplices: Array, multiplier: float, tolerance: float
) -> tuple[float, Array]:
    """``max loss - multiplier * cost^p`` from above, within the tolerance, and points that nearly attain it.

    On a simplex in one cell the loss lies below its interpolation, which is linear, and the cost above its tangent. For
    order inf the multiplier is 0 and the disc's tangent at the centroid cuts the simplex.
    """
    x, ball = question.x[i], math.isinf(question.order)
    disc = ball and question.norm == "2" and simplices.shape[1] == 3
    best, dropped = -math.inf, -math.inf
    found: list[Array] = []
    for _ in range(200):
        count, m, n = simplices.shape
        corners = simplices.reshape(-1, n)
        loss = _values(question, corners, label).reshape(count, m)
        centre = simplices.mean(axis=1)
        at, gradient = _slopes(question, centre, x)
        tangent = at[:, None] + np.einsum("tmn,tn->tm", simplices - centre[:, None], gradient)
        if disc:
            size = _norms(question, corners, x)
            points = x + (corners - x) * np.minimum(1.0, question.radius / np.maximum(size, 1e-300))[:, None]
            value = _values(question, points, label)
            slack = tangent - question.radius
            bound = np.where(slack <= 0, loss, -np.inf).max(axis=1)
            for a, b in itertools.combinations(range(m), 2):
                crossing = slack[:, a] * slack[:, b] < 0
                share = slack[:, a] / np.where(crossing, slack[:, a] - slack[:, b], 1.0)
                between = loss[:, a] + share * (loss[:, b] - loss[:, a])
                bound = np.maximum(bound, np.where(crossing, between, -np.inf))
        else:
            points = corners
            power = 1.0 if ball else question.order
            value = loss.ravel() - multiplier * _norms(question, corners, x) ** power
            bound = (loss - multiplier * tangent).max(axis=1)
        top = int(value.argmax())
        best = max(best, float(value[top]))
        found.append(points[top])
        open_ = bound > best + tolerance
        dropped = max(dropped, float(bound[~open_].max(initial=-np.inf)))
        if not open_.any() or m == 1:
            dropped = max(dropped, float(bound.max())) if m == 1 else dropped
            return max(best, dropped), np.array(found)
        simplices = _bisect(simplices[open_])
        if len(simplices) > 1_000_000:
            break
    raise OracleError("the branch and bound over simplices did not close")


def by_simplices(question: Question, gap: float = 1e-6) -> tuple[float, float]:
    """``(program over atoms, dual)`` by column generation over simplices, one or two features, not for zero-one.

    Raises:
        OracleError: if the two differ by more than ``SIMPLEX_GAP``.
    """
    _check(question)
    if question.lower.size > 2 or question.loss == "zero-one":
        raise ValueError("simplices answer one or two features and continuous losses")
    atoms = _Atoms(question)
    if question.radius == 0:
        value = atoms.master()[0]
        return value, value
    budget = 0.0 if math.isinf(question.order) else _budget(question)
    simplices = [_simplices(question, i) for i in range(len(question.x))]
    for i, cover in enumerate(simplices):
        for label in _labels(question, i):
            atoms.add(i, label, cover.reshape(-1, question.lower.size))
    high = math.inf
    for _ in range(200):
        low, multiplier = atoms.master()
        total = multiplier * budget
        for i, cover in enumerate(simplices):
            peaks = []
            for label in _labels(question, i):
                peak, points = _peak(question, i, label, cover, multiplier, 0.3 * gap)
                peaks.append(peak - multiplier * _extra(question, i, label))
                atoms.add(i, label, points)
            total += float(question.w[i]) * max(peaks)
        high = min(high, total)
        low = atoms.master()[0]
        if high - low <= gap:
            break
    if abs(high - low) > SIMPLEX_GAP:
        raise OracleError(f"atoms give {low!r}, the dual gives {high!r}")
    return low, max(low, high)


# Random questions


def _dyadic(values: Array) -> Array:
    """Rounded to multiples of 1/1024, which float32 holds."""
    return np.asarray(np.round(np.asarray(values) * 1024) / 1024, dtype=np.float64)


def _network(rng: np.random.Generator, x: Array, hidden: Sequence[int], K: int) -> list[tuple[Array, Array]]:
    """A random network with ReLUs that switch among the points ``x [B, n]``."""
    weights = []
    h = x
    for index, width in enumerate([*hidden, K]):
        spread = np.maximum(h.std(axis=0), 0.1)
        W = _dyadic(rng.normal(size=(width, h.shape[1])) / spread / math.sqrt(h.shape[1]) * 1.5)
        z = h @ W.T
        share = rng.uniform(0.25, 0.75, width) if index < len(hidden) else np.full(width, 0.5)
        b = _dyadic(np.array([-np.quantile(column, s) for column, s in zip(z.T, share, strict=True)]))
        weights.append((W, b))
        h = np.maximum(z + b, 0.0)
    return weights


def random_question(
    seed: int,
    *,
    norm: Norm,
    order: Order,
    loss: Loss,
    n: int | None = None,
    label_cost: bool = False,
    cost_weights: bool = False,
    rows: bool = False,
    integer: bool = False,
) -> Question:
    """A small question; integer features, if any, live in [0, 3], the others in a box of about unit width."""
    rng = np.random.default_rng(seed)
    if n is None:
        n = int(rng.integers(1, 3 if loss == "cross-entropy" else 4))
    K = int(rng.integers(2, 4))
    deep = loss != "cross-entropy" and rng.random() < 0.5
    hidden = [int(v) for v in rng.integers(2, 4 if deep and n == 3 else 5, size=2 if deep else 1)]
    lower = _dyadic(rng.uniform(-0.5, 0.5, n))
    upper = lower + _dyadic(rng.uniform(0.75, 1.5, n))
    whole = np.zeros(n, dtype=np.bool_)
    if integer:
        whole = rng.random(n) < 0.5
        whole[rng.integers(n)] = True
        lower, upper = np.where(whole, 0.0, lower), np.where(whole, 3.0, upper)

    def draw(count: int) -> Array:
        points = _dyadic(rng.uniform(lower, upper, size=(count, n)))
        return np.where(whole, np.clip(np.round(points), lower, upper), np.clip(points, lower, upper))

    weights = _network(rng, draw(64), hidden, K)
    N = int(rng.integers(2, 5))
    x = draw(N)
    y = forward(weights, x).argmax(axis=1).astype(np.int64)
    wrong = rng.random(N) < 0.15
    y = np.where(wrong, rng.integers(K, size=N), y).astype(np.int64)
    w = rng.uniform(0.5, 2.0, N)
    w = w / w.sum()
    width = float((upper - lower).mean())
    scale: Array | None = None
    if cost_weights:
        scale = _dyadic(rng.uniform(0.5, 2.0, n))
        if n > 1 and rng.random() < 0.5:
            scale[rng.integers(n)] = math.inf
    cuts: tuple[Array, Array, Array] | None = None
    if rows:
        A = _dyadic(rng.normal(size=(int(rng.integers(1, 3)), n)))
        at = x @ A.T
        room = rng.uniform(0.05, 0.3, len(A)) * (np.abs(A) @ (upper - lower))
        lo, hi = _dyadic(at.min(axis=0) - room), _dyadic(at.max(axis=0) + room)
        one_sided = rng.random(len(A)) < 0.5
        cuts = A, np.where(one_sided, -np.inf, lo), hi
    functionals: tuple[Array, Array] | None = None
    if loss == "linear":
        count = int(rng.integers(1, 4))
        functionals = _dyadic(rng.normal(size=(count, K))), _dyadic(rng.normal(size=count))
    return Question(
        weights=weights,
        x=x,
        y=y,
        w=w,
        radius=float(rng.uniform(0.05, 0.3) * width),
        norm=norm,
        order=order,
        loss=loss,
        lower=lower,
        upper=upper,
        cost_weights=scale,
        label_cost=float(rng.uniform(0.2, 1.0) * width) if label_cost else math.inf,
        rows=cuts,
        integer=whole if integer else None,
        functionals=functionals,
    )
