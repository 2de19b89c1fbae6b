"""Questions at the corners of what is accepted, solved by hand: nothing weighs, nothing moves, three classes that all tie."""

from __future__ import annotations

import math

import numpy as np
import pytest
from layers import Affine, Relu, network_of

from wdaverify import (
    GroundCost,
    ReluNetwork,
    Support,
    WdroProblem,
    curve,
    distances,
    make_samples,
    recheck,
    verify,
)
from wdaverify.graph.functions import clip
from wdaverify.graph.nodes import chain


def linear(weight: list[list[float]], bias: list[float]) -> ReluNetwork:
    return network_of((Affine(weight, bias),), (len(weight[0]),), (len(bias),), "0" * 64, "linear", ())  # type: ignore[arg-type]


SAFE = linear([[1.0], [-1.0]], [1.0, -1.0])
"""The margin of class 1 over class 0 is -2 x - 2: no error on [0, 1]."""


def test_distances_do_not_depend_on_weights() -> None:
    samples = make_samples([[0.0], [0.5]], [0, 0], [0.0, 1.0])
    problem = WdroProblem(SAFE, samples, GroundCost("inf", 1), Support.box(0, 1, 1), "zero-one", 0.1)
    found = distances(problem)
    assert found.exact
    assert [(b.weight, b.lower, b.upper) for b in found.brackets] == [
        (0.0, math.inf, math.inf),
        (1.0, math.inf, math.inf),
    ]
    assert found.problem.samples.w.tolist() == [0.0, 1.0]
    steps = curve(WdroProblem(SAFE, samples, GroundCost("inf", "inf"), Support.box(0, 1, 1), "zero-one", 0.1))
    assert steps.exact
    assert not steps.upper.any()


@pytest.mark.parametrize("norm", ["inf", "1", "2"])
@pytest.mark.parametrize("order", [1, 2, "inf"])
def test_where_nothing_moves_only_errors_as_they_are_count(norm: str, order: object) -> None:
    samples = make_samples([[0.0], [1.0], [0.25]], [0, 0, 1])
    cost = GroundCost(norm, order, [math.inf])  # type: ignore[arg-type]
    problem = WdroProblem(SAFE, samples, cost, Support.box(0, 1, 1), "zero-one", 0.1)
    result = verify(problem)
    assert result.lower <= 1 / 3 <= result.upper
    assert result.gap <= 1e-9
    found = distances(problem)
    assert [b.lower for b in found.brackets] == [math.inf, math.inf, 0.0]


def test_dlr_of_three_classes_that_tie_in_the_support() -> None:
    """The loss of (0, x, -1.5 x) under the label 1 is -0.4 for all x > 0, and 0/0 at x = 0."""
    tied = linear([[0.0], [1.0], [-1.5]], [0.0, 0.0, 0.0])
    problem = WdroProblem(tied, make_samples([[1.0]], [1]), GroundCost("inf", 1), Support.box(0, 1, 1), "dlr", 0.1)
    result = verify(problem, gap=1e-3, time_limit=5)
    assert result.lower <= -0.4 <= result.upper <= np.nextafter(1, 2)
    assert result.lower >= -0.4 - 1e-9


@pytest.mark.parametrize("radius", [0.875, 0.88, 1.0, 2.0])
def test_a_radius_beyond_the_support_finds_no_error_where_none_is(radius: float) -> None:
    """z = x - 2 on [0, 1] for label 0, at order inf."""
    samples = make_samples([[0.125]], [0])
    problem = WdroProblem(
        linear([[0.0], [1.0]], [0.0, -2.0]), samples, GroundCost("inf", "inf"), Support.box(0, 1, 1), "01", radius
    )
    result = verify(problem)
    assert (result.status, result.lower, result.upper) == ("exact", 0.0, 0.0)


def test_rounding_wider_than_the_gap_is_said() -> None:
    """1e12 max(0, x + 0.1) - 1e12 max(0, x + 0.1) is 0, and its roundings are not."""
    pair = Affine([[1.0], [1.0]], [0.1, 0.1]), Relu(), Affine([[0.0, 0.0], [1e12, -1e12]], [0.0, 0.0])
    network = network_of(pair, (1,), (2,), "0" * 64, "pair", ())
    problem = WdroProblem(network, make_samples([[0.3]], [0]), GroundCost("inf", 1), Support.box(0, 1, 1), "margin", 0)
    result = verify(problem)
    assert (result.status, result.reason) == ("bracket", "stalled")
    assert result.lower <= 0 <= result.upper
    assert "rounding" in result.detail


def test_a_certificate_that_claims_no_upper_bound_is_proved_for_the_lower_one() -> None:
    """Products beyond the largest double: nothing is known above, and nothing is claimed."""
    first = np.array([[1.0, 1.0], [-2.0, 0.0]]) * 2.0**60, np.array([-2.0, 0.0]) * 2.0**60
    second = np.array([[1.0, 2.0], [2.0, 1.0]]) * 1e290, np.array([1.0, 1.0]) * 1e290
    network = ReluNetwork(chain([first, second], clip(0.0, 1.0)), (2,), (2,), "0" * 64, "large", ())
    samples = make_samples([[0.625, 0.75]], [0])
    problem = WdroProblem(network, samples, GroundCost("1", 1), Support.box(0, 1, 2), "margin", 0.5)
    result = verify(problem, certificate=True)
    assert result.certificate is not None
    assert result.upper == math.inf
    assert recheck(result.certificate, problem).proved
