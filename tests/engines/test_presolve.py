"""Questions put to the neurons that their region leaves open: the same answers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers
from engines.test_cell_engine import NORMS, PLAIN, questions, truths

import wdaverify.engines.cells.engine as engine_module
from wdaverify import make_samples, verify
from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.proof import Tree
from wdaverify.certify.upper import distance_bounds
from wdaverify.encoding.cost import Region
from wdaverify.encoding.milp import MilpModel
from wdaverify.engines import mip
from wdaverify.engines.base import Distance, Inner
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.cells.presolve import Presolved, presolve
from wdaverify.engines.mip import MipEngine
from wdaverify.engines.screening import Screen
from wdaverify.graph import settled as rule
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import GroundCost, Loss, Norm, Support, WdroProblem
from wdaverify.solvers.base import MilpLimits, MilpOutcome
from wdaverify.wdro.result import Status

SEEDS = [*range(3), *(pytest.param(s, marks=pytest.mark.full) for s in range(3, 60))]
GROWN = replace(PLAIN, proof=True)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[Presolved]:
    """Whatever the size; what was presolved."""
    seen, honest = list[Presolved](), presolve

    def kept(graph: Graph, backward: Backward, region: Region) -> tuple[Presolved | None, HiddenBounds]:
        found = honest(graph, backward, region)
        seen.extend([] if found[0] is None else [found[0]])
        return found

    monkeypatch.setattr(rule, "_NEURONS", 0)
    monkeypatch.setattr(rule, "_SHARE", 1)
    monkeypatch.setattr(engine_module, "presolve", kept)
    return seen


def around(seed: int, norm: Norm) -> tuple[ReluNetwork, Distance, float]:
    """A question in a ball that ends a little beyond the nearest error, or before it; and that error's distance."""
    net, inner, distance = questions(norm, seed)
    nearest = truths(net, inner)[1]
    far = distance.region.far if math.isinf(nearest) else nearest * (1.25 if seed % 3 else 0.8)
    region = replace(distance.region, far=min(far, distance.region.far))
    return net, replace(distance, region=region), nearest


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_the_true_ones(seed: int, norm: Norm, always: list[Presolved]) -> None:
    net, question, nearest = around(seed, norm)
    answer = CellEngine(net).answer(question, GROWN)
    assert len(always) == 1
    assert answer.checked
    if nearest > question.region.far:
        assert answer.bound >= question.region.far - 1e-6
    else:
        assert nearest - 1e-6 <= answer.bound <= nearest + 1e-12
    again = CellEngine(net).answer(question, replace(GROWN, known=() if answer.proof is None else answer.proof.trees))
    assert answer.bound - 1e-9 <= again.bound <= nearest + 1e-12
    assert again.nodes <= answer.nodes


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("seed", SEEDS)
def test_margins_in_balls_of_their_own(
    seed: int, norm: Norm, entropy: bool, always: list[Presolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At order inf, of every loss; at order 1 they are asked of all neurons."""
    net, inner, _ = questions(Norm.INF, seed)
    region = replace(inner.region, cost=GroundCost(norm, math.inf), far=0.1)
    question = replace(inner, region=region, multiplier=0.0, entropy=entropy)
    effort = replace(PLAIN, gap=1e-4 if entropy else 1e-7)
    found = CellEngine(net).answer(question, effort)
    assert len(always) == 1
    CellEngine(net).answer(replace(question, region=replace(region, cost=GroundCost(norm, 1))), effort)
    assert len(always) == 1
    monkeypatch.setattr(engine_module, "presolve", lambda *_: (None, None))
    plain = CellEngine(net).answer(question, effort)
    assert found.closed is plain.closed is True
    assert found.bound == pytest.approx(plain.bound, abs=2 * effort.gap)


def test_neurons_fall_away(always: list[Presolved]) -> None:
    for seed in range(12):
        net, question, _ = around(seed, Norm.INF)
        CellEngine(net).answer(question, PLAIN)
        tiny = replace(question.region, far=1e-3 * question.region.far)
        assert CellEngine(net).answer(replace(question, region=tiny), PLAIN).bound >= tiny.far - 1e-12
    assert all(found.graph.neurons == found.open.size for found in always)
    assert any(0 < found.open.size < found.neurons for found in always)
    assert any(not found.open.size for found in always)


def test_small_networks_have_it_whole(always: list[Presolved], monkeypatch: pytest.MonkeyPatch) -> None:
    net, question, _ = around(1, Norm.INF)
    monkeypatch.setattr(rule, "_NEURONS", 256)
    CellEngine(net).answer(question, GROWN)
    assert not always


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_proofs_are_of_the_whole_network(seed: int, norm: Norm, always: list[Presolved]) -> None:
    """What is left is searched, and a checker that knows nothing of it finds the same bound."""
    net, question, nearest = around(seed, norm)
    region = question.region
    answer = CellEngine(net).answer(question, replace(GROWN, whole=True))
    assert len(always) == 1
    assert answer.proof is not None
    proof = replace(answer.proof, sample=0)
    samples = make_samples(region.centre[None], np.array([question.label]))
    support = Support(np.minimum(region.lower, region.centre), np.maximum(region.upper, region.centre))
    asked = WdroProblem(net, samples, GroundCost(norm, math.inf), support, Loss.ZERO_ONE, region.far)
    found = float(distance_bounds(asked, [proof])[0][0])
    assert min(found, region.far) >= min(answer.bound, region.far) - 1e-9
    assert found <= nearest + 1e-12 or nearest > region.far


def test_rows_are_filled(always: list[Presolved], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what settled neurons hand on proofs say less: some is lost."""
    lost = 0
    monkeypatch.setattr(Presolved, "_filled", lambda _, rows, functional: rows)
    for seed in range(6):
        try:
            test_proofs_are_of_the_whole_network(seed, Norm.INF, always)
        except AssertionError:
            lost += 1
        always.clear()
    assert lost


@pytest.mark.parametrize("norm", NORMS)
def test_bounds_on_the_region_are_found_once(
    norm: Norm, always: list[Presolved], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where too much is left for it to pay they are those of the one shell that a distance is asked on: the same answer."""
    monkeypatch.setattr(rule, "_SHARE", math.inf)
    honest, count = Backward.pre_activations, list[int]()

    def counted(self: Backward, shells: Shells, *rest: object) -> HiddenBounds:
        count.append(len(shells))
        return honest(self, shells, *rest)  # type: ignore[arg-type]

    for seed in range(3):
        net, question, _ = around(seed, norm)
        with monkeypatch.context() as patched:
            patched.setattr(Backward, "pre_activations", counted)
            answer = CellEngine(net).answer(question, PLAIN)
        assert not always
        assert count == [1]
        count.clear()
        with monkeypatch.context() as patched:
            patched.setattr(rule, "_NEURONS", 256)
            assert CellEngine(net).answer(question, PLAIN).bound == answer.bound


def test_trees_are_widened_and_narrowed_back(always: list[Presolved]) -> None:
    some = False
    for seed in range(12):
        net, question, _ = around(seed, Norm.ONE)
        proof = CellEngine(net).answer(question, GROWN).proof
        assert proof is not None
        (found,) = always
        always.clear()
        for tree in proof.trees:
            assert tree.vectors.shape[1] == 2 + net.canonical.neurons
            assert {*tree.nodes[tree.nodes >= 0].tolist()} <= {*found.open.tolist()}
            small = found.narrowed(tree)
            assert small is not None
            some |= bool((small.nodes >= 0).any() or small.tights)
            wide = Presolved._of(small, found.open, found._spread)
            for a, b in zip((*tree.tights, tree), (*wide.tights, wide), strict=True):
                for name in ("nodes", "vectors") if isinstance(a, Tree) else ("at", "weight", "slopes", "beta"):
                    np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        settled = np.setdiff1d(np.arange(net.canonical.neurons), found.open)
        if settled.size:
            split = Tree(0.0, 1.0, np.array([settled[0], -1, -1], np.int32), np.zeros((0, 2 + net.canonical.neurons)))
            assert found.narrowed(split) is None
        assert found.narrowed(Tree.bare(0.0, 1.0, net.canonical.neurons + 1)) is None
    assert some


@pytest.mark.parametrize("order", [1.0, math.inf])
@pytest.mark.parametrize("seed", SEEDS)
def test_whole_values(seed: int, order: float, always: list[Presolved], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside those of every neuron."""
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 6, 5, 3))
    x = rng.uniform(size=(4, 2))
    asked = replace(problem(net, x, rng.integers(0, 3, size=4).tolist(), norm=Norm.INF), loss=Loss.ZERO_ONE, radius=0.1)
    asked = replace(asked, cost=replace(asked.cost, order=order))
    found = verify(asked)
    monkeypatch.setattr(engine_module, "presolve", lambda *_: (None, None))
    plain = verify(asked)
    assert found.status is plain.status is Status.EXACT
    assert max(found.lower, plain.lower) <= min(found.upper, plain.upper) + 1e-9
    if order == 1:
        proven = verify(asked, certificate=True)
        assert proven.certificate is not None
        assert proven.upper <= plain.upper + 2e-6


@pytest.mark.parametrize("solver", ["highs", "gurobi"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_integer_programs_of_what_is_left(seed: int, norm: Norm, solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers by smaller programs, from starts too."""
    net, question, nearest = around(seed, norm)
    x, far = question.region.centre, question.region.far
    region, bounds, _ = Screen(problem(net, x, [question.label], norm=norm)).region(0, 0.0, far)
    inner = Inner(0, question.label, question.rival, region, bounds, 1.5)
    distance = replace(question, region=region, bounds=bounds)
    honest, sizes = mip.solve, list[tuple[int, int]]()

    def counted(asked: str, model: MilpModel, limits: MilpLimits) -> tuple[str, MilpOutcome]:
        sizes.append((model.n_columns, int(model.integer.sum())))
        return honest(asked, model, limits)

    monkeypatch.setattr(mip, "solve", counted)
    engine, efforts = MipEngine(net, solver), (PLAIN, replace(PLAIN, start=x), replace(PLAIN, start=region.upper))
    plain = [engine.answer(q, e).bound for q in (inner, distance) for e in efforts]
    before = sizes.copy()
    monkeypatch.setattr(rule, "_NEURONS", 0)
    monkeypatch.setattr(rule, "_SHARE", 1)
    left = [engine.answer(q, e).bound for q in (inner, distance) for e in efforts]
    np.testing.assert_allclose(left, plain, rtol=0, atol=1e-6)
    assert left[3] <= nearest + 1e-6 or nearest > far
    assert all(a[1] == b[1] and a[0] <= b[0] for a, b in zip(sizes[len(before) :], before, strict=True))


def _smaller(graph: Graph, backward: Backward, region: Region) -> tuple[Presolved | None, HiddenBounds]:
    return presolve(graph, backward, replace(region, far=region.far / 8))


def test_a_planted_fault_is_noticed(always: list[Presolved], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neurons that are settled on a smaller ball than the question's."""
    monkeypatch.setattr(engine_module, "presolve", _smaller)

    def look() -> None:
        for seed in range(12):
            net, question, nearest = around(seed, Norm.INF)
            bound = CellEngine(net).answer(question, PLAIN).bound
            assert bound <= nearest + 1e-12

    with pytest.raises(AssertionError):
        look()
