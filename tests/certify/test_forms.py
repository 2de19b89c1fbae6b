"""Linear forms: no point of a box lies outside a form, in rationals where it is close."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from graph.graphs import exactly, random_graph, relu_graph, steered_graph

from wdaverify.certify import forms as module
from wdaverify.certify.backward import Backward, Shells
from wdaverify.certify.forms import Forms
from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import Graph, chain
from wdaverify.graph.rewrite import canonical
from wdaverify.ground import GroundCost, Norm

SEEDS = [*range(12), *(pytest.param(s, marks=pytest.mark.full) for s in range(12, 200))]
MAKERS = (random_graph, relu_graph, steered_graph)


def boxes(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    centre = np.round(rng.uniform(-2, 2, size=(4, n)) * 16) / 16
    return centre, rng.choice([0.0, 2.0**-20, 0.125, 0.5, 3.0], size=(4, n))


def points(rng: np.random.Generator, n: int) -> np.ndarray:
    """Values of e, on a grid, half of them corners."""
    e = np.round(rng.uniform(-1, 1, size=(120, n)) * 64) / 64
    e[::2] = np.sign(e[::2])
    return e


def encloses(graph: Graph, seed: int, known: bool) -> float:
    """Every form of the last node and every side of a function's input holds at every point; how wide the last node's sides are."""
    rng = np.random.default_rng(seed)
    graph, n = canonical(graph), graph.inputs
    centre, radius = boxes(rng, n)
    moving = np.arange(n)
    hidden = None
    if known:
        shells = Shells(GroundCost(Norm.INF, 1), centre, radius, radius, np.zeros(4), radius.max(axis=1))
        hidden = Backward(graph).pre_activations(shells)
    form, sides = Forms(graph).of(centre, radius, moving[:-1] if seed % 5 == 0 else moving, hidden)
    const, slopes = form.above()
    low, high = form.sides(form.size())
    e = points(rng, n)
    for b in range(4):
        x = centre[b] + radius[b] * e  # exact: short dyadic numbers
        values = graph.values(x)
        for k, (least, most) in zip(graph.elementwise, sides, strict=True):
            z = values[graph.source(k)]
            assert (z >= least[b] - 1e-9 * (1 + np.abs(z))).all()
            assert (z <= most[b] + 1e-9 * (1 + np.abs(z))).all()
        above = const[b] + e[:, : slopes.shape[1]] @ slopes[b]
        at = np.unravel_index(int((values[-1] - above).argmax()), above.shape)
        truth = exactly(graph, x[at[0]])[-1][at[1]]
        line = Fraction(float(const[b, at[1]])) + sum(
            (Fraction(float(v)) * Fraction(float(s)) for v, s in zip(e[at[0]], slopes[b, :, at[1]], strict=False)),
            Fraction(0),
        )
        off = 0 if all(_exact(node) for node in graph.nodes) else Fraction(1, 10**9)  # of maps known up to an error
        assert truth <= line + off
        assert Fraction(float(low[b, at[1]])) - off <= truth <= Fraction(float(high[b, at[1]])) + off
    return float((high - low).mean())


def _exact(node: object) -> bool:
    return getattr(node, "exact", True)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_point_lies_outside(seed: int, known: bool) -> None:
    encloses(MAKERS[seed % 3](seed), seed, known)


def test_known_bounds_make_forms_tighter() -> None:
    widths = [[encloses(steered_graph(seed), seed, known) for seed in range(6)] for known in (False, True)]
    assert sum(widths[1]) < 0.97 * sum(widths[0])


def test_an_affine_graph_is_its_own_form() -> None:
    graph = chain([([[1.0, -2.0], [0.5, 0.25]], [1.0, -1.0])], relu())
    form, _ = Forms(graph).of(np.array([[1.0, 1.0]]), np.array([[0.5, 2.0]]), np.arange(2))
    assert form.middle[0].tolist() == [[0.0, -0.25], [0.5, 0.25], [-4.0, 0.5]]
    assert np.abs(form.half).max() < 1e-13


def test_numbers_that_overflow_prove_nothing() -> None:
    graph = chain([(Dense(np.full((2, 1), 1e300)), np.zeros(2)), (Dense(np.full((1, 2), 1e300)), np.zeros(1))], relu())
    form, bounds = Forms(graph).of(np.zeros((1, 1)), np.ones((1, 1)), np.arange(1))
    assert bounds[0][1][0, 0] >= 1e300
    low, high = form.sides(form.size())
    assert not np.isfinite([low, high]).any()


@pytest.mark.parametrize("fault", ["no rise", "no rounding of sides"])
def test_planted_faults_are_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "no rise":
        plain = module._relu

        def lower(form, known):
            made, sides = plain(form, known)
            made.half[:, 0] -= 0.05 * (sides[1][:, :] > 0) * (sides[0] < 0)
            return made, sides

        monkeypatch.setattr(module, "_relu", lower)
    else:
        monkeypatch.setattr(module, "dot_error", lambda terms: 0.0)
    with pytest.raises(AssertionError):
        [encloses(MAKERS[seed % 3](seed), seed, False) for seed in range(60)]
