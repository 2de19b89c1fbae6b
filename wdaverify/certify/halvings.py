"""What a proof of unsat is: for each disjunct a tree over its box, whose leaves are boxes that bounds show to be below 0.

A tree is written in preorder, so that its leaves cover the box by construction:

    k >= 0       the box is halved at the middle of its k-th moving input: next what lies below it, then what lies above
    CLIP         the next of ``clips`` cuts the box; what it cuts off is below the level. DEEP_CLIP: at tightened bounds of the neurons
    LEAF, MIXED  the least row is below 0, or below the level: by one row alone, or by the next of ``mixtures`` too. DEEP, DEEP_MIXED:
                 at tightened bounds of the neurons
    SLOPED       a leaf at tightened bounds, by the next of ``mixtures`` along lines of the next of ``slopes`` below open neurons

Nothing written is believed: what a leaf or a clip shows is computed from its box (``certify.confined``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.confined import Codes, Ints, Slopes, cut
from wdaverify.certify.proof import MalformedProofError
from wdaverify.errors import CertificateError
from wdaverify.network.model import Array

LEAF, MIXED, DEEP, DEEP_MIXED, CLIP, DEEP_CLIP, SLOPED = -1, -2, -3, -4, -5, -6, -7
_Row = TypeVar("_Row")
_PIECE = 2**14
"""Nodes that are taken up at a time."""
MAX_WAITING = 2**12
"""Boxes of a tree that wait at one time; as many halvings may lie one below the other."""


class Asked(NamedTuple):
    """A leaf or a clip of a tree: what is to be shown on ``lower, upper [n]``; codes ``[2, k]`` of a clip, mu ``[R]`` of a mixture,
    slopes ``[M]`` of lines."""

    deep: bool
    lower: Array
    upper: Array
    codes: Codes | None
    mixture: NDArray[np.float32] | None
    slopes: Slopes | None


@dataclass(frozen=True, eq=False)
class Halvings:
    """``nodes [P]`` in preorder; ``clips [C, 2, k]`` (``confined.Codes``), ``mixtures [U, R]`` and ``slopes [S, M]`` in their order."""

    nodes: NDArray[np.int8]
    clips: Codes
    mixtures: NDArray[np.float32]
    slopes: Slopes

    def __post_init__(self) -> None:
        """Check types alone: nothing is copied."""
        kinds = {"nodes": (np.int8, 1), "clips": (np.uint8, 3), "mixtures": (np.float32, 2), "slopes": (np.uint8, 2)}
        for name, (kind, axes) in kinds.items():
            held = getattr(self, name)
            if not (isinstance(held, np.ndarray) and held.dtype == kind and held.ndim == axes):
                raise CertificateError(
                    "a tree is nodes [P] of int8, clips [C, 2, k] of uint8, mixtures [U, R] of float32 and slopes [S, M] of uint8; "
                    "read_unsat(path) reads them"
                )

    def walk(self, lower: Array, upper: Array, moving: Ints) -> Iterator[Asked]:
        """What is to be shown on the box ``lower, upper [n]`` for the tree to hold, in order.

        Raises:
            MalformedProofError: the nodes are not one whole tree, or do not go with the clips, mixtures and slopes.
        """
        waiting = [(lower, upper)]
        clips, mixtures, slopes = iter(self.clips), iter(self.mixtures), iter(self.slopes)
        for node in self._nodes():
            if not waiting:
                raise MalformedProofError("nodes follow the end of a tree")
            if len(waiting) > MAX_WAITING:
                raise MalformedProofError(f"a tree has more than {MAX_WAITING} boxes waiting")
            low, high = waiting.pop()
            if node >= 0:
                if node >= moving.size:
                    raise MalformedProofError(f"moving input {node} does not exist")
                below, above = high.copy(), low.copy()
                at = moving[node]
                below[at] = above[at] = halfway(low[at], high[at])
                waiting += [(above, high), (low, below)]
            elif node in (CLIP, DEEP_CLIP):
                codes = _next(clips, "clips")
                yield Asked(node == DEEP_CLIP, low, high, codes, None, None)
                waiting.append(cut(low, high, codes, moving))
            elif node in (LEAF, DEEP):
                yield Asked(node == DEEP, low, high, None, None, None)
            elif node in (MIXED, DEEP_MIXED):
                yield Asked(node == DEEP_MIXED, low, high, None, _next(mixtures, "mixtures"), None)
            elif node == SLOPED:
                yield Asked(True, low, high, None, _next(mixtures, "mixtures"), _next(slopes, "slopes"))
            else:
                raise MalformedProofError(f"{node} is no node")
        if waiting:
            raise MalformedProofError("a tree is cut short")
        if any(next(rest, None) is not None for rest in (clips, mixtures, slopes)):
            raise MalformedProofError("clips, mixtures or slopes are left over")

    def _nodes(self) -> Iterator[int]:
        for first in range(0, self.nodes.size, _PIECE):
            yield from self.nodes[first : first + _PIECE].tolist()


def halfway(low: Array, high: Array) -> Array:
    """Where sides are halved: a number between them."""
    return np.minimum(np.maximum(0.5 * low + 0.5 * high, low), high)


def _next(rows: Iterator[_Row], what: str) -> _Row:
    row = next(rows, None)
    if row is None:
        raise MalformedProofError(f"a tree has too few {what}")
    return row
