"""What a contender makes of a workload once, and what a solver of one question."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from wdaverify.network.model import Array


class RefusedError(Exception):
    """A solver does not take the model, its licence is too small, say; the words tell why."""


@dataclass(frozen=True, eq=False)
class Solved:
    """A proven bound (no value is better), the point found ``[n]`` or None, and whether it is solved to the gap."""

    bound: float
    point: Array | None
    closed: bool


@dataclass(frozen=True)
class Outcome:
    """One run.

    ``state``: ``done``, ``limit`` (it ran into its cap: ``seconds`` are a lower bound of its time), ``open`` (it ended by itself
    with an open bracket), ``wrong`` (its bounds contradict each other), ``refused``, ``failed``, ``absent``
    (there was nothing to run). ``startup`` are the seconds that do not grow with
    the samples. ``samples``: on how many it ran. ``note`` says in words what the table is to say; ``facts`` are numbers for
    tables of their own; ``facts["ours"]`` is the bracket of our own run on the same samples.
    """

    state: str
    seconds: float = 0.0
    samples: int = 0
    lower: float | None = None
    upper: float | None = None
    startup: float = 0.0
    note: str = ""
    facts: dict[str, object] = field(default_factory=dict)

    def scaled(self, count: int) -> float:
        """The seconds that ``count`` samples would take if all but the start grew with them."""
        if count == self.samples or not self.samples:
            return self.seconds
        return self.startup + (self.seconds - self.startup) * count / self.samples

    def noted(self, words: str) -> Outcome:
        """The same with further words."""
        return replace(self, note="; ".join(w for w in (self.note, words) if w))
