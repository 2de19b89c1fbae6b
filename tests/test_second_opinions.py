"""The table of second opinions in docs/combinations.md: every kind of question put to every engine, against an oracle.

What an engine refuses has to be refused, what it answers has to enclose the oracle's value, on the word that the table says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bounds.tiny import network, random_layers, raw
from family_oracle import Question, distance, exact, random_question
from graph.cells import forward_graph
from graph.graphs import family_graph
from lipschitz.slopes import steepest
from quick import one_in
from test_family_against_oracle import put, tolerance

from wdaverify import ReluNetwork, Support, WdroProblem, verify
from wdaverify.errors import ProblemError
from wdaverify.ground import GroundCost, LinearRows, Norm
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.network.model import Array
from wdaverify.problem import Loss
from wdaverify.samples import make_samples
from wdaverify.wdro.curve import curve
from wdaverify.wdro.distances import distances

PAGE = Path(__file__).parents[1] / "docs" / "combinations.md"
ENGINES = ("cells", "highs", "gurobi", "scip")
SEEDS = [pytest.param(s, marks=[] if s < 1 else [pytest.mark.full], id=f"seed{s}") for s in range(10)]


@dataclass(frozen=True)
class Told:
    """A bracket, the oracle's, how far they may miss each other, and whose word the upper end is."""

    lower: float
    upper: float
    low: float
    high: float
    near: float
    word: str


Ask = Callable[[str, int, Path], list[Told]]


def two(seed: int) -> str:
    """l-inf and l1 take turns."""
    return ("inf", "1")[seed % 2]


@cache
def _drawn(seed: int, **asked: Any) -> Question:
    return random_question(seed, **asked)


_exact = cache(exact)


def _verified(question: Question, engine: str, folder: Path, problem: WdroProblem | None = None) -> list[Told]:
    low, high = _exact(question)
    gap = 1e-4 if question.loss == "cross-entropy" else 1e-6
    result = verify(problem or put(question, folder), solver=engine, gap=gap)
    assert result.status == "exact", (result.reason, result.notices)
    near = max(tolerance(question), 1e-5 if question.norm == "2" or question.order == 2 else 0.0)
    word = str(result.vouched_upper)
    assert word == "checked" or set(result.solver.solves) & {"highs", "gurobi", "scip"}, result.solver
    return [Told(result.lower, result.upper, low, high, near, word)]


