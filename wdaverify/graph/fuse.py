"""Two affine nodes in a row as one, with what composing them rounds.

    outer(inner(v)) = (M_2 M_1) v + (M_2 b_1 + b_2)

Numbers that are products or sums of several are rounded; an entry is then known up to an error (``Dense.error``, ``Affine.bias_error``), of
which every pass over the graph is told. By Higham 2002, section 3.1, as everywhere (``rounding.dot_error``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wdaverify.errors import NetworkError
from wdaverify.graph.maps import Array, Dense, Diagonal, LinearMap, Same, Select, rows, rows_error
from wdaverify.graph.nodes import Affine
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

_MOST = 2**12
"""By how many numbers a product of matrices may be larger than the two."""


@dataclass(frozen=True, eq=False)
class Fused:
    """The bias of an affine node, and by how much it may be off (None: not at all)."""

    bias: Array
    error: Array | None

    def node(self, parts: dict[int, LinearMap]) -> Affine:
        """The node of these maps by source."""
        error = self.error if self.error is not None and self.error.any() else None
        return Affine(tuple(parts), tuple(parts.values()), self.bias, error)

    def after(self, map_: LinearMap, inner: Affine) -> Fused:
        """``M b_1 + b_2``; where nothing is there to be multiplied nothing is rounded."""
        if not inner.bias.any() and inner.bias_error is None:
            return self
        absolute, moved = map_.size(), map_.apply(inner.bias)
        total = moved + self.bias
        size = absolute.apply(np.abs(inner.bias)) + np.abs(self.bias)
        if map_.terms_out:
            error = dot_error(map_.terms_out + 2) * size + map_.lost_out
        else:
            error = np.where((moved != 0) & (self.bias != 0), 2 * UNIT_ROUNDOFF * np.abs(total), 0.0)
        if inner.bias_error is not None:
            error = error + 2 * absolute.apply(inner.bias_error)
        return Fused(total, error if self.error is None else error + 2 * self.error)


def after(outer: LinearMap, whole: Fused, inner: Affine) -> tuple[LinearMap, Fused] | None:
    """A map and a bias behind an affine node of one source, as a map of that source; None where they stay two.

    Raises:
        NetworkError: a number of the composition overflows.
    """
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        made = _composed(outer, inner.maps[0])
        if made is None:
            return None
        bias = whole.after(outer, inner)
    _finite(bias.bias, bias.error)
    return made, bias


def _composed(outer: LinearMap, inner: LinearMap) -> LinearMap | None:
    """``outer(inner(v))`` as one map; None where that would lose a structure, or be much larger."""
    if isinstance(outer, Same):
        return inner
    if isinstance(inner, Same):
        return outer
    match outer, inner:
        case Dense(error=None), Dense():
            return _product(outer.weight, inner)
        case Dense(), Diagonal():
            return _matrix(*_scaled(outer.weight, _off(outer), *(_row(part) for part in _parts(inner))))
        case Diagonal(), Dense():
            return _matrix(*_scaled(inner.weight, _off(inner), *(_row(part).T for part in _parts(outer))))
        case Diagonal(), Diagonal():
            one = np.ones(inner.factor.size)
            slope, error = _scaled(*_scaled(one, 0 * one, *_parts(inner)), *_parts(outer))
            _finite(slope, error)
            return Diagonal(slope, one, error if error.any() else None)
        case Select(), Dense():
            return _matrix(outer.apply(inner.weight.T).T, None if inner.error is None else outer.apply(inner.error.T).T)
        case Dense(), Select() if not inner.terms_in:
            return _matrix(inner.back(outer.weight), None if outer.error is None else inner.back(outer.error))
        case Select(), Diagonal() if outer.outputs * inner.inputs <= _MOST:
            return _composed(outer, Dense(rows(inner), rows_error(inner)))
        case Select(), Select():
            return Select(np.where(outer.index >= 0, inner.index[outer.index], -1), inner.inputs)
    return None


def _product(weight: Array, inner: Dense) -> Dense | None:
    """Two matrices."""
    (m, middle), n = weight.shape, inner.inputs
    if m * n > m * middle + middle * n + _MOST:
        return None
    size = np.abs(weight)
    error = dot_error(middle + 1) * (size @ np.abs(inner.weight)) + underflow(middle)
    if inner.error is not None:
        error = error + 2 * (size @ inner.error)
    return _matrix(weight @ inner.weight, error)


def _off(matrix: Dense) -> Array:
    return np.zeros_like(matrix.weight) if matrix.error is None else matrix.error


def _parts(map_: Diagonal) -> tuple[Array, Array, Array]:
    return map_.factor, map_.divisor, np.zeros_like(map_.factor) if map_.error is None else map_.error


def _row(part: Array) -> Array:
    return part[None, :]


def _scaled(matrix: Array, error: Array, factor: Array, divisor: Array, off: Array) -> tuple[Array, Array]:
    """``matrix * factor / divisor``, the quotient known up to ``off``, and its error; nothing is lost where both are 1."""
    touched = ((factor != 1) | (divisor != 1) | (off != 0)) & ((matrix != 0) | (error != 0))
    out = matrix * factor / divisor
    lost = underflow(1) + underflow(1) / np.abs(divisor)
    carried = 2 * (error * np.abs(factor) / np.abs(divisor))  # the factor over the divisor alone may vanish
    carried = carried + 2 * off * (np.abs(matrix) + error)
    return out, np.where(touched, 4 * UNIT_ROUNDOFF * np.abs(out) + lost + carried, error)


def _matrix(weight: Array, error: Array | None) -> Dense:
    """A map; an error of 0 is none."""
    _finite(weight, error)
    return Dense(weight, error if error is not None and error.any() else None)


def _finite(*parts: Array | None) -> None:
    if not all(part is None or np.isfinite(part).all() for part in parts):
        raise NetworkError(
            "consecutive affine maps overflow double precision when composed; rescale the weights of the network"
        )
