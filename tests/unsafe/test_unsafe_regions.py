"""The probability of a violation and the distances to one against programs over all linear regions."""

from __future__ import annotations

import math

import pytest
from unsafe.oracle import random_violation, worst

from wdaverify import Norm, Status, recheck, verify

TOLERANCE = 2e-6
_AXES = [(norm, order) for norm in (Norm.INF, Norm.ONE, Norm.TWO) for order in (1, 2, math.inf)]
_QUICK = (0, 1, 4, 7, 9)
SEEDS = [seed if seed in _QUICK else pytest.param(seed, marks=pytest.mark.full) for seed in range(100)]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_violations(seed: int) -> None:
    norm, order = _AXES[seed % len(_AXES)]
    problem, nearest = random_violation(seed, norm, order)
    result = verify(problem, device="cpu")
    value = worst(nearest, problem.samples.w, problem.radius, order)
    assert result.status is Status.EXACT
    assert result.lower <= value + TOLERANCE
    assert result.upper >= value - TOLERANCE
    assert result.nominal == pytest.approx(float(problem.samples.w[nearest <= 1e-9].sum()))
    for atom in result.atoms:
        assert violated(problem, atom.point) == (atom.loss == 1)


@pytest.mark.parametrize("seed", [7, pytest.param(1, marks=pytest.mark.full)])
def test_decimals_that_are_no_doubles(seed: int) -> None:
    """Neither rounded nor refused, and the proof is one."""
    norm, order = _AXES[seed % len(_AXES)]
    problem, nearest = random_violation(seed, norm, order, long=True)
    assert not [notice for notice in problem.network.notices if "rounded" in notice]
    result = verify(problem, device="cpu", certificate=True)
    value = worst(nearest, problem.samples.w, problem.radius, order)
    assert result.lower <= value + TOLERANCE
    assert result.upper >= value - TOLERANCE
    assert result.certificate is not None
    assert recheck(result.certificate, problem).proved


def violated(problem, point) -> bool:
    """In double precision, at points that are no ties."""
    z = problem.network.forward(point[None])[0]
    return bool((z[1:] >= z[0]).any())
