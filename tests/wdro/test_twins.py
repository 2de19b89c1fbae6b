"""Equal samples are answered together, and the answer is that of the same samples merged by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from builders import write_mlp
from problems import random_problem

from wdaverify import Loss, Norm, Support, load_network, verify
from wdaverify.certify.checker import recheck
from wdaverify.ground import GroundCost
from wdaverify.problem import WdroProblem
from wdaverify.samples import make_samples
from wdaverify.wdro.curve import curve
from wdaverify.wdro.distances import distances
from wdaverify.wdro.twins import Twins


def _random(seed: int, folder: Path) -> WdroProblem:
    drawn = random_problem(seed)
    path = folder / f"{seed}.onnx"
    write_mlp(path, list(drawn.weights), dtype=np.float64)
    return WdroProblem(
        load_network(path),
        make_samples(drawn.x, drawn.y),
        GroundCost(Norm(drawn.norm), order=1),
        Support(drawn.lower, drawn.upper),
        Loss.MARGIN,
        drawn.radius,
    )


def _doubled(problem: WdroProblem) -> tuple[WdroProblem, WdroProblem]:
    """The problem with samples repeated unevenly, and the same merged by hand."""
    x, y = problem.samples.x, problem.samples.y
    times = np.arange(len(y)) % 3 + 1
    at = np.random.default_rng(0).permutation(np.repeat(np.arange(len(y)), times))
    many = replace(problem, samples=make_samples(x[at], y[at]))
    few = replace(problem, samples=make_samples(x, y, times.astype(float)))
    return many, few


def test_groups_of_equal_samples() -> None:
    x = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    twins = Twins(make_samples(x, np.array([0, 0, 1, 0])))
    assert twins.group.tolist() == [0, 0, 1, 2]
    assert twins.leaders.tolist() == [0, 2, 3]
    assert twins.of(1).tolist() == [0, 1]
    items, source = twins.items(np.array([1, 4]), 2)
    assert items.tolist() == [1, 3, 4]
    assert source.tolist() == [0, 0, 1]
    assert twins.weight.tolist() == [0.5, 0.0, 0.25, 0.25]


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE, Loss.HINGE, Loss.CW])
@pytest.mark.parametrize("seed", range(3))
def test_same_answer_as_merged_by_hand(seed: int, loss: Loss, tmp_path: Path) -> None:
    many, few = _doubled(replace(_random(seed, tmp_path), loss=loss))
    a, b = verify(many, certificate=loss in (Loss.MARGIN, Loss.ZERO_ONE)), verify(few)
    assert a.status == b.status == "exact"
    assert max(a.lower, b.lower) <= min(a.upper, b.upper) + 1e-12
    assert a.statistics.solves <= b.statistics.solves + 2 * len(few.samples)
    moved: dict[int, Fraction] = {}
    for atom in a.atoms:
        moved[atom.sample] = moved.get(atom.sample, Fraction(0)) + Fraction(atom.weight)
    assert all(total == Fraction(many.samples.w[i]) for i, total in moved.items())
    if a.certificate is not None:
        assert recheck(a.certificate, many).proved


def test_as_many_questions_as_points(tmp_path: Path) -> None:
    problem = _random(1, tmp_path)
    x, y = problem.samples.x, problem.samples.y
    many = replace(problem, samples=make_samples(np.tile(x, (20, 1)), np.tile(y, 20)))
    once, often = verify(problem), verify(many)
    assert often.statistics.rivals_screened <= 2 * once.statistics.rivals_screened
    assert often.statistics.solves <= 2 * once.statistics.solves + 2
    found = distances(replace(many, loss=Loss.ZERO_ONE))
    own = distances(replace(problem, loss=Loss.ZERO_ONE))
    for k, bracket in enumerate(found.brackets):
        same = own.brackets[k % len(y)]
        assert max(bracket.lower, same.lower) <= min(bracket.upper, same.upper) + 1e-12
    assert curve(many, gap=1e-4).exact
