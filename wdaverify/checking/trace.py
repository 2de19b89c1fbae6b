"""What a search keeps of its steps, and the trees of the proof that they come to (``certify.halvings``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.confined import Bools, Codes, Ints, Slopes
from wdaverify.certify.halvings import CLIP, DEEP, DEEP_CLIP, DEEP_MIXED, LEAF, MIXED, SLOPED, Halvings
from wdaverify.checking.bounding import Bounded

_NONE = -1


@dataclass(frozen=True, eq=False)
class Trace:
    """Boxes ``node [E]`` that were closed (``axis`` None and ``mixed`` given), or clipped and, where ``axis`` is not -1, halved."""

    node: Ints
    deep: bool
    codes: Codes
    axis: Ints
    mixture: NDArray[np.float32] | None
    mixed: Bools
    slopes: Slopes | None = None
    """Of lines by which boxes were closed; None: lines by rule did."""

    @classmethod
    def of(cls, bounded: Bounded, which: Bools, *, deep: bool, whole: bool, axis: Ints | None = None) -> Trace:
        """Of some of a batch: closed as wholes, or clipped."""
        at = np.flatnonzero(which)
        axis = np.full(which.size, _NONE) if axis is None else axis
        mixture = bounded.mixture[at] if whole else None
        return cls(bounded.boxes.node[at], deep, bounded.codes[at], axis[at], mixture, bounded.needs[at])

    @classmethod
    def along(cls, bounded: Bounded, at: Ints, slopes: Slopes) -> Trace:
        """Of some of a batch, ``at [k]``: closed along lines of slopes ``[k, M]``."""
        none, mixed = np.full(at.size, _NONE), np.ones(at.size, np.bool_)
        return cls(bounded.boxes.node[at], True, bounded.codes[at], none, bounded.mixture[at], mixed, slopes)


@dataclass(eq=False)
class Tracer:
    """The traces of a search by the numbers of boxes."""

    _clips: dict[tuple[int, bool], Codes] = field(default_factory=dict)
    _leaves: dict[int, tuple[int, NDArray[np.float32] | None, Slopes | None]] = field(default_factory=dict)
    _halves: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def learn(self, traces: Sequence[Trace], first: int) -> None:
        """Keep a batch; the boxes halved have their lower halves numbered from ``first`` on, in order, and then their upper ones."""
        for trace in traces:
            nodes = trace.node.tolist()
            if trace.mixture is not None:
                plain, mixed = (DEEP, DEEP_MIXED) if trace.deep else (LEAF, MIXED)
                for k, node in enumerate(nodes):
                    if trace.slopes is not None:
                        self._leaves[node] = SLOPED, trace.mixture[k], trace.slopes[k]
                    else:
                        self._leaves[node] = (mixed, trace.mixture[k], None) if trace.mixed[k] else (plain, None, None)
                continue
            for k in np.flatnonzero(trace.codes.any(axis=(1, 2))).tolist():
                self._clips[nodes[k], trace.deep] = trace.codes[k]
            if trace.axis.size and trace.axis[0] != _NONE:
                for k, (node, axis) in enumerate(zip(nodes, trace.axis.tolist(), strict=True)):
                    self._halves[node] = axis, first + k, first + len(nodes) + k

    def trees(self, disjuncts: int, moving: int, rows: int, neurons: int) -> tuple[Halvings, ...]:
        """The tree of every disjunct, all of whose boxes are closed."""
        return tuple(self._tree(root, moving, rows, neurons) for root in range(disjuncts))

    def _tree(self, root: int, moving: int, rows: int, neurons: int) -> Halvings:
        nodes, clips, mixtures, waiting = list[int](), list[Codes](), list[NDArray[np.float32]](), [root]
        slopes = list[Slopes]()
        while waiting:
            node = waiting.pop()
            leaf = self._leaves.get(node)
            for deep, kind in ((False, CLIP), (True, DEEP_CLIP)):
                if (node, deep) in self._clips:
                    nodes.append(kind)
                    clips.append(self._clips[node, deep])
            if leaf is None:
                axis, below, above = self._halves[node]
                nodes.append(axis)
                waiting += [above, below]
            else:
                nodes.append(leaf[0])
                if leaf[1] is not None:
                    mixtures.append(leaf[1])
                if leaf[2] is not None:
                    slopes.append(leaf[2])
        return Halvings(
            np.array(nodes, np.int8),
            np.stack(clips) if clips else np.zeros((0, 2, moving), np.uint8),
            np.stack(mixtures) if mixtures else np.zeros((0, rows), np.float32),
            np.stack(slopes) if slopes else np.zeros((0, neurons), np.uint8),
        )
