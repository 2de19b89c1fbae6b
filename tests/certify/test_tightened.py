"""Rows that tighten bounds: whatever they say, no point that counts is left out; what proofs with them show is true."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from bounds.tiny import best_in_cells, network, problem, random_layers, raw
from certify.prover import Prover
from certify.tightenings import Setting, by_hand, drawn, setting, some_level, some_phases, some_tree, with_tights
from oracles import Array, enumerate_cells, exact_distance

from wdaverify.certify import tightened as module
from wdaverify.certify.backward import HiddenBounds
from wdaverify.certify.proof import BARE, TIGHTENED, MalformedProofError, Place, Proof, Tightening, Tree
from wdaverify.certify.question import farthest
from wdaverify.certify.tightened import Asked, Whole, bounds_at, settle, tightened
from wdaverify.certify.upper import distance_bounds, margin_bounds
from wdaverify.problem import Loss, Norm, WdroProblem

NORMS = [Norm.INF, Norm.ONE]
KINDS = [
    *((norm, power, False) for norm in (*NORMS, Norm.TWO) for power in (1, 2)),
    *((norm, 1, True) for norm in (*NORMS, Norm.TWO)),
]
KIND = pytest.mark.parametrize(("norm", "power", "distance"), KINDS)
SEEDS = [pytest.param(s, marks=[] if s < 2 else [pytest.mark.full]) for s in range(60)]
FEW = [pytest.param(s, marks=[] if s < 2 else [pytest.mark.full]) for s in range(40)]


def joined(bounds: HiddenBounds) -> Array:
    """``[2, B, M]``."""
    return np.stack([np.concatenate([pair[side] for pair in bounds], axis=1) for side in (0, 1)])


def contained(s: Setting, phases: Array, level: float, low: Array, high: Array) -> None:
    """Every point that counts lies within the bounds: in doubles, those closest to leaving them in rationals too."""
    at = np.flatnonzero(s.inside(phases, level))
    z = s.z[at]
    slack = 1e-9 * (1 + np.abs(z))
    assert (z >= low - slack).all()
    assert (z <= high + slack).all()
    if s.norm is Norm.TWO or not at.size:
        return
    size = 1 + np.abs(z)
    for closest in {int(np.argmin(((high - z) / size).min(axis=1))), int(np.argmin(((z - low) / size).min(axis=1)))}:
        exact, value = s.exact(int(at[closest]))
        assert level == -math.inf or value >= Fraction(level)
        for v, a, b in zip(exact, low.tolist(), high.tolist(), strict=True):
            assert a == -math.inf or v >= Fraction(a)
            assert b == math.inf or v <= Fraction(b)


@KIND
@pytest.mark.parametrize("seed", SEEDS)
def test_no_point_that_counts_is_left_out(seed: int, norm: Norm, power: int, distance: bool) -> None:
    s, rng = setting(seed, norm, power, distance=distance), np.random.default_rng(seed)
    for _ in range(8):
        phases = some_phases(rng, s.z)
        level = some_level(rng, s.values)
        tight = drawn(rng, s.z.shape[1], level)
        low, high = joined(tightened(s.backward, s.nodes(phases), s.asked, [tight]))[:, 0]
        assert not np.isnan([low, high]).any()
        counts = level if level == -math.inf or not distance else 0.0
        contained(s, phases, counts, low, high)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", FEW)
def test_no_optimum_of_a_cell_is_left_out(seed: int, norm: Norm) -> None:
    """The largest and least of a neuron over the points that count, by linear programs over the cells, lie within its bounds."""
    s, rng = setting(seed, norm, whole=True), np.random.default_rng(seed)
    if s.multiplier is None or len(s.points) < 5:
        pytest.fail("a setting without points")
    n = s.net.n_inputs
    cells = enumerate_cells(raw(s.net), np.zeros(n), np.ones(n))
    level = float(np.quantile(s.values, 0.8))
    none, before, gained = np.zeros(s.z.shape[1], np.int8), joined(s.bounds)[:, 0], list[int]()
    for _ in range(20):  # rows are drawn until some of them gain
        tight = replace(drawn(rng, s.z.shape[1], level, 40), beta=np.zeros(s.z.shape[1], np.float32))
        low, high = joined(tightened(s.backward, s.nodes(none), s.asked, [tight]))[:, 0]
        gained = [k for k in range(low.size) if low[k] > before[0, k] or high[k] < before[1, k]]
        if gained:
            break
    assert gained
    assert (low <= high).all()
    functional, far, centre = s.asked.functional[0], float(s.shells.far[0]), s.shells.centre[0]
    for k in rng.choice(gained, min(3, len(gained)), replace=False).tolist():
        for sign in (1.0, -1.0):
            best = -math.inf
            for cell in cells:
                z, base = _neuron(s, cell.A, cell.b, k, rng)
                if z is None:
                    continue
                best = max(
                    best, _largest(cell, sign * z, sign * base, functional, level, s.multiplier, norm, centre, far)
                )
            assert best <= (high[k] if sign > 0 else -low[k]) + 1e-7


def _neuron(s: Setting, A: Array, b: Array, k: int, rng: np.random.Generator) -> tuple[Array | None, float]:
    """A neuron as a function of the inputs on a cell ``A x <= b``, from its values near one point inside; None if it has none."""
    from scipy.optimize import linprog

    n = s.net.n_inputs
    size = np.linalg.norm(A, axis=1)
    rows = np.hstack([A, size[:, None]])
    found = linprog(np.append(np.zeros(n), -1.0), A_ub=rows, b_ub=b, bounds=[(0, 1)] * n + [(0, 1)], method="highs")
    if found.status != 0 or found.x[-1] < 1e-7:
        return None, 0.0
    x, h = found.x[:n], np.eye(n)
    value, at = x.copy(), 0
    for weight, bias in raw(s.net)[:-1]:
        h, value = weight @ h, weight @ value + bias
        if at <= k < at + bias.size:
            slope = h[k - at]
            return slope, float(value[k - at] - slope @ x)
        at += bias.size
        on = value > 0
        h, value = on[:, None] * h, on * value
    raise AssertionError("no such neuron")


def _largest(
    cell: object,
    slope: Array,
    base: float,
    functional: Array,
    level: float,
    lam: float,
    norm: Norm,
    centre: Array,
    far: float,
) -> float:
    """``max slope . x + base`` over the points of a cell within far whose value is at least the level."""
    from scipy.optimize import linprog

    n, A, b = centre.size, cell.A, cell.b  # type: ignore[attr-defined]
    gain, rest = functional @ cell.G, float(functional @ cell.h)  # type: ignore[attr-defined]
    extra = 1 if norm is Norm.INF else n
    spread, ones = (np.ones((n, 1)) if extra == 1 else np.eye(n)), np.ones(extra)
    rows = np.vstack(
        [
            np.hstack([A, np.zeros((len(A), extra))]),
            np.hstack([np.eye(n), -spread]),
            np.hstack([-np.eye(n), -spread]),
            np.append(-gain, lam * ones),
            np.append(np.zeros(n), ones),
        ]
    )
    sides = np.concatenate([b, centre, -centre, [rest - level, far]])
    bounds = [(0, 1)] * n + [(0, None)] * extra
    found = linprog(np.append(-slope, np.zeros(extra)), A_ub=rows, b_ub=sides, bounds=bounds, method="highs")
    return base - float(found.fun) if found.status == 0 else -math.inf


@pytest.mark.parametrize(("norm", "power", "distance"), [k for k in KINDS if k[0] is not Norm.TWO])
@pytest.mark.parametrize("seed", SEEDS)
def test_rows_say_what_the_formula_says(seed: int, norm: Norm, power: int, distance: bool) -> None:
    """Layer after layer by hand: the same bounds, neither looser nor tighter, so that nothing that rows say is lost."""
    s, rng = setting(seed, norm, power, distance=distance, whole=True).loose(), np.random.default_rng(seed)
    gained = 0
    for trial in range(2 if power > 1 else 5):
        phases = some_phases(rng, s.z) if trial else np.zeros(s.z.shape[1], np.int8)
        level = -math.inf if trial == 1 else float(np.quantile(s.values, rng.random()))
        tight = drawn(rng, s.z.shape[1], level, 30)
        low, high = joined(s.bounds)[:, 0]
        first = 0
        for bias in [bias for _, bias in raw(s.net)[:-1]]:
            rows = np.flatnonzero((tight.at // 2 >= first) & (tight.at // 2 < first + bias.size))
            tops = [by_hand(s, low, high, phases, tight, int(row)) for row in rows]
            low, high = low.copy(), high.copy()
            for row, top in zip(rows, tops, strict=True):
                k = int(tight.at[row]) // 2
                if tight.at[row] % 2 == 0:
                    high[k] = min(high[k], top)
                else:
                    low[k] = max(low[k], -top)
            first += bias.size
            if empty(low, high, phases):
                break
        found = joined(tightened(s.backward, s.nodes(phases), s.asked, [tight]))[:, 0]
        if empty(low, high, phases):
            assert empty(*found, phases)
            gained += 1
            continue
        near = 1e-7 if power > 1 else 1e-11
        size = 1 / float(tight.weight.min()) * (1 + float(np.abs(tight.beta).max()))
        np.testing.assert_allclose(found[0], low, rtol=near, atol=near * size)
        np.testing.assert_allclose(found[1], high, rtol=near, atol=near * size)
        gained += int((low > joined(s.bounds)[0, 0]).sum() + (high < joined(s.bounds)[1, 0]).sum())
    assert gained


def empty(low: Array, high: Array, phases: Array) -> bool:
    """Whether bounds leave no point on the sides of the phases."""
    low, high = np.where(phases > 0, np.maximum(low, 0), low), np.where(phases < 0, np.minimum(high, 0), high)
    return not (low <= high).all()


def leaves_of(tree: Tree, neurons: int) -> list[tuple[Array, Place | None]]:
    return [(phases, place) for phases, _, place in tree.walk(neurons)]


def whole_of(s: Setting) -> Whole:
    return Whole(s.shells, s.bounds, s.asked)


@KIND
@pytest.mark.parametrize("seed", FEW)
def test_places_below_places_leave_no_point_out(seed: int, norm: Norm, power: int, distance: bool) -> None:
    s, rng = setting(seed, norm, power, distance=distance), np.random.default_rng(seed)
    neurons, zero = s.z.shape[1], np.zeros(1, np.int64)
    levels = [some_level(rng, s.values) for _ in range(2)] + [-math.inf]
    tree = some_tree(rng, neurons, levels, 0.0, 1.0)
    for phases, place in leaves_of(tree, neurons):
        settle(s.backward, whole_of(s), [] if place is None else [(0, 0, place)])
        low, high = joined(bounds_at(whole_of(s), zero, [place]))[:, 0]
        level, at = -math.inf, place
        while at is not None:
            level, at = max(level, at.tight.level), at.above
        contained(s, phases, level if level == -math.inf or not distance else 0.0, low, high)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", FEW)
def test_places_below_are_bounded_by_those_above(seed: int, norm: Norm) -> None:
    """Rows of a place rest on what is known above: the same as one after the other by ``tightened``."""
    s, rng = setting(seed, norm, whole=True).loose(), np.random.default_rng(seed)
    neurons = s.z.shape[1]
    tights = [drawn(rng, neurons, float(np.quantile(s.values, 0.3)), 30) for _ in range(4)]
    phases = [np.zeros(neurons, np.int8), *[some_phases(rng, s.z[:1], 0.1 * k) for k in range(1, 4)]]
    place: Place | None = None
    nodes = s.nodes(phases[0])
    for own, tight in zip(phases, tights, strict=True):
        place = Place(place, own, tight)
        nodes = replace(nodes, phases=own[None])
        nodes = replace(nodes, bounds=tightened(s.backward, nodes, s.asked, [tight]))
    assert place is not None
    settle(s.backward, whole_of(s), [(0, 0, place)])
    assert place.bounds is not None
    np.testing.assert_allclose(place.bounds, joined(nodes.bounds)[:, 0], rtol=1e-12, atol=1e-12)
    assert (place.bounds[1] < joined(s.bounds)[1, 0]).any() or (place.bounds[0] > joined(s.bounds)[0, 0]).any()


@pytest.mark.parametrize(("norm", "power", "distance"), KINDS[::3])
@pytest.mark.parametrize("seed", FEW)
def test_places_are_the_same_in_any_order_and_batches(
    seed: int, norm: Norm, power: int, distance: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several trees on several shells: all at once, one by one, backwards, in batches of a few."""
    some = [setting(seed, norm, power, distance=distance)]
    s, rng = some[0], np.random.default_rng(seed)
    neurons = s.z.shape[1]
    count = 3
    at = np.zeros(count, np.int64)
    shells = replace(
        s.shells.take(at),
        near=np.zeros(count),
        far=float(s.shells.far[0]) * np.array([0.5, 1.0, 0.25]),
    )
    multiplier = None if distance else np.array([0.5, 1.0, 3.0])
    asked = Asked(rng.normal(size=(count, 3)), multiplier, power)
    whole = Whole(shells, s.backward.pre_activations(shells), asked)
    levels = [float(np.quantile(s.values, 0.2)), -math.inf]
    trees = [some_tree(rng, neurons, levels, 0.0, 1.0) for _ in range(count)]

    def settled(order: Callable[[list[int]], list[int]], alone: bool) -> list[Array]:
        flat = [
            (k, place) for k, tree in enumerate(trees) for _, place in leaves_of(tree, neurons) if place is not None
        ]
        asked_for = [(flat[j][0], flat[j][0], flat[j][1]) for j in order(list(range(len(flat))))]
        for group in [[one] for one in asked_for] if alone else [asked_for]:
            settle(s.backward, whole, group)
        out = [place.bounds for _, place in flat]
        assert all(bounds is not None for bounds in out)
        return [bounds for bounds in out if bounds is not None]

    first = settled(lambda order: order, False)
    assert first
    for places, rows in ((1, 1), (3, 2)):
        monkeypatch.setattr(module, "_PLACES", places)
        monkeypatch.setattr(module, "_TOGETHER", rows)
        for order in (lambda o: o[::-1], lambda o: rng.permutation(o).tolist(), lambda o: o):
            for alone in (False, True):
                for a, b in zip(first, settled(order, alone), strict=True):
                    np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9)


