"""Trees grown by ascent: the truth of tiny networks, whatever single precision says, also out of time or room."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers, raw
from engines.cellwise import ACCURATE, cells_of, true_distance, true_value
from engines.test_cell_engine import questions, truths
from engines.test_take_over import elsewhere, hostile
from oracles import Array
from scipy.special import logsumexp

import wdaverify.engines.cells.engine as engine_module
import wdaverify.engines.cells.growth as growth_module
from wdaverify import recheck, verify
from wdaverify.certify.backward import Backward, Shells
from wdaverify.certify.proof import Proof, Tree
from wdaverify.certify.upper import distance_bounds, margin_bounds
from wdaverify.encoding.cost import Region
from wdaverify.engines.base import Answer, Distance, Effort, Inner
from wdaverify.engines.cells.ascent import Ascent, Climbed, _Slope
from wdaverify.engines.cells.engine import CellEngine, _Hunt
from wdaverify.engines.cells.growth import Growth
from wdaverify.engines.cells.ledger import leaves, prove
from wdaverify.engines.cells.search import Search
from wdaverify.engines.cells.tree import Node, Relaxation
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import GroundCost, LinearRows, Norm
from wdaverify.solvers.lp import LpSession, LpSolution, LpStatus

NORMS = [Norm.INF, Norm.ONE]
PLAIN = Effort(gap=1e-8, seconds=math.inf, seed=0, cutoff=None, start=None)
PROVEN = replace(PLAIN, proof=True)
LAM = 1.5
SEEDS = [pytest.param(s, marks=[] if s < 6 else [pytest.mark.full]) for s in range(40)]
FEW = [pytest.param(s, marks=[] if s < 3 else [pytest.mark.full]) for s in range(40)]


class Counts:
    """What growing did."""

    def __init__(self) -> None:
        self.runs, self.nodes, self.stuck = 0, 0, 0


@pytest.fixture(autouse=True)
def grown(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Trees that can be grown are, from nothing, also where their roots would do; and how much they are."""
    counts, run, searched = Counts(), Growth.run, _Hunt._searched

    def forced(
        self: _Hunt, known: Sequence[Tree], room: float, before: Search | None = None, *, grown: bool = False
    ) -> Search:
        search = searched(self, known, room, None if grown else before, grown=grown)
        search.finished = search.finished and (grown or not self._growable)
        return search

    def counted(self: Growth) -> None:
        before = self.nodes
        run(self)
        counts.runs += 1
        counts.nodes += self.nodes - before
        counts.stuck += len(self.stuck)

    monkeypatch.setattr(engine_module, "_FEW", 0.0)
    monkeypatch.setattr(_Hunt, "_searched", forced)
    monkeypatch.setattr(Growth, "run", counted)
    return counts


@cache
def asked(seed: int, norm: Norm) -> tuple[ReluNetwork, Inner, Distance, float, float]:
    """Questions about a tiny network with their enumerated truths."""
    net, inner, distance = questions(norm, seed)
    return net, inner, distance, *truths(net, inner)


def exact(answer: Answer, truth: float, question: Inner | Distance, near: float = 1e-6, noise: float = 1e-12) -> bool:
    """Whether the bound is on its side of the truth, and close."""
    if isinstance(question, Inner):
        return truth - noise <= answer.bound <= truth + near
    if math.isinf(truth):
        return answer.bound >= question.region.far - near
    return truth - near <= answer.bound <= truth + noise


def valid(answer: Answer, truth: float, question: Inner | Distance) -> bool:
    return exact(answer, truth, question, near=math.inf)


