"""Between a search and its journal: on what each fact depends, what is taken up again, and what is written.

    points       network                                                     (re-evaluated whenever they are read)
    distances    network, support, norm, weights                             d_ij >= value
    bounds       the same, order, loss family; the radius at order inf       phi_ij(lam) <= value
    levels       the same as distances, the loss; the radius at order inf    h_i(level) >= value
    attacks      the whole question, seed and device

Neither gap nor threshold, jobs or limits appear: what is proven does not depend on them (docs/theory.md, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.certificate import packed_trees, unpacked_trees
from wdaverify.certify.proof import Tree
from wdaverify.certify.question import layout_of
from wdaverify.graph.maps import Dense, LinearMap
from wdaverify.graph.nodes import Affine, Graph
from wdaverify.graph.smooth.curve import Smooth
from wdaverify.journal.facts import Fact, Point, digest
from wdaverify.journal.store import Journal
from wdaverify.losses.rule import By
from wdaverify.network.model import Array
from wdaverify.pieces import Ints, Pieces
from wdaverify.problem import WdroProblem
from wdaverify.solvers.registry import OWN
from wdaverify.wdro.options import Options


@dataclass(frozen=True, eq=False)
class Recalled:
    """Facts by item: ``item, multiplier, value, checked, tries, spent`` (asking again would prove no more), all ``[M]``.

    ``trees`` show each, for runs that are to prove theirs; empty for others.
    """

    item: Ints
    multiplier: Array
    value: Array
    checked: NDArray[np.bool_]
    tries: Ints
    spent: NDArray[np.bool_]
    trees: list[tuple[Tree, ...]]


class Recall:
    """One question's facts in a journal."""

    def __init__(self, journal: Journal, problem: WdroProblem, options: Options, purpose: str = "verify") -> None:
        """Enter the question; ``purpose`` tells apart searches that try differently hard."""
        self.journal, self._problem, self._options = journal, problem, options
        fields = _fields(problem)
        self._facts = journal.scope(_FIELDS[problem.loss.rule.search](problem, fields))
        self._points = journal.scope({"kind": "points", "network": fields["network"]})
        self._attacks = journal.scope(_attack_fields(problem, fields, options, purpose))
        self._keys = [
            digest(x.tobytes(), y.tobytes()) for x, y in zip(problem.samples.x + 0.0, problem.samples.y, strict=True)
        ]
        self._samples: dict[bytes, list[int]] = {}
        for sample, key in enumerate(self._keys):
            self._samples.setdefault(key, []).append(sample)
        self._kept: set[bytes] = set()
        effort = options.gap, options.memory_limit, options.branching, problem.radius, problem.cost.order
        self._spent = digest(purpose, options.solver, repr(effort))
        self._notices: list[str] = []
        self.reused = 0
        journal.start()

    def told(self) -> list[str]:
        """What there is to say of the journal."""
        return [*self._notices, *self.journal.notices]

    def points(self) -> tuple[Ints, Array]:
        """Points ``[M, n]`` found before, within the support, and their samples ``[M]``."""
        sample: list[int] = []
        point: list[Array] = []
        width = self._problem.network.n_inputs
        for found in self.journal.points(self._points):
            self._kept.add(digest(found.sample, found.point))
            if len(found.point) == 8 * width:
                at = self._samples.get(found.sample, [])
                sample += at
                point += [np.frombuffer(found.point, "<f8").astype(np.float64)] * len(at)
        stacked = np.stack(point) if point else np.zeros((0, width))
        inside = self._problem.support.contains(stacked)
        return np.array(sample, np.int64)[inside], stacked[inside]

    def keep_points(self, found: Iterable[tuple[int, Array]]) -> None:
        """Keep points of samples, each once."""
        fresh: list[Point] = []
        for sample, point in found:
            entry = Point(self._keys[sample], np.asarray(point, "<f8").tobytes())
            name = digest(entry.sample, entry.point)
            if name not in self._kept:
                self._kept.add(name)
                fresh.append(entry)
        self.journal.add(self._points, points=fresh)

    def facts(self, pieces: Pieces) -> Recalled:
        """What was proven of the items of this question; a solver's word is no use to a run whose bounds are checked."""
        known = self.journal.facts(self._facts, proofs=self._options.certificate)
        facts = [fact for fact in known if fact.sample in self._samples]
        usable = [(fact, trees) for fact in facts if (trees := self._shown(fact)) is not None]
        if len(usable) < len(facts):
            why = (
                "have no trees that can be read, which a certificate needs"
                if self._options.certificate
                else "are a MIP solver's word"
            )
            self._notices.append(f"journal: {len(facts) - len(usable)} fact(s) {why}, and are left aside")
        self._tell(len(usable))
        items: dict[tuple[int, int, int], int] = {}
        for sample in {at for fact, _ in usable for at in self._samples[fact.sample]}:
            for item in pieces.of_samples(np.array([sample]))[0].tolist():
                items[sample, int(pieces.label[item]), int(pieces.code[item])] = item
        rows = [
            (items[at, fact.label, fact.code], fact, trees)
            for fact, trees in usable
            for at in self._samples[fact.sample]
            if (at, fact.label, fact.code) in items
        ]
        return Recalled(
            item=np.array([item for item, _, _ in rows], np.int64),
            multiplier=np.array([fact.multiplier for _, fact, _ in rows]),
            value=np.array([fact.value for _, fact, _ in rows]),
            checked=np.array([fact.checked for _, fact, _ in rows], np.bool_),
            tries=np.array([fact.tries for _, fact, _ in rows], np.int64),
            spent=np.array([fact.spent == self._spent for _, fact, _ in rows], np.bool_),
            trees=[trees for _, _, trees in rows],
        )

    def _shown(self, fact: Fact) -> tuple[Tree, ...] | None:
        """The trees of a fact, where they are wanted; None where the fact is of no use to this run."""
        if not self._options.certificate:
            return () if fact.checked or self._options.solver not in OWN else None
        if not fact.checked or not fact.proof:
            return None
        try:
            return unpacked_trees(fact.proof, layout_of(self._problem))
        except ValueError:
            return None

    def keep(
        self,
        pieces: Pieces,
        items: Ints,
        values: Array,
        *,
        multiplier: float,
        checked: bool,
        vouched: str,
        tries: int,
        spent: bool,
        trees: tuple[Tree, ...],
    ) -> None:
        """Keep what was proven of items just now; where a certificate is wanted, what has no trees is not worth keeping."""
        if self._options.certificate and not trees:
            return
        facts = [
            Fact(
                sample=self._keys[int(pieces.sample[item])],
                label=int(pieces.label[item]),
                code=int(pieces.code[item]),
                multiplier=float(multiplier),
                value=float(value),
                checked=checked,
                vouched=vouched,
                tries=tries,
                spent=self._spent if spent else b"",
                proof=packed_trees(trees, layout_of(self._problem)) if trees else b"",
            )
            for item, value in zip(items.tolist(), values.tolist(), strict=True)
        ]
        self.journal.add(self._facts, facts=facts)

    def levels(self) -> list[tuple[int, float, float]]:
        """Samples, levels of their losses and proven distances to these (inf: out of reach), as they were proven."""
        facts = [fact for fact in self.journal.facts(self._facts, proofs=False) if fact.sample in self._samples]
        self._tell(len(facts))
        return [(at, fact.multiplier, fact.value) for fact in facts for at in self._samples[fact.sample]]

    def keep_level(self, sample: int, level: float, distance: float, vouched: str) -> None:
        """Keep how far a level of a sample's loss is at least, on a MIP solver's word; the level stands in the multiplier's place."""
        label = int(self._problem.samples.y[sample])
        fact = Fact(self._keys[sample], label, 0, level, distance, checked=False, vouched=vouched, tries=0)
        self.journal.add(self._facts, facts=[fact])

    def attacks(self) -> tuple[str, dict[str, float]] | None:
        """Where the attacks on this very question ran and what they were worth, if they ended before."""
        known = self.journal.remark(self._attacks)
        return None if known is None else (known["device"], known["values"])

    def keep_attacks(self, device: str, values: dict[str, float]) -> None:
        """Keep that the attacks ended, and what they were worth; their points are kept before."""
        self.journal.note(self._attacks, {"device": device, "values": values})

    def _tell(self, reused: int) -> None:
        """Say what is taken up, and what the journal holds of other questions and this one cannot use."""
        self.reused = reused
        own = self._facts.fields
        others = []
        for scope in self.journal.scopes():
            if scope.key == self._facts.key or scope.fields.get("kind") not in ("bounds", "distances", "levels"):
                continue
            if count := self.journal.count(scope):
                names = {"loss" if name == "kind" else name for name in own if own[name] != scope.fields.get(name)}
                others.append(f"{count} hold for another {' and '.join(sorted(names))} and are left aside")
        if reused or self._kept or others:
            first = f"{reused} fact(s) and {len(self._kept)} point(s) of earlier runs are reused"
            self._notices.append("; ".join([f"journal: {first}", *others]))


