"""Shells whose pre-activations are bounded once: what is handed out, and how often it is computed."""

from __future__ import annotations

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.engines import known as known_module
from wdaverify.engines.screening import Screen
from wdaverify.problem import Norm, WdroProblem


def question(norm: Norm) -> WdroProblem:
    rng = np.random.default_rng(5)
    net = network(*random_layers(rng, 3, 4, 5, 3))
    x = rng.uniform(size=(4, 3))
    return problem(net, x, net.forward(x).argmax(axis=1), norm=norm)


def counted(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many shells each call bounds."""
    sizes: list[int] = []
    bound = Backward.pre_activations

    def pre_activations(self: Backward, shells: Shells, *, deadline: float) -> HiddenBounds:
        sizes.append(len(shells))
        return bound(self, shells, deadline=deadline)

    monkeypatch.setattr(Backward, "pre_activations", pre_activations)
    return sizes


@pytest.mark.parametrize("numbers", [2**23, 60, 1])
@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE, Norm.TWO])
def test_shells_get_their_own_bounds_however_little_is_kept(
    norm: Norm, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_module, "_NUMBERS", numbers)
    screen = Screen(question(norm))
    rng = np.random.default_rng(6)
    for _ in range(6):
        sample = rng.integers(0, 4, 7)
        near, far = np.zeros(7), rng.choice([0.1, 0.2, 0.4], 7)
        told = screen._known.of(sample, near, far)
        direct = screen._pre_activations(sample, near, far)
        for (low, high), (least, most) in zip(told, direct, strict=True):
            assert np.array_equal(low, least)
            assert np.array_equal(high, most)


def test_no_shell_is_bounded_twice_at_any_multiplier(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(question(Norm.INF))
    sizes = counted(screen, monkeypatch)
    everyone, open_to_all = np.arange(4), np.full(4, -np.inf)
    screen.inner(everyone, 1.0, open_to_all, 1e-6)
    assert sum(sizes) == len(screen._known._row)
    before = sum(sizes)
    screen.inner(everyone, 1.0, open_to_all, 1e-6)
    assert sum(sizes) == before
    screen.inner(everyone, 2.0, open_to_all, 1e-6)
    assert sum(sizes) == before  # nothing is dropped against -inf, so that the shells are the same
