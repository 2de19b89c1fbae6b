"""The pool against a brute-force upper concave envelope."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdaverify.transport.pool import AtomPool

ATOMS = st.lists(st.tuples(st.integers(0, 12), st.integers(-6, 20)), max_size=25)


def fill(atoms: list[tuple[int, int]], clean: float = 0.0) -> AtomPool:
    pool = AtomPool(np.array([clean]), 1)
    for cost, value in atoms:
        pool.add(0, cost / 4, value / 4, np.array([float(cost)]))
    return pool


@settings(deadline=None)
@given(ATOMS, st.integers(0, 40))
def test_lower_model_is_the_maximum_over_everything_offered(atoms: list[tuple[int, int]], slope: int) -> None:
    pool = fill(atoms)
    lam = slope / 8
    expected = max([0.0, *(v / 4 - lam * c / 4 for c, v in atoms)])
    found = float(pool.lower_model(lam)[0])
    assert expected - 1e-14 * (1 + abs(expected)) <= found <= expected
    best = pool.best(0, lam)
    assert best.value - lam * best.cost == expected


@settings(deadline=None)
@given(ATOMS)
def test_envelope_is_strictly_concave_and_increasing(atoms: list[tuple[int, int]]) -> None:
    envelope = fill(atoms).envelope(0)
    cost = np.array([a.cost for a in envelope])
    value = np.array([a.value for a in envelope])
    assert cost[0] == 0.0
    assert (np.diff(cost) > 0).all()
    assert (np.diff(value) > 0).all()
    assert (np.diff(np.diff(value) / np.diff(cost)) < 0).all()
    for atom in envelope:
        assert atom.point is None or atom.point[0] == atom.cost * 4


@settings(deadline=None)
@given(ATOMS, st.permutations(range(25)))
def test_order_of_arrival_does_not_matter(atoms: list[tuple[int, int]], order: list[int]) -> None:
    shuffled = [atoms[k] for k in order if k < len(atoms)]
    one, two = fill(atoms).envelope(0), fill(shuffled).envelope(0)
    assert [(a.cost, a.value) for a in one] == [(a.cost, a.value) for a in two]


def test_add_says_whether_the_atom_entered() -> None:
    pool = AtomPool(np.array([0.0, 5.0]), 2)
    point = np.zeros(2)
    assert pool.add(0, 1.0, 1.0, point)
    assert not pool.add(0, 1.0, 1.0, point), "a tie changes nothing"
    assert not pool.add(0, 2.0, 1.0, point), "the same value at a higher cost"
    assert not pool.add(0, 0.5, 0.5, point), "on the chord"
    assert pool.add(0, 0.5, 0.6, point)
    assert not pool.add(1, 1.0, 5.0, point)
    assert not pool.add(1, 1.0, -np.inf, point)
    entered = pool.add_many(np.array([1, 0]), np.array([1.0, 3.0]), np.array([6.0, 0.9]), np.zeros((2, 2)))
    assert entered.tolist() == [True, False]
    assert pool.lower_model(0.0).tolist() == [1.0, 6.0]


def test_a_free_atom_above_the_clean_value_takes_its_place() -> None:
    pool = AtomPool(np.array([0.0]), 1)
    assert pool.add(0, 1.0, 1.0, np.array([1.0]))
    assert not pool.add(0, 0.0, 0.0, np.array([7.0]))
    assert pool.add(0, 0.0, 0.25, np.array([9.0]))
    first, last = pool.envelope(0)
    assert (first.cost, first.value, last.cost) == (0.0, 0.25, 1.0)
    assert first.point is not None
    assert first.point[0] == 9.0


def test_points_are_copies() -> None:
    pool, point = AtomPool(np.array([0.0]), 1), np.array([1.0])
    pool.add(0, 1.0, 1.0, point)
    point[0] = 2.0
    kept = pool.best(0, 0.0).point
    assert kept is not None
    assert kept[0] == 1.0


@pytest.mark.parametrize(
    ("sample", "cost", "value", "width"),
    [
        (1, 1.0, 1.0, 1),
        (-1, 1.0, 1.0, 1),
        (0, -1.0, 1.0, 1),
        (0, np.inf, 1.0, 1),
        (0, np.nan, 1.0, 1),
        (0, 1.0, np.nan, 1),
        (0, 1.0, np.inf, 1),
        (0, 1.0, 1.0, 2),
    ],
)
def test_refuses_what_is_no_atom(sample: int, cost: float, value: float, width: int) -> None:
    with pytest.raises(ValueError, match=r"needed|not one of"):
        AtomPool(np.array([0.0]), 1).add(sample, cost, value, np.zeros(width))


def test_refuses_bad_multipliers_and_clean_values() -> None:
    pool = AtomPool(np.array([0.0]), 1)
    for lam in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="multiplier"):
            pool.lower_model(lam)
    with pytest.raises(ValueError, match="clean values"):
        AtomPool(np.array([np.nan]), 1)


def test_points_are_those_of_the_atoms() -> None:
    pool = AtomPool(np.zeros(3), 2)
    pool.add_many(
        np.array([2, 0, 2, 2]),
        np.array([1.0, 1.0, 2.0, 0.9]),
        np.array([1.0, 3.0, 1.5, 0.1]),
        np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]),
    )
    sample, point = pool.points()
    assert sample.tolist() == [0, 2, 2]
    assert point.tolist() == [[3.0, 4.0], [1.0, 2.0], [5.0, 6.0]]
    empty = AtomPool(np.zeros(3), 2).points()
    assert (empty[0].shape, empty[1].shape) == ((0,), (0, 2))
