"""The longest gradient of one functional where decided layers are a matrix and the rest is intervals, in the l2 norm.

Where every neuron before a layer is decided, the gradient is ``g = sum_j b_j m_j``: rows m_j of that layer on the cell (a forward pass),
coefficients ``b_j in c_j +- r_j`` (a backward pass over the later ones). Coordinate by coordinate (``forward``) the box around these
vectors is up to sqrt(n) times too long. With generators ``v_0 = sum c_j m_j``, ``v_j = r_j m_j`` and any t > 0, by Cauchy-Schwarz,

    ||v_0 + sum s_j v_j||^2 <= (sum t_j) lambda_max(sum v_j v_j^T / t_j)    for all |s_j| <= 1,     t_j = ||v_j||
"""

from __future__ import annotations

import numpy as np

from wdaverify.certify.forward import Ints, States
from wdaverify.certify.jacobian import add, eigen_up, gated, through
from wdaverify.certify.proof import Phases
from wdaverify.graph.nodes import INPUT, Elementwise, Graph
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow


def longest(
    graph: Graph, rows: Array, states: States, number: int, parents: Ints, phases: Phases, unit: Array
) -> Array:
    """Upper bounds ``[C]`` of the l2 norm of ``rows [1, K]``'s gradient with phases ``[C, M]`` of elementwise node ``number`` and later ones.

    The nodes before it are those of ``states`` at ``parents [C]``, decided; ``unit [e]`` is what each of their features is worth (0: none).
    inf where paths go around the node.
    """
    some, back = np.unique(parents, return_inverse=True)
    coefficients = _coefficients(graph, rows, number, some, parents, phases)
    count = len(parents)
    if coefficients is None:
        return np.full(count, np.inf)
    edges = graph.edges
    own = phases[:, edges[number] : edges[number + 1]]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        q, loose = coefficients[0][back], coefficients[1][back]
        c, r = (part[:, 0] for part in gated(q, loose, (own > 0).astype(np.float64), (own >= 0).astype(np.float64)))
        centre, radius = (part[some, :-1] * unit[:, None] for part in states[graph.source(graph.elementwise[number])])
        out = np.zeros(count)
        for k in range(some.size):
            mine = back == k
            out[mine] = _bound(centre[k].T, radius[k].T + 4 * UNIT_ROUNDOFF * np.abs(centre[k].T), c[mine], r[mine])
    return np.where(np.isnan(out), np.inf, out)


def _coefficients(
    graph: Graph, rows: Array, number: int, some: Ints, parents: Ints, phases: Phases
) -> tuple[Array, Array] | None:
    """What the functional makes of the outputs of a node, per parent, ``[P, 1, m]``: phases of later nodes are those of the parent."""
    last, stop = len(graph.nodes) - 1, graph.elementwise[number]
    first = np.array([int(np.flatnonzero(parents == parent)[0]) for parent in some.tolist()])
    exact = np.broadcast_to(rows, (some.size, *rows.shape))
    waiting = {last: (exact, np.zeros(exact.shape))}
    later = len(graph.elementwise)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for k in range(last, stop, -1):
            node, given = graph.nodes[k], waiting.pop(k, None)
            if isinstance(node, Elementwise):
                later -= 1
                if given is not None:
                    own = phases[first][:, graph.edges[later] : graph.edges[later + 1]]
                    part = gated(*given, (own > 0).astype(np.float64), (own >= 0).astype(np.float64))
                    add(waiting, node.source, *part)
            elif given is not None:
                for source, map_ in zip(node.sources, node.maps, strict=True):
                    add(waiting, source, *through(map_, *given))
    if any(k not in (stop, INPUT) or (k == INPUT and stop != INPUT) for k in waiting):
        return None
    none = np.zeros((some.size, 1, graph.width(stop)))
    return waiting.get(stop, (none, none))


def _bound(m: Array, off: Array, c: Array, r: Array) -> Array:
    """The bound for rows ``m +- off [j, e]`` and coefficients ``c +- r [C, j]``."""
    j, e = m.shape
    size = np.sqrt((m * m).sum(axis=1))
    per = np.where(size > 0, 1 / np.where(size > 0, size, 1.0), 0.0)
    middle = c @ m
    length = np.sqrt((middle * middle).sum(axis=1))
    t = r * size
    scale = t.sum(axis=1) + length
    outer = (m[:, :, None] * m[:, None, :]).reshape(j, -1)
    share = (r * per) @ outer
    square = share.reshape(-1, e, e) + np.where(length > 0, 1 / np.where(length > 0, length, 1.0), 0.0)[:, None, None] * (
        middle[:, :, None] * middle[:, None, :]
    )
    lift = np.where(scale > 0, scale, 1.0)
    square = square / lift[:, None, None]  # of trace about 1
    finite = np.isfinite(square).all(axis=(1, 2))
    # every entry is a sum of j + 1 products of entries no longer than their rows: at most t_j / lift each
    lost = np.full(square.shape, 4 * dot_error(j + e + 16) + underflow(j))
    top = eigen_up(np.where(finite[:, None, None], square, 0.0), lost)
    # sum t_j and every t_j itself round, and so does what v_0 leaves of the middle
    rounded = dot_error(j + 8) * (np.abs(c) @ np.abs(m)).sum(axis=1) + ((np.abs(c) + r) @ off).sum(axis=1)
    out = np.sqrt(top) * lift * (1 + 4 * dot_error(j + e + 16)) + 1.001 * rounded + underflow(8)
    out = np.where(scale > 0, out, 1.001 * rounded + underflow(8))
    return np.asarray(np.where(finite, out, np.inf))
