"""The least of several numbers as nodes of a graph, exactly: ``min(a, b) = a - relu(a - b)``."""

from __future__ import annotations

import numpy as np

from wdaverify.graph.functions import larger
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import Affine, Elementwise, Node


def append_least(nodes: list[Node], width: list[int]) -> None:
    """Add nodes that give the least number of each group; the last node has the groups one after the other, so many numbers of each."""
    while max(width) > 1:
        width = _halve(nodes, width)


def _halve(nodes: list[Node], width: list[int]) -> list[int]:
    """Add nodes that give the lesser of each two neighbours within every group; how many are left of each."""
    total, first = sum(width), np.concatenate([[0], np.cumsum(width)])
    kept, differences, subtracted = list[int](), list[tuple[int, int]](), list[int]()
    for group, size in enumerate(width):
        for k in range(0, size, 2):
            at = int(first[group]) + k
            kept.append(at)
            subtracted.append(len(differences) if k + 1 < size else -1)
            differences += [(at, at + 1)] if k + 1 < size else []
    less = np.zeros((len(differences), total))
    for row, (a, b) in zip(less, differences, strict=True):
        row[a], row[b] = 1.0, -1.0
    keep, take = np.zeros((len(kept), total)), np.zeros((len(kept), len(differences)))
    keep[np.arange(len(kept)), kept] = 1.0
    for r, at in enumerate(subtracted):
        if at >= 0:
            take[r, at] = -1.0
    before = len(nodes) - 1
    nodes.append(Affine((before,), (Dense(less),), np.zeros(len(differences))))
    nodes.append(Elementwise(before + 1, larger()))
    nodes.append(Affine((before, before + 2), (Dense(keep), Dense(take)), np.zeros(len(kept))))
    return [-(-size // 2) for size in width]
