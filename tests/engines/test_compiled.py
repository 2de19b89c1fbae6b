"""Loops in C against numpy's: what one finds the other finds, up to rounding, and proofs that rest on either are proofs."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from elsewhere import missing

from wdaverify import GroundCost, Norm
from wdaverify.certify.backward import Backward, Lines, Shells
from wdaverify.certify.loops import Chosen
from wdaverify.certify.peak import Price, peak
from wdaverify.compiled import choice
from wdaverify.compiled.choice import extension
from wdaverify.engines.cells import lines as steering
from wdaverify.engines.cells.lines import Adam, Sides
from wdaverify.engines.cells.peaks import peaks_of
from wdaverify.engines.loops import compiled
from wdaverify.errors import InputError
from wdaverify.graph.functions import relu
from wdaverify.graph.nodes import chain
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF

SEEDS = [pytest.param(s, marks=[] if s < 6 else [pytest.mark.full]) for s in range(60)]


@pytest.fixture(autouse=True)
def built() -> None:
    if extension("steering") is None or extension("proving") is None:
        missing("the loops in C were not built", "install with a C compiler and Python's headers at hand")


def in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (steering, sys.modules["wdaverify.engines.cells.peaks"]):
        monkeypatch.setattr(module, "extension", lambda name: None)


def drawn_shells(rng: np.random.Generator, count: int, n: int, norm: Norm = Norm.INF) -> Shells:
    """Around points of a grid, so that rooms are tied; some at faces, some thick, some with near = far."""
    centre = np.round(rng.random((count, n)) * 8) / 8
    far = rng.uniform(0.05, 1.2, count) * (1.0 if norm is Norm.INF else np.sqrt(n))
    near = far * rng.choice([0.0, 0.0, 0.5, 1.0], count)
    return Shells.around(GroundCost(norm, 1), centre, np.zeros(n), np.ones(n), near, far)


def intervals(rng: np.random.Generator, *shape: int) -> tuple[Array, Array]:
    """Some of one sign, some of a point, some that end at 0."""
    low, high = -rng.exponential(size=shape), rng.exponential(size=shape)
    kind = rng.integers(6, size=shape)
    low, high = np.where(kind == 0, high, low), np.where(kind == 0, 2 * high, high)
    low, high = np.where(kind == 1, 2 * low, low), np.where(kind == 1, low, high)
    return np.where(kind == 2, 0.0, low), np.where(kind == 3, low, high) * (kind != 4)


@pytest.mark.parametrize("seed", SEEDS)
def test_lines_of_rows(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    nodes, rows, widths = 5, int(rng.integers(1, 20)), rng.integers(1, 21, 3)
    total, index = int(widths.sum()), np.sort(rng.integers(nodes, size=rows))
    low, high = (part.astype(np.float32) for part in intervals(rng, nodes, total))
    made = rng.integers(-1, 2, (nodes, total)).astype(np.int8)
    beta = rng.exponential(size=(nodes, total)).astype(np.float32)
    found: list[list[Array]] = []
    for c in (True, False):
        with monkeypatch.context() as patch:
            if not c:
                in_numpy(patch)
            draw = np.random.default_rng(seed)
            lines, out = steering.Lines(Sides.of(low, high, made), beta, index), list[Array]()
            alpha = draw.random((rows, total)).astype(np.float32)
            scale, constant = draw.exponential(size=rows).astype(np.float32), np.zeros(rows, np.float32)
            kept, slope, along = (np.zeros_like(alpha) for _ in range(3))
            in_scale, start = np.zeros_like(scale), 0
            for width in widths.tolist():
                span = slice(start, start + width)
                q = draw.normal(size=(rows, width)).astype(np.float32) * (draw.random((rows, width)) < 0.8)
                z = draw.normal(size=(rows, width)).astype(np.float32)
                out.append(lines.back(span, q, alpha, scale, constant, kept))
                out.append(lines.forward(span, z, alpha, kept, slope, along, in_scale))
                start += width
            found.append([*out, constant, kept, slope, along, in_scale])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_steps_of_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for c in (True, False):
        with monkeypatch.context() as patch:
            if not c:
                in_numpy(patch)
            rng = np.random.default_rng(0)
            x, adam = rng.random((7, 9)).astype(np.float32), Adam((7, 9))
            for number in range(5):
                adam.step(x, rng.normal(size=x.shape).astype(np.float32), number, 0.2, 0.0, 1.0)
                if number == 2:
                    x = np.ascontiguousarray(x[::2])
                    adam.take(np.arange(7) % 2 == 0)
            found.append(x)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", [Norm.INF, Norm.TWO])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_peaks_and_crossings(seed: int, power: int, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """At many inputs, where bisection comes before the walk, as at few; many shells, which numpy sorts too."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([3, 40, 200]))
    shells = drawn_shells(rng, 20, n, norm)
    shell = np.sort(rng.integers(20, size=30))
    q = (rng.normal(size=(30, n)) * (rng.random((30, n)) < 0.9)).astype(np.float32)
    size = np.abs(q).sum(axis=1)
    price = (size * rng.choice([0.0, 0.1, 0.4, 0.8, 1.5], 30)).astype(np.float32)
    level = (-size * rng.choice([0.0, 0.1, 0.5, 2.0], 30)).astype(np.float32)
    found = []
    for c in (True, False):
        with monkeypatch.context() as patch:
            if not c:
                in_numpy(patch)
            peaks = peaks_of(shells, power)
            assert peaks is not None
            found.append((*peaks(shell, q, price), *(peaks.crossing(shell, q, level) if power == 1 else ())))
    noise = 1e-5 * (1 + size)
    c_found, n_found = found
    assert (np.abs(c_found[0] - n_found[0]) <= noise).all()
    if power == 1:  # a price may be that of either side of a bend that rounding decides
        bound = [-(np.einsum("ij,ij->i", q, part[4]) + level) / part[3] + part[5] for part in found]
        near = np.abs(bound[0] - bound[1]) <= noise * (1 + 1 / np.minimum(c_found[3], n_found[3]))
        assert (near | (np.minimum(*bound) >= shells.far[shell])).all()  # beyond far nothing more is said
        assert (np.abs(c_found[5] - n_found[5]) <= 1e-5 * (1 + size / np.minimum(c_found[3], n_found[3]))).all()


