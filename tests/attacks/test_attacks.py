"""The attacks: what they propose is feasible, repeatable, never below the nominal loss, and as good as closed forms allow."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from layers import Affine, Layer, Relu, network_of
from numpy.typing import NDArray

import wdaverify
from wdaverify.attacks.effort import Effort
from wdaverify.attacks.outcome import AttackOutcome
from wdaverify.attacks.run import run_attacks
from wdaverify.attacks.torch_network import pick_device
from wdaverify.errors import ProblemError
from wdaverify.network.model import Array, ReluNetwork, readonly
from wdaverify.problem import GroundCost, Loss, Norm, Samples, Support, WdroProblem
from wdaverify.transport.distribution import Distribution
from wdaverify.wdro.attacking import launch

Ints = NDArray[np.int64]
NORMS = [Norm.INF, Norm.ONE]
LOSSES = [Loss.MARGIN, Loss.ZERO_ONE]


def network(*maps: tuple[Array, Array]) -> ReluNetwork:
    layers: list[Layer] = []
    for weight, bias in maps:
        layers += [Relu()] * bool(layers) + [Affine(readonly(weight), readonly(bias))]
    return network_of(tuple(layers), (maps[0][0].shape[1],), (maps[-1][0].shape[0],), "", "test", ())


def random_network(rng: np.random.Generator, *widths: int) -> ReluNetwork:
    pairs = itertools.pairwise(widths)
    return network(*((rng.normal(size=(m, n)) / np.sqrt(n), 0.3 * rng.normal(size=m)) for n, m in pairs))


def problem(
    net: ReluNetwork,
    x: Array,
    y: list[int],
    radius: float,
    norm: Norm = Norm.INF,
    loss: Loss = Loss.MARGIN,
    *,
    w: list[float] | None = None,
    box: tuple[float, float] = (0.0, 1.0),
) -> WdroProblem:
    weights = np.full(len(y), 1 / len(y)) if w is None else np.array(w)
    samples = Samples(readonly(x), np.array(y, dtype=np.int64), readonly(weights), "", "test")
    return WdroProblem(net, samples, GroundCost(norm, 1), Support.box(*box, net.n_inputs), loss, radius)


def random_problem(seed: int, norm: Norm, loss: Loss, radius: float = 0.1, width: int = 6) -> WdroProblem:
    rng = np.random.default_rng(seed)
    net = random_network(rng, width, 12, 8, 4)
    x = rng.uniform(size=(9, width))
    y = net.forward(x).argmax(axis=1).tolist()
    y[3] = (y[3] + 1) % 4  # one misclassified
    return problem(net, x, y, radius, norm, loss)


def losses(p: WdroProblem, sample: Ints, point: Array) -> Array:
    z, y = p.network.forward(point), p.samples.y[sample]
    row = np.arange(len(y))
    margin = z - z[row, y][:, None]
    margin[row, y] = -np.inf
    worst: Array = margin.max(axis=1, initial=-np.inf)
    return worst if p.loss is Loss.MARGIN else (worst >= 0).astype(float)


def distances(p: WdroProblem, sample: Ints, point: Array) -> Array:
    return p.cost.distance(point - p.samples.x[sample])


def nominal(p: WdroProblem) -> float:
    return float(p.samples.w @ losses(p, np.arange(len(p.samples)), p.samples.x))


def value(p: WdroProblem, d: Distribution) -> float:
    gain = losses(p, d.sample, d.point) - losses(p, d.sample, p.samples.x[d.sample])
    return nominal(p) + float(d.mass @ gain)


def mixture(p: WdroProblem, sample: Ints, point: Array) -> float:
    """The restricted master: every sample's concave envelope, its slopes bought in descending order."""
    sample = np.concatenate([np.arange(len(p.samples)), sample])
    point = np.concatenate([p.samples.x, point])
    d, v = distances(p, sample, point), losses(p, sample, point)
    pieces: list[tuple[float, float]] = []
    for i, w in enumerate(p.samples.w):
        rows = np.flatnonzero(sample == i)
        at, height = 0.0, v[rows[0]]
        while True:
            ahead = rows[(d[rows] > at) & (v[rows] > height)]
            if ahead.size == 0:
                break
            best = ahead[np.argmax((v[ahead] - height) / (d[ahead] - at))]
            pieces.append(((v[best] - height) / (d[best] - at), w * (d[best] - at)))
            at, height = d[best], v[best]
    total, left = nominal(p), p.radius
    for slope, price in sorted(pieces, reverse=True):
        total += slope * min(price, left)
        left -= min(price, left)
    return total


