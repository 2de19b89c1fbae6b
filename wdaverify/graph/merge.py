"""ReLUs that others make up: the same function with fewer neurons.

    equal         u_j = c u_i,  c > 0        relu(u_j) = c relu(u_i)
    opposite      u_j = -c u_i, c > 0        relu(u_j) = c relu(u_i) - c u_i
    always on     sums of ReLUs with no weight and no bias < 0; constants >= 0        relu(u_j) = u_j
    always off    the same with none > 0; constants <= 0                              relu(u_j) = 0

as ``relu(-u) = relu(u) - u``. What is added as u itself is read before the function. All is exact: rows
are compared in rationals and none that is known up to an error is; sums of weights that no double is are left to a node of their own,
and so are products. Neurons that nothing reads any more are left out (``graph.unread``): weights of ``relu(u)`` and ``relu(-u)`` that
cancel leave the neuron to no one, and a pair that hands u on is u.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Array, Dense, Ints, LinearMap, Same, Select, rows, rows_error
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, Node
from wdaverify.graph.unread import is_matrix, matrix, pruned, reached, rows_of

Bools = NDArray[np.bool_]

_MOST = 2**22
"""Nodes with more weights are left as they are."""
_TRIED = 8
"""With so many others of its direction a neuron is compared."""
_ALIKE = 1e-9
"""Rows whose directions differ by less are compared in rationals."""


@dataclass(frozen=True, eq=False)
class _Plan:
    """``relu(u_j) = factor_j relu(k_(like_j)) - turned_j k_(like_j)`` of the neurons ``k = u_kept`` (nothing where ``like_j`` is -1).

    And ``u_j`` alone of those at ``linear``.
    """

    kept: Ints
    like: Ints
    factor: Array
    turned: Array
    linear: Ints


@dataclass(frozen=True, eq=False)
class _Planned:
    """A plan, the nodes of ``k``, of ``relu(k)``, and of what is always on; None where a node has no entry."""

    plan: _Plan
    kept: int | None
    left: int | None
    linear: int | None


@dataclass(eq=False)
class _Made:
    """The nodes of the new graph, where those of the old one went, and the elementwise ones that went to several."""

    inputs: int
    nodes: list[Node] = field(default_factory=list)
    place: dict[int, int] = field(default_factory=lambda: {INPUT: INPUT})
    plans: dict[int, _Planned] = field(default_factory=dict)

    def add(self, node: Node) -> int:
        """Its place."""
        self.nodes.append(node)
        return len(self.nodes) - 1


def merged(graph: Graph) -> Graph:
    """A graph of ReLUs with fewer of them, where some are multiples of others, always on or always off, or read by nothing."""
    made = _Made(graph.inputs)
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            made.place[k] = made.add(_affine(made, node))
        else:
            _elementwise(made, graph, k)
    return pruned(reached(made.nodes, graph.inputs) if made.plans else graph)


def _elementwise(made: _Made, graph: Graph, k: int) -> None:
    """The ReLUs that are left of a node."""
    source = made.place[graph.source(k)]
    before = made.nodes[source]
    assert isinstance(before, Affine)
    table = _table(before)
    plain = all(is_matrix(m) for node in graph.nodes if isinstance(node, Affine) for m in _maps_from(node, k))
    if table is None or not (plain or table.shape[0] ** 2 <= _MOST):
        made.place[k] = made.add(Elementwise(source, relu()))
        return
    on, off = _settled(graph, graph.source(k))
    still = (table[:, :-1] == 0).all(axis=1)  # what is merged before it may cancel
    off |= still & (table[:, -1] <= 0)
    on |= still & (table[:, -1] > 0)
    plan = _planned(table, on, off)
    if plan.kept.size == table.shape[0]:
        made.place[k] = made.add(Elementwise(source, relu()))
        return
    kept = made.add(rows_of(before, plan.kept)) if plan.kept.size else None
    left = None if kept is None else made.add(Elementwise(kept, relu()))
    linear = made.add(rows_of(before, plan.linear)) if plan.linear.size else None
    made.plans[k] = _Planned(plan, kept, left, linear)


def _maps_from(node: Affine, k: int) -> list[LinearMap]:
    return [m for s, m in zip(node.sources, node.maps, strict=True) if s == k]


def _table(node: Affine) -> Array | None:
    """The rows of a node side by side with its bias, ``[m, ... + 1]``; nan where not known exactly; None if there are too many."""
    size = sum(m.inputs for m in node.maps) * node.width
    if not all(is_matrix(m) for m in node.maps) or size > _MOST:
        return None
    parts = [np.where(off > 0, np.nan, rows(m)) if (off := rows_error(m)) is not None else rows(m) for m in node.maps]
    bias = node.bias if node.bias_error is None else np.where(node.bias_error > 0, np.nan, node.bias)
    return np.hstack([*parts, bias[:, None]])


def _planned(table: Array, on: Bools, off: Bools) -> _Plan:
    """What becomes of each neuron."""
    m = table.shape[0]
    like, factor, turned = np.full(m, -1), np.zeros(m), np.zeros(m)
    kept = list[int]()
    groups = _alike(table, np.flatnonzero(~(on | off)))
    leaders: dict[int, list[int]] = {}
    for j in np.flatnonzero(~(on | off)).tolist():
        for i in leaders.get(groups.get(j, -1), [])[:_TRIED]:
            ratio = _ratio(table[j], table[i])
            if ratio is not None:
                like[j], factor[j], turned[j] = like[i], abs(ratio), max(-ratio, 0.0)
                break
        else:
            like[j], factor[j] = len(kept), 1.0
            kept.append(j)
            if j in groups:
                leaders.setdefault(groups[j], []).append(j)
    return _Plan(np.array(kept, np.int64), like, factor, turned, np.flatnonzero(on))


def _settled(graph: Graph, k: int) -> tuple[Bools, Bools]:
    """Which entries of an affine node are at least 0 wherever the input is, and which at most 0, ``[m]`` each.

    Of the graph as it was: in what is made of it signs are spread over ``relu(u)`` and ``u``.
    """
    node = graph.nodes[k]
    assert isinstance(node, Affine)
    table = _table(node)
    if table is None:
        return np.zeros(node.width, np.bool_), np.zeros(node.width, np.bool_)
    wild = [s == INPUT or isinstance(graph.nodes[s], Affine) for s in node.sources]
    columns = np.concatenate([np.full(m.inputs, some) for some, m in zip(wild, node.maps, strict=True)])
    tame = ~np.isnan(table).any(axis=1) & ~(table[:, :-1][:, columns] != 0).any(axis=1)
    off = tame & (table <= 0).all(axis=1)
    return tame & (table >= 0).all(axis=1) & ~off, off


def _alike(table: Array, at: Ints) -> dict[int, int]:
    """Neurons by groups whose rows have nearly one direction, up to the sign; those alone in theirs are left out."""
    known = at[~np.isnan(table[at]).any(axis=1)]
    if known.size < 2:
        return {}
    some = table[known]
    pivot = some[np.arange(known.size), np.abs(some).argmax(axis=1)]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        look = np.abs(some / pivot[:, None]) @ (0.5 + np.random.default_rng(0).random(some.shape[1]))
    order = np.argsort(look, kind="stable")
    new = np.append(True, np.diff(look[order]) > _ALIKE * look[order][1:])
    group = np.cumsum(new)
    often = np.bincount(group)
    return {int(j): int(g) for j, g in zip(known[order], group, strict=True) if often[g] > 1}


def _ratio(row: Array, other: Array) -> float | None:
    """The double c with ``row = c other`` exactly; None if there is none."""
    at = int(np.abs(other).argmax())
    if not np.array_equal(row != 0, other != 0):
        return None
    c = Fraction(float(row[at])) / Fraction(float(other[at]))
    number = c.numerator / c.denominator
    if not np.isfinite(number) or Fraction(number) != c:
        return None
    pairs = zip(row.tolist(), other.tolist(), strict=True)
    return number if all(Fraction(a) == c * Fraction(b) for a, b in pairs if b) else None


def _affine(made: _Made, node: Affine) -> Affine:
    """An affine node, of what is left of its sources."""
    parts: dict[int, LinearMap] = {}
    bias, error = node.bias, node.bias_error
    waiting = list[tuple[int, Dense]]()
    for source, map_ in zip(node.sources, node.maps, strict=True):
        if source not in made.plans:
            parts[made.place[source]] = map_
        elif is_matrix(map_):
            waiting += _through(made, matrix(map_), made.plans[source])
        else:
            planned = made.plans[source]
            parts[made.add(_spread(np.arange(planned.plan.like.size), planned))] = map_
    for source, dense in waiting:
        bias = _put(made, parts, source, dense, bias)
    if not parts:
        first = node.maps[0]
        parts[INPUT] = Dense(np.zeros((first.outputs, made.inputs)))
    return Affine(tuple(parts), tuple(parts.values()), bias, error)


def _through(made: _Made, map_: Dense, planned: _Planned) -> list[tuple[int, Dense]]:
    """A matrix on what an old node was, as matrices on ``relu(k)``, ``k``, what is always on, and what no double sums up."""
    out, plan = list[tuple[int, Dense]](), planned.plan
    weight, off = map_.weight, np.zeros_like(map_.weight) if map_.error is None else map_.error
    if planned.left is not None and planned.kept is not None:
        bent, lost, straight = (np.zeros((map_.outputs, plan.kept.size)) for _ in range(3))
        rest = list[Ints]()
        for r in range(plan.kept.size):
            some = np.flatnonzero(plan.like == r)
            sums = _summed(weight[:, some], plan.factor[some]), _summed(weight[:, some], -plan.turned[some])
            plain = not (off[:, some].any(axis=0) & ((plan.factor[some] != 1) | (plan.turned[some] != 0))).any()
            if sums[0] is not None and sums[1] is not None and plain:
                bent[:, r], straight[:, r] = sums
                lost[:, r] = off[:, some].sum(axis=1) * (1.0 if some.size == 1 else 1.001)
            else:
                rest.append(some)
        out += [(planned.left, Dense(bent, lost if lost.any() else None)), (planned.kept, Dense(straight))]
        if rest:
            some = np.sort(np.concatenate(rest))
            out.append((made.add(_spread(some, replace(planned, linear=None))), _columns(weight, off, some)))
    if planned.linear is not None:
        out.append((planned.linear, _columns(weight, off, plan.linear)))
    return out


def _columns(weight: Array, off: Array, at: Ints) -> Dense:
    return Dense(weight[:, at], off[:, at] if off[:, at].any() else None)


def _summed(columns: Array, factor: Array) -> Array | None:
    """``columns @ factor``, ``[m, c] @ [c]``, where it is doubles, else None."""
    if not factor.any() or (factor.size == 1 and factor[0] == 1):
        return np.asarray(columns[:, 0] * factor[0])
    out, ratios = np.zeros(len(columns)), [Fraction(f) for f in factor.tolist()]
    for i, row in enumerate(columns.tolist()):
        total = sum((Fraction(a) * f for a, f in zip(row, ratios, strict=True) if a), Fraction(0))
        try:
            out[i] = total.numerator / total.denominator
        except OverflowError:
            return None
        if Fraction(float(out[i])) != total:
            return None
    return out


def _spread(at: Ints, planned: _Planned) -> Affine:
    """The old neurons ``at`` again, of what is left."""
    parts, plan = dict[int, LinearMap](), planned.plan
    some = np.flatnonzero(plan.like[at] >= 0)
    for node, number in ((planned.left, plan.factor), (planned.kept, -plan.turned)):
        weight = np.zeros((at.size, plan.kept.size))
        weight[some, plan.like[at[some]]] = number[at[some]]
        if node is not None and weight.any():
            parts[node] = Dense(weight)
    if planned.linear is not None:
        chosen = np.searchsorted(plan.linear, at)
        found = (chosen < plan.linear.size) & (plan.linear[np.minimum(chosen, plan.linear.size - 1)] == at)
        parts[planned.linear] = Select(np.where(found, chosen, -1), plan.linear.size)
    return Affine(tuple(parts), tuple(parts.values()), np.zeros(at.size))


def _put(made: _Made, parts: dict[int, LinearMap], source: int, map_: Dense, bias: Array) -> Array:
    """Add a matrix on a node, where the node only hands on entries on those; the bias, with theirs."""
    if not map_.weight.any() and map_.error is None:
        return bias
    if source in parts:
        total = _plus(parts[source], map_)
        if total is None:  # what is read twice has a second name
            source, total = made.add(Affine((source,), (Same(map_.inputs),), np.zeros(map_.inputs))), map_
        parts[source] = total
        return bias
    inner = made.nodes[source] if source != INPUT else None
    if not (isinstance(inner, Affine) and inner.exact and map_.error is None):
        parts[source] = map_
        return bias
    handed = _handed_on(inner, map_, bias)
    sums: dict[int, LinearMap] = {}
    for s, extra in handed[0].items() if handed is not None else ():
        total = _plus(parts.get(s), extra)
        if total is None:
            handed = None
            break
        sums[s] = total
    if handed is None:
        parts[source] = map_
        return bias
    parts.update(sums)
    return handed[1]


def _handed_on(inner: Affine, map_: Dense, bias: Array) -> tuple[dict[int, Dense], Array] | None:
    """``map_`` after a node each of whose rows is one entry times a power of two, by source; None where it is not, or rounds."""
    table = np.hstack(
        [*(rows(m) if is_matrix(m) else np.full((m.outputs, 2), 2.0) for m in inner.maps), inner.bias[:, None]]
    )
    some = table != 0
    numbers = table[some]
    if (some.sum(axis=1) > 1).any() or (np.abs(np.frexp(numbers)[0]) != 0.5).any():
        return None
    with np.errstate(over="ignore", under="ignore"):
        product = map_.weight @ table
        for j in range(map_.inputs):
            at = np.flatnonzero(some[j])
            moved = map_.weight[:, j] * table[j, at[0]] if at.size else np.zeros(map_.outputs)
            if at.size and not np.array_equal(moved / table[j, at[0]], map_.weight[:, j]):
                return None
    if (some.sum(axis=0) > 1).any():
        return None
    lifted = _two_sum(bias, product[:, -1])
    if lifted is None:
        return None
    edges = np.cumsum([m.inputs for m in inner.maps])
    return dict(zip(inner.sources, map(Dense, np.split(product[:, :-1], edges[:-1], axis=1)), strict=True)), lifted


def _plus(before: LinearMap | None, extra: Dense) -> Dense | None:
    """The sum of two maps where it is doubles."""
    if before is None:
        return extra
    if not is_matrix(before) or rows_error(before) is not None or extra.error is not None:
        return None
    total = _two_sum(rows(before), extra.weight)
    return None if total is None else Dense(total)


def _two_sum(a: Array, b: Array) -> Array | None:
    """``a + b`` where nothing is rounded (Knuth's error is 0), else None."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = a + b
        back = total - a
        lost = (a - (total - back)) + (b - back)
    return total if np.isfinite(total).all() and not lost.any() else None
