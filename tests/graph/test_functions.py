"""Piecewise-linear functions against their definitions, and their bounds against a grid of points in rationals."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from wdaverify.errors import NetworkError
from wdaverify.graph.functions import PiecewiseLinear, absolute, clip, leaky_relu, relu

ONE = Fraction(1)
HAT = PiecewiseLinear("hat", np.array([-1.0, 0.0, 2.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, -0.5, 0.0]))
EVERY: list[tuple[PiecewiseLinear, Callable[[Fraction], Fraction]]] = [
    (relu(), lambda z: max(z, Fraction(0))),
    (leaky_relu(0.25), lambda z: z if z > 0 else z / 4),
    (leaky_relu(-0.5), lambda z: z if z > 0 else -z / 2),
    (absolute(), abs),
    (clip(0.0, 6.0), lambda z: min(max(z, Fraction(0)), 6 * ONE)),
    (clip(-1.0, 1.5), lambda z: min(max(z, -ONE), 3 * ONE / 2)),
    (clip(0.5, np.inf), lambda z: max(z, ONE / 2)),
    (HAT, lambda z: max(Fraction(0), min(z + 1, 1 - z / 2))),
]
IDS = [f"{function.name}{k}" for k, (function, _) in enumerate(EVERY)]


def intervals(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ends = np.sort(
        np.round(rng.normal(size=(count, 2)) * 4) / 2 * 10.0 ** rng.choice([0, 0, 0, -3], size=(count, 1)), axis=1
    )
    return ends[:, 0], ends[:, 1]


@pytest.mark.parametrize(("function", "meaning"), EVERY, ids=IDS)
def test_values(function: PiecewiseLinear, meaning: Callable[[Fraction], Fraction]) -> None:
    z = np.concatenate([np.linspace(-9, 9, 145), function.breaks])
    want = [float(meaning(Fraction(v))) for v in z.tolist()]
    np.testing.assert_allclose(function.value(z[:, None])[:, 0], want, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(("function", "meaning"), EVERY, ids=IDS)
def test_no_point_exceeds_the_gain(function: PiecewiseLinear, meaning: Callable[[Fraction], Fraction]) -> None:
    """``q phi(z) - nu z <= gain`` for nu by rule, along a line, and any at all; the gain is attained."""
    low, high = intervals(60, 1)
    rng = np.random.default_rng(2)
    q = np.round(rng.normal(size=60) * 8) / 4 * 10.0 ** rng.choice([0, 3], size=60)
    for nu in (function.by_rule(q, low, high), function.along(q, low, high, rng.uniform(size=60)), rng.normal(size=60)):
        gain, rounded = function.gain(q, nu, low, high)
        top = gain + rounded
        for k in range(60):
            inner = [b for b in function.breaks.tolist() if low[k] < b < high[k]]
            points = {Fraction(v) for v in (float(low[k]), float(high[k]), *inner)}
            points |= {Fraction(float(v)) for v in np.linspace(low[k], high[k], 9) if low[k] <= v <= high[k]}
            worth = max(Fraction(float(q[k])) * meaning(z) - Fraction(float(nu[k])) * z for z in points)
            assert Fraction(float(top[k])) >= worth
            assert float(worth) >= gain[k] - rounded[k] - 1e-12 * abs(gain[k])


@pytest.mark.parametrize(("function", "meaning"), EVERY, ids=IDS)
def test_reach_and_slopes(function: PiecewiseLinear, meaning: Callable[[Fraction], Fraction]) -> None:
    low, high = intervals(60, 3)
    reach, (least, greatest) = function.reach(low, high), function.slope_range(low, high)
    for k in range(60):
        grid = sorted({Fraction(float(v)) for v in np.linspace(low[k], high[k], 33)})
        grid = [z for z in grid if low[k] <= z <= high[k]]
        values = [meaning(z) for z in grid]
        assert all(abs(v) <= reach[k] for v in values)
        for a, b, u, v in zip(grid, grid[1:], values, values[1:], strict=False):
            assert least[k] * (b - a) - Fraction(1, 10**9) <= v - u <= greatest[k] * (b - a) + Fraction(1, 10**9)


def test_the_rule_bounds_the_middle_best() -> None:
    """Of all lines through two of the ends and breaks none is lower in the middle; for a ReLU it is CROWN's."""
    low, high = np.array([-3.0, -1.0, -2.0, 1.0, -2.0]), np.array([1.0, 3.0, 2.0, 2.0, -1.0])
    for sign in (1.0, -1.0):
        nu = relu().by_rule(np.full(5, sign), low, high)
        general = PiecewiseLinear.by_rule(relu(), np.full(5, sign), low, high)
        np.testing.assert_allclose(nu[[0, 1, 3, 4]], general[[0, 1, 3, 4]], atol=1e-15)
    assert clip(0.0, 1.0).by_rule(np.array([1.0]), np.array([-1.0]), np.array([8.0])).tolist() == [0.0]
    assert clip(0.0, 1.0).by_rule(np.array([1.0]), np.array([-3.0]), np.array([1.5])).tolist() == [0.25]


def test_one_slope_a_neuron() -> None:
    prelu = leaky_relu([0.0, 0.5, 2.0])
    assert prelu.value(np.array([[-2.0, -2.0, -2.0], [1.0, 2.0, 3.0]])).tolist() == [[0.0, -1.0, -4.0], [1.0, 2.0, 3.0]]
    gain, rounded = prelu.gain(np.ones((1, 3)), np.zeros((1, 3)), np.full((1, 3), -1.0), np.full((1, 3), 2.0))
    assert (gain + rounded >= 2).all()


@pytest.mark.parametrize(
    ("breaks", "values", "slopes"),
    [
        ([0.0], [0.0], [0.0]),
        ([1.0, 0.0], [0.0, 1.0], [0.0, -1.0, 0.0]),
        ([0.0, 1.0], [0.0, 1.0], [0.0, 1.0 + 2**-52, 0.0]),
        ([0.0], [np.nan], [0.0, 1.0]),
        ([], [], [1.0]),
    ],
)
def test_what_is_no_continuous_function_is_refused(
    breaks: list[float], values: list[float], slopes: list[float]
) -> None:
    with pytest.raises(NetworkError, match=r"accepted|exactly"):
        PiecewiseLinear("f", np.array(breaks), np.array(values), np.array(slopes))


def test_a_break_that_is_forgotten_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends_alone(self: PiecewiseLinear, q: np.ndarray, nu: np.ndarray, low: np.ndarray, high: np.ndarray) -> object:
        return np.maximum(q * self.value(low) - nu * low, q * self.value(high) - nu * high), 0 * q

    monkeypatch.setattr(PiecewiseLinear, "gain", ends_alone)
    with pytest.raises(AssertionError):
        test_no_point_exceeds_the_gain(HAT, EVERY[-1][1])


@pytest.mark.parametrize("name", [pytest.param(10**5000, id="long"), None, b"Relu", 3])
def test_a_name_that_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(NetworkError, match="the name of a function"):
        PiecewiseLinear(name, np.zeros(1), np.zeros(1), np.array([0.0, 1.0]))  # type: ignore[arg-type]
