"""What proofs prove: bounds of phi_ik at a multiplier, and of the distance to a rival's errors.

    pieces:     phi_ik(lam) <= max over leaves of B,      B >= c_k . z - lam ||x - x_i||^p   on the leaf
    zero-one:   d_ij >= min over leaves of -B,            B >= mu (z_j - z_y) - ||x - x_i||  on the leaf, mu >= 0

A leaf on which a functional without cost is negative is empty (mu = 0), or free of errors (mu >= 0). Where rows tighten a
tree's bounds under a level, phi is at most the larger of that and the level (``certify.tightened``). A cross-entropy is bounded by
``gamma . m`` and a constant, over the intervals of its margins (``certify.entropy``). Offsets, charges and floors are not its
concern: ``wdaverify.pieces`` adds them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.entropy import by_rule, entropy_constant, led, on_grid, span_constant
from wdaverify.certify.faraway import Faraway
from wdaverify.certify.leaf_row import Layout, LeafRow
from wdaverify.certify.loops import Loops
from wdaverify.certify.proof import Cut, MalformedProofError, Phases, Place, Proof, Tree
from wdaverify.certify.question import Question
from wdaverify.certify.tightened import Asked, Whole, bounds_at, boxed, settle
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem

_BATCH, _NUMBERS = 4096, 2**21
"""The most leaves whose bounds are gathered at a time, and about how many numbers each of their arrays may have together."""
_PRODUCTS = 2**29
"""Products that bounding the shells of a batch takes at most (one shell: whatever it takes), so that the clock is looked at."""
_ACROSS = 1.0
"""Margins of curved functions that may be above 0 by no more are not cut at 0."""
_EXACT = 2.0**12
"""Sums of numbers on a cross-entropy's grid are doubles up to here."""
Ints = NDArray[np.int64]


def margin_bounds(
    problem: WdroProblem,
    proofs: Sequence[Proof],
    multipliers: Array,
    deadline: float = math.inf,
    far: Faraway | None = None,
    loops: Loops | None = None,
    given: Sequence[Leaf] | None = None,
) -> tuple[Array, int]:
    """Upper bounds ``[P]`` of ``phi_ij(multipliers[k])`` by each proof, and how many were replayed, the first ones.

    ``far`` bounds what is beyond the proofs on the whole space; ``given`` are their leaves, where somebody has them. What the
    deadline (``time.monotonic``) leaves over is bounded by inf.

    Raises:
        MalformedProofError: a proof that is no proof.
    """
    question = Question.of(problem, loops)
    ends = np.array([_covered(question, proof) for proof in proofs])
    for proof, end in zip(proofs, ends.tolist(), strict=True):
        if not (proof.trees and end >= question.reach[proof.sample]) and far is None:
            raise MalformedProofError(
                f"the shells of sample {proof.sample}, rival {proof.rival} end within the support"
            )
    out, done = np.array([max((tree.level for tree in proof.trees), default=-math.inf) for proof in proofs]), 0
    if far is not None:
        items = np.array([question.piece(proof) for proof in proofs], np.int64)
        beyond = far.beyond(items, multipliers, ends)
        out = np.where(ends >= question.reach[question.pieces.sample[items]], out, np.maximum(out, beyond))
    there = every(proofs, question.layout) if given is None else given
    for leaves, next_leaf in batches(question, proofs, there, multipliers, deadline):
        np.maximum.at(out, leaves.proof, leaves.highest(multipliers))
        done = len(proofs) if next_leaf is None else next_leaf.proof
    out[done:] = math.inf
    return out, done


