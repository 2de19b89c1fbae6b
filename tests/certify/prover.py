"""A prover for tiny networks: one shell, a tree that fixes every phase, one linear program a leaf (scipy).

With all phases fixed the network is affine on a leaf. The multipliers mu >= 0 of its sign rows become the numbers nu of a
leaf by one backward pass: ``nu = q + mu`` where a neuron is active, ``nu = -mu`` where it is dead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from layers import Block, blocks_of
from oracles import Array
from scipy.optimize import linprog

from wdaverify.certify.backward import Backward, Shells
from wdaverify.certify.certificate import Certificate
from wdaverify.certify.proof import WRITTEN, Proof, Tree
from wdaverify.certify.question import farthest
from wdaverify.problem import Loss, Norm, WdroProblem
from wdaverify.witness.evaluate import Atom

TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True, eq=False)
class Affine:
    """On a leaf: pre-activations ``G x + g`` of every neuron and logits ``F x + f``."""

    G: Array
    g: Array
    F: Array
    f: Array


def on_phases(blocks: tuple[Block, ...], phases: Array) -> Affine:
    rows, shifts, at = [], [], 0
    weight, shift = np.eye(blocks[0].weight.shape[1]), np.zeros(blocks[0].weight.shape[1])
    for block in blocks:
        weight, shift = block.weight @ weight, block.weight @ shift + block.bias
        if block is not blocks[-1]:
            rows.append(weight)
            shifts.append(shift)
            on = phases[at : at + len(shift)] > 0
            at += len(shift)
            weight, shift = on[:, None] * weight, on * shift
    n = blocks[0].weight.shape[1]
    return Affine(np.concatenate([np.zeros((0, n)), *rows]), np.concatenate([np.zeros(0), *shifts]), weight, shift)


def numbers(blocks: tuple[Block, ...], phases: Array, functional: Array, mu: Array) -> Array:
    """nu ``[M]`` from the multipliers ``mu [M] >= 0`` of the sign rows."""
    parts, end, nu = [], mu.size, functional
    for block in reversed(blocks[1:]):
        q = nu @ block.weight
        span = slice(end - q.size, end)
        nu = np.where(phases[span] > 0, q + mu[span], -mu[span])
        parts.append(nu)
        end -= q.size
    return np.concatenate([np.zeros(0), *reversed(parts)])


class Prover:
    """Proofs about one problem."""

    def __init__(self, problem: WdroProblem) -> None:
        self.problem = problem
        self.blocks = blocks_of(problem.network.canonical)
        self.backward = Backward(problem.network.canonical)

    def proof(self, i: int, j: int, lam: float) -> Proof:
        far = float(farthest(self.problem)[i])
        return Proof(i, j, lam, (self.tree(i, j, lam, 0.0, far),))

    def tree(self, i: int, j: int, lam: float, near: float, far: float) -> Tree:
        """The tree of a shell; its linear programs do not know near and far, so that it is tight for [0, largest]."""
        p = self.problem
        ends = np.array([near]), np.array([far])
        shell = Shells.around(p.cost, p.samples.x[i : i + 1], p.support.lower, p.support.upper, *ends)
        sides = self.backward.pre_activations(shell)
        low = np.concatenate([np.zeros(0), *(bounds[0][0] for bounds in sides)])
        high = np.concatenate([np.zeros(0), *(bounds[1][0] for bounds in sides)])
        stable = np.where(low >= 0, 1, np.where(high <= 0, -1, 0))
        nodes: list[int] = []
        leaves: list[Array] = []
        for node, phases in walk(stable, 0):
            nodes.append(node)
            if node == WRITTEN:
                leaves.append(self.leaf(i, j, lam, phases, stable == 0))
        return Tree(near, far, np.array(nodes, np.int32), np.array(leaves))

    def leaf(self, i: int, j: int, lam: float, phases: Array, split: Array) -> Array:
        """The row (margin, cost, nu) of one leaf."""
        y, loss = int(self.problem.samples.y[i]), self.problem.loss
        affine = on_phases(self.blocks, phases)
        rows, shift = phases[split, None] * affine.G[split], phases[split] * affine.g[split]
        slope, offset = affine.F[j] - affine.F[y], float(affine.f[j] - affine.f[y])
        if loss is Loss.ZERO_ONE:
            rows, shift = np.vstack([rows, slope]), np.append(shift, offset)
            found = self.solve(i, np.zeros_like(slope), 1.0, rows, shift)
        else:
            found = self.solve(i, slope, lam, rows, shift)
        cost = 1.0
        if found is None:
            found, cost = self.infeasible(rows, shift), 0.0
        margin = float(found[-1]) if loss is Loss.ZERO_ONE else cost
        mu = np.zeros(phases.size)
        mu[split] = found[: int(split.sum())]
        functional = np.zeros(affine.f.size)
        functional[j], functional[y] = margin, -margin
        return np.concatenate([[margin, cost], numbers(self.blocks, phases, functional, mu)])

    def solve(self, i: int, slope: Array, lam: float, rows: Array, shift: Array) -> Array | None:
        """Multipliers of ``rows x + shift >= 0`` in ``max slope.x - lam ||x - x_i||``; None if infeasible."""
        p, x = self.problem, self.problem.samples.x[i]
        n = x.size
        extra = 1 if p.cost.norm is Norm.INF else n
        size = np.ones((n, 1)) if extra == 1 else np.eye(n)
        signs = np.hstack([-rows, np.zeros((len(rows), extra))])
        table = np.vstack([signs, np.hstack([np.eye(n), -size]), np.hstack([-np.eye(n), -size])])
        bounds = [*zip(p.support.lower, p.support.upper, strict=True), *([(0, None)] * extra)]
        gain = np.concatenate([-slope, np.full(extra, lam)])
        limit = np.concatenate([shift, x, -x])
        result = linprog(gain, A_ub=table, b_ub=limit, bounds=bounds, method="highs", options=TIGHT)
        if result.status != 0:
            return None
        return np.maximum(-np.asarray(result.ineqlin.marginals)[: len(rows)], 0.0)

    def infeasible(self, rows: Array, shift: Array) -> Array:
        """Multipliers that show ``rows x + shift >= 0`` to have no solution in the box."""
        box = self.problem.support
        bounds = [*zip(box.lower, box.upper, strict=True), (None, None)]
        table = np.hstack([-rows, -np.ones((len(rows), 1))])
        gain = np.append(np.zeros(box.lower.size), 1.0)
        result = linprog(gain, A_ub=table, b_ub=shift, bounds=bounds, method="highs", options=TIGHT)
        return np.maximum(-np.asarray(result.ineqlin.marginals), 0.0)


def walk(phases: Array, neuron: int) -> Iterator[tuple[int, Array]]:
    """Nodes in preorder, with the phases at each leaf, of the tree that splits every open neuron."""
    while neuron < phases.size and phases[neuron]:
        neuron += 1
    if neuron == phases.size:
        yield WRITTEN, phases
        return
    yield neuron, phases
    for side in (1, -1):
        child = phases.copy()
        child[neuron] = side
        yield from walk(child, neuron + 1)


def certify(problem: WdroProblem, lam: float, atoms: Sequence[Atom], claimed: tuple[float, float]) -> Certificate:
    """A certificate of the claimed bracket from atoms and a multiplier; the proofs are made here."""
    prover = Prover(problem)
    samples, n = problem.samples, problem.network.n_inputs
    items = [
        (i, j)
        for i in range(len(samples))
        for j in range(problem.network.n_outputs)
        if j != samples.y[i] and samples.w[i] > 0 and problem.radius > 0
    ]
    if problem.loss is Loss.ZERO_ONE:
        lam = 0.0
    return Certificate(
        network_sha256=problem.network.sha256,
        samples_sha256=samples.sha256,
        count=len(samples),
        clip=False,
        label_column=None,
        radius=problem.radius,
        order=1,
        norm=problem.cost.norm.value,
        loss=problem.loss.value,
        support_lower=problem.support.lower,
        support_upper=problem.support.upper,
        lower=claimed[0],
        upper=claimed[1],
        multiplier=lam,
        atom_sample=np.array([atom.sample for atom in atoms], dtype=np.int64),
        atom_weight=np.array([atom.weight for atom in atoms], dtype=np.float64),
        atom_point=np.array([atom.point for atom in atoms], dtype=np.float64).reshape(-1, n),
        proofs=tuple(prover.proof(i, j, lam) for i, j in items),
        neurons=prover.backward.neurons,
    )
