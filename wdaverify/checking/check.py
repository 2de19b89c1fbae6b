"""``check``: whether a network can satisfy a specification."""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass, replace
from fractions import Fraction

from threadpoolctl import threadpool_limits

from wdaverify.arithmetic import Arithmetic
from wdaverify.certify.certificate import Certificate
from wdaverify.certify.conjunctions import scaled
from wdaverify.certify.halvings import Halvings
from wdaverify.certify.rows import Rows
from wdaverify.certify.splits import of_brackets
from wdaverify.certify.unsat import MAX_MOVING, Unsat, UnsatCertificate
from wdaverify.checking.deployed import widened
from wdaverify.checking.points import Points
from wdaverify.checking.result import CheckResult, Counterexample, Effort, Ended, Outcome
from wdaverify.checking.splitting import Search
from wdaverify.errors import ProblemError, SpecificationError
from wdaverify.given import called, flag, instance
from wdaverify.network.model import ReluNetwork, readonly
from wdaverify.network.onnx_reader import load_network
from wdaverify.rounding import float_up
from wdaverify.specification.fits import check_fits
from wdaverify.specification.model import Specification
from wdaverify.specification.reader import load_specification
from wdaverify.wdro.options import Options
from wdaverify.wdro.progress import Progress, Report
from wdaverify.witness.replay import Replay

_FEW = 10
"""Inputs that move: so few that halving boxes decides; more are left to the cells."""

_log = logging.getLogger(__name__)


def check(
    network: ReluNetwork | str | os.PathLike[str],
    specification: Specification | str | os.PathLike[str],
    *,
    time_limit: float | None = None,
    jobs: int | None = None,
    seed: int = 0,
    onnx_file: str | os.PathLike[str] | None = None,
    output_name: str | None = None,
    certificate: bool = False,
    arithmetic: Arithmetic | str | None = None,
    progress: Report | None = None,
) -> CheckResult:
    """Whether some input satisfies a disjunct of the specification, with a bracket of how far it is from that.

    Args:
        network: the network, or the ONNX file of it.
        specification: the specification, or the VNN-LIB file of it.
        time_limit: seconds of wall clock, or None; the bracket is valid whenever it ends.
        jobs: threads (with many inputs: worker processes); None: this one.
        seed: of the attack, and the cells.
        onnx_file: the file that counterexamples are replayed from, where ``network`` is none itself.
        output_name: the tensor of that file that is meant.
        certificate: keep the proof where the answer is unsat: ``CheckResult.certificate``, for ``write_unsat`` and ``recheck_unsat``.
        arithmetic: "real", or "float32": unsat then holds whatever a runtime of single precision makes of the network. None: as the
            specification declares its elements, real where it does not.
        progress: called with the bracket so far.

    Raises:
        InputError: a file cannot be read, the two do not fit, or an option is outside what is accepted.

    A KeyboardInterrupt ends the run with the bracket so far (``ended`` is ``interrupted``).
    """
    begun = time.monotonic()
    asked = Options(time_limit=time_limit, jobs=jobs, seed=seed)
    called("progress", progress)
    certificate = flag("certificate", certificate, ProblemError)
    if not isinstance(network, ReluNetwork):
        onnx_file = network if onnx_file is None else onnx_file
        network = load_network(network, output_name=output_name)
    if not isinstance(specification, Specification):
        specification = load_specification(specification)
    instance("specification", specification, Specification, "load_specification(path) reads one", SpecificationError)
    check_fits(network, specification)
    single = _arithmetic(specification, arithmetic) is Arithmetic.FLOAT32
    if single and certificate:
        raise SpecificationError(
            "certificates of unsat are about real arithmetic, and the question is about float32: leave the certificate out, or ask in real "
            "arithmetic (--arithmetic real)"
        )
    wide, by = widened(network, specification) if single else (specification, 0.0)
    run = _Run(network, specification, wide, by if single else None, asked, begun, certificate, progress)
    _log.info("check: %s against %s", network.name, specification)
    with threadpool_limits(1, user_api="blas"):
        result = run.answer(Replay(network, onnx_file, output_name))
    _log.info("check: %s (%s), v in [%r, %r]", result.outcome.value, result.ended.value, result.lower, result.upper)
    return result


def _arithmetic(specification: Specification, asked: Arithmetic | str | None) -> Arithmetic:
    """The arithmetic that is meant."""
    found = specification.arithmetic if asked is None else Arithmetic.of(asked)
    if specification.arithmetic is Arithmetic.FLOAT32 and found is Arithmetic.REAL:
        raise SpecificationError(
            f"{specification.name} is about elements of float32, and real arithmetic is another question: leave it out, or declare real "
            "elements"
        )
    return found