def test_settling_may_be_ended_at_any_look_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    s, rng = setting(1, Norm.INF), np.random.default_rng(1)
    neurons = s.z.shape[1]
    monkeypatch.setattr(module, "_PLACES", 1)
    tree = some_tree(rng, neurons, [0.0], 0.0, 1.0)
    whole = [place for _, place in leaves_of(tree, neurons) if place is not None]
    settle(s.backward, whole_of(s), [(0, 0, place) for place in whole])
    looks = 0

    def late() -> None:
        nonlocal looks
        looks += 1
        if looks % 4 == 0:
            raise TimeoutError

    places, ended = [place for _, place in leaves_of(tree, neurons) if place is not None], 0
    while any(place.bounds is None for place in places):
        try:
            settle(s.backward, whole_of(s), [(0, 0, place) for place in places], late)
        except TimeoutError:
            ended += 1
    assert ended > 3
    for a, b in zip(whole, places, strict=True):
        np.testing.assert_allclose(b.bounds, a.bounds, rtol=1e-12, atol=1e-12)


def test_the_clock_is_looked_at_within_the_rows_of_one_place() -> None:
    s, rng = setting(1, Norm.INF), np.random.default_rng(1)
    neurons, looks = s.z.shape[1], list[int]()
    place = Place(None, np.zeros(neurons, np.int8), drawn(rng, neurons, 0.0, 20_000))
    settle(s.backward, whole_of(s), [(0, 0, place)], lambda: looks.append(1))
    assert len(looks) >= 20_000 / module._TOGETHER


