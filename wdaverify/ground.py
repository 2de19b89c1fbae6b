"""Where mass may go and at what price: the ground cost and the support.

c((x, y), (x', y'))^p = ||a * (x - x')||^p + label_cost^p [y != y'],     X = {x in a box : rows, integers}
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdaverify.errors import ProblemError
from wdaverify.given import array, instance, mask, number, real, settle, told, whole
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error, underflow

_NORM = re.compile(r"(?:l[-_]?)?(inf|1|2)", re.IGNORECASE)
_MOST_FEATURES = 2**24
LARGEST = 1e300
"""The largest size of a radius^p, a label cost^p, a coordinate or a side of the support: sums of some of these must not overflow."""


class Norm(StrEnum):
    """The norm of the ground cost; also by the spellings l-inf, l_inf, linf, l1, l2, and by the numbers inf, 1 and 2."""

    INF = "inf"
    ONE = "1"
    TWO = "2"

    @classmethod
    def of(cls, value: object) -> Norm:
        """The norm that is meant.

        Raises:
            ProblemError: there is no such norm.
        """
        numbers: dict[object, str] = {math.inf: "inf", 1: "1", 2: "2"}
        text = value if isinstance(value, str) else numbers.get(number(value), "")
        if found := _NORM.fullmatch(text):
            return cls(found[1].lower())
        raise ProblemError(f"norm {told(value)}: accepted are inf, 1 and 2 (also l-inf, l1, l2, or the numbers)")

    _missing_ = of

    @property
    def short(self) -> str:
        """Its name in a formula."""
        return _WORDS[self][0]

    @property
    def dual(self) -> str:
        """The norm of the gradients against which it is dual, in words."""
        return _WORDS[self][1]

    @property
    def meaning(self) -> str:
        """What it measures, in words."""
        return _WORDS[self][2]


_WORDS = {
    Norm.INF: ("l-inf", "l1 norm", "largest change of any feature (l-inf)"),
    Norm.ONE: ("l1", "largest entry", "sum of the changes (l1)"),
    Norm.TWO: ("l2", "l2 norm", "Euclidean distance (l2)"),
}


@dataclass(frozen=True, eq=False)
class GroundCost:
    """``c((x, y), (x', y'))^p = ||a * (x - x')||_norm^p + label_cost^p [y != y']`` with weights ``a [n]``, 1 where None.

    Order p is 1, 2 or inf (the maximum of the two instead of the sum). A feature of infinite weight cannot change; an
    infinite ``label_cost`` (the default) forbids label changes.
    """

    norm: Norm
    order: float
    weights: Array | None = None
    label_cost: float = math.inf

    def __post_init__(self) -> None:
        order: object = self.order
        power = {"1": 1, "2": 2, "inf": math.inf}.get(order) if isinstance(order, str) else number(order)
        if power is None or power not in (1, 2, math.inf):
            raise ProblemError(f"order {told(order)} is not supported: accepted are 1, 2 and inf")
        settle(
            self,
            norm=Norm.of(self.norm),
            order=math.inf if power == math.inf else int(power),
            label_cost=real("label cost", self.label_cost, "a number > 0 (left out: labels stay)", lambda k: k > 0),
        )
        if math.isfinite(self.label_cost):
            check_power("label cost", self.label_cost, self.order, "leave it out to forbid label changes")
        if self.weights is not None:
            settle(self, weights=array("cost weights", self.weights, infinite=True))
            if self.weights.ndim != 1 or not (self.weights > 0).all():
                raise ProblemError(
                    "cost weights must be one number > 0 a feature; inf is accepted: that feature cannot change"
                )
            usual = self.weights[np.isfinite(self.weights)]
            if usual.size and not (usual.min() >= 2.0**-60 and usual.max() <= 2.0**60):
                raise ProblemError("cost weights below 1e-18 or above 1e18 are not supported; rescale the features")

    @property
    def moves_labels(self) -> bool:
        """Whether labels may move at a price."""
        return math.isfinite(self.label_cost)

    @property
    def power(self) -> int:
        """The exponent p of a finite order."""
        assert math.isfinite(self.order)
        return int(self.order)

    @property
    def plain(self) -> bool:
        """Order 1, l-inf or l1, no weights, fixed labels."""
        return self.order == 1 and self.norm is not Norm.TWO and self.weights is None and not self.moves_labels

    def scale(self, n: int) -> Array:
        """The weights ``[n]``, 1 where a feature is fixed."""
        if self.weights is None:
            return np.ones(n)
        return np.where(np.isfinite(self.weights), self.weights, 1.0)

    def fixed(self, n: int) -> NDArray[np.bool_]:
        """Which features cannot change, ``[n]``."""
        return np.zeros(n, np.bool_) if self.weights is None else np.isinf(self.weights)

    def shrink(self, moves: Array, loose: NDArray[np.bool_], far: float) -> Array:
        """By what factor, at most 1, the loose features of moves ``[B, n]`` may go for the whole to lie within ``far``, ``[B]``."""
        held, free = self.distance(np.where(loose, 0.0, moves)), self.distance(np.where(loose, moves, 0.0))
        room = np.full(held.shape, far)
        if self.norm is Norm.ONE:
            room = np.maximum(far - held, 0.0)
        elif self.norm is Norm.TWO:
            room = np.sqrt(np.maximum(far - held, 0.0)) * np.sqrt(far + held)  # far^2 may overflow, or vanish
        return np.asarray(np.minimum(room / np.where(free > 0, free, math.inf), 1.0))

    def distance(self, delta: Array) -> Array:
        """Norms ``[...]`` of displacements ``[..., n]``, rounded to nearest (not outward); inf where a fixed feature moved."""
        size = np.abs(delta)
        if self.weights is not None:
            size = np.where(size > 0, np.where(size > 0, size, 1.0) * self.weights, 0.0)
        if self.norm is Norm.TWO:
            return euclidean(size)
        out: Array = size.max(axis=-1, initial=0.0) if self.norm is Norm.INF else size.sum(axis=-1)
        return out


def check_power(name: str, value: float, order: float, way_out: str) -> None:
    """Refuse a finite number >= 0 whose power leaves no room in double precision for what it is multiplied by.

    Raises:
        ProblemError: names the largest that is accepted.
    """
    most = LARGEST if order != 2 else math.sqrt(LARGEST)
    if value > most:
        raise ProblemError(f"{name} {value:g} at order {order:g}: at most {most:g} is accepted; {way_out}")


def euclidean(size: Array) -> Array:
    """``||size||_2`` of rows ``[..., n]``, within the factor ``dot_error(n + 4)`` and ``underflow(1)`` of it.

    Rows whose squares may overflow, or vanish and matter, are scaled by a power of two to a largest entry near 1.
    """
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        total = np.asarray((size * size).sum(axis=-1))
        out = np.sqrt(total)
        far = np.asarray(~((total > 2.0**-900) & (total < 2.0**1000)))
        if far.any():
            some = np.abs(size[far])
            exponent = np.frexp(some.max(axis=-1, initial=0.0))[1] - 1
            part = np.ldexp(some, -exponent[:, None])
            out = np.asarray(out)
            out[far] = np.ldexp(np.sqrt((part * part).sum(axis=-1)), exponent)
        return np.asarray(out)


@dataclass(frozen=True, eq=False)
class LinearRows:
    """``lower <= matrix @ x <= upper`` with matrix ``[r, n]``, lower and upper ``[r]``; a side may be infinite."""

    matrix: Array
    lower: Array
    upper: Array

    def __post_init__(self) -> None:
        settle(
            self,
            matrix=array("a linear row of the support", self.matrix, infinite=True),
            lower=array("the lower side of linear rows", self.lower, infinite=True),
            upper=array("the upper side of linear rows", self.upper, infinite=True),
        )
        r = len(self.matrix) if self.matrix.ndim else 0
        if self.matrix.ndim != 2 or self.lower.shape != (r,) or self.upper.shape != (r,):
            raise ProblemError("the linear rows of a support are a matrix [r, n] with lower and upper sides [r]")
        if not np.isfinite(self.matrix).all():
            raise ProblemError("a linear row of the support has an entry that is not a number")
        if (self.lower > self.upper).any():
            raise ProblemError("the support is empty: a linear row has its lower side above its upper side")
        if not self.matrix.any(axis=1).all():
            raise ProblemError("a linear row of the support has no coefficient")

    def hold(self, x: Array) -> NDArray[np.bool_]:
        """Whether points ``[B, n]`` satisfy every row exactly, ``[B]``."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = x @ self.matrix.T
            slack = dot_error(x.shape[1]) * (np.abs(x) @ np.abs(self.matrix).T) + underflow(x.shape[1])
            surely = (value - slack >= self.lower) & (value + slack <= self.upper)
            maybe = ~((value + slack < self.lower) | (value - slack > self.upper))  # an overflow decides nothing
        out = np.zeros(len(x), np.bool_)
        out[:] = surely.all(axis=1)
        for b in np.flatnonzero(~out & maybe.all(axis=1)):
            out[b] = all(self._holds(x[b], int(r)) for r in np.flatnonzero(~surely[b]))
        return np.asarray(out)

    def _holds(self, x: Array, row: int) -> bool:
        """One row at one point ``[n]``, in rationals."""
        value = sum(
            (Fraction(a) * Fraction(v) for a, v in zip(self.matrix[row].tolist(), x.tolist(), strict=True) if a),
            Fraction(0),
        )
        low, high = float(self.lower[row]), float(self.upper[row])
        return (math.isinf(low) or value >= Fraction(low)) and (math.isinf(high) or value <= Fraction(high))


