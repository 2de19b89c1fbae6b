"""Exact Lipschitz constants published by others, to the last digits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
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


PUBLISHED = {
    "exlipbab_abalone_9-16-16-1.onnx": (11.1216023322, 11.1216023322),
    "exlipbab_wine_11-12-12-1.onnx": (1.7433699967, 1.7433699967),
    "exlipbab_wine_11-24-24-1.onnx": (1.73687, np.inf),
    "exlipbab_bike_13-20-16-8-3.onnx": (10802.4, np.inf),
}
"""l2 constants on the whole space (Zhang et al., ExLipBaB): the two ends between which each is known to lie."""


@pytest.mark.parametrize(
    "name", [*(pytest.param(n, marks=[pytest.mark.full] * ("wine_11-12" not in n)) for n in PUBLISHED)]
)
def test_brackets_hold_published_constants(name: str, published_constants: Path) -> None:
    """Under a limit that ends most of them open: what is published lies in the bracket."""
    network = load_network(published_constants / name)
    problem = LipschitzProblem(
        network, GroundCost(Norm.TWO, 1), Support.whole(network.n_inputs), Measure.operator_norm(network)
    )
    result = lipschitz(problem, time_limit=2)
    least, most = PUBLISHED[name]
    assert result.lower <= most * (1 + 1e-9)
    assert result.upper >= least * (1 - 1e-9)
    assert result.lower <= result.upper


FOLDED = {
    "mini_zero.onnx": (0.0, 1.0, 1.0440306508910548, 1e-12),
    "mini_pairs4.onnx": (-1.0, 1.0, 16.188193967526, 1e-11),
    "mini_pairs6.onnx": (-1.0, 1.0, 13.489192852822, 1e-11),
    "mfc.onnx": (None, None, 15.9052348, 1e-8),
}
"""l2 constants: sqrt(1.09) by hand; of nets with ``relu(u) - relu(-u)`` those of the same nets with the pairs written as u; MIPVerify's."""


@pytest.mark.parametrize("name", FOLDED)
def test_neurons_that_others_make_up_cost_nothing(name: str, published_constants: Path) -> None:
    network = load_network(published_constants / name)
    low, high, published, near = FOLDED[name]
    support = Support.box(low, high, network.n_inputs) if low is not None and high is not None else None
    if support is None:
        box = np.load(published_constants / "mfc_box.npz")
        support = Support.box(box["lower"], box["upper"], network.n_inputs)
    result = lipschitz(LipschitzProblem(network, GroundCost(Norm.TWO, 1), support, Measure.operator_norm(network)))
    assert result.status == "exact"
    assert result.lower == pytest.approx(published, rel=near)
    assert network.canonical.neurons < network.n_relus
