"""Bounds of shells, many at once, against rational arithmetic at their points, rounding included."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from bounds.tiny import (
    as_network,
    exact_distance,
    exact_values,
    hard_network,
    network,
    on_grid,
    points_between,
    random_layers,
)
from layers import Affine as Layer
from layers import Diagonal, Relu, blocks_of, layers_of

from wdaverify.certify import backward as module
from wdaverify.certify import peak as peak_module
from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.boxes import Boxes
from wdaverify.certify.peak import Price
from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense, Same
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.network.model import Array, ReluNetwork, readonly
from wdaverify.problem import GroundCost, Norm

NORMS = [Norm.INF, Norm.ONE]
SHELLS = ((0.0, 0.125), (0.25, 0.5), (0.0, 1.0), (0.0, 0.0))


def functionals(backward: Backward, shells: Shells, bounds: HiddenBounds, rows: Array, tau: Array) -> Array:
    """Upper bounds ``[B, R]`` of ``rows . z - tau distance`` with rows ``[B, R, K]`` and nothing known of any neuron."""
    count, each, outputs = rows.shape
    at = np.repeat(np.arange(count), each)
    wide = [(low[at], high[at]) for low, high in bounds]
    none = np.zeros((at.size, backward.neurons), np.int8)
    top = backward.leaves(rows.reshape(-1, outputs), tau[at], shells.take(at), wide, none, None).reshape(count, each)
    together = backward.leaves(rows, tau, shells, bounds, none[:count], None)
    return np.minimum(top, together)


def violations(net: ReluNetwork, norm: Norm, seed: int, points: int = 10) -> list[str]:
    """Where a bound is beaten by a point, over four shells around four samples at once."""
    rng = np.random.default_rng(seed)
    n, K = net.n_inputs, net.n_outputs
    lower, upper = np.full(n, -0.5), np.ones(n)
    centres = on_grid(rng.uniform(lower, upper, (len(SHELLS), n)))
    near, far = (np.array(side) for side in zip(*SHELLS, strict=True))
    multipliers = rng.choice([0.0, 1e-3, 1.0, 30.0, 1e4], len(SHELLS))
    shells = Shells.around(GroundCost(norm, 1), centres, lower, upper, near, far)
    backward = Backward(net.layers)
    bounds = backward.pre_activations(shells)
    wanted = np.vstack([np.eye(K) - np.roll(np.eye(K), 1, axis=0), np.eye(K), rng.normal(size=(1, K))])
    rows = np.broadcast_to(wanted, (len(SHELLS), *wanted.shape))
    free = functionals(backward, shells, bounds, rows, np.zeros(len(SHELLS)))
    paid = functionals(backward, shells, bounds, rows, multipliers)
    found = []
    for b, (low, high) in enumerate(SHELLS):
        for x in [*points_between(rng, norm, centres[b], low, high, lower, upper, points), *[centres[b]] * (low == 0)]:
            before, logits = exact_values(net, x)
            for k, (values, (least, most)) in enumerate(zip(before, bounds, strict=True)):
                for value, a, c in zip(values, least[b].tolist(), most[b].tolist(), strict=True):
                    if not Fraction(a) <= value <= Fraction(c):
                        found.append(f"layer {k}: {float(value)} outside [{a}, {c}]")
            cost = Fraction(float(multipliers[b])) * exact_distance(norm, x - centres[b])
            for row, unpaid, with_cost in zip(wanted.tolist(), free[b].tolist(), paid[b].tolist(), strict=True):
                value = sum((Fraction(c) * z for c, z in zip(row, logits, strict=True)), Fraction(0))
                if value > Fraction(unpaid) or value - cost > Fraction(with_cost):
                    found.append(f"functional: {float(value)}, cost {float(cost)} above {unpaid} or {with_cost}")
    return found


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [pytest.param(s, marks=[pytest.mark.full] * (s >= 12)) for s in range(80)])
def test_no_point_beats_a_bound(seed: int, norm: Norm) -> None:
    assert violations(hard_network(np.random.default_rng(seed)), norm, seed) == []


def test_the_random_networks_are_hard() -> None:
    nets = [hard_network(np.random.default_rng(seed)) for seed in range(12)]
    weights = [layer.weight for net in nets for layer in layers_of(net) if isinstance(layer, Layer)]
    assert any((w == 0).all(axis=1).any() for w in weights)
    assert any(np.abs(w).max() > 1e5 for w in weights)
    assert any(0 < np.abs(w).max() < 1e-4 for w in weights)
    assert any(isinstance(layer, Diagonal) for net in nets for layer in layers_of(net))
    assert any(not block.exact for net in nets for block in blocks_of(net.layers))


# A check that notices nothing is worth nothing: each of these faults must be seen.


def _noticed(norm: Norm) -> bool:
    return any(violations(hard_network(np.random.default_rng(seed)), norm, seed) for seed in range(12))


def less_gain(genuine: object) -> object:
    def broken(self: object, q: Array, nu: Array, low: Array, high: Array) -> tuple[Array, Array]:
        gain, rounded = genuine(self, q, nu, low, high)  # type: ignore[operator]
        return 0.7 * gain, rounded

    return broken


def narrower(genuine: object) -> object:
    def broken(bounds: tuple[Array, Array], phases: Array) -> object:
        low, high, empty = genuine(bounds, phases)  # type: ignore[operator]
        return low + 0.2 * (high - low), high, empty

    return broken


def paid_at_far(genuine: object) -> object:
    def broken(q: Array, slip: Array | None, shells: Shells, price: Price | None) -> object:
        return genuine(q, slip, replace(shells, near=shells.far), price)  # type: ignore[operator]

    return broken


def of_the_first_shell(genuine: object) -> object:
    """What every shell has of its own is taken for what the first one has."""

    def broken(rows: Array, points: Array) -> object:
        return genuine(rows, points[:1])  # type: ignore[operator]

    return broken


def short(genuine: object) -> object:
    """Intervals that are too short by a fifth on one side."""

    def broken(self: object, *given: object) -> tuple[Array, Array]:
        low, high = genuine(self, *given)  # type: ignore[operator]
        return low, high - 0.2 * (high - low)

    return broken


FAULTS = {
    "a short interval": (Boxes, "of", short),
    "a wrong intercept": (type(relu()), "gain", less_gain),
    "a narrow interval": (module, "_allowed", narrower),
    "a cost charged at the wrong end": (module, "peak", paid_at_far),
    "a shell taken for another": (peak_module, "dot", of_the_first_shell),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault: str, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, spoil = FAULTS[fault]
    monkeypatch.setattr(where, name, spoil(getattr(where, name)))
    assert _noticed(norm)


# Rounding alone


def _linear_shortfalls(norm: Norm) -> int:
    """How often the bound of a linear map lies below its value at the best corner, in rational arithmetic."""
    count = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        net = network((rng.normal(size=(4, 7)), rng.normal(size=4)))
        lower, upper = np.zeros(7), np.ones(7)
        centre = on_grid(rng.uniform(size=7))[None]
        far = np.array([1.0 if norm is Norm.INF else 7.0])
        around = Shells.around(GroundCost(norm, 1), centre, lower, upper, np.zeros(1), far)
        shells = replace(around, up=upper - centre, down=centre - lower)  # exact on the grid: nothing else pays
        found = functionals(Backward(net.layers), shells, [], np.eye(4)[None], np.zeros(1))[0]
        for row, bound in enumerate(found.tolist()):
            best = (blocks_of(net.layers)[0].weight[row] > 0).astype(float)
            count += exact_values(net, best)[1][row] > Fraction(bound)
    return count


@pytest.mark.parametrize("norm", NORMS)
def test_rounding_never_lowers_a_bound(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _linear_shortfalls(norm) == 0
    monkeypatch.setattr(module, "dot_error", lambda terms: 1e-300)
    assert _linear_shortfalls(norm) > 0  # the same without the allowance for rounding


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("width", [2000, 4000])
def test_rounding_of_a_wide_layer_behind_a_narrow_input(width: int, norm: Norm) -> None:
    """The backward pass sums over a layer's outputs: the allowance must count those, not its inputs.

    Every weight is the same double whose low bits make each addition of a running sum round the same way, and the layer
    cancels, so that nothing else pays for it.
    """
    heavy = 1 + 511 * 2.0**-52
    for offset in (0.75, 0.3):
        bias = -offset + 1e-9
        last = np.vstack([np.full(width, heavy), np.full(width, -heavy)])
        net = network((np.ones((width, 1)), np.full(width, bias)), (last, np.zeros(2)))
        none, one = np.zeros(1), np.ones(1)
        shells = Shells.around(GroundCost(norm, 1), np.array([[offset]]), none, one, none, none)
        backward = Backward(net.layers)
        rows = np.array([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]])
        found = functionals(backward, shells, backward.pre_activations(shells), rows, none)[0].tolist()
        value = width * Fraction(heavy) * (Fraction(offset) + Fraction(bias))
        for bound, truth in zip(found, (value, -value, -value, value), strict=True):
            assert Fraction(bound) >= truth


WIDTH = 20_000
HEAVY = 1 + 511 * 2.0**-52


def cancelling(form: str, sizes: tuple[int, int]) -> Graph:
    """``2^b (sum_k 2^a w x - 2^a W x)`` with W the sum of the w, rounded: coefficients of x that a running sum finds wrong."""
    first = np.append(np.full(WIDTH, HEAVY), float(WIDTH * Fraction(HEAVY)))[:, None] * 2.0 ** sizes[0]
    last = np.append(np.ones(WIDTH), -1.0)[None] * 2.0 ** sizes[1]
    last = np.concatenate([last, -last])
    many, one, none = np.zeros(WIDTH + 1), np.zeros(1), np.zeros(2)
    match form:
        case "a relu between":
            nodes = (
                Affine((INPUT,), (Dense(first),), many),
                Elementwise(0, relu()),
                Affine((1,), (Dense(last),), none),
            )
        case "nothing between":
            nodes = (Affine((INPUT,), (Dense(first),), many), Affine((0,), (Dense(last),), none))
        case "the input by itself in front":
            front = Affine((INPUT,), (Same(1),), one)
            nodes = (front, Affine((0,), (Dense(first),), many), Affine((1,), (Dense(last),), none))
        case "a relu by itself in front":
            front = (Affine((INPUT,), (Same(1),), one), Elementwise(0, relu()), Affine((1,), (Same(1),), one))
            nodes = (*front, Affine((2,), (Dense(first),), many), Affine((3,), (Dense(last),), none))
    return Graph(nodes, 1)


@pytest.mark.parametrize("sizes", [(0, 0, 0), (-600, 800, -600)])
@pytest.mark.parametrize(
    "form", ["a relu between", "nothing between", "the input by itself in front", "a relu by itself in front"]
)
def test_rounding_of_coefficients_that_cancel(form: str, sizes: tuple[int, int, int]) -> None:
    """What is left of them says nothing of their rounding, nor does what they multiply where products vanish."""
    graph, x = cancelling(form, sizes[:2]), np.array([[2.0 ** sizes[2]]])
    shells = Shells.around(GroundCost(Norm.INF, 1), x, x[0], x[0], np.zeros(1), np.zeros(1))
    with np.errstate(under="ignore"):
        z = graph.values(x[0])
    tiny = 2.0**-1074
    bounds = [(np.maximum(z[k - 1][None] - tiny, 0), z[k - 1][None] + tiny) for k in graph.elementwise]
    rows = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    found = functionals(Backward(graph), shells, bounds, rows, np.zeros(1))[0].tolist()
    total = WIDTH * Fraction(HEAVY) - Fraction(float(WIDTH * Fraction(HEAVY)))
    value = total * Fraction(2) ** sum(sizes)
    assert Fraction(found[0]) >= value
    assert Fraction(found[1]) >= -value


# What else the bounds promise


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("weights", [None, np.array([0.5, 2.0, np.inf])])
@pytest.mark.parametrize("norm", list(Norm))
def test_a_shell_has_the_same_bounds_in_any_company(
    norm: Norm, weights: Array | None, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit: so whoever proposes a shell and whoever checks it agree, however many each looks at.

    Also where the boxes of some leave their centre out.
    """
    rng = np.random.default_rng(4)
    backward = Backward(network(*random_layers(rng, 3, 7, 6, 3)).layers)
    side = rng.uniform(size=9)
    shells = Shells.around(
        GroundCost(norm, 1, weights), rng.uniform(size=(9, 3)), np.zeros(3), np.ones(3), 0.1 * side, side
    )
    rows = np.broadcast_to(np.eye(3), (9, 3, 3))
    if not inside:
        away = np.where(np.arange(9) % 3 == 0, 0.5 * side, 0.0)[:, None]
        shells = shells.within(shells.centre + away * np.array([1.0, 0.0, 0.0]), np.full((9, 3), 2.0))

    def found(some: Shells) -> list[Array]:
        bounds = backward.pre_activations(some)
        sides = [side for pair in bounds for side in pair]
        none = np.zeros((len(some), backward.neurons), np.int8)
        tops = (backward.leaves(rows[: len(some)], np.full(len(some), t), some, bounds, none, None) for t in (0.0, 2.0))
        single = backward.leaves(rows[: len(some), 0], np.full(len(some), 2.0), some, bounds, none, None)
        return [*sides, *tops, single]

    together = found(shells)
    np.testing.assert_allclose(together[-1], together[-2][:, 0], rtol=1e-12, atol=1e-12)
    alone = [found(shells.take(slice(k, k + 1))) for k in range(9)]
    monkeypatch.setattr(module, "_CHUNK", 1)
    for whole, pieces, parts in zip(together, found(shells), zip(*alone, strict=True), strict=True):
        assert np.array_equal(whole, pieces)
        assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("norm", NORMS)
