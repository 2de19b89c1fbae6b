"""Trees that halve inputs among neurons, in any order: the truth of tiny networks, proofs that hold, and faults that are seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bounds.tiny import problem, raw
from engines.cellwise import ACCURATE, cells_of, true_distance, true_value
from engines.test_growth import LAM, PROVEN, asked, exact, shown, weighted
from engines.test_take_over import elsewhere
from oracles import Array

import wdaverify.engines.cells.halving as halving
import wdaverify.engines.cells.hunt as hunt_module
from wdaverify import read_certificate, recheck, verify, write_certificate
from wdaverify.certify.proof import HALVED, Proof
from wdaverify.certify.upper import distance_bounds, margin_bounds
from wdaverify.encoding.cost import Region
from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Distance, Inner
from wdaverify.engines.cells.ascent import Multipliers
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.cells.halving import Halver
from wdaverify.engines.cells.tree import Node
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import GroundCost, Loss, Norm, Support, WdroProblem
from wdaverify.samples import make_samples

NORMS = [Norm.INF, Norm.ONE, Norm.TWO]
SEEDS = [pytest.param(s, marks=[] if s < 1 else [pytest.mark.full]) for s in range(40)]


@pytest.fixture(autouse=True)
def mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves are halved by chance, whatever they are, as long as some side of their part is open."""
    rng, rooms = np.random.default_rng(0), halving._Rooms

    def wanted(self: Halver, trees: Ints, nodes: Sequence[Node]) -> Array:
        moving = rooms.of(self._narrowing.places(trees, nodes)).moving.any(axis=1)
        cuts = np.array([0 if node.part is None else int(np.isfinite(node.part).sum()) for node in nodes])
        return np.asarray(moving & (cuts < 4) & (rng.random(len(nodes)) < 0.6))

    monkeypatch.setattr(Halver, "wanted", wanted)


def halved(proof: Proof | None) -> int:
    """How often a proof halves."""
    assert proof is not None
    return sum(int((tree.nodes == HALVED).sum()) for tree in proof.trees)


def check(net: ReluNetwork, question: Inner | Distance, truth: float, power: int = 1, noise: float = 1e-12) -> int:
    """Answer, and hold the proof to the checker's passes; how often it halves."""
    answer = CellEngine(net).answer(question, PROVEN)
    assert (answer.closed, answer.checked) == (True, True)
    assert exact(answer, truth, question, near=1e-6, noise=noise)
    assert answer.proof is not None
    assert shown(net, question, answer.proof, power) == pytest.approx(answer.bound, abs=1e-9)
    region = question.region
    assert all(((point >= region.lower) & (point <= region.upper)).all() for point in answer.points)
    return halved(answer.proof)


@pytest.mark.parametrize("norm", NORMS[:2])
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_the_true_values_and_the_checker_finds_them(seed: int, norm: Norm) -> None:
    net, inner, distance, value, nearest = asked(seed, norm)
    again = problem(net, inner.region.centre, [inner.label], norm=norm)
    assert check(net, inner, value) + check(net, distance, nearest) > 0
    for question in (inner, distance):
        answer = CellEngine(net).answer(question, PROVEN)
        assert answer.proof is not None
        checker = margin_bounds if question is inner else distance_bounds
        told = checker(again, [answer.proof], *([np.array([LAM])] if question is inner else []))[0]
        assert float(told[0]) == pytest.approx(answer.bound, abs=1e-9)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_weights_fixed_features_squares_and_l2(seed: int, norm: Norm, power: int) -> None:
    net, inner, distance = weighted(seed, norm, power)
    inner, distance = (replace(q, region=replace(q.region, near=0.0)) for q in (inner, distance))
    functional = np.zeros(3)
    functional[inner.rival], functional[inner.label] = 1.0, -1.0
    cells = cells_of(raw(net), inner.region)
    assert check(net, inner, true_value(cells, inner.region, functional, LAM, power), power, ACCURATE) > 0
    assert check(net, distance, true_distance(cells, distance.region, functional), noise=ACCURATE) >= 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_balls_without_a_box_and_without_a_price(seed: int, norm: Norm) -> None:
    """As order inf asks on the whole space: what moves is the ball's."""
    net, inner, _ = weighted(seed, norm, 1)
    region = inner.region
    wide = Region(region.cost, region.centre, np.full(3, -math.inf), np.full(3, math.inf), 0.0, 0.4)
    question = replace(inner, region=wide, multiplier=0.0)
    functional = np.zeros(3)
    functional[inner.rival], functional[inner.label] = 1.0, -1.0
    reach = np.where(wide.cost.fixed(3), 0.0, 0.4 / wide.cost.scale(3))
    boxed = replace(wide, lower=wide.centre - reach, upper=wide.centre + reach)
    truth = true_value(cells_of(raw(net), boxed), boxed, functional, 0.0, 1)
    assert check(net, question, truth, noise=ACCURATE) > 0


