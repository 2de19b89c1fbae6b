"""Every corner of the family against an oracle that shares no code with the engine (tests/family_oracle.py)."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import write_mlp
from family_oracle import Question, distance, exact, random_question
from graph.cells import forward_graph
from graph.graphs import family_graph

from wdaverify import ReluNetwork, WdroProblem, load_network, verify
from wdaverify.graph.nodes import Graph
from wdaverify.problem import Functionals, GroundCost, LinearRows, Loss, Norm, Support
from wdaverify.samples import make_samples
from wdaverify.wdro.distances import distances

PROBLEMS = 10
USUAL = 1
"""Of the problems of each combination, how many are not marked full."""
NORMS, ORDERS = ("inf", "1", "2"), (1, 2, math.inf)
LINEAR_LOSSES = ("margin", "zero-one", "hinge", "linear", "cw")
SEEDS = [pytest.param(s, marks=[] if s < USUAL else [pytest.mark.full], id=f"seed{s}") for s in range(PROBLEMS)]
EXTRAS = ("label_cost", "cost_weights", "rows", "integer")


def put(question: Question, folder: Path) -> WdroProblem:
    """The question as a user asks it, through an ONNX file."""
    if isinstance(question.weights, Graph):
        shapes = (question.weights.inputs,), (question.weights.outputs,)
        network = ReluNetwork(question.weights, *shapes, "", "graph", ())
    else:
        path = folder / "network.onnx"
        write_mlp(path, list(question.weights), dtype=np.float64)
        network = load_network(path)
    return WdroProblem(
        network=network,
        samples=make_samples(question.x, question.y, question.w),
        cost=GroundCost(Norm(question.norm), question.order, question.cost_weights, question.label_cost),
        support=Support(
            question.lower,
            question.upper,
            None if question.rows is None else LinearRows(*question.rows),
            question.integer,
        ),
        loss=Loss(question.loss),
        radius=question.radius,
        functionals=None if question.functionals is None else Functionals(*question.functionals),
    )


def tolerance(question: Question) -> float:
    """1e-6; 1e-4 where the loss is cross-entropy, 1e-5 where the oracle solves cones."""
    if question.loss == "cross-entropy":
        return 2e-4
    return 1e-5 if question.norm == "2" or question.order == 2 else 1e-6


def agree(question: Question, folder: Path, solver: str = "cells") -> None:
    low, high = exact(question)
    near = tolerance(question)
    result = verify(put(question, folder), solver=solver, gap=1e-4 if question.loss == "cross-entropy" else 1e-6)
    assert result.status == "exact"
    assert result.lower <= high + near
    assert result.upper >= low - near
    assert solver != "cells" or result.vouched_upper == "checked"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", LINEAR_LOSSES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_order_and_loss(norm: str, order: float, loss: str, seed: int, tmp_path: Path) -> None:
    agree(random_question(seed, norm=norm, order=order, loss=loss), tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("solver", "loss"), [(s, loss) for s in ("highs", "gurobi") for loss in ("hinge", "cw")])
def test_floors_by_integer_programs(solver: str, loss: str, seed: int, tmp_path: Path) -> None:
    """At order 1 and inf, with labels that stay and that move."""
    for k, (norm, order) in enumerate(itertools.product(("inf", "1"), (1, math.inf))):
        question = random_question(seed, norm=norm, order=order, loss=loss, label_cost=k % 2 == 1)
        agree(question, tmp_path, solver)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.full), math.inf])
@pytest.mark.parametrize("norm", NORMS)
def test_cross_entropy(norm: str, order: float, seed: int, tmp_path: Path) -> None:
    agree(random_question(seed, norm=norm, order=order, loss="cross-entropy"), tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("extra", EXTRAS)
def test_labels_weights_rows_and_integers(extra: str, norm: str, order: float, seed: int, tmp_path: Path) -> None:
    """Losses take turns over the seeds; the linear loss takes no label cost."""
    losses = [loss for loss in LINEAR_LOSSES if loss != "linear" or extra != "label_cost"]
    loss = losses[(seed + NORMS.index(norm) + ORDERS.index(order)) % len(losses)]
    agree(random_question(seed, norm=norm, order=order, loss=loss, **{extra: True}), tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", [1, 2])
def test_everything_at_once(order: float, seed: int, tmp_path: Path) -> None:
    extras = dict.fromkeys(EXTRAS, True)
    agree(random_question(seed, norm=NORMS[seed % 3], order=order, loss="margin", **extras), tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("norm", NORMS)
def test_distances(norm: str, seed: int, tmp_path: Path) -> None:
    question = random_question(seed, norm=norm, order=1, loss="zero-one", rows=bool(seed % 2))
    result = distances(put(question, tmp_path), gap=1e-7)
    assert result.exact
    for i, bracket in enumerate(result.brackets):
        truth = distance(question, i)
        if math.isinf(truth):
            assert bracket.lower == math.inf
        else:
            assert bracket.lower - 1e-6 <= truth <= bracket.upper + 1e-6


@pytest.mark.parametrize("radius", [1.0, 1.2, math.sqrt(2.0), 1.5])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [13, 17, 21])
def test_integers_at_the_radius(seed: int, norm: str, radius: float, tmp_path: Path) -> None:
    """Order inf: what an integer is rounded to may be out of reach, and a point exactly at the radius is not."""
    question = random_question(seed, norm=norm, order=math.inf, loss="hinge", integer=True, n=2)
    whole = np.ones(2, np.bool_)
    x = np.clip(np.round(question.x), 0, 3)
    agree(replace(question, integer=whole, lower=np.zeros(2), upper=np.full(2, 3.0), x=x, radius=radius), tmp_path)


@pytest.mark.parametrize("loss", ["margin", "hinge", "cw", "cross-entropy", "linear", "zero-one"])
@pytest.mark.parametrize("order", ORDERS)
def test_tiny_time_limits_leave_valid_brackets(order: float, loss: str, tmp_path: Path) -> None:
    for seed, norm in enumerate(NORMS):
        question = random_question(seed, norm=norm, order=order, loss=loss)
        low, high = exact(question)
        problem = put(question, tmp_path)
        for limit in (0.0, 0.02, 0.2):
            result = verify(problem, gap=1e-7, time_limit=limit)
            assert result.lower <= high + tolerance(question)
            assert result.upper >= low - tolerance(question)


GRAPHS = [pytest.param(s, marks=[] if s < 30 else [pytest.mark.full], id=f"graph{s}") for s in range(600)]
CORNERS = [(norm, order, loss) for loss in (*LINEAR_LOSSES, "cross-entropy") for order in ORDERS for norm in NORMS]


@pytest.mark.parametrize("seed", GRAPHS)
def test_graphs(seed: int, tmp_path: Path) -> None:
    """Skips, concatenations, max pooling, clips, slopes of one's own, absolute values and convolutions, one corner of the family each."""
    norm, order, loss = CORNERS[(7 * seed) % len(CORNERS)]
    question = random_question(seed, norm=norm, order=order, loss=loss)
    graph = family_graph(seed, question.lower.size, len(question.weights[-1][1]))
    y = forward_graph(graph, question.x).argmax(axis=1)
    agree(replace(question, weights=graph, y=np.where(np.arange(len(y)) % 4 == 3, question.y, y)), tmp_path)
