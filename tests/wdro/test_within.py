"""Distances within a radius: what lies beyond is only said to be beyond."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers

from wdaverify import Journal, ProblemError, distances
from wdaverify.problem import Loss, Norm

NORMS = [Norm.INF, Norm.ONE, Norm.TWO]


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_nearer_is_exact_and_what_is_farther_is_said_to_be(norm: Norm) -> None:
    """Against the distances without a radius; a radius at a distance itself, between two, before all and beyond all."""
    rng = np.random.default_rng(5)
    net = network(*random_layers(rng, 2, 6, 5, 3))
    x = rng.uniform(size=(8, 2))
    asked = problem(net, x, net.forward(x).argmax(axis=1), 0.1, loss=Loss.ZERO_ONE, norm=norm)
    whole = distances(asked, solver="cells", reproduced=False)
    assert whole.exact
    found = sorted(b.upper for b in whole.brackets if math.isfinite(b.upper))
    assert len(found) >= 3
    for within in (0.5 * found[0], found[1], 0.5 * (found[1] + found[2]), 2 * found[-1] + 1):
        result = distances(asked, solver="cells", within=within, reproduced=False)
        assert result.exact
        assert result.within == within
        for bracket, truth in zip(result.brackets, whole.brackets, strict=True):
            assert bracket.lower <= truth.upper
            assert truth.lower <= bracket.upper
            near = truth.upper < within - 1e-5
            assert not near or bracket.upper - bracket.lower <= 1e-6
            assert near or bracket.lower >= within or bracket.upper - bracket.lower <= 1e-6


def test_it_is_told_in_text_and_document_and_asked_again() -> None:
    rng = np.random.default_rng(5)
    net = network(*random_layers(rng, 2, 6, 5, 3))
    x = rng.uniform(size=(4, 2))
    asked = problem(net, x, net.forward(x).argmax(axis=1), 0.1, loss=Loss.ZERO_ONE)
    result = distances(asked, within=1e-4)
    document = json.loads(result.to_json())
    assert (document["within"], document["exact"]) == (1e-4, True)
    assert json.loads(distances(asked).to_json())["within"] == "inf"
    assert "beyond what was asked about" in str(result)
    assert "error nearer than 0.0001" in str(result)


@pytest.mark.parametrize("within", [0, -1, math.nan, "0.1", None, True, [0.1]])
def test_other_radii_are_refused(within: object) -> None:
    net = network(*random_layers(np.random.default_rng(0), 2, 3, 2))
    with pytest.raises(ProblemError, match="within"):
        distances(problem(net, np.full((1, 2), 0.5), [0], 0.1, loss=Loss.ZERO_ONE), within=within)  # type: ignore[arg-type]


def test_a_journal_of_a_radius_leaves_what_lies_beyond_to_others(tmp_path: Path) -> None:
    """A question that was closed within a radius is asked again beyond it."""
    rng = np.random.default_rng(5)
    net = network(*random_layers(rng, 2, 6, 5, 3))
    x = rng.uniform(size=(6, 2))
    asked = problem(net, x, net.forward(x).argmax(axis=1), 0.1, loss=Loss.ZERO_ONE)
    whole = distances(asked, reproduced=False)
    middle = float(np.median([b.upper for b in whole.brackets if math.isfinite(b.upper)]))
    with Journal(tmp_path) as journal:
        for within in (0.5 * middle, middle, math.inf):
            found = distances(asked, within=within, journal=journal, reproduced=False)
            assert found.exact
    for bracket, truth in zip(found.brackets, whole.brackets, strict=True):
        assert bracket.lower == pytest.approx(truth.lower, abs=1e-6)
        assert bracket.upper == pytest.approx(truth.upper, abs=1e-6)
