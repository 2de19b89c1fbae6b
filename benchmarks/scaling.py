"""Series: one figure against one quantity, with a picture."""

from __future__ import annotations

from contenders import Plan
from record import Record

SERIES: dict[str, object] = {}


def measure(name: str, plan: Plan, record: Record, *, quick: bool) -> None:
    raise KeyError(name)
