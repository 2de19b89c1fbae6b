"""What the search counts as closed, the checker finds: with a certificate the bracket closes wherever it closes without one.

Small whole weights and dyadic samples tie all the time: a neuron's bounds are (-1/2, 1/2) up to rounding, and CROWN's choice
between the slopes 0 and 1 below it leads to bounds far apart.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from layers import Affine, Relu, network_of

from wdaverify import GroundCost, Loss, Norm, ReluNetwork, Support, WdroProblem, make_samples, verify
from wdaverify.certify.backward import Backward
from wdaverify.certify.peak import Shells
from wdaverify.certify.values import _beside
from wdaverify.graph.functions import lower_slope, relu
from wdaverify.network.model import readonly
from wdaverify.wdro.proofs import MarginProofs


def of_layers(layers: list[tuple[np.ndarray, np.ndarray]]) -> ReluNetwork:
    parts: list[Affine | Relu] = []
    for weight, bias in layers:
        parts += [Affine(readonly(np.array(weight, np.float64)), readonly(np.array(bias, np.float64))), Relu()]
    ends = parts[0], parts[-2]
    assert isinstance(ends[0], Affine)
    assert isinstance(ends[1], Affine)
    return network_of(tuple(parts[:-1]), (ends[0].weight.shape[1],), (ends[1].weight.shape[0],), "0" * 64, "ties", ())


def tied(seed: int) -> WdroProblem:
    """A question on a network whose weights are whole numbers from -2 to 2."""
    rng = np.random.default_rng(seed)
    n, depth, classes = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(2, 4))
    widths = [n, *(int(rng.integers(2, 6)) for _ in range(depth)), classes]
    layers = []
    for a, b in pairwise(widths):
        weight = rng.integers(-2, 3, (b, a)).astype(float)
        layers.append((weight, rng.integers(-4, 5, b) / 2.0 * (rng.random(b) < 0.7)))
    count = int(rng.integers(1, 4))
    x, y = rng.integers(0, 9, (count, n)) / 8.0, rng.integers(0, classes, count)
    norm = Norm.INF if rng.random() < 0.6 else Norm.ONE
    loss = Loss.MARGIN if rng.random() < 0.6 else Loss.ZERO_ONE
    radius = float(rng.choice([rng.random() * 0.5, 0.125, 0.25]))
    return WdroProblem(of_layers(layers), make_samples(x, y), GroundCost(norm, 1), Support.box(0, 1, n), loss, radius)


def reaches_the_gap(asked: WdroProblem) -> None:
    found = verify(asked)
    proved = verify(asked, certificate=True)
    assert found.status == "exact"
    assert proved.status == "exact", proved.notices
    assert (proved.vouched_lower, proved.vouched_upper) == ("proved", "proved")
    assert proved.lower <= found.upper
    assert proved.upper >= found.lower


def test_a_shell_that_a_tie_closes() -> None:
    """The neurons' bounds are (-1/2, 1/2) up to rounding; the one choice of slopes leads to -1/4, the other to 3/4."""
    layers = [
        ([[-1, 0], [1, 0], [-2, -1], [0, -1], [0, 0]], [0.5, -0.5, 0, 0, 0]),
        ([[1, -1, 0, 0, 0], [0, 0, 0, 0, 0], [0, -1, 0, 2, 2]], [0, -2, 0]),
        ([[-2, 0, 0], [0, 0, 1], [0, 0, 0], [1, 0, 2]], [-1, 0, 0, -0.5]),
    ]
    net = of_layers([(np.array(w), np.array(b)) for w, b in layers])
    samples = make_samples(np.array([[0.125, 0.75]]), np.array([1]))
    radius = 0.022675385319131946
    reaches_the_gap(WdroProblem(net, samples, GroundCost(Norm.INF, 1), Support.box(0, 1, 2), Loss.MARGIN, radius))


@pytest.mark.parametrize("seed", [3, 29, 58, 133, 182, 193, 238, 386, 1251])
def test_a_certificate_reaches_the_gap(seed: int) -> None:
    reaches_the_gap(tied(seed))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_certificates_reach_the_gap(seed: int) -> None:
    reaches_the_gap(tied(seed))


def test_search_and_checker_follow_one_rule_without_a_jump() -> None:
    low = -np.array([1.0, 0.5, 3.0, 1e-9, 7.0, 1.0, 1.0, 0.0, 0.0])
    high = np.array([1.0, 0.5, 3.0, 1e-9, 7.0, 2.0, 0.5, 0.0, 1.0])
    slope = lower_slope(low, high)
    assert slope[:5].tolist() == [0.0] * 5  # ties
    assert slope[5:7].tolist() == [1.0, 0.0]
    for off in (-1e-14, 1e-14):
        near = lower_slope(low * (1 + off), high * (1 - off))
        assert near[:5].tolist() == [0.0] * 5
    wide = np.linspace(0.999, 1.001, 20001)
    slopes = lower_slope(-np.ones_like(wide), wide)
    assert (slopes[0], slopes[-1]) == (0.0, 1.0)
    assert (np.diff(slopes) >= 0).all()
    assert np.diff(slopes).max() <= 2.0**14 * 1e-7
    unstable = (low < 0) & (high > 0)
    assert (-relu().by_rule(-np.ones_like(low), low, high))[unstable].tolist() == slope[unstable].tolist()


@pytest.mark.parametrize("seed", range(20))
def test_bounds_of_a_shell_depend_on_rounding_by_rounding_alone(seed: int) -> None:
    """A shell's box moved by a rounding moves every bound by little, ties or not."""
    asked = tied(seed)
    backward, x = Backward(asked.network.canonical), asked.samples.x[:1]
    spread = np.array([0.25, 0.25 * (1 + 1e-15), 0.25 * (1 - 1e-15)])
    many = np.repeat(x, 3, axis=0)
    shells = Shells.around(asked.cost, many, asked.support.lower, asked.support.upper, np.zeros(3), spread)
    for low, high in backward.pre_activations(shells):
        for side in (low, high):
            assert np.abs(side - side[:1]).max() <= 1e-8 * (1 + np.abs(side).max())


def test_proofs_are_those_of_the_multipliers_that_the_bound_comes_from() -> None:
    proofs = MarginProofs(3)
    for lam, edge in ((1.0, 0.25), (2.0, 0.5), (4.0, 0.75)):
        proofs.screened(0, lam, [0.0, edge], [edge, 0.9], [0.9, 1.0])
    chosen = proofs.of(0, 0, 1, [1.0, 4.0], 1.0)
    assert [(p.multiplier, [(t.near, t.far) for t in p.trees]) for p in chosen] == [
        (1.0, [(0.0, 0.25), (0.25, 0.9), (0.9, 1.0)]),
        (4.0, [(0.0, 0.75), (0.75, 0.9), (0.9, 1.0)]),
    ]
    (bare,) = proofs.of(1, 0, 1, [0.0], 1.0)
    assert (bare.multiplier, [(t.near, t.far) for t in bare.trees]) == (0.0, [(0.0, 1.0)])


def test_what_a_value_elsewhere_says() -> None:
    """phi falls, and by no more than 0.5 a unit of the multiplier."""
    assert _beside([(1.0, 3.0)], 2.0, 0.5) == 3.0
    assert _beside([(4.0, 3.0)], 2.0, 0.5) == 4.0
    assert _beside([(1.0, 5.0), (4.0, 3.0), (3.0, float("inf"))], 2.0, 0.5) == 4.0
    assert _beside([], 2.0, 0.5) == float("inf")
