"""Rows of the tightener as they are made, on chains and graphs: what they promise, which way is up; no point passes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from engines.test_ascent import LAM, NORMS, Case, layered
from graph.graphs import steered_graph
from oracles import Array

import wdaverify.engines.cells.tightening as tightening
from wdaverify.certify.tightened import Asked, Nodes, tightened
from wdaverify.engines.cells.tightening import Leaves, Tightener, _Items
from wdaverify.graph.nodes import Elementwise
from wdaverify.problem import Norm

SEEDS = [pytest.param(s, marks=[] if s < 3 else [pytest.mark.full]) for s in range(30)]
STEP = 2e-3


def cases(seed: int, norm: Norm) -> Iterator[Case]:
    yield from layered(seed, norm)
    for distance in (False, True):
        yield Case(seed, norm, distance=distance, widths=(2, 3), graph=steered_graph(seed))


def with_leaves(seed: int, norm: Norm) -> Iterator[tuple[Case, Leaves, Array, float]]:
    """Some nodes with bounds that fall short of a level, their phases, and the level; of a distance there may be none."""
    for case in cases(seed, norm):
        shell, phases = case.nodes(6)
        climbed = case.climb(shell, phases, 12)
        some = np.isfinite(climbed.bound) & (np.abs(climbed.bound) < 1e3)
        if not some.any():
            continue
        shell, phases, free = shell[some], phases[some], climbed.free.take(some)
        level = 0.0 if case.ascent.priced else -float(climbed.bound[some].max()) - 0.5
        excess = (0.5 + climbed.bound[some].max() - climbed.bound[some]) * (free.price if case.ascent.priced else 1)
        low, high, made = case.ascent.bounds(shell, phases)
        costs = case.ascent.costs(shell, phases, free)
        yield (
            case,
            Leaves(
                *(shell, np.full(shell.size, level), low, high, made, free, excess.astype(np.float32), costs),
                np.zeros(shell.size, np.float32),
                *case.ascent.peaks(shell),
            ),
            phases,
            level,
        )


@pytest.fixture(autouse=True)
def all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are kept whatever they gain."""
    monkeypatch.setattr(tightening, "_GAIN", -1e9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_rows_prove_what_they_promise_and_no_point_passes_them(
    seed: int, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the trusted pass, up to single precision and slopes in 255ths; points of the shell on the node's side whose value counts."""
    promised: list[tightening._Made] = []
    made_of, off, count = tightening._by_node, list[float](), 0

    def noted(made: list[tightening._Made], *given: object) -> object:
        promised[:] = made
        return made_of(made, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(tightening, "_by_node", noted)
    for case, leaves, phases, level in with_leaves(seed, norm):
        rows = case.tightener.rows(leaves)
        x = case.rng.uniform(size=(4000, 2))
        values = case.graph.values(x)
        z = np.concatenate([values[_source(case, k)] for k in case.graph.elementwise], axis=1)
        far = case.region.cost.distance(x - case.centre)
        worth = values[-1] @ case.functional - (0 if case.ascent.priced else LAM * far**case.power)
        shells, shell = case.together.narrowing.places(leaves.shell), leaves.shell
        flat = np.stack([case.hunt.shells[k].flat for k in shell.tolist()])
        bounds = [(flat[:, 0, span], flat[:, 1, span]) for span in case.tightener._graph.spans]
        asked = Asked(
            np.tile(case.functional, (shell.size, 1)),
            None if case.ascent.priced else np.full(shell.size, LAM),
            case.power,
        )
        own = [k for k, row in enumerate(rows) if row is not None]
        if not own:
            continue
        nodes = Nodes(shells.take(np.array(own)), [(a[own], b[own]) for a, b in bounds], phases[own])
        found = tightened(case.hunt.backward, nodes, asked, [row for row in rows if row is not None])
        low, high = (np.concatenate([pair[side] for pair in found], axis=1) for side in (0, 1))
        for k, at, top in [
            v for p in promised for v in zip(p.node.tolist(), p.at.tolist(), p.top.tolist(), strict=True)
        ]:
            row, neuron, end = own.index(k), at // 2, 1 - at % 2
            side = 2.0 * end - 1
            if (low[row] <= high[row]).all():  # where rows leave no point, bounds are of nothing
                now, before = side * (low, high)[end][row, neuron], side * flat[k, end, neuron]
                off.append(abs(float(now - min(top, before))) / float(flat[k, 1, neuron] - flat[k, 0, neuron]))
            here = ((np.sign(z) == phases[k]) | (phases[k] == 0)).all(axis=1) & (worth >= level)
            here &= (far >= case.edges[shell[k]]) & (far <= case.edges[shell[k] + 1])
            slack = 1e-4 * (1 + abs(top) + float(np.abs(z[:, neuron]).max()))
            assert (side * z[here, neuron]).max(initial=-np.inf) <= top + slack
            count += int(here.any())
    assert len(off) > 40
    assert np.quantile(off, 0.75) < 0.02
    assert count > 10


def _source(case: Case, k: int) -> int:
    node = case.graph.nodes[k]
    assert isinstance(node, Elementwise)
    return node.source


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_slopes_are_the_differences(seed: int, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """In alpha and mu, away from kinks, wherever an ascent has been."""
    been: list[tuple[_Items, Array, Array, np.float32]] = []
    slope_of, seen = Tightener._slope, {"alpha": 0, "mu": 0}

    def noted(self: Tightener, *given: object) -> object:
        been.append(given)  # type: ignore[arg-type]
        return slope_of(self, *given)  # type: ignore[arg-type]

    for case, leaves, _, _ in with_leaves(seed, norm):
        been.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Tightener, "_slope", noted)
            case.tightener.rows(leaves)
        for items, alpha, mu, at_level in been[::2]:
            value, slope, in_mu = slope_of(case.tightener, items, alpha, mu, at_level)
            for name, neuron in [("mu", 0), *(("alpha", k) for k in range(case.neurons))]:
                ends = []
                for step in (STEP, -STEP):
                    other, price = alpha.copy(), mu.copy()
                    if name == "mu":
                        price += np.float32(step)
                    else:
                        other[:, neuron] += np.float32(step)
                    ends.append(slope_of(case.tightener, items, other, price, at_level)[0])
                told = in_mu if name == "mu" else slope[:, neuron]
                ahead, behind = (ends[0] - value) / STEP, (value - ends[1]) / STEP
                room = 1e-2 * (1 + np.abs(told)) + 1e-3 * np.abs(value)
                smooth = np.abs(ahead - behind) < room
                assert (np.abs(0.5 * (ahead + behind) - told) < room)[smooth].all(), (name, neuron)
                seen[name] += int((smooth & (told != 0)).sum())
    assert min(seen.values()) >= 30, seen
