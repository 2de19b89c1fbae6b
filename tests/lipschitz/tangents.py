"""Gradients of tiny networks at points, and their dual norms: the reference of the tests of Lipschitz constants."""

from __future__ import annotations

import numpy as np
from oracles import Array, Weights


def jacobians(weights: Weights, x: Array) -> Array:
    """Jacobians ``[B, K, n]`` of ``W_k relu(... relu(W_1 x + b_1) ...) + b_k`` at ``x [B, n]``."""
    first, bias = weights[0]
    z = x @ first.T + bias
    out = np.broadcast_to(first, (len(x), *first.shape))
    for weight, bias in weights[1:]:
        out = weight @ ((z > 0)[:, :, None] * out)
        z = np.maximum(z, 0.0) @ weight.T + bias
    return np.asarray(out)


def dual(vectors: Array, norm: str, scale: Array) -> Array:
    """Dual norms ``[...]`` of gradients ``[..., n]`` against ``||scale * d||``; an infinite scale fixes a feature."""
    order = {"inf": 1, "1": np.inf, "2": 2}[norm]
    free = np.isfinite(scale)
    if not free.any():
        return np.zeros(vectors.shape[:-1])
    return np.asarray(np.linalg.norm(vectors[..., free] / scale[free], ord=order, axis=-1))