# Rows that make no sense


def spoilt(tight: Tightening, rng: np.random.Generator) -> dict[str, Tightening]:
    """Tightenings that say nothing at all, by what is wrong with them."""

    def put(name: str, value: float) -> Tightening:
        array = getattr(tight, name).astype(np.float64)
        array[int(rng.integers(array.size))] = value
        with np.errstate(over="ignore"):
            return replace(tight, **{name: array.astype(np.float32)})

    none = np.zeros(0, np.int32)
    return {
        **{f"beta {v}": put("beta", v) for v in (math.nan, math.inf, -math.inf)},
        **{f"level {v}": replace(tight, level=v) for v in (math.nan, math.inf)},
        **{
            f"weights {v}": replace(tight, weight=np.full(tight.at.size, v, np.float32))
            for v in (math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, -1e-45)
        },
        "no rows": Tightening(0.0, none, none.astype(np.float32), tight.slopes[:0], tight.beta),
    }


@KIND
@pytest.mark.parametrize("seed", FEW)
def test_rows_without_sense_change_nothing(seed: int, norm: Norm, power: int, distance: bool) -> None:
    s, rng = setting(seed, norm, power, distance=distance).loose(), np.random.default_rng(seed)
    none = np.zeros(s.z.shape[1], np.int8)
    sound = drawn(rng, s.z.shape[1], float(np.quantile(s.values, 0.5)), 30)
    sound = replace(sound, beta=0 * sound.beta)
    before, nodes = joined(s.bounds), s.nodes(none)
    assert not np.array_equal(joined(tightened(s.backward, nodes, s.asked, [sound])), before)
    for what, tight in spoilt(sound, rng).items():
        np.testing.assert_array_equal(joined(tightened(s.backward, nodes, s.asked, [tight])), before, err_msg=what)
    weight = np.concatenate([sound.weight, np.array([math.nan, math.inf, -math.inf, 0.0, -1.0], np.float32)])
    more = drawn(rng, s.z.shape[1], 0.0, 5)
    mixed = replace(
        sound, at=np.append(sound.at, more.at), weight=weight, slopes=np.vstack([sound.slopes, more.slopes])
    )
    a, b = (joined(tightened(s.backward, nodes, s.asked, [tight])) for tight in (sound, mixed))
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@KIND
@pytest.mark.parametrize("seed", FEW)
def test_huge_and_tiny_numbers_leave_no_point_out(seed: int, norm: Norm, power: int, distance: bool) -> None:
    s, rng = setting(seed, norm, power, distance=distance), np.random.default_rng(seed)
    none = np.zeros(s.z.shape[1], np.int8)
    sizes = (1e300, -1e300, 3e38, -3e38, 1e-45, 1e-320, 1.0, 1e16)
    for _ in range(20):
        tight = drawn(rng, s.z.shape[1], some_level(rng, s.values), 6)
        level = tight.level if rng.random() < 0.5 else float(rng.choice([-1e308, -1e300, -1e-320, 0.0, -1e16]))
        weight = np.abs(rng.choice(sizes, 6)) * (rng.uniform(0.1, 1, 6) if rng.random() < 0.5 else 1.0)
        beta = tight.beta.astype(np.float64)
        if rng.random() < 0.7:
            beta[rng.integers(beta.size, size=2)] = rng.choice(sizes, 2)
        tight = replace(tight, level=level, weight=weight, beta=beta)  # type: ignore[arg-type]
        low, high = joined(tightened(s.backward, s.nodes(none), s.asked, [tight]))[:, 0]
        assert not np.isnan([low, high]).any()
        contained(s, none, level if level == -math.inf or not distance else 0.0, low, high)


