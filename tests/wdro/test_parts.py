"""A question that is shared by several workers: the same value, a proof that holds, and failures that stay failures."""

from __future__ import annotations

import math
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise

import numpy as np
import pytest
from bounds.tiny import best_in_cells, network, problem, random_layers, raw
from oracles import enumerate_cells

import wdaverify.wdro.pricing as pricing
from wdaverify import verify
from wdaverify.engines.base import Answer, Effort, Inner
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.screening import Screen
from wdaverify.problem import Norm
from wdaverify.wdro.parts import divided, gathered, joined

PLAIN = Effort(gap=1e-8, seconds=math.inf, seed=0, cutoff=None, start=None, proof=True)


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
@pytest.mark.parametrize("parts", [2, 3, 16])
@pytest.mark.parametrize("seed", range(4))
def test_parts_together_are_the_whole(seed: int, parts: int, norm: Norm) -> None:
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 5, 4, 3))
    x = rng.uniform(size=2)
    label = int(net.forward(x[None])[0].argmax())
    screen = Screen(problem(net, x, [label], norm=norm))
    region = screen.shell(0, 0.0, float(screen.reach[0]))
    whole = Inner(0, label, (label + 1) % 3, region, (), 1.5)
    pieces = divided(whole, parts)
    assert len(pieces) == parts
    assert (pieces[0].region.near, pieces[-1].region.far) == (region.near, region.far)
    assert all(a.region.far == b.region.near for a, b in pairwise(pieces))
    answer = joined([CellEngine(net).answer(piece, PLAIN) for piece in pieces])
    c = np.zeros(3)
    c[whole.rival], c[label] = 1.0, -1.0
    cells = enumerate_cells(raw(net), np.zeros(2), np.ones(2))
    value, _ = best_in_cells(cells, c, 1.5, norm, x, 0.0, region.far, np.zeros(2), np.ones(2))
    assert value - 1e-9 <= answer.bound <= value + 1e-6
    assert answer.closed
    assert answer.checked
    assert answer.proof is not None
    trees = answer.proof.trees
    assert (trees[0].near, trees[-1].far) == (region.near, region.far)
    assert all(a.far == b.near for a, b in pairwise(trees))


def test_a_shell_without_width_is_not_divided() -> None:
    rng = np.random.default_rng(0)
    net = network(*random_layers(rng, 2, 3, 2))
    screen = Screen(problem(net, np.array([0.5, 0.5]), [0]))
    question = Inner(0, 0, 1, screen.shell(0, 0.25, 0.25), (), 1.0)
    assert divided(question, 4) == [question]


def test_a_lost_part_is_a_lost_answer() -> None:
    parts: list[Future[Answer]] = [Future(), Future()]
    whole = gathered(parts)
    parts[0].set_exception(BrokenProcessPool("gone"))
    assert not whole.done()
    parts[1].set_result(Answer(1.0, np.zeros((0, 2)), "cells", True, 1, 0.0, "", True))
    assert isinstance(whole.exception(), BrokenProcessPool)


def test_a_run_shares_what_one_worker_could_not_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample, one rival, no time in the first attempt: later ones are shared, and the certificate proves the value."""
    rng = np.random.default_rng(5)
    net = network(*random_layers(rng, 4, 10, 10, 2))
    x = rng.uniform(size=(1, 4))
    p = problem(net, x, net.forward(x).argmax(axis=1), 0.3)
    alone = verify(p, solver="cells")
    assert alone.statistics.solves >= 1
    monkeypatch.setattr("wdaverify.wdro.run._FIRST_SLICE", 1e-9)
    shared: list[int] = []
    kept = pricing.Pricing._share

    def share(self: pricing.Pricing, items: pricing.Ints, item: int) -> int:
        shared.append(kept(self, items, item))
        return shared[-1]

    monkeypatch.setattr(pricing.Pricing, "_share", share)
    result = verify(p, solver="cells", jobs=2, certificate=True)
    assert shared[0] == 1
    assert 2 in shared
    assert result.status == "exact"
    assert result.vouched_upper == "proved"
    assert result.lower == pytest.approx(alone.lower, abs=2e-6)