@pytest.mark.parametrize("worth", [1.0, math.inf])
@pytest.mark.parametrize("norm", NORMS[:2])
@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.full) for s in range(1, 20))])
def test_trees_are_taken_over_at_other_multipliers_and_samples(
    seed: int, norm: Norm, worth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cuts stay where they are in space; the part that they leave of another sample's shell may be empty."""
    monkeypatch.setattr(hunt_module, "_WORTH_A_TRY", worth)
    net, inner, distance, value, nearest = asked(seed, norm)
    other, far_off = elsewhere(net, inner, seed)
    for donor in (inner, replace(inner, multiplier=3 * LAM), other, distance, far_off):
        proof = CellEngine(net).answer(donor, replace(PROVEN, gap=0.05 if donor is other else 1e-8)).proof
        assert proof is not None
        for question, truth in ((inner, value), (distance, nearest)):
            answer = CellEngine(net).answer(question, replace(PROVEN, known=proof.trees))
            assert answer.closed
            assert exact(answer, truth, question)
            assert answer.proof is not None
            assert shown(net, question, answer.proof) == pytest.approx(answer.bound, abs=1e-9)


@pytest.mark.parametrize("norm", NORMS[:2])
@pytest.mark.parametrize("seed", SEEDS)
def test_out_of_time_or_room_is_a_wider_bound(seed: int, norm: Norm) -> None:
    net, inner, distance, value, nearest = asked(seed, norm)
    for question, truth in ((inner, value), (distance, nearest)):
        for effort in (replace(PROVEN, seconds=1e-3), replace(PROVEN, seconds=2e-2), replace(PROVEN, memory=5e3)):
            answer = CellEngine(net).answer(question, effort)
            assert exact(answer, truth, question, near=math.inf)
            assert answer.proof is not None
            assert shown(net, question, answer.proof) == pytest.approx(answer.bound, abs=1e-9)


def test_certificates_of_whole_runs_hold(tmp_path: Path) -> None:
    """The checker reads them and finds the value, with what is needless gone, too."""
    found = 0
    for seed, loss in ((0, Loss.MARGIN), (1, Loss.ZERO_ONE), (2, Loss.MARGIN)):
        net, inner, _, _, _ = asked(seed, Norm.INF)
        samples = make_samples(np.random.default_rng(seed).uniform(size=(3, 2)), np.array([0, 1, inner.label]))
        question = WdroProblem(net, samples, GroundCost(Norm.INF, 1), Support.box(0, 1, 2), loss, 0.1)
        result = verify(question, certificate=True)
        assert result.certificate is not None
        write_certificate(tmp_path / "c", result.certificate)
        verdict = recheck(read_certificate(tmp_path / "c"), question)
        assert verdict.proved
        assert verdict.upper == pytest.approx(result.upper, abs=1e-6)
        found += sum(map(halved, result.certificate.proofs))
    assert found > 0


# Faults


def swapped(node: Node, halves: list[Node]) -> None:
    """A half has the other's box."""
    halves[0].part, halves[1].part = halves[1].part, halves[0].part


def lost(node: Node, halves: list[Node]) -> None:
    """A half is taken for one without a point."""
    halves[1].bound, halves[1].row, halves[1].held = math.inf, None, True


def narrowed(node: Node, halves: list[Node]) -> None:
    """The bounds of a half are not outward."""
    for half in halves:
        assert half.bounds is not None
        middle, width = 0.5 * half.bounds.sum(axis=0), 0.25 * (half.bounds[1] - half.bounds[0])
        if not half.held:
            half.bounds = np.stack([middle - width, middle + width])


@pytest.mark.parametrize("fault", [swapped, lost, narrowed])
def test_faults_are_seen(fault: Callable[[Node, list[Node]], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """What an answer says, and what the passes of the checker find in its proof, differ."""
    honest = Halver.halve

    def faulty(self: Halver, trees: Ints, nodes: Sequence[Node], numbers: Ints, free: Multipliers) -> list[Node]:
        halves = honest(self, trees, nodes, numbers, free)
        for k, node in enumerate(nodes):
            fault(node, halves[2 * k : 2 * k + 2])
        return halves

    monkeypatch.setattr(Halver, "halve", faulty)
    seen = 0
    for seed in range(4):
        net, inner, _, _, _ = asked(seed, Norm.INF)
        answer = CellEngine(net).answer(inner, replace(PROVEN, seconds=1.0))
        assert answer.proof is not None
        seen += shown(net, inner, answer.proof) > answer.bound + 1e-6
    assert seen > 0