@pytest.mark.parametrize("seed", FEW)
def test_unbounded_neurons_are_no_empty_ones(seed: int) -> None:
    """Where bounds overflow rows say nothing, and a node is not taken to be without a point."""
    s, rng = setting(seed, Norm.INF), np.random.default_rng(seed)
    wide = [(np.full_like(low, -np.inf), np.full_like(high, np.inf)) for low, high in s.bounds]
    half = [(low, np.full_like(high, np.inf)) for low, high in s.bounds]
    for bounds in (wide, half):
        for level in (-math.inf, 0.0):
            nodes = replace(s.nodes(np.zeros(s.z.shape[1], np.int8)), bounds=bounds)
            low, high = joined(tightened(s.backward, nodes, s.asked, [drawn(rng, s.z.shape[1], level, 30)]))[:, 0]
            assert not np.isnan([low, high]).any()
            contained(s, np.zeros(s.z.shape[1]), level, low, high)


def refuses(what: Callable[..., object], *given: object) -> bool:
    """Whether it finds a malformed proof."""
    try:
        what(*given)
    except MalformedProofError:
        return True
    return False


def malformed(tight: Tightening, neurons: int) -> dict[str, Tightening]:
    at = tight.at.copy()
    big, small = at.copy(), at.copy()
    big[0], small[-1] = 2 * neurons, -1
    return {
        "beyond the neurons": replace(tight, at=big),
        "before the neurons": replace(tight, at=small),
        "the least integer": replace(tight, at=np.full(at.size, -(2**31), np.int32)),
        "the largest integer": replace(tight, at=np.full(at.size, 2**31 - 1, np.int32)),
        "a weight too few": replace(tight, weight=tight.weight[1:]),
        "weights of two axes": replace(tight, weight=tight.weight[:, None]),
        "slopes too narrow": replace(tight, slopes=tight.slopes[:, 1:]),
        "slopes too few": replace(tight, slopes=tight.slopes[1:]),
        "beta too short": replace(tight, beta=tight.beta[1:]),
        "beta too long": replace(tight, beta=np.append(tight.beta, tight.beta)),
        "beta of two axes": replace(tight, beta=tight.beta[None]),
        "no rows on two axes": Tightening(
            0.0, np.zeros((0, 5), np.int32), tight.weight[:0], tight.slopes[:0], tight.beta
        ),
        "rows on two axes": replace(tight, at=at[:, None]),
    }


