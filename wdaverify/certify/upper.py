"""What proofs prove: bounds of phi_ij at a multiplier, and of the distance to a rival's errors.

    margin:     phi_ij(lam) <= max over leaves of B,      B >= z_j - z_y - lam ||x - x_i||  on the leaf
    zero-one:   d_ij >= min over leaves of -B,            B >= mu (z_j - z_y) - ||x - x_i||  on the leaf, mu >= 0

A leaf on which a functional without cost is negative is empty (mu = 0), or free of errors (mu >= 0). Where rows tighten a
tree's bounds under a level, phi is at most the larger of that and the level (``certify.tightened``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.exact import exact_dot
from wdaverify.certify.leaf_row import Layout, LeafRow
from wdaverify.certify.proof import MalformedProofError, Phases, Place, Proof, Tree
from wdaverify.certify.tightened import Asked, Whole, bounds_at, settle
from wdaverify.network.model import Array
from wdaverify.problem import Norm, WdroProblem
from wdaverify.rounding import float_up

_BATCH, _NUMBERS = 4096, 2**21
"""The most leaves whose bounds are gathered at a time, and about how many numbers each of their arrays may have together."""
_PRODUCTS = 2**29
"""Products that bounding the shells of a batch takes at most (one shell: whatever it takes), so that the clock is looked at."""
Ints = NDArray[np.int64]


def farthest(problem: WdroProblem) -> Array:
    """The largest distance from each sample within the support, rounded up, ``[N]``."""
    samples, support = problem.samples, problem.support
    room = np.nextafter(np.maximum(support.upper - samples.x, samples.x - support.lower), np.inf)
    if problem.cost.norm is Norm.INF:
        return np.asarray(room.max(axis=1, initial=0.0))
    ones = [1.0] * room.shape[1]
    return np.array([float_up(exact_dot(row, ones)) for row in room.tolist()])


def margin_bounds(
    problem: WdroProblem, proofs: Sequence[Proof], multipliers: Array, deadline: float = math.inf
) -> tuple[Array, int]:
    """Upper bounds ``[P]`` of ``phi_ij(multipliers[k])`` by each proof, and how many were replayed, the first ones.

    What the deadline (``time.monotonic``) leaves over is bounded by inf.

    Raises:
        MalformedProofError: a proof that is no proof.
    """
    reach = farthest(problem)
    for proof in proofs:
        if _covered(problem, proof) < reach[proof.sample]:
            raise MalformedProofError(
                f"the shells of sample {proof.sample}, rival {proof.rival} end within the support"
            )
    out, done = np.array([max((tree.level for tree in proof.trees), default=-math.inf) for proof in proofs]), 0
    for leaves, next_leaf in _batches(problem, proofs, multipliers, deadline):
        margin, cost = leaves.claims(bare=(1.0, 1.0))
        top = leaves.evaluate(margin, cost * multipliers[leaves.proof])
        value = np.where((margin == 1) & (cost == 1), top, math.inf)
        value = np.where((margin == 0) & (cost == 0) & (top < 0), -math.inf, value)
        np.maximum.at(out, leaves.proof, value)
        done = len(proofs) if next_leaf is None else next_leaf.proof
    out[done:] = math.inf
    return out, done


def distance_bounds(problem: WdroProblem, proofs: Sequence[Proof], deadline: float = math.inf) -> tuple[Array, int]:
    """Lower bounds ``[P]`` of ``d_ij`` by each proof, inf where no error of the rival is in the support; how many were replayed.

    Those are the first ones. Of the next one the shells that the deadline (``time.monotonic``) left time for count, the others are
    bounded by 0.

    Raises:
        MalformedProofError: a proof that is no proof.
    """
    reach = farthest(problem)
    ends = np.array([_covered(problem, proof) for proof in proofs])
    out = np.array([math.inf if end >= reach[p.sample] else end for p, end in zip(proofs, ends, strict=True)])
    done, near = 0, 0.0
    for leaves, next_leaf in _batches(problem, proofs, None, deadline):
        margin, cost = leaves.claims(bare=(1.0, 0.0))
        sound = margin >= 0
        top = leaves.evaluate(np.maximum(margin, 0.0), cost)
        value = np.where(cost == 1, np.maximum(-top, leaves.near), leaves.near)
        value = np.where((cost == 0) & (top < 0), math.inf, value)
        value = np.where(sound, value, leaves.near)
        value = np.where(value > leaves.far, math.inf, value)  # an error of the leaf lies no farther than the leaf
        np.minimum.at(out, leaves.proof, value)
        done, near = (len(proofs), 0.0) if next_leaf is None else (next_leaf.proof, next_leaf.tree.near)
    out[done : done + 1] = np.minimum(out[done : done + 1], near)  # an error beyond its shells so far is no nearer
    out[done + 1 :] = 0.0
    return out, done


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


def _batches(
    problem: WdroProblem, proofs: Sequence[Proof], multipliers: Array | None, deadline: float
) -> Iterator[tuple[_Leaves, _Leaf | None]]:
    """Leaves of all proofs in order until the deadline, so many at a time that memory depends on the network alone.

    With each batch goes the leaf that follows it, None at the end. There are no multipliers for distances.

    Raises:
        MalformedProofError: a tree that is none, or a number that is not finite.
    """
    graph = problem.network.canonical
    backward, weights = Backward(graph), graph.products
    width = 2 + 3 * backward.neurons + problem.samples.x.shape[1] + problem.network.n_outputs
    most_leaves = max(1, min(_BATCH, _NUMBERS // width, _PRODUCTS // (weights + 1)))
    most_shells = max(1, _PRODUCTS // (backward.neurons * weights + 1))
    batch: list[_Leaf] = []
    shells: set[tuple[int, float, float]] = set()
    try:
        for leaf in _every(proofs, backward.neurons):
            shell = leaf.shell(proofs)
            if len(batch) == most_leaves or (len(shells) == most_shells and shell not in shells):
                in_time(deadline, "proofs")
                yield _Leaves.of(problem, backward, proofs, batch, multipliers, deadline), leaf
                batch, shells = [], set()
            batch.append(leaf)
            shells.add(shell)
        if batch:
            in_time(deadline, "proofs")
            yield _Leaves.of(problem, backward, proofs, batch, multipliers, deadline), None
    except TimeoutError:
        return


def in_time(deadline: float, what: str) -> None:
    """Stop a replay whose time (``time.monotonic``) is over.

    Raises:
        TimeoutError: says so.
    """
    if time.monotonic() >= deadline:
        raise TimeoutError(f"the time limit ended the checker's replay of the {what}")


@dataclass(frozen=True, eq=False)
class _Leaf:
    """One leaf: the number of its proof, its shell's tree, phases ``[M]``, row of the tree's vectors (-1: none), and place."""

    proof: int
    tree: Tree
    phases: Phases
    row: int
    place: Place | None

    def shell(self, proofs: Sequence[Proof]) -> tuple[int, float, float]:
        """The sample, and from where to where: what the bounds of its neurons depend on."""
        return proofs[self.proof].sample, self.tree.near, self.tree.far


def _every(proofs: Sequence[Proof], neurons: int) -> Iterator[_Leaf]:
    for k, proof in enumerate(proofs):
        for tree in proof.trees:
            if tree.vectors.ndim != 2 or not Layout(neurons).fits(tree.vectors):
                raise MalformedProofError(f"rows of {tree.vectors.shape[1:]} numbers, not {Layout(neurons).width}")
            for phases, row, place in tree.walk(neurons):
                yield _Leaf(k, tree, phases, row, place)


@dataclass(frozen=True, eq=False)
class _Leaves:
    """Some leaves: proof, shell, phases, near and far, the row (0 where none is written) and the functional of each, ``[L]``."""

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
    def of(
        cls,
        problem: WdroProblem,
        backward: Backward,
        proofs: Sequence[Proof],
        batch: Sequence[_Leaf],
        multipliers: Array | None,
        deadline: float,
    ) -> _Leaves:
        """A batch with the shells that it needs.

        Raises:
            MalformedProofError: rows that are none, or a number that is not finite.
            TimeoutError: the deadline has passed.
        """
        index: dict[tuple[int, float, float], int] = {}
        rows = Layout(backward.neurons).zeros(len(batch)).numbers
        functional = np.zeros((len(batch), problem.network.n_outputs))
        shell = []
        for at, leaf in enumerate(batch):
            item = proofs[leaf.proof]
            shell.append(index.setdefault(leaf.shell(proofs), len(index)))
            functional[at] = _rival_less_label(problem, item)
            if leaf.row >= 0:
                rows[at] = leaf.tree.vectors[leaf.row]
        if not np.isfinite(rows).all():
            raise MalformedProofError("a number of a leaf is not finite")
        samples, support = np.array([key[0] for key in index], np.int64), problem.support
        near, far = (np.array([key[side] for key in index], np.float64) for side in (1, 2))
        shells = Shells.around(problem.cost, problem.samples.x[samples], support.lower, support.upper, near, far)
        place = np.array(shell, np.int64)
        proof = np.array([leaf.proof for leaf in batch], np.int64)
        asked = Asked(functional, None if multipliers is None else multipliers[proof])
        whole = Whole(shells, backward.pre_activations(shells), asked)
        found = [(shell[at], at, leaf.place) for at, leaf in enumerate(batch) if leaf.place is not None]
        settle(backward, whole, found, lambda: in_time(deadline, "proofs"))
        return cls(
            backward,
            shells,
            bounds_at(whole, place, [leaf.place for leaf in batch]),
            proof,
            place,
            np.stack([leaf.phases for leaf in batch]),
            near[place],
            far[place],
            rows,
            np.array([leaf.row >= 0 for leaf in batch], np.bool_),
            functional,
        )

    def claims(self, bare: tuple[float, float]) -> tuple[Array, Array]:
        """The weights of margin and cost of every leaf, ``[L]`` each; ``bare`` are those of leaves without a row."""
        rows = LeafRow(Layout(self.backward.neurons), self.rows)
        return np.where(self.written, rows.margin, bare[0]), np.where(self.written, rows.cost, bare[1])

    def evaluate(self, margin: Array, tau: Array) -> Array:
        """``B >= margin (z_j - z_y) - tau ||x - x_i||`` on every leaf, ``[L]``; a cost that is not >= 0 proves nothing."""
        out = np.full(self.proof.size, math.inf)
        usable = np.isfinite(margin) & np.isfinite(tau) & (tau >= 0)
        for kind in (True, False):
            at = np.flatnonzero(usable & (self.written == kind))
            if not at.size:
                continue
            shell = self.shell[at]
            functional = margin[at, None] * self.functional[at]
            bounds = [(low[at], high[at]) for low, high in self.bounds]
            nu = LeafRow(Layout(self.backward.neurons), self.rows[at]).nu if kind else None
            out[at] = self.backward.leaves(functional, tau[at], self.shells.take(shell), bounds, self.phases[at], nu)
        return out


def _rival_less_label(problem: WdroProblem, proof: Proof) -> Array:
    """The functional ``[K]`` of the logits that a proof is about."""
    out = np.zeros(problem.network.n_outputs)
    out[proof.rival] += 1.0
    out[problem.samples.y[proof.sample]] -= 1.0
    return out