def distance_bounds(
    problem: WdroProblem, proofs: Sequence[Proof], deadline: float = math.inf, loops: Loops | None = None
) -> tuple[Array, int]:
    """Lower bounds ``[P]`` of ``d_ij`` by each proof, inf where no error of the rival is in the support; how many were replayed.

    Those are the first ones. Of the next one the shells that the deadline (``time.monotonic``) left time for count, the others are
    bounded by 0.

    Raises:
        MalformedProofError: a proof that is no proof.
    """
    question = Question.of(problem, loops)
    ends = np.array([_covered(question, proof) for proof in proofs])
    whole = [bool(p.trees) and end >= question.reach[p.sample] for p, end in zip(proofs, ends.tolist(), strict=True)]
    most = [min((tree.ceiling for tree in proof.trees), default=math.inf) for proof in proofs]
    out = np.minimum(np.where(whole, math.inf, ends), most)
    done, near = 0, 0.0
    for leaves, next_leaf in batches(question, proofs, every(proofs, question.layout), None, deadline):
        np.minimum.at(out, leaves.proof, leaves.nearest())
        done, near = (len(proofs), 0.0) if next_leaf is None else (next_leaf.proof, next_leaf.tree.near)
    out[done : done + 1] = np.minimum(out[done : done + 1], near)  # an error beyond its shells so far is no nearer
    out[done + 1 :] = 0.0
    return out, done


def _covered(question: Question, proof: Proof) -> float:
    """How far the shells reach from 0, end to end; also that the proof speaks of a piece of a sample.

    Without a shell that is 0, and yet the sample itself is not covered: who asks whether all is covered asks for shells too.
    """
    question.piece(proof)
    if not (math.isfinite(proof.multiplier) and proof.multiplier >= 0):
        raise MalformedProofError(f"{proof.multiplier} is no multiplier")
    end = 0.0
    for tree in proof.trees:
        if tree.near != end or not tree.near <= tree.far < math.inf:
            raise MalformedProofError(f"the shells of sample {proof.sample}, rival {proof.rival} do not lie end to end")
        end = tree.far
    return end


