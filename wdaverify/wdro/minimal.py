"""Certificates made smaller: a subtree goes whose bound one row at its root proves, and a proof that others make needless.

Only what the upper bound rests on is kept: at the multiplier of the certificate a piece may be bounded by as much as the largest piece
of its sample, and a distance by as little as the nearest rival's, so that the bound stays the same to the bit. Everything is evaluated
by the checker's own functions; where one more proof is needed than one, as chords need, the proofs stay as they are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from wdaverify.certify.certificate import VALUE, Certificate
from wdaverify.certify.proof import (
    BARE,
    FORKED,
    HALVED,
    NARROWED,
    TIGHTENED,
    WRITTEN,
    Cut,
    MalformedProofError,
    Phases,
    Place,
    Proof,
    Tightening,
    Tree,
    halves_of,
    sides_of,
)
from wdaverify.certify.question import Question
from wdaverify.certify.upper import Leaf, batches, distance_bounds, in_time
from wdaverify.certify.values import pieces_of
from wdaverify.engines.loops import compiled
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem

_SPARE = 2.0**-50
"""Of a piece's bound with offset and charge, what rounding may add."""
_ROUNDS = 64
"""How many levels of a tree are looked at, from its leaves upwards."""


def minimal(certificate: Certificate, problem: WdroProblem, deadline: float) -> Certificate:
    """The certificate of a value with the same bounds and less in it; as it is where the deadline (``time.monotonic``) passes first."""
    if certificate.of != VALUE or not certificate.proofs or problem.radius == 0:
        return certificate
    try:
        found = (_searched if problem.loss.rule.by_distances else _pieces)(certificate, problem, deadline)
        return replace(certificate, proofs=_shrunk(problem, *found, certificate.multiplier, deadline))
    except (TimeoutError, MalformedProofError):
        return certificate


_Grown = dict[int, tuple["_Spot", list["_Spot"]]]
"""Trees with their nodes, by the identity of what a proof has."""


