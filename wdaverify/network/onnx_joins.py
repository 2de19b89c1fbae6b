"""Operators on several computed tensors: sums, differences and concatenations, each an affine node of several sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from wdaverify.graph.maps import Diagonal, LinearMap, Same, Select
from wdaverify.graph.nodes import Affine, width_of
from wdaverify.network.onnx_nodes import Node
from wdaverify.network.onnx_path import Path, Place


def _sum(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``a + b`` or ``a - b`` of computed tensors that broadcast to one shape."""
    if node.opset < 7 and len({place.layout.shape for place in given}) > 1:
        raise node.refused(
            "computed tensors of different shapes; those of one shape are accepted before operator set 7"
        )
    first = given[0]
    for place in given[1:]:
        try:
            shape = np.broadcast_shapes(first.layout.shape, place.layout.shape)
        except ValueError:
            shapes = [list(p.layout.shape) for p in given]
            raise node.refused(f"computed tensors of shapes {shapes}, which do not broadcast to one") from None
        sign = -1.0 if node.op == "Sub" else 1.0
        wide = [Place(p.at, np.broadcast_to(p.layout, shape), p.dtype) for p in (first, place)]
        joined(path, wide, (1.0, sign))
        first = path.place


def joined(path: Path, given: Sequence[Place], signs: Sequence[float]) -> None:
    """The signed sum of tensors of one shape, entry by entry, at hand in row-major order."""
    parts: dict[int, list[tuple[LinearMap, float]]] = {}
    for place, sign in zip(given, signs, strict=True):
        width = width_of(path.nodes, place.at, path.inputs)
        order = place.layout.reshape(-1)
        path.allowance.take(order.size)
        map_: LinearMap = Same(width) if np.array_equal(order, np.arange(width)) else Select(order, width)
        parts.setdefault(place.at, []).append((map_, sign))
    sources, maps = list[int](), list[LinearMap]()
    for at, some in parts.items():
        for k, (map_, sign) in enumerate(some):  # a source is read once: the second time by a node that passes it on
            source = at
            if k:
                path.take(Place(at, given[0].layout, given[0].dtype))
                path.affine(Same(map_.inputs))
                source = path.at
            if sign != 1:
                size = map_.outputs
                if isinstance(map_, Select):
                    path.take(Place(source, given[0].layout, given[0].dtype))
                    path.affine(map_)
                    source = path.at
                map_ = Diagonal(np.full(size, sign), np.ones(size))
            sources.append(source)
            maps.append(map_)
    path.nodes.append(Affine(tuple(sources), tuple(maps), np.zeros(maps[0].outputs)))
    path.at, path.dtype = len(path.nodes) - 1, given[0].dtype
    path.layout = np.arange(maps[0].outputs).reshape(given[0].layout.shape)


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


JOINS: dict[str, Callable[[Path, Node, Sequence[Place]], None]] = {
    "Add": _sum,
    "Concat": _concatenation,
    "Sub": _sum,
    "Sum": _sum,
}