def asked_problem(seed: int, norm: Norm, loss: Loss = Loss.MARGIN) -> WdroProblem:
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 4, 3, 3))
    x = rng.uniform(size=(1, 2))
    return problem(net, x, net.forward(x).argmax(axis=1), 0.1, norm=norm, loss=loss)


def rival_of(asked: WdroProblem) -> int:
    return (int(asked.samples.y[0]) + 1) % 3


def test_rows_of_other_networks_are_malformed() -> None:
    s, rng = setting(0, Norm.INF), np.random.default_rng(0)
    neurons, asked = s.z.shape[1], asked_problem(0, Norm.INF)
    sound = drawn(rng, neurons, 0.0, 5)
    for what, tight in malformed(sound, neurons).items():
        nodes = s.nodes(np.zeros(neurons, np.int8))
        assert refuses(tightened, s.backward, nodes, s.asked, [tight]), what
    neurons, far = asked.network.canonical.neurons, float(farthest(asked)[0])
    sound = drawn(rng, neurons, 0.0, 5)
    for what, tight in malformed(sound, neurons).items():
        nodes = np.array([TIGHTENED, BARE], np.int32)
        proof = Proof(0, rival_of(asked), 1.0, (Tree(0.0, far, nodes, np.zeros((0, 2 + neurons)), (tight,)),))
        assert refuses(margin_bounds, asked, [proof], np.ones(1)), what
        assert refuses(distance_bounds, asked, [proof]), what


