"""The zero-one loss at points: by enclosure where that decides, exactly where it does not and while there is time.

An exact decision may take long (``certify.exact``), and the same points are asked about again and again: what was decided is
known, by a digest of 256 bits of the point and its label.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.enclosure import rival_margin
from wdaverify.certify.exact import exact_error
from wdaverify.network.model import Array, ReluNetwork

IntArray = NDArray[np.int64]
Bools = NDArray[np.bool_]

_MOST = 2**16
"""Decisions that are kept of a network; then the oldest are forgotten."""
_UNTIL: ContextVar[float] = ContextVar("until", default=math.inf)
_KNOWN: WeakKeyDictionary[ReluNetwork, dict[bytes, bool]] = WeakKeyDictionary()


@contextmanager
def deciding_until(deadline: float) -> Iterator[None]:
    """Within the block nothing is decided exactly any more from the deadline (``time.monotonic``) on."""
    before = _UNTIL.set(min(deadline, _UNTIL.get()))
    try:
        yield
    finally:
        _UNTIL.reset(before)


def errors(network: ReluNetwork, x: Array, y: IntArray) -> Bools:
    """The points ``[B]`` of ``x [B, n]`` that are errors for the labels ``y [B]``; what there was no time to decide is none."""
    return error_bounds(network, x, y)[0]


def error_bounds(network: ReluNetwork, x: Array, y: IntArray) -> tuple[Bools, Bools]:
    """Which of ``x [B, n]`` are errors, and which may be one, ``[B]`` each: the same but for what there was no time to decide.

    Of a network that is not piecewise linear enclosures alone decide: what they leave open may be an error, and counts as none.
    """
    lower, upper = rival_margin(network, x, y)
    surely, possibly = np.asarray(lower >= 0), np.asarray(upper >= 0)
    for b in np.flatnonzero(~surely & possibly):
        decided = _decided(network, np.asarray(x[b], dtype=np.float64), int(y[b]))
        if decided is not None:
            surely[b] = possibly[b] = decided
    return surely, possibly


def _decided(network: ReluNetwork, x: Array, y: int) -> bool | None:
    """Whether ``x [n]`` is an error; None where the time is over."""
    if network.curved:  # no rationals decide it: only what the enclosure shows is one
        return None
    known, key = _KNOWN.setdefault(network, {}), blake2b(x.tobytes() + y.to_bytes(8, "big"), digest_size=32).digest()
    if key not in known:
        if time.monotonic() >= _UNTIL.get():
            return None
        if len(known) >= _MOST:
            del known[next(iter(known))]
        known[key] = exact_error(network, x, y)
    return known[key]
