"""What a long run says of itself while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The bracket now, and how far the run is. ``phase`` is one word or two: "attack", "screen", "solve"; times in seconds."""

    phase: str
    lower: float
    upper: float
    round: int
    solves: int
    open_samples: int
    elapsed: float


Report = Callable[[Progress], None]
