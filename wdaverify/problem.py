"""The question: samples, ground cost, support, loss and radius, checked once so that nobody downstream has to.

V(eps) = sup { E_Q[loss] : Q on the support, W_p(Q, P) <= radius },   P = sum_i w_i delta_(x_i, y_i)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from wdaverify.arithmetic import Arithmetic
from wdaverify.digits import stated
from wdaverify.errors import NetworkError, ProblemError, SamplesError
from wdaverify.given import array, flag, instance, integers, real, settle
from wdaverify.ground import GroundCost, LinearRows, Norm, Support, check_power, check_sizes
from wdaverify.losses.registry import Loss, in_words, those
from wdaverify.network.float32 import refused
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.specification.model import Specification
from wdaverify.specification.unsafe import with_unsafe_scores, within_reach

__all__ = ["Functionals", "GroundCost", "LinearRows", "Loss", "Norm", "Samples", "Support", "WdroProblem"]


_SUM = 1e-9
"""By how much the sum of all weights may miss 1."""


@dataclass(frozen=True, eq=False)
class Functionals:
    """The linear loss ``max_r matrix[r] . z + offset[y, r]``: matrix ``[R, K]``, offset ``[R]``, or ``[L, R]`` by label."""

    matrix: Array
    offset: Array

    def __post_init__(self) -> None:
        settle(self, matrix=array("matrix", self.matrix), offset=array("offset", self.offset))
        if self.matrix.ndim != 2 or 0 in self.matrix.shape:
            raise ProblemError(f"functionals of shape {list(self.matrix.shape)}: a matrix [R, K] is accepted")
        if self.offset.ndim not in (1, 2) or self.offset.shape[-1] != self.matrix.shape[0] or not self.offset.size:
            raise ProblemError(
                f"offsets of shape {list(self.offset.shape)} for {self.matrix.shape[0]} functionals: [R] or [labels, R] is accepted"
            )

    def offsets(self, labels: NDArray[np.int64]) -> Array:
        """``b_r`` for each label, ``[B, R]``."""
        if self.offset.ndim == 1:
            return np.broadcast_to(self.offset, (len(labels), self.offset.size))
        return np.asarray(self.offset[labels])


@dataclass(frozen=True, eq=False, repr=False)
class Samples:
    """The nominal distribution: points ``x [N, n]`` float64, labels ``y [N]`` int64, weights ``w [N]`` that sum to 1 up to rounding.

    The weights as stored (doubles) are the problem's own; indices are 0-based in file order. ``sha256`` is of the
    content as used (x, y and w after any clipping and truncation), see ``wdaverify.samples.content_hash``. Samples that are not
    ``labelled`` have zeros for y, and are those of the specification loss.
    """

    x: Array
    y: NDArray[np.int64]
    w: Array
    sha256: str
    source: str
    notices: tuple[str, ...] = ()
    """What is to be told of how they were read."""
    labelled: bool = True

    def __post_init__(self) -> None:
        for name in ("sha256", "source"):
            instance(name, getattr(self, name), str, "make_samples(x, y) gives both", SamplesError)
        settle(
            self,
            x=array("x", self.x, SamplesError, bools=True),
            y=integers("y", self.y, SamplesError),
            w=array("w", self.w, SamplesError),
            labelled=flag("labelled", self.labelled, SamplesError),
        )
        n = len(self.x) if self.x.ndim else 0
        if self.x.ndim != 2 or self.y.shape != (n,) or self.w.shape != (n,):
            shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in (("x", self.x), ("y", self.y), ("w", self.w)))
            raise SamplesError(
                f"samples of shapes {shapes}: x [N, n], y [N] and w [N] are accepted, as make_samples makes them"
            )
        if not self.labelled and self.y.any():
            raise SamplesError("samples without labels have zeros for y; make_samples(x) makes them")
        if n and not ((self.w >= 0).all() and abs(math.fsum(self.w) - 1) <= _SUM):
            raise SamplesError(
                "the weights of the samples are no distribution; make_samples(x, y, w) makes one of weights >= 0"
            )

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def __repr__(self) -> str:
        return f"<Samples: {len(self)} points of {self.x.shape[1]} features from {self.source}>"


def refuse_dropped(network: ReluNetwork, what: str) -> None:
    """Refuse a question about the outputs of a network whose final Softmax the layers leave out.

    Raises:
        ProblemError: there is such a Softmax.
    """
    if network.head is not None:
        raise ProblemError(
            f"{network.name} ends in a {network.head}, which is dropped: {what} would be that of the logits in front of it, not of its "
            "outputs, which are not piecewise linear; say --logits (in Python load_network(path, logits=True)) if the logits are meant"
        )


@dataclass(frozen=True, eq=False, repr=False)
class WdroProblem:
    """One question; the constructor refuses what cannot be answered.

    A network of one output z is that of two classes with the scores 0 and z, but for the linear loss. With a specification the network
    becomes that of the specification's scores (``specification.unsafe``), and class 0, which is every sample's, says that it holds.

    The whole space then becomes the box that holds those of the specification and the samples: nothing outside violates anything.

    In float32 the loss is that, in real arithmetic, of the outputs that a runtime of single precision gives at the point rounded to it.
    """

    network: ReluNetwork
    samples: Samples
    cost: GroundCost
    support: Support
    loss: Loss
    radius: float
    functionals: Functionals | None = None
    specification: Specification | None = None
    arithmetic: Arithmetic = Arithmetic.REAL

    def __post_init__(self) -> None:
        network = instance("network", self.network, ReluNetwork, "load_network(path) reads one", NetworkError)
        samples = instance(
            "samples", self.samples, Samples, "make_samples(x, y) or load_samples(path) makes them", SamplesError
        )
        instance("cost", self.cost, GroundCost, "GroundCost(norm, order) makes one")
        instance("support", self.support, Support, "Support.box(lower, upper, width) makes one")
        if self.functionals is not None:
            instance("functionals", self.functionals, Functionals, "Functionals(matrix, offset) makes them")
        settle(
            self,
            loss=Loss.of(self.loss),
            radius=real("radius", self.radius, "a finite number >= 0", lambda r: 0 <= r < math.inf),
            arithmetic=Arithmetic.of(self.arithmetic),
        )
        if isinstance(self.specification, Specification):
            settle(self, support=within_reach(self.specification, self.support, samples.x))
        if self.arithmetic is Arithmetic.FLOAT32:
            self._check_float32(network)
        if (self.specification is not None) != self.loss.rule.takes_specification:
            raise ProblemError(
                "the specification loss needs a specification (--spec FILE.vnnlib, specification=...), and no other loss takes one"
            )
        if network.unsafe is not None and self.specification is None:
            raise NetworkError(
                f"{network.name} has the scores of a specification for its outputs; give the network as it was read"
            )
        if samples.labelled == self.loss.rule.takes_specification:
            self._refuse_labels()
        if self.specification is not None:
            way_out = "load_specification(path) reads one"
            instance("specification", self.specification, Specification, way_out)
            if self.specification.arithmetic is Arithmetic.FLOAT32 and self.arithmetic is Arithmetic.REAL:
                raise ProblemError(
                    f"{self.specification.name} is about elements of float32: say --arithmetic float32 (arithmetic='float32')"
                )
            network = with_unsafe_scores(network, self.specification, self.support)
            settle(self, network=network)
        elif network.classes == () and not self.loss.rule.takes_functionals:
            raise ProblemError(
                f"{network.name} is a regressor, whose outputs are no scores of classes: the linear loss (loss='linear', with functionals "
                "of the outputs) is accepted"
            )
        if network.n_outputs == 1 and not self.loss.rule.takes_functionals:
            network = network.two_classes()
            settle(self, network=network)
        check_power("radius", self.radius, self.cost.order, "rescale the features")
        _ = network.form  # refuses a network whose weights overflow when composed
        if len(samples) == 0:
            raise SamplesError(f"{samples.source}: no samples; at least one is needed")
        self._check_loss()
        if samples.x.shape[1] != network.n_inputs:
            raise SamplesError(
                f"{samples.source}: points have {samples.x.shape[1]} features, {network.name} takes {network.n_inputs} "
                f"(input shape {list(network.input_shape)})"
            )
        if self.support.lower.size != network.n_inputs:
            raise ProblemError(f"the support has {self.support.lower.size} features, the network {network.n_inputs}")
        if self.cost.weights is not None and self.cost.weights.size != network.n_inputs:
            raise ProblemError(f"{self.cost.weights.size} cost weights for a network of {network.n_inputs} features")
        self._check_labels()
        check_sizes(self.cost, self.support, samples.x)
        outside = (samples.x < self.support.lower) | (samples.x > self.support.upper)
        if outside.any():
            self._refuse_outside(outside)
        if not self.support.plain and self.support.bounded:
            self._refuse_cut_off()

    def __repr__(self) -> str:
        cost = self.cost
        ball = f"W_{cost.order} radius {stated(self.radius)}, norm {cost.norm.value}"
        ball += ", in float32" if self.arithmetic is Arithmetic.FLOAT32 else ""
        return f"<WdroProblem: {self.loss.value} loss, {ball}; {self.network!r}, {self.samples!r}, {self.support!r}>"

    def region_of(self, rival: int) -> Support:
        """Where a sample can be taken for ``rival``: the support, or of a disjunct of a specification what its box leaves of it."""
        unsafe = self.network.unsafe
        if self.specification is None or unsafe is None or not unsafe.disjuncts:
            return self.support
        box, support = self.specification.disjuncts[unsafe.disjuncts[rival - 1]].box, self.support
        lower, upper = np.maximum(box.lower, support.lower), np.minimum(box.upper, support.upper)
        return Support(lower, upper, support.rows, support.integer)

    def _refuse_labels(self) -> NoReturn:
        source, loss = self.samples.source, self.loss.value
        if self.samples.labelled:
            raise SamplesError(
                f"{source}: samples with labels, of which a specification says nothing; load_samples(path, labels=False) or "
                "make_samples(x) leaves them out"
            )
        raise SamplesError(
            f"{source}: samples without labels, which the {loss} loss needs; give y, class numbers from 0 (only --loss specification "
            "goes without)"
        )

    def _check_loss(self) -> None:
        network, rule = self.network, self.loss.rule
        if (self.functionals is not None) != rule.takes_functionals:
            takers = in_words(those(lambda r: r.takes_functionals))
            raise ProblemError(
                f"the {takers} loss needs functionals (--functionals FILE), and no other loss takes them"
            )
        if self.functionals is not None:
            refuse_dropped(network, f"the {rule.noun}")
            if self.functionals.matrix.shape[1] != network.n_outputs:
                raise ProblemError(
                    f"functionals of {self.functionals.matrix.shape[1]} outputs where {network.name} has {network.n_outputs}"
                )
        if network.n_outputs < rule.least_classes:
            raise ProblemError(f"the loss {self.loss.value} with {network.n_outputs} output(s): {rule.few_classes}")
        if rule.fixed_labels and self.cost.moves_labels:
            raise ProblemError(rule.fixed_labels.format(cost=stated(self.cost.label_cost)))

    def _check_float32(self, network: ReluNetwork) -> None:
        """Refuse what has no error bound in float32."""
        if why := refused(network):
            raise NetworkError(why)
        if not self.support.bounded:
            raise ProblemError(
                "arithmetic float32 on the whole space: its errors grow with the numbers, without end; give a box (--support LO HI), or "
                "ask in real arithmetic (--arithmetic real)"
            )
        if self.loss.rule.by_levels:
            raise ProblemError(
                f"arithmetic float32 and the {self.loss.rule.noun}: an error in its denominator has no bound; ask for another loss "
                "(--loss), or in real arithmetic (--arithmetic real)"
            )

    def refuse_float32(self, what: str, way_out: str = "ask in real arithmetic (--arithmetic real)") -> None:
        """Refuse what is not said of float32.

        Raises:
            ProblemError: the question is in float32; ``what`` is said of it.
        """
        if self.arithmetic is Arithmetic.FLOAT32:
            raise ProblemError(f"arithmetic float32: {what}; {way_out}")

    def _check_labels(self) -> None:
        samples = self.samples
        classes = self.network.n_outputs
        if self.functionals is not None:
            if self.functionals.offset.ndim == 1:
                return
            classes = self.functionals.offset.shape[0]
        bad = np.flatnonzero((samples.y < 0) | (samples.y >= classes))
        if bad.size:
            i = int(bad[0])
            raise SamplesError(
                f"{samples.source}: label {int(samples.y[i])} of sample {i} is out of range; labels 0 to {classes - 1} are accepted"
            )

    def _refuse_cut_off(self) -> None:
        bad = np.flatnonzero(~self.support.contains(self.samples.x))
        if bad.size:
            raise SamplesError(
                f"{self.samples.source}: sample {int(bad[0])} violates a linear row or an integer of the support "
                f"({bad.size} such samples); correct the support file, or leave these samples out"
            )

    def _refuse_outside(self, outside: NDArray[np.bool_]) -> NoReturn:
        i, k = (int(v) for v in np.argwhere(outside)[0])
        way_out = "widen the box with --support LO HI, or move them onto it with --clip"
        if self.specification is not None:
            way_out = (
                "--support none holds all inputs, of which those outside the specification's boxes are no violation; --clip moves samples "
                "onto the box"
            )
        raise SamplesError(
            f"{self.samples.source}: sample {i} lies outside the support: feature {k} is {stated(self.samples.x[i, k])}, not in "
            f"[{stated(self.support.lower[k])}, {stated(self.support.upper[k])}] ({int(outside.any(axis=1).sum())} such samples); "
            f"{way_out}"
        )
