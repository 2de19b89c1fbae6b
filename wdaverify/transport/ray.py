"""A direction to infinity, for distributions whose value is only approached (docs/theory.md, section 6)."""

from __future__ import annotations

from dataclasses import dataclass

from wdaverify.network.model import Array


@dataclass(frozen=True, eq=False)
class Ray:
    """Zero mass moved to infinity from samples of ``label`` along ``direction [n]`` is worth ``value`` a unit of budget.

    ``value`` is rounded down; the direction has length 1 up to rounding.
    """

    label: int
    value: float
    direction: Array