def family(norm: str, orders: tuple[float, ...], losses: tuple[str, ...], turn: int = 0, **extras: bool) -> Ask:
    """One of the family oracle's questions a seed; orders and losses take turns, and norms from ``turn`` on."""

    def ask(engine: str, seed: int, folder: Path) -> list[Told]:
        order, loss = orders[seed % len(orders)], losses[seed % len(losses)]
        measured = norm or two(turn + seed // 2)
        return _verified(_drawn(seed, norm=measured, order=order, loss=loss, **extras), engine, folder)

    return ask


def graphs(engine: str, seed: int, folder: Path) -> list[Told]:
    """Skips, pooling, clips, slopes, absolute values and convolutions: one graph of each seed, all kinds over the seeds."""
    question = random_question(seed, norm=two(seed), order=1, loss=("margin", "zero-one", "linear")[seed % 3])
    graph = family_graph(seed, question.lower.size, len(question.weights[-1][1]))
    y = forward_graph(graph, question.x).argmax(axis=1)
    return _verified(replace(question, weights=graph, y=y), engine, folder)


def everything(engine: str, seed: int, folder: Path) -> list[Told]:
    extras = dict.fromkeys(("label_cost", "cost_weights", "rows", "integer"), True)
    return _verified(_drawn(seed, norm=two(seed), order=1, loss="margin", **extras), engine, folder)


def whole_space(order: float) -> Ask:
    """At order inf that of a box that holds every ball; at order 1 relu(x - 10) from 0, which is worth the radius."""

    def ask(engine: str, seed: int, folder: Path) -> list[Told]:
        if order == math.inf:
            question = random_question(seed, norm=two(seed), order=order, loss="margin")
            wide = replace(question, lower=question.lower - 5, upper=question.upper + 5)
            problem = replace(put(question, folder), support=Support.whole(question.lower.size))
            return _verified(wide, engine, folder, problem)
        net = network((np.ones((1, 1)), np.array([-10.0])), (np.array([[0.0], [1.0]]), np.zeros(2)))
        radius = 0.5 + seed / 10
        support, cost = Support.whole(1), GroundCost(Norm(two(seed)), 1)
        problem = WdroProblem(net, make_samples([[0.0]], [0]), cost, support, Loss.MARGIN, radius)
        result = verify(problem, solver=engine)
        return [Told(result.lower, result.upper, radius, radius, 1e-6, str(result.vouched_upper))]

    return ask


def nearest_errors(norm: str) -> Ask:
    def ask(engine: str, seed: int, folder: Path) -> list[Told]:
        question = random_question(seed, norm=norm or two(seed), order=1, loss="zero-one", rows=bool(seed % 2))
        result = distances(put(question, folder), solver=engine, gap=1e-6)
        assert result.exact
        out = []
        for i, bracket in enumerate(result.brackets):
            truth = distance(question, i)
            slack = 1e-6 if question.norm != "2" else max(2e-5, 3e-4 if truth < 1e-2 else 0.0)
            if math.isinf(truth):
                assert bracket.lower == math.inf
            else:
                out.append(Told(bracket.lower, bracket.upper, truth, truth, slack, str(bracket.vouched)))
        return out

    return ask


def curves(engine: str, seed: int, folder: Path) -> list[Told]:
    question = random_question(seed, norm=two(seed), order=1, loss="margin", cost_weights=True)
    result = curve(put(question, folder), solver=engine, gap=1e-5)
    assert result.exact
    radius = float(result.radius[len(result.radius) // 2])
    low, high = exact(replace(question, radius=radius))
    at = int(np.searchsorted(result.radius, radius))
    return [Told(float(result.lower[at]), float(result.upper[at]), low, high, 1e-5, "")]


# DLR: four integer slices or one, each a dense grid


GRID = 20_001


def _dlr(logits: Array, y: int) -> Array:
    ranked, rivals = np.sort(logits, axis=1)[:, ::-1], np.delete(logits, y, axis=1).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((rivals - logits[:, y]) / (ranked[:, 0] - ranked[:, 2]))


def levels(norm: str, *, cut: bool) -> Ask:
    """Three classes, so that the loss is at most 1; with ``cut`` an integer beside the feature, weights and a row across both."""

    def ask(engine: str, seed: int, folder: Path) -> list[Told]:
        rng, measured = np.random.default_rng(seed), norm or two(seed)
        n = 2 if cut or measured == "2" else 1
        order, radius = (1, 2, math.inf)[seed % 3], float(rng.uniform(0.05, 0.3))
        layers = random_layers(rng, n, 4, 3)
        whole = np.array([True, False]) if cut else np.zeros(n, np.bool_)
        flat = n == 2 and not cut  # the second way to have a plane: the first feature stays
        weights = np.array([0.25, 1.5]) if cut else (np.array([math.inf, 1.25]) if flat else None)
        rows = LinearRows(np.array([[0.25, -1.0]]), np.array([-0.75]), np.array([0.5])) if cut else None
        top = np.where(whole, 3.0, 1.0)
        t = np.linspace(0, 1, GRID)
        x = rng.uniform(0.2, 0.6, size=(3, n))
        x = np.where(whole, rng.integers(0, 3, size=(3, n)), x)
        y = rng.integers(0, 3, 3)
        cost = GroundCost(Norm(measured), order, weights)
        support = Support(np.zeros(n), top, rows, whole if cut else None)
        problem = WdroProblem(network(*layers), make_samples(x, y), cost, support, Loss.DLR, radius)
        result = verify(problem, solver=engine, gap=1e-3)
        assert result.status == "exact", (result.reason, result.notices)
        values, moved = [], []
        for point, label in zip(x, y.tolist(), strict=True):
            firsts = np.arange(4.0) if cut else point[:1]
            plane = np.array([[v, u] for v in firsts for u in t]) if n == 2 else t[:, None]
            if cut:
                at = 0.25 * plane[:, 0] - plane[:, 1]
                plane = plane[(at >= -0.75) & (at <= 0.5)]
            a = np.ones(n) if weights is None else np.where(np.isinf(weights), 0.0, weights)
            size = a * np.abs(plane - point)
            far = {"inf": size.max(axis=1), "1": size.sum(axis=1), "2": np.sqrt((size**2).sum(axis=1))}[measured]
            h = np.maximum(plane @ layers[0][0].T + layers[0][1], 0.0)
            values.append(_dlr(h @ layers[1][0].T + layers[1][1], label))
            moved.append(far)
        truth = _dual(values, moved, radius, order)
        near = 3e-3 * (1 + abs(truth))
        return [Told(result.lower, result.upper, truth, truth, near, str(result.vouched_upper))]

    return ask


def _dual(values: list[Array], moved: list[Array], radius: float, order: float) -> float:
    if math.isinf(order):
        return float(np.mean([v[d <= radius].max() for v, d in zip(values, moved, strict=True)]))

    def dual(lam: float) -> float:
        return float(
            lam * radius**order + np.mean([(v - lam * d**order).max() for v, d in zip(values, moved, strict=True)])
        )

    low, high = 0.0, 1e4
    for _ in range(70):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if dual(a) <= dual(b) else (a, high)
    return dual(low)


# Slopes


def slopes(norm: str, *, together: bool, cut: bool = False) -> Ask:
    def ask(engine: str, seed: int, folder: Path) -> list[Told]:
        rng, measured = np.random.default_rng(seed), norm or two(seed)
        net: ReluNetwork = network(*random_layers(rng, 2, 4, 3))
        lower, upper = np.full(2, -1.0), np.full(2, 1.0)
        measure = Measure.operator_norm(net) if together else Measure.margins(net, [0, 1, 2])
        matrix, side = np.array([[1.0, 0.5]]), np.array([0.25])
        scale = np.array([0.5, 1.5]) if cut else None
        support = Support(lower, upper, LinearRows(matrix, np.array([-math.inf]), side) if cut else None)
        more = {"scale": scale, "cut": (matrix, side)} if cut else {}
        truth = steepest(raw(net), measure.rows, measured, lower, upper, together=together, **more)
        result = lipschitz(LipschitzProblem(net, GroundCost(Norm(measured), 1, scale), support, measure), solver=engine)
        assert result.status == "exact", (result.reason, result.notices)
        near = 1e-5 if measured == "2" else 1e-7
        return [Told(result.lower, result.upper, truth, truth, near, str(result.vouched_upper))]

    return ask


KINDS: dict[str, Ask] = {
    "margin, hinge, cw": family("", (1, math.inf), ("margin", "hinge", "cw")),
    "linear loss": family("", (1, math.inf), ("linear",), 1),
    "zero-one, any order": family("", (1, 2, math.inf), ("zero-one",)),
    "the same four, feature weights": family("", (1, math.inf), ("margin", "zero-one", "linear"), 1, cost_weights=True),
    "the same four, linear rows": family("", (1, math.inf), ("linear", "margin", "zero-one"), rows=True),
    "the same four, integers": family("", (1, math.inf), ("zero-one", "linear", "margin"), 1, integer=True),
    "the same four, labels at a price": family("", (1, math.inf), ("margin", "zero-one", "hinge"), label_cost=True),
    "all of these at once": everything,
    "graphs of every piecewise-linear function": graphs,
    "l2 cost, orders 1 and inf": family("2", (1, math.inf), ("margin", "zero-one", "linear"), rows=True),
    "l2 cost, weights and integers": family("2", (math.inf, 1), ("margin", "linear"), cost_weights=True, integer=True),
    "order 2 of pieces, any cost": family("", (2,), ("margin", "linear", "hinge"), 1),
    "order 2 of pieces, l2 cost": family("2", (2,), ("margin", "linear"), cost_weights=True),
    "cross-entropy": family("", (1, math.inf), ("cross-entropy",)),
    "dlr": levels("", cut=False),
    "dlr, weights, rows and integers": levels("", cut=True),
    "dlr, l2 cost": levels("2", cut=False),
    "whole space, order inf": whole_space(math.inf),
    "whole space, finite orders": whole_space(1),
    "distances": nearest_errors(""),
    "distances, l2 cost": nearest_errors("2"),
    "curve": curves,
    "Lipschitz, functionals": slopes("", together=False),
    "Lipschitz, weights and rows": slopes("", together=False, cut=True),
    "Lipschitz, whole Jacobian": slopes("", together=True),
    "Lipschitz, functionals, l2": slopes("2", together=False),
    "Lipschitz, whole Jacobian, l2": slopes("2", together=True),
}


def table() -> dict[str, list[str]]:
    """The rows of the page's table by their kinds."""
    lines = PAGE.read_text(encoding="utf-8").split("## Second opinions")[1].splitlines()
    lines = list(takewhile(lambda line: line, dropwhile(lambda line: not line.startswith("| "), lines)))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows[0] == ["question", *ENGINES]
    return {row[0]: [re.sub("`", "", cell) for cell in row[1:]] for row in rows[1:] if not set(row[0]) <= {"-"}}


def test_the_table_has_every_kind() -> None:
    known = table()
    assert list(known) == list(KINDS)
    assert {word for row in known.values() for word in row} == {"checked", "solver", "-"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("kind", "engine"), one_in(2, KINDS, ENGINES))
def test_each_cell_of_the_table(kind: str, engine: str, seed: int, tmp_path: Path) -> None:
    said = table()[kind][ENGINES.index(engine)]
    if said == "-":
        with pytest.raises(ProblemError, match=r"use --solver|give a box"):
            KINDS[kind](engine, seed, tmp_path)
        return
    for told in KINDS[kind](engine, seed, tmp_path):
        assert told.lower <= told.high + told.near
        assert told.upper >= told.low - told.near
        assert told.word in ("", "checked", said)
