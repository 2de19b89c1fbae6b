"""Operators on several computed tensors: sums, differences, concatenations and the larger of two."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wdaverify.graph.functions import larger
from wdaverify.graph.maps import Diagonal, LinearMap, Same
from wdaverify.network.onnx_nodes import EVERY, Node, Operator
from wdaverify.network.onnx_path import Path, Place
from wdaverify.network.onnx_reductions import Read, summed


def broadcast(node: Node, given: Sequence[Place]) -> list[Place]:
    """Computed tensors brought to the one shape that they broadcast to."""
    shapes = [place.layout.shape for place in given]
    if node.opset < 7 and len(set(shapes)) > 1:
        raise node.refused(
            "computed tensors of different shapes; those of one shape are accepted before operator set 7"
        )
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise node.refused(
            f"computed tensors of shapes {[list(s) for s in shapes]}, which do not broadcast to one"
        ) from None
    return [Place(place.at, np.broadcast_to(place.layout, shape), place.dtype) for place in given]


def joined(path: Path, given: Sequence[Place], signs: Sequence[float]) -> None:
    """The signed sum of tensors of one shape, entry by entry, at hand in row-major order."""
    shape, size = given[0].layout.shape, given[0].layout.size
    parts: dict[int, list[tuple[Place, float]]] = {}
    for place, sign in zip(given, signs, strict=True):
        parts.setdefault(place.at, []).append((place, sign))
    sources, maps = list[int](), list[LinearMap]()
    for some in parts.values():
        first, sign = some[0]
        map_: LinearMap = Same(size)
        path.take(first)
        if len(some) > 1:  # a source is read once
            summed(path, np.stack([place.layout.reshape(-1) for place, _ in some]), [sign for _, sign in some])
        elif sign != 1:
            path.selected(path.order)
            map_ = Diagonal(np.full(size, sign), np.ones(size))
        elif not np.array_equal(path.order, np.arange(path.width)):
            map_ = path.selection(path.order)
        sources.append(path.at)
        maps.append(map_)
    path.joint(tuple(sources), tuple(maps))
    path.dtype, path.layout = given[0].dtype, np.arange(size).reshape(shape)


def added(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``a + b + ...`` or ``a - b`` of computed tensors that broadcast to one shape."""
    joined(path, broadcast(node, given), [-1.0 if node.op == "Sub" and k else 1.0 for k in range(len(given))])


def larger_of(path: Path, a: Place, b: Place, least: bool = False) -> None:
    """``max(a, b) = b + relu(a - b)`` of tensors of one shape, or ``min(a, b) = b - relu(b - a)``."""
    joined(path, (a, b), (-1.0, 1.0) if least else (1.0, -1.0))
    path.function(larger())
    joined(path, (b, path.place), (1.0, -1.0 if least else 1.0))


def _concatenation(path: Path, node: Node, given: Sequence[Place]) -> None:
    """Tensors one after the other along an axis, constants among them."""
    axis = node.integer("axis", 1)
    places = dict(zip(node.moving, given, strict=True))
    shapes = [
        places[k].layout.shape if k in places else () if part is None else part.shape
        for k, part in enumerate(node.constants)
    ]
    rank = len(shapes[0])
    if not rank or any(len(shape) != rank for shape in shapes) or not -rank <= axis < rank:
        raise node.refused(
            f"tensors of shapes {[list(s) for s in shapes]} along axis {axis}; tensors of one rank are accepted"
        )
    axis %= rank
    if any(s[:axis] + s[axis + 1 :] != shapes[0][:axis] + shapes[0][axis + 1 :] for s in shapes):
        raise node.refused(f"tensors of shapes {[list(s) for s in shapes]} do not fit along axis {axis}")
    whole = tuple(sum(s[axis] for s in shapes) if k == axis else size for k, size in enumerate(shapes[0]))
    path.allowance.take((1 + len(given)) * math.prod(whole))
    bias, spread, at = np.zeros(whole), list[Place](), 0
    for k, shape in enumerate(shapes):
        where = (slice(None),) * axis + (slice(at, at + shape[axis]),)
        at += shape[axis]
        if k in places:
            layout = np.full(whole, -1)
            layout[where] = places[k].layout
            spread.append(Place(places[k].at, layout, places[k].dtype))
        else:
            bias[where] = node.constants[k]
    ends = {place.at for place in spread}
    if len(ends) == 1 and not bias.any():
        layout = np.max([place.layout for place in spread], axis=0)
        path.take(Place(ends.pop(), layout, given[0].dtype))
        if (layout < 0).any():
            path.ordered()
        return
    joined(path, spread, (1.0,) * len(spread))
    if bias.any():
        path.diagonal(shift=bias.reshape(-1))


JOINS: dict[str, Operator[Read]] = {"Concat": Operator(_concatenation, 1, 2**10, {"axis": EVERY})}
