"""Tiny problems are the same problems in other units: a power of two between them changes no answer but for its unit."""

from __future__ import annotations

import numpy as np
import pytest
from bounds.tiny import network, random_layers

from wdaverify import recheck
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.problem import Loss, WdroProblem
from wdaverify.samples import make_samples
from wdaverify.wdro.distances import distances
from wdaverify.wdro.verify import verify

UNIT = 2.0**-40


def asked(seed: int, norm: Norm, order: float, loss: str, unit: float) -> WdroProblem:
    rng = np.random.default_rng(seed)
    (first, bias), *rest = random_layers(rng, 2, 5, 4, 3)
    net = network((first / unit, bias), *rest)
    x = rng.integers(0, 64, (3, 2)) / 64 * unit
    support = Support.box(0.0, unit, 2)
    samples = make_samples(x, net.forward(x).argmax(axis=1))
    return WdroProblem(net, samples, GroundCost(norm, order), support, Loss(loss), 0.125 * unit)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.full) for s in range(1, 20))])
def test_distances_scale(seed: int, norm: Norm) -> None:
    plain = distances(asked(seed, norm, 1, "zero-one", 1.0), gap=1e-8)
    tiny = distances(asked(seed, norm, 1, "zero-one", UNIT), gap=1e-8 * UNIT)
    assert plain.exact
    assert tiny.exact
    for a, b in zip(plain.brackets, tiny.brackets, strict=True):
        assert b.lower / UNIT <= a.upper * (1 + 1e-12)
        assert a.lower <= b.upper / UNIT * (1 + 1e-12)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.full) for s in range(1, 20))])
def test_values_stay(seed: int, norm: Norm, order: float) -> None:
    plain, tiny = (verify(asked(seed, norm, order, "margin", unit), gap=1e-5) for unit in (1.0, UNIT))
    assert plain.status == tiny.status == "exact"
    assert max(plain.lower, tiny.lower) <= min(plain.upper, tiny.upper) + 1e-12


def test_certificates_are_of_the_whole_problem() -> None:
    """A tiny margin that closes is proved too."""
    problem = asked(0, Norm.INF, 1, "margin", UNIT)
    result = verify(problem, certificate=True)
    assert (result.status, result.vouched_upper) == ("exact", "proved")
    assert result.certificate is not None
    assert recheck(result.certificate, problem).proved
