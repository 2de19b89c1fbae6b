"""Attacks are lower bounds: on random graphs of every norm, order and loss none is above the exact value of an oracle that shares no code
with them, neither that of the graph nor that of the same function handed in as a callable which evaluates itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from family_oracle import Question, exact, random_question
from graph.cells import forward_graph
from graph.graphs import family_graph
from test_family_against_oracle import NORMS, ORDERS, put, tolerance

import wdaverify as wd
from wdaverify.graph.nodes import INPUT, Affine, Graph

LOSSES = ("margin", "zero-one", "hinge", "cw", "cross-entropy")
CORNERS = [(norm, order, loss) for loss in LOSSES for order in ORDERS for norm in NORMS]
SEEDS = [pytest.param(s, marks=[] if s < 6 else [pytest.mark.full]) for s in range(200)]
EFFORT = {"steps": 10, "restarts": 1, "seed": 0}


def asked(seed: int) -> Question:
    norm, order, loss = CORNERS[(7 * seed) % len(CORNERS)]
    question = random_question(seed, norm=norm, order=order, loss=loss)
    graph = family_graph(seed, question.lower.size, len(question.weights[-1][1]))
    y = forward_graph(graph, question.x).argmax(axis=1)
    return replace(question, weights=graph, y=np.where(np.arange(len(y)) % 4 == 3, question.y, y))


def in_torch(graph: Graph) -> Callable[[torch.Tensor], torch.Tensor]:
    """The graph's function, written out: matrices and clamps."""

    def outputs(x: torch.Tensor) -> torch.Tensor:
        out = {INPUT: x}
        for k, node in enumerate(graph.nodes):
            if isinstance(node, Affine):
                parts = zip(node.sources, node.maps, strict=True)
                matrices = [(out[s], torch.tensor(m.apply(np.eye(m.inputs)), dtype=x.dtype)) for s, m in parts]
                out[k] = sum((h @ m for h, m in matrices), start=torch.tensor(node.bias, dtype=x.dtype))
                continue
            z, function = out[node.source], node.function
            slopes = torch.tensor(np.broadcast_to(function.slopes.T, (z.shape[1], function.breaks.size + 1)).T.copy())
            found = float(function.values[0]) + slopes[0] * torch.clamp(z - float(function.breaks[0]), max=0)
            for slope, low, high in zip(slopes[1:], function.breaks, [*function.breaks[1:], np.inf], strict=True):
                found = found + slope * (torch.clamp(z, float(low), float(high)) - float(low))
            out[k] = found
        return out[len(graph.nodes) - 1]

    return outputs


def checked(seed: int, folder: Path) -> None:
    question = asked(seed)
    _, most = exact(question)
    most += tolerance(question)
    problem = put(question, folder)
    graph = wd.attack(problem, **EFFORT)
    assert graph.nominal <= most
    assert all(value <= most for value in graph.attacks.values())
    itself = wd.attack(
        in_torch(question.weights),
        torch.tensor(question.x),
        question.y,
        weights=question.w,
        radius=question.radius,
        norm=question.norm,
        order=question.order,
        loss=question.loss,
        support=(question.lower, question.upper),
        **EFFORT,
    )
    assert all(value <= most for value in itself.attacks.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_no_attack_is_above_the_exact_value(seed: int, tmp_path: Path) -> None:
    checked(seed, tmp_path)