@dataclass(eq=False)
class _Run:
    """One question on its way to an answer; ``wide`` is the specification with rows raised by at most ``by`` (None: in reals)."""

    network: ReluNetwork
    specification: Specification
    wide: Specification
    by: float | None
    asked: Options
    begun: float
    certificate: bool
    progress: Report | None
    boxes: int = 0
    engine: str = "boxes"
    upper: float = math.inf
    proof: Unsat | None = None

    @property
    def deadline(self) -> float:
        """On the clock of ``time.monotonic``."""
        return math.inf if self.asked.time_limit is None else self.begun + self.asked.time_limit

    def answer(self, replay: Replay) -> CheckResult:
        """Search, and say what was found."""
        if not self.specification.disjuncts:
            self.upper = -math.inf
            if self.certificate:
                self.proof = self._proof(0, 0, 0, -1.0, ())
            return self._result(None, Ended.DECIDED)
        rows = Rows.of(self.network, self.specification)
        points = Points(rows, self.specification, replay)
        try:
            ended = self._search(rows if self.by is None else Rows.of(self.network, self.wide), points)
        except KeyboardInterrupt:
            ended = Ended.INTERRUPTED
        return self._result(points, ended)

    def _search(self, rows: Rows, points: Points) -> Ended:
        self._tell("attack", points, math.inf, 0, 1)
        curved = bool(self.network.curved)
        doubles = scaled(self.wide) if rows.moving.size > _FEW or curved else None
        if curved and doubles is None:
            raise SpecificationError(
                f"{self.specification.name}: no factor makes the coefficients of its rows doubles, and rows of curved functions "
                f"({', '.join(self.network.curved)}) are asked of cells, which need that: write shorter coefficients"
            )
        if doubles is not None:
            self.engine = "cells"
            points.attack(self.asked.seed, min(self.deadline, time.monotonic() + self._share()))
            return Ended.DECIDED if points.over else self._by_cells(points, *doubles)
        if self.certificate and rows.moving.size > MAX_MOVING:
            raise SpecificationError(
                f"{rows.moving.size} inputs of {self.specification.name} move, and no factor makes the coefficients of its rows doubles: "
                f"boxes are halved then, which is proved for up to {MAX_MOVING}; leave the certificate out, or write shorter coefficients"
            )
        search = Search.of(rows, self.wide, points, self.deadline, traced=self.certificate)
        search.raised = self.by is not None
        search.told = lambda: self._tell("split", points, search.upper, search.rounds, search.open, search.count)
        try:
            search.roots()
            if search.blocks and not points.over:
                points.attack(self.asked.seed, self.deadline)
            ended = search.run(self.asked.jobs or 1)
        finally:
            self.upper, self.boxes = search.upper, search.count
        if search.tracer is not None and self.upper < 0 and points.real is None and points.found is None:
            size = rows.moving.size, rows.which.shape[1], rows.graph.neurons
            trees = search.tracer.trees(len(self.specification.disjuncts), *size)
            self.proof = self._proof(*size, search.level if math.isfinite(search.level) else -1.0, trees)
        return ended

    def _proof(
        self, moving: int, rows: int, neurons: int, level: float, trees: tuple[Halvings, ...]
    ) -> UnsatCertificate:
        hashes = self.network.sha256, self.specification.sha256
        return UnsatCertificate(*hashes, self.network.n_inputs, moving, rows, neurons, self.upper, level, trees)

    def _share(self) -> float:
        """Seconds for an attack in front of the cells."""
        return 30.0 if self.asked.time_limit is None else 0.2 * self.asked.time_limit

    def _by_cells(self, points: Points, specification: Specification, factor: int) -> Ended:
        """Of the specification times a factor."""
        from wdaverify.checking.cells import by_cells  # which loads what solves

        def told(progress: Progress) -> None:
            if self.progress is not None:
                lower, upper = max(progress.lower / factor, points.lower), progress.upper / factor
                self.progress(replace(progress, lower=min(lower, upper), upper=upper))

        def limit() -> float | None:
            return None if self.deadline == math.inf else max(0.0, self.deadline - time.monotonic())

        proofs: list[Certificate] | None = [] if self.certificate else None
        upper, ended, self.boxes = by_cells(
            self.network,
            specification,
            points,
            limit=limit,
            jobs=self.asked.jobs,
            seed=self.asked.seed,
            progress=told,
            proofs=proofs,
        )
        self.upper = float_up(Fraction(upper) / factor) if math.isfinite(upper) else upper
        if proofs and self.upper < 0:
            hashes = self.network.sha256, self.specification.sha256
            self.proof = of_brackets(*hashes, self.network.n_inputs, self.upper, proofs)
        return ended

    def _tell(self, phase: str, points: Points, upper: float, rounds: int, left: int, boxes: int = 0) -> None:
        if self.progress is not None:
            lower = min(points.lower, upper)
            self.progress(Progress(phase, lower, upper, rounds, boxes, left, time.monotonic() - self.begun))

    def _result(self, points: Points | None, ended: Ended) -> CheckResult:
        found = None if points is None else points.found or points.real
        outcome = self._outcome(found, ended)
        notices = list(self.network.notices)
        if outcome is Outcome.SAT_IN_REALS:
            why = "" if points is None else points.why
            notices.append(f"the counterexample was not replayed: {why or 'rounding undoes it there'}")
        lower = -math.inf if points is None else points.lower - (self.by or 0.0)
        if self.by is not None:
            notices.append(
                "in float32: rows are raised by their error bounds, so that unsat holds whatever order a runtime adds in; the lower end is "
                "lowered by as much"
            )
        shown = (
            None if found is None else replace(found, inputs=readonly(found.inputs), outputs=readonly(found.outputs))
        )
        seconds = time.monotonic() - self.begun
        effort = Effort(seconds, self.boxes, 0 if points is None else points.tried, self.asked.jobs or 1, self.engine)
        decided = outcome in (Outcome.UNSAT, Outcome.SAT, Outcome.SAT_IN_REALS)
        return CheckResult(
            self.network,
            self.specification,
            outcome,
            Ended.DECIDED if decided else ended,
            lower,
            max(self.upper, lower),
            shown,
            effort,
            self.asked.time_limit,
            self.asked.seed,
            tuple(notices),
            self.proof,
            self.by,
        )

    def _outcome(self, found: Counterexample | None, ended: Ended) -> Outcome:
        if found is not None:
            return Outcome.SAT if found.runtime is not None else Outcome.SAT_IN_REALS
        if self.upper < 0:
            return Outcome.UNSAT
        return Outcome.TIMEOUT if ended is Ended.TIME_LIMIT else Outcome.UNKNOWN
