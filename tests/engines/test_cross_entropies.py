"""Cross-entropies are grown: pieces against grids, what the ascent promises against what its rows prove, planted faults, certificates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from engines.test_growth import FEW, LAM, NORMS, PLAIN, growable, plain
from oracles import Array
from scipy.special import logsumexp

from wdaverify import (
    Certificate,
    GroundCost,
    Loss,
    Norm,
    Support,
    WdroProblem,
    load_network,
    load_samples,
    read_certificate,
    recheck,
    verify,
    write_certificate,
)
from wdaverify.certify import tightened
from wdaverify.certify.entropy import led
from wdaverify.certify.proof import FORKED, TIGHTENED, Tree
from wdaverify.engines.base import Inner
from wdaverify.engines.cells import ledger
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.cells.entropies import EntropyAscent, Secants
from wdaverify.engines.cells.forking import Forking
from wdaverify.engines.cells.hunt import Hunt
from wdaverify.engines.cells.together import Together
from wdaverify.engines.cells.tree import Node
from wdaverify.graph.nodes import Elementwise

MODELS = Path(__file__).parents[2] / "models"


def question(seed: int, norm: Norm, order: float, rival: int) -> tuple[CellEngine, Inner, Callable[[Array], Array]]:
    """A piece, and its values at points: -inf where another class is the largest."""
    net, region, _ = plain(seed, norm)
    region = replace(
        region, cost=GroundCost(norm, order), far=0.4, lower=region.centre - 0.4, upper=region.centre + 0.4
    )
    asked = Inner(0, 0, rival, region, (), LAM, entropy=True)

    def values(points: Array) -> Array:
        z = net.forward(points)
        far = region.cost.distance(points - region.centre)
        there = (far <= region.far) & (z.argmax(axis=1) == rival)
        return np.where(there, logsumexp(z, axis=1) - z[:, 0] - LAM * far**order, -np.inf)

    return CellEngine(net), asked, values


def seen(asked: Inner, values: Callable[[Array], Array]) -> float:
    """The best of a grid that zooms in; -inf where the class is nowhere the largest."""
    region = asked.region
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-0.4, 0.4, 201)]), axis=-1).reshape(-1, 2) + region.centre
    best = grid[np.argsort(values(grid))[-30:]]
    for size in (4e-3, 4e-4, 4e-5):
        step = np.stack(np.meshgrid(*2 * [np.linspace(-size, size, 21)]), axis=-1).reshape(-1, 2)
        some = np.clip((best[:, None] + step).reshape(-1, 2), region.lower, region.upper)
        best = some[np.argsort(values(some))[-30:]]
    return float(values(best).max())


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.full)])
@pytest.mark.parametrize("norm", [*NORMS, Norm.TWO])
@pytest.mark.parametrize("seed", FEW)
def test_pieces_are_grown_to_their_best_points(seed: int, norm: Norm, order: float) -> None:
    """Each bounds its own, none exceeds the best point of all by more than the gap; at order 2 grids see a little less."""
    found = []
    for rival in range(3):
        engine, asked, values = question(seed, norm, order, rival)
        assert growable(engine._network, asked)
        answer = engine.answer(asked, replace(PLAIN, gap=1e-4))
        assert answer.closed
        own = seen(asked, values)
        assert answer.bound >= own - 1e-12
        found.append((own, answer.bound))
    best, bound = np.max(found, axis=0)
    assert bound <= best + 1e-3


class Case:
    """The ascent of a piece over its shells, and nodes with phases and intervals of their own, in order of their shells."""

    def __init__(self, seed: int) -> None:
        rng, near = np.random.default_rng(seed), np.array([0.0, 0.1, 0.25])
        engine, asked, _ = question(seed, Norm.INF, 1, 0)
        region, graph = asked.region, engine._network.canonical
        points = region.centre + rng.uniform(-0.4, 0.4, (4000, 2))
        z, far = graph.forward(points), region.cost.distance(points - region.centre)
        rival = int(np.bincount(z.argmax(axis=1)).argmax())
        self.hunt = Hunt(graph, engine._backward, engine._single, replace(asked, rival=rival), PLAIN)
        self.together = Together([self.hunt])
        self.together.lay_out([(near, np.append(near[1:], 0.4), {})])
        ascent = self.together.steering()[0]
        assert isinstance(ascent, EntropyAscent)
        self.ascent, trees, self.nodes = ascent, list[int](), list[Node]()
        for k, shell in enumerate(self.hunt.shells):
            there = np.flatnonzero((far >= shell.near) & (far <= shell.far) & (z.argmax(axis=1) == rival))
            for at in there[:4].tolist():  # the point is in its node
                values, span = graph.values(points[at]), shell.span
                assert span is not None
                node = Node.unknown(engine._backward.neurons, None, span.copy())
                assert node.span is not None
                signs = np.concatenate([values[n.source] for n in graph.nodes if isinstance(n, Elementwise)]) > 0
                node.phases = np.where(rng.random(signs.size) < 0.4, np.where(signs, 1, -1), 0).astype(np.int8)
                m, share = self.hunt.claim.margins @ z[at], rng.random(span.shape)
                cut = rng.random(span.shape) < 0.5
                node.span = np.where(cut, share * m + (1 - share) * span, span)
                self.nodes.append(node)
                trees.append(k)
        self.trees = np.array(trees)

    def apart(self) -> float:
        """By how much promises exceed what is proven, at most, and fall short of it."""
        both = self.together.narrowing.at(self.trees, self.nodes)
        laid = self.ascent.lay(self.trees, both[:, 0], both[:, 1])
        self.ascent.lay_spans(np.stack([node.span for node in self.nodes if node.span is not None]))
        phases = np.stack([node.phases for node in self.nodes])
        climbed = self.ascent.climb(laid, phases, self.ascent.fresh(laid), 20, np.full(len(laid), np.inf))
        growth = object.__new__(Forking)
        growth._ascent, growth._laid = self.ascent, laid
        for node, row in zip(self.nodes, growth._numbers(climbed), strict=True):
            node.row = row
        proven = self.together.prove(self.trees, self.nodes)
        assert np.isfinite(proven).all()
        return float(np.abs(climbed.bound - proven).max())


SEVERAL = [pytest.param(s, marks=[] if s < 6 else [pytest.mark.full]) for s in range(60)]


@pytest.mark.parametrize("seed", SEVERAL)
def test_rows_prove_what_the_ascent_promises(seed: int) -> None:
    assert Case(seed).apart() < 1e-4


def narrower(span: Array) -> Secants:
    """Secants of smaller intervals."""
    return HONEST(np.stack([span[:, 0], span[:, 0] + 0.9 * (span[:, 1] - span[:, 0])], axis=1))


HONEST = Secants.of
FAULTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "secants of smaller intervals": lambda at: at.setattr(Secants, "of", narrower),
    "the entropy's own term is dropped": lambda at: at.setattr(
        EntropyAscent, "_offset", lambda self, shell, free: OFFSET(self, shell, free) - free.bend[:, -1]
    ),
    "the tangent moves without its constant": lambda at: at.setattr(
        EntropyAscent, "_offset", lambda self, shell, free: OFFSET(self, shell, self.fresh(shell))
    ),
    "prices of ends are left out": lambda at: at.setattr(
        EntropyAscent,
        "_offset",
        lambda self, shell, free: OFFSET(
            self,
            shell,
            replace(free, bend=np.where(np.arange(free.bend.shape[1]) < free.bend.shape[1] - 1, 0, free.bend)),
        ),
    ),
    "the largest class has no lead": lambda at: at.setattr(
        EntropyAscent, "__init__", lambda self, g, asked, *rest: INIT(self, g, (0 * asked[0], asked[1]), *rest)
    ),
}
OFFSET, INIT = EntropyAscent._offset, EntropyAscent.__init__


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_ascent_parts_it_from_its_rows(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[fault](monkeypatch)
    assert max(Case(seed).apart() for seed in range(1, 4)) > 1e-3


def test_where_a_class_is_the_largest_the_others_bounds_are_cut_to_its_own() -> None:
    rng = np.random.default_rng(0)
    label, largest = rng.integers(0, 4, 500), rng.integers(0, 4, 500)
    t = rng.normal(scale=3.0, size=(500, 4))
    rows = np.arange(500)
    others = np.stack([np.delete(row, k) for row, k in zip(t, label, strict=True)])
    cut = np.minimum(t, t[rows, largest][:, None])
    bound = led(others, t[rows, label], label, largest)
    assert (bound >= logsumexp(cut, axis=1)).all()
    assert np.allclose(bound, logsumexp(cut, axis=1), atol=1e-12)


@pytest.fixture(scope="module")
def iris() -> WdroProblem:
    network, samples = load_network(MODELS / "iris_8x8.onnx"), load_samples(MODELS / "iris_8x8.npz", limit=20)
    return WdroProblem(network, samples, GroundCost(Norm.INF, 1), Support.box(0, 1, 4), Loss.CROSS_ENTROPY, 0.1)


def held(made: Certificate, problem: WdroProblem, trees: Callable[[Tree], Tree]) -> bool:
    """Whether the checker proves a certificate with other trees."""
    proofs = tuple(replace(proof, trees=tuple(map(trees, proof.trees))) for proof in made.proofs)
    return recheck(replace(made, proofs=proofs), problem).proved


def test_trees_with_cuts_of_margins_are_certified(
    iris: WdroProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that the checker sees cuts at other places, levels that are too high, and pieces that are left out."""
    result = verify(iris, gap=1e-4, certificate=True)
    assert result.status.value == "exact"
    assert result.certificate is not None
    write_certificate(tmp_path / "a.cert", result.certificate)
    made = read_certificate(tmp_path / "a.cert")
    for code in (FORKED, TIGHTENED):
        assert any((tree.nodes == code).any() for proof in made.proofs for tree in proof.trees)
    assert held(made, iris, lambda tree: tree)
    assert not held(made, iris, lambda tree: replace(tree, forks=tree.forks - np.array([0.0, 3.0, 3.0])))
    assert not held(
        made, iris, lambda tree: replace(tree, tights=tuple(replace(t, level=t.level + 1) for t in tree.tights))
    )
    verdict = recheck(replace(made, proofs=tuple(proof for proof in made.proofs if not proof.rival)), iris)
    assert not verdict.proved
    assert "largest class" in " ".join(verdict.reasons)


def lower(honest: Callable[..., Array]) -> Callable[..., Array]:
    return lambda *given: honest(*given) - 0.1


@pytest.mark.parametrize(("where", "name"), [(ledger, "entropy_constant"), (tightened, "slack_of")])
def test_a_bound_without_its_constant_is_seen_to_be_wrong(
    where: ModuleType, name: str, iris: WdroProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted in what the engine proves: the checker does not show what is claimed then."""
    monkeypatch.setattr(where, name, lower(getattr(where, name)))
    made = verify(iris, gap=1e-4, certificate=True).certificate
    monkeypatch.undo()
    assert made is not None
    verdict = recheck(made, iris)
    assert not verdict.proved or verdict.upper - verdict.lower > 1e-4