def shown(net: ReluNetwork, question: Inner | Distance, proof: Proof, power: int = 1) -> float:
    """What the leaves of a proof show, outward, by ``Backward`` alone; also that its shells lie end to end."""
    region, backward = question.region, Backward(net.blocks)
    assert (proof.trees[0].near, proof.trees[-1].far) == (region.near, region.far)
    assert all(a.far == b.near for a, b in pairwise(proof.trees))
    functional = np.zeros(net.n_outputs)
    functional[question.rival], functional[question.label] = 1.0, -1.0
    far, price = isinstance(question, Distance), question.multiplier if isinstance(question, Inner) else 1.0
    worst = -math.inf
    for tree in proof.trees:
        ends = np.array([tree.near]), np.array([tree.far])
        shell = Shells.around(region.cost, region.centre[None], region.lower, region.upper, *ends)
        bounds = backward.pre_activations(shell)
        for phases, row in tree.walk(net.n_relus):
            if row < 0:
                nu, (margin, cost) = None, (1.0, 0.0 if far else 1.0)
            else:
                nu, (margin, cost) = tree.vectors[row : row + 1, 2:], tree.vectors[row, :2]
            top = float(
                backward.leaves(
                    max(margin, 0.0) * functional[None],
                    np.array([cost * price]),
                    shell,
                    bounds,
                    phases[None],
                    nu,
                    power=power,
                )[0]
            )
            if cost == 0 and top < 0 and (far or margin == 0):
                continue
            if far:
                least = max(-top, tree.near) if cost == 1 else tree.near
                worst = max(worst, -least if least <= tree.far else -math.inf)
            else:
                worst = max(worst, top if margin == cost == 1 else math.inf)
    return -worst if far else worst


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_the_true_values_and_their_proofs_hold(seed: int, norm: Norm, grown: Counts) -> None:
    net, inner, distance, value, nearest = asked(seed, norm)
    region = inner.region
    again = problem(net, region.centre, [inner.label], norm=norm)
    for question, truth in ((inner, value), (distance, nearest)):
        answer = CellEngine(net).answer(question, PROVEN)
        assert (answer.vouched_by, answer.closed, answer.checked) == ("cells", True, True)
        assert exact(answer, truth, question)
        assert answer.proof is not None
        assert shown(net, question, answer.proof) == pytest.approx(answer.bound, abs=1e-12)
        checker = margin_bounds if question is inner else distance_bounds
        told = checker(again, [answer.proof], *([np.array([LAM])] if question is inner else []))
        assert float(told[0]) == pytest.approx(answer.bound, abs=1e-9)
        for point in answer.points:
            assert ((point >= region.lower) & (point <= region.upper)).all()
    assert grown.runs >= 2


def test_growing_is_what_these_tests_do(grown: Counts) -> None:
    for seed in range(6):
        net, inner, distance, _, _ = asked(seed, Norm.INF)
        CellEngine(net).answer(inner, PLAIN)
        CellEngine(net).answer(distance, PLAIN)
    assert grown.nodes > 100
    assert grown.stuck > 10


def weighted(seed: int, norm: Norm, power: int, n: int = 3) -> tuple[ReluNetwork, Inner, Distance]:
    """Three features, one of them fixed half of the time, weights, and an order."""
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, n, 4, 3, 3))
    weights = np.exp(rng.normal(size=n) * 0.7)
    if seed % 2:
        weights[int(rng.integers(n))] = np.inf
    cost = GroundCost(norm, power, weights)
    x = rng.uniform(size=n)
    label = int(net.forward(x[None])[0].argmax())
    reach = float(cost.distance(np.where(cost.fixed(n), 0.0, np.maximum(x, 1 - x))))
    near = 0.2 * reach if seed % 3 == 0 else 0.0
    region = Region(cost, x, np.zeros(n), np.ones(n), near, reach)
    rival = (label + 1) % 3
    return net, Inner(0, label, rival, region, (), LAM), Distance(0, label, rival, region, ())


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_weights_fixed_features_and_squares(seed: int, norm: Norm, power: int, grown: Counts) -> None:
    """With a near end too: the truth is then that of ``t >= ||x - x_i||``, which a point of the shell need not attain."""
    net, inner, distance = weighted(seed, norm, power)
    cells, functional = cells_of(raw(net), inner.region), np.zeros(3)
    functional[inner.rival], functional[inner.label] = 1.0, -1.0
    value = true_value(cells, inner.region, functional, LAM, power)
    answer = CellEngine(net).answer(inner, PROVEN)
    if inner.region.near == 0:
        assert exact(answer, value, inner, near=1e-6, noise=ACCURATE)
    else:
        points = np.random.default_rng(seed).uniform(size=(20000, 3))
        points[:, inner.region.cost.fixed(3)] = inner.region.centre[inner.region.cost.fixed(3)]
        far = inner.region.cost.distance(points - inner.region.centre)
        points, far = points[far >= inner.region.near], far[far >= inner.region.near]
        seen = float((net.forward(points) @ functional - LAM * far**power).max())
        assert seen - 1e-12 <= answer.bound <= value + 1e-6
    assert answer.closed
    assert answer.proof is not None
    assert shown(net, inner, answer.proof, power) == pytest.approx(answer.bound, abs=1e-12)
    shortest = CellEngine(net).answer(distance, PROVEN)
    truth = true_distance(cells, distance.region, functional)
    assert exact(shortest, truth, distance, noise=ACCURATE) or (distance.region.near > 0 and shortest.bound >= truth)
    assert shortest.proof is not None
    assert shown(net, distance, shortest.proof) == pytest.approx(shortest.bound, abs=1e-12)
    assert grown.runs >= 2


