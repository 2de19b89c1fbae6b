"""The restricted master: the best distribution on the atoms at hand (docs/theory.md, section 2).

    max sum_i w_i sum_k a_ik v_ik   s.t.  sum_k a_ik = 1,  sum_i w_i sum_k a_ik c_ik <= budget = radius^p,  a >= 0

One coupling row, so sorting solves it: every sample walks along its envelope, and the segments of all envelopes are
bought by decreasing slope (value gained per cost) until the budget runs out, the last one in part.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array, readonly
from wdaverify.transport.distribution import Distribution
from wdaverify.transport.pool import OWN, AtomPool, FlatEnvelope

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Plan:
    """The moves: ``mass[m] = w_i a_ik`` of ``sample[m]`` goes to its envelope's ``atom[m]`` at ``point[m]``.

    The rest stays. sample, atom ``[M]`` int64, point ``[M, n]``, mass ``[M]``; at most one sample occurs twice.
    ``atom`` counts in the envelope as it was when the master was solved.
    """

    sample: IntArray
    atom: IntArray
    point: Array
    mass: Array
    label: IntArray

    def distribution(self, own: IntArray) -> Distribution:
        """The plan as a proposal for ``witness.evaluate``; ``own [N]`` are the samples' labels."""
        return Distribution(
            self.sample, self.point, self.mass, np.where(self.label == OWN, own[self.sample], self.label)
        )


@dataclass(frozen=True, eq=False)
class MasterSolution:
    """An optimal plan, its value, and an optimal multiplier of the budget row (floats; the witness certifies).

    The multiplier is the slope of the segment at which the budget runs out, and 0 if it does not. If it runs out
    exactly at the end of a segment every number between that slope and the next one down (0 after the last) is optimal;
    the midpoint is returned, because inside this interval every sample's best atom is the one the plan uses, with a
    margin on both sides, while at its ends some sample is indifferent and pricing would be asked at a kink. Nothing is
    bought with a budget of 0: then the multiplier is the steepest slope, the least one that is optimal.
    """

    multiplier: float
    value: float
    plan: Plan


@dataclass(frozen=True, eq=False)
class _Segments:
    """Steps from atom ``end - 1`` to ``end`` (flat indices), by decreasing ``slope``; ``length = w * extra cost``."""

    end: IntArray
    slope: Array
    length: Array


def solve_master(pool: AtomPool, weights: Array, budget: float) -> MasterSolution:
    """Solve the restricted master for ``weights [N]`` and ``budget = radius^p`` in ``O(M log M)`` for M atoms.

    Raises:
        ValueError: weights that are not [N], negative or not finite, or a budget that is negative or NaN.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (len(pool),) or not (np.isfinite(w).all() and (w >= 0).all()):
        raise ValueError(f"weights of shape {w.shape}: {len(pool)} finite numbers >= 0 are needed")
    if not budget >= 0:
        raise ValueError(f"budget {budget}: a number >= 0 is needed")
    flat = pool.flat()
    segments = _sorted_segments(flat, w)
    spent = np.cumsum(segments.length)
    bought = int(np.searchsorted(spent, budget, side="right")) if budget > 0 else 0
    left = budget - (float(spent[bought - 1]) if bought else 0.0)
    owner = flat.sample[segments.end[:bought]]
    reached = flat.start[:-1] + np.bincount(owner, minlength=len(w)).astype(np.int64)
    mass, extra = w.copy(), np.zeros(0, dtype=np.int64)
    if bought < len(segments.end) and left > 0:
        extra = segments.end[bought : bought + 1]
        part = min(1.0, left / float(segments.length[bought]))
        moved = part * w[flat.sample[extra]]
        mass[flat.sample[extra]] -= moved
        mass = np.concatenate([mass, moved])
    used = np.concatenate([reached, extra])
    value = math.fsum(mass * flat.value[used])
    return MasterSolution(_multiplier(segments.slope, bought, left), value, _plan(pool, flat, used, mass))


def _sorted_segments(flat: FlatEnvelope, w: Array) -> _Segments:
    """The segments of samples with weight, steepest first; a sample's own segments keep their order."""
    end = np.flatnonzero(flat.sample[1:] == flat.sample[:-1]) + 1
    with np.errstate(over="ignore"):
        slope = (flat.value[end] - flat.value[end - 1]) / (flat.cost[end] - flat.cost[end - 1])
    slope = np.minimum(slope, sys.float_info.max)
    level = end - flat.start[flat.sample[end]]
    for step in range(2, int(level.max(initial=1)) + 1):  # rounding may have swapped two nearly equal slopes
        later = np.flatnonzero(level == step)
        slope[later] = np.minimum(slope[later], slope[later - 1])
    length = w[flat.sample[end]] * (flat.cost[end] - flat.cost[end - 1])
    order = np.lexsort((end, -slope))
    order = order[w[flat.sample[end[order]]] > 0]
    return _Segments(end[order], slope[order], length[order])


def _multiplier(slope: Array, bought: int, left: float) -> float:
    """See ``MasterSolution``: ``bought`` segments are wholly bought and ``left`` of the budget remains."""
    following = float(slope[bought]) if bought < len(slope) else 0.0
    if left > 0 or bought == 0:
        return following
    return 0.5 * float(slope[bought - 1]) + 0.5 * following


def _plan(pool: AtomPool, flat: FlatEnvelope, used: IntArray, mass: Array) -> Plan:
    """The used atoms that are moves, by sample."""
    samples: list[int] = []
    atoms: list[int] = []
    masses: list[float] = []
    labels: list[int] = []
    points: list[Array] = []
    for at in np.argsort(used, kind="stable"):
        sample = int(flat.sample[used[at]])
        atom = int(used[at] - flat.start[sample])
        chosen = pool.atom(sample, atom)
        point = chosen.point
        if point is not None and mass[at] > 0:
            labels.append(chosen.label)
            samples.append(sample)
            atoms.append(atom)
            masses.append(float(mass[at]))
            points.append(point)
    stacked = np.stack(points) if points else np.zeros((0, pool.width))
    sample_index, atom_index = np.array(samples, np.int64), np.array(atoms, np.int64)
    return Plan(sample_index, atom_index, readonly(stacked), readonly(np.array(masses)), np.array(labels, np.int64))
