"""What proofs prove: bounds of phi_ij at a multiplier, and of the distance to a rival's errors.

    margin:     phi_ij(lam) <= max over leaves of B,      B >= z_j - z_y - lam ||x - x_i||  on the leaf
    zero-one:   d_ij >= min over leaves of -B,            B >= mu (z_j - z_y) - ||x - x_i||  on the leaf, mu >= 0

A leaf on which a functional without cost is negative is empty (mu = 0), or free of errors (mu >= 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.exact import exact_dot
from wdaverify.certify.proof import MalformedProofError, Phases, Proof
from wdaverify.network.model import Array
from wdaverify.problem import Norm, WdroProblem
from wdaverify.rounding import float_up

_BATCH = 4096
"""Leaves whose bounds are gathered at a time."""
Ints = NDArray[np.int64]


def farthest(problem: WdroProblem) -> Array:
    """The largest distance from each sample within the support, rounded up, ``[N]``."""
    samples, support = problem.samples, problem.support
    room = np.nextafter(np.maximum(support.upper - samples.x, samples.x - support.lower), np.inf)
    if problem.cost.norm is Norm.INF:
        return np.asarray(room.max(axis=1, initial=0.0))
    ones = [1.0] * room.shape[1]
    return np.array([float_up(exact_dot(row, ones)) for row in room.tolist()])


def margin_bounds(problem: WdroProblem, proofs: Sequence[Proof], multipliers: Array) -> Array:
    """Upper bounds ``[P]`` of ``phi_ij(multipliers[k])`` by each proof.

    Raises:
        MalformedProofError: a proof that is no proof.
    """
    if not proofs:
        return np.zeros(0)
    reach = farthest(problem)
    for proof in proofs:
        if _covered(problem, proof) < reach[proof.sample]:
            raise MalformedProofError(
                f"the shells of sample {proof.sample}, rival {proof.rival} end within the support"
            )
    leaves = _Leaves.of(problem, proofs)
    margin, cost = leaves.claims(bare=(1.0, 1.0))
    top = leaves.evaluate(problem, margin, cost * multipliers[leaves.proof])
    value = np.where((margin == 1) & (cost == 1), top, math.inf)
    value = np.where((margin == 0) & (cost == 0) & (top < 0), -math.inf, value)
    out = np.full(len(proofs), -math.inf)
    np.maximum.at(out, leaves.proof, value)
    return out


def distance_bounds(problem: WdroProblem, proofs: Sequence[Proof]) -> Array:
    """Lower bounds ``[P]`` of ``d_ij`` by each proof; inf where no error of the rival is in the support.

    Raises:
        MalformedProofError: a proof that is no proof.
    """
    if not proofs:
        return np.zeros(0)
    reach = farthest(problem)
    ends = np.array([_covered(problem, proof) for proof in proofs])
    leaves = _Leaves.of(problem, proofs)
    margin, cost = leaves.claims(bare=(1.0, 0.0))
    sound = margin >= 0
    top = leaves.evaluate(problem, np.maximum(margin, 0.0), cost)
    value = np.where(cost == 1, np.maximum(-top, leaves.near), leaves.near)
    value = np.where((cost == 0) & (top < 0), math.inf, value)
    value = np.where(sound, value, leaves.near)
    value = np.where(value > leaves.far, math.inf, value)  # an error of the leaf lies no farther than the leaf
    out = np.array([math.inf if end >= reach[p.sample] else end for p, end in zip(proofs, ends, strict=True)])
    np.minimum.at(out, leaves.proof, value)
    return out


def _covered(problem: WdroProblem, proof: Proof) -> float:
    """How far the shells reach from 0, end to end; also that the proof speaks of a sample and a rival of it."""
    samples, classes = problem.samples, problem.network.n_outputs
    if not (0 <= proof.sample < len(samples) and 0 <= proof.rival < classes):
        raise MalformedProofError(f"there is no sample {proof.sample} with a rival {proof.rival}")
    if proof.rival == int(samples.y[proof.sample]):
        raise MalformedProofError(f"class {proof.rival} is the label of sample {proof.sample}, no rival")
    if not (math.isfinite(proof.multiplier) and proof.multiplier >= 0):
        raise MalformedProofError(f"{proof.multiplier} is no multiplier")
    end = 0.0
    for tree in proof.trees:
        if tree.near != end or not tree.near <= tree.far < math.inf:
            raise MalformedProofError(f"the shells of sample {proof.sample}, rival {proof.rival} do not lie end to end")
        end = tree.far
    return end


@dataclass(frozen=True, eq=False)
class _Leaves:
    """All leaves of all proofs: proof, shell, phases, near and far, and the row (0 where none is written) of each, ``[L]``."""

    backward: Backward
    shells: Shells
    bounds: HiddenBounds
    proof: Ints
    shell: Ints
    phases: Phases
    near: Array
    far: Array
    rows: Array
    written: NDArray[np.bool_]
    functional: Array

    @classmethod
    def of(cls, problem: WdroProblem, proofs: Sequence[Proof]) -> _Leaves:
        backward = Backward(problem.network.blocks)
        neurons = backward.neurons
        index: dict[tuple[int, float, float], int] = {}
        proof: list[int] = []
        shell: list[int] = []
        near: list[float] = []
        far: list[float] = []
        written: list[bool] = []
        phases, rows = [np.zeros((0, neurons), np.int8)], [np.zeros((0, 2 + neurons))]
        for k, item in enumerate(proofs):
            for tree in item.trees:
                if tree.vectors.shape[1:] != (2 + neurons,):
                    raise MalformedProofError(f"rows of {tree.vectors.shape[1:]} numbers, not {2 + neurons}")
                sides, row = tree.leaves(neurons)
                own = np.zeros((row.size, 2 + neurons))
                own[row >= 0] = tree.vectors
                at = index.setdefault((item.sample, tree.near, tree.far), len(index))
                proof += [k] * row.size
                shell += [at] * row.size
                near += [tree.near] * row.size
                far += [tree.far] * row.size
                phases.append(sides)
                rows.append(own)
                written += (row >= 0).tolist()
        stacked = np.concatenate(rows)
        if not np.isfinite(stacked).all():
            raise MalformedProofError("a number of a leaf is not finite")
        samples = np.array([key[0] for key in index], np.int64)
        support = problem.support
        shells = Shells.around(
            problem.cost,
            problem.samples.x[samples],
            support.lower,
            support.upper,
            np.array([key[1] for key in index]),
            np.array([key[2] for key in index]),
        )
        functional = np.zeros((len(proofs), problem.network.n_outputs))
        for k, item in enumerate(proofs):
            functional[k, item.rival] += 1.0
            functional[k, problem.samples.y[item.sample]] -= 1.0
        return cls(
            backward,
            shells,
            backward.pre_activations(shells),
            np.array(proof, np.int64),
            np.array(shell, np.int64),
            np.concatenate(phases),
            np.array(near, np.float64),
            np.array(far, np.float64),
            stacked,
            np.array(written, np.bool_),
            functional,
        )

    def claims(self, bare: tuple[float, float]) -> tuple[Array, Array]:
        """The weights of margin and cost of every leaf, ``[L]`` each; ``bare`` are those of leaves without a row."""
        return np.where(self.written, self.rows[:, 0], bare[0]), np.where(self.written, self.rows[:, 1], bare[1])

    def evaluate(self, problem: WdroProblem, margin: Array, tau: Array) -> Array:
        """``B >= margin (z_j - z_y) - tau ||x - x_i||`` on every leaf, ``[L]``; a cost that is not >= 0 proves nothing."""
        out = np.full(self.proof.size, math.inf)
        usable = np.isfinite(margin) & np.isfinite(tau) & (tau >= 0)
        for kind in (True, False):
            some = np.flatnonzero(usable & (self.written == kind))
            for first in range(0, some.size, _BATCH):
                at = some[first : first + _BATCH]
                shell = self.shell[at]
                functional = margin[at, None] * self.functional[self.proof[at]]
                bounds = [(low[shell], high[shell]) for low, high in self.bounds]
                nu = self.rows[at, 2:] if kind else None
                out[at] = self.backward.leaves(
                    functional, tau[at], self.shells.take(shell), bounds, self.phases[at], nu
                )
        return out