def check_feasible(p: WdroProblem, out: AttackOutcome) -> None:
    assert out.point.dtype == np.float64
    assert out.sample.dtype == np.int64
    assert out.point.shape == (out.sample.size, p.network.n_inputs)
    assert ((out.point >= p.support.lower) & (out.point <= p.support.upper)).all()
    for d in out.distributions.values():
        assert ((d.point >= p.support.lower) & (d.point <= p.support.upper)).all()
        assert (d.mass >= 0).all()
        used = np.bincount(d.sample, weights=d.mass, minlength=len(p.samples))
        assert (used <= p.samples.w * (1 + 1e-15)).all()
        assert d.mass @ distances(p, d.sample, d.point) <= p.radius + 1e-12


def check_values(p: WdroProblem, out: AttackOutcome) -> None:
    best = mixture(p, out.sample, out.point)
    for name, d in out.distributions.items():
        assert nominal(p) - 1e-12 <= value(p, d) <= best + 1e-12, name


@pytest.mark.parametrize("radius", [1e-9, 0.01, 0.1, 10.0])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", NORMS)
def test_proposals_are_feasible_and_the_mixture_is_at_least_each_of_them(norm: Norm, loss: Loss, radius: float) -> None:
    p = random_problem(1, norm, loss, radius)
    out = run_attacks(p, device="cpu", effort=Effort(restarts=1))
    assert out.finished
    assert out.evaluations > 0
    assert set(out.distributions) == {"WDA(1)", "WDA(2)", "WDA(4)", "WDA(8)", "WDA(16)", "WDA++"}
    check_feasible(p, out)
    check_values(p, out)


@pytest.mark.parametrize("norm", NORMS)
def test_the_same_seed_gives_the_same_outcome_and_global_state_is_left_alone(norm: Norm) -> None:
    p = random_problem(2, norm, Loss.MARGIN)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    one, two = run_attacks(p, device="cpu", seed=3), run_attacks(p, device="cpu", seed=3)
    assert np.array_equal(one.sample, two.sample)
    assert np.array_equal(one.point, two.point)
    assert one.evaluations == two.evaluations
    for name, d in one.distributions.items():
        assert np.array_equal(d.point, two.distributions[name].point)
        assert np.array_equal(d.mass, two.distributions[name].mass)
    assert torch.equal(state, torch.get_rng_state())
    assert threads == torch.get_num_threads()


def linear_problem(norm: Norm, radius: float, loss: Loss) -> tuple[WdroProblem, Array, float]:
    """Two classes, ``z_1 - z_0 = g.x + b``: the problem, the clean margins and the dual norm of g."""
    rng = np.random.default_rng(5)
    g = rng.normal(size=7)
    net = network((np.vstack([np.zeros(7), g]), np.array([0.0, -3.0])))
    x = rng.uniform(-0.2, 0.2, size=(6, 7))
    p = problem(net, x, [0] * 6, radius, norm, loss, box=(-50.0, 50.0))
    dual = float(np.abs(g).sum() if norm is Norm.INF else np.abs(g).max())
    return p, x @ g - 3.0, dual


