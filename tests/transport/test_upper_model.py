"""Upper models against convex functions known exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdaverify.transport.models import UpperModel

Line = tuple[int, int]
LINES = st.lists(st.tuples(st.integers(-30, 30), st.integers(0, 12)), min_size=1, max_size=6)
MULTIPLIERS = st.lists(st.floats(0, 50, allow_subnormal=False), min_size=1, max_size=9)
LARGEST = 12


def phi(lines: list[Line], lam: float) -> Fraction:
    """``max_k v_k - lam c_k`` exactly: convex, non-increasing, slopes in [-12, 0]."""
    return max(Fraction(v, 7) - Fraction(lam) * c for v, c in lines)


def proven(lines: list[Line], lam: float) -> float:
    value = float(phi(lines, lam))
    return value if Fraction(value) >= phi(lines, lam) else float(np.nextafter(value, np.inf))


def deduced(points: list[tuple[float, float]], lam: float) -> float:
    """The best of every chord, of monotonicity and of the slope, in plain floats."""
    out = [u for a, u in points if a <= lam] + [u + (b - lam) * LARGEST for b, u in points if b >= lam]
    for a, u in points:
        for b, v in points:
            if a < lam < b:
                out.append(u + (lam - a) / (b - a) * (v - u))
    return min(out, default=np.inf)


@settings(deadline=None, max_examples=200)
@given(st.lists(LINES, min_size=1, max_size=4), MULTIPLIERS, MULTIPLIERS)
def test_dominates_a_convex_function_and_equals_it_where_proven(
    functions: list[list[Line]], solved: list[float], asked: list[float]
) -> None:
    model = UpperModel(len(functions), np.full(len(functions), float(LARGEST)))
    for lam in solved:
        for item, lines in enumerate(functions):
            model.add(item, lam, proven(lines, lam))
    for lam in [*asked, *solved]:
        bound = model.evaluate(lam)
        for item, lines in enumerate(functions):
            points = [(a, proven(lines, a)) for a in solved]
            assert Fraction(float(bound[item])) >= phi(lines, lam)
            assert bound[item] <= deduced(points, lam) + 1e-9
            if lam in solved:
                assert bound[item] <= proven(lines, lam)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(-50, 50)), min_size=1, max_size=12),
    st.floats(0, 25),
    st.integers(1, 4),
)
def test_keeps_the_best_of_loose_values(points: list[tuple[float, float]], lam: float, chunk: int) -> None:
    model = UpperModel(1, np.array([float(LARGEST)]))
    for k in range(0, len(points), chunk):
        part = points[k : k + chunk]
        model.add_many(np.zeros(len(part), np.int64), np.array([p[0] for p in part]), np.array([p[1] for p in part]))
        model.evaluate(1.0)
    low = deduced(points, lam)
    assert low - 1e-12 <= model.evaluate(lam)[0] <= low + 1e-9


def test_the_three_rules_by_hand() -> None:
    model = UpperModel(3, np.array([2.0, 2.0, 0.5]))
    model.add_many(np.array([0, 0, 1]), np.array([1.0, 3.0, 2.0]), np.array([10.0, 8.0, 5.0]))
    at = {lam: model.evaluate(lam) for lam in (0.0, 1.0, 2.0, 3.0, 9.0)}
    assert at[2.0][0] == pytest.approx(9.0, abs=1e-12)
    assert (at[1.0][0], at[3.0][0], at[9.0][0]) == (10.0, 8.0, 8.0)
    assert at[0.0][0] == pytest.approx(12.0, abs=1e-12)
    assert at[0.0][1] == pytest.approx(9.0, abs=1e-12)
    assert (at[2.0][1], at[9.0][1]) == (5.0, 5.0)
    assert at[2.0][2] == np.inf


def test_superfluous_values_are_dropped() -> None:
    model = UpperModel(1, np.array([1.0]))
    for lam, upper in [(1.0, 5.0), (2.0, 5.5), (3.0, 4.0), (2.0, 4.9), (0.0, 9.0)]:
        model.add(0, lam, upper)
    lam, upper = model.points(0)
    assert lam.tolist() == [1.0, 3.0]
    assert upper.tolist() == [5.0, 4.0]


def test_nearly_equal_multipliers_do_not_remove_each_other() -> None:
    lam = 7.3
    model = UpperModel(1, np.array([100.0]))
    model.add_many(
        np.zeros(4, np.int64),
        np.array([0.0, lam, np.nextafter(lam, 9), 20.0]),
        np.array([10.0, 1.0, np.nextafter(1.0, 0), 0.0]),
    )
    assert model.evaluate(lam)[0] == pytest.approx(1.0, abs=1e-12)


def test_plus_infinity_says_nothing_and_an_infinite_cost_is_no_trap() -> None:
    model = UpperModel(2, np.array([np.inf, 1.0]))
    model.add_many(np.array([0, 1]), 2.0, np.array([3.0, np.inf]))
    assert model.evaluate(1.0).tolist() == [np.inf, np.inf]
    assert model.evaluate(2.0).tolist() == [3.0, np.inf]


@pytest.mark.parametrize(
    ("item", "lam", "upper"),
    [(2, 1.0, 1.0), (-1, 1.0, 1.0), (0, -1.0, 1.0), (0, np.inf, 1.0), (0, 1.0, np.nan), (0, 1.0, -np.inf)],
)
def test_refuses_what_is_no_bound(item: int, lam: float, upper: float) -> None:
    with pytest.raises(ValueError, match=r"item|multiplier|upper"):
        UpperModel(1, np.ones(1)).add(item, lam, upper)


def test_refuses_bad_costs_and_questions() -> None:
    with pytest.raises(ValueError, match="largest"):
        UpperModel(1, np.array([-1.0]))
    with pytest.raises(ValueError, match="multiplier"):
        UpperModel(1, np.ones(1)).evaluate(-1.0)
