"""What stands beside a bracket: the share of wrong answers, and what the radius limits.

The error rate under the distribution that attains a lower bound is a fact about that distribution. It is no supremum: the
worst-case error rate is the bracket of the zero-one loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wdaverify.digits import at_most, stated
from wdaverify.network.model import Array
from wdaverify.problem import Loss, WdroProblem
from wdaverify.wdro.result import Atom
from wdaverify.witness.decide import deciding_until, error_bounds


@dataclass(frozen=True)
class Rate:
    """A share of mass that is in error (a tie is), ``lower <= rate <= upper``: apart only where double precision does not tell.

    ``errors`` of ``count`` samples are in error for sure.
    """

    lower: float
    upper: float
    errors: int
    count: int


@dataclass(frozen=True)
class ErrorRates:
    """Of the samples as they are, and of the atoms of a distribution; None where nothing is moved."""

    nominal: Rate
    atoms: Rate | None

    @classmethod
    def read(cls, stated: dict[str, Any]) -> ErrorRates:
        """From the field ``error_rate`` of a document."""
        atoms = stated["atoms"]
        return cls(Rate(**stated["nominal"]), None if atoms is None else Rate(**atoms))


def error_rates(problem: WdroProblem, atoms: Sequence[Atom] = ()) -> ErrorRates | None:
    """By enclosures of the margins, and what the run has decided exactly; None for a loss without classes."""
    if problem.loss.rule.takes_functionals or problem.network.n_outputs < 2:
        return None
    samples = problem.samples
    nominal = _rate(problem, samples.x, samples.y, samples.w)
    if not any(atom.distance > 0 or atom.label != samples.y[atom.sample] for atom in atoms):
        return ErrorRates(nominal, None)
    points, labels = np.stack([atom.point for atom in atoms]), np.array([atom.label for atom in atoms], dtype=np.int64)
    return ErrorRates(nominal, _rate(problem, points, labels, np.array([atom.weight for atom in atoms])))


def error_rate_json(problem: WdroProblem, atoms: Sequence[Atom] = ()) -> dict[str, Any] | None:
    """The field ``error_rate`` of documents."""
    rates = error_rates(problem, atoms)
    return None if rates is None else asdict(rates)


def _rate(problem: WdroProblem, x: Array, y: np.ndarray[tuple[int], np.dtype[np.int64]], weight: Array) -> Rate:
    with deciding_until(-math.inf):  # nothing is decided anew for it
        surely, possibly = error_bounds(problem.network, x, y)
    total = math.fsum(weight)
    shares = [math.fsum(weight[there]) / total for there in (surely, possibly)]
    return Rate(shares[0], shares[1], int(surely.sum()), len(y))


def shown(rate: Rate) -> str:
    """A rate at four digits, or the two that it lies between."""
    ends = [f"{end:.4g}" for end in (rate.lower, rate.upper)]
    return ends[0] if rate.lower == rate.upper else f"{ends[0]} to {ends[1]}"


def rates_label(loss: str) -> str:
    """What the rates are of: errors, or violations of a specification."""
    return "violated" if loss and Loss(loss).rule.takes_specification else "error rate"


def rates_text(rates: ErrorRates, loss: str) -> str:
    """Both rates in words that take neither for the supremum asked for."""
    known = rates.nominal
    counted = f" ({known.errors} of {known.count})" if known.lower == known.upper else ""
    nominal = f"{shown(known)} of the samples as they are{counted}"
    if loss and Loss(loss).rule.by_distances:
        return f"{nominal}; the worst within the radius is V"
    if rates.atoms is None:
        return nominal
    return (
        f"{nominal}; {shown(rates.atoms)} under the distribution found for the {loss} loss, which is not the worst error rate: "
        "ask for that with --loss zero-one"
    )


def radius_text(radius: float, order: float, farthest: float | None) -> str:
    """What the radius limits, an average or every input, and how far the farthest atom moved; None: there are no atoms."""
    if radius == 0:
        return "0: nothing may move"
    far = "" if farthest is None else f"; the farthest atom moved {at_most(farthest, 6)}"
    return f"{stated(radius)} {radius_kind(order)}{far}"


def radius_kind(order: float) -> str:
    """What a radius of this order limits."""
    if not math.isfinite(order):
        return "for every single input"
    mean = "on average" if order == 1 else "in the root mean square"
    return f"{mean} over all mass, not for every single input"
