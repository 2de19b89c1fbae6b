"""The l2 norm of gradients where open neurons are any slopes in [0, 1]: a matrix inequality, with multipliers that prove it.

After Fazlyab et al. (LipSDP, arXiv 1906.04893), on cells that decide some neurons: variables are the direction x and the change h_j of
every open neuron's output; an off neuron's is 0, an on one's that of its input z, so that z and the functionals are linear in them. With
``h_j (z_j - h_j) >= 0`` and any T >= 0

    ||rows J x|| <= rho ||x||      where      F = rho^2 I_x - Out^T Out + sum_j T_j (e_j u_j^T + u_j e_j^T)  >= 0,     u_j = e_j - z_j
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.definite import TINY, semidefinite
from wdaverify.graph.maps import Dense, LinearMap, known
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.ground import GroundCost
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sectors:
    """``out [R, v]`` and the open neurons' inputs ``z [o, v]`` in the variables, x before h, each with what it may be off.

    ``at [o]`` are the neurons, of elementwise nodes ``layer [o]``.
    """

    at: Ints
    layer: Ints
    features: int
    out: tuple[Array, Array]
    z: tuple[Array, Array]

    @classmethod
    def of(cls, graph: Graph, rows: Array, cost: GroundCost, still: Array, phases: NDArray[np.int8]) -> Sectors:
        """Of the cells that have phases ``[M]``: 1, -1, or 0 where open."""
        moving = np.flatnonzero(~((still > 0) | cost.fixed(graph.inputs)))
        at = np.flatnonzero(phases == 0)
        e, n = moving.size, graph.inputs
        start, lost = np.zeros((e + at.size, n)), np.zeros((e + at.size, n))
        start[np.arange(e), moving] = 1 / cost.scale(n)[moving]
        if cost.weights is not None:
            lost = 2 * UNIT_ROUNDOFF * np.abs(start)
        states = {INPUT: (start, lost)}
        inputs: list[tuple[Array, Array]] = []
        number, first = 0, e
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for k, node in enumerate(graph.nodes):
                if isinstance(node, Affine):
                    parts = [_ahead(m, *states[s]) for s, m in zip(node.sources, node.maps, strict=True)]
                    centre, radius = parts[0]
                    for more, loose in parts[1:]:
                        centre = centre + more
                        radius = (radius + loose + 2 * UNIT_ROUNDOFF * np.abs(centre)) * (1 + 8 * UNIT_ROUNDOFF)
                    states[k] = centre, radius
                    continue
                own = phases[graph.edges[number] : graph.edges[number + 1]]
                centre, radius = states[node.source]
                open_ = np.flatnonzero(own == 0)
                inputs.append((centre[:, open_].T, radius[:, open_].T))
                centre, radius = centre * (own > 0), radius * (own > 0)
                centre[first + np.arange(open_.size), open_] = 1.0
                first += open_.size
                number += 1
                states[k] = centre, radius
            last = _ahead(Dense(rows), *states[len(graph.nodes) - 1])
        z = (np.concatenate([i[0] for i in inputs]), np.concatenate([i[1] for i in inputs])) if inputs else None
        none = np.zeros((0, e + at.size))
        layer = np.searchsorted(graph.edges, at, side="right") - 1
        return cls(at, layer, e, (last[0].T, last[1].T), z or (none, none))

    def prove(self, rho: float, multipliers: Array) -> bool:
        """Whether multipliers ``[o]``, at least 0, prove that no gradient is longer than rho (below 0: none is)."""
        if not (np.isfinite(multipliers).all() and (multipliers >= 0).all() and 0 <= rho < np.inf):
            return False
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            (out, out_off), (z, z_off), e = self.out, self.z, self.features
            size = np.abs(out)
            mid = -(out.T @ out)
            rad = dot_error(len(out) + 4) * (size.T @ size) + size.T @ out_off + out_off.T @ size + out_off.T @ out_off
            mid[np.arange(e), np.arange(e)] += rho * rho
            lost = np.zeros(len(mid))
            lost[:e] = 4 * UNIT_ROUNDOFF * (rho * rho)
            columns = e + np.arange(self.at.size)
            pulled = multipliers[:, None] * z
            loose = multipliers[:, None] * z_off + 2 * UNIT_ROUNDOFF * np.abs(pulled) + TINY
            twice = np.zeros_like(mid)
            more = np.zeros_like(mid)
            twice[columns], more[columns] = -pulled, loose
            twice = twice + twice.T
            more = more + more.T
            diagonal = np.arange(len(mid))
            twice[columns, columns] += 2 * multipliers
            lost[e:] += 4 * UNIT_ROUNDOFF * multipliers
            total = mid + twice
            rad = rad + more + 4 * UNIT_ROUNDOFF * (np.abs(mid) + np.abs(twice)) + TINY
            rad[diagonal, diagonal] += lost
            rad = rad * (1 + 64 * UNIT_ROUNDOFF * (len(out) + 4)) + TINY
            return semidefinite(0.5 * (total + total.T), rad + 2 * UNIT_ROUNDOFF * np.abs(total))


def _ahead(map_: LinearMap, centre: Array, radius: Array) -> tuple[Array, Array]:
    """``W c`` of an interval ``[v, n]``."""
    stored, off = known(map_)
    slip = stored.apply(radius)
    if map_.terms_out:
        size, factor = np.abs(centre) + radius, dot_error(map_.terms_out + 4)
        slip = slip + factor * stored.apply(size)
        if off is not None:
            slip = slip + 2 * off.apply(size)
        slip = slip * (1 + factor) + map_.lost_out + underflow(1)
    return map_.apply(centre), slip