def test_at_a_single_point_the_bounds_are_the_values(norm: Norm) -> None:
    rng = np.random.default_rng(5)
    net = network((rng.normal(size=(6, 3)), rng.normal(size=6)), (rng.normal(size=(2, 6)), rng.normal(size=2)))
    x = rng.uniform(size=(1, 3))
    shells = Shells.around(GroundCost(norm, 1), x, np.zeros(3), np.ones(3), np.zeros(1), np.zeros(1))
    backward = Backward(net.layers)
    bounds = backward.pre_activations(shells)
    upper = functionals(backward, shells, bounds, np.eye(2)[None], np.zeros(1))[0]
    assert upper == pytest.approx(net.forward(x)[0], abs=1e-12)
    assert not any(((low < 0) & (high > 0)).any() for low, high in bounds)


def test_what_is_charged_is_charged_as_often_as_asked() -> None:
    """A bound that whoever rounds otherwise must find too keeps its distance."""
    net = hard_network(np.random.default_rng(0))
    n, backward = net.n_inputs, Backward(net.layers)
    shells = Shells.around(
        GroundCost(Norm.INF, 1), np.full((1, n), 0.5), np.zeros(n), np.ones(n), np.zeros(1), np.array([0.125])
    )
    bounds, none = backward.pre_activations(shells), np.zeros((1, backward.neurons), np.int8)
    once, often, never = (
        backward.leaves(np.array([[1.0, -1.0, 0.0]]), np.zeros(1), shells, bounds, none, None, doubt=doubt)[0]
        for doubt in (1.0, 2.0**20, 0.0)
    )
    assert never < once < often
    assert (often - never) / (once - never) == pytest.approx(2.0**20, rel=0.1)


def test_overflowing_networks_give_bounds_that_say_nothing() -> None:
    huge = Layer(readonly(np.full((3, 2), 1e200)), readonly(np.zeros(3)))
    last = Layer(readonly(np.array([[1e200, -1e200, 0.0], [0.0, 0.0, 1.0]])), readonly(np.zeros(2)))
    net = as_network([huge, Relu(), Layer(readonly(np.eye(3) * 1e200), readonly(np.zeros(3))), Relu(), last])
    for norm in NORMS:
        shells = Shells.around(GroundCost(norm, 1), np.zeros((1, 2)), -np.ones(2), np.ones(2), np.zeros(1), np.ones(1))
        for low, high in Backward(net.layers).pre_activations(shells):
            assert (low <= 0).all()
            assert (high >= 0).all()
