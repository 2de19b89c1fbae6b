"""The product of layer norms: the classical bound of a functional's Lipschitz constant, added up over the paths of a graph.

    |c . f(x) - c . f(x')|  <=  sum_k ||c W_k||_(r*) L_k ||a * (x - x')||_r,     L_j = sum_k ||W_jk||_(r -> r) L_k

over the functions k that are read, with ``L = 1`` at the input; in a chain that is a product. Induced norms are the largest row sum of
moduli for r = inf, the largest column sum for r = 1, the spectral norm for r = 2 (definite.py); a ReLU is 1-Lipschitz in every one of
them, and any other function as much as its steepest slope.
"""

from __future__ import annotations

import numpy as np

from wdaverify.graph.nodes import INPUT, Elementwise, Graph
from wdaverify.ground import GroundCost, Norm
from wdaverify.lipschitz.definite import spectral_norm
from wdaverify.lipschitz.layers import TINY, Enclosed, cost_layers, functionals
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error


def product_of_norms(graph: Graph, rows: Array, cost: GroundCost) -> Array:
    """Upper bounds ``[R]`` of the constants of ``rows . f``, rows ``[R, K]``, on all of R^n; inf where they overflow.

    Against ``||a * (x - x')||`` in the cost's norm and weights. With no hidden layer it is the dual norm, rounded up.
    """
    *hidden, last = cost_layers(graph, cost)
    constants = {INPUT: 1.0}
    for number, (k, layer) in enumerate(zip(graph.elementwise, hidden, strict=True)):
        node = graph.nodes[k]
        assert isinstance(node, Elementwise)
        steep = node.function.steepest_of_all
        paths = [_times(np.array(_induced(matrix, cost.norm)), constants[s]) for s, matrix in layer.items()]
        constants[number] = float(_times(_total(paths), steep))
    return _total([_times(dual_norm(functionals(rows, part), cost.norm), constants[s]) for s, part in last.items()])


def _times(norms: Array, constant: float) -> Array:
    """Products, rounded up; 0 where a factor is, exactly where the other is 1."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        out = norms if constant == 1 else np.nextafter(norms * constant, np.inf)
        return np.where((norms == 0) | (constant == 0), 0.0, out)


def _total(paths: list[Array]) -> Array:
    """The sum over what reads different nodes, rounded up."""
    with np.errstate(over="ignore"):
        return paths[0] if len(paths) == 1 else np.asarray(np.sum(paths, axis=0) * (1 + dot_error(len(paths))))


def dual_norm(rows: Enclosed, norm: Norm) -> Array:
    """Upper bounds ``[R]`` of the dual norm of each row ``[R, m]``: l1 against l-inf, the maximum against l1, l2 against l2."""
    size, m = rows.size, rows.mid.shape[1]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if norm is Norm.ONE:
            return np.asarray(size.max(axis=1, initial=0.0))
        if norm is Norm.INF:
            return np.asarray(size.sum(axis=1) * (1 + dot_error(m)))
        lift = np.exp2(np.frexp(size.max(axis=1, initial=0.0))[1].astype(np.float64))
        share = size / lift[:, None]
        total = (share * share).sum(axis=1) * (1 + dot_error(m)) + m * TINY
        length = np.nextafter(np.nextafter(np.sqrt(total), np.inf) * lift, np.inf)
        return np.where(size.any(axis=1), length, 0.0)


def _induced(layer: Enclosed, norm: Norm) -> float:
    """An upper bound of the induced norm of one matrix ``[m, n]``."""
    if norm is Norm.TWO:
        return spectral_norm(layer)
    axis = 1 if norm is Norm.INF else 0
    with np.errstate(over="ignore"):
        top = layer.size.sum(axis=axis).max(initial=0.0)
        return float(top * (1 + dot_error(layer.mid.shape[axis])))
