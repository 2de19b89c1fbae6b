"""What a back-end is: a MilpModel in, bounds and points out, every status translated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from wdaverify.encoding.milp import MilpModel
from wdaverify.network.model import Array


class MilpStatus(StrEnum):
    """Why a solve ended. Whatever the status, ``bound`` is the solver's proven dual bound or infinite."""

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"
    CUT_OFF = "cut-off"
    TIME_LIMIT = "time-limit"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class MilpLimits:
    """When a solve may stop. ``gap``: absolute gap at which it is optimal; ``seconds`` of wall clock (inf: none).

    ``cutoff``: values no better than this are of no interest (None: all are); ``start``: values of some columns
    (``index -> value``) to begin from, or None; ``seed``: the solver's random seed.
    """

    gap: float
    seconds: float
    cutoff: float | None
    start: dict[int, float] | None
    seed: int


@dataclass(frozen=True, eq=False)
class MilpOutcome:
    """What a solve said. ``bound``: no feasible value is better than it, says the solver (the model's offset included).

    ``columns`` is the best assignment found or None. An infeasible model has the bound of an empty set (-inf when
    maximising), a failed one the trivial bound (+inf when maximising).
    """

    status: MilpStatus
    bound: float
    columns: Array | None
    nodes: int
    seconds: float
    detail: str


class MilpSolver(Protocol):
    """A one-shot back-end."""

    name: str

    def solve(self, model: MilpModel, limits: MilpLimits) -> MilpOutcome:
        """Solve the model within the limits, on one thread.

        Raises:
            SolverError: the back-end is missing, or refused the model (its licence is too small, say).
        """
        ...


def trivial_bound(model: MilpModel) -> float:
    """The bound that says nothing."""
    return math.inf if model.maximise else -math.inf


def outward(bound: float, model: MilpModel) -> float:
    """A solver's bound with the slack of the encoding and one rounding of the sum added outward."""
    if math.isinf(bound):
        return bound
    if model.maximise:
        return math.nextafter(bound + model.slack, math.inf)
    return math.nextafter(bound - model.slack, -math.inf)