@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_network_is_attacked_exactly(norm: Norm) -> None:
    p, margin, dual = linear_problem(norm, 0.3, Loss.MARGIN)
    out = run_attacks(p, device="cpu", effort=Effort(restarts=1))
    exact = margin.mean() + 0.3 * dual
    for name in ("WDA(1)", "WDA(2)", "WDA(4)", "WDA(8)", "WDA(16)"):
        assert value(p, out.distributions[name]) == pytest.approx(exact, abs=1e-6), name
    assert mixture(p, out.sample, out.point) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_wda_pp_finds_the_distances_of_a_linear_network_and_buys_the_nearest(norm: Norm) -> None:
    p, margin, dual = linear_problem(norm, 100.0, Loss.ZERO_ONE)
    exact = -margin / dual
    found = run_attacks(p, device="cpu", effort=Effort(restarts=1)).distributions["WDA++"]
    assert sorted(found.sample.tolist()) == list(range(6))
    assert distances(p, found.sample, found.point) == pytest.approx(exact[found.sample], abs=1e-6)
    assert (losses(p, found.sample, found.point) == 1).all()

    budget = float(np.sort(exact)[:2].sum() / 6 + np.sort(exact)[2] / 12)
    few, _, _ = linear_problem(norm, budget, Loss.ZERO_ONE)
    out = run_attacks(few, device="cpu", effort=Effort(restarts=1))
    assert value(few, out.distributions["WDA++"]) == pytest.approx(2.5 / 6, abs=1e-5)
    assert mixture(few, out.sample, out.point) == pytest.approx(2.5 / 6, abs=1e-5)


