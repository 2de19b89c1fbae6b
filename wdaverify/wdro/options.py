"""What is asked of a run, checked once for every entry: ``verify``, ``curve``, ``distances``, ``attack``, ``compare``, ``lipschitz``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wdaverify.errors import ProblemError
from wdaverify.given import flag, real, settle, whole, word
from wdaverify.solvers.registry import NAMES, OWN

DEVICES = ("auto", "cpu", "cuda")
_MOST = 1024
"""More processes than any machine has cores for them."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked of the run; see ``wdaverify.wdro.verify.verify``.

    Raises:
        ProblemError: an option outside what is accepted.
    """

    solver: str = "auto"
    gap: float = 1e-6
    time_limit: float | None = None
    jobs: int | None = None
    threshold: float | None = None
    device: str = "auto"
    seed: int = 0
    mip_start: bool = False
    certificate: bool = False
    memory_limit: float | None = None
    branching: bool = True
    """Whether cells may branch; if not, the roots of their trees are all that is solved."""

    def __post_init__(self) -> None:
        settle(
            self,
            solver=word("solver", self.solver, NAMES),
            gap=real("gap", self.gap, "a finite number > 0", lambda gap: 0 < gap < math.inf),
            time_limit=seconds("time limit", self.time_limit),
            device=word("device", self.device, DEVICES),
            seed=whole("seed", self.seed, "a whole number >= 0 (and below 2^63)", lambda seed: 0 <= seed < 2**63),
            **{
                name: flag(name.replace("_", " "), getattr(self, name))
                for name in ("mip_start", "certificate", "branching")
            },
        )
        if self.jobs is not None:
            accepted = f"one of 1 to {_MOST} processes, or None for this process alone,"
            settle(self, jobs=whole("jobs", self.jobs, accepted, lambda jobs: 1 <= jobs <= _MOST))
        if self.threshold is not None:
            settle(self, threshold=real("threshold", self.threshold, "a number", lambda _: True))
        if self.memory_limit is not None:
            accepted = "a finite number of bytes > 0"
            settle(
                self, memory_limit=real("memory limit", self.memory_limit, accepted, lambda size: 0 < size < math.inf)
            )
        self._check_solver()

    def _check_solver(self) -> None:
        """Refuse what the solver asked for does not do."""
        if self.mip_start and self.solver in OWN:
            raise ProblemError(
                "a MIP start needs a MIP solver, and the cell engine has none: drop it, or ask for highs, gurobi or scip"
            )
        if self.certificate and self.solver not in OWN:
            raise ProblemError(
                f"a certificate needs the trees of the cell engine, and {self.solver} keeps none: use --solver cells (the default)"
            )
        if not self.branching and self.solver not in OWN:
            raise ProblemError(
                f"{self.solver} branches by itself; to solve without branching, ask for cells (the default)"
            )


def seconds(name: str, value: object) -> float | None:
    """A limit in seconds of wall clock, or None.

    Raises:
        ProblemError: it is no number >= 0.
    """
    return None if value is None else real(name, value, "a number of seconds >= 0", lambda limit: limit >= 0)
