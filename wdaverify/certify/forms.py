"""Linear forms of a graph's nodes in the point of a box: few inputs, so that a form is a few numbers a neuron.

With ``x = c + r e`` and ``e`` in ``[-1, 1]^k`` every node's value is enclosed by two linear functions of e,

    v in M(e) +- D(e),    M(e) = M_0 + sum_k M_k e_k,   D alike

    affine    W M + b +- |W| D                                         as ``certify.boxes`` has it of intervals (k = 0)
    ReLU      s z + t >= relu(z) >= a z    on [l, u],  s the chord's slope, t = max(-s l, u - s u), any a in [0, 1]
              M' = ((s + a) M + (s - a) D + t) / 2,   D' = ((s - a) M + (s + a) D + t) / 2

(Symbolic intervals, arXiv 1804.10829, with both forms kept.) Since |e_k| <= 1, whatever computing the coefficients rounds adds up to no
more than the sum of their errors, which goes into D_0. One pass costs k + 1 products a map, where a backward pass costs two for every
neuron: looser on the same box, and many times as many boxes in the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.functions import lower_slope
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

HiddenBounds = list[tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class Form:
    """``middle, half [B, k + 1, m]``, the constant first: values lie in ``middle(e) +- half(e)``."""

    middle: Array
    half: Array

    def size(self) -> Array:
        """What neither can exceed on the box, ``[B, m]``."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return np.asarray(np.abs(self.middle).sum(axis=1) + np.abs(self.half).sum(axis=1))

    def sides(self, size: Array) -> tuple[Array, Array]:
        """``l <= v <= u``, each ``[B, m]``, rounded outward; not finite where nothing is known."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            low, high = self.middle - self.half, self.middle + self.half
            lost = dot_error(low.shape[1] + 4) * size
            least = low[:, 0] - np.abs(low[:, 1:]).sum(axis=1) - lost
            most = high[:, 0] + np.abs(high[:, 1:]).sum(axis=1) + lost
        return least, most

    def above(self) -> tuple[Array, Array]:
        """Constants ``[B, m]`` and coefficients ``[B, k, m]`` of a linear function that the values do not exceed."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            high = self.middle + self.half
            return high[:, 0] + 4 * UNIT_ROUNDOFF * self.size(), high[:, 1:]


class Forms:
    """Forms of one graph of ReLUs."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._maps = {
            k: [(m, m.like(np.abs), m.size()) for m in node.maps]
            for k, node in enumerate(graph.nodes)
            if isinstance(node, Affine)
        }
        assert all(node.function.is_relu for node in graph.nodes if isinstance(node, Elementwise))

    def of(
        self, centre: Array, radius: Array, moving: NDArray[np.int64], known: HiddenBounds | None = None
    ) -> tuple[Form, HiddenBounds]:
        """The last node on boxes ``centre +- radius`` ``[B, n]``, and what every function is applied to.

        ``moving [k]`` are the inputs that forms are in; how far the others go is in the half alone. ``known`` are bounds of what
        functions are applied to, by other means.
        """
        count, n = centre.shape
        middle, half = np.zeros((count, moving.size + 1, n)), np.zeros((count, moving.size + 1, n))
        middle[:, 0], half[:, 0] = centre, radius
        middle[:, np.arange(moving.size) + 1, moving] = radius[:, moving]
        half[:, 0, moving] = 0.0
        forms, bounds = {INPUT: Form(middle, half)}, HiddenBounds()
        last = len(self._graph.nodes) - 1
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for k, node in enumerate(self._graph.nodes):
                if isinstance(node, Affine):
                    forms[k] = self._affine(k, node, forms)
                else:
                    forms[k], sides = _relu(forms[node.source], None if known is None else known[len(bounds)])
                    bounds.append(sides)
        return forms[last], bounds

    def _affine(self, k: int, node: Affine, forms: dict[int, Form]) -> Form:
        middle, half = np.zeros(()), np.zeros(())
        size, lost, terms = np.abs(node.bias), np.zeros(1), 32 + 4 * len(node.maps)
        for source, (map_, plain, enlarged) in zip(node.sources, self._maps[k], strict=True):
            form = forms[source]
            count, rows, width = form.middle.shape
            middle = middle + map_.apply(form.middle.reshape(-1, width)).reshape(count, rows, -1)
            half = half + plain.apply(form.half.reshape(-1, width)).reshape(count, rows, -1)
            size = size + enlarged.apply(form.size())
            lost = lost + 4 * rows * np.asarray(map_.lost_out)
            terms += map_.terms_out
        error = 1.001 * (dot_error(terms) * size + lost)
        if node.bias_error is not None:
            error = error + 2 * node.bias_error
        middle[:, 0] += node.bias
        half[:, 0] += error
        return Form(middle, half)


def _relu(form: Form, known: tuple[Array, Array] | None) -> tuple[Form, tuple[Array, Array]]:
    size = form.size()
    low, high = form.sides(size)
    finite = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(finite, low, -np.inf), np.where(finite, high, np.inf)
    if known is not None:
        low, high = np.maximum(low, known[0]), np.minimum(high, known[1])
    high = np.maximum(low, high)
    open_ = (low < 0) & (high > 0)
    width = np.where(open_, high - low, 1.0)
    on = (low >= 0).astype(np.float64)
    chord = np.where(open_, high / width, on)
    below = np.where(open_, lower_slope(low, high), on)
    rise = np.where(open_, np.maximum(-chord * low, high - chord * high), 0.0)
    both, apart = (0.5 * (chord + below))[:, None], (0.5 * (chord - below))[:, None]
    middle, half = both * form.middle + apart * form.half, apart * form.middle + both * form.half
    middle[:, 0] += 0.5 * rise
    half[:, 0] += 0.5 * rise
    rounded = 16 * UNIT_ROUNDOFF * (size + np.maximum(-low, high)) + underflow(8 * form.middle.shape[1])
    half[:, 0] += np.where(open_, rounded, 0.0)
    return Form(middle, half), (low, high)