@pytest.mark.parametrize("radius", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", NORMS)
def test_the_mixture_is_as_good_as_a_dense_grid_in_two_dimensions(norm: Norm, loss: Loss, radius: float) -> None:
    rng = np.random.default_rng(11)
    net = random_network(rng, 2, 16, 8, 3)
    x = rng.uniform(size=(5, 2))
    p = problem(net, x, net.forward(x).argmax(axis=1).tolist(), radius, norm, loss)
    axis = np.linspace(0.0, 1.0, 301)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    reference = mixture(p, np.repeat(np.arange(5), len(grid)), np.tile(grid, (5, 1)))
    out = run_attacks(p, device="cpu")
    gain = reference - nominal(p)
    assert mixture(p, out.sample, out.point) - nominal(p) >= 0.98 * gain


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", NORMS)
def test_hard_samples_do_not_break_the_attacks(norm: Norm, loss: Loss) -> None:
    rng = np.random.default_rng(7)
    net = random_network(rng, 4, 16, 2)
    x = rng.uniform(size=(5, 4))
    x[4] = x[0]
    y = net.forward(x).argmax(axis=1)
    y[1] = 1 - y[1]
    p = problem(net, x, y.tolist(), 0.2, norm, loss, w=[0.5, 0.25, 0.0, 0.25, 0.0])
    out = run_attacks(p, device="cpu", effort=Effort(restarts=2))
    check_feasible(p, out)
    check_values(p, out)
    assert all(p.samples.w[d.sample].all() for d in out.distributions.values())
    assert 1 not in out.distributions["WDA++"].sample
    if loss is Loss.MARGIN:
        assert 1 in out.distributions["WDA(1)"].sample


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("case", ["one constant feature", "a support of one point", "a constant network"])
def test_nothing_to_gain_is_no_reason_to_fail(case: str, norm: Norm, loss: Loss) -> None:
    rng = np.random.default_rng(8)
    net = random_network(rng, 3, 5, 3)
    lower, upper = np.zeros(3), np.ones(3)
    x = np.array([[0.2, 0.5, 0.7], [0.2, 0.5, 0.7]])
    if case == "one constant feature":
        lower[1] = upper[1] = 0.5
    elif case == "a support of one point":
        lower, upper = x[0], x[0]
    else:
        net = network((np.zeros((4, 3)), np.zeros(4)), (np.zeros((3, 4)), np.array([1.0, 0.0, 0.0])))
    base = problem(net, x, [0, 1], 0.1, norm, loss)
    p = WdroProblem(net, base.samples, base.cost, Support(readonly(lower), readonly(upper)), loss, 0.1)
    out = run_attacks(p, device="cpu", effort=Effort(restarts=2))
    check_feasible(p, out)
    check_values(p, out)
    if case != "one constant feature":
        assert mixture(p, out.sample, out.point) == pytest.approx(nominal(p), abs=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_radius_zero_moves_nothing(norm: Norm) -> None:
    p = random_problem(4, norm, Loss.MARGIN, 0.0)
    out = run_attacks(p, device="cpu", effort=Effort(powers=(1, 2)))
    assert out.finished
    assert out.point.shape == (0, 6)
    assert {name: d.mass.size for name, d in out.distributions.items()} == {"WDA(1)": 0, "WDA(2)": 0, "WDA++": 0}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_deadline_in_the_past_leaves_a_valid_outcome(loss: Loss) -> None:
    p = random_problem(5, Norm.INF, loss)
    out = run_attacks(p, device="cpu", deadline=time.monotonic() - 1)
    assert not out.finished
    check_feasible(p, out)
    check_values(p, out)


def test_a_deadline_cuts_the_run_short() -> None:
    p = random_problem(6, Norm.ONE, Loss.MARGIN)
    out = run_attacks(p, device="cpu", effort=Effort(restarts=10_000), deadline=time.monotonic() + 0.3)
    assert not out.finished
    assert out.seconds < 5
    check_feasible(p, out)
    check_values(p, out)


def test_devices_and_powers_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(ProblemError, match="use --device cpu"):
        pick_device("cuda")
    with pytest.raises(ProblemError, match="auto, cpu and cuda"):
        pick_device("tpu")
    with pytest.raises(ProblemError, match="m >= 1"):
        run_attacks(random_problem(7, Norm.INF, Loss.MARGIN), device="cpu", effort=Effort(powers=(0,)))


def test_cuda_gives_feasible_and_repeatable_outcomes() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here: the attacks on a GPU are not tested")
    for norm, loss in itertools.product(NORMS, LOSSES):
        p = random_problem(8, norm, loss)
        one, two = run_attacks(p, device="cuda", seed=1), run_attacks(p, device="cuda", seed=1)
        assert np.array_equal(one.point, two.point)
        check_feasible(p, one)
        check_values(p, one)
        here = run_attacks(p, device="cpu", seed=1)
        gain = mixture(p, here.sample, here.point) - nominal(p)
        assert mixture(p, one.sample, one.point) - nominal(p) >= 0.97 * gain


@pytest.mark.parametrize("box", [(0.0, 10.0), (-math.inf, math.inf)])
@pytest.mark.parametrize(("norm", "exact"), [(Norm.INF, 7.5), (Norm.ONE, 480.0)])
def test_a_flat_margin_borrows_another_samples_point(norm: Norm, exact: float, box: tuple[float, float]) -> None:
    """z_1 - z_0 = relu(mean x - 8) - 0.5: flat around 1, where neither a gradient nor 64 random coordinates get to 8.5."""
    n = 64
    net = network((np.full((1, n), 1 / n), np.array([-8.0])), (np.array([[0.0], [1.0]]), np.array([0.5, 0.0])))
    x = np.vstack([np.full(n, 1.0), np.append(np.full(n - 1, 9.5), 7.0), np.full(n, 1.0)])
    asked = problem(net, x, [0, 1, 0], 0.05, norm, Loss.ZERO_ONE, box=box)
    found = run_attacks(asked, device="cpu", everyone=True)
    distance = np.abs(found.point - x[found.sample])
    distance = distance.max(axis=1) if norm is Norm.INF else distance.sum(axis=1)
    for sample in (0, 2):
        wrong = (found.sample == sample) & (net.forward(found.point).argmax(axis=1) == 1)
        assert distance[wrong].min(initial=np.inf) == pytest.approx(exact, rel=1e-3)


def test_what_is_borrowed_keeps_the_features_that_cannot_change() -> None:
    """z_1 - z_0 = 10 relu(mean of 63 + x_64 - 0.9) - 0.5: the nearer lender is an error by its own x_64 alone."""
    n = 64
    row = np.append(np.full(n - 1, 1 / (n - 1)), 1.0)[None, :]
    net = network((row, np.array([-0.9])), (np.array([[0.0], [10.0]]), np.array([0.5, 0.0])))
    x = np.array([[0.1] * (n - 1) + [0.0], [0.9] * (n - 1) + [0.5], [0.98] * (n - 1) + [0.0]])
    asked = problem(net, x, [0, 1, 1], 0.05, Norm.INF, Loss.ZERO_ONE)
    asked = replace(asked, cost=GroundCost(Norm.INF, 1, weights=np.append(np.ones(n - 1), math.inf)))
    found = run_attacks(asked, device="cpu", everyone=True)
    mine = found.point[found.sample == 0]
    assert (mine[:, -1] == 0.0).all()
    wrong = net.forward(mine).argmax(axis=1) == 1
    assert np.abs(mine[wrong] - x[0]).max(axis=1).min(initial=np.inf) == pytest.approx(0.85, rel=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_crossings_beyond_the_budget_are_pulled_in_only_for_everyone(norm: Norm) -> None:
    gained = 0
    for seed in range(
        8
    ):  # where nothing is known a crossing is found by chance or not, so that those of both are compared
        asked = random_problem(seed, norm, Loss.ZERO_ONE, 0.01)
        some, every = (run_attacks(asked, device="cpu", everyone=everyone) for everyone in (False, True))
        assert mixture(asked, some.sample, some.point) == pytest.approx(
            mixture(asked, every.sample, every.point), abs=2e-3
        )
        near, nearer = (nearest_errors(asked, found) for found in (some, every))
        both = np.isfinite(near) & np.isfinite(nearer)
        assert (nearer[both] <= near[both] * (1 + 1e-3)).all()
        gained += int((nearer < near * (1 - 1e-6)).sum())
    assert gained >= 3


def test_a_far_crossing_hides_no_error_within_the_radius_of_order_inf() -> None:
    """Rival 1 is met at |x_1| = 200, rival 2 for x_2 in (0.85, 1.15) alone, where no gradient leads."""
    bump = np.array([[0.0, 1.0, 0.0]] * 3), np.array([-0.8, -1.0, -1.2])
    first = np.vstack([[[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], bump[0]]), np.concatenate([[0.0, 0.0], bump[1]])
    second = (
        np.array([[0.0] * 5, [0.005, 0.005, 0.0, 0.0, 0.0], [0.0, 0.0, 20.0, -40.0, 20.0]]),
        np.array([0.0, -1.0, -1.0]),
    )
    x = np.zeros((200, 3))
    x[:, 0], x[:, 2] = 0.05, np.linspace(-0.5, 0.5, 200)
    asked = problem(network(first, second), x, [0] * 200, 1.0, Norm.INF, Loss.ZERO_ONE, box=(-300.0, 300.0))
    found = run_attacks(replace(asked, cost=GroundCost(Norm.INF, math.inf)), device="cpu")
    assert (nearest_errors(asked, found) <= 1).sum() >= 5


def test_all_distances_and_the_zero_one_curve_pull_in_everyone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = random_problem(0, Norm.INF, Loss.ZERO_ONE, 0.01)
    calls: list[bool] = []

    def launched(*arguments: Any, everyone: bool = False, **options: Any) -> AttackOutcome:
        calls.append(everyone)
        return launch(*arguments, everyone=everyone, **options)

    for module in ("distances", "verify"):
        monkeypatch.setattr(f"wdaverify.wdro.{module}.launch", launched)
    wdaverify.distances(asked, jobs=1, device="cpu")
    wdaverify.curve(asked, jobs=1, device="cpu")
    wdaverify.verify(asked, jobs=1, device="cpu")
    assert calls == [True, True, False]


def nearest_errors(p: WdroProblem, found: AttackOutcome) -> Array:
    wrong = losses(p, found.sample, found.point) == 1
    out = np.where(losses(p, np.arange(len(p.samples)), p.samples.x) == 1, 0.0, np.inf)
    np.minimum.at(out, found.sample[wrong], distances(p, found.sample, found.point)[wrong])
    return out
