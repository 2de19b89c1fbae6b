"""Curved functions against interval arithmetic in 40 digits: values, slopes, turns, and the largest ``q phi(z) - nu z``."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest

from wdaverify.errors import NetworkError
from wdaverify.graph.smooth import curve
from wdaverify.graph.smooth.curve import Smooth
from wdaverify.graph.smooth.elu import elu, selu
from wdaverify.graph.smooth.erf import erf
from wdaverify.graph.smooth.exponential import exponential
from wdaverify.graph.smooth.gate import gate, hard_swish
from wdaverify.graph.smooth.gelu import gelu
from wdaverify.graph.smooth.gelu_tanh import CUBIC, LINEAR, gelu_tanh
from wdaverify.graph.smooth.mish import mish
from wdaverify.graph.smooth.power import cube, square
from wdaverify.graph.smooth.sigmoid import sigmoid
from wdaverify.graph.smooth.silu import silu
from wdaverify.graph.smooth.sine import sine
from wdaverify.graph.smooth.softplus import softplus
from wdaverify.graph.smooth.softsign import softsign
from wdaverify.graph.smooth.tanh import tanh

mpf, iv = mpmath.mpf, mpmath.iv
ROOT = 1.4142135381698608  # float32 of sqrt(2), as exporters have it


def _logistic(z: Any) -> Any:
    return 1 / (1 + mpmath.exp(-z))


def _elu(alpha: float, gain: float = 1.0) -> Callable[[Any], Any]:
    return lambda z: mpf(gain) * (z if z > 0 else mpf(alpha) * mpmath.expm1(z))


def _clipped(z: Any, low: float, high: float) -> Any:
    return min(max(z, mpf(low)), mpf(high))


FUNCTIONS: dict[str, tuple[Smooth, Callable[[Any], Any]]] = {
    "sigmoid": (sigmoid(), _logistic),
    "tanh": (tanh(), mpmath.tanh),
    "softplus": (softplus(), lambda z: mpmath.log1p(mpmath.exp(z))),
    "elu": (elu(), _elu(1.0)),
    "elu of 2": (elu(2.0), _elu(2.0)),
    "elu of -1.5": (elu(-1.5), _elu(-1.5)),
    "selu": (selu(1.6732632, 1.050701), _elu(1.6732632, 1.050701)),
    "erf": (erf(), mpmath.erf),
    "gelu": (gelu(), lambda z: z / 2 * mpmath.erfc(-z / mpmath.sqrt(2))),
    "gelu of a file": (gelu(1.0, ROOT), lambda z: z / 2 * mpmath.erfc(-z / mpf(ROOT))),
    "gelu by tanh": (gelu_tanh(), lambda z: z / 2 * (1 + mpmath.tanh(mpf(LINEAR) * z + mpf(CUBIC) * z**3))),
    "silu": (silu(), lambda z: z * _logistic(z)),
    "mish": (mish(), lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z)))),
    "hard swish": (hard_swish(), lambda z: z * _clipped(z / 6 + mpf(0.5), 0, 1)),
    "a gate": (gate(0.3, 1.0, 0.2, -0.1, 0.7), lambda z: z * _clipped(mpf(0.3) * z + mpf(0.2), -0.1, 0.7)),
    "softsign": (softsign(), lambda z: z / (1 + abs(z))),
    "exp": (exponential(), mpmath.exp),
    "square": (square(), lambda z: z * z),
    "cube": (cube(), lambda z: z**3),
    "sine": (sine(), mpmath.sin),
}


@pytest.fixture(autouse=True)
def digits() -> Any:
    with mpmath.workdps(40):
        before, iv.dps = iv.dps, 40
        yield
        iv.dps = before


def _violation(
    function: Smooth, truth: Callable[[Any], Any], rng: np.random.Generator, by_rule: bool
) -> tuple[float, float]:
    """By how much a point beats the gain, and the slopes there the range, in units of what is charged for rounding; > 1: unsound."""
    at = rng.normal() * rng.choice([1e-6, 0.01, 1.0, 5.0, 30.0])
    width = rng.choice([1e-9, 1e-4, 0.1, 1.0, 5.0, 20.0]) * rng.uniform()
    low, high = np.full((1, 1, 1), at - width / 2), np.full((1, 1, 1), at + width / 2)
    q = np.full((1, 1, 1), rng.normal() * rng.choice([1e-3, 1.0, 100.0]))
    nu = function.by_rule(q, low, high) if by_rule else np.full((1, 1, 1), rng.normal() * abs(q.item()) * 2)
    best, lost = function.gain(q, nu, low, high)
    if by_rule:  # the same line by another way, which is what bounds by rule are made of
        same, best, lost = function.ruled(q, low, high)
        nu = same
    first, last = mpf(low.item()), mpf(high.item())
    points = [first + (last - first) * k / 24 for k in range(25)]
    points += [mpf(turn) for turn in function.turns if low.item() < turn < high.item()]
    values = [truth(z) for z in points]
    top = max(mpf(q.item()) * v - mpf(nu.item()) * z for v, z in zip(values, points, strict=True))
    over = float((top - mpf(best.item())) / (mpf(lost.item()) + mpf(2) ** -1000))
    least, greatest = function.slope_range(low[0, 0], high[0, 0])
    off = 0.0
    for a, b, c, d in zip(points[:24], points[1:25], values[:24], values[1:25], strict=True):
        if b - a > mpf(10) ** -12:
            slope = (d - c) / (b - a)
            off = max(off, float(slope - mpf(greatest.item())), float(mpf(least.item()) - slope))
    return over, off


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gains_and_slopes_enclose(name: str) -> None:
    function, truth = FUNCTIONS[name]
    rng = np.random.default_rng(len(name))
    for trial in range(40):
        over, off = _violation(function, truth, rng, by_rule=bool(trial % 2))
        assert over <= 1
        assert off <= 1e-18


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_within_a_sixteenth_of_what_is_charged(name: str) -> None:
    function, truth = FUNCTIONS[name]
    rng = np.random.default_rng(7)
    points = np.concatenate([s * 10.0 ** rng.uniform(-300, 2, 12) for s in (1, -1)] + [rng.uniform(-12, 12, 60), [0.0]])
    for z, value, slope in zip(points, function.value(points), function.derivative(points), strict=True):
        size = np.array(abs(z))
        room = mpf(2) ** -48 * mpf(float(function.scale(size))) + mpf(2) ** -1021
        assert abs(mpf(float(value)) - truth(mpf(float(z)))) <= room
        if abs(z) > 1e-30 and abs(z) < 30 and all(abs(z - turn) > 1e-3 for turn in function.turns):
            exact = mpmath.diff(truth, mpf(float(z)))
            assert abs(mpf(float(slope)) - exact) <= mpf(2) ** -48 * mpf(float(function.steep(size))) + mpf(10) ** -15


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gains_are_attained_nearly(name: str) -> None:
    """Along the line by rule a gain exceeds the largest value by little: bounds are of use."""
    function, truth = FUNCTIONS[name]
    for low, high in ((-1.0, 0.5), (0.1, 0.6), (-3.2, -2.7), (-2.0, 2.5)):
        for sign in (1.0, -1.0):
            ends = np.full((1, 1, 1), low), np.full((1, 1, 1), high)
            q = np.full((1, 1, 1), sign)
            nu = function.by_rule(q, *ends)
            best = float(function.gain(q, nu, *ends)[0].item())
            grid = [mpf(low) + (mpf(high) - mpf(low)) * k / 400 for k in range(401)]
            top = max(float(mpf(sign) * truth(z) - mpf(nu.item()) * z) for z in grid)
            assert top - 1e-12 <= best <= top + 1e-3


@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_precision_stays(name: str) -> None:
    function = FUNCTIONS[name][0]
    points = np.linspace(-3, 3, 7)
    assert function.value(points.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(function.value(points.astype(np.float32)), function.value(points), rtol=1e-5, atol=1e-6)


def _sign(f: Callable[[Any], Any], low: float, high: float, deep: int = 24) -> int:
    """The sign of f on an interval, shown by intervals; 0 where it is not shown."""
    value = f(iv.mpf([low, high]))
    if value.a > 0 or value.b < 0:
        return 1 if value.a > 0 else -1
    if not deep:
        return 0
    middle = 0.5 * (low + high)
    first = _sign(f, low, middle, deep - 1)
    return first if first and first == _sign(f, middle, high, deep - 1) else 0


def _tanh(z: Any) -> Any:
    return 1 - 2 / (iv.exp(2 * z) + 1)


def _gelu_tanh_bend(a: Any, b: Any) -> Callable[[Any], Any]:
    def bend(z: Any) -> Any:
        inner = a + 3 * b * z**2
        return inner + 3 * b * z**2 - z * inner**2 * _tanh(a * z + b * z**3)

    return bend


def _mish_bend(z: Any) -> Any:
    w = iv.exp(z)
    s, gate_ = w / (1 + w), 1 - 2 / (w * (w + 2) + 2)
    return 2 + z * (1 - s - 2 * s * gate_)


BENDS: dict[str, tuple[Smooth, Callable[[Any], Any], float]] = {
    "silu": (silu(), lambda z: 2 - z * _tanh(z / 2), 40.0),
    "mish": (mish(), _mish_bend, 40.0),
    "gelu by tanh": (gelu_tanh(), _gelu_tanh_bend(iv.mpf(LINEAR), iv.mpf(CUBIC)), 8.0),
}


@pytest.mark.parametrize("name", BENDS)
def test_functions_turn_where_they_say_and_nowhere_else(name: str) -> None:
    """phi'' has one sign between the turns and another beyond; the turns are within a few units in the last place."""
    function, bend, far = BENDS[name]
    first, last = function.turns
    for low, high, sign in ((-far, first - 1e-6, -1), (first + 1e-6, last - 1e-6, 1), (last + 1e-6, far, -1)):
        edges = np.linspace(low, high, 60)
        assert all(_sign(bend, float(a), float(b)) == sign for a, b in pairwise(edges))
    for turn in function.turns:
        step = 8 * math.ulp(turn)
        inner, outer = (turn - step, turn + step) if turn > 0 else (turn + step, turn - step)
        assert _sign(bend, inner, inner) == 1
        assert _sign(bend, outer, outer) == -1
    slopes = [(bend(iv.mpf(turn + 1e-6)) - bend(iv.mpf(turn - 1e-6))) / iv.mpf(2e-6) for turn in function.turns]
    assert all(s.a > 0 or s.b < 0 for s in slopes)


def test_gelu_by_tanh_turns_once_for_all_coefficients_that_are_accepted() -> None:
    near = 1 + iv.mpf([-1.0001e-4, 1.0001e-4])
    bend = _gelu_tanh_bend(iv.mpf(LINEAR) * near, iv.mpf(CUBIC) * near)
    turn = gelu_tanh().turns[1]
    for low, high, sign in ((0.0, turn - 0.01, 1), (turn + 0.01, 8.0, -1)):
        edges = np.linspace(low, high, 80)
        assert all(_sign(bend, float(a), float(b)) == sign for a, b in pairwise(edges))
    with pytest.raises(NetworkError, match="GELU's coefficients"):
        gelu_tanh(0.9, CUBIC)


def _planted(monkeypatch: pytest.MonkeyPatch, fault: str) -> Smooth:
    if fault == "a turn that is elsewhere":
        made = silu()
        return type(made)(made.name, (-2.0, 2.0), made.bends)
    if fault == "a piece that bends the other way":
        made = tanh()
        return type(made)(made.name, made.turns, (1, 1))
    made = silu()
    monkeypatch.setattr(type(made), "values_at", lambda _, z: 1.001 * z / (1 + np.exp(-z)))
    return made


@pytest.mark.parametrize(
    "fault", ["a turn that is elsewhere", "a piece that bends the other way", "values that are off"]
)
def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    function = _planted(monkeypatch, fault)
    truth = mpmath.tanh if function.name == "Tanh" else FUNCTIONS["silu"][1]
    rng = np.random.default_rng(0)
    found = [_violation(function, truth, rng, by_rule=bool(k % 2)) for k in range(200)]
    assert max(over for over, _ in found) > 1 or max(off for _, off in found) > 1e-9


def test_what_overflows_is_unknown() -> None:
    low, high = np.full((1, 1, 1), -np.inf), np.full((1, 1, 1), np.inf)
    one = np.ones((1, 1, 1))
    best, lost = exponential().gain(one, 0 * one, low, high)
    assert best.item() == np.inf
    assert lost.item() == 0
    least, greatest = exponential().slope_range(low, high)
    assert greatest.item() == np.inf
    assert least.item() <= 0
    assert curve.bounded(np.array([0.5, 3.0])).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_largest_slope_of_all_is_no_smaller_than_any_and_hardly_larger(name: str) -> None:
    """What a product of norms multiplies: finite but for powers and exp; half lines and the whole line are enclosed too."""
    function, truth = FUNCTIONS[name]
    most = function.steepest_of_all
    least, greatest = (float(side) for side in function.slope_range(np.array(-np.inf), np.array(np.inf)))
    if name in ("square", "cube", "exp"):
        assert most == np.inf
        return
    places = [
        *np.linspace(-12.01, 12.02, 240),
        *(turn + side for turn in (0.0, *function.turns) for side in (-1e-5, 1e-5)),
    ]
    slopes = [float(mpmath.diff(truth, mpf(z), h=mpf(10) ** -12)) for z in places]
    assert least - 1e-9 <= min(slopes)
    assert max(slopes) <= greatest + 1e-9
    assert max(abs(min(slopes)), abs(max(slopes))) <= most + 1e-9
    assert most <= 1.001 * max(abs(min(slopes)), abs(max(slopes))) + 1e-9


@pytest.mark.parametrize("kind", ["gelu", "gate"])
def test_products_that_overflow_on_the_way_are_no_reason(kind: str) -> None:
    """``factor z / divisor`` is of moderate size, ``factor z`` beyond doubles: values and slopes are what is charged for all the same."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        factor, divisor = (
            math.ldexp(rng.uniform(1, 2), int(rng.integers(50, 1000))),
            math.ldexp(rng.uniform(1, 2), 1023),
        )
        z = float(rng.uniform(-3, 3)) * (divisor / factor)
        function = gelu(factor, divisor) if kind == "gelu" else gate(factor, divisor, 0.5, -3.0, 3.0)
        inner = mpf(factor) * mpf(z) / mpf(divisor)
        true = mpf(z) * ((1 + mpmath.erf(inner)) / 2 if kind == "gelu" else _clipped(inner + mpf(0.5), -3, 3))
        at = np.array([z])
        assert abs(mpf(float(function.value(at)[0])) - true) <= mpf(float(function.rounded(np.abs(at))[0]))
        if kind == "gelu":
            slope = (1 + mpmath.erf(inner)) / 2 + inner * mpmath.exp(-(inner**2)) / mpmath.sqrt(mpmath.pi)
            low, high = function.slope_range(at, at)
            assert mpf(float(low[0])) <= slope <= mpf(float(high[0]))
