"""What a Lipschitz constant is asked of: functionals of the logits, or the whole Jacobian, on a convex region or balls around samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from wdaverify.arithmetic import Arithmetic
from wdaverify.certify.slope_question import SlopeQuestion, unlike
from wdaverify.encoding.cost import Region
from wdaverify.errors import NetworkError, ProblemError, SamplesError
from wdaverify.given import array, instance, listed, real, settle, told, whole, word, words
from wdaverify.graph import rewrite
from wdaverify.ground import GroundCost, Norm, Support, check_power, check_sizes
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import Samples, refuse_dropped

OPERATOR_NORM = "operator-norm"
FUNCTIONALS = "functionals"
_FACETS = 100
"""Up to so many inputs all of R^n is taken facet by facet."""


@dataclass(frozen=True, eq=False)
class Measure:
    """``max ||rows J u||`` over ``||a u|| <= 1``: of several functionals the largest one's, of the operator norm all rows' together.

    ``names [R]`` say what the rows ``[R, K]`` are.
    """

    kind: str
    names: tuple[str, ...]
    rows: Array

    def __post_init__(self) -> None:
        settle(
            self,
            kind=word("kind", self.kind, (OPERATOR_NORM, FUNCTIONALS)),
            names=words("names", self.names),
            rows=array("rows", self.rows),
        )
        if self.rows.ndim != 2 or len(self.names) != len(self.rows):
            raise ProblemError(
                f"{len(self.names)} names for rows of shape {list(self.rows.shape)}: a name for each row of [R, K] is accepted"
            )

    @classmethod
    def operator_norm(cls, network: ReluNetwork) -> Measure:
        """The whole Jacobian, from the norm of the cost to the same norm of the logits."""
        _checked(network)
        count = network.n_outputs
        return cls(OPERATOR_NORM, tuple(f"z_{k}" for k in range(count)), np.eye(count))

    @classmethod
    def outputs(cls, network: ReluNetwork, outputs: list[tuple[int, int | None]]) -> Measure:
        """Single logits ``(i, None)`` or differences ``(i, j)``: ``z_i - z_j``.

        Raises:
            ProblemError: a logit that the network lacks, or the difference of one with itself.
        """
        _checked(network)
        pairs = [_pair(entry, network) for entry in listed("outputs", outputs, "a list of (i, None) and (i, j)")]
        names, rows = [], np.zeros((len(pairs), network.n_outputs))
        for r, (plus, minus) in enumerate(pairs):
            if plus == minus:
                raise ProblemError(f"output {plus} minus itself is constant; name two outputs")
            rows[r, plus] = 1.0
            if minus is not None:
                rows[r, minus] = -1.0
            names.append(f"z_{plus}" if minus is None else f"z_{plus} - z_{minus}")
        return cls(FUNCTIONALS, tuple(names), rows)

    @classmethod
    def margins(cls, network: ReluNetwork, labels: list[int]) -> Measure:
        """``z_j - z_y`` for every label y given and every rival j; a pair counts once."""
        _checked(network)
        pairs: dict[tuple[int, int], tuple[int, int]] = {}
        for label in listed("labels", labels, "a list of classes"):
            y = _output(label, network)
            for j in range(network.n_outputs):
                if j != y:
                    pairs.setdefault((min(j, y), max(j, y)), (j, y))
        return cls.outputs(network, [(j, y) for j, y in pairs.values()])

    def parts(self, norm: Norm) -> list[tuple[str, Array]]:
        """What is to be asked: each functional, or the rows together where the norm mixes them; equal up to sign once."""
        if self.kind == OPERATOR_NORM and norm is not Norm.INF and len(self.names) > 1:
            return [("the Jacobian", self.rows)]
        return [(self.names[k], self.rows[k : k + 1]) for k in unlike(self.rows)]


@dataclass(frozen=True, eq=False)
class LipschitzProblem:
    """The question: a network, a measure, the norm (a ground cost; its order does not matter), and where.

    Without ``around`` the region is the support (its integers relaxed); with it the balls ``||x - x_i|| <= within`` cut by the support,
    one region a sample.
    """

    network: ReluNetwork
    cost: GroundCost
    support: Support
    measure: Measure
    around: Samples | None = None
    within: float = math.inf

    def __post_init__(self) -> None:
        _checked(self.network)
        refuse_dropped(self.network, "a Lipschitz constant")
        instance("cost", self.cost, GroundCost, "GroundCost(norm, 1) makes one")
        instance("support", self.support, Support, "Support.box(lower, upper, width) makes one")
        instance("measure", self.measure, Measure, "Measure.operator_norm(network) makes one")
        settle(self, within=real("within", self.within, "a number > 0", lambda r: r > 0))
        if self.support.lower.size != self.network.n_inputs:
            raise ProblemError(
                f"the support has {self.support.lower.size} features, the network {self.network.n_inputs}"
            )
        if not self.measure.rows.shape[0]:
            raise ProblemError("no functional is given: name at least one output")
        width = self.measure.rows.shape[1]
        if width != self.network.n_outputs:
            raise ProblemError(f"functionals of {width} outputs where {self.network.name} has {self.network.n_outputs}")
        if self.cost.weights is not None and self.cost.weights.size != self.network.n_inputs:
            raise ProblemError(
                f"{self.cost.weights.size} cost weights for a network of {self.network.n_inputs} features"
            )
        _ = self.network.form  # refuses a network whose weights overflow when composed
        if self.around is None:
            if math.isfinite(self.within):
                raise ProblemError(
                    f"within {self.within} is the radius of balls, and there are no samples around which; give around= too"
                )
            return
        instance("around", self.around, Samples, "make_samples(x, y) or load_samples(path) makes them", SamplesError)
        if not (math.isfinite(self.within) and self.within > 0):
            raise ProblemError(f"within {self.within}: a finite number > 0 is accepted; at 0 there is no ball")
        check_power("within", self.within, 1, "leave --around out for the whole support")
        if self.around.x.shape[1] != self.network.n_inputs:
            raise ProblemError(
                f"{self.around.source}: points have {self.around.x.shape[1]} features, {self.network.name} takes {self.network.n_inputs}"
            )
        check_sizes(self.cost, self.support, self.around.x)
        outside = (self.around.x < self.support.lower) | (self.around.x > self.support.upper)
        if outside.any():
            raise ProblemError(
                f"sample {int(np.flatnonzero(outside.any(axis=1))[0])} of {self.around.source} lies outside the support; widen "
                "--support LO HI, or leave it out: then the balls are not cut"
            )

    @cached_property
    def stated(self) -> SlopeQuestion:
        """The question as its checker reads it."""
        together, points = self.measure.kind == OPERATOR_NORM, None if self.around is None else self.around.x
        return SlopeQuestion(self.network, self.cost, self.support, self.measure.rows, together, points, self.within)

    @property
    def whole(self) -> bool:
        """Whether the region is all of R^n."""
        return self.around is None and not self.support.bounded

    def asked(self, *, facets: bool = False) -> ReluNetwork:
        """The network that the engine sees: with ``facets``, on all of R^n, the homogeneous one."""
        return homogeneous(self.network) if facets and self.whole else self.network

    def regions(self, *, facets: bool = False) -> list[Region]:
        """One region or one a sample, in terms of ``asked``; with ``facets`` all of R^n as what a bounded engine can be asked about."""
        if facets and self.whole:
            return self._facets()
        return [
            Region(self.cost, part.centre, part.lower, part.upper, 0.0, part.far, part.rows)
            for part in self.stated.regions
        ]

    def _facets(self) -> list[Region]:
        """All of R^n as facets ``max(|x|, t) = 1, 0 <= t <= 1`` of the homogeneous cube, one by one where they are not too many.

        Every cone of full dimension meets one of them, and none holds the apex, at which no phase could be ruled out.
        """
        n = self.network.n_inputs
        weights = None if self.cost.weights is None else np.append(self.cost.weights, 1.0)
        cost = replace(self.cost, weights=weights)
        lower, upper = np.append(-np.ones(n), 0.0), np.ones(n + 1)
        sides: list[tuple[Array, Array]] = []
        if n <= _FACETS:
            for k, side in [(n, 1.0), *((k, side) for k in range(n) for side in (1.0, -1.0))]:
                ends = lower.copy(), upper.copy()
                ends[0][k] = ends[1][k] = side
                sides.append(ends)
        return [Region(cost, 0.5 * (low + high), low, high, 0.0, math.inf) for low, high in sides or [(lower, upper)]]

    def still(self, region: Region) -> Array:
        """Features that do not move within a region (1); on a facet the scale of the homogeneous network alone."""
        if region.lower.size > self.network.n_inputs:
            out = np.zeros(region.lower.size)
            out[-1] = 1.0
            return out
        fixed: Array = (region.lower == region.upper).astype(np.float64)
        return fixed

    def point(self, x: Array) -> Array:
        """A point of the engine's region as an input of the network."""
        if x.size == self.network.n_inputs:
            return x
        out: Array = x[:-1] / x[-1]
        return out


