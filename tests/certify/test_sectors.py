"""Matrix inequalities of open neurons: what they prove holds of every slope in [0, 1], and is as tight as LipSDP by another solver."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bounds.tiny import network, random_layers, raw
from oracles import Array, Weights

from wdaverify.certify.sectors import Sectors
from wdaverify.engines.cells.multipliers import improve, start
from wdaverify.ground import GroundCost, Norm
from wdaverify.lipschitz.lipsdp import lipsdp
from wdaverify.network.model import ReluNetwork

COST = GroundCost(Norm.TWO, 1)


def sectors_of(net: ReluNetwork, phases: Array) -> Sectors:
    graph = net.canonical
    return Sectors.of(graph, np.eye(graph.outputs), COST, np.zeros(graph.inputs), phases.astype(np.int8))


def proposed(sectors: Sectors, level: float = 0.0) -> tuple[float, Array]:
    r, multipliers = start(sectors)
    found = improve(sectors, level, r, multipliers)
    assert found.r <= r
    return math.sqrt(found.r), found.multipliers


def worst(layers: Weights, phases: Array, rng: np.random.Generator) -> float:
    """The largest norm met at random slopes, 0 and 1 among them."""
    best = 0.0
    for _ in range(3000):
        slopes = np.where(rng.random(phases.size) < 0.7, rng.random(phases.size) < 0.5, rng.random(phases.size))
        slopes = np.where(phases == 0, slopes, phases > 0)
        out, first = np.eye(layers[0][0].shape[1]), 0
        for weight, _ in layers[:-1]:
            out = slopes[first : first + len(weight), None] * (weight @ out)
            first += len(weight)
        best = max(best, float(np.linalg.norm(layers[-1][0] @ out, 2)))
    return best


@pytest.mark.parametrize("seed", range(8))
def test_no_slope_exceeds_what_is_proven(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 3, 5, 4, 1 + seed % 2))
    count = net.canonical.neurons
    assert count == 9  # none of these seeds has a neuron that is never on
    phases = rng.integers(-1, 2, count)
    sectors = sectors_of(net, phases)
    rho, multipliers = proposed(sectors)
    assert sectors.prove(rho * (1 + 1e-7), multipliers)
    met = worst(raw(net), phases, rng)
    assert met <= rho * (1 + 1e-9)
    for y in (multipliers, 1.01 * multipliers, multipliers * rng.uniform(0.5, 2.0, multipliers.size)):
        assert not sectors.prove(met * (1 - 1e-6), y)
    assert not sectors.prove(rho * 2, -multipliers) or not multipliers.any()


def test_as_tight_as_the_program() -> None:
    for seed in range(3):
        net = network(*random_layers(np.random.default_rng(seed), 4, 8, 6, 1))
        sectors = sectors_of(net, np.zeros(net.canonical.neurons))
        assert proposed(sectors)[0] == pytest.approx(lipsdp(net.layers, np.eye(1), COST).constants[0], rel=2e-3)