@pytest.mark.parametrize("worth", [1.0, math.inf])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", FEW)
def test_known_trees(seed: int, norm: Norm, worth: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the question, another place, another kind, and noise; grown or by linear programs."""
    monkeypatch.setattr(engine_module, "_WORTH_A_TRY", worth)
    net, inner, distance, value, nearest = asked(seed, norm)
    other, far_off = elsewhere(net, inner, seed)
    donors = [hostile(net.n_relus, seed)]
    for question in (inner, other, distance, far_off):
        for few in (0.0, 1e9):
            monkeypatch.setattr(engine_module, "_FEW", few)
            proof = CellEngine(net).answer(question, replace(PROVEN, gap=0.05 if question is other else 1e-8)).proof
            assert proof is not None
            donors.append(proof.trees)
    monkeypatch.setattr(engine_module, "_FEW", 0.0)
    for known in donors:
        for question, truth in ((inner, value), (distance, nearest)):
            answer = CellEngine(net).answer(question, replace(PROVEN, known=known))
            assert (answer.closed, answer.checked) == (True, True)
            assert exact(answer, truth, question)
            assert answer.proof is not None
            assert shown(net, question, answer.proof) == pytest.approx(answer.bound, abs=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_out_of_time_or_room_is_a_wider_bound_that_says_so(seed: int, norm: Norm) -> None:
    """``closed`` where asking again proves no more: then the value is true, unless the room was what ended it."""
    net, inner, distance, value, nearest = asked(seed, norm)
    for question, truth in ((inner, value), (distance, nearest)):
        for seconds in (0.0, 1e-3, 1e-2):
            answer = CellEngine(net).answer(question, replace(PROVEN, seconds=seconds))
            assert valid(answer, truth, question)
            assert not answer.closed or exact(answer, truth, question)
            assert answer.proof is not None
            assert shown(net, question, answer.proof) == pytest.approx(answer.bound, abs=1e-12)
        for memory in (0.0, 1.0, 5e3, 2e4, 1e6):
            answer = CellEngine(net).answer(question, replace(PROVEN, memory=memory))
            assert answer.closed
            assert valid(answer, truth, question)
            if memory > 0:
                assert exact(answer, truth, question) or "memory" in answer.detail
            assert answer.proof is not None
            assert shown(net, question, answer.proof) == pytest.approx(answer.bound, abs=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_cut_offs_and_gaps(seed: int, norm: Norm) -> None:
    """A cut-off worse than the truth changes nothing; one better than it is all that is shown."""
    net, inner, distance, value, nearest = asked(seed, norm)
    assert exact(CellEngine(net).answer(inner, replace(PLAIN, cutoff=value - 0.1)), value, inner)
    above = CellEngine(net).answer(inner, replace(PLAIN, cutoff=value + 0.1)).bound
    assert value - 1e-12 <= above <= value + 0.1 + 1e-6
    wide = CellEngine(net).answer(inner, replace(PLAIN, gap=0.05))
    assert exact(wide, value, inner, near=0.05 + 1e-6)
    if math.isfinite(nearest):
        assert exact(CellEngine(net).answer(distance, replace(PLAIN, cutoff=nearest + 0.1)), nearest, distance)
        below = CellEngine(net).answer(distance, replace(PLAIN, cutoff=0.5 * nearest)).bound
        assert 0.5 * nearest - 1e-6 <= below <= nearest + 1e-12


# Faults


def too_high(honest: Callable[..., _Slope], rng: np.random.Generator) -> Callable[..., _Slope]:
    def faulty(*given: object) -> _Slope:
        slope = honest(*given)
        return replace(slope, bound=slope.bound + np.float32(1.0))

    return faulty


def too_low(honest: Callable[..., _Slope], rng: np.random.Generator) -> Callable[..., _Slope]:
    def faulty(*given: object) -> _Slope:
        slope = honest(*given)
        return replace(slope, bound=slope.bound - np.float32(0.3))

    return faulty


def no_number(honest: Callable[..., _Slope], rng: np.random.Generator) -> Callable[..., _Slope]:
    def faulty(*given: object) -> _Slope:
        slope = honest(*given)
        return replace(slope, bound=np.where(rng.random(slope.bound.shape) < 0.3, np.float32(np.nan), slope.bound))

    return faulty


def endless(honest: Callable[..., _Slope], rng: np.random.Generator) -> Callable[..., _Slope]:
    def faulty(*given: object) -> _Slope:
        slope = honest(*given)
        return replace(slope, bound=np.where(rng.random(slope.bound.shape) < 0.3, np.float32(np.inf), slope.bound))

    return faulty


def downhill(honest: Callable[..., _Slope], rng: np.random.Generator) -> Callable[..., _Slope]:
    def faulty(*given: object) -> _Slope:
        slope = honest(*given)
        return replace(slope, alpha=-slope.alpha, beta=-slope.beta, price=-slope.price)

    return faulty


def noisy_rows(honest: Callable[..., Climbed], rng: np.random.Generator) -> Callable[..., Climbed]:
    def faulty(*given: object) -> Climbed:
        climbed = honest(*given)
        noise = rng.normal(size=climbed.nu.shape).astype(np.float32) * np.float32(10.0 ** rng.integers(-4, 4))
        return replace(climbed, nu=climbed.nu + noise)

    return faulty


def broken_rows(honest: Callable[..., Climbed], rng: np.random.Generator) -> Callable[..., Climbed]:
    def faulty(*given: object) -> Climbed:
        climbed = honest(*given)
        nu, margin = climbed.nu.copy(), climbed.margin.copy()
        some = rng.random(margin.size) < 0.5
        nu[some] = rng.choice([np.nan, np.inf, -1e38, 0.0])
        margin[some] = rng.choice([np.nan, np.inf, -1.0, 0.0, 7.0])
        return replace(climbed, nu=nu, margin=margin)

    return faulty


def random_splits(honest: Callable[..., Climbed], rng: np.random.Generator) -> Callable[..., Climbed]:
    """Any neuron that is open; sometimes none, although there is one."""

    def faulty(self: Ascent, shell: Array, phases: Array, *given: object) -> Climbed:
        climbed = honest(self, shell, phases, *given)
        score = np.where(phases == 0, rng.random(phases.shape), -1.0)
        split = np.where((phases == 0).any(axis=1) & (rng.random(shell.size) < 0.9), score.argmax(axis=1), -1)
        return replace(climbed, split=split)

    return faulty


def wild_points(honest: Callable[..., Climbed], rng: np.random.Generator) -> Callable[..., Climbed]:
    def faulty(*given: object) -> Climbed:
        climbed = honest(*given)
        return replace(climbed, points=rng.normal(size=climbed.points.shape).astype(np.float32) * 10)

    return faulty


FAULTS = [
    ("_slope", too_high, True),
    ("_slope", too_low, True),
    ("_slope", no_number, False),
    ("_slope", endless, False),
    ("_slope", downhill, True),
    ("climb", noisy_rows, False),
    ("climb", broken_rows, False),
    ("climb", random_splits, True),
    ("climb", wild_points, True),
]


@pytest.mark.parametrize(("where", "fault", "tight"), FAULTS, ids=[fault.__name__ for _, fault, _ in FAULTS])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", FEW)
def test_faults_in_single_precision_cost_time_or_width_and_never_validity(
    seed: int,
    norm: Norm,
    where: str,
    fault: Callable[..., Callable[..., object]],
    tight: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What only steers leaves the value true as well."""
    net, inner, distance, value, nearest = asked(seed, norm)
    monkeypatch.setattr(Ascent, where, fault(getattr(Ascent, where), np.random.default_rng(seed)))
    for question, truth in ((inner, value), (distance, nearest)):
        answer = CellEngine(net).answer(question, replace(PROVEN, gap=1e-4))
        assert valid(answer, truth, question)
        assert not tight or exact(answer, truth, question, near=1e-4 + 1e-6)
        assert answer.proof is not None
        assert shown(net, question, answer.proof) == pytest.approx(answer.bound, abs=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_lying_programs_after_growing(seed: int, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves that got stuck go to linear programs, whose promises are held to their rows as well."""
    net, inner, distance, value, nearest = asked(seed, norm)
    rng, honest = np.random.default_rng(seed), LpSession.solve

    def lying(self: LpSession) -> LpSolution:
        told = honest(self)
        match int(rng.integers(4)):
            case 0 if told.rows is not None:
                return replace(told, rows=told.rows + rng.normal(size=told.rows.size))
            case 1 if told.status is LpStatus.OPTIMAL:
                return replace(told, columns=told.columns + np.abs(rng.normal(size=told.columns.size)) * 10)
            case 2:
                return replace(told, status=LpStatus.CUT_OFF)
        return told

    monkeypatch.setattr(LpSession, "solve", lying)
    for question, truth in ((inner, value), (distance, nearest)):
        answer = CellEngine(net).answer(question, PROVEN)
        assert valid(answer, truth, question)
        assert answer.proof is not None
        assert shown(net, question, answer.proof) == pytest.approx(answer.bound, abs=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_networks_that_overflow_single_precision(seed: int, norm: Norm) -> None:
    """Layers scaled by powers of two, which changes no value: what single precision cannot hold is left to linear programs."""
    net, inner, distance, value, nearest = asked(seed, norm)
    (one, a), (two, b), (three, c) = raw(net)
    for size in (2.0**20, 2.0**40, 2.0**50, 2.0**66,2.0**-20,2.0**-40, 2.0**-66):
        large = network((one * size, a * size), (two * size, b * size**2), (three / size**2, c))
        for question, truth in ((inner, value), (distance, nearest)):
            answer = CellEngine(large).answer(question, PROVEN)
            assert valid(answer, truth, question)
            print(size, answer.vouched_by, exact(answer, truth, question), answer.bound, truth, answer.nodes)
            assert answer.proof is None or all(np.isfinite(tree.vectors).all() for tree in answer.proof.trees)