def _checked(network: object) -> None:
    instance("network", network, ReluNetwork, "load_network(path) reads one", NetworkError)


def _output(given: object, network: ReluNetwork) -> int:
    """The number of an output."""
    count = network.n_outputs
    return whole("output", given, f"one of the outputs 0 to {count - 1} of {network.name}", lambda k: 0 <= k < count)


def _pair(given: object, network: ReluNetwork) -> tuple[int, int | None]:
    """A logit ``(i, None)`` or a difference ``(i, j)``."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ProblemError(f"an output {told(given)}: (i, None) for z_i or (i, j) for z_i - z_j is accepted")
    return _output(given[0], network), None if given[1] is None else _output(given[1], network)


def homogeneous(network: ReluNetwork) -> ReluNetwork:
    """``g(x, t) = t f(x / t)`` for t > 0: biases times t, which travels along; its full-dimensional cells are those of f."""
    graph, name = rewrite.homogeneous(network.graph), f"{network.name}, homogeneous"
    return replace(network, graph=graph, input_shape=(network.n_inputs + 1,), name=name)


def in_reals_alone(arithmetic: object) -> None:
    """Refuse a constant of the network in float32.

    Raises:
        ProblemError: another arithmetic than real.
    """
    if Arithmetic.of(arithmetic) is Arithmetic.FLOAT32:
        raise ProblemError(
            "arithmetic float32: a network in single precision is piecewise constant, and no Lipschitz constant bounds its jumps; ask in "
            "real arithmetic (--arithmetic real), or for distances and worst cases in float32 (wdaverify distance, verify)"
        )
