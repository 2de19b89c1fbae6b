"""Networks of 12 to 20 ReLUs, too large for enumeration here: the cell engine against both MIP back-ends, which share no search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers

from wdaverify.engines.base import Distance, Effort, Inner
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.mip import MipEngine
from wdaverify.engines.screening import Screen
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import Norm

NORMS = [Norm.INF, Norm.ONE]
WIDTHS = [(3, 12, 3), (4, 8, 8, 3), (3, 6, 5, 5, 3), (5, 10, 10, 4), (6, 20, 3)]
SEEDS = [pytest.param(s, marks=[] if s < 5 else [pytest.mark.full]) for s in range(40)]
PLAIN = Effort(gap=1e-8, seconds=math.inf, seed=0, cutoff=None, start=None)


def asked(seed: int, norm: Norm) -> tuple[ReluNetwork, Inner, Distance, Inner, Distance]:
    """A network, and both questions as the cell engine and as a MIP back-end take them."""
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, *WIDTHS[seed % len(WIDTHS)]))
    assert 12 <= net.n_relus <= 20
    x = rng.uniform(size=net.n_inputs)
    label = int(net.forward(x[None])[0].argmax())
    rival = (label + 1 + seed % (net.n_outputs - 1)) % net.n_outputs
    screen = Screen(problem(net, x, [label], norm=norm))
    far, multiplier = float(screen.reach[0]), float(rng.uniform(0.2, 6.0))
    shell = screen.shell(0, 0.0, far)
    region, bounds, _ = screen.region(0, 0.0, far)
    return (
        net,
        Inner(0, label, rival, shell, (), multiplier),
        Distance(0, label, rival, shell, ()),
        Inner(0, label, rival, region, bounds, multiplier),
        Distance(0, label, rival, region, bounds),
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_cells_and_both_mip_solvers_agree(seed: int, norm: Norm) -> None:
    net, inner, distance, inner_mip, distance_mip = asked(seed, norm)
    cells = CellEngine(net)
    value, nearest = cells.answer(inner, PLAIN), cells.answer(distance, PLAIN)
    assert value.closed
    assert nearest.closed
    for solver in ("highs", "gurobi"):
        other = MipEngine(net, solver)
        assert other.answer(inner_mip, PLAIN).bound == pytest.approx(value.bound, abs=2e-6)
        theirs = other.answer(distance_mip, PLAIN).bound
        if nearest.bound > inner.region.far:  # no point of the region errs
            assert theirs >= inner.region.far * (1 - 1e-6)
        else:
            assert theirs == pytest.approx(nearest.bound, abs=2e-6)
