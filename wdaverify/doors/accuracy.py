"""Robust accuracy: what the zero-one loss at order inf says, in the words of those who ask for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from wdaverify.digits import down, stated, up
from wdaverify.rounding import float_down, float_up
from wdaverify.shown import Shown, line
from wdaverify.wdro.result import Status, VerificationResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_CLOSE = 1e-6
"""Parts of a sample by which rounding may miss a whole number of them."""


@dataclass(frozen=True, eq=False, repr=False)
class RobustAccuracy(Shown):
    """``certified <= robust accuracy <= attacked``: the share of the samples' weight that is right at every point within ``eps``.

    ``result`` is the answer that it is read from: the worst-case error rate V, of which robust accuracy is the rest.
    """

    result: VerificationResult

    @property
    def eps(self) -> float:
        """The radius around each sample."""
        return self.result.problem.radius

    @property
    def clean(self) -> float:
        """The share that is right at the samples themselves, rounded up (the nominal error rate is rounded down)."""
        return _rest(self.result.nominal, up=True)

    @property
    def certified(self) -> float:
        """The share that is proven robust, rounded down."""
        return _rest(self.result.upper, up=False)

    @property
    def attacked(self) -> float:
        """The share for which no error within ``eps`` is known, rounded up."""
        return _rest(self.result.lower, up=True)

    @property
    def broken(self) -> tuple[int, int] | None:
        """The least and the most samples that have an error within ``eps``; None where the samples' weights differ.

        V is a whole number of N-th parts then, so that the two are equal where the bracket holds only one.
        """
        weights = self.result.problem.samples.w
        if (weights != weights[0]).any():
            return None
        n = weights.size
        return math.ceil(n * self.result.lower - _CLOSE), math.floor(n * self.result.upper + _CLOSE)

    @property
    def exact(self) -> bool:
        """Whether the two meet, to the gap asked for, of a network that has exact values: never where it has curved functions."""
        return self.result.status is Status.EXACT

    @property
    def closed(self) -> bool:
        """Whether the two meet, to the gap asked for."""
        return self.result.status.closed

    def __repr__(self) -> str:
        bracket = f"robust accuracy in [{down(self.certified)}, {up(self.attacked)}]"
        return line(bracket, f"clean {up(self.clean)}", f"eps {stated(self.eps)}", self.result.reason.value)

    def __str__(self) -> str:
        table = [
            (
                "eps",
                f"{stated(self.eps)}: every sample may move so far by itself, in the {self.result.problem.cost.norm.value} norm",
            ),
            ("clean accuracy", up(self.clean)),
            ("certified", f"{down(self.certified)}   robust accuracy is at least that"),
            ("attacked", f"{up(self.attacked)}   and at most that: an error within eps is known for the rest"),
        ]
        counts = self._counts()
        table += [("samples", counts)] if counts else []
        said = "\n".join(f"{name:<16}{text}" for name, text in table)
        return f"{said}\n\n{self.result}"

    def _counts(self) -> str:
        """How many samples have an error within eps, in words."""
        if self.broken is None:
            return ""
        least, most = self.broken
        many = str(least) if least == most else f"{least} to {most}"
        return f"{many} of {len(self.result.problem.samples)} have an error within eps"

    def to_dict(self) -> dict[str, Any]:
        """The document of ``result``."""
        return self.result.to_dict()

    def save(self, path: Any) -> None:
        """Write the document of ``result``."""
        self.result.save(path)

    def save_report(self, path: Any, **words: Any) -> None:
        """Write the page of ``result``, with its keywords."""
        self.result.save_report(path, **words)

    def plot(self) -> Figure:
        """The figure of ``result``."""
        return self.result.plot()

    def _repr_html_(self) -> str:
        facts = (
            f"clean {up(self.clean)}, certified at least {down(self.certified)}, attacked at most {up(self.attacked)}"
        )
        counts = f"; {self._counts()}" if self._counts() else ""
        return (
            f"<div><b>Robust accuracy</b> within {stated(self.eps)}: {facts}{counts}</div>{self.result._repr_html_()}"
        )


def _rest(share: float, *, up: bool) -> float:
    """``1 - share`` in [0, 1], rounded."""
    exact = 1 - Fraction(min(max(share, 0.0), 1.0))
    return float_up(exact) if up else float_down(exact)
