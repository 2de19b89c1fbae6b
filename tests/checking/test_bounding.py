"""Clipping and mixtures: what is cut away is below the level, in rationals, and no mixture is below the least row."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from checking.small import matrices, network_of, random_question

from wdaverify.certify import confined as module
from wdaverify.certify.rows import Rows
from wdaverify.checking.bounding import Bounding, Boxes
from wdaverify.checking.least import least_row


def clips_nothing_else(seed: int) -> int:
    """Grid points at which all rows reach the level, exactly, are kept; how many points are cut away."""
    rng = np.random.default_rng([41, seed])
    count, k, width = 8, int(rng.integers(1, 4)), int(rng.integers(1, 4))
    slopes = rng.choice([0.0, 1.0, -1.0, 0.1, 3.0, -1e-3, 1e6], size=(count, k, width))
    level = float(rng.choice([-1e-100, -0.5, -0.1]))
    e = rng.choice([-1.0, -0.5, 0.1, 0.25, 1 / 3, 0.75, 1.0], size=(60, k))
    # so that at one point of the grid every row is at the level, as nearly as a double can be
    const = level - np.einsum("k,bkr->br", e[0], slopes) + rng.choice([0.0, 0.0, 0.5], size=(count, width))
    const = np.nextafter(const, np.inf)
    low, high, empty = module._clipped(const, slopes, level)
    cut = 0
    for b in range(count):
        for at in e:
            reached = all(
                Fraction(float(const[b, r]))
                + sum(Fraction(x) * Fraction(s) for x, s in zip(at, slopes[b, :, r], strict=True))
                >= Fraction(level)
                for r in range(width)
            )
            kept = not empty[b] and bool(((at >= low[b]) & (at <= high[b])).all())
            assert kept or not reached
            cut += not kept
    return cut


@pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.full)])
def test_points_that_reach_the_level_are_kept(count: int) -> None:
    assert sum(clips_nothing_else(seed) for seed in range(count)) > 100 * count


def test_rounding_counts_in_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLACK", 0.0)
    monkeypatch.setattr(module, "dot_error", lambda terms: 0.0)
    with pytest.raises(AssertionError):
        [clips_nothing_else(seed) for seed in range(200)]


@pytest.mark.parametrize("hidden", [False, True])
def test_the_top_of_a_box_is_above_its_points(hidden: bool) -> None:
    """Cut boxes keep every point that reaches the level; once more with tightened bounds."""
    for seed in range(12):
        network, specification, _ = random_question(seed)
        rows, rng = Rows.of(network, specification), np.random.default_rng(seed)
        count = len(specification.disjuncts)
        low, high = (np.stack([getattr(d.box, side) for d in specification.disjuncts]) for side in ("lower", "upper"))
        boxes = Boxes(low, high, np.arange(count), np.full(count, np.inf), np.arange(count))
        made, level = Bounding(rows), -0.25
        found = made.bounded(boxes, level)
        found = made.bounded(found.boxes, level, deep=True) if hidden else found
        for d, disjunct in enumerate(specification.disjuncts):
            x = np.clip(
                low[d] + rng.random((200, low.shape[1])) * (high[d] - low[d]), disjunct.box.least, disjunct.box.most
            )
            values = rows.values(x, np.full(200, d)).min(axis=1)
            reaching = values >= level + 1e-9
            inside = ((x >= found.boxes.lower[d]) & (x <= found.boxes.upper[d])).all(axis=1)
            assert inside[reaching].all()
            assert not (found.empty[d] and reaching.any())
            assert (values[inside] <= found.boxes.top[d] + 1e-9).all()


def test_the_search_finds_what_the_checker_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its loops are in C: the same clips, and tops to rounding."""
    for seed in range(12):
        network, specification, _ = random_question(seed)
        rows, count = Rows.of(network, specification), len(specification.disjuncts)
        low, high = (np.stack([getattr(d.box, side) for d in specification.disjuncts]) for side in ("lower", "upper"))
        boxes = Boxes(low, high, np.arange(count), np.full(count, np.inf), np.arange(count))
        searched = Bounding(rows).bounded(boxes, -0.25, deep=True)
        plain = module.Confining(rows).of(low, high, np.arange(count), -0.25, deep=True)
        assert (searched.codes == plain.codes()).all()
        assert searched.boxes.top == pytest.approx(plain.top, rel=1e-9, abs=1e-9)
    asked = []
    monkeypatch.setattr("wdaverify.checking.bounding.compiled", lambda: asked.append(1))
    Bounding(rows)
    assert asked  # whether there are any


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_values_are_the_rows(seed: int) -> None:
    """Rows of all disjuncts at points, against their matrices; functionals are shared by rows that differ by offsets alone."""
    network, specification, _ = random_question(seed)
    rows, rng = Rows.of(network, specification), np.random.default_rng(seed)
    x = rng.normal(size=(30, network.n_inputs))
    for d, disjunct in enumerate(specification.disjuncts):
        F, G, b = matrices(disjunct.rows, network.n_inputs, network.n_outputs)
        want = (network.forward(x) @ F.T + x @ G.T + b).min(axis=1)
        assert rows.values(x, np.full(30, d)).min(axis=1) == pytest.approx(want)
        low, _ = least_row(network, disjunct.rows, x[0])
        assert low == pytest.approx(want[0])
        assert low <= want[0] + 1e-12
    assert len(rows.outputs) <= sum(len(d.rows) for d in specification.disjuncts)
    assert network_of(network.graph).n_outputs == network.n_outputs
