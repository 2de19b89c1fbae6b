"""Samples that are the same point with the same label: attacked, screened and asked about once, and answered together.

The weights stay those of the problem, one a sample, so that no bound rests on a rounded sum of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wdaverify.attacks.outcome import AttackOutcome
from wdaverify.network.model import Array
from wdaverify.problem import Samples, WdroProblem
from wdaverify.transport.distribution import Distribution

Ints = NDArray[np.int64]


class Twins:
    """The groups of equal samples; the first of each leads it."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        seen: dict[bytes, int] = {}
        points = samples.x + 0.0  # -0.0 is the number 0
        group = [seen.setdefault(x.tobytes() + y.tobytes(), len(seen)) for x, y in zip(points, samples.y, strict=True)]
        self.group = np.array(group, np.int64)
        """Which group each sample is in, ``[N]``."""
        self._order = np.argsort(self.group, kind="stable")
        self._sizes = np.bincount(self.group)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self.leaders = self._order[self._starts]
        """The first sample of each group, ``[G]``."""

    @property
    def some(self) -> bool:
        """Whether any two samples are equal."""
        return bool(self.leaders.size < self.group.size)

    @cached_property
    def weight(self) -> Array:
        """The weight of each group at its leader, 0 elsewhere, ``[N]``; sums are rounded, so this only orders questions."""
        return self.gathered(self._samples.w)

    def gathered(self, values: Array) -> Array:
        """Values ``[N]`` added over each group at its leader, 0 elsewhere."""
        out = np.zeros(self.group.size)
        out[self.leaders] = np.bincount(self.group, values)
        return out

    def spread(self, group: Ints) -> tuple[Ints, Ints]:
        """The samples of groups ``[M]`` in a row, ``[M']``, and which of the M each comes from."""
        count = self._sizes[group]
        source = np.repeat(np.arange(group.size), count)
        within = np.arange(source.size) - np.repeat(np.cumsum(count) - count, count)
        return self._order[self._starts[group][source] + within], source

    def items(self, items: Ints, per_sample: int) -> tuple[Ints, Ints]:
        """The same pieces of all equal samples, and which of the given items each comes from."""
        samples, source = self.spread(self.group[items // per_sample])
        return samples * per_sample + (items % per_sample)[source], source

    def of(self, sample: int) -> Ints:
        """The samples equal to one, itself among them."""
        return self.spread(self.group[[sample]])[0]

    def merged(self, problem: WdroProblem) -> WdroProblem:
        """The problem of the leaders with the groups' weights, for attacks: its values are not the problem's own."""
        if not self.some:
            return problem
        samples, at = problem.samples, self.leaders
        return replace(problem, samples=replace(samples, x=samples.x[at], y=samples.y[at], w=self.weight[at]))

    def fanned_out(self, outcome: AttackOutcome) -> AttackOutcome:
        """What attacks on the merged problem found, for every sample; masses are shared by weight."""
        if not self.some:
            return outcome
        sample, source = self.spread(outcome.sample)
        proposals = {name: self._shared(proposal) for name, proposal in outcome.distributions.items()}
        return replace(outcome, sample=sample, point=outcome.point[source], distributions=proposals)

    def _shared(self, proposal: Distribution) -> Distribution:
        sample, source = self.spread(proposal.sample)
        whole = self.weight[self.leaders][self.group[sample]]
        share = np.where(whole > 0, self._samples.w[sample] / np.where(whole > 0, whole, 1.0), 0.0)
        label = None if proposal.label is None else proposal.label[source]
        return Distribution(sample, proposal.point[source], proposal.mass[source] * share, label)