def _pieces(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[list[Proof], Array, _Grown]:
    """The smallest proof of each piece that is enough at the multiplier, or all of them; and what a leaf may be, nan: as it is."""
    question, lam, proofs = Question.of(problem), certificate.multiplier, certificate.proofs
    grown: _Grown = {id(tree): _spots(tree, question.layout.neurons) for proof in proofs for tree in proof.trees}
    leaves = [leaf for k, proof in enumerate(proofs) for tree in proof.trees for leaf in _leaves(k, tree, grown)]
    pieces, found = question.pieces, pieces_of(certificate, problem, deadline, compiled(), leaves)
    if found.done < len(proofs):
        raise TimeoutError
    items: defaultdict[int, list[int]] = defaultdict(list)
    for k, proof in enumerate(proofs):
        items[question.piece(proof)].append(k)
    whole = pieces.whole(found.raw, found.pieces, lam).reshape(-1, pieces.per_sample)
    most = np.repeat(np.maximum(whole.max(axis=1), pieces.floor), pieces.per_sample)
    kept, wanted = list[Proof](), list[float]()
    for item, top in zip(found.pieces.tolist(), most.tolist(), strict=True):
        at = np.array([item])
        enough = [k for k in items[item] if pieces.whole(found.here[[k]], at, lam)[0] <= top]
        if not enough:
            kept += [proofs[k] for k in items[item]]
            wanted += [math.nan] * len(items[item])
            continue
        chosen = min(enough, key=lambda k: sum(tree.nbytes for tree in proofs[k].trees))
        bar = pieces.bar(np.array([top]), at, lam)
        level = bar - _SPARE * (1 + np.abs(bar)) if pieces.whole(bar, at, lam)[0] > top else bar
        sure = bool(pieces.whole(level, at, lam)[0] <= top)
        kept.append(replace(proofs[chosen], multiplier=lam))
        wanted.append(max(float(level[0]) if sure else -math.inf, float(found.here[chosen])))
    return kept, np.array(wanted), grown


def _leaves(k: int, tree: Tree, grown: _Grown) -> Iterator[Leaf]:
    """The leaves of a tree, whose places are those of its nodes: what tightens them is evaluated once."""
    row = 0
    for spot in grown[id(tree)][1]:
        if spot.leaf:
            yield Leaf(k, tree, spot.phases, row if spot.code == WRITTEN else -1, spot.place, spot.cuts)
        row += len(spot.rows)


def _searched(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[list[Proof], Array, _Grown]:
    """``_distances``; at order inf, where every sample is by itself, of samples alone of which anything was searched."""
    proofs = certificate.proofs
    rich = {proof.sample for proof in proofs if any(tree.nodes.size > 1 or len(tree.vectors) for tree in proof.trees)}
    bare = [proof for proof in proofs if proof.sample not in rich]
    if math.isfinite(problem.cost.order) or not bare:
        return _distances(certificate, problem, deadline)
    some = tuple(proof for proof in proofs if proof.sample in rich)
    kept, wanted, grown = _distances(replace(certificate, proofs=some), problem, deadline)
    return [*kept, *bare], np.append(wanted, np.full(len(bare), math.nan)), grown


def _distances(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[list[Proof], Array, _Grown]:
    """The smallest proof of each rival that matters, and what a leaf's distance may not be below."""
    question, proofs, cost = Question.of(problem), certificate.proofs, problem.cost
    values, done = distance_bounds(problem, proofs, deadline, compiled())
    if done < len(proofs):
        raise TimeoutError
    items: defaultdict[int, list[int]] = defaultdict(list)
    for k, proof in enumerate(proofs):
        items[question.piece(proof)].append(k)
    best = np.zeros(len(question.pieces))
    for item, at in items.items():
        best[item] = values[at].max()
    low = np.minimum(best.reshape(len(problem.samples), -1).min(axis=1), cost.label_cost)
    enough = np.minimum(low, _last_bought(problem, low))
    enough[problem.samples.w == 0] = 0.0
    kept, wanted = list[Proof](), list[float]()
    for item, at in items.items():
        least = float(enough[question.pieces.sample[item]])
        if least > 0:
            kept.append(proofs[min((k for k in at if values[k] >= least), key=lambda k: _size(proofs[k]))])
            wanted.append(least)
    return kept, np.array(wanted), {}


def _size(proof: Proof) -> int:
    return sum(tree.nbytes for tree in proof.trees)


def _last_bought(problem: WdroProblem, low: Array) -> Array:
    """From which distance on nothing is bought, ``[N]``: that of what is bought last; at order inf just beyond the radius, or 0."""
    if not math.isfinite(problem.cost.order):
        return np.where(low > problem.radius, math.nextafter(problem.radius, math.inf), 0.0)
    left = Fraction(problem.radius) ** problem.cost.power
    for i in np.argsort(low, kind="stable").tolist():
        if math.isfinite(low[i]) and problem.samples.w[i]:
            price = Fraction(float(problem.samples.w[i])) * Fraction(float(low[i])) ** problem.cost.power
            if price > left:
                return np.full(low.size, low[i])
            left -= price
    return np.full(low.size, math.inf)


@dataclass(eq=False)
class _Spot:
    """A node of a tree: its code, what stands below it, where it is, and its rows, tightening or fork; ``done``: it stays."""

    code: int
    phases: Phases
    place: Place | None
    cuts: tuple[Cut, ...]
    below: list[_Spot] = field(default_factory=list)
    rows: tuple[Array, ...] = ()
    tight: Tightening | None = None
    fork: Array | None = None
    done: bool = False

    @property
    def leaf(self) -> bool:
        """Whether nothing stands below it."""
        return self.code in (BARE, WRITTEN)


def _spots(tree: Tree, neurons: int) -> tuple[_Spot, list[_Spot]]:
    """A tree's root, and all its nodes in preorder."""
    top = _Spot(BARE, np.zeros(neurons, np.int8), None, ())
    waiting, out, row, tights, forks = [top], list[_Spot](), 0, 0, 0
    for code in tree.nodes.tolist():
        spot = waiting.pop()
        spot.code = code
        out.append(spot)
        if code == WRITTEN:
            spot.rows, row = (tree.vectors[row],), row + 1
        elif code == TIGHTENED:
            spot.tight, tights = tree.tights[tights], tights + 1
            spot.below = [
                _Spot(BARE, spot.phases, Place(spot.place, spot.phases, spot.tight, cuts=spot.cuts), spot.cuts)
            ]
        elif code == FORKED:
            spot.fork, forks = tree.forks[forks], forks + 1
            spot.below = [_Spot(BARE, spot.phases, spot.place, (*spot.cuts, cut)) for cut in sides_of(spot.fork)]
        elif code in (HALVED, NARROWED):
            spot.fork, forks = tree.forks[forks], forks + 1
            if code == NARROWED:
                spot.rows, row = tuple(tree.vectors[row : row + 2]), row + 2
            by = np.stack(spot.rows) if spot.rows else None
            places = [Place(spot.place, spot.phases, None, cut, rows=by) for cut in halves_of(spot.fork)]
            spot.below = [_Spot(BARE, spot.phases, place, spot.cuts) for place in places]
        elif code >= 0:
            for phase in (1, -1):
                phases = spot.phases.copy()
                phases[code] = phase
                spot.below.append(_Spot(BARE, phases, spot.place, spot.cuts))
        waiting += spot.below[::-1]
    return top, out


def _tree(tree: Tree, top: _Spot) -> Tree:
    """The tree that is left."""
    nodes, rows, tights, forks, waiting = list[int](), list[Array](), list[Tightening](), list[Array](), [top]
    while waiting:
        spot = waiting.pop()
        nodes.append(spot.code)
        rows += list(spot.rows)
        tights += [] if spot.tight is None else [spot.tight]
        forks += [] if spot.fork is None else [spot.fork]
        waiting += spot.below[::-1]
    vectors = np.array(rows) if rows else tree.vectors[:0]
    cuts = np.array(forks) if forks else tree.forks[:0]
    return replace(tree, nodes=np.array(nodes, np.int32), vectors=vectors, tights=tuple(tights), forks=cuts)


def _shrunk(
    problem: WdroProblem, proofs: Sequence[Proof], wanted: Array, known: _Grown, multiplier: float, deadline: float
) -> tuple[Proof, ...]:
    """The proofs without what their leaves do not need.

    Raises:
        TimeoutError: the deadline has passed.
    """
    question, distances = Question.of(problem, compiled()), problem.loss.rule.by_distances
    grown = {
        (k, t): known.get(id(tree)) or _spots(tree, question.layout.neurons)
        for k, proof in enumerate(proofs)
        for t, tree in enumerate(proof.trees)
        if not np.isnan(wanted[k]) and (tree.nodes.size > 1 or len(tree.vectors))
    }
    price = None if distances else np.full(len(proofs), multiplier)
    for _ in range(_ROUNDS):
        asked = [(k, t, spot, rows) for (k, t), (_, all_) in grown.items() for spot, rows in _asked(all_)]
        if not asked:
            break
        leaves = [
            Leaf(k, _of_rows(proofs[k].trees[t], rows), spot.phases, row, spot.place, spot.cuts)
            for k, t, spot, rows in asked
            for row in range(-1, len(rows))
        ]
        found = list[Array]()
        for some, _ in batches(question, proofs, leaves, price, math.inf):
            in_time(deadline, "certificate")
            found.append(some.nearest() if price is None else some.highest(price))
        values, at = np.concatenate(found), 0
        for k, _, spot, rows in asked:
            each = values[at : at + len(rows) + 1]
            good = np.flatnonzero(each >= wanted[k] if distances else each <= wanted[k])
            at += each.size
            spot.done = not good.size
            if good.size:
                row = int(good[0]) - 1
                spot.code, spot.below, spot.tight, spot.fork = (BARE if row < 0 else WRITTEN), [], None, None
                spot.rows = () if row < 0 else (rows[row],)
                spot.done = row >= 0 or spot.done
    return tuple(
        replace(
            proof,
            trees=tuple(_tree(tree, grown[k, t][0]) if (k, t) in grown else tree for t, tree in enumerate(proof.trees)),
        )
        for k, proof in enumerate(proofs)
    )


def _asked(spots: Sequence[_Spot]) -> Iterator[tuple[_Spot, list[Array]]]:
    """The nodes that may be leaves, with the rows that they might have beside none: written leaves, and what has leaves below it alone."""
    for spot in spots:
        if spot.done or spot.code == BARE:
            continue
        if spot.code == WRITTEN:
            yield spot, []
        elif all(side.leaf and (side.done or side.code == BARE) for side in spot.below):
            yield spot, [row for side in spot.below for row in side.rows]


def _of_rows(tree: Tree, rows: Sequence[Array]) -> Tree:
    """A tree's shell with some rows."""
    return Tree(tree.near, tree.far, tree.nodes[:0], np.array(rows) if rows else tree.vectors[:0])
