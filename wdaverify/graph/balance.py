"""Powers of two that bring the hidden nodes of a network back to size.

``relu(s z) = s relu(z)`` for s > 0: with s = 1 at the input and the output the maps ``(s_k / s_source) M`` and the biases ``s_k b``
compute the same function, and where the s_k are powers of two their numbers are the same but for the exponent. Solvers take what
is below their tolerances for 0, and single precision, which steers, ends at 2^128: what they are given has to be near 1.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from wdaverify.graph.convolution import Convolution
from wdaverify.graph.maps import Array, Dense, Diagonal, LinearMap, Same
from wdaverify.graph.nodes import INPUT, Affine, Graph, Node

_FAR = 12
"""A network all of whose hidden nodes have their largest numbers within 2^-12 and 2^12 stays as it is."""


def balanced(graph: Graph) -> Graph:
    """The same function with hidden nodes near 1 in size; the graph as it is where that is so, or would round a number."""
    sizes = exponents(graph)
    if not any(sizes.values()):
        return graph
    nodes: list[Node] = []
    for k, node in enumerate(graph.nodes):
        if not isinstance(node, Affine):
            nodes.append(node)
            continue
        maps = [scaled_map(m, sizes[k] - sizes[s]) for s, m in zip(node.sources, node.maps, strict=True)]
        bias, error = (None if part is None else scaled(part, sizes[k]) for part in (node.bias, node.bias_error))
        if bias is None or (error is None) != (node.bias_error is None) or any(m is None for m in maps):
            return graph
        nodes.append(replace(node, maps=tuple(m for m in maps if m is not None), bias=bias, bias_error=error))
    return Graph(tuple(nodes), graph.inputs)


def exponents(graph: Graph) -> dict[int, int]:
    """``log2 s_k`` of the nodes: 0, or where a hidden one is far from 1, what brings the largest number of each to it."""
    out, last = {INPUT: 0}, len(graph.nodes) - 1
    far = False
    for k, node in enumerate(graph.nodes):
        if not isinstance(node, Affine):
            out[k] = out[node.source]
            continue
        parts, bias = [_size(m) for m in node.maps], _exponent(node.bias)
        plain = max([*parts, bias])
        size = max([*(part - out[s] for part, s in zip(parts, node.sources, strict=True)), bias])
        out[k] = -int(size) if size > -math.inf and k != last else 0
        far |= k != last and plain > -math.inf and abs(plain) > _FAR
    return out if far else dict.fromkeys(out, 0)


def scaled(array: Array, exponent: int) -> Array | None:
    """``array * 2^exponent``, or None where that would round a number."""
    with np.errstate(over="ignore", under="ignore"):
        out: Array = np.ldexp(array, exponent)
        return out if np.array_equal(np.ldexp(out, -exponent), array) else None


def scaled_map(map_: LinearMap, exponent: int) -> LinearMap | None:
    """``2^exponent`` times a map, or None where that would round a number."""
    if not exponent:
        return map_
    if isinstance(map_, Dense):
        weight, error = (None if part is None else scaled(part, exponent) for part in (map_.weight, map_.error))
        return None if weight is None or (error is None) != (map_.error is None) else Dense(weight, error)
    if isinstance(map_, Convolution):
        kernel = scaled(map_.kernel, exponent)
        return None if kernel is None else map_.like(lambda _: kernel)
    if isinstance(map_, Diagonal):
        factor, error = (None if part is None else scaled(part, exponent) for part in (map_.factor, map_.error))
        return None if factor is None or (error is None) != map_.exact else Diagonal(factor, map_.divisor, error)
    if isinstance(map_, Same):
        return Diagonal(np.full(map_.width, math.ldexp(1.0, exponent)), np.ones(map_.width))
    return None


def _size(map_: LinearMap) -> float:
    """The exponent of a map's largest number."""
    if isinstance(map_, Diagonal):
        with np.errstate(over="ignore"):
            return _exponent(map_.factor / map_.divisor)
    return max((_exponent(part) for part in map_.numbers), default=1.0)


def _exponent(array: Array) -> float:
    """``e`` with the largest absolute value in ``[2^(e-1), 2^e)``; -inf where all are 0."""
    size = float(np.abs(array).max(initial=0.0))
    return float(math.frexp(size)[1]) if 0 < size < math.inf else -math.inf