# What proofs with rows prove


def truth_of(asked: WdroProblem, lam: float) -> float:
    """``phi_ij(lam)`` of the only sample and the rival."""
    c, y = np.zeros(3), int(asked.samples.y[0])
    c[rival_of(asked)], c[y] = 1.0, -1.0
    cells = enumerate_cells(raw(asked.network), np.zeros(2), np.ones(2))
    box = np.zeros(2), np.ones(2)
    return best_in_cells(cells, c, lam, asked.cost.norm, asked.samples.x[0], 0.0, 2.0, *box)[0]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_margin_proofs_prove_no_less_than_level_and_truth(seed: int, norm: Norm) -> None:
    """Trees that are exact without rows, with any rows at any nodes: at the multiplier and at smaller and larger ones."""
    asked, rng = asked_problem(seed, norm), np.random.default_rng(seed)
    neurons, far, j = asked.network.canonical.neurons, float(farthest(asked)[0]), rival_of(asked)
    lam = 1.5
    middle = far * float(rng.uniform(0.2, 0.8))
    exact = [Prover(asked).tree(0, j, lam, *ends) for ends in ((0.0, middle), (middle, far))]
    truths = {k: truth_of(asked, k * lam) for k in (0.0, 0.5, 1.0, 2.0, 10.0)}
    for _ in range(6):
        size = float(rng.choice([0.01, 1.0, 30.0]))
        levels = [truths[1.0] + float(v) for v in rng.normal(size=2) * size] + [-math.inf]
        trees = [with_tights(rng, tree, neurons, levels) for tree in exact]
        trees[1] = some_tree(rng, neurons, levels, middle, far, written=0.5) if rng.random() < 0.3 else trees[1]
        level = max((tight.level for tree in trees for tight in tree.tights), default=-math.inf)
        proof = Proof(0, j, lam, tuple(trees))
        for shift, truth in truths.items():
            bound = float(margin_bounds(asked, [proof], np.array([shift * lam]))[0][0])
            assert bound >= max(level, truth - 1e-12)