def _fields(problem: WdroProblem) -> dict[str, str]:
    support, cost = problem.support, problem.cost
    box = [_bytes(support.lower), _bytes(support.upper)]
    if support.rows is not None:
        box += [_bytes(support.rows.matrix), _bytes(support.rows.lower), _bytes(support.rows.upper)]
    box.append(b"" if support.integer is None else _bytes(support.integer))
    return {
        "network": digest(*_network(problem.network.form), problem.network.sha256).hex(),
        "support": digest(*box).hex(),
        "norm": cost.norm.value,
        "weights": "none" if cost.weights is None else digest(_bytes(cost.weights)).hex(),
    }


def _network(graph: Graph) -> list[bytes | str]:
    """What a graph is made of: stored numbers, node by node, then what else makes its maps (of matrices in a chain their shapes)."""
    numbers, shapes = list[bytes | str](), list[bytes | str]()
    for k, node in enumerate(graph.nodes):
        if not isinstance(node, Affine):
            if isinstance(node.function, Smooth):
                shapes.append(f"{k} is {node.function.name} {node.function.parameters}")
            if node.source != k - 1:
                shapes.append(f"{k} of {node.source}")
            continue
        numbers += [_bytes(part) for part in (*(n for m in node.maps for n in m.numbers), node.bias)]
        if node.sources == (k - 1,) and isinstance(node.maps[0], Dense) and node.exact:
            shapes.append(repr(node.maps[0].weight.shape))
        else:
            shapes += [repr(node.sources), *(part for m in node.maps for part in _made_of(m))]
            shapes.append(b"" if node.bias_error is None else _bytes(node.bias_error))
    return [*numbers, *shapes]


