"""Exact Lipschitz constants published by others, to the last digits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.network.onnx_reader import load_network


def rows(realworld: Path) -> list[dict[str, object]]:
    return list(json.loads((realworld / "answers" / "exact_lipschitz_lipbab.json").read_text())["rows"])


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("net", ["lipbab_iris_4-5-5-3_f64.onnx", "lipbab_sd_10-15-10-3_f64.onnx"])
def test_operator_norms_of_lipbab(net: str, norm: Norm, realworld: Path) -> None:
    """In the induced norm r -> r, on the boxes of the publication."""
    asked = [row for row in rows(realworld) if row["net"] == net and row["p"] == norm.value]
    assert asked
    network = load_network(realworld / "networks" / net)
    for row in asked:
        low, high = row["box"]  # type: ignore[misc]
        support = Support.box(float(low), float(high), network.n_inputs)
        problem = LipschitzProblem(network, GroundCost(norm, 1), support, Measure.operator_norm(network))
        result = lipschitz(problem, gap=1e-9)
        published = float(row["published"])  # type: ignore[arg-type]
        assert result.status == "exact", result.notices
        assert result.lower <= published * (1 + 1e-9)
        assert published * (1 - 1e-9) <= result.upper
        assert result.upper - result.lower <= 1e-9 * published


LINE = [pytest.param(Support.whole(1), norm, marks=pytest.mark.full) for norm in Norm]


@pytest.mark.parametrize(("support", "norm"), [*((Support.box(-100, 100, 1), norm) for norm in Norm), *LINE])
def test_spiky(support: Support, norm: Norm, realworld: Path) -> None:
    """Slope 10 between its spikes, on the whole line as well."""
    network = load_network(realworld / "networks" / "nv_spiky_1d.onnx")
    result = lipschitz(LipschitzProblem(network, GroundCost(norm, 1), support, Measure.operator_norm(network)))
    assert result.status == "exact"
    assert result.lower <= 10 <= result.upper
    assert result.gap <= 1e-6
