"""The product of layer norms: the classical bound of a functional's Lipschitz constant.

    |c . f(x) - c . f(x')|  <=  ||c W_L||_(r*) ||W_(L-1)||_(r -> r) ... ||W_1 / a||_(r -> r) ||a * (x - x')||_r

with induced norms: the largest row sum of moduli for r = inf, the largest column sum for r = 1, the spectral norm for
r = 2 (definite.py); a ReLU is 1-Lipschitz in every one of them.
"""

from __future__ import annotations

import numpy as np

from wdaverify.ground import GroundCost, Norm
from wdaverify.lipschitz.definite import spectral_norm
from wdaverify.lipschitz.layers import TINY, Enclosed, cost_layers, functionals
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.rounding import dot_error


def product_of_norms(network: ReluNetwork, rows: Array, cost: GroundCost) -> Array:
    """Upper bounds ``[R]`` of the constants of ``rows . f``, rows ``[R, K]``, on all of R^n; inf where they overflow.

    Against ``||a * (x - x')||`` in the cost's norm and weights. With no hidden layer it is the dual norm, rounded up.
    """
    *hidden, last = cost_layers(network, cost)
    out = dual_norm(functionals(rows, last), cost.norm)
    for layer in reversed(hidden):
        norm = _induced(layer, cost.norm)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            exact_zero = (out == 0) | (norm == 0)
            out = np.where(exact_zero, 0.0, np.nextafter(out * norm, np.inf))
    return np.asarray(out)


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
