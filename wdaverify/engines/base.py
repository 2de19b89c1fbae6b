"""The questions that can be asked of an engine, and what an answer is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from wdaverify.certify.proof import Proof, Tree
from wdaverify.certify.slopes import SlopeTree
from wdaverify.encoding.cost import Region
from wdaverify.encoding.relu import HiddenBounds
from wdaverify.network.model import Array


@dataclass(frozen=True, eq=False)
class Inner:
    """``max functional . z - multiplier ||x - x_i||^p`` over a region around sample i.

    The functional ``[K]`` is ``z_rival - z_label`` where None; with ``entropy`` the cross-entropy of the label takes its place,
    where ``z_rival`` is the largest logit (the rival may be the label itself). ``bounds`` are empty for an engine that makes its own.
    """

    sample: int
    label: int
    rival: int
    region: Region
    bounds: HiddenBounds
    multiplier: float
    functional: Array | None = None
    entropy: bool = False


@dataclass(frozen=True, eq=False)
class Distance:
    """``min ||x - x_i|| s.t. z_rival >= z_label + least`` over a region around sample i.

    With ``least > 0`` the answer's points lie safely across the boundary, and its bound is not one of the distance. With ``any_point`` it
    only matters whether there is one: whoever finds one need not look for nearer ones.
    """

    sample: int
    label: int
    rival: int
    region: Region
    bounds: HiddenBounds
    least: float = 0.0
    any_point: bool = False


@dataclass(frozen=True, eq=False)
class Level:
    """``min ||x - x_i|| s.t. DLR(x, label) >= level`` over a region around sample i; for MIP engines alone.

    Points without a denominator count as being at every level; at level inf they are all there is, and the label's logit is to be
    at least ``least`` below.
    """

    sample: int
    label: int
    level: float
    region: Region
    bounds: HiddenBounds
    least: float = 0.0


@dataclass(frozen=True, eq=False)
class Slope:
    """``max ||rows J u||`` over ``||a u|| <= 1`` and the full-dimensional cells that meet the region, both norms that of its cost.

    For one row of ``rows [R, K]`` that is the dual norm of its gradient. Features where ``still [n]`` do not move; the region has
    no near side. An answer's points lie in the interior of cells. ``cutoff`` and ``bound`` are as for Inner.
    """

    item: int
    rows: Array
    region: Region
    still: Array
    bounds: HiddenBounds = ()


Question = Inner | Distance | Level | Slope


@dataclass(frozen=True, eq=False)
class Effort:
    """How hard to try: absolute gap, seconds of wall clock (inf: no limit), seed.

    ``cutoff``: an answer no better than this is of no interest (None: every answer is); ``start``: a point ``[n]`` of the
    region to begin from, or None. ``memory``: bytes that a search tree may take (inf: no limit; 0: its root
    alone is solved). ``proof``: whether one is wanted, and ``whole``: whether it must be one of the whole network, as a checker reads it.
    ``known``: trees of an earlier answer about the same label and
    rival, of any sample and multiplier; their leaves are held to this question and searched on where they fall short.
    """

    gap: float
    seconds: float
    seed: int
    cutoff: float | None
    start: Array | None
    memory: float = math.inf
    proof: bool = False
    known: tuple[Tree, ...] = ()
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Answer:
    """``bound``: proven by ``vouched_by`` to be no less than an Inner or Slope question's value, or no more than a Distance question's.

    A bound at the cut-off says only "no better than the cut-off". +-inf: nothing was proven, or (Distance, +inf) the rival
    cannot tie anywhere in the region. ``points [k, n]`` are candidates to be re-evaluated. ``closed``: asking the same
    question again would prove no more. ``checked``: the bound was recomputed here with outward rounding, it is no solver's word.
    ``proof`` shows that bound, where one was wanted and the engine gives any; it covers the shell of the question alone. ``slopes`` is
    that of a Slope question.
    """

    bound: float
    points: Array
    vouched_by: str
    closed: bool
    nodes: int
    seconds: float
    detail: str
    checked: bool = False
    proof: Proof | None = None
    slopes: SlopeTree | None = None


class Engine(Protocol):
    """Answers questions about one network; ``own_bounds``: it makes its pre-activation bounds itself."""

    own_bounds: bool

    def answer(self, question: Question, effort: Effort) -> Answer:
        """Answer within the effort; running out of it widens the answer and is never an error."""
        ...


@runtime_checkable
class Gathering(Engine, Protocol):
    """An engine to which several questions at once are less work than one by one."""

    def answer_all(self, asked: Sequence[tuple[Question, Effort]]) -> list[Answer]:
        """Answers in their order; all questions have the time of the one that has most."""
        ...
