"""ECLipsE-Fast: one hidden layer by hand, never below the slopes that points have, between layer norms and LipSDP."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bounds.tiny import network, random_layers, raw
from lipschitz.tangents import dual, jacobians

from wdaverify.errors import ProblemError
from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.ground import GroundCost, Norm
from wdaverify.lipschitz import eclipse
from wdaverify.lipschitz.eclipse import eclipse_fast
from wdaverify.lipschitz.lipsdp import lipsdp

L2 = GroundCost(Norm.TWO, 1)


def test_one_hidden_layer_by_hand() -> None:
    """``W = diag(1, 2)``, g = (3, 1): lam = 1/4, X = diag(7/16, 1/4), rho^2 = 9 * 16/7 + 4; the constant is sqrt(9 + 4)."""
    net = network((np.diag([1.0, 2.0]), np.zeros(2)), (np.array([[3.0, 1.0]]), np.zeros(1)))
    found = eclipse_fast(net.layers, np.eye(1), L2).constants[0]
    assert math.sqrt(13) <= found <= math.sqrt(9 * 16 / 7 + 4) * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_never_below_slopes_and_above_lipsdp(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 3, 8, 6, 2))
    rows = np.array([[1.0, 0.0], [1.0, -1.0], [2.0, -2.0], [0.0, 0.0]])
    for norm in Norm:
        cost = GroundCost(norm, 1)
        found = eclipse_fast(net.layers, rows, cost).constants
        points = rng.normal(size=(2000, 3)) * 3
        met = dual(np.einsum("rk,bkn->brn", rows, jacobians(raw(net), points)), norm.value, np.ones(3)).max(axis=0)
        assert (met <= found * (1 + 1e-12)).all()
        assert found[3] == 0
        assert found[2] == pytest.approx(2 * found[1])
    assert (lipsdp(net.layers, rows, L2).constants <= eclipse_fast(net.layers, rows, L2).constants * (1 + 1e-4)).all()


def test_multipliers_that_are_wrong_prove_nothing_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recursion that promises half of what there is, is repaired or refused."""
    net = network(*random_layers(np.random.default_rng(1), 3, 6, 5, 1))
    met = float(dual(jacobians(raw(net), np.random.default_rng(0).normal(size=(2000, 3))), "2", np.ones(3)).max())
    honest = eclipse._Recursion.solve

    def halved(self: eclipse._Recursion, g: np.ndarray, clock: object) -> tuple[list[np.ndarray] | None, str]:  # type: ignore[type-arg]
        found, why = honest(self, g, clock)  # type: ignore[arg-type]
        return None if found is None else [0.01 * t for t in found], why

    monkeypatch.setattr(eclipse._Recursion, "solve", halved)
    assert eclipse_fast(net.layers, np.eye(1), L2).constants[0] >= met


def test_what_is_no_path_is_refused() -> None:
    nodes = (
        Affine((INPUT,), (Dense(np.eye(2)),), np.zeros(2)),
        Elementwise(0, relu()),
        Affine((1, INPUT), (Dense(np.eye(2)), Dense(np.eye(2))), np.zeros(2)),
    )
    with pytest.raises(ProblemError, match="a single path of affine maps and ReLUs is accepted"):
        eclipse_fast(Graph(nodes, 2), np.eye(2), L2)
