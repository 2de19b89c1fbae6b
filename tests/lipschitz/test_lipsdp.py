"""LipSDP against gradients, hand-solved inequalities and the cells of a box; and that only the proof vouches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from bounds.tiny import network, random_layers, raw
from lipschitz.tangents import dual, jacobians
from oracles import Array, enumerate_cells

from wdaverify.ground import GroundCost, Norm
from wdaverify.lipschitz import lipsdp as module
from wdaverify.lipschitz.layers import Enclosed
from wdaverify.lipschitz.lipsdp import MOST_RELUS, LipSdp
from wdaverify.lipschitz.multipliers import Inequality
from wdaverify.lipschitz.norms import product_of_norms as product_over
from wdaverify.network.model import ReluNetwork

L2 = GroundCost(Norm.TWO, 1)
MARGINS = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])


def lipsdp(net: ReluNetwork, rows: Array, cost: GroundCost, *, deadline: float = math.inf) -> LipSdp:
    return module.lipsdp(net.layers, rows, cost, deadline=deadline)


def product_of_norms(net: ReluNetwork, rows: Array, cost: GroundCost) -> Array:
    return product_over(net.layers, rows, cost)


def exact(matrix: object) -> Enclosed:
    mid = np.array(matrix, dtype=float)
    return Enclosed(mid, np.zeros_like(mid))


def one_neuron(w1: list[float], w2: float) -> ReluNetwork:
    return network((np.array([w1]), np.array([0.3])), (np.array([[w2]]), np.zeros(1)))


def random_network(seed: int) -> ReluNetwork:
    rng = np.random.default_rng(seed)
    return network(*random_layers(rng, 1 + seed % 3, *rng.integers(1, 7, size=1 + seed % 2).tolist(), 3))


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("seed", range(8))
def test_above_every_gradient(norm: Norm, seed: int) -> None:
    net, rng = random_network(seed), np.random.default_rng(100 + seed)
    weights = np.where(rng.random(net.n_inputs) < 0.3, math.inf, rng.uniform(0.2, 5, net.n_inputs))
    rows = np.vstack([MARGINS, rng.normal(size=(1, 3))])
    answer = lipsdp(net, rows, GroundCost(norm, 1, weights))
    gradients = rows @ jacobians(raw(net), rng.normal(size=(3000, net.n_inputs)) * 3)
    steepest = dual(gradients, norm.value, weights).max(axis=0)
    assert (answer.constants >= steepest).all()
    assert (answer.solved, answer.why) == (3, "")
    if norm is Norm.TWO:
        product = product_of_norms(net, rows, GroundCost(norm, 1, weights))
        assert (answer.constants <= product * (1 + 1e-5)).all()


@pytest.mark.parametrize("seed", range(4))
def test_above_every_cell(seed: int) -> None:
    """No cell of a box, sampled or not, has a steeper gradient."""
    net = random_network(seed)
    cells = enumerate_cells(raw(net), np.full(net.n_inputs, -3.0), np.full(net.n_inputs, 3.0))
    steepest = np.max([np.linalg.norm(MARGINS @ cell.G, axis=1) for cell in cells], axis=0)
    assert (lipsdp(net, MARGINS, L2).constants >= steepest).all()


def test_one_relu_is_exact() -> None:
    answer = lipsdp(one_neuron([3.0, -4.0], -2.5), np.array([[2.0], [-4.0], [0.0]]), L2)
    assert answer.constants[:2] == pytest.approx([25.0, 50.0], rel=1e-6)
    assert (answer.constants[:2] >= [25.0, 50.0]).all()
    assert answer.constants[2] == 0
    scaled = lipsdp(one_neuron([3.0, -4.0], -2.5), np.ones((1, 1)), GroundCost(Norm.INF, 1, np.array([0.5, math.inf])))
    assert scaled.constants == pytest.approx([15.0], rel=1e-6)


def test_opposed_neurons_are_told_apart() -> None:
    """``relu(x) + relu(-x)`` has constant 1, which the product of norms doubles; diagonal multipliers see it."""
    net = network((np.array([[1.0], [-1.0]]), np.zeros(2)), (np.array([[1.0, 1.0]]), np.zeros(1)))
    assert product_of_norms(net, np.ones((1, 1)), L2) == pytest.approx([2.0], rel=1e-8)
    answer = lipsdp(net, np.ones((1, 1)), L2)
    assert 1 <= answer.constants[0] <= 1 + 1e-4


def test_no_hidden_layer_is_the_dual_norm() -> None:
    rng = np.random.default_rng(3)
    weight, bias = random_layers(rng, 6, 3)[0]
    for norm in Norm:
        answer = lipsdp(network((weight, bias)), MARGINS, GroundCost(norm, 1))
        assert answer.constants == pytest.approx(dual(MARGINS @ weight, norm.value, np.ones(6)), rel=1e-12)


# The proof


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_proves_the_hand_solved_case_and_nothing_less(scale: float) -> None:
    """One neuron, g = 3 and w = 2: with T = 9 the inequality ``18 - 324 / rho2 - 9 >= 0`` holds from 36 on."""
    inequality = Inequality.of([exact([[2.0 * scale]])], exact([3.0]))
    t, rho2 = [np.array([9.0])], 36.0 * scale**2
    assert inequality.proves(rho2 * (1 + 1e-12), t)
    assert not inequality.proves(rho2 * (1 - 1e-12), t)
    assert not inequality.proves(rho2 * 0.99, t)
    assert not inequality.proves(rho2 * (1 + 1e-12), [np.array([4.5])])
    assert not inequality.proves(rho2 * (1 + 1e-12), [np.array([-9.0])])
    assert not inequality.proves(rho2 * (1 + 1e-12), [np.array([math.nan])])
    assert not inequality.proves(-rho2, t)
    assert not inequality.proves(math.inf, t)


@pytest.mark.parametrize("seed", range(6))
def test_proves_no_less_than_a_gradient(seed: int) -> None:
    """Whatever the multipliers: what is proven is never below the steepest gradient seen."""
    net, rng = random_network(2 * seed + 1), np.random.default_rng(seed)
    layers = raw(net)
    steepest = np.linalg.norm(MARGINS[0] @ jacobians(layers, rng.normal(size=(3000, net.n_inputs))), axis=1).max()
    inequality = Inequality.of([exact(w) for w, _ in layers[:-1]], exact(MARGINS[0] @ layers[-1][0]))
    for _ in range(200):
        multipliers = [np.exp(rng.normal(size=len(w)) * 3) for w, _ in layers[:-1]]
        assert not inequality.proves((steepest * 0.999) ** 2, multipliers)
        assert inequality.bound(multipliers) >= steepest**2


def test_weight_error_is_paid_for() -> None:
    """Off by its error in the worst direction, the hand-solved case has a larger constant: nothing below is proven."""
    first, last = Enclosed(np.array([[2.0]]), np.array([[0.1]])), Enclosed(np.array([3.0]), np.array([0.1]))
    inequality, t = Inequality.of([first], last), [np.array([3.1**2])]
    assert not inequality.proves((3.1 * 2.1) ** 2 * (1 - 1e-9), t)
    assert inequality.proves(1.5 * (3.1 * 2.1) ** 2, t)
    chain, t = Inequality.of([exact([[1.0]]), first], exact([3.0])), [np.array([9 * 2.1**2]), np.array([9.0])]
    assert not chain.proves((3 * 2.1) ** 2 * (1 - 1e-9), t)
    assert chain.proves(1.5 * (3 * 2.1) ** 2, t)


# What the solver did


def garbage(value: float) -> Callable[..., str]:
    def attempt(self: module._Program, solver: str, seconds: float) -> str:
        rng = np.random.default_rng(0)
        for t in self._t:
            t.save_value(rng.normal(size=t.shape) * value)
        self._mu.save_value(np.array(value))
        return "optimal_inaccurate"

    return attempt


@pytest.mark.parametrize("value", [1.0, 1e-30, 1e30, 0.0, -1.0, math.nan])
def test_garbage_multipliers_give_a_looser_bound(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    for seed in range(4):
        net = random_network(seed)
        good = lipsdp(net, MARGINS, L2).constants
        with monkeypatch.context() as patch:
            patch.setattr(module._Program, "_attempt", garbage(value))
            answer = lipsdp(net, MARGINS, L2)
        assert np.isfinite(answer.constants).all()
        assert (answer.constants >= good * (1 - 1e-5)).all()


def test_halved_multipliers_are_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    solve = module._Program.solve

    def halved(self: module._Program, g: Array, clock: module.Clock) -> tuple[list[Array] | None, str]:
        found, why = solve(self, g, clock)
        assert found is not None
        return [t / 2 for t in found], why

    monkeypatch.setattr(module._Program, "solve", halved)
    constants = lipsdp(one_neuron([3.0, -4.0], 2.0), np.ones((1, 1)), L2).constants
    assert 10 <= constants[0] < 11


def test_a_solver_that_breaks_down_leaves_the_row_open(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(self: object, solver: str, **options: object) -> None:
        asked.append(solver)
        raise RuntimeError("out of luck\nand more")

    monkeypatch.setattr("cvxpy.Problem.solve", broken)
    answer = lipsdp(random_network(1), np.vstack([MARGINS, np.zeros((1, 3))]), L2)
    assert answer.constants.tolist() == [math.inf, math.inf, 0.0]
    assert answer.solved == 1
    assert answer.why == "CLARABEL: RuntimeError out of luck, SCS: RuntimeError out of luck (2 of 3)"
    assert asked == ["CLARABEL", "SCS"] * 2


def test_the_second_solver_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = module._Program._attempt

    def without_the_first(self: module._Program, solver: str, seconds: float) -> str:
        return "SolverError" if solver == "CLARABEL" else attempt(self, solver, seconds)

    want = lipsdp(random_network(1), MARGINS, L2).constants
    monkeypatch.setattr(module._Program, "_attempt", without_the_first)
    answer = lipsdp(random_network(1), MARGINS, L2)
    assert answer.constants == pytest.approx(want, rel=1e-3)
    assert answer.why == ""


def test_deadline() -> None:
    answer = lipsdp(random_network(1), MARGINS, L2, deadline=time.monotonic() - 1)
    assert answer.constants.tolist() == [math.inf, math.inf]
    assert (answer.solved, answer.why) == (0, "no time was left (2 of 2)")


def test_the_deadline_holds_between_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    attempt = module._Program._attempt

    def slow(self: module._Program, solver: str, seconds: float) -> str:
        assert seconds == 5.0 - now[0]
        status = attempt(self, solver, 60.0)
        now[0] += 6.0
        return status

    monkeypatch.setattr(module._Program, "_attempt", slow)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    answer = lipsdp(random_network(1), MARGINS, L2, deadline=5.0)
    assert np.isfinite(answer.constants).tolist() == [True, False]
    assert answer.why == "no time was left (1 of 2)"


def test_multiples_share_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    solve = module._Program.solve

    def counted(self: module._Program, g: Array, clock: module.Clock) -> tuple[list[Array] | None, str]:
        asked.append(g)
        return solve(self, g, clock)

    monkeypatch.setattr(module._Program, "solve", counted)
    rows = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [2.5, -2.5, 0.0], [0.0, 1.0, -1.0], [0.0, 0.0, 0.0]])
    constants = lipsdp(random_network(2), rows, L2).constants
    assert len(asked) == 2
    assert constants[0] == constants[1]
    assert constants[2] == pytest.approx(2.5 * constants[0], rel=1e-15)
    assert constants[4] == 0


def test_too_many_relus_are_refused() -> None:
    net = network(*random_layers(np.random.default_rng(0), 2, MOST_RELUS + 1, 3))
    answer = lipsdp(net, MARGINS, L2)
    assert answer.constants.tolist() == [math.inf, math.inf]
    assert answer.why == f"{MOST_RELUS + 1} hidden ReLUs: at most {MOST_RELUS} are attempted"


def test_nothing_to_bound() -> None:
    net = random_network(1)
    assert lipsdp(net, np.zeros((0, 3)), L2).constants.shape == (0,)
    fixed = lipsdp(net, MARGINS, GroundCost(Norm.INF, 1, np.full(net.n_inputs, math.inf)))
    assert (fixed.constants.tolist(), fixed.solved) == ([0.0, 0.0], 2)


def test_a_wide_input_is_thinned() -> None:
    """An isometry before the network changes nothing; the program stays as small as the first layer."""
    rng = np.random.default_rng(4)
    layers = random_layers(rng, 3, 5, 4, 3)
    isometry = np.linalg.qr(rng.normal(size=(60, 3)))[0].T
    wide = network((layers[0][0] @ isometry, layers[0][1]), *layers[1:])
    assert lipsdp(wide, MARGINS, L2).constants == pytest.approx(
        lipsdp(network(*layers), MARGINS, L2).constants, rel=1e-5
    )


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_scale_of_the_layers(size: float) -> None:
    """ReLU is positively homogeneous: scaling a layer scales the constants."""
    layers = random_layers(np.random.default_rng(5), 2, 5, 4, 3)
    scaled = [(weight * s, bias) for (weight, bias), s in zip(layers, (size, 1 / size, size), strict=True)]
    want = lipsdp(network(*layers), MARGINS, L2).constants * size
    assert lipsdp(network(*scaled), MARGINS, L2).constants == pytest.approx(want, rel=1e-4)