@dataclass(frozen=True, eq=False, repr=False)
class Support:
    """The box ``lower <= x <= upper``, both ``[n]``: finite, or all of R^n; cut by ``rows``, with integers where declared.

    ``integer [n]`` (bools; None: none) says which features take integers alone; one-hot groups are integers with a row each.
    """

    lower: Array
    upper: Array
    rows: LinearRows | None = None
    integer: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        settle(
            self,
            lower=array("the lower bound of the support", self.lower, infinite=True),
            upper=array("the upper bound of the support", self.upper, infinite=True),
            integer=None if self.integer is None else mask("integer", self.integer),
        )
        if self.lower.shape != self.upper.shape or self.lower.ndim != 1:
            raise ProblemError(f"support bounds of shapes {self.lower.shape} and {self.upper.shape}: both must be [n]")
        whole = bool((self.lower == -math.inf).all() and (self.upper == math.inf).all()) and self.lower.size > 0
        if not whole and not (np.isfinite(self.lower).all() and np.isfinite(self.upper).all()):
            raise ProblemError(
                "the support has a non-finite bound: a finite box is accepted (use --support LO HI), or the whole space (--support none)"
            )
        if (self.lower > self.upper).any():
            raise ProblemError("the support is empty: LO must be at most HI in --support LO HI")
        self._check_rows()
        if whole and (self.rows is not None or self.integer is not None):
            raise ProblemError("the whole space has no linear rows or integers; give the box that they cut")

    def _check_rows(self) -> None:
        n = self.lower.size
        if self.integer is not None:
            if self.integer.shape != (n,):
                raise ProblemError(f"integer features of shape {self.integer.shape} where the support has {n} features")
            settle(self, integer=self.integer if self.integer.any() else None)
        if self.rows is None:
            return
        instance("rows", self.rows, LinearRows, "LinearRows(matrix, lower, upper) makes them")
        if self.rows.matrix.shape[1] != n:
            raise ProblemError(f"linear rows with {self.rows.matrix.shape[1]} features where the support has {n}")
        loose = self.rows.matrix != 0 if self.integer is None else (self.rows.matrix != 0) & ~self.integer
        bad = np.flatnonzero((self.rows.lower == self.rows.upper) & loose.any(axis=1))
        if bad.size:
            raise ProblemError(
                f"linear row {int(bad[0])} of the support is an equation of features that are not integers: no double need "
                "satisfy it exactly; solve it for one feature, or give it two sides"
            )

    def __repr__(self) -> str:
        if not self.bounded:
            return f"<Support: R^{self.lower.size}>"
        sides = f"{self.lower.min():g} to {self.upper.max():g}"
        rows = "" if self.rows is None else f", {len(self.rows.lower)} rows"
        integers = "" if self.integer is None else f", {int(self.integer.sum())} integers"
        return f"<Support: {self.lower.size} features, {sides}{rows}{integers}>"

    @property
    def bounded(self) -> bool:
        """Whether this is a box, not the whole space."""
        return bool(np.isfinite(self.lower).all())

    @property
    def plain(self) -> bool:
        """A box and nothing else."""
        return self.bounded and self.rows is None and self.integer is None

    @classmethod
    def box(cls, lower: ArrayLike, upper: ArrayLike, width: int) -> Support:
        """The box of ``width`` features, each side one number for all of them (the cube) or one a feature."""
        n = whole(
            "width", width, f"a number of features from 1 to {_MOST_FEATURES}", lambda k: 1 <= k <= _MOST_FEATURES
        )
        return cls(_side("the lower bound", lower, n), _side("the upper bound", upper, n))

    @classmethod
    def whole(cls, width: int) -> Support:
        """All of R^width."""
        return cls.box(-math.inf, math.inf, width)

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether points ``[B, n]`` lie in the support, exactly, ``[B]``."""
        out = np.zeros(len(x), np.bool_)
        out[:] = ((x >= self.lower) & (x <= self.upper)).all(axis=1)
        if self.integer is not None:
            out &= (x[:, self.integer] == np.rint(x[:, self.integer])).all(axis=1)
        if self.rows is not None and out.any():
            some = np.flatnonzero(out)
            out[some] = self.rows.hold(x[some])
        return out


def check_sizes(cost: GroundCost, support: Support, x: Array) -> None:
    """Refuse points ``x [N, n]`` and boxes whose differences, in units of the cost, leave double precision no room.

    Raises:
        ProblemError: says which, and what is accepted.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        ends = [("a sample has a feature", x)]
        if support.bounded:
            side = np.where(
                cost.fixed(support.lower.size), 0.0, (support.upper - support.lower) * cost.scale(support.lower.size)
            )
            ends += [("the support has a bound", support.lower), ("the support has a bound", support.upper)]
            ends += [("the support has a side (times its cost weight)", side)]
    for what, values in ends:
        if np.abs(values).max(initial=0.0) > LARGEST:
            raise ProblemError(
                f"{what} beyond {LARGEST:g} in size: sums of such numbers overflow; rescale the features"
            )


def _side(name: str, value: object, width: int) -> Array:
    """One side of a box ``[n]``."""
    if number(value) is not None:
        return np.full(width, real(name, value, "a number", lambda v: True))
    side = array(name, value, infinite=True)
    if side.shape != (width,):
        raise ProblemError(
            f"{name} has shape {list(side.shape)}: a number, or one for each of {width} features, is accepted"
        )
    return side
