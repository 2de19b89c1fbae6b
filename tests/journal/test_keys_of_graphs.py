"""A journal's key tells graphs apart that have the same numbers."""

from __future__ import annotations

import numpy as np

from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense, Select
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.wdro.recall import _network


def crossed(first: int) -> Graph:
    """Two matrices, a ReLU of each, the first of one or the other."""
    a = Affine((INPUT,), (Dense([[1.0, 2.0], [-1.0, 1.0]]),), [-0.5, 0.25])  # type: ignore[arg-type]
    b = Affine((INPUT,), (Dense([[3.0, -1.0], [2.0, 2.0]]),), [0.5, -1.0])  # type: ignore[arg-type]
    last = Affine((2, 3), (Dense([[4.0, 1.0], [-2.0, 3.0]]), Dense([[0.5, 0.0], [0.0, 0.5]])), np.zeros(2))  # type: ignore[arg-type]
    return Graph((a, b, Elementwise(first, relu()), Elementwise(1 - first, relu()), last), 2)


def test_what_a_node_reads_is_part_of_the_key() -> None:
    assert _network(crossed(0)) != _network(crossed(1))


def test_what_a_number_may_be_off_by_and_what_is_selected_are_too() -> None:
    plain, off = (Affine((INPUT,), (Dense(np.ones((1, 2)), error),), [0.0]) for error in (None, np.full((1, 2), 0.5)))  # type: ignore[arg-type]
    vague = Affine((INPUT,), (Dense(np.ones((1, 2))),), [0.0], [0.5])  # type: ignore[arg-type]
    one, two = (Affine((INPUT,), (Select(np.array(at), 2),), [0.0]) for at in ([0], [1]))  # type: ignore[arg-type]
    keys = [_network(Graph((node,), 2)) for node in (plain, off, vague, one, two)]
    assert all(a != b for k, a in enumerate(keys) for b in keys[:k])
