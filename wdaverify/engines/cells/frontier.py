"""The leaves of one question's search that are opened many at a time, the lowest first; every quantity is that of a minimisation."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Distance, Effort, Inner, Slope
from wdaverify.network.model import Array


class Sought(Protocol):
    """What is asked, how hard to try, until when, and what has to be beaten."""

    @property
    def question(self) -> Inner | Distance | Slope:
        """What is asked."""
        ...

    @property
    def effort(self) -> Effort:
        """How hard to try."""
        ...

    @property
    def deadline(self) -> float:
        """On the clock of ``time.perf_counter``."""
        ...

    @property
    def target(self) -> float:
        """The value to beat, of the minimisation."""
        ...


class Frontier(ABC):
    """Leaves ``[L]`` with what each proves; ``_leaves`` is what else there is to know of them, arrays ``[L, ...]``."""

    def __init__(self, sought: Sought, batch: int, bytes_of_a_leaf: float) -> None:
        self._sought, self._region, self._batch = sought, sought.question.region, batch
        self._room = sought.effort.memory / bytes_of_a_leaf
        self.incumbent = sought.target
        self.best: Array | None = None
        self.visited = self.solves = 0
        self.finished = self.full = False
        self._closed, self._bound = math.inf, np.zeros(0)
        self._leaves: tuple[NDArray[Any], ...] = ()

    @property
    def proven(self) -> float:
        """The least of what all leaves prove."""
        return min(self._closed, float(self._bound.min(initial=math.inf)))

    def run(self) -> None:
        """Search until closed, out of time or out of room."""
        while True:
            self._close(self._bound >= self.incumbent - self._sought.effort.gap)
            if not self._bound.size:
                self.finished = True
                return
            if time.perf_counter() > self._sought.deadline:
                return
            if self._bound.size >= self._room:
                self.full = True
                return
            some = np.argpartition(self._bound, min(self._batch, self._bound.size) - 1)[: self._batch]
            stuck = some[self._stuck(some)]
            if stuck.size:  # they stay as they are
                mask = np.zeros(self._bound.size, np.bool_)
                mask[stuck] = True
                self._close(mask)
            else:
                self._open(some)

    @abstractmethod
    def _stuck(self, some: Ints) -> NDArray[np.bool_]:
        """Which of some leaves nothing can be gained below."""

    @abstractmethod
    def _open(self, some: Ints) -> None:
        """``_replace`` leaves by two each."""

    def _close(self, mask: NDArray[np.bool_]) -> None:
        """Leave leaves out, as they are."""
        self._closed = min(self._closed, float(self._bound[mask].min(initial=math.inf)))
        self._bound, self._leaves = self._bound[~mask], tuple(part[~mask] for part in self._leaves)

    def _replace(self, some: Ints, bound: Array, *leaves: NDArray[Any]) -> None:
        """Put two leaves each in the place of some, in their order; what these have proven holds of both."""
        bound = np.maximum(bound, np.repeat(self._bound[some], 2))
        rest = np.ones(self._bound.size, np.bool_)
        rest[some] = False
        self._bound = np.concatenate([self._bound[rest], bound])
        self._leaves = tuple(np.concatenate([old[rest], new]) for old, new in zip(self._leaves, leaves, strict=True))
