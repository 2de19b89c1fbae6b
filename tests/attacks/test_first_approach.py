"""The first approach: with few evaluations it is where the budget buys, and its crossings are errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_attacks import NORMS, distances, linear_problem, losses, random_problem

import wdaverify as wd
from wdaverify.attacks import approach
from wdaverify.attacks.ascent import Arena, Clock
from wdaverify.problem import Loss, Norm

MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize("norm", NORMS)
def test_of_a_linear_network_the_first_approach_has_the_distances(norm: Norm) -> None:
    asked, margin, dual = linear_problem(norm, 1.0, Loss.ZERO_ONE)
    arena = Arena.build(asked, torch.device("cpu"), Clock(None), everyone=True)
    approach.approach(arena)
    assert arena.nearest().numpy() == pytest.approx(-margin / dual, rel=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_what_the_first_approach_hands_over_are_errors_as_far_as_it_says(norm: Norm) -> None:
    found = 0
    for seed in range(5):
        asked = random_problem(seed, norm, Loss.ZERO_ONE)
        arena = Arena.build(asked, torch.device("cpu"), Clock(None), everyone=True)
        approach.approach(arena)
        near, point = arena.pool.near.reshape(9, -1), arena.pool.near_point.reshape(9, arena.rivals, -1)
        sample, slot = (torch.isfinite(near) & (near > 0)).nonzero(as_tuple=True)
        there, index = point[sample, slot].numpy(), sample.numpy()
        assert (losses(asked, index, there) == 1).all()
        assert near[sample, slot].numpy() == pytest.approx(distances(asked, index, there), abs=1e-12)
        assert ((there >= 0) & (there <= 1)).all()
        found += len(np.unique(index))
    assert found >= 25  # of 40 that are right; some are so in the whole box


@pytest.mark.parametrize(
    ("name", "count", "budget", "share"), [("iris_8x8", 30, 210, 0.9855), ("digits_16x16", 20, 4020, 0.9974)]
)
def test_few_evaluations_reach_what_deep_fool_and_fmn_reach(name: str, count: int, budget: int, share: float) -> None:
    """0.1 % below what foolbox's DeepFool and FMN have after as many evaluations (benchmarks/references.py)."""
    data = np.load(MODELS / f"{name}.npz")
    words = {"radius": 0.02, "norm": "inf", "loss": "zero-one", "support": (0, 1)}
    asked = MODELS / f"{name}.onnx", data["x"][:count], data["y"][:count]
    exact = wd.worst_case(*asked, **words, gap=1e-4, jobs=None)
    few = wd.attack(*asked, **words, budget=budget)
    assert few.lower <= exact.upper
    assert few.lower - exact.nominal >= share * (exact.lower - exact.nominal)
