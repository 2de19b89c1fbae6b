"""Trees that are taken over: the same value as without them, whatever they say and wherever they come from."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers
from engines.test_cell_engine import NORMS, PLAIN, SEEDS, questions, truths

import wdaverify.engines.cells.hunt as hunt_module
import wdaverify.wdro.pricing as pricing
from wdaverify import verify
from wdaverify.certify.leaf_row import Layout
from wdaverify.certify.proof import BARE, WRITTEN, Tree
from wdaverify.engines.base import Distance, Effort, Inner
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.cells.ledger import root_of, tree_of
from wdaverify.engines.screening import Screen
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import Norm
from wdaverify.solvers.lp import LpSession, LpSolution
from wdaverify.wdro.trees import Trees

GROWN = replace(PLAIN, proof=True)


def trees_of(net: ReluNetwork, question: Inner | Distance, effort: Effort = GROWN) -> tuple[Tree, ...]:
    proof = CellEngine(net).answer(question, effort).proof
    assert proof is not None
    return proof.trees


def elsewhere(net: ReluNetwork, inner: Inner, seed: int) -> tuple[Inner, Distance]:
    """The same label and rival around another point."""
    x = np.random.default_rng(100 + seed).uniform(size=2)
    screen = Screen(problem(net, x, [inner.label], norm=inner.region.norm))
    region = screen.shell(0, 0.0, float(screen.reach[0]))
    return replace(inner, region=region, multiplier=0.7), Distance(0, inner.label, inner.rival, region, ())


def hostile(neurons: int, seed: int) -> tuple[Tree, ...]:
    """A tree of random phases whose rows are noise, some of them missing, over an interval that fits nothing."""
    rng = np.random.default_rng(seed)
    nodes, rows = [], []

    def grow(free: list[int]) -> None:
        if len(free) > neurons - 3 and free:
            neuron = int(rng.choice(free))
            nodes.append(neuron)
            for _ in range(2):
                grow([k for k in free if k != neuron])
        elif rng.random() < 0.3:
            nodes.append(BARE)
        else:
            nodes.append(WRITTEN)
            row = rng.normal(size=2 + neurons) * 10.0 ** rng.integers(-3, 4)
            row[:2] = rng.integers(0, 2, 2)
            rows.append(row)

    grow(list(range(neurons)))
    vectors = np.array(rows) if rows else np.zeros((0, 2 + neurons))
    return (Tree(0.13, 0.61, np.array(nodes, np.int32), vectors),)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_trees_as_nodes_and_back(seed: int, norm: Norm) -> None:
    net, inner, _ = questions(norm, seed)
    for tree in (*trees_of(net, inner), *hostile(net.canonical.neurons, seed)):
        again = tree_of(root_of(tree, net.canonical.neurons)[0], tree.near, tree.far, Layout(net.canonical.neurons))
        np.testing.assert_array_equal(again.nodes, tree.nodes)
        np.testing.assert_array_equal(again.vectors, tree.vectors)


@pytest.mark.parametrize("worth", [1.0, math.inf])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_values_are_the_true_ones(seed: int, norm: Norm, worth: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a try of its own first (worth 1) and without; trees of the question, another place, another kind, and noise."""
    monkeypatch.setattr(hunt_module, "_WORTH_A_TRY", worth)
    net, inner, distance = questions(norm, seed)
    value, nearest = truths(net, inner)
    other, far_off = elsewhere(net, inner, seed)
    donors = [trees_of(net, q) for q in (inner, other, distance, far_off)] + [hostile(net.canonical.neurons, seed)]
    for known in donors:
        effort = replace(GROWN, known=known)
        answer = CellEngine(net).answer(inner, effort)
        assert (answer.closed, answer.checked) == (True, True)
        assert value - 1e-12 <= answer.bound <= value + 1e-6
        assert answer.proof is not None
        shells = answer.proof.trees
        assert (shells[0].near, shells[-1].far) == (inner.region.near, inner.region.far)
        assert all(a.far == b.near for a, b in pairwise(shells))
        shortest = CellEngine(net).answer(distance, effort)
        if math.isinf(nearest):
            assert shortest.bound >= inner.region.far - 1e-6
        else:
            assert nearest - 1e-6 <= shortest.bound <= nearest + 1e-12


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_search_goes_on_where_it_ended(seed: int, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a search without the time or room to branch left behind is valid, and enough to go on from."""
    net, inner, _ = questions(norm, seed)
    value, _ = truths(net, inner)
    cut = CellEngine(net).answer(inner, replace(GROWN, memory=0.0))
    assert cut.bound >= value - 1e-12
    assert cut.proof is not None
    solved: list[int] = []
    honest = LpSession.solve

    def counted(self: LpSession) -> LpSolution:
        solved.append(1)
        return honest(self)

    monkeypatch.setattr(LpSession, "solve", counted)
    first = CellEngine(net).answer(inner, GROWN)
    alone = len(solved)
    solved.clear()
    assert first.proof is not None
    again = CellEngine(net).answer(inner, replace(GROWN, cutoff=first.bound, known=first.proof.trees))
    assert len(solved) <= alone
    on = CellEngine(net).answer(inner, replace(GROWN, known=cut.proof.trees))
    for answer in (again, on):
        assert value - 1e-12 <= answer.bound <= value + 1e-6


def test_a_whole_tree_is_not_grown_again(monkeypatch: pytest.MonkeyPatch) -> None:
    net, inner, _ = questions(Norm.INF, 1)
    first = CellEngine(net).answer(inner, GROWN)
    assert first.proof is not None
    monkeypatch.setattr(hunt_module, "_WORTH_A_TRY", math.inf)
    again = CellEngine(net).answer(inner, replace(GROWN, cutoff=first.bound + 1e-6, known=first.proof.trees))
    assert again.nodes == 0
    assert again.bound <= first.bound + 2e-6


def test_samples_of_one_label_share_trees() -> None:
    """With trees and without them a run has the same value, and the certificate of the shared ones holds."""
    rng = np.random.default_rng(3)
    net = network(*random_layers(rng, 2, 8, 8, 3))
    x = rng.uniform(size=(6, 2))
    y = net.forward(x).argmax(axis=1)
    asked = problem(net, x, y.tolist(), radius=0.05)
    shared = verify(asked, jobs=None, gap=1e-6, certificate=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing.Trees, "of", lambda self, item, group: ())
        alone = verify(asked, jobs=None, gap=1e-6)
    assert shared.status == alone.status == "exact"
    assert max(shared.lower, alone.lower) <= min(shared.upper, alone.upper)
    assert shared.vouched_upper == "proved"


def test_trees_make_room() -> None:
    tree = trees_of(*questions(Norm.INF, 1)[:2])
    size = sum(t.vectors.nbytes + t.nodes.nbytes for t in tree)
    net, inner, _ = questions(Norm.INF, 1)
    proof = CellEngine(net).answer(inner, GROWN).proof
    kept = Trees(room=3.5 * size)
    for item in range(5):
        kept.keep(item, (0, item % 2), proof)
    assert kept.of(4, (7, 7)) is not None
    assert len(kept.of(4, (7, 7))) == len(tree)
    assert kept.of(0, (7, 7)) == ()
    kept.keep(9, (0, 0), None)
    assert kept.of(9, (8, 8)) == ()
    small = Trees(room=1.5 * size)  # what would take most of the room does not drive out the rest
    small.keep(1, None, proof)
    assert small.of(1, None) == ()
    alone = Trees()
    alone.keep(3, None, proof)
    assert len(alone.of(3, None)) == len(tree)
    assert alone.of(4, None) == alone.of(4, (0, 0)) == ()
