"""What another may do in a proof pass's place, with the same formulas: whoever searches hands it in; the checker has none."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from wdaverify.certify.peak import Price, Shells
from wdaverify.network.model import Array


class Chosen(NamedTuple):
    """How nu is chosen at neurons, ``[B, M]`` each: as given; or along lines of slopes, plus beta and lift; or, all None, by rule."""

    given: Array | None = None
    slopes: Array | None = None
    beta: Array | None = None
    lift: Array | None = None


class Loops(Protocol):
    """Results are those of the numpy code up to rounding, and what they may have rounded is counted alike."""

    def relu(
        self, span: slice, q: Array, slip: Array | None, sides: tuple[Array, Array, Array], chosen: Chosen
    ) -> tuple[Array, Array, Array, Array]:
        """Of q ``[B, R, m]`` at ReLUs with ``l, u`` and reach ``[B, m]``: nu, and ``[B, R]`` each the gain, its size, what is lost."""
        ...

    def peak(self, q: Array, slip: Array | None, shells: Shells, price: Price | None) -> tuple[Array, Array] | None:
        """``certify.peak.peak``; None for what it does not do."""
        ...
