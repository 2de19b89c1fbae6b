"""Whether a problem is hard: whether its questions stay open, slice of time after slice of time."""

from __future__ import annotations

from dataclasses import dataclass

_EACH = 2
"""Answers for each worker that tell."""


@dataclass(eq=False)
class Difficulty:
    """Learns from answers. Where first slices leave questions open, some of these are asked again before all others: ``probing``."""

    jobs: int
    hard: bool = False
    _first: int = 0
    _second: int = 0
    _second_open: int = 0
    _later_open: int = 0

    @property
    def _enough(self) -> int:
        return _EACH * self.jobs

    @property
    def probing(self) -> bool:
        """Whether questions that were asked once go first."""
        return not self.hard and self._first >= self._enough and self._second < self._enough

    def learn(self, tries: int, *, closed: bool) -> bool:
        """Take note of an answer at the given try (from 1); whether the problem turns out to be hard with it."""
        if self.hard:
            return False
        probing = self.probing
        if tries == 1:
            self._first += not closed
        elif tries == 2 and probing:
            self._second += 1
            self._second_open += not closed
            self.hard = self._second == self._enough and 2 * self._second_open > self._enough
        elif tries > 2:
            self._later_open += not closed
            self.hard = self._later_open >= self._enough
        return self.hard