def _made_of(map_: LinearMap) -> list[bytes | str]:
    out: list[bytes | str] = [type(map_).__name__]
    stored: Any = map_  # a dataclass, as all maps are
    for name in (field.name for field in fields(stored)):
        value = getattr(map_, name)
        if isinstance(value, np.ndarray):
            out += [name, repr(value.shape), _bytes(value)]
        elif isinstance(value, int | tuple):
            out += [name, repr(value)]
    return out


def _distance_fields(problem: WdroProblem, fields: dict[str, str]) -> dict[str, str]:
    return {"kind": "distances", **fields}


def _level_fields(problem: WdroProblem, fields: dict[str, str]) -> dict[str, str]:
    """At order inf nothing beyond the radius is looked at."""
    out = {"kind": "levels", **fields, "loss": problem.loss.value}
    return out if math.isfinite(problem.cost.order) else {**out, "radius": problem.radius.hex()}


def _bound_fields(problem: WdroProblem, fields: dict[str, str]) -> dict[str, str]:
    """At order inf the radius says which points there are; the margin's functionals are the hinge's too."""
    order = problem.cost.order
    out = {"kind": "bounds", **fields, "order": str(order), "loss": _family(problem)}
    return out if math.isfinite(order) else {**out, "radius": problem.radius.hex()}


_FIELDS = {By.PIECES: _bound_fields, By.DISTANCES: _distance_fields, By.LEVELS: _level_fields}


def _family(problem: WdroProblem) -> str:
    if problem.functionals is not None:
        return f"linear {digest(_bytes(problem.functionals.matrix)).hex()}"
    return "cross-entropy by its largest class" if problem.loss.rule.entropy else "margin"


def _attack_fields(problem: WdroProblem, fields: dict[str, str], options: Options, purpose: str) -> dict[str, str]:
    functionals = problem.functionals
    return {
        "kind": "attacks",
        "purpose": purpose,
        **fields,
        "samples": problem.samples.sha256,
        "order": str(problem.cost.order),
        "loss": problem.loss.value,
        "radius": float(problem.radius).hex(),
        "label cost": float(problem.cost.label_cost).hex(),
        "functionals": "none"
        if functionals is None
        else digest(_bytes(functionals.matrix), _bytes(functionals.offset)).hex(),
        "seed": str(options.seed),
        "device": options.device,
    }


def _bytes(values: Any) -> bytes:
    return np.ascontiguousarray(values).tobytes()
