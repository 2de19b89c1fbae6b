"""How much the attacks do: which of them run, and how long each goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wdaverify.errors import ProblemError
from wdaverify.given import listed, settle, whole, word

STAGES = ("wda", "wda++", "ensemble", "sweep", "polish")
"""WDA(m); WDA++; the ensemble (zero-one); the sweep of every rival at many radii (at order inf, zero-one, the ensemble stands in for
it); the polish of what the master will look at."""
POWERS = (1, 2, 4, 8, 16)
_MOST = 2**31


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What is run; every number left out (None) is the attacks' own.

    Args:
        attacks: some of ``STAGES``, a list of them or a text between commas, whose points all go to the mixture.
        powers: the m >= 1 of WDA(m) (order inf: 1 alone).
        steps: of every ascent and walk.
        restarts: sweeps, and rounds of the ensemble; each after the first begins at random points.
        rivals: of each sample, those of the largest margins at the sample itself; the others are not attacked.
        budget: points at which the network may be evaluated (with the gradient or without); a batch's step that has begun is ended.

    Raises:
        ProblemError: a word or number that is not accepted.
    """

    attacks: tuple[str, ...] = STAGES
    powers: tuple[int, ...] = POWERS
    steps: int | None = None
    restarts: int | None = None
    rivals: int | None = None
    budget: int | None = None

    def __post_init__(self) -> None:
        told: object = self.attacks
        named = listed("attacks", told.split(",") if isinstance(told, str) else told, f"a list of {', '.join(STAGES)}")
        named = [name.strip().lower() if isinstance(name, str) else name for name in named]
        settle(self, attacks=tuple(word("attack", name, STAGES) for name in named))
        if not self.attacks:
            raise ProblemError(f"attacks: at least one of {', '.join(STAGES)} is accepted")
        powers = listed("powers", self.powers, "a list of whole numbers m >= 1")
        said = "a whole number m >= 1 (WDA(m) moves m^-p of each mass)"
        settle(self, powers=tuple(whole("powers", m, said, lambda m: 1 <= m <= _MOST) for m in powers))
        for name in ("steps", "restarts", "rivals", "budget"):
            if (given := getattr(self, name)) is not None:
                settle(self, **{name: whole(name, given, "a whole number >= 1", lambda v: 1 <= v <= 2**63)})

    def runs(self, stage: str) -> bool:
        """Whether a stage is asked for."""
        return stage in self.attacks

    def asked(self) -> tuple[str, ...]:
        """A notice of the effort that was asked for, where it is not the attacks' own: the bounds hang on it."""
        own = Effort()
        names = ("attacks", "powers", "steps", "restarts", "rivals", "budget")
        given = {name: value for name in names if (value := getattr(self, name)) != getattr(own, name)}
        texts = (f"--{name} {','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in given.items())
        return (f"attacked with {' '.join(texts)}",) if given else ()

    def unused(self, order: float) -> tuple[str, ...]:
        """A notice of powers that are given and do not run."""
        if math.isfinite(order) or not self.runs("wda") or self.powers in (POWERS, (1,)):
            return ()
        return (
            f"powers {', '.join(map(str, self.powers))}: at order inf WDA(1) alone is run, since every mass may move",
        )

    def steps_of(self, own: int) -> int:
        """The steps of an ascent whose own number is ``own``."""
        return own if self.steps is None else self.steps


def effort_of(
    attacks: object, powers: object, steps: object, restarts: object, rivals: object, budget: object
) -> Effort:
    """The effort that words of a caller mean, as ``Effort`` takes them."""
    return Effort(attacks=attacks, powers=powers, steps=steps, restarts=restarts, rivals=rivals, budget=budget)  # type: ignore[arg-type]