def prunes(level: float, neurons: int) -> Tightening:
    """Rows that leave no point where the level exceeds what the network's bounds allow: of all neurons, with tiny weights."""
    at = np.arange(2 * neurons, dtype=np.int32)
    slopes = np.full((at.size, neurons), 255, np.uint8)
    return Tightening(level, at, np.full(at.size, 1e-9, np.float32), slopes, np.zeros(neurons, np.float32))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("place", range(6))
def test_a_level_that_nothing_attains_proves_itself_and_no_more(place: int, norm: Norm) -> None:
    """Wherever it stands: in the first or the last tree, above or below others, after one that is no number."""
    asked = asked_problem(3, norm)
    neurons, far, j = asked.network.canonical.neurons, float(farthest(asked)[0]), rival_of(asked)
    truth, none = truth_of(asked, 1.0), np.zeros((0, 2 + neurons))
    level = 100.0
    sound, nan, low = prunes(level, neurons), prunes(math.nan, neurons), prunes(-1e6, neurons)
    leaf, inf = np.array([TIGHTENED, BARE], np.int32), prunes(math.inf, neurons)
    two = np.array([TIGHTENED, TIGHTENED, BARE], np.int32)
    bare, one = Tree.bare(0.0, 0.0, neurons), Tree(0.0, far, leaf, none, (sound,))
    proofs = [
        (one,),
        (bare, one),
        (Tree(0.0, 0.0, leaf, none, (nan,)), one),
        (bare, Tree(0.0, far, two, none, (nan, sound))),
        (bare, Tree(0.0, far, two, none, (sound, nan))),
        (Tree(0.0, 0.0, leaf, none, (low,)), Tree(0.0, far, two, none, (inf, sound))),
    ]
    bound = float(margin_bounds(asked, [Proof(0, j, 1.0, proofs[place])], np.ones(1))[0][0])
    assert bound >= truth - 1e-12
    assert bound == level
    without = Proof(0, j, 1.0, (Tree(0.0, far, leaf, none, (nan,)),))
    bare_bound = margin_bounds(asked, [Proof(0, j, 1.0, (Tree.bare(0.0, far, neurons),))], np.ones(1))[0]
    np.testing.assert_array_equal(margin_bounds(asked, [without], np.ones(1))[0], bare_bound)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_distance_proofs_with_rows_overstate_no_distance(seed: int, norm: Norm) -> None:
    asked, rng = asked_problem(seed, norm, Loss.ZERO_ONE), np.random.default_rng(seed)
    neurons, far, j = asked.network.canonical.neurons, float(farthest(asked)[0]), rival_of(asked)
    y = int(asked.samples.y[0])
    weight, bias = raw(asked.network)[-1]
    pair = [*raw(asked.network)[:-1], (weight[[y, j]], bias[[y, j]])]
    box = np.zeros(2), np.ones(2)
    nearest = exact_distance(pair, asked.samples.x[0], 0, norm.value, *box, enumerate_cells(pair, *box))
    exact = Prover(asked).tree(0, j, 1.0, 0.0, far)
    for _ in range(8):
        levels = [0.0, -math.inf, *(rng.normal(size=2) * 10).tolist(), 1e300]
        tree = with_tights(rng, exact, neurons, levels)
        middle = far * float(rng.uniform(0.2, 0.8))
        parts = (replace(tree, far=middle), some_tree(rng, neurons, levels, middle, far, written=0.5))
        for trees in ((tree,), parts):
            bound = float(distance_bounds(asked, [Proof(0, j, 0.0, trees)])[0][0])
            assert bound <= nearest + 1e-12


