"""Interval and CROWN bounds against rational arithmetic at points of their regions, rounding included."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from bounds.tiny import as_network, exact_distance, exact_values, hard_network, network, on_grid, points_between
from layers import Affine, Diagonal, Relu, blocks_of, layers_of
from torch import Tensor

import wdaverify.bounds.crown as crown_module
import wdaverify.bounds.region as region_module
from wdaverify.bounds.crown import Crown, unstable
from wdaverify.bounds.region import Regions
from wdaverify.network.model import ReluNetwork, readonly
from wdaverify.problem import GroundCost, Norm

NORMS = [Norm.INF, Norm.ONE]
SHELLS = ((0.0, 0.125), (0.25, 0.5), (0.0, 1.0), (0.0, 0.0))


def tensor(values: object) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64))


def violations(net: ReluNetwork, norm: Norm, seed: int, points: int = 10) -> list[str]:
    """Where a bound is beaten by a point, over four shells around four samples at once."""
    rng = np.random.default_rng(seed)
    n, K = net.n_inputs, net.n_outputs
    lower, upper = np.full(n, -0.5), np.ones(n)
    centres = on_grid(rng.uniform(lower, upper, (len(SHELLS), n)))
    near, far = (np.array(side) for side in zip(*SHELLS, strict=True))
    multipliers = rng.choice([0.0, 1e-3, 1.0, 30.0, 1e4], len(SHELLS))
    regions = Regions.around(
        GroundCost(norm, 1), tensor(centres), (tensor(lower), tensor(upper)), tensor(near), tensor(far)
    )
    crown = Crown(net, GroundCost(norm, 1))
    bounds = crown.pre_activations(regions)
    functionals = np.vstack([np.eye(K) - np.roll(np.eye(K), 1, axis=0), np.eye(K), rng.normal(size=(1, K))])
    rows = tensor(functionals).expand(len(SHELLS), -1, -1)
    free = crown.functional(regions, bounds, rows, None).numpy()
    paid = crown.functional(regions, bounds, rows, tensor(multipliers)).numpy()
    found = []
    for b, (low, high) in enumerate(SHELLS):
        for x in [*points_between(rng, norm, centres[b], low, high, lower, upper, points), *[centres[b]] * (low == 0)]:
            before, logits = exact_values(net, x)
            for k, (values, (least, most)) in enumerate(zip(before, bounds, strict=True)):
                for value, a, c in zip(values, least[b].tolist(), most[b].tolist(), strict=True):
                    if not Fraction(a) <= value <= Fraction(c):
                        found.append(f"layer {k}: {float(value)} outside [{a}, {c}]")
            cost = Fraction(float(multipliers[b])) * exact_distance(norm, x - centres[b])
            for row, unpaid, with_cost in zip(functionals.tolist(), free[b].tolist(), paid[b].tolist(), strict=True):
                value = sum((Fraction(c) * z for c, z in zip(row, logits, strict=True)), Fraction(0))
                if value > Fraction(unpaid) or value - cost > Fraction(with_cost):
                    found.append(f"functional: {float(value)}, cost {float(cost)} above {unpaid} or {with_cost}")
    return found


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [pytest.param(s, marks=[pytest.mark.full] * (s >= 12)) for s in range(80)])
def test_no_point_beats_a_bound(seed: int, norm: Norm) -> None:
    assert violations(hard_network(np.random.default_rng(seed)), norm, seed) == []


def test_the_random_networks_are_hard() -> None:
    nets = [hard_network(np.random.default_rng(seed)) for seed in range(12)]
    weights = [layer.weight for net in nets for layer in layers_of(net) if isinstance(layer, Affine)]
    assert any((w == 0).all(axis=1).any() for w in weights)
    assert any(np.abs(w).max() > 1e5 for w in weights)
    assert any(0 < np.abs(w).max() < 1e-4 for w in weights)
    assert any(isinstance(layer, Diagonal) for net in nets for layer in layers_of(net))
    assert any(not block.exact for net in nets for block in blocks_of(net.canonical))


# A check that notices nothing is worth nothing: each of these faults must be seen.


def _noticed(norm: Norm) -> bool:
    return any(violations(hard_network(np.random.default_rng(seed)), norm, seed) for seed in range(12))


@pytest.mark.parametrize("norm", NORMS)
def test_a_wrong_intercept_is_noticed(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = crown_module._Relaxation.of

    def broken(lower: Tensor, upper: Tensor) -> object:
        relaxed = genuine(lower, upper)
        return replace(relaxed, intercept=0.7 * relaxed.intercept)

    monkeypatch.setattr(crown_module._Relaxation, "of", staticmethod(broken))
    assert _noticed(norm)


@pytest.mark.parametrize("norm", NORMS)
def test_a_wrong_lower_line_is_noticed(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = crown_module._Relaxation.of

    def broken(lower: Tensor, upper: Tensor) -> object:
        relaxed = genuine(lower, upper)
        return replace(relaxed, alpha=torch.full_like(relaxed.alpha, 1.1))

    monkeypatch.setattr(crown_module._Relaxation, "of", staticmethod(broken))
    assert _noticed(norm)


@pytest.mark.parametrize("norm", NORMS)
def test_a_narrow_interval_is_noticed(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = crown_module.interval

    def broken(block: object, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        low, high = genuine(block, lower, upper)
        return low + 0.2 * (high - low), high

    monkeypatch.setattr(crown_module, "interval", broken)
    assert _noticed(norm)


@pytest.mark.parametrize("norm", NORMS)
def test_a_cost_charged_at_the_wrong_end_is_noticed(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = region_module.peak

    def broken(rows: Tensor, regions: Regions, multiplier: Tensor | None) -> Tensor:
        return genuine(rows, replace(regions, near=regions.far), multiplier)

    monkeypatch.setattr(crown_module, "peak", broken)
    assert _noticed(norm)


# Rounding alone


def _linear_shortfalls(norm: Norm) -> int:
    """How often the bound of a linear map lies below its value at the best corner, in rational arithmetic."""
    count = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        net = network((rng.normal(size=(4, 7)), rng.normal(size=4)))
        lower, upper = np.zeros(7), np.ones(7)
        centre = on_grid(rng.uniform(size=7))
        far = 1.0 if norm is Norm.INF else 7.0
        regions = Regions.around(
            GroundCost(norm, 1), tensor(centre[None]), (tensor(lower), tensor(upper)), tensor([0.0]), tensor([far])
        )
        upper_bound = Crown(net, GroundCost(norm, 1)).functional(
            regions, (), torch.eye(4, dtype=torch.float64)[None], None
        )[0]
        for row, bound in enumerate(upper_bound.tolist()):
            best = (blocks_of(net.canonical)[0].weight[row] > 0).astype(float)
            count += exact_values(net, best)[1][row] > Fraction(bound)
    return count


@pytest.mark.parametrize("norm", NORMS)
def test_rounding_never_lowers_a_bound(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _linear_shortfalls(norm) == 0
    for module in (crown_module, region_module):
        monkeypatch.setattr(module, "dot_error", lambda terms: 0.0)
        monkeypatch.setattr(module, "inflate", lambda value: value)
    monkeypatch.setattr(
        crown_module, "block_error", lambda block, magnitude: torch.zeros(len(magnitude), len(block.bias)).double()
    )
    monkeypatch.setattr(region_module.torch, "nextafter", lambda a, b: a)
    assert _linear_shortfalls(norm) > 0  # the same without the allowance for rounding


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("width", [2000, 4000])
def test_rounding_of_a_wide_layer_behind_a_narrow_input(width: int, norm: Norm) -> None:
    """The backward pass sums over a layer's outputs: the allowance must count those, not its inputs.

    Every weight is the same double whose low bits make each addition of a running sum round the same way, and the layer
    cancels, so that nothing else pays for it.
    """
    heavy = 1 + 511 * 2.0**-52
    for offset in (0.75, 0.3):
        bias = -offset + 1e-9
        last = np.vstack([np.full(width, heavy), np.full(width, -heavy)])
        net = network((np.ones((width, 1)), np.full(width, bias)), (last, np.zeros(2)))
        one = tensor([[offset]])
        regions = Regions.around(GroundCost(norm, 1), one, (one * 0, one * 0 + 1), tensor([0.0]), tensor([0.0]))
        crown = Crown(net, GroundCost(norm, 1))
        rows = tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]])
        found = crown.functional(regions, crown.pre_activations(regions), rows, None)[0].tolist()
        value = width * Fraction(heavy) * (Fraction(offset) + Fraction(bias))
        for bound, truth in zip(found, (value, -value, -value, value), strict=True):
            assert Fraction(bound) >= truth


# What else the bounds promise


@pytest.mark.parametrize("norm", NORMS)
def test_batching_changes_nothing(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    net = hard_network(np.random.default_rng(3))
    rng = np.random.default_rng(4)
    centre = tensor(rng.uniform(size=(9, net.n_inputs)))
    box = (tensor(np.zeros(net.n_inputs)), tensor(np.ones(net.n_inputs)))
    regions = Regions.around(GroundCost(norm, 1), centre, box, tensor(np.zeros(9)), tensor(rng.uniform(size=9)))
    rows = torch.eye(net.n_outputs, dtype=torch.float64).expand(9, -1, -1)
    together = Crown(net, GroundCost(norm, 1))
    bounds = together.pre_activations(regions)
    upper = together.functional(regions, bounds, rows, tensor(np.full(9, 2.0)))
    monkeypatch.setattr(crown_module, "_CHUNK_NUMBERS", {"cpu": 1, "cuda": 1})
    pieces = Crown(net, GroundCost(norm, 1))
    again = pieces.pre_activations(regions)
    for (a, b), (c, d) in zip(bounds, again, strict=True):
        torch.testing.assert_close(a, c, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(b, d, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        upper, pieces.functional(regions, again, rows, tensor(np.full(9, 2.0))), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("norm", NORMS)
def test_at_a_single_point_the_bounds_are_the_values(norm: Norm) -> None:
    rng = np.random.default_rng(5)
    net = network((rng.normal(size=(6, 3)), rng.normal(size=6)), (rng.normal(size=(2, 6)), rng.normal(size=2)))
    x = rng.uniform(size=(1, 3))
    box = (tensor(np.zeros(3)), tensor(np.ones(3)))
    regions = Regions.around(GroundCost(norm, 1), tensor(x), box, tensor([0.0]), tensor([0.0]))
    crown = Crown(net, GroundCost(norm, 1))
    bounds = crown.pre_activations(regions)
    upper = crown.functional(regions, bounds, torch.eye(2, dtype=torch.float64)[None], None)[0]
    assert upper.numpy() == pytest.approx(net.forward(x)[0], abs=1e-12)
    assert unstable(bounds).tolist() == [0]


def test_overflowing_networks_give_bounds_that_say_nothing() -> None:
    huge = Affine(readonly(np.full((3, 2), 1e200)), readonly(np.zeros(3)))
    last = Affine(readonly(np.array([[1e200, -1e200, 0.0], [0.0, 0.0, 1.0]])), readonly(np.zeros(2)))
    net = as_network([huge, Relu(), Affine(readonly(np.eye(3) * 1e200), readonly(np.zeros(3))), Relu(), last])
    box = (tensor([-1.0, -1.0]), tensor([1.0, 1.0]))
    for norm in NORMS:
        regions = Regions.around(GroundCost(norm, 1), tensor([[0.0, 0.0]]), box, tensor([0.0]), tensor([1.0]))
        for low, high in Crown(net, GroundCost(norm, 1)).pre_activations(regions):
            assert bool((low <= 0).all())
            assert bool((high >= 0).all())