@pytest.mark.parametrize("norm", [Norm.INF, Norm.TWO])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_proof_passes(seed: int, power: int, norm: Norm) -> None:
    """Whatever chooses nu: as given, along lines, by rule; with tau, without; phases; thick shells."""
    rng = np.random.default_rng(seed)
    widths = [int(rng.integers(1, 40)), *rng.integers(1, 20, int(rng.integers(1, 4))).tolist(), 3]
    layers = [(rng.normal(size=(b, a)) / np.sqrt(a), rng.normal(size=b) * 0.3) for a, b in pairwise(widths)]
    graph = chain(layers, relu())
    plain, fast = Backward(graph), Backward(graph, loops=compiled())
    shells, count, total = drawn_shells(rng, 11, widths[0], norm), 11, sum(widths[1:-1])
    phases = (rng.integers(-1, 2, (count, total)) * (rng.random((count, total)) < 0.2)).astype(np.int8)
    both = plain.pre_activations(shells, phases), fast.pre_activations(shells, phases)
    for one, other in zip(*both, strict=True):
        for side in (0, 1):
            np.testing.assert_allclose(one[side], other[side], rtol=1e-9, atol=1e-9)
    functional, tau = rng.normal(size=(count, 3)), rng.exponential(size=count) * rng.choice([0.0, 1.0, 1.0], count)
    nu = rng.normal(size=(count, total))
    lines = Lines(rng.random((count, total)), rng.normal(size=(count, total)), rng.normal(size=(count, total)))
    for how in ({"nu": nu}, {"nu": None}, {"nu": None, "lines": lines}):
        one, other = (b.leaves(functional, tau, shells, both[0], phases, power=power, **how) for b in (plain, fast))
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_peaks_of_proofs_hold_exactly(seed: int, outside: bool) -> None:
    """Against rationals: the bound is at least the value at every bend of the distance, and little more than the largest."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 14))
    shells = drawn_shells(rng, 6, n)
    if outside:
        lower, upper = shells.centre - shells.down, shells.centre + shells.up
        part = np.sort(rng.uniform(lower, upper, (2, 6, n)), axis=0)
        shells = shells.within(part[0], part[1])
    q = rng.normal(size=(6, 2, n)) * 10.0 ** rng.integers(-6, 6)
    tau = np.abs(q).sum(axis=(1, 2)) * rng.choice([0.0, 0.1, 0.3, 0.6], 6)
    loops = compiled()
    assert loops is not None
    slip = np.abs(rng.normal(size=q.shape)) * np.abs(q) * 1e-3
    for loose in (None, slip):
        top, spread = loops.peak(q, loose, shells, Price(tau, 1, None)) or pytest.fail("not done")
        usual, sized = peak(q, loose, shells, Price(tau, 1, None))
        assert (np.abs(top - usual) <= 1e-12 * (1e-300 + spread)).all()
        np.testing.assert_allclose(spread, sized, rtol=1e-9)
    top, spread = loops.peak(q, None, shells, Price(tau, 1, None)) or pytest.fail("not done")
    for b in range(6):
        up, down = ([Fraction(v) for v in part[b].tolist()] for part in (shells.up, shells.down))
        near, far = Fraction(float(shells.near[b])), Fraction(float(shells.far[b]))
        ends = {near, far, *(room for room in [*up, *down] if near <= room <= far)}
        for r in range(2):
            row, centre = ([Fraction(v) for v in part.tolist()] for part in (q[b, r], shells.centre[b]))
            pulled = [(p, u if p > 0 else d) for p, u, d in zip(row, up, down, strict=True)]
            at = sum((p * c for p, c in zip(row, centre, strict=True)), Fraction(0))
            value = max(
                at + sum(abs(p) * min(t, room) for p, room in pulled) - Fraction(float(tau[b])) * t for t in ends
            )
            bound = Fraction(float(top[b, r] + 1e-15 * n * 40 * spread[b, r]))
            assert bound >= value
            assert float(bound - value) <= 1e-9 * (1 + float(spread[b, r]))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_may_have_been_rounded_is_counted_alike(seed: int) -> None:
    rng, loops = np.random.default_rng(seed), compiled()
    assert loops is not None
    nodes, rows, width, total = 4, 3, int(rng.integers(1, 20)), 25
    low, high = intervals(rng, nodes, width)
    low, high = np.minimum(low, high), np.maximum(low, high)
    q, (slopes, beta, lift) = rng.normal(size=(nodes, rows, width)), rng.random((3, nodes, total))
    reach, slip, span = np.maximum(high, 0.0), rng.random(q.shape), slice(2, 2 + width)
    for chosen in (Chosen(), Chosen(given=beta), Chosen(slopes=slopes, beta=beta, lift=lift)):
        nu, gain, size, lost = loops.relu(span, q, slip, (low, high, reach), chosen)
        wide, rest = (low[:, None], high[:, None]), nu.copy()
        extra = slip * reach[:, None]
        if chosen.lift is not None:
            rest -= lift[:, None, span]
            extra = extra + 2 * UNIT_ROUNDOFF * np.abs(rest) * np.maximum(np.abs(wide[0]), np.abs(wide[1]))
        expected, rounded = relu().gain(q, rest, *wide)
        np.testing.assert_allclose(gain, expected.sum(-1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(size, np.abs(expected).sum(-1), rtol=1e-12)
        np.testing.assert_allclose(lost, (rounded + extra).sum(-1), rtol=1e-12)
        tight = loops.relu(span, q, None, (low, high, reach), chosen)[3]
        np.testing.assert_allclose(tight, (rounded + extra - slip * reach[:, None]).sum(-1), rtol=1e-6, atol=1e-15)


def test_what_is_not_finite_stays_so() -> None:
    """An infinite bound times a coefficient of 0 is no number, and so no bound."""
    loops = compiled()
    assert loops is not None
    low, high = np.array([[-np.inf, -1.0, 1.0]]), np.array([[1.0, np.nan, 2.0]])
    q, nu = np.ones((1, 1, 3)), np.zeros((1, 3))
    for k in range(2):
        at = slice(k, k + 1)
        _, gain, _, _ = loops.relu(
            slice(0, 1), q[:, :, at], None, (low[:, at], high[:, at], high[:, at]), Chosen(given=nu[:, at])
        )
        assert not np.isfinite(gain).all()


def test_what_they_do_not_do_is_left_to_numpy() -> None:
    loops, rng = compiled(), np.random.default_rng(0)
    assert loops is not None
    shells, q = drawn_shells(rng, 3, 4), rng.normal(size=(3, 1, 4))
    assert loops.peak(q, None, shells, Price(np.ones(3), 2, None)) is None
    assert loops.peak(q, None, Shells(GroundCost(Norm.ONE, 1), *vars_of(shells)), None) is None


def vars_of(shells: Shells) -> tuple[Array, ...]:
    return shells.centre, shells.up, shells.down, shells.near, shells.far


def test_arrays_that_do_not_go_together_are_refused_before_they_are_touched() -> None:
    c: Any = extension("steering")
    whole, short = np.zeros((4, 6), np.float32), np.zeros((4, 5), np.float32)
    rows, none = np.zeros(4, np.float32), np.zeros(4, np.int64)
    sides = [whole] * 6
    for wrong in (
        lambda: c.back(0, 6, none, whole, whole, whole, whole, *sides, rows[:3], rows),
        lambda: c.back(2, 6, none, whole, whole, whole, whole, *sides, rows, rows),
        lambda: c.back(0, 6, none + 4, whole, whole, whole, whole, *sides, rows, rows),
        lambda: c.back(0, 6, None, whole, short, whole, whole, *sides, rows, rows),
        lambda: c.back(0, 6, None, whole.astype(np.float64), whole, whole, whole, *sides, rows, rows),
        lambda: c.back(0, 6, None, whole.T, whole, whole, whole, *sides, rows, rows),
        lambda: c.moves(none + 9, whole, rows, whole, whole, whole),
        lambda: c.step(whole, whole, short, whole, *[0.5] * 8),
    ):
        with pytest.raises(ValueError, match=r"go together|accepted"):
            wrong()


@pytest.mark.parametrize(("value", "told"), [("0", "numpy"), ("1", "C"), ("", "C")])
def test_the_environment_decides(value: str, told: str) -> None:
    code = "from wdaverify.compiled.choice import loops; print(loops())"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, choice.SWITCH: value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == told


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.SWITCH, "yes")
    with pytest.raises(InputError, match=r"'yes': 0 \(numpy\) and 1 \(C\) are accepted"):
        choice.extension.__wrapped__("steering")


def test_loops_that_were_not_built_are_missed_aloud_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.SWITCH, "1")
    with pytest.raises(InputError, match="install with a C compiler"):
        choice.extension.__wrapped__("nothing")
    monkeypatch.setenv(choice.SWITCH, "")
    assert choice.extension.__wrapped__("nothing") is None
