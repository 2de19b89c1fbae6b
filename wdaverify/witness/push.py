"""Push a boundary point across: solvers stop within a tolerance of the decision boundary, the zero-one loss does not.

Near a float point with margin about -1e-9 to 0 this looks for the nearest point of the support where, exactly, some
rival's logit reaches ``z_y``; the distance paid is then that point's own (docs/theory.md, sections 4 and 9).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.enclosure import rival_margin
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import GroundCost, LinearRows, Support
from wdaverify.witness.decide import errors

_STEPS = 1e-13 * 2.0 ** np.arange(28)
_BISECTIONS = 8
_UNDECIDED = 32
"""How many candidates the enclosure leaves open are worth an exact decision each."""


def push_across(
    network: ReluNetwork, x: Array, x_clean: Array, y: int, support: Support, cost: GroundCost
) -> Array | None:
    """A point near ``x [n]`` in the support with ``max_{j != y} z_j - z_y >= 0`` exactly, or None if none was found.

    ``x`` is clipped into the support and tried first. Then steps of doubling length, 1e-13 to 1e-5 of the scale of the
    points, are tried in several directions of unit norm; of the first success per direction the one nearest to
    ``x_clean [n]`` is kept, and its overshoot bisected down with exact decisions.
    """
    loose = ~cost.fixed(x.size) if support.integer is None else ~(cost.fixed(x.size) | support.integer)
    start: Array = np.clip(np.asarray(x, dtype=np.float64), support.lower, support.upper)
    if _is_error(network, start, y, support):
        return start
    ways = directions(network, start, x_clean, y, support, cost, loose)
    if not len(ways):
        return None
    scale = max(float(np.abs(start).max()), float(np.abs(start - x_clean).max())) or 1.0
    steps = _STEPS * scale
    tried = np.clip(start + steps[None, :, None] * ways[:, None, :], support.lower, support.upper)
    flat = tried.reshape(-1, start.size)
    lower, upper = rival_margin(network, flat, np.full(len(flat), y, dtype=np.int64))
    inside = support.contains(flat)
    certain = ((lower >= 0) & inside).reshape(tried.shape[:2])
    found = np.flatnonzero(certain.any(axis=1))
    if found.size:
        first = certain[found].argmax(axis=1)
        distance = cost.distance(tried[found, first] - x_clean)
        k = int(distance.argmin())
        return _bisect(network, start, ways[found[k]], float(steps[first[k]]), y, support)
    undecided = np.flatnonzero((upper >= 0) & inside)
    for m in undecided[np.argsort(cost.distance(flat[undecided] - x_clean), kind="stable")][:_UNDECIDED]:
        if _is_error(network, flat[m], y, support):
            return np.array(flat[m], dtype=np.float64)
    return None


def _is_error(network: ReluNetwork, x: Array, y: int, support: Support) -> bool:
    return bool(support.contains(x[None, :])[0]) and bool(errors(network, x[None, :], np.array([y], dtype=np.int64))[0])


def _bisect(network: ReluNetwork, start: Array, direction: Array, far: float, y: int, support: Support) -> Array:
    """The point nearest to ``start`` that a few bisections of the step find across; the one at ``far`` is."""
    near = 0.0
    across: Array = np.clip(start + far * direction, support.lower, support.upper)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (near + far)
        point = np.clip(start + middle * direction, support.lower, support.upper)
        if _is_error(network, point, y, support):
            far, across = middle, point
        else:
            near = middle
    return across


def directions(
    network: ReluNetwork, x: Array, x_clean: Array, y: int, support: Support, cost: GroundCost, loose: NDArray[np.bool_]
) -> Array:
    """Directions ``[D, n]`` of unit norm with room in the support: outward from the sample, and along the gradients.

    For the two leading rivals: the sign of the gradient, the gradient, and its largest coordinates. Where every
    gradient vanishes (a kink seen from its flat side) single coordinates both ways.
    """
    out: list[Array] = [x - x_clean]
    flat = True
    for gradient in _gradients(network, x, y):
        room = np.where(gradient > 0, x < support.upper, x > support.lower)
        usable = np.where(room, gradient, 0.0)
        flat = flat and not usable.any()
        out += [np.sign(usable), usable]
        for k in np.argsort(-np.abs(usable), kind="stable")[:4]:
            out.append(np.where(np.arange(x.size) == k, np.sign(usable), 0.0))
    if flat:
        units = np.eye(x.size)[:16]
        out += [*units, *(-units)]
    stacked = np.where(loose, np.stack(out), 0.0)
    if support.rows is not None:
        stacked = _along(support.rows, stacked, loose)
    length = cost.distance(stacked)
    kept = np.isfinite(length) & (length > 0)
    scaled: Array = stacked[kept] / length[kept][:, None]
    return scaled


def _gradients(network: ReluNetwork, x: Array, y: int) -> Array:
    """The gradients ``[<= 2, n]`` of ``z_j - z_y`` at ``x [n]`` for the rivals with the largest margins."""
    logits = network.forward(x[None, :])[0]
    rivals = [int(j) for j in np.argsort(-logits, kind="stable") if j != y][:2]
    functional = np.zeros((len(rivals), logits.size))
    functional[np.arange(len(rivals)), rivals] = 1.0
    functional[:, y] = -1.0
    return network.gradient(np.repeat(x[None, :], len(rivals), axis=0), functional)


def _along(rows: LinearRows, directions: Array, loose: NDArray[np.bool_]) -> Array:
    """The directions, the same along the rows and a little inward from them, and the rows themselves both ways."""
    normal = np.where(loose, rows.matrix, 0.0)
    normal = normal[normal.any(axis=1)]
    if not len(normal):
        return directions
    basis = np.linalg.svd(normal, full_matrices=False)[2]
    flat = directions - (directions @ basis.T) @ basis
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    inward = [flat + sign * share * length * unit.sum(axis=0) for share in (1e-3, 1e-1) for sign in (1.0, -1.0)]
    return np.vstack([directions, flat, *inward, unit, -unit])