def batches(
    question: Question, proofs: Sequence[Proof], leaves: Iterable[Leaf], multipliers: Array | None, deadline: float
) -> Iterator[tuple[Leaves, Leaf | None]]:
    """Leaves of proofs in their order until the deadline, so many at a time that memory depends on the network alone.

    With each batch goes the leaf that follows it, None at the end. There are no multipliers for distances.

    Raises:
        MalformedProofError: a tree that is none, or a number that is not finite.
    """
    backward, weights = question.backward, question.graph.products
    each = max(1, question.layout.margins)
    width = 2 + 3 * backward.neurons + each * (question.graph.inputs + question.graph.outputs)
    most_leaves = max(1, min(_BATCH, _NUMBERS // width, _PRODUCTS // (weights + 1)))
    most_shells = max(1, _PRODUCTS // (backward.neurons * weights + 1))
    pieces = np.array([question.piece(proof) for proof in proofs], np.int64)
    batch: list[Leaf] = []
    shells: set[_Shell] = set()
    held: dict[_Shell, HiddenBounds] = {}
    try:
        for leaf in leaves:
            shell = leaf.shell(proofs)
            if len(batch) == most_leaves or (len(shells) == most_shells and shell not in shells):
                in_time(deadline, "proofs")
                yield Leaves.of(question, proofs, pieces, batch, multipliers, deadline, held), leaf
                batch, shells = [], set()
            batch.append(leaf)
            shells.add(shell)
        if batch:
            in_time(deadline, "proofs")
            yield Leaves.of(question, proofs, pieces, batch, multipliers, deadline, held), None
    except TimeoutError:
        return


def in_time(deadline: float, what: str) -> None:
    """Stop a replay whose time (``time.monotonic``) is over.

    Raises:
        TimeoutError: says so.
    """
    if time.monotonic() >= deadline:
        raise TimeoutError(f"the time limit ended the checker's replay of the {what}")


_Shell = tuple[int, float, float]
"""A sample, and from where to where."""


def _bounds(
    backward: Backward, shells: Shells, names: Sequence[_Shell], held: dict[_Shell, HiddenBounds]
) -> HiddenBounds:
    """Bounds on shells, those that are held and those made anew; a tree of many batches has its shell's made once."""
    new = np.array([k for k, name in enumerate(names) if name not in held], np.int64)
    made = backward.pre_activations(shells.take(new)) if new.size else []
    here = {name: held[name] for name in names if name in held}
    for at, k in enumerate(new.tolist()):
        here[names[k]] = [(low[at : at + 1], high[at : at + 1]) for low, high in made]
    held.clear()
    held.update(here)
    layers = range(len(next(iter(here.values()))))
    return [tuple(np.concatenate([here[name][k][side] for name in names]) for side in (0, 1)) for k in layers]  # type: ignore[misc]


@dataclass(frozen=True, eq=False)
class Leaf:
    """One leaf: the number of its proof, its shell's tree, phases ``[M]``, row of the tree's vectors (-1: none), place and cuts."""

    proof: int
    tree: Tree
    phases: Phases
    row: int
    place: Place | None
    cuts: tuple[Cut, ...]

    def shell(self, proofs: Sequence[Proof]) -> _Shell:
        """The sample, and from where to where: what the bounds of its neurons depend on."""
        return proofs[self.proof].sample, self.tree.near, self.tree.far


def every(proofs: Sequence[Proof], layout: Layout) -> Iterator[Leaf]:
    """The leaves of all proofs, in order.

    Raises:
        MalformedProofError: a tree that is none.
    """
    for k, proof in enumerate(proofs):
        for tree in proof.trees:
            if tree.vectors.ndim != 2 or (len(tree.vectors) and not layout.fits(tree.vectors)):
                raise MalformedProofError(f"rows of {tree.vectors.shape[1:]} numbers, not {layout.width}")
            for phases, row, place, cuts in tree.leaves(layout.neurons):
                yield Leaf(k, tree, phases, row, place, cuts)


@dataclass(frozen=True, eq=False)
class Leaves:
    """Some leaves, ``[L]``: of each the proof, piece, shell, part of the shell that its cuts leave, near, far, phases and bounds.

    ``rows`` are those of written leaves, zeros where none is written; ``span [L, 2, J]`` bounds the margins of a cross-entropy.
    """

    question: Question
    proof: Ints
    piece: Ints
    parts: Shells
    near: Array
    far: Array
    phases: Phases
    bounds: HiddenBounds
    rows: Array
    written: NDArray[np.bool_]
    span: Array | None

    @classmethod
    def of(
        cls,
        question: Question,
        proofs: Sequence[Proof],
        pieces: Ints,
        batch: Sequence[Leaf],
        multipliers: Array | None,
        deadline: float,
        held: dict[_Shell, HiddenBounds],
    ) -> Leaves:
        """A batch with the shells that it needs; ``held`` are bounds ``[1, m]`` of the one before it, and then its own.

        Raises:
            MalformedProofError: rows or cuts that are none, or a number that is not finite.
            TimeoutError: the deadline has passed.
        """
        index: dict[_Shell, int] = {}
        place = np.array([index.setdefault(leaf.shell(proofs), len(index)) for leaf in batch], np.int64)
        rows = question.layout.zeros(len(batch)).numbers
        for at, leaf in enumerate(batch):
            if leaf.row >= 0:
                rows[at] = leaf.tree.vectors[leaf.row]
        if not np.isfinite(rows).all():
            raise MalformedProofError("a number of a leaf is not finite")
        problem, backward = question.problem, question.backward
        samples, support = np.array([key[0] for key in index], np.int64), problem.support
        near, far = (np.array([key[side] for key in index], np.float64) for side in (1, 2))
        shells = Shells.around(problem.cost, problem.samples.x[samples], support.lower, support.upper, near, far)
        proof = np.array([leaf.proof for leaf in batch], np.int64)
        piece = pieces[proof]
        price = None if multipliers is None else multipliers[proof]
        found = [(int(place[at]), at, leaf.place) for at, leaf in enumerate(batch) if leaf.place is not None]
        known = _bounds(backward, shells, list(index), held)
        whole = Whole(shells, known, _asked(question, piece, price, (shells, known, place) if found else None))
        settle(backward, whole, found, lambda: in_time(deadline, "proofs"))
        places = [leaf.place for leaf in batch]
        bounds, halved = bounds_at(whole, place, places), boxed(shells.take(place), places)
        cuts = [leaf.cuts for leaf in batch]
        parts = _parts(question, halved, cuts)
        return cls(
            question,
            proof,
            piece,
            parts,
            parts.near,
            parts.far,
            np.stack([leaf.phases for leaf in batch]),
            bounds,
            rows,
            np.array([leaf.row >= 0 for leaf in batch], np.bool_),
            _spans(question, question.pieces.behind(piece), halved, bounds, cuts) if question.layout.margins else None,
        )

    def highest(self, multipliers: Array) -> Array:
        """Upper bounds ``[L]`` of ``phi_ik`` at the multipliers ``[P]`` of the proofs; -inf where a leaf is shown to be empty."""
        margin, cost = self.claims(bare=(1.0, 1.0))
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            tau = cost * multipliers[self.proof]
        top = self.evaluate(margin, tau)
        value = np.where((margin == 1) & (cost == 1), top, math.inf)
        return np.where((margin == 0) & (cost == 0) & (top < 0), -math.inf, value)

    def nearest(self) -> Array:
        """Lower bounds ``[L]`` of the distances to errors; inf where a leaf is shown to have none."""
        margin, cost = self.claims(bare=(1.0, 0.0))
        sound = margin >= 0
        top = self.evaluate(np.maximum(margin, 0.0), cost)
        value = np.where(cost == 1, np.maximum(-top, self.near), self.near)
        value = np.where((cost == 0) & (top < 0), math.inf, value)
        value = np.where(sound, value, self.near)
        return np.where(value > self.far, math.inf, value)  # an error of the leaf lies no farther than the leaf

    def claims(self, bare: tuple[float, float]) -> tuple[Array, Array]:
        """The weights of margin and cost of every leaf, ``[L]`` each; ``bare`` are those of leaves without a row."""
        rows = LeafRow(self.question.layout, self.rows)
        return np.where(self.written, rows.margin, bare[0]), np.where(self.written, rows.cost, bare[1])

    def evaluate(self, margin: Array, tau: Array) -> Array:
        """``B >= margin c_k . z - tau ||x - x_i||^p`` on every leaf, ``[L]``; a cost that is not >= 0 proves nothing."""
        out = np.full(self.proof.size, math.inf)
        usable = np.isfinite(margin) & np.isfinite(tau) & (tau >= 0)
        for kind in (True, False):
            at = np.flatnonzero(usable & (self.written == kind))
            if not at.size:
                continue
            rows = LeafRow(self.question.layout, self.rows[at]) if kind else None
            if self.span is not None:
                out[at] = self._entropy(at, margin[at], tau[at], rows)
            else:
                with np.errstate(over="ignore", invalid="ignore", under="ignore"):  # such a margin claims nothing
                    functional = margin[at, None] * self.question.pieces.rows(self.piece[at])[:, 0]
                out[at] = self._bounded(at, functional, tau[at], rows)
        return out

    def _bounded(self, at: Ints, functional: Array, tau: Array, rows: LeafRow | None) -> Array:
        """Backward passes of functionals ``[B, K]`` or ``[B, R, K]`` on some of the leaves."""
        bounds = [(low[at], high[at]) for low, high in self.bounds]
        nu, rho = (None, None) if rows is None else (rows.nu, rows.rho)
        parts, phases, power = self.parts.take(at), self.phases[at], self.question.power
        return self.question.backward.leaves(functional, tau, parts, bounds, phases, nu, power=power, rho=rho)

    def _entropy(self, at: Ints, margin: Array, tau: Array, rows: LeafRow | None) -> Array:
        """The same of the cross-entropy's piece (margin 1) or of 0 (margin 0); nothing else is bounded."""
        assert self.span is not None
        pieces, piece = self.question.pieces, self.piece[at]
        low, high, margins = self.span[at, 0], self.span[at, 1], pieces.behind(piece)
        if rows is None:
            pairs = [by_rule(a, b) for a, b in zip(low, high, strict=True)]
            level, gamma = np.array([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])
        else:
            assert rows.gamma is not None
            assert rows.log_sigma is not None
            level, gamma = rows.log_sigma, on_grid(rows.gamma)
        constant = np.where(margin == 1, entropy_constant(level, gamma, low, high), span_constant(gamma, low, high))
        lead = np.where(margin[:, None] == 1, pieces.lead(piece), 0.0)
        functional = (gamma[:, None, :] @ margins)[:, 0] + lead  # exact: gamma is on a grid
        bounded = self._bounded(at, functional, tau, rows)
        with np.errstate(invalid="ignore"):  # numbers that overflow prove nothing
            total = constant + bounded
        above = np.nextafter(np.where(np.isnan(total), np.inf, total), np.inf)
        top = np.where(np.isneginf(bounded), -np.inf, above)  # -inf: there is no point
        if rows is None:  # shells that were screened are closed by the margins one by one
            near = self.near[at]
            with np.errstate(over="ignore", invalid="ignore", under="ignore"):
                paid = tau * near if self.question.power == 1 else tau * near * near
            each = self._bounded(at, pieces.rows(piece), tau, None)
            top = np.minimum(top, led(each, -paid * (1 - 2.0**-50), pieces.label[piece], pieces.code[piece]))
        empty = (low > np.minimum(high, 0.0)).any(axis=1)
        sound = ((margin == 1) | (margin == 0)) & (np.abs(gamma).sum(axis=1) < _EXACT)
        return np.where(empty & sound, -math.inf, np.where(sound & ~np.isnan(top), top, math.inf))


def _parts(question: Question, shells: Shells, cuts: Sequence[tuple[Cut, ...]]) -> Shells:
    """The shells within what the cuts leave of the integer features, which whole numbers alone count of.

    Raises:
        MalformedProofError: a cut of a feature that takes other numbers too, or of a margin that is none.
    """
    support, margins = question.problem.support, question.layout.margins
    integer = np.zeros(support.lower.size, np.bool_) if support.integer is None else support.integer
    for at in {at for some in cuts for at, _, _ in some}:
        if not (-margins <= at < integer.size) or (at >= 0 and not integer[at]):
            raise MalformedProofError("a feature is cut that is no integer, or a margin that is none")
    if support.integer is None:
        return shells
    within = (
        np.maximum(support.lower, shells.centre - shells.down),
        np.minimum(support.upper, shells.centre + shells.up),
    )
    lower = np.where(integer, np.ceil(within[0]), support.lower)
    upper = np.where(integer, np.floor(within[1]), support.upper)
    for k, some in enumerate(cuts):
        for at, above, value in some:
            if at >= 0 and above:
                upper[k, at] = min(upper[k, at], value)
            elif at >= 0:
                lower[k, at] = max(lower[k, at], value)
    return shells.within(lower, upper)


def _asked(
    question: Question, piece: Ints, price: Array | None, where: tuple[Shells, HiddenBounds, Ints] | None
) -> Asked:
    """What rows that tighten bounds rest on, of leaves' pieces ``[L]``; ``where`` are their shells, None where there are no rows."""
    pieces = question.pieces
    if not question.layout.margins:
        return Asked(pieces.rows(piece)[:, 0], price, question.power)
    lead = pieces.lead(piece)
    if where is None:
        return Asked(lead, price, question.power)
    shells, bounds, place = where
    local = [(low[place], high[place]) for low, high in bounds]
    span = _spans(question, pieces.behind(piece), shells.take(place), local, [()] * len(piece))
    return Asked(lead, price, question.power, span[:, 1])


def _spans(
    question: Question, margins: Array, shells: Shells, bounds: HiddenBounds, cuts: Sequence[tuple[Cut, ...]]
) -> Array:
    """Bounds ``[L, 2, J]`` of margins ``[L, J, K]`` behind the largest logit on shells, and what cuts leave (``l > u``: nothing).

    Of curved functions, whose boxes become small, margins that pass 0 by little are not cut there: that is not of second order.
    """
    (count, each), backward = margins.shape[:2], question.backward
    both, none = np.concatenate([margins, -margins], axis=1), np.zeros((count, backward.neurons), np.int8)
    top = backward.leaves(both, np.zeros(count), shells, bounds, none, None)
    across = _ACROSS if question.problem.network.curved else 0.0
    out = np.stack([-top[:, each:], np.where(top[:, :each] > across, 0.0, top[:, :each])], axis=1)
    for k, some in enumerate(cuts):
        for at, above, value in some:
            if at < 0 and above:
                out[k, 1, -1 - at] = min(out[k, 1, -1 - at], value)
            elif at < 0:
                out[k, 0, -1 - at] = max(out[k, 0, -1 - at], value)
    return out