# The nodes of trees with tightenings


def test_a_tree_takes_as_many_tightenings_as_its_nodes_name() -> None:
    rng = np.random.default_rng(0)
    one, two = drawn(rng, 3, 0.0), drawn(rng, 3, 1.0)

    def tree(nodes: list[int], *tights: Tightening) -> Tree:
        return Tree(0.0, 1.0, np.array(nodes, np.int32), np.zeros((0, 5)), tights)

    for nodes, tights in (
        ([TIGHTENED, BARE], ()),
        ([BARE], (one,)),
        ([TIGHTENED, BARE], (one, two)),
        ([TIGHTENED, TIGHTENED, BARE], (one,)),
        ([BARE, TIGHTENED], (one,)),
        ([TIGHTENED], (one,)),
        ([0, BARE, TIGHTENED], (one,)),
        ([0, BARE, BARE, TIGHTENED, BARE], (one,)),
        ([0, TIGHTENED, BARE], (one,)),
        ([TIGHTENED, 0, BARE, TIGHTENED, 0, BARE, BARE], (one, two)),
        ([-4, BARE], (one,)),
    ):
        assert refuses(list, tree(nodes, *tights).walk(3)), nodes
    assert [place for _, _, place in tree([BARE]).walk(3)] == [None]
    whole = tree([TIGHTENED, TIGHTENED, 1, TIGHTENED, BARE, 0, BARE, BARE], one, two, one)
    (a, _, deep), (b, _, other), (_, _, last) = list(whole.walk(3))
    assert deep is not None
    assert other is not None
    assert (a.tolist(), b.tolist()) == ([0, 1, 0], [1, -1, 0])
    assert last is other
    assert deep.above is other
    assert (deep.tight, other.tight) == (one, two)
    assert (deep.phases.tolist(), other.phases.tolist()) == ([0, 1, 0], [0, 0, 0])
    assert other.above is not None
    assert (other.above.tight, other.above.above) == (one, None)


def test_long_chains_of_tightenings_are_walked_and_settled() -> None:
    s, rng = setting(1, Norm.INF), np.random.default_rng(1)
    neurons, count = s.z.shape[1], 1000
    level = float(np.quantile(s.values, 0.5))
    tights = tuple(drawn(rng, neurons, level, 1) for _ in range(count))
    tree = Tree(0.0, 1.0, np.array([TIGHTENED] * count + [BARE], np.int32), np.zeros((0, 2 + neurons)), tights)
    ((phases, _, place),) = tree.walk(neurons)
    assert place is not None
    settle(s.backward, whole_of(s), [(0, 0, place)])
    assert place.bounds is not None
    contained(s, phases, level, *place.bounds)


@pytest.mark.parametrize("seed", range(20))
def test_the_level_and_size_of_a_tree_are_those_of_its_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = [-math.inf, math.nan, 3.0, math.inf, -2.0]
    tree = some_tree(rng, 5, levels, 0.0, 1.0)
    known = [tight.level for tight in tree.tights if math.isfinite(tight.level)]
    assert tree.level == max(known, default=-math.inf)
    rows = sum(tight.at.size for tight in tree.tights)
    assert tree.nbytes == 4 * tree.nodes.size + 4 * 5 * len(tree.tights) + rows * (4 + 4 + 5)
